"""Reading a sheet: from a file to rows that can be judged and everything that is wrong with the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, dropwhile, islice
from pathlib import Path

from core.errors import SheetError
from core.ingest.cells import cell_text, is_blank, readable_name
from core.ingest.columns import HEADER_SEARCH_ROWS, Columns, header_position, resolve_columns
from core.ingest.detect import Detected, detect
from core.ingest.json_table import read_json, read_jsonl
from core.ingest.model import Limits, ParsedSheet, RawRow, RawTable, SheetFormat
from core.ingest.problems import Code, Words, problem
from core.ingest.rows import RowChecker
from core.ingest.text_table import read_delimited
from core.ingest.workbook import read_xls, read_xlsx
from core.types import Dimension, RowProblem, SheetRow


def read_sheet(
    path: Path,
    *,
    name: str = "",
    worksheet: str = "",
    mapping: Mapping[str, str] | None = None,
    dimensions: Mapping[str, Dimension],
    limits: Limits | None = None,
    require_labels: bool = False,
) -> ParsedSheet:
    """Return the sheet's rows and all its problems at once.

    `name` is the file's name as the user knows it (its extension is only a hint), `mapping` is field ("id", "prompt",
    "dimension", "text", "label") -> header for columns that should not be found by their names, `require_labels` is
    for library files: a missing label is an error then. Raises SheetError for a file that cannot be read at all.
    """
    limits = limits or Limits()
    shown = readable_name(name or path.name)
    detected = detect(path, shown, limits)
    digest, size = _fingerprint(path)
    table = _table(path, shown, detected, worksheet, mapping, limits)
    header = _find_header(table, mapping, require_labels=require_labels)
    file = _File(shown, digest, size)
    if header.columns is None or header.columns.fatal:
        return _unreadable(file, table, header, limits)
    _check_width(len(header.columns.names) - len(header.columns.unnamed), shown, limits)
    checker = RowChecker(shown, table, header.columns, dimensions, require_labels=require_labels, lossy=detected.lossy)
    rows = tuple(_checked(checker, header.rows, shown, limits))
    problems = [*table.notes, *header.problems, *header.columns.problems]
    if checker.total == 0:
        problems.append(problem(Code.HEADER_ONLY, below=header.row))
    problems += [*checker.summary(), *checker.problems]
    columns = tuple(n for i, n in enumerate(header.columns.names) if i not in header.columns.unnamed or i in checker.filled_unnamed)
    return _parsed(file, table, columns, header.columns.mapping, problems, rows=rows, total=checker.total, errors=checker.error_rows)


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class _Header:
    """The header: its columns (None in an empty sheet), and the rows below it.

    `row` is its 1-based number, 0 where every row names its own fields.
    """

    columns: Columns | None
    rows: Iterator[RawRow]
    row: int
    problems: tuple[RowProblem, ...] = ()


def _fingerprint(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()


def _table(path: Path, name: str, detected: Detected, worksheet: str, mapping: Mapping[str, str] | None, limits: Limits) -> RawTable:
    if detected.format is SheetFormat.XLSX:
        return read_xlsx(path, name, detected, worksheet, limits)
    if detected.format is SheetFormat.XLS:
        return read_xls(path, name, detected, worksheet)
    if worksheet:
        raise SheetError(
            f'{name} is a {detected.format} file and has no worksheet "{worksheet}". Leave the worksheet out.',
            zh=f"{name} 是 {detected.format} 文件，没有工作表「{worksheet}」。请不要指定工作表。",
        )
    if detected.format is SheetFormat.JSON:
        return read_json(path, name, detected, limits)
    if detected.format is SheetFormat.JSONL:
        return read_jsonl(path, name, detected, limits)
    return read_delimited(path, name, detected, mapping, limits)


def _find_header(table: RawTable, mapping: Mapping[str, str] | None, *, require_labels: bool) -> _Header:
    if table.header is not None:
        columns = resolve_columns(table.header, mapping, require_labels=require_labels) if table.header else None
        return _Header(columns, table.rows, 0)
    # Empty rows are no rows; one that holds an error value only looks empty, and is told of below the header.
    rows = (row for row in table.rows if not _is_blank(row) or row.number in table.marks)
    first = list(islice(dropwhile(_is_blank, rows), HEADER_SEARCH_ROWS))
    position = header_position(first, mapping)
    if position is None:
        return _Header(None, chain(first, rows), 0)
    header = first[position]
    above = [row for row in first[:position] if not _is_blank(row)]
    problems: tuple[RowProblem, ...] = ()
    if above:
        shown = " | ".join(cell_text(cell) for row in above for cell in row.cells if not is_blank(cell))
        problems = (problem(Code.HEADER_NOT_FIRST, value=shown, first=header.number),)
    columns = resolve_columns(header.cells, mapping, require_labels=require_labels)
    return _Header(columns, chain(first[position + 1 :], rows), header.number, problems)


def _is_blank(row: RawRow) -> bool:
    return row.broken is None and all(map(is_blank, row.cells))


def _checked(checker: RowChecker, rows: Iterator[RawRow], name: str, limits: Limits) -> Iterator[SheetRow]:
    for raw in rows:
        row = checker.check(raw)
        _check_count(checker.total, name, limits)
        if row is not None:
            yield row


def _check_width(count: int, name: str, limits: Limits) -> None:
    if count > limits.max_columns:
        raise SheetError(
            f"{name} has {count:,} columns; at most {limits.max_columns:,} are accepted. Keep the ones you need.",
            zh=f"{name} 有 {count:,} 列，最多接受 {limits.max_columns:,} 列。请只保留需要的列。",
        )


def _check_count(total: int, name: str, limits: Limits) -> None:
    if total > limits.max_rows:
        raise SheetError(
            f"{name} has more than {limits.max_rows:,} rows. Split it, or raise PINGPAN_MAX_ROWS.",
            zh=f"{name} 超过 {limits.max_rows:,} 行。请拆分文件，或调大 PINGPAN_MAX_ROWS。",
        )


def _unreadable(file: _File, table: RawTable, header: _Header, limits: Limits) -> ParsedSheet:
    """Return a sheet of which no row can be judged: what its columns lack, and how many rows that concerns."""
    total, broken = 0, []
    for raw in header.rows:
        if not _is_blank(raw):
            total += 1
            _check_count(total, file.name, limits)
            if raw.broken is not None:
                broken.append(raw.broken)
    problems = [*table.notes, *header.problems]
    mapping: Mapping[str, str] = {}
    if header.columns is not None:
        problems += header.columns.problems
        mapping = header.columns.mapping
    elif total == 0:
        others = ", ".join(name for name in table.worksheets if name != table.worksheet)
        hint = Words("请检查文件。", "Check the file.")
        if others:
            hint = Words(f"可选的其他工作表：{others}。", f"Other worksheets are {others}.")
        problems.append(problem(Code.EMPTY_SHEET, hint=hint))
    columns: tuple[str, ...] = ()
    if header.columns is not None:
        columns = tuple(name for i, name in enumerate(header.columns.names) if i not in header.columns.unnamed)
    return _parsed(file, table, columns, mapping, [*problems, *broken], rows=(), total=total, errors=[], fatal=True)


def _parsed(
    file: _File,
    table: RawTable,
    columns: tuple[str, ...],
    mapping: Mapping[str, str],
    problems: list[RowProblem],
    *,
    rows: tuple[SheetRow, ...],
    total: int,
    errors: list[int],
    fatal: bool = False,
) -> ParsedSheet:
    return ParsedSheet(
        name=file.name,
        sha256=file.sha256,
        size_bytes=file.size,
        format=table.format.value,
        encoding=table.encoding,
        worksheets=table.worksheets,
        worksheet=table.worksheet,
        columns=columns,
        mapping=dict(mapping),
        rows=rows,
        problems=tuple(problems),
        total_rows=total,
        error_rows=tuple(errors),
        fatal=fatal or total == 0,
    )
