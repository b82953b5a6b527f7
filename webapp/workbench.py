"""The use cases that pages and the command line share; each opens and closes its own transactions.

INTERFACE DRAFT: the bodies follow; signatures are agreed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.queries import RowDetail, RowQuery, RunPage, RunProgress
from core.types import Dimension, Library, PanelSpec, RowProblem, Run, Sheet, SheetRow


@dataclass(frozen=True, slots=True)
class SheetPreview:
    """What a file holds, before anything is stored. `mapping` is field -> column header (fields: id, prompt,
    dimension, text, label). `token` names the uploaded bytes, kept in PINGPAN_HOME/uploads by sha256."""

    token: str
    name: str
    sha256: str
    size_bytes: int
    format: str
    encoding: str
    worksheets: tuple[str, ...]
    worksheet: str
    columns: tuple[str, ...]
    mapping: Mapping[str, str]
    rows: tuple[SheetRow, ...]
    total_rows: int
    judgeable_rows: int
    by_dimension: Mapping[str, int]
    problems: tuple[RowProblem, ...]
    error_rows: int
    fatal: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would cost: judge calls = rows x judges; `seconds` by the panel's measured rate, None before any run."""

    rows: int
    judge_calls: int
    rows_per_second: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Question:
    """One question typed by hand; `label` is not given."""

    dimension_id: str
    prompt: str
    text: str


class Workbench:
    """The facade. Every method raises a PingpanError (with .messages per language) for what a user can mend."""

    # -- what there is to choose from
    def dimensions(self) -> Sequence[Dimension]: ...
    def panels(self) -> Sequence[PanelSpec]: ...
    def aggregators(self) -> Sequence[str]: ...
    def libraries(self) -> Sequence[Library]: ...
    def sample_sheet(self) -> Path: ...

    # -- sheets
    def preview(self, path: Path, name: str = "", worksheet: str = "", mapping: Mapping[str, str] | None = None) -> SheetPreview: ...
    def preview_again(self, token: str, worksheet: str = "", mapping: Mapping[str, str] | None = None) -> SheetPreview: ...
    def store_sheet(self, token: str, *, worksheet: str = "", mapping: Mapping[str, str] | None = None, skip_bad_rows: bool = False) -> Sheet: ...
    def problems(self, sheet_id: int) -> Sequence[RowProblem]: ...
    def import_library(self, path: Path, name: str = "") -> Library: ...

    # -- runs
    def estimate(self, rows: int, panel_id: str) -> Estimate: ...
    def start_run(self, sheet_id: int, library_id: int, panel_id: str, aggregator: str) -> Run: ...
    def ask(self, question: Question, library_id: int, panel_id: str, aggregator: str) -> Run: ...
    def runs(self, limit: int = 50) -> Sequence[Run]: ...
    def run(self, run_id: int) -> Run: ...
    def stop(self, run_id: int) -> Run: ...
    def resume(self, run_id: int) -> Run: ...
    def reaggregate(self, run_id: int, aggregator: str) -> Run: ...
    def progress(self, run_id: int) -> RunProgress: ...
    def rows(self, run_id: int, query: RowQuery) -> RunPage: ...
    def row(self, run_id: int, item_id: int) -> RowDetail: ...
    def export(self, run_id: int, kind: str, encoding: str = "utf-8-sig") -> Path: ...  # kind: result.csv | full.xlsx | jsonl
    def execute(self, run_id: int, on_progress: Callable[[RunProgress], None] | None = None) -> Run: ...
