"""What merged cells mean for the rows they cover."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.ingest.cells import cell_text
from core.ingest.columns import Columns
from core.ingest.model import CellValue, MergedRange, SheetField
from core.ingest.problems import Code

# A dimension or a prompt that is merged over several rows plainly holds for each; an id, a text or a label does not.
_SHARED = (SheetField.DIMENSION, SheetField.PROMPT)


class Tell(Protocol):
    """Adds a problem of the row at hand."""

    def __call__(self, code: Code, column: int, *, value: str = "", top: int, bottom: int) -> None:
        """Add the problem `code` of the 0-based `column`."""


class MergedCells:
    """Follows merged ranges down the rows of a worksheet. `ranges` are sorted by their first row."""

    def __init__(self, ranges: Sequence[MergedRange], columns: Columns) -> None:
        self._waiting = list(reversed(ranges))
        self._active: list[MergedRange] = []
        self._values: dict[MergedRange, CellValue] = {}
        self._fields = set(columns.index.values())
        shared = {columns.index[which] for which in _SHARED if which in columns.index}
        self._fillable = shared | set(columns.extra)

    def apply(self, row: int, cells: list[CellValue], tell: Tell) -> None:
        """Fill the cells that share a merged value, and tell of the ones that have none. Rows come in rising order."""
        while self._waiting and self._waiting[-1].top <= row:
            self._active.append(self._waiting.pop())
        if not self._active:
            return
        self._active = [merged for merged in self._active if merged.bottom >= row]
        for merged in self._active:
            self._cover(merged, row, cells, tell)

    def _cover(self, merged: MergedRange, row: int, cells: list[CellValue], tell: Tell) -> None:
        if row == merged.top and merged.left < len(cells):
            self._values[merged] = cells[merged.left]
        for column in range(merged.left, min(merged.right + 1, len(cells))):
            if (row, column) == (merged.top, merged.left):
                continue
            value = self._values.get(merged, "")
            if column == merged.left and column in self._fillable and value != "":
                cells[column] = value
                tell(Code.MERGED_CELL_FILLED, column, value=cell_text(value), top=merged.top, bottom=merged.bottom)
            elif column in self._fields:
                tell(Code.MERGED_CELLS, column, top=merged.top, bottom=merged.bottom)
