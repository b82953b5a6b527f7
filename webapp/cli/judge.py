"""`judge` and `export`: a sheet from file to result.csv, with a progress bar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from core.errors import SheetError
from core.ingest.export import check_place
from core.ingest.export_csv import result_encoding
from core.queries import RunProgress
from core.settings import load_settings
from core.types import Library, Outcome, RowProblem, Run, RunState, Severity, said
from webapp.cli.console import plain_console
from webapp.workbench import ExportTargets, SheetPreview, Workbench

SHOWN_WARNINGS = 20


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """The options of `judge`, as typed."""

    sheet: Path
    library: str
    panel: str | None
    aggregator: str | None
    out: Path
    full: Path | None
    jsonl: Path | None
    encoding: str
    worksheet: str
    columns: Sequence[str]
    skip_bad_rows: bool
    fresh: bool


def run_judge(options: JudgeOptions) -> int:
    """Judge a sheet and write its results; return the exit status."""
    console = plain_console(stderr=True)
    targets = export_targets(options.out, options.full, options.jsonl, options.encoding)
    workbench = Workbench.open(load_settings())
    preview = workbench.preview(options.sheet, worksheet=options.worksheet, mapping=parse_columns(options.columns))
    print_problems(console, preview)
    sheet = workbench.store_sheet(preview.token, worksheet=preview.worksheet, mapping=preview.mapping, skip_bad_rows=options.skip_bad_rows)
    library = resolve_library(workbench, options.library)
    run = workbench.start_here(sheet.id, library.id, options.panel, options.aggregator, fresh=options.fresh)
    with workbench.unwritten.until_written(run.id):
        run = follow(console, workbench, run) if run.state is not RunState.DONE else run
        if run.state is RunState.DONE:
            workbench.export_all(run.id, targets)
    if run.state is not RunState.DONE:
        console.print(
            f"Run {run.id} is {run.state.value}: {said(run.error, 'en') or 'interrupted'}. The same command goes on where it was."
        )
        return 1
    progress = workbench.progress(run.id)
    print_summary(console, workbench, progress, targets, preview)
    return 0 if progress.decided == progress.total and progress.by_outcome.get(Outcome.NO_QUORUM, 0) == 0 else 1


def run_export(run_id: int, out: Path, full: Path | None, jsonl: Path | None, encoding: str, aggregator: str | None) -> None:
    """Write the results of a run again."""
    console = plain_console(stderr=True)
    targets = export_targets(out, full, jsonl, encoding)
    workbench = Workbench.open(load_settings())
    if aggregator is not None:
        workbench.reaggregate(run_id, aggregator)
    workbench.export_all(run_id, targets)
    console.print(f"Written: {targets.result}, {targets.full}, {targets.jsonl}", soft_wrap=True)


def export_targets(out: Path, full: Path | None, jsonl: Path | None, encoding: str) -> ExportTargets:
    """Return where results go: what is not named stands beside result.csv. Raises ExportError for what could not be written."""
    targets = ExportTargets(out, full or out.parent / "full.xlsx", jsonl or out.parent / "submit", result_encoding(encoding))
    for place in (targets.result, targets.full, targets.jsonl / "results.jsonl"):
        check_place(place)
    return targets


def parse_columns(columns: Sequence[str]) -> dict[str, str] | None:
    """Return field -> header of `--column field=header` options, None for none. Raises SheetError for other forms."""
    pairs = [column.partition("=") for column in columns]
    wrong = [column for column, pair in zip(columns, pairs, strict=True) if not (pair[0].strip() and pair[2].strip())]
    if wrong:
        raise SheetError(f"--column takes field=header (fields: id, prompt, dimension, text, label); cannot read: {', '.join(wrong)}")
    return {field.strip(): header.strip() for field, _, header in pairs} or None


def resolve_library(workbench: Workbench, library: str) -> Library:
    """Return the library that a name or a file of labelled rows stands for."""
    path = Path(library)
    if path.is_file():
        return workbench.import_library(path)
    return workbench.library_named(library)


def follow(console: Console, workbench: Workbench, run: Run) -> Run:
    """Execute the run in this process and show how far it is; Ctrl-C stops it where it can go on."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(f"run {run.id}", total=run.items, rate="")

        def show(progress: RunProgress) -> None:
            rate = f"{progress.rate:.0f} rows/s" if progress.rate else ""
            bar.update(task, completed=progress.decided, description=f"run {run.id} · {progress.stage}", rate=rate)

        return workbench.execute(run.id, show)


def print_problems(console: Console, preview: SheetPreview) -> None:
    """Print every error and the first warnings, each with row, column and what to do."""
    errors = [p for p in preview.problems if p.severity is Severity.ERROR]
    warnings = [p for p in preview.problems if p.severity is Severity.WARNING]
    shown = warnings[:SHOWN_WARNINGS]
    for problem in [*errors, *shown]:
        console.print(problem_line(problem), highlight=False, soft_wrap=True)
    if len(warnings) > len(shown):
        counts = Counter(p.code for p in warnings[len(shown) :])
        rest = ", ".join(f"{code} {count}" for code, count in counts.most_common())
        console.print(f"… and {len(warnings) - len(shown)} more warnings ({rest}); all of them stand in full.xlsx.")
    console.print(
        f"{preview.name}: {preview.format}{' ' + preview.encoding if preview.encoding else ''}, {preview.total_rows} rows, "
        f"{preview.judgeable_rows} can be judged ({', '.join(f'{d} {n}' for d, n in preview.by_dimension.items())})",
        highlight=False,
    )


def problem_line(problem: RowProblem) -> str:
    """Return one problem as a line for people."""
    place = f"row {problem.row}" if problem.row else "sheet"
    column = f", {problem.column}" if problem.column else ""
    return f"{problem.severity.value} {place}{column}: {problem.message.get('en', '')} [{problem.code}]"


def print_summary(console: Console, workbench: Workbench, progress: RunProgress, targets: ExportTargets, preview: SheetPreview) -> None:
    """Print labels per dimension, outcomes, time and what was written."""
    names = {dimension.id: dimension.names["zh"] for dimension in workbench.dimensions()}
    table = Table(box=None, pad_edge=False)
    table.add_column("dimension")
    table.add_column("rows", justify="right")
    table.add_column("labels")
    for dimension, counts in progress.label_counts.items():
        labels = "  ".join(f"{label}: {count}" for label, count in sorted(counts.items()))
        table.add_row(names.get(dimension, dimension), str(sum(counts.values())), labels)
    console.print(table)
    outcomes = ", ".join(f"{outcome.value} {count}" for outcome, count in progress.by_outcome.items() if count)
    skipped = preview.total_rows - preview.judgeable_rows
    rate = f" ({progress.rate:.0f} rows/s)" if progress.rate else ""
    console.print(f"{progress.decided} of {progress.total} rows decided in {progress.elapsed_seconds:.1f} s{rate}: {outcomes}")
    if skipped:
        console.print(f"{skipped} bad rows were left out, as you asked; full.xlsx lists them.")
    console.print(f"Written: {targets.result}, {targets.full}, {targets.jsonl}", soft_wrap=True)
