"""Reading xlsx and xls workbooks with python-calamine, behind the guard of xlsx_package.

python-calamine was chosen over openpyxl's read-only mode by measurement (benchmarks/ingest.py prints both): it needs
less than half of the processor time and knows the _x000D_ escapes; what it does not tell comes from the guard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, PasswordError, SheetTypeEnum, SheetVisibleEnum

from core.errors import SheetError
from core.ingest.detect import Detected
from core.ingest.model import Limits, MergedRange, RawRow, RawTable, SheetFormat
from core.ingest.problems import Code, problem
from core.ingest.xlsx_package import Package, SheetScan, WorksheetPart
from core.types import RowProblem

# calamine goes by the extension of a path before it looks at the content.
_MISLEADING = {
    SheetFormat.XLSX: {".xls", ".xla", ".xlsb", ".ods"},
    SheetFormat.XLS: {".xlsx", ".xlsm", ".xlam", ".xlsb", ".ods"},
}


def read_xlsx(path: Path, name: str, detected: Detected, worksheet: str, limits: Limits) -> RawTable:
    """Return the chosen worksheet, or the first visible one that holds something.

    Raises SheetError for a worksheet that does not exist, a zip bomb or a damaged file.
    """
    with Package(path, name, limits) as package:
        parts = package.worksheets()
        names = tuple(part.name for part in parts)
        chosen, others = _choose(package, parts, worksheet, name)
        scan = package.scan(chosen.part)
        package.verify_shared()
    notes = [*detected.notes, *_notes(chosen, others, scan)]
    workbook = _open(path, name, SheetFormat.XLSX)
    sheet = _sheet(workbook, chosen.name, name)
    merged = _merged(sheet)
    workbook.close()
    return RawTable(
        SheetFormat.XLSX,
        _rows(sheet, scan),
        worksheets=names,
        worksheet=chosen.name,
        notes=tuple(notes),
        marks=scan.marks,
        merged=merged,
        dense=True,
    )


def read_xls(path: Path, name: str, detected: Detected, worksheet: str) -> RawTable:
    """Return the chosen worksheet of an old .xls file, or the first that holds something. Raises SheetError."""
    workbook = _open(path, name, SheetFormat.XLS)
    metadata = [m for m in workbook.sheets_metadata if m.typ == SheetTypeEnum.WorkSheet]
    parts = tuple(WorksheetPart(m.name, "", m.visible != SheetVisibleEnum.Visible) for m in metadata)
    _check_name(worksheet, tuple(part.name for part in parts), name)
    filled = [part for part in parts if _sheet(workbook, part.name, name).start is not None]
    visible = [part for part in filled if not part.hidden]
    chosen = next((part for part in parts if part.name == worksheet), (visible or filled or list(parts))[0])
    others = [part.name for part in filled if part.name != chosen.name]
    sheet = _sheet(workbook, chosen.name, name)
    merged = _merged(sheet)
    workbook.close()
    return RawTable(
        SheetFormat.XLS,
        _rows(sheet, SheetScan()),
        worksheets=tuple(part.name for part in parts),
        worksheet=chosen.name,
        notes=(*detected.notes, *_notes(chosen, others, SheetScan())),
        merged=merged,
        dense=True,
    )


def _choose(package: Package, parts: Sequence[WorksheetPart], worksheet: str, name: str) -> tuple[WorksheetPart, list[str]]:
    """Return the worksheet to read and the names of the others that hold something."""
    if not parts:
        raise SheetError(f"{name} has no worksheet. Save the table as .xlsx again.", zh=f"{name} 中没有工作表。请重新另存为 .xlsx。")
    _check_name(worksheet, tuple(part.name for part in parts), name)
    filled = [part for part in parts if package.holds_something(part.part)]
    if worksheet:
        chosen = next(part for part in parts if part.name == worksheet)
    else:
        visible = [part for part in filled if not part.hidden]
        chosen = (visible or filled or list(parts))[0]
    return chosen, [part.name for part in filled if part.name != chosen.name]


def _check_name(worksheet: str, names: tuple[str, ...], name: str) -> None:
    if worksheet and worksheet not in names:
        known = ", ".join(names)
        raise SheetError(
            f'{name} has no worksheet "{worksheet}"; it has {known}. Choose one of them.',
            zh=f"{name} 中没有工作表「{worksheet}」，现有：{known}。请从中选择。",
        )


def _notes(chosen: WorksheetPart, others: Sequence[str], scan: SheetScan) -> Iterator[RowProblem]:
    if chosen.hidden:
        yield problem(Code.HIDDEN_WORKSHEET, value=chosen.name)
    if others:
        yield problem(Code.OTHER_WORKSHEETS, value=chosen.name, others=", ".join(others))
    if scan.hidden_rows:
        yield problem(Code.HIDDEN_ROWS, count=scan.hidden_rows, first=scan.first_hidden)


def _open(path: Path, name: str, shape: SheetFormat) -> CalamineWorkbook:
    try:
        if path.suffix.lower() not in _MISLEADING[shape]:
            return CalamineWorkbook.from_path(str(path))
        with path.open("rb") as file:  # held in memory as a whole, so only where it must be
            return CalamineWorkbook.from_filelike(file)
    except PasswordError as error:
        raise SheetError(
            f"{name} is protected by a password: remove it, save, and bring the file in again.",
            zh=f"{name} 有打开密码：请去掉密码，保存后再导入。",
        ) from error
    except (CalamineError, OSError) as error:
        raise _damaged(name, error) from error


def _sheet(workbook: CalamineWorkbook, worksheet: str, name: str) -> CalamineSheet:
    try:
        return workbook.get_sheet_by_index(workbook.sheet_names.index(worksheet))
    except (CalamineError, ValueError) as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> SheetError:
    return SheetError(
        f"{name} is damaged and cannot be read ({error}). Open it in a spreadsheet program and save it as .xlsx again.",
        zh=f"{name} 已损坏，无法读取（{error}）。请用表格软件打开并重新另存为 .xlsx。",
    )


def _merged(sheet: CalamineSheet) -> tuple[MergedRange, ...]:
    ranges = (MergedRange(top + 1, left, bottom + 1, right) for (top, left), (bottom, right) in sheet.merged_cell_ranges or ())
    return tuple(sorted((r for r in ranges if (r.top, r.left) != (r.bottom, r.right)), key=lambda r: (r.top, r.left)))


def _rows(sheet: CalamineSheet, scan: SheetScan) -> Iterator[RawRow]:
    """Yield the rows of the used rectangle from row 1 on, each from the first column on.

    Rows below the last value that hold only error cells, which calamine leaves out, are yielded empty.
    """
    last = 0
    if sheet.start is not None:
        left = sheet.start[1]
        for number, cells in enumerate(sheet.iter_rows(), start=1):
            last = number
            yield RawRow(number, [""] * left + cells if left else cells)
    for number in sorted(row for row in scan.marks if row > last):
        yield RawRow(number, [])
