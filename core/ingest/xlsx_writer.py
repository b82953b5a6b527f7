"""Writing a worksheet row by row, every text as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from core.ingest.export import looks_like_formula, writable
from core.ingest.model import CELL_LIMIT

Value = str | int | float | None
_KEPT = CELL_LIMIT - 67


class Styles:
    """The formats of a workbook."""

    def __init__(self, book: xlsxwriter.Workbook) -> None:
        self.header: Format = book.add_format(
            {"bold": True, "bg_color": "#1F3A5F", "font_color": "#FFFFFF", "valign": "vcenter", "text_wrap": True}
        )
        self.skipped: Format = book.add_format({"font_color": "#9C2A2A", "bg_color": "#FBEDED"})
        # Keeps a text a text even when the cell is edited and left again.
        self.quoted: Format = book.add_format({"quote_prefix": True})
        self.share: Format = book.add_format({"num_format": "0.000"})


class SheetWriter:
    """A worksheet under a header. `row` is the 0-based row to write next; `guarded` and `shortened` count texts."""

    def __init__(self, page: Worksheet, styles: Styles, columns: Sequence[tuple[str, int]], language: str) -> None:
        self.row = 1
        self.guarded = self.shortened = 0
        self._page, self._styles, self._columns = page, styles, len(columns)
        self._rest = "…（全文 {:,} 字，见 results.jsonl）" if language == "zh" else "… (cut; all {:,} characters are in results.jsonl)"
        page.set_row(0, 30)
        for column, (title, width) in enumerate(columns):
            page.write_string(0, column, self._text(title), styles.header)
            page.set_column(column, column, width)

    def write(self, values: Sequence[Value], *, skipped: bool = False) -> None:
        """Write one row; None and empty texts leave their cells empty."""
        style = self._styles.skipped if skipped else None
        for column, value in enumerate(values):
            if value is None or value == "":
                continue
            if isinstance(value, str):
                text = self._text(value)
                quoted = looks_like_formula(text)
                self.guarded += quoted
                self._page.write_string(self.row, column, text, self._styles.quoted if quoted and style is None else style)
            elif math.isfinite(value):
                self._page.write_number(self.row, column, value, style or (self._styles.share if isinstance(value, float) else None))
        self.row += 1

    def finish(self, *, frozen_columns: int, filtered: bool = True) -> None:
        """Freeze the header and the first columns, and add the filter."""
        self._page.freeze_panes(1, frozen_columns)
        if filtered and self.row > 1:
            self._page.autofilter(0, 0, self.row - 1, self._columns - 1)

    def _text(self, text: str) -> str:
        text = writable(text)
        if len(text) * 2 <= CELL_LIMIT:
            return text
        units = text.encode("utf-16-le")
        if len(units) // 2 <= CELL_LIMIT:
            return text
        self.shortened += 1
        return units[: _KEPT * 2].decode("utf-16-le", errors="ignore") + self._rest.format(len(text))
