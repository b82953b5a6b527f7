"""Reading csv and tsv files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TextIO

from core.errors import SheetError
from core.ingest.columns import HEADER_SEARCH_ROWS, known_field, normalise, wanted_names
from core.ingest.detect import Detected
from core.ingest.model import CellValue, Limits, RawRow, RawTable, SheetFormat
from core.ingest.problems import Code, problem

_DELIMITERS = (",", "\t", ";", "|")
# A noncharacter that no text holds: fed after the last line, it shows whether a quote was still open there.
_END = "\ufdd0end of file\ufdd0"


def read_delimited(path: Path, name: str, detected: Detected, mapping: Mapping[str, str] | None, limits: Limits) -> RawTable:
    """Return the rows of a delimited file; the delimiter is the one under which most column names are known."""
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_bytes))
    delimiter = _sniff(path, detected, mapping)
    kind = SheetFormat.TSV if delimiter == "\t" else SheetFormat.CSV
    return RawTable(kind, _rows(path, name, detected, delimiter), encoding=detected.encoding, notes=detected.notes)


def _open(path: Path, detected: Detected) -> TextIO:
    return path.open(encoding=detected.encoding, errors="replace" if detected.lossy else "strict", newline="")


def _sniff(path: Path, detected: Detected, mapping: Mapping[str, str] | None) -> str:
    wanted = wanted_names(mapping)
    preferred = "\t" if detected.format is SheetFormat.TSV else ","
    scores: dict[str, tuple[int, int, bool]] = {}
    with _open(path, detected) as file:
        lines = list(islice(file, HEADER_SEARCH_ROWS))
    for delimiter in _DELIMITERS:
        best = (0, 0)
        for cells in csv.reader(lines, delimiter=delimiter):
            known = sum(1 for cell in cells if known_field(cell) or normalise(cell.lstrip("\ufeff")) in wanted)
            best = max(best, (known, min(len(cells), 2)))
        scores[delimiter] = (*best, delimiter == preferred)
    return max(_DELIMITERS, key=lambda delimiter: scores[delimiter])


def _rows(path: Path, name: str, detected: Detected, delimiter: str) -> Iterator[RawRow]:
    number = 0
    with _open(path, detected) as file:
        try:
            for number, cells in enumerate(csv.reader(_with_end(file), delimiter=delimiter), start=1):
                if cells == [_END]:
                    return
                if cells and cells[-1].endswith(_END):
                    fault = problem(Code.UNCLOSED_QUOTE, row=number, value=cells[-1][:80])
                    yield RawRow(number, [], broken=fault)
                    return
                if number == 1 and cells:
                    cells[0] = cells[0].removeprefix("\ufeff")
                row: list[CellValue] = [*cells]
                yield RawRow(number, row)
        except csv.Error as error:
            raise SheetError(
                f"{name} cannot be read after row {number} ({error}). Export it again as CSV UTF-8.",
                zh=f"{name} 在第 {number} 行之后无法读取（{error}）。请重新导出为 UTF-8 编码的 CSV。",
            ) from error


def _with_end(file: TextIO) -> Iterator[str]:
    yield from file
    yield _END
