"""`runs`, `library`, `reindex` and `faults`: short tables of what is stored, and what people answered."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from core.settings import load_settings
from core.types import Library
from webapp.cli.console import plain_console
from webapp.workbench import Workbench


def list_runs() -> None:
    """Print the latest runs, newest first."""
    workbench = Workbench.open(load_settings())
    table = Table("run", "sheet", "panel", "aggregator", "state", "rows", "started", box=None)
    for run in workbench.runs():
        started = run.started_at.astimezone().strftime("%Y-%m-%d %H:%M") if run.started_at else ""
        table.add_row(str(run.id), run.sheet_name, run.panel.id, run.aggregator, run.state.value, str(run.items), started)
    plain_console().print(table)


def ask_again(run_id: int, judge_id: str) -> None:
    """Queue a run again for its answers that are no votes and print how many they are."""
    count = Workbench.open(load_settings()).ask_again(run_id, judge_id=judge_id)
    plain_console().print(
        f"run {run_id}: {count} answers are asked for again" if count else f"run {run_id}: every answer is a vote or an abstention"
    )


def purge_runs() -> None:
    """Remove runs that were deleted long ago and print which."""
    from webapp.services.housekeeping import Housekeeping

    gone = Housekeeping(Workbench.open(load_settings()).store).purge()
    plain_console().print(f"removed for good: runs {', '.join(map(str, gone))}" if gone else "no run was deleted more than 30 days ago")


def list_libraries() -> None:
    """Print the libraries."""
    _print_libraries(list(Workbench.open(load_settings()).libraries()))


def import_library(file: Path, name: str) -> None:
    """Import a file of labelled rows and print the library it became."""
    _print_libraries([Workbench.open(load_settings()).import_library(file, name)])


def reindex_libraries(name: str) -> None:
    """Build the vector index of one library, or of all, again."""
    workbench = Workbench.open(load_settings())
    libraries = [workbench.library_named(name)] if name else list(workbench.libraries())
    for library in libraries:
        seconds = workbench.reindex(library.id)
        plain_console().print(f"{library.name}: {library.size} examples indexed in {seconds:.1f} s")


def export_faults(file: Path) -> None:
    """Write what people answered to suspected faults and print how many texts that are."""
    count = Workbench.open(load_settings()).fault_answers.export(file)
    plain_console().print(f"{file}: {count} texts with answers", soft_wrap=True)


def _print_libraries(libraries: list[Library]) -> None:
    table = Table("library", "examples", "by dimension", "version", box=None)
    for library in libraries:
        counts = ", ".join(f"{dimension} {count}" for dimension, count in library.counts.items())
        table.add_row(library.name, str(library.size), counts, library.version[:12])
    plain_console().print(table)
