"""`runs`, `library` and `reindex`: short tables of what is stored."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from core.settings import load_settings
from core.types import Library
from webapp.workbench import Workbench


def list_runs() -> None:
    """Print the latest runs, newest first."""
    workbench = Workbench.open(load_settings())
    table = Table("run", "sheet", "panel", "aggregator", "state", "rows", "started", box=None)
    for run in workbench.runs():
        started = run.started_at.astimezone().strftime("%Y-%m-%d %H:%M") if run.started_at else ""
        table.add_row(str(run.id), run.sheet_name, run.panel.id, run.aggregator, run.state.value, str(run.items), started)
    Console().print(table)


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
        Console().print(f"{library.name}: {library.size} examples indexed in {seconds:.1f} s", markup=False)


def _print_libraries(libraries: list[Library]) -> None:
    table = Table("library", "examples", "by dimension", "version", box=None)
    for library in libraries:
        counts = ", ".join(f"{dimension} {count}" for dimension, count in library.counts.items())
        table.add_row(library.name, str(library.size), counts, library.version[:12])
    Console().print(table)
