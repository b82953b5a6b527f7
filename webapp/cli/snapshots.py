"""`snapshots`: freeze training sets, look into them, take them to other tools and back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from core.errors import ExportError
from core.settings import load_settings
from core.training import SnapshotFilter, Split
from core.types import Origin, said
from webapp.cli.console import plain_console
from webapp.services.training.snapshots import ExportFormat, SnapshotChoices
from webapp.workbench import Workbench


@dataclass(frozen=True, slots=True)
class MakeOptions:
    """What `snapshots make` was asked for."""

    name: str
    libraries: Sequence[str]
    dimensions: Sequence[str]
    origins: Sequence[Origin]
    authors: Sequence[str]
    disputed: bool
    balance: float
    held_out: float
    examples: int
    seed: int
    lineage: str
    dry_run: bool


def make_snapshot(options: MakeOptions) -> None:
    """Freeze a snapshot, or with `dry_run` only say what it would hold."""
    workbench = Workbench.open(load_settings())
    library_ids = tuple(workbench.library_named(name).id for name in options.libraries)
    chosen = SnapshotFilter(
        library_ids,
        tuple(options.dimensions),
        tuple(options.origins),
        tuple(options.authors),
        agreed_only=not options.disputed,
        balance=options.balance,
    )
    choices = SnapshotChoices(chosen, options.held_out, options.examples, options.seed, options.lineage)
    console = plain_console()
    if options.dry_run:
        preview = workbench.snapshots.preview(choices, samples=0)
        console.print(f"would hold {preview.train_rows} training and {preview.held_out_rows} held-out rows in {preview.families} families")
        _print_counts(console, preview.counts)
        for group in preview.left_out:
            console.print(f"left out {group.count}: {said(group.reason.words, 'en')}", soft_wrap=True)
        return
    begun = time.perf_counter()
    snapshot = workbench.snapshots.freeze(options.name, choices)
    seconds = time.perf_counter() - begun
    console.print(f"snapshot {snapshot.id}: {snapshot.folder} ({seconds:.1f} s)", soft_wrap=True)
    show_snapshot(snapshot.id, 0, Split.TRAIN)


def list_snapshots() -> None:
    """Print the snapshots, newest first."""
    table = Table("snapshot", "name", "lineage", "train", "held out", "examples", "sha256", "frozen", box=None)
    for one in Workbench.open(load_settings()).snapshots.snapshots():
        frozen = one.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
        counts = (str(one.train_rows), str(one.held_out_rows), str(one.examples))
        table.add_row(str(one.id), one.name, one.lineage, *counts, one.sha256[:12], frozen)
    plain_console().print(table)


def show_snapshot(snapshot_id: int, rows: int, split: Split) -> None:
    """Check a snapshot's files and print what it holds, and the first rows of a side with their prompts."""
    desk = Workbench.open(load_settings()).snapshots
    info, console = desk.info(snapshot_id), plain_console()
    console.print(
        f"{info.name} (lineage {info.lineage}): {info.train_rows} training and {info.held_out_rows} held-out rows in {info.families} "
        f"families, {info.examples} examples a prompt, seed {info.seed}\nsha256 {info.sha256}",
        soft_wrap=True,
    )
    _print_counts(console, info.counts)
    for reason, count in info.left_out.items():
        console.print(f"left out {count}: {reason}")
    for row in desk.rows(snapshot_id, split, 0, rows) if rows else ():
        words = f"{row.system}\n\n{row.user}\n→ {row.label}"
        console.print(f"\n--- {row.dimension_id} {row.external_id} · family {row.family}\n{words}", highlight=False, soft_wrap=True)


def export_snapshot(snapshot_id: int, kind: str, split: Split, out: Path | None) -> None:
    """Write one side of a snapshot in another tool's format and print where."""
    path = Workbench.open(load_settings()).snapshots.export(snapshot_id, _kind(kind), split)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out)
    plain_console().print(str(out or path), soft_wrap=True)


def import_training(file: Path, library: str, kind: str, dimension: str, *, whole_prompts: bool, skip_bad_rows: bool) -> None:
    """Make a library of a training file and print what became of its records."""
    made = Workbench.open(load_settings()).snapshots.import_training_file(
        file,
        library,
        kind=_kind(kind) if kind else None,
        dimension_id=dimension,
        whole_prompts=whole_prompts,
        skip_bad_rows=skip_bad_rows,
    )
    console = plain_console()
    console.print(
        f"{made.library.name}: {made.rows} rows ({made.kind.value}; {made.own} with Pingpan's own prompts), {made.library.size} in the library",
        soft_wrap=True,
    )
    for problem in made.problems:
        where = f"record {problem.record} " if problem.record else ""
        console.print(f"  {where}{said(problem.message, 'en')}", soft_wrap=True)


def _kind(name: str) -> ExportFormat:
    if name not in set(ExportFormat):
        known = ", ".join(ExportFormat)
        raise ExportError(
            f"There is no training format «{name}»; there are: {known}.", zh=f"没有名为「{name}」的训练数据格式；可选：{known}。"
        )
    return ExportFormat(name)


def _print_counts(console: Console, counts: Mapping[str, Mapping[Split, Mapping[int, int]]]) -> None:
    table = Table("dimension", "side", "rows", "by label", box=None)
    for dimension_id, splits in counts.items():
        for split, labels in splits.items():
            table.add_row(dimension_id, split.value, str(sum(labels.values())), ", ".join(f"{label}: {n}" for label, n in labels.items()))
    console.print(table)
