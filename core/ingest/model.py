"""What a sheet is read into: limits, raw tables, and the parsed sheet."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from core.types import RowProblem, SheetRow

CELL_LIMIT = 32_767
"""The most characters (UTF-16 units) that a cell of an xlsx file can hold."""

CellValue = str | int | float | bool | dt.datetime | dt.date | dt.time | dt.timedelta
"""A cell as a reader gives it; an empty cell is the empty string."""


class SheetField(StrEnum):
    """The columns that Pingpan reads; everything else is kept as extra."""

    ID = "id"
    PROMPT = "prompt"
    DIMENSION = "dimension"
    TEXT = "text"
    LABEL = "label"


class SheetFormat(StrEnum):
    """The file formats that can be read, told by their content and not by their name."""

    XLSX = "xlsx"
    XLS = "xls"
    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a sheet may hold before it is refused.

    `max_bytes` is of the file, `max_unpacked_bytes` of an xlsx file's parts after decompression; a part above 16 MiB
    may not be `max_ratio` times larger than its compressed form. `max_cells` is the area of the used rectangle of a
    worksheet, which one stray cell far away makes huge.
    """

    max_bytes: int = 512 * 2**20
    max_rows: int = 200_000
    max_columns: int = 1_000
    max_unpacked_bytes: int = 2**30
    max_ratio: int = 300
    max_cells: int = 12_000_000
    max_zip_entries: int = 10_000


class MarkKind(StrEnum):
    """What a cell of an xlsx file holds beside its value."""

    FORMULA = "formula"
    FORMULA_UNCACHED = "formula_uncached"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CellMark:
    """A formula or an error value in a cell; `text` is the formula without its = sign, or the error such as #N/A."""

    kind: MarkKind
    text: str


@dataclass(frozen=True, slots=True)
class MergedRange:
    """A merged range of cells; rows are 1-based as the user sees them, columns 0-based, all inclusive."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row before it is judged: its 1-based number in the file and its cells from the first column on.

    `broken` is set for a line that could not be read as a row at all; its cells are empty.
    """

    number: int
    cells: list[CellValue]
    broken: RowProblem | None = None


@dataclass(frozen=True, slots=True)
class RawTable:
    """A table as a format's reader gives it: rows in file order, the header among them unless `header` is given.

    `header` is set by formats that name the fields of every row (jsonl, json). `marks` are by row number, then by
    0-based column. `notes` are problems of the file as a whole.
    """

    format: SheetFormat
    rows: Iterator[RawRow]
    encoding: str = ""
    worksheets: tuple[str, ...] = ()
    worksheet: str = ""
    header: tuple[str, ...] | None = None
    notes: tuple[RowProblem, ...] = ()
    marks: Mapping[int, Mapping[int, CellMark]] = field(default_factory=dict)
    merged: tuple[MergedRange, ...] = ()
    dense: bool = False
    """Every row has a cell for every column (worksheets), so that a row longer than its header is no fault."""


@dataclass(frozen=True, slots=True)
class ParsedSheet:
    """A sheet with everything that is wrong with it.

    `rows` are the rows without an ERROR, in the sheet's order; their `position` counts all rows of the sheet, so that
    a bad row leaves a gap. `mapping` is field -> header in effect. `error_rows` are the 1-based numbers of the rows
    that cannot be judged. `fatal` says that nothing can be judged (a needed column is missing, the sheet is empty).
    `total_rows` counts rows that hold something, good and bad, without the header.
    """

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
    problems: tuple[RowProblem, ...]
    total_rows: int
    error_rows: tuple[int, ...]
    fatal: bool

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """Return the columns that Pingpan has no use for, in the sheet's order."""
        used = set(self.mapping.values())
        return tuple(column for column in self.columns if column not in used)
