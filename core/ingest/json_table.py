"""Reading jsonl files, and json files that hold a list of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path

from core.errors import SheetError
from core.ingest.columns import known_field
from core.ingest.detect import Detected
from core.ingest.model import CellValue, Limits, RawRow, RawTable, SheetFormat
from core.ingest.problems import Code, Words, problem


class _Object(list[tuple[str, object]]):
    """A JSON object as its pairs, so that a key that stands twice is seen."""


class _Number(str):
    """A JSON number as the file writes it, so that no digit of an id is lost."""

    __slots__ = ()


_NAMES: Mapping[type, Words] = {
    list: Words("列表", "a list"),
    str: Words("文字", "a string"),
    bool: Words("真假值", "a boolean"),
    _Number: Words("数字", "a number"),
    type(None): Words(" null", "null"),
}


# What the parser of the standard library says, in Chinese.
_REASONS: Mapping[str, str] = {
    "Expecting value": "此处应为一个值",
    "Expecting property name enclosed in double quotes": "此处应为双引号中的键",
    "Expecting ':' delimiter": "缺少冒号",
    "Expecting ',' delimiter": "缺少逗号",
    "Extra data": "其后还有多余内容",
    "Unterminated string starting at": "字符串没有结束",
    "Invalid control character at": "字符串中有控制字符",
    "Invalid \\escape": "反斜杠转义无效",
    "Invalid \\uXXXX escape": "\\uXXXX 转义无效",
}


def _reason(error: json.JSONDecodeError) -> Words:
    said = error.msg.removesuffix(": ")
    return Words(_REASONS.get(said, said), said)


def _loads(content: str) -> object:
    return json.loads(content, object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number, parse_constant=lambda _: None)


def read_jsonl(path: Path, name: str, detected: Detected, limits: Limits) -> RawTable:
    """Return one row per line; `number` is the line's. Lines that are no JSON object come as broken rows.

    Raises SheetError for more different keys than there may be columns.
    """
    table = _Columns(name, limits.max_columns)
    rows = []
    with path.open(encoding=detected.encoding, errors="replace" if detected.lossy else "strict", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            content = line.lstrip("\ufeff").strip()
            if content:
                rows.append(_line(number, content, table))
            if len(rows) > limits.max_rows:  # refused by the caller, who counts them
                break
    return RawTable(SheetFormat.JSONL, _padded(rows, table), encoding=detected.encoding, header=tuple(table.names), notes=detected.notes)


def _line(number: int, content: str, table: _Columns) -> RawRow:
    try:
        return table.row(number, _loads(content))
    except json.JSONDecodeError as error:
        near = content[max(0, error.pos - 20) : error.pos + 20]
        fault = problem(Code.BAD_JSON_LINE, row=number, value=near, position=error.pos + 1, reason=_reason(error))
        return RawRow(number, [], broken=fault)
    except RecursionError:
        reason = Words("嵌套过深", "nested too deeply")
        fault = problem(Code.BAD_JSON_LINE, row=number, value=content[:40], position=1, reason=reason)
        return RawRow(number, [], broken=fault)


def read_json(path: Path, name: str, detected: Detected, limits: Limits) -> RawTable:
    """Return one row per object of the file's list; `number` counts the objects from 1.

    The file holds a list, or an object with exactly one list of objects in it, at once or under one key. Raises SheetError for anything else,
    and for more different keys than there may be columns.
    """
    table = _Columns(name, limits.max_columns)
    try:
        content = path.read_text(encoding=detected.encoding, errors="replace" if detected.lossy else "strict")
        records = _records(_loads(content.lstrip("\ufeff")), name)
        rows = [table.row(number, record) for number, record in enumerate(records, start=1)]
    except json.JSONDecodeError as error:
        raise SheetError(
            f"{name} is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}). Correct it there; it may be truncated.",
            zh=f"{name} 不是完整的 JSON（第 {error.lineno} 行第 {error.colno} 个字符：{_reason(error)[0]}）。请修正；文件可能被截断。",
        ) from error
    except RecursionError as error:
        raise SheetError(
            f"{name} is nested too deeply. Bring in a plain list of objects.", zh=f"{name} 嵌套过深。请导入对象的列表。"
        ) from error
    return RawTable(SheetFormat.JSON, _padded(rows, table), encoding=detected.encoding, header=tuple(table.names), notes=detected.notes)


def _records(value: object, name: str) -> Sequence[object]:
    if isinstance(value, list) and not isinstance(value, _Object):
        return value
    if isinstance(value, _Object):
        lists = [item for _, item in value if isinstance(item, list) and not isinstance(item, _Object)]
        of_objects = [item for item in lists if any(isinstance(record, _Object) for record in item)]
        if len(of_objects) == 1 or len(lists) == 1:
            return (of_objects or lists)[0]
        inner = [item for _, item in value if isinstance(item, _Object)]
        if not lists and len(inner) == 1 and not any(known_field(key) for key, _ in value):
            return _records(inner[0], name)  # {"result": {"data": [...]}}
        if not lists:
            return [value]
    raise SheetError(
        f'{name} holds no list of rows, or more than one. Write it as a list of objects: [{{"id": …, "dimension": …, "text": …}}].',
        zh=f'{name} 中没有行的列表，或不止一个。请写成对象的列表：[{{"id": …, "dimension": …, "text": …}}]。',
    )


class _Columns:
    """The keys of all objects in the order they are first seen, and the rows under them."""

    def __init__(self, name: str, most: int) -> None:
        self.names: dict[str, int] = {}
        self._name, self._most = name, most

    def row(self, number: int, value: object) -> RawRow:
        """Return the object's row, with as many cells as keys are known by now."""
        if not isinstance(value, _Object):
            kind = _NAMES.get(type(value), Words("其他内容", "something else"))
            fault = problem(Code.NOT_AN_OBJECT, row=number, value=_written(value)[:80], kind=kind)
            return RawRow(number, [], broken=fault)
        cells: list[CellValue] = [""] * len(self.names)
        broken = None
        seen: dict[str, object] = {}
        for key, item in value:
            if key in seen and seen[key] != item:
                broken = problem(Code.DUPLICATE_KEY, row=number, column=key, value=_written(item))
            seen[key] = item
            index = self.names.setdefault(key, len(self.names))
            if index == len(cells):
                cells.append("")
            cells[index] = _cell(item)
        self._check_width(number)
        return RawRow(number, cells, broken=broken)

    def _check_width(self, number: int) -> None:
        """Refuse a file that names a new column in every row, before its rows times its columns fill the memory."""
        if len(self.names) > self._most:
            last, most = next(reversed(self.names)), f"{self._most:,}"
            raise SheetError(
                f'{self._name} has more than {most} different keys ("{last}" in row {number} is one too many); at most {most} columns are '
                'accepted. Keep the ones you need, and write ids as values: {"id": …, "dimension": …, "text": …}.',
                zh=f"{self._name} 中不同的键超过 {most} 个（第 {number} 行的「{last}」超出上限），最多接受 {most} 列。请只保留需要的列，"
                '编号请写成值：{"id": …, "dimension": …, "text": …}。',
            )


def _cell(value: object) -> CellValue:
    if value is None:
        return ""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    return _written(value)


def _written(value: object) -> str:
    """Return a value as JSON that a person can read; a number as the file writes it, where it stands alone."""
    return str(value) if isinstance(value, _Number) else json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: object) -> object:
    """Return nested pairs as dictionaries again, and numbers as numbers."""
    if isinstance(value, _Object):
        return {key: _plain(item) for key, item in value}
    if isinstance(value, _Number):
        number = int(value) if value.lstrip("-").isdigit() and len(value) < 4000 else float(value)
        return number if isinstance(number, int) or isfinite(number) else str(value)  # JSON has no infinity
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _padded(rows: list[RawRow], table: _Columns) -> Iterator[RawRow]:
    """Yield the rows with a cell for every key, letting each go once it is yielded."""
    width = len(table.names)
    rows.reverse()
    while rows:
        row = rows.pop()
        row.cells.extend([""] * (width - len(row.cells)))
        yield row
