"""Held-out rows are no examples in runs, whatever lineage holds them out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.training import SnapshotFilter
from core.types import Origin
from tests.training.snapshots.made import library_rows, sheet_row, workbench
from webapp.services.training.snapshots import SnapshotChoices
from webapp.workbench import Workbench


def examples_of_a_run(bench: Workbench, library_id: int, number: int) -> set[str]:
    """Judge a sheet of 40 rows and return the contents that were shown as examples."""
    rows = [sheet_row(5_000 + 100 * number + place, 1) for place in range(40)]
    facts = {"name": "s.csv", "sha256": f"{number:02d}" * 32, "format": "csv", "encoding": "utf-8", "worksheet": ""}
    sheet = bench.store.add_sheet(rows=[replace(row, gold=None) for row in rows], columns=(), mapping={}, **facts)  # type: ignore[arg-type]
    run = bench.execute(bench.start_run(sheet.id, library_id, "cpu", "pooled-median").id)
    items = bench.store.items(sheet.id)
    return {example.item.content_hash for item in items for example in bench.row(run.id, item.id).examples}


def test_a_runs_examples_hold_no_held_out_row_of_any_lineage(tmp_path: Path) -> None:
    bench = workbench(tmp_path)
    library = bench.store.save_library("作文", library_rows(90), Origin.IMPORT, "老师")
    before = examples_of_a_run(bench, library.id, 1)
    fluency = SnapshotChoices(SnapshotFilter(dimension_ids=("fluency",)), held_out_share=0.4)
    bench.snapshots.freeze("first", fluency)
    bench.snapshots.freeze("second", replace(fluency, lineage="other", seed=8))
    held = bench.store.all_held_out()
    assert len(held) > 12
    assert before & held
    after = examples_of_a_run(bench, library.id, 2)
    assert len(after) > 5
    assert not after & held
