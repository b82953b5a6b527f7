"""Dimensions and files for the tests of ingest, all made here."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import xlsxwriter

from core.ingest import Limits, ParsedSheet, read_sheet
from core.types import Dimension, DimensionKind, RowProblem

HEADER = ("数据编号", "创作要求", "评判维度", "待评判内容", "标注分值")


def _levels(labels: Sequence[int]) -> Mapping[int, Mapping[str, str]]:
    return {label: {"zh": f"{label} 分", "en": f"level {label}"} for label in labels}


FLUENCY = Dimension(
    "fluency",
    {"zh": "流畅性", "en": "Fluency"},
    (1, 2, 3, 4, 5),
    DimensionKind.ORDINAL,
    _levels(range(1, 6)),
    "v1",
    needs_prompt=False,
    aliases=("通顺",),
)
NORMATIVITY = Dimension(
    "normativity",
    {"zh": "规范性", "en": "Normativity"},
    (1, 2, 3, 4, 5),
    DimensionKind.ORDINAL,
    _levels(range(1, 6)),
    "v1",
    needs_prompt=True,
    empty_text_label=5,
)
CHOICE = Dimension(
    "choice",
    {"zh": "选择题", "en": "Multiple choice"},
    (0, 1),
    DimensionKind.NOMINAL,
    _levels((0, 1)),
    "v1",
    needs_prompt=False,
    aliases=("mcq",),
)
DIMENSIONS: Mapping[str, Dimension] = {d.id: d for d in (FLUENCY, NORMATIVITY, CHOICE)}


def read(path: Path, **options: object) -> ParsedSheet:
    """Read a sheet with the dimensions of these tests."""
    return read_sheet(path, dimensions=DIMENSIONS, **options)  # type: ignore[arg-type]


def codes(sheet: ParsedSheet) -> list[str]:
    """Return the codes of all problems, in order."""
    return [problem.code for problem in sheet.problems]


def only(sheet: ParsedSheet, code: str) -> RowProblem:
    """Return the one problem with this code."""
    found = [problem for problem in sheet.problems if problem.code == code]
    assert len(found) == 1, codes(sheet)
    return found[0]


def write_csv(path: Path, rows: Sequence[Sequence[object]], encoding: str = "utf-8", delimiter: str = ",") -> Path:
    """Write rows as a delimited file."""
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[object]) -> Path:
    """Write one JSON value a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_xlsx(path: Path, rows: Sequence[Sequence[object]], **more: Sequence[Sequence[object]]) -> Path:
    """Write rows as the first worksheet, and `more` worksheets by name."""
    with xlsxwriter.Workbook(str(path), {"strings_to_formulas": False, "strings_to_urls": False}) as book:
        for name, table in {"Sheet1": rows, **more}.items():
            sheet = book.add_worksheet(name)
            for number, cells in enumerate(table):
                sheet.write_row(number, 0, cells)
    return path


def draw_xlsx(path: Path, draw: Callable[[xlsxwriter.Workbook, xlsxwriter.worksheet.Worksheet], None]) -> Path:
    """Write a header and let `draw` do the rest of the worksheet."""
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet("Sheet1")
        sheet.write_row(0, 0, HEADER)
        draw(book, sheet)
    return path


def xlsx_of_xml(path: Path, cells: str) -> Path:
    """Write an xlsx file whose worksheet holds exactly these rows of XML."""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return xlsx_of_part(path, f'<worksheet xmlns="{space}"><sheetData>{cells}</sheetData></worksheet>'.encode())


def xlsx_of_part(path: Path, worksheet: bytes) -> Path:
    """Write an xlsx file whose worksheet is exactly this part."""
    write_xlsx(path, [])
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["xl/worksheets/sheet1.xml"] = worksheet
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


SMALL = Limits(max_bytes=2**20, max_rows=50)
