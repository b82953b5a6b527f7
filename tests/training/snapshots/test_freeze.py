"""Snapshots from database to files and back, through the desk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.dimensions import PromptBuilder
from core.errors import JobError, NotFound
from core.settings import ASSETS
from core.training import SnapshotFilter, Split
from core.types import CorrectionKind, Item, Origin, SourceRef
from db.corrections import Act
from tests.conftest import real_file
from tests.training.snapshots.made import DIMENSIONS, essay, library_rows, sheet_row, workbench
from training.snapshots import read_snapshot
from webapp.services.training.snapshots import ExportFormat, SnapshotChoices
from webapp.workbench import Workbench

ALL = SnapshotChoices()


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    opened = workbench(tmp_path / "home")
    opened.store.save_library("作文", library_rows(90), Origin.IMPORT, "老师")
    return opened


def correct(bench: Workbench, number: int, label: int) -> None:
    """Judge nothing, but let somebody label row `number` of a sheet."""
    rows = [replace(one, gold=None) for one in library_rows(number + 1)]
    facts = {"name": "s.csv", "sha256": "ab" * 32, "format": "csv", "encoding": "utf-8", "worksheet": "", "columns": (), "mapping": {}}
    sheet = bench.store.add_sheet(rows=rows, **facts)  # type: ignore[arg-type]
    bench.store.append(None, bench.store.items(sheet.id)[number].id, Act(CorrectionKind.LABEL, "王", label))


def test_a_snapshot_holds_the_very_prompts_of_judging(bench: Workbench) -> None:
    correct(bench, 6, 1)
    snapshot = bench.snapshots.freeze("first", ALL, "王")
    info, rows = read_snapshot(snapshot.folder)
    assert (snapshot.train_rows, snapshot.held_out_rows) == (len(rows[Split.TRAIN]), len(rows[Split.HELD_OUT])) == (72, 18)
    assert bench.snapshots.snapshots() == [snapshot]
    assert (info.sha256, info.lineage, info.author) == (snapshot.sha256, "main", "王")
    assert info.counts == snapshot.counts
    prompts = PromptBuilder(DIMENSIONS, ASSETS / "dimensions")
    for row in (*rows[Split.TRAIN], *rows[Split.HELD_OUT]):
        item = Item(1, 1, 0, row.external_id, row.dimension_id, row.item_prompt, row.text, None, row.hash, SourceRef("", "", 1))
        rendered = prompts.render(item, ())
        assert (row.system, row.user, row.prompt_sha256) == (rendered.system, rendered.user, rendered.sha256)
    said = [row for row in (*rows[Split.TRAIN], *rows[Split.HELD_OUT]) if row.origin is Origin.CORRECTION]
    assert [(row.external_id, row.label, row.author) for row in said] == [("L6", 1, "王")]
    assert bench.store.held_out("main") == {row.hash for row in rows[Split.HELD_OUT]}


def test_the_same_rows_give_the_same_bytes_in_another_database(bench: Workbench, tmp_path: Path) -> None:
    other = workbench(tmp_path / "elsewhere")
    other.store.save_library("something else", [sheet_row(1, 1)], Origin.IMPORT)
    other.store.save_library("something else", library_rows(90)[::-1], Origin.IMPORT, "老师")
    for examples in (0, 2):
        choices = replace(ALL, examples=examples, lineage=f"with {examples}")
        one, two = bench.snapshots.freeze("one", choices), other.snapshots.freeze("two", choices)
        assert (one.sha256, one.held_out_sha256) == (two.sha256, two.held_out_sha256)
        content = b"".join((one.folder / name).read_bytes() for name in ("train.jsonl", "held_out.jsonl"))
        assert hashlib.sha256(content).hexdigest() == one.sha256
        assert bench.snapshots.freeze("again", choices) == one
    assert len(list(bench.snapshots.folder.iterdir())) == 2


def test_a_later_snapshot_of_the_lineage_has_the_same_held_out_bytes(bench: Workbench) -> None:
    first = bench.snapshots.freeze("first", ALL)
    bench.store.save_library("more", [sheet_row(500 + number, 1 + number % 5) for number in range(20)], Origin.IMPORT)
    later = bench.snapshots.freeze("later", replace(ALL, held_out_share=0.5, seed=3))
    assert later.held_out_sha256 == first.held_out_sha256
    assert later.sha256 != first.sha256
    assert (later.train_rows, later.held_out_rows) == (first.train_rows + 20, first.held_out_rows)
    held = (later.folder / "held_out.jsonl").read_bytes()
    assert held == (first.folder / "held_out.jsonl").read_bytes()
    preview = bench.snapshots.preview(ALL)
    assert (preview.lineage_of, preview.train_rows, preview.counts) == (first.id, later.train_rows, later.counts)
    with pytest.raises(JobError, match="with 0 examples, not 2"):
        bench.snapshots.freeze("third", replace(ALL, examples=2))


def test_a_lineage_ends_where_the_prompt_of_its_held_out_rows_changes(bench: Workbench, tmp_path: Path) -> None:
    first = bench.snapshots.freeze("first", ALL)
    path = first.folder / "snapshot.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["prompts"]["fluency"] = "0" * 64
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(JobError, match="prompts of fluency changed") as caught:
        bench.snapshots.preview(ALL)
    assert "新建系列" in caught.value.messages["zh"]


def test_a_changed_or_lost_file_is_named(bench: Workbench) -> None:
    snapshot = bench.snapshots.freeze("first", ALL)
    train, held = snapshot.folder / "train.jsonl", snapshot.folder / "held_out.jsonl"
    for path in (train, held):
        content = path.read_bytes()
        path.write_bytes(content.replace(b'"label":3', b'"label":4', 1))
        with pytest.raises(JobError, match=f"{path.name} was changed") as caught:
            read_snapshot(snapshot.folder)
        assert "被改动" in caught.value.messages["zh"]
        path.write_bytes(content)
    assert bench.snapshots.info(snapshot.id).sha256 == snapshot.sha256
    held.unlink()
    with pytest.raises(JobError, match=r"held_out\.jsonl cannot be read"):
        bench.snapshots.freeze("second", ALL)
    with pytest.raises(NotFound):
        bench.snapshots.snapshot(99)


def test_examples_in_prompts_are_training_rows_of_other_families(bench: Workbench) -> None:
    near = [sheet_row(900 + number, 2, text=essay(3 * number, 70) + "换个结尾") for number in range(10)]
    bench.store.save_library("near", near, Origin.IMPORT)
    snapshot = bench.snapshots.freeze("shown", replace(ALL, examples=3))
    _, rows = read_snapshot(snapshot.folder)
    train = {row.hash: row for row in rows[Split.TRAIN]}
    for row in (*rows[Split.TRAIN], *rows[Split.HELD_OUT]):
        assert len(row.examples) == 3
        for shown in row.examples:
            assert train[shown].family != row.family
            assert train[shown].dimension_id == row.dimension_id
            assert train[shown].text in row.user


def test_a_preview_tells_what_freezing_would_give(bench: Workbench) -> None:
    correct(bench, 6, 1)
    bench.store.save_library("odd", [sheet_row(700, 9)], Origin.IMPORT)
    preview = bench.snapshots.preview(ALL, samples=3)
    assert bench.snapshots.snapshots() == []
    assert [(group.reason.value, group.count, group.first[0].external_id) for group in preview.left_out] == [("off_scale", 1, "L700")]
    assert len(preview.samples) == 3
    assert all(sample.text in sample.user for sample in preview.samples)
    facets = bench.snapshots.facets()
    assert facets.libraries == {1: 90, 2: 1, None: 1}
    assert facets.origins == {Origin.IMPORT: 91, Origin.CORRECTION: 1}
    chosen = replace(ALL, filter=SnapshotFilter(library_ids=(1,), dimension_ids=("fluency",)))
    snapshot = bench.snapshots.freeze("fluency", chosen)
    assert (preview.train_rows, preview.held_out_rows, preview.families) == (72, 18, 90)
    assert list(snapshot.counts) == ["fluency"]
    page = bench.snapshots.rows(snapshot.id, Split.TRAIN, 1, 10)
    assert [row.hash for row in page] == [row.hash for row in read_snapshot(snapshot.folder)[1][Split.TRAIN][10:20]]


def test_the_real_training_file_is_split_by_family_and_label(tmp_path: Path) -> None:
    bench = workbench(tmp_path)
    bench.import_library(real_file("train-fluency.csv"))
    snapshot = bench.snapshots.freeze("real", ALL)
    assert (snapshot.train_rows, snapshot.held_out_rows, bench.snapshots.info(snapshot.id).families) == (794, 199, 984)
    assert snapshot.counts["fluency"][Split.HELD_OUT] == {1: 18, 2: 24, 3: 82, 4: 48, 5: 27}
    path = bench.snapshots.export(snapshot.id, ExportFormat.XTUNER)
    back = bench.snapshots.read_training_file(path)
    assert (back.own, back.problems) == (794, ())
    assert {row.content_hash for row in back.rows} == {row.hash for row in read_snapshot(snapshot.folder)[1][Split.TRAIN]}
