"""Results as files, streamed from the store: whatever the size of the run, memory holds some rows only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

from core.queries import ExportRow
from core.types import Dimension, Severity
from db.store import SqlStore
from webapp.views import ExportTargets

# The rows of a run of at most this many are read once for all of its exports; they take some 10 KB each.
READ_ONCE = 5_000


class ExportKind(StrEnum):
    """What can be written of a run."""

    RESULT = "result.csv"
    FULL = "full.xlsx"
    JSONL = "jsonl"


class Exporter:
    """Writes the results of runs."""

    def __init__(self, store: SqlStore, dimensions: Mapping[str, Dimension]) -> None:
        self._store = store
        self._dimensions = dimensions

    def write(self, run_id: int, kind: ExportKind, targets: ExportTargets) -> Path:
        """Write one export where `targets` say, and return its path. Raises NotFound and ExportError."""
        return self._write(run_id, kind, targets, self._store.export_rows(run_id))

    def write_all(self, run_id: int, targets: ExportTargets) -> None:
        """Write every export where `targets` say; the rows of a short run are read once. Raises NotFound and ExportError."""
        kept = tuple(self._store.export_rows(run_id)) if self._store.run(run_id).items <= READ_ONCE else None
        for kind in ExportKind:
            self._write(run_id, kind, targets, self._store.export_rows(run_id) if kept is None else kept)

    def _write(self, run_id: int, kind: ExportKind, targets: ExportTargets, rows: Iterable[ExportRow]) -> Path:
        if kind is ExportKind.RESULT:
            return self._result(rows, targets)
        return self._full(run_id, rows, targets) if kind is ExportKind.FULL else self._jsonl(run_id, rows, targets)

    def _result(self, rows: Iterable[ExportRow], targets: ExportTargets) -> Path:
        from core.ingest.export_csv import write_result_csv

        return write_result_csv(targets.result, rows, self._dimensions, targets.encoding).path

    def _full(self, run_id: int, rows: Iterable[ExportRow], targets: ExportTargets) -> Path:
        from core.ingest.export_xlsx import write_full_xlsx

        run = self._store.run(run_id)
        sheet = self._store.sheet(run.sheet_id)
        used = set(sheet.mapping.values())
        problems = self._store.problems(run.sheet_id)
        return write_full_xlsx(
            targets.full,
            rows,
            run,
            self._dimensions,
            extra_columns=tuple(column for column in sheet.columns if column not in used),
            problems=problems,
            skipped=sorted({problem.row for problem in problems if problem.severity is Severity.ERROR and problem.row is not None}),
            sheet=sheet,
        ).path

    def _jsonl(self, run_id: int, rows: Iterable[ExportRow], targets: ExportTargets) -> Path:
        from core.ingest.export_jsonl import write_jsonl

        return write_jsonl(targets.jsonl, rows, self._store.run(run_id), self._dimensions)[0]
