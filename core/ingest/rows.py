"""Checking the rows of a table, one after the other: every fault of every row, and the rows that are good."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.ingest.cells import (
    NO_EXTRA,
    at_cell_limit,
    cell_text,
    clean_text,
    digits_lost,
    invisible_characters,
    is_blank,
    label_number,
    whole_number,
)
from core.ingest.columns import HEADER_ALIASES, Columns, normalise
from core.ingest.merges import MergedCells
from core.ingest.model import CellMark, CellValue, MarkKind, RawRow, RawTable, SheetField
from core.ingest.problems import Code, Words, problem
from core.types import Dimension, RowProblem, Severity, SheetRow, SourceRef

_NO_MARKS: Mapping[int, CellMark] = {}
_LOSSY = "\ufffd"


@dataclass(slots=True)
class _Draft:
    """A row while it is checked: its cells, what is wrong with it, and the columns whose fault is already told."""

    number: int
    cells: list[CellValue]
    external_id: str = ""
    faults: list[RowProblem] = field(default_factory=list)
    told: set[int] = field(default_factory=set)

    @property
    def bad(self) -> bool:
        return any(fault.severity is Severity.ERROR for fault in self.faults)


@dataclass(slots=True)
class _Numeric:
    """How many ids are stored as numbers, and the first row with one."""

    count: int = 0
    first: int = 0


class RowChecker:
    """Checks rows in order. `problems`, `error_rows` and `total` grow with every row; `summary` comes last."""

    def __init__(
        self,
        name: str,
        table: RawTable,
        columns: Columns,
        dimensions: Mapping[str, Dimension],
        *,
        require_labels: bool,
        lossy: bool,
    ) -> None:
        self.problems: list[RowProblem] = []
        self.error_rows: list[int] = []
        self.total = 0
        self.filled_unnamed: set[int] = set()
        self._name, self._table, self._columns = name, table, columns
        self._dimensions = dimensions
        self._by_name = _dimension_names(dimensions)
        self._require_labels, self._lossy = require_labels, lossy
        self._merged = MergedCells(table.merged, columns)
        self._ids: dict[str, int] = {}
        self._contents: dict[tuple[str, str, str], int] = {}
        self._pool: dict[str, str] = {}
        self._numeric_ids = _Numeric()
        self._prompt_wanted: set[str] = set()
        known = "、".join(f"{d.name('zh')}（{d.id}）" for d in dimensions.values())
        self._unlabelled = (
            Words("删除该行", "delete the row") if require_labels else Words("留空表示未标注", "leave it empty for an unlabelled row")
        )
        self._known = Words(known, ", ".join(f"{d.id} ({d.name('zh')})" for d in dimensions.values()))

    def check(self, raw: RawRow) -> SheetRow | None:
        """Return the row if it can be judged, else None; its problems are added. A blank row is no row."""
        marks = self._table.marks.get(raw.number, _NO_MARKS)
        # Formulas filled down below the table give empty texts: =IF(A9="","",…) is no row either.
        silent = all(mark.kind is MarkKind.FORMULA for mark in marks.values())
        if raw.broken is None and silent and all(map(is_blank, raw.cells)):
            return None
        position, self.total = self.total, self.total + 1
        draft = _Draft(raw.number, raw.cells)
        row = None
        if raw.broken is not None:
            self._broken(draft, raw.broken)
        else:
            row = self._checked(draft, position, marks)
        self.problems.extend(draft.faults)
        if draft.bad:
            self.error_rows.append(raw.number)
            return None
        return row

    def summary(self) -> list[RowProblem]:
        """Return the problems of the sheet as a whole that only its rows show."""
        found = []
        if self._numeric_ids.count:
            found.append(
                problem(Code.NUMERIC_IDS, column=self._header(SheetField.ID), count=self._numeric_ids.count, first=self._numeric_ids.first)
            )
        if self._prompt_wanted:
            zh = "、".join(self._dimensions[d].name("zh") for d in sorted(self._prompt_wanted))
            en = ", ".join(sorted(self._prompt_wanted))
            aliases = HEADER_ALIASES[SheetField.PROMPT]
            found.append(problem(Code.PROMPT_COLUMN_ABSENT, column=aliases[0], names=Words(zh, en), aliases=", ".join(aliases)))
        return found

    def _broken(self, draft: _Draft, fault: RowProblem) -> None:
        draft.faults.append(fault)
        index = self._columns.index.get(SheetField.ID)
        if index is not None and index < len(draft.cells):
            self._identity(draft)
            draft.faults[-1] = replace(fault, external_id=draft.external_id)

    def _checked(self, draft: _Draft, position: int, marks: Mapping[int, CellMark]) -> SheetRow | None:
        self._shape(draft)
        self._merged.apply(draft.number, draft.cells, lambda code, column, **facts: self._tell(draft, code, column, **facts))
        if marks:
            self._marks(draft, marks)
        if self._lossy:
            self._undecodable(draft)
        self._id(draft)
        dimension = self._dimension(draft)
        label = self._label(draft, dimension)
        prompt = self._prompt(draft, dimension)
        text = self._text(draft, dimension)
        extra = self._extra(draft)
        if dimension is None or draft.bad:
            return None
        prompt, text = self._content(draft, dimension.id, prompt, text)
        source = SourceRef(self._name, self._table.worksheet, draft.number)
        return SheetRow(position, draft.external_id, dimension.id, prompt, text, label, source, extra)

    # -- helpers
    def _header(self, which: SheetField) -> str:
        index = self._columns.index.get(which)
        return self._columns.names[index] if index is not None else HEADER_ALIASES[which][0]

    def _value(self, draft: _Draft, which: SheetField) -> CellValue:
        index = self._columns.index.get(which)
        return draft.cells[index] if index is not None else ""

    def _told(self, draft: _Draft, which: SheetField) -> bool:
        return self._columns.index.get(which) in draft.told

    def _tell(
        self,
        draft: _Draft,
        code: Code,
        column: int | SheetField | None,
        *,
        value: str = "",
        severity: Severity | None = None,
        **facts: object,
    ) -> None:
        """Add a problem of this row; an error makes further faults of the same column uninteresting."""
        header = self._header(column) if isinstance(column, SheetField) else self._columns.names[column] if column is not None else ""
        fault = problem(code, row=draft.number, column=header, value=value, external_id=draft.external_id, severity=severity, **facts)
        draft.faults.append(fault)
        index = self._columns.index.get(column) if isinstance(column, SheetField) else column
        if index is not None and fault.severity is Severity.ERROR:
            draft.told.add(index)

    # -- the row's shape
    def _shape(self, draft: _Draft) -> None:
        """Give the row as many cells as the header has, read its id, and only then tell of the difference."""
        width, count = len(self._columns.names), len(draft.cells)
        surplus = [cell_text(cell) for cell in draft.cells[width:] if not is_blank(cell)]
        if count != width:
            draft.cells[:] = [*draft.cells[:width], *[""] * (width - count)]
        self._identity(draft)
        if surplus:
            self._tell(draft, Code.RAGGED_ROW, None, value=" | ".join(surplus), count=count, expected=width)
        elif count < width and not self._table.dense:
            self._tell(draft, Code.SHORT_ROW, None, count=count, expected=width)

    def _identity(self, draft: _Draft) -> None:
        """Read the id before anything else, so that every problem of the row can name it."""
        value = self._value(draft, SheetField.ID)
        draft.external_id = invisible_characters(clean_text(cell_text(value)).text.strip())[0]
        if isinstance(value, str):
            draft.external_id = whole_number(draft.external_id) or draft.external_id

    def _marks(self, draft: _Draft, marks: Mapping[int, CellMark]) -> None:
        fields = set(self._columns.index.values())
        for column, mark in marks.items():
            if column >= len(self._columns.names):
                continue
            mild = None if column in fields else Severity.WARNING
            shown = cell_text(draft.cells[column])
            if mark.kind is MarkKind.ERROR:
                self._tell(draft, Code.ERROR_CELL, column, value=mark.text, severity=mild)
                draft.cells[column] = "" if column in fields else mark.text
            elif mark.kind is MarkKind.FORMULA_UNCACHED:
                self._tell(draft, Code.FORMULA_UNCACHED, column, severity=mild, formula=mark.text)
                draft.cells[column] = "" if column in fields else f"={mark.text}"
            else:
                self._tell(draft, Code.FORMULA, column, value=shown, formula=mark.text)

    def _undecodable(self, draft: _Draft) -> None:
        for column, cell in enumerate(draft.cells):
            if isinstance(cell, str) and _LOSSY in cell:
                self._tell(
                    draft,
                    Code.UNDECODABLE,
                    column,
                    value=cell,
                    count=cell.count(_LOSSY),
                    encoding=self._table.encoding.removesuffix("-sig"),
                )

    # -- the fields
    def _id(self, draft: _Draft) -> None:
        if self._told(draft, SheetField.ID):
            return
        value = self._value(draft, SheetField.ID)
        text = self._cleaned(draft, SheetField.ID).strip()
        visible, invisible = invisible_characters(text)
        if invisible:
            self._tell(draft, Code.INVISIBLE_IN_ID, SheetField.ID, value=invisible, read=visible)
        if not visible:
            self._tell(draft, Code.MISSING_ID, SheetField.ID)
            return
        self._id_number(draft, value, visible)
        first = self._ids.setdefault(draft.external_id, draft.number)
        if first != draft.number:
            self._tell(draft, Code.DUPLICATE_ID, SheetField.ID, value=draft.external_id, other=first)

    def _id_number(self, draft: _Draft, value: CellValue, text: str) -> None:
        if isinstance(value, dt.date | dt.time | dt.timedelta):
            self._tell(draft, Code.DATE_CELL, SheetField.ID, value=text)
        elif digits_lost(value):
            self._tell(draft, Code.ID_DIGITS_LOST, SheetField.ID, value=text)
        elif isinstance(value, float):
            self._numeric_ids.count += 1
            self._numeric_ids.first = self._numeric_ids.first or draft.number
        elif text != draft.external_id:
            self._tell(draft, Code.NUMBER_BECAME_DECIMAL, SheetField.ID, value=text, read=draft.external_id)

    def _dimension(self, draft: _Draft) -> Dimension | None:
        if self._told(draft, SheetField.DIMENSION):
            return None
        text = self._cleaned(draft, SheetField.DIMENSION).strip()
        if not text:
            self._tell(draft, Code.MISSING_DIMENSION, SheetField.DIMENSION, known=self._known)
            return None
        found = self._by_name.get(normalise(text))
        if found is None:
            self._tell(draft, Code.UNKNOWN_DIMENSION, SheetField.DIMENSION, value=text, known=self._known)
            return None
        return self._dimensions[found]

    def _label(self, draft: _Draft, dimension: Dimension | None) -> int | None:
        if dimension is None or self._told(draft, SheetField.LABEL):
            return None
        value = self._value(draft, SheetField.LABEL)
        text = self._cleaned(draft, SheetField.LABEL).strip()
        labels = " ".join(map(str, dimension.labels))
        name = Words(dimension.name("zh"), dimension.id)
        if not text:
            if self._require_labels:
                self._tell(draft, Code.MISSING_LABEL, SheetField.LABEL, labels=labels)
            return None
        number = None if isinstance(value, bool) else label_number(text)
        if number is None or number not in dimension.labels:
            code = Code.LABEL_NOT_NUMBER if number is None else Code.LABEL_OFF_SCALE
            self._tell(draft, code, SheetField.LABEL, value=text, dimension=name, labels=labels, otherwise=self._unlabelled)
        else:
            if isinstance(value, str) and whole_number(text):
                self._tell(draft, Code.NUMBER_BECAME_DECIMAL, SheetField.LABEL, value=text, read=int(number))
            return int(number)
        return None

    def _prompt(self, draft: _Draft, dimension: Dimension | None) -> str:
        prompt = self._cleaned(draft, SheetField.PROMPT)
        self._date(draft, SheetField.PROMPT)
        if dimension and dimension.needs_prompt and not prompt.strip() and not self._told(draft, SheetField.PROMPT):
            if SheetField.PROMPT not in self._columns.index:
                self._prompt_wanted.add(dimension.id)
            self._tell(draft, Code.MISSING_PROMPT, SheetField.PROMPT, dimension=Words(dimension.name("zh"), dimension.id))
        return prompt

    def _text(self, draft: _Draft, dimension: Dimension | None) -> str:
        text = self._cleaned(draft, SheetField.TEXT)
        self._date(draft, SheetField.TEXT)
        if not text.strip():
            if dimension is not None and not self._told(draft, SheetField.TEXT):
                if dimension.empty_text_label is None:
                    self._tell(draft, Code.EMPTY_TEXT, SheetField.TEXT)
                else:
                    self._tell(
                        draft,
                        Code.EMPTY_TEXT_LABELLED,
                        SheetField.TEXT,
                        label=dimension.empty_text_label,
                        dimension=Words(dimension.name("zh"), dimension.id),
                    )
            elif dimension is None and not self._told(draft, SheetField.TEXT):
                self._tell(draft, Code.EMPTY_TEXT, SheetField.TEXT)
        return text

    def _date(self, draft: _Draft, which: SheetField) -> None:
        value = self._value(draft, which)
        if isinstance(value, dt.date | dt.time | dt.timedelta):
            self._tell(draft, Code.DATE_CELL, which, value=cell_text(value))

    def _cleaned(self, draft: _Draft, which: SheetField) -> str:
        """Return the field's text without what must not be in it, and tell what was found."""
        raw = cell_text(self._value(draft, which))
        text = self._clean(draft, which, raw)
        units = at_cell_limit(raw) if self._table.dense else 0
        if units:
            self._tell(draft, Code.CELL_LIMIT, which, count=units)
        return text

    def _clean(self, draft: _Draft, which: SheetField | int, raw: str) -> str:
        clean = clean_text(raw)
        if clean.control:
            self._tell(draft, Code.CONTROL_CHARACTERS, which, value=clean.control)
        if clean.surrogates:
            self._tell(draft, Code.LONE_SURROGATE, which, value=clean.surrogates)
        if clean.garbled and not self._lossy:
            self._tell(draft, Code.MOJIBAKE, which, value=clean.garbled)
        return clean.text

    # -- beyond the fields
    def _extra(self, draft: _Draft) -> Mapping[str, str]:
        extra: dict[str, str] = {}
        for index in self._columns.extra:
            cell = draft.cells[index]
            if cell == "":
                continue
            name = self._columns.names[index]
            extra[name] = self._clean(draft, index, cell_text(cell))
            if index in self._columns.unnamed and index not in self.filled_unnamed:
                self.filled_unnamed.add(index)
                self.problems.append(problem(Code.UNNAMED_COLUMN, column=name, number=index + 1, first=draft.number))
        return extra or NO_EXTRA

    def _content(self, draft: _Draft, dimension: str, prompt: str, text: str) -> tuple[str, str]:
        """Tell of a row with the same content, and return the strings of that row so that they are held once."""
        prompt = self._pool.setdefault(prompt, prompt)
        if not text.strip():
            return prompt, text
        key = (dimension, prompt, text)
        other = self._contents.setdefault(key, draft.number)
        if other != draft.number:
            self._tell(draft, Code.DUPLICATE_CONTENT, SheetField.TEXT, other=other)
            text = self._pool.setdefault(text, text)
        return prompt, text


def _dimension_names(dimensions: Mapping[str, Dimension]) -> dict[str, str]:
    """Return normalised id, name or alias -> dimension id; ids win over names, names over aliases."""
    kinds: Sequence[Callable[[Dimension], Sequence[str]]] = (lambda d: (d.id,), lambda d: tuple(d.names.values()), lambda d: d.aliases)
    found: dict[str, str] = {}
    for names in kinds:
        for dimension in dimensions.values():
            for name in names(dimension):
                found.setdefault(normalise(name), dimension.id)
    return found
