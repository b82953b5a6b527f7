"""Finding the header of a table and which column is which field."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from core.ingest.cells import INVISIBLE, cell_text, clean_text
from core.ingest.model import CellValue, RawRow, SheetField
from core.ingest.problems import Code, Words, problem
from core.types import RowProblem, Severity

HEADER_ALIASES: Mapping[SheetField, tuple[str, ...]] = MappingProxyType(
    {
        SheetField.ID: (
            "数据编号",
            "编号",
            "数据id",
            "样本编号",
            "样本id",
            "文本编号",
            "题号",
            "序号",
            "id",
            "data id",
            "item id",
            "sample id",
            "record id",
            "example id",
            "uid",
            "key",
            "no",
            "number",
            "index",
        ),
        SheetField.PROMPT: (
            "创作要求",
            "写作要求",
            "要求",
            "题目",
            "提示词",
            "提示",
            "指令",
            "问题",
            "prompt",
            "instruction",
            "question",
            "query",
            "requirement",
            "requirements",
            "task",
            "topic",
        ),
        SheetField.DIMENSION: (
            "评判维度",
            "维度",
            "评价维度",
            "评分维度",
            "评估维度",
            "评测维度",
            "dimension",
            "dim",
            "criterion",
            "criteria",
            "aspect",
        ),
        SheetField.TEXT: (
            "待评判内容",
            "待评内容",
            "待评判文本",
            "评判内容",
            "内容",
            "文本",
            "正文",
            "文章",
            "回答",
            "回复",
            "模型回复",
            "作文",
            "text",
            "content",
            "answer",
            "response",
            "output",
            "reply",
            "completion",
            "essay",
            "article",
        ),
        SheetField.LABEL: (
            "标注分值",
            "标注分数",
            "标注",
            "分值",
            "分数",
            "得分",
            "评分",
            "标签",
            "人工评分",
            "人工分值",
            "label",
            "score",
            "gold",
            "gold label",
            "gold score",
            "rating",
            "grade",
            "target",
        ),
    }
)
"""Every header that is known, the canonical one first. Case, spaces, width, `_`, `-` and a remark in brackets do not count."""

NEEDED_FIELDS = (SheetField.ID, SheetField.DIMENSION, SheetField.TEXT)
HEADER_SEARCH_ROWS = 20
_LONGEST_NAME = 80

_LONGEST_HEADER = 1_000  # any longer cell is a text; comparing those as names would cost seconds

_IGNORED = re.compile(rf"[\s_\-*:：.·{INVISIBLE}]+")
_REMARK = re.compile(r"[(\[【].*[)\]】]$", re.DOTALL)


def normalise(name: str) -> str:
    """Return `name` without case, width, spaces and punctuation, as headers and dimension names are compared."""
    return _IGNORED.sub("", unicodedata.normalize("NFKC", name).casefold())


_BY_NAME: Mapping[str, tuple[SheetField, int]] = MappingProxyType(
    {normalise(alias): (field, rank) for field, aliases in HEADER_ALIASES.items() for rank, alias in enumerate(aliases)}
)


def known_field(header: str) -> tuple[SheetField, int] | None:
    """Return the field that `header` names and the rank of the alias (0 is the canonical one), or None."""
    if len(header) > _LONGEST_HEADER:
        return None
    plain = normalise(header)
    return _BY_NAME.get(plain) or _BY_NAME.get(normalise(_REMARK.sub("", unicodedata.normalize("NFKC", header).strip())))


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table: `names` (unique), the 0-based index of each field, of each extra and of each unnamed column."""

    names: tuple[str, ...]
    index: Mapping[SheetField, int]
    extra: tuple[int, ...]
    unnamed: frozenset[int]
    problems: tuple[RowProblem, ...]

    @property
    def mapping(self) -> Mapping[str, str]:
        """Return field -> header."""
        return {field.value: self.names[index] for field, index in self.index.items()}

    @property
    def fatal(self) -> bool:
        """Return whether a needed column is missing or ambiguous."""
        return any(p.severity is Severity.ERROR for p in self.problems)


def header_position(rows: Sequence[RawRow], mapping: Mapping[str, str] | None) -> int | None:
    """Return which of the first rows is the header: the first that is not empty, unless a later one has far more known names."""
    wanted = wanted_names(mapping)
    first = next((position for position, row in enumerate(rows) if any(cell_text(cell).strip() for cell in row.cells)), None)
    if first is None:
        return None
    counts = [_names_known(row, wanted) for row in rows[:HEADER_SEARCH_ROWS]]
    best = max(range(len(counts)), key=lambda position: (counts[position], -position))
    return best if counts[best] >= counts[first] + 2 else first


def wanted_names(mapping: Mapping[str, str] | None) -> set[str]:
    """Return the headers that a mapping names, as they are compared; a field that is left open names none."""
    return {plain for header in (mapping or {}).values() if (plain := normalise(header))}


def _names_known(row: RawRow, wanted: set[str]) -> int:
    """Return how many fields a row's cells name, by known names or by the user's."""
    cells = [cell for cell in row.cells if isinstance(cell, str) and 0 < len(cell) <= _LONGEST_NAME]
    fields = {found[0] for found in map(known_field, cells) if found is not None}
    return len(fields | {normalise(cell) for cell in cells if normalise(cell) in wanted})


def resolve_columns(header: Sequence[CellValue], mapping: Mapping[str, str] | None, *, require_labels: bool) -> Columns:
    """Return which column is which field, by the user's mapping first and by known names after it."""
    names, duplicates = _unique_names([clean_text(cell_text(cell)).text.strip("\ufeff \t\r\n\u3000") for cell in header])
    problems: list[RowProblem] = []
    index = _by_mapping(names, duplicates, mapping or {}, problems)
    doubled = _by_alias(names, duplicates, index, problems)
    needed = (*NEEDED_FIELDS, SheetField.LABEL) if require_labels else NEEDED_FIELDS
    reported = {p.column for p in problems if p.severity is Severity.ERROR}
    for field in needed:
        aliases = HEADER_ALIASES[field]
        if field not in index and field not in doubled and aliases[0] not in reported and not reported & set(aliases):
            problems.append(
                problem(Code.MISSING_COLUMN, column=aliases[0], header=_listed(n for n in names if n) or "—", aliases=", ".join(aliases))
            )
    used = set(index.values())
    extra = tuple(i for i, name in enumerate(names) if i not in used)
    named = _with_names(names)
    return Columns(named, index, extra, frozenset(i for i, name in enumerate(names) if not name), tuple(problems))


def _with_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, with one such as column_5 for each that is empty."""
    taken = set(names)
    return tuple(name or _free(f"column_{index + 1}", taken) for index, name in enumerate(names))


def _free(name: str, taken: set[str]) -> str:
    """Return `name`, with a number behind it where it is taken, and take it."""
    number, free = 2, name
    while free in taken:
        number, free = number + 1, f"{name} ({number})"
    taken.add(free)
    return free


def _unique_names(names: Sequence[str]) -> tuple[list[str], dict[str, list[int]]]:
    """Return the names with a number behind each repeated one, and where each doubled name stands."""
    counts = Counter(name for name in names if name)
    taken = set(names)
    places: dict[str, list[int]] = {}
    unique = []
    for index, name in enumerate(names):
        first = name not in places
        if counts[name] > 1:
            places.setdefault(name, []).append(index)
        unique.append(name if first else _free(name, taken))
    return unique, places


def _by_mapping(
    names: Sequence[str], duplicates: Mapping[str, list[int]], mapping: Mapping[str, str], problems: list[RowProblem]
) -> dict[SheetField, int]:
    index: dict[SheetField, int] = {}
    plain = {normalise(name): i for i, name in reversed(list(enumerate(names))) if name}
    for key, header in mapping.items():
        if not header:
            continue
        shown = f"{key} -> {header}"
        if key not in set(SheetField):
            known = ", ".join(SheetField)
            hint = Words(f"字段只能是 {known}。", f"The fields are {known}.")
            problems.append(problem(Code.UNKNOWN_MAPPING, column=header, value=shown, hint=hint))
            continue
        found = names.index(header) if header in names else plain.get(normalise(header))
        if found is None:
            listed = _listed(n for n in names if n)
            hint = Words(f"表中没有「{header}」列，现有的列：{listed}。", f'There is no column "{header}"; the columns are {listed}.')
            problems.append(problem(Code.UNKNOWN_MAPPING, column=header, value=shown, hint=hint))
        elif found in index.values():
            hint = Words("一列只能对应一个字段。", "A column can be only one field.")
            problems.append(problem(Code.UNKNOWN_MAPPING, column=header, value=shown, hint=hint))
        elif names[found] in duplicates:
            problems.append(_duplicate(names[found], duplicates[names[found]]))
        else:
            index[SheetField(key)] = found
    return index


def _by_alias(
    names: Sequence[str], duplicates: Mapping[str, list[int]], index: dict[SheetField, int], problems: list[RowProblem]
) -> frozenset[SheetField]:
    """Fill `index` with the fields that no mapping gave; return those whose column stands more than once."""
    unclear: set[SheetField] = set()
    taken = set(index.values())
    candidates: dict[SheetField, list[tuple[int, int]]] = {}
    for position, name in enumerate(names):
        found = known_field(name) if name and position not in taken else None
        if found and found[0] not in index:
            candidates.setdefault(found[0], []).append((found[1], position))
    for field, places in candidates.items():
        places.sort()
        best = names[places[0][1]]
        doubled = [p for rank, p in places if rank == places[0][0]]
        if best in duplicates or len(doubled) > 1:
            problems.append(_duplicate(best, sorted({*duplicates.get(best, []), *doubled})))
            unclear.add(field)
            continue
        index[field] = places[0][1]
        if len(places) > 1:
            others = "、".join(f"「{names[p]}」" for _, p in places[1:])
            english = ", ".join(f'"{names[p]}"' for _, p in places[1:])
            problems.append(
                problem(
                    Code.AMBIGUOUS_COLUMN, column=best, others=Words(others, english), field=Words(HEADER_ALIASES[field][0], field.value)
                )
            )
    mapped = set(index.values())
    for name, positions in duplicates.items():
        if not mapped & set(positions) and known_field(name) is None:
            problems.append(_duplicate(name, positions, Severity.WARNING))
    return frozenset(unclear)


def _duplicate(name: str, places: Sequence[int], severity: Severity = Severity.ERROR) -> RowProblem:
    return problem(Code.DUPLICATE_COLUMN, severity=severity, column=name, places=", ".join(str(p + 1) for p in places))


def _listed(names: object) -> str:
    shown = list(names)[:12]  # type: ignore[call-overload]
    return ", ".join(shown)
