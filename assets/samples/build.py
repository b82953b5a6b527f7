"""Build the sample files from their plain-text sources.

`python assets/samples/build.py` writes library.xlsx, sheet.xlsx and sheet-problems.xlsx beside this file;
`--check` writes nothing and fails where a file differs from its source. Labels are not typed in: they follow from the
faults that a source lists, by the rubric's errors per 100 (流畅性) or per 1,000 (规范性) characters, and from the option
that a 选择题 reply picks. README.md describes the sources.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import openpyxl
import xlsxwriter
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

HERE = Path(__file__).resolve().parent
HEADER = ("数据编号", "创作要求", "评判维度", "待评判内容")
LABEL_HEADER = "标注分值"
LETTERS = "ABCD"

# Upper bounds of errors for labels 5, 4, 3 and 2; above the last it is 1.
FLUENCY_BOUNDS = (0.5, 1.0, 2.0, 2.5)
FLUENCY_CHARACTERS = 100
NORMATIVITY_BOUNDS = (1.0, 2.0, 4.0, 5.0)
NORMATIVITY_CHARACTERS = 1000


class SourceError(Exception):
    """A source file cannot be built: says which row, what is wrong and how to mend it."""


class Target(StrEnum):
    """The file that a source belongs to."""

    LIBRARY = "library"
    SHEET = "sheet"


class FaultKind(StrEnum):
    """What a 流畅性 edit does to the clean passage."""

    EXTRA_PRONOUN = "多余代词"
    EXTRA_PARTICLE = "多余虚词"
    ORDER = "语序"
    MISSING = "缺字"
    DOUBLED = "重复"
    WRONG_CHARACTER = "错字"
    PUNCTUATION = "标点"
    QUOTES = "引号"
    REDUNDANT = "赘余"
    BLEND = "杂糅"
    COLLOCATION = "搭配"


class ProblemKind(StrEnum):
    """What is wrong with a 规范性 text, measured by its prompt."""

    OFF_TOPIC = "跑题"
    MISSING_POINT = "缺要点"
    FORMAT = "格式"
    ORDER = "次序"
    STRUCTURE = "结构"
    LOGIC = "逻辑"
    CONTRADICTION = "矛盾"
    REPETITION = "重复"
    REGISTER = "语体"


class ReplyForm(StrEnum):
    """How a 选择题 reply is written."""

    LETTER = "letter"
    LETTER_TEXT = "letter and text"
    TEXT = "text"
    QUOTED = "quoted"
    STARRED = "starred"
    BRACKETED = "bracketed"
    PHRASE = "phrase"
    ENGLISH = "english"
    EXPLAINED = "explained"
    DISAGREEING = "letter and text disagree"
    ALL = "all options"
    REFUSAL = "refusal"
    NO_ANSWER = "no answer"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One row as the files have it; `label` stays out of the sheet."""

    id: str
    prompt: str
    dimension: str
    text: str
    label: int


class FluencyRow(_Strict):
    """A clean passage and the faults that are put into it: (kind, words found exactly once, what replaces them)."""

    id: str
    genre: str
    text: str
    faults: tuple[tuple[FaultKind, str, str], ...] = ()

    def faulty_text(self) -> str:
        """Return the passage with every fault applied. Raises SourceError where one does not apply exactly once."""
        spans: list[tuple[int, int, str]] = []
        for _, find, put in self.faults:
            times = self.text.count(find) if find else 0
            if times != 1 or find == put:
                raise SourceError(f"{self.id}: {find!r} stands {times} times in the passage or changes nothing; quote more of it.")
            start = self.text.index(find)
            spans.append((start, start + len(find), put))
        spans.sort()
        for (_, end, _), (start, _, _) in pairwise(spans):
            if start < end:
                raise SourceError(f"{self.id}: two faults overlap at {self.text[start:end]!r}; quote less around them.")
        text = self.text
        for start, end, put in reversed(spans):
            text = text[:start] + put + text[end:]
        return text

    def build(self) -> SampleRow:
        """Return the finished row, with the label of its faults per 100 characters."""
        text = self.faulty_text()
        label = label_of_rate(len(self.faults), text, FLUENCY_CHARACTERS, FLUENCY_BOUNDS)
        return SampleRow(self.id, "", "流畅性", text, label)


class NormativityRow(_Strict):
    """A text for a prompt and its problems: (kind, what is wrong, words of the text where it shows, or "")."""

    id: str
    genre: str
    prompt: str
    text: str
    problems: tuple[tuple[ProblemKind, str, str], ...] = ()

    def build(self) -> SampleRow:
        """Return the finished row, with the label of its problems per 1,000 characters; an empty text has label 5."""
        for _, _, where in self.problems:
            if where not in self.text:
                raise SourceError(f"{self.id}: a problem quotes {where!r}, which the text does not have.")
        label = label_of_rate(len(self.problems), self.text, NORMATIVITY_CHARACTERS, NORMATIVITY_BOUNDS)
        return SampleRow(self.id, self.prompt, "规范性", self.text, label)


class ChoiceRow(_Strict):
    """A question, its correct option, and a reply with the option that a careful reader sees in it (or none)."""

    id: str
    question: str
    options: tuple[str, str, str, str]
    correct: Literal["A", "B", "C", "D"]
    reply: str
    form: ReplyForm
    picks: Literal["A", "B", "C", "D"] | None = None

    def build(self) -> SampleRow:
        """Return the finished row: label 1 where the reply picks the correct option, else 0."""
        options = " ".join(f"{letter}、{option}" for letter, option in zip(LETTERS, self.options, strict=True))
        prompt = f"{self.question} 选择正确选项作答  {options}"
        text = f"正确选项为{self.correct} 模型回复为{self.reply}"
        return SampleRow(self.id, prompt, "选择题", text, int(self.picks == self.correct))


class FluencySource(_Strict):
    """A file of 流畅性 rows."""

    target: Target
    dimension: Literal["fluency"]
    rows: tuple[FluencyRow, ...]


class NormativitySource(_Strict):
    """A file of 规范性 rows."""

    target: Target
    dimension: Literal["normativity"]
    rows: tuple[NormativityRow, ...]


class ChoiceSource(_Strict):
    """A file of 选择题 rows."""

    target: Target
    dimension: Literal["choice"]
    rows: tuple[ChoiceRow, ...]


Source = FluencySource | NormativitySource | ChoiceSource
_SOURCE: TypeAdapter[Source] = TypeAdapter(Annotated[Source, Field(discriminator="dimension")])


class ProblemCell(_Strict):
    """A cell of the problem sheet that is more than text: a formula and what it shows, or a value merged over `rows` rows."""

    formula: str = ""
    shown: str | int = 0
    merged: str = ""
    rows: int = 1


Cell = ProblemCell | str | int | float | None


class ProblemSheet(_Strict):
    """The sheet of typical mistakes, cell by cell; the first row is the header."""

    rows: tuple[tuple[Cell, ...], ...]


def label_of_rate(errors: int, text: str, characters: int, bounds: Sequence[float]) -> int:
    """Return the rubric's label, 5 to 1, for `errors` in `text`; characters are counted without white space."""
    length = len("".join(text.split()))
    for label, bound in zip((5, 4, 3, 2), bounds, strict=True):
        if errors * characters <= bound * length:
            return label
    return 1


def load_sources(folder: Path = HERE / "source") -> list[Source]:
    """Return the sources in the order of their file names. Raises SourceError with the file that cannot be read."""
    sources: list[Source] = []
    for path in sorted(folder.glob("*.yaml")):
        if path.stem == "problems":
            continue
        try:
            sources.append(_SOURCE.validate_python(yaml.safe_load(path.read_text(encoding="utf-8"))))
        except (yaml.YAMLError, ValidationError) as error:
            raise SourceError(f"{path.name} cannot be read as a source: {error}") from error
    return sources


def load_problems(path: Path = HERE / "source" / "problems.yaml") -> ProblemSheet:
    """Return the sheet of typical mistakes."""
    return ProblemSheet.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def sample_rows(sources: Iterable[Source], target: Target) -> list[SampleRow]:
    """Return the finished rows of a file, by id. Raises SourceError for a doubled id."""
    rows = [row.build() for source in sources if source.target is target for row in source.rows]
    doubled = sorted(id_ for id_, count in Counter(row.id for row in rows).items() if count > 1)
    if doubled:
        raise SourceError(f"These ids stand more than once among the sources of {target}: {', '.join(doubled)}.")
    return sorted(rows, key=lambda row: row.id)


def sheet_table(rows: Iterable[SampleRow], labelled: bool) -> list[tuple[str | int, ...]]:
    """Return header and cells as the file has them."""
    table: list[tuple[str | int, ...]] = [(*HEADER, LABEL_HEADER) if labelled else HEADER]
    for row in rows:
        cells = (row.id, row.prompt, row.dimension, row.text)
        table.append((*cells, row.label) if labelled else cells)
    return table


def write_table(table: Sequence[Sequence[Cell]], name: str) -> bytes:
    """Return the bytes of an xlsx file with one worksheet; the same table gives the same bytes."""
    stream = io.BytesIO()
    book = xlsxwriter.Workbook(stream, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    book.set_properties({"title": name, "created": datetime(2024, 1, 1)})  # a fixed time keeps the bytes the same
    sheet = book.add_worksheet(name)
    wrap = book.add_format({"text_wrap": True, "valign": "top"})
    bold = book.add_format({"bold": True, "bottom": 1})
    sheet.freeze_panes(1, 0)
    for column, width in zip(range(len(table[0])), (12, 46, 11, 90, 11), strict=False):
        sheet.set_column(column, column, width, wrap)
    for line, cells in enumerate(table):
        for column, cell in enumerate(cells):
            _write_cell(sheet, line, column, cell, bold if line == 0 else wrap)
    book.close()
    return stream.getvalue()


def _write_cell(sheet: xlsxwriter.worksheet.Worksheet, line: int, column: int, cell: Cell, style: object) -> None:
    if isinstance(cell, ProblemCell):
        if cell.formula:
            # No spreadsheet ever calculates this file, so what the formula shows is written with it.
            sheet.write_formula(line, column, cell.formula, style, cell.shown)
        else:
            sheet.merge_range(line, column, line + cell.rows - 1, column, cell.merged, style)
    elif isinstance(cell, str):
        sheet.write_string(line, column, cell, style)
    elif cell is not None:
        sheet.write_number(line, column, cell, style)


def build_files() -> dict[str, bytes]:
    """Return the bytes of every sample file by its name."""
    sources = load_sources()
    library = sheet_table(sample_rows(sources, Target.LIBRARY), labelled=True)
    sheet = sheet_table(sample_rows(sources, Target.SHEET), labelled=False)
    return {
        "library.xlsx": write_table(library, "library"),
        "sheet.xlsx": write_table(sheet, "sheet"),
        "sheet-problems.xlsx": write_table(load_problems().rows, "sheet"),
    }


def read_cells(content: bytes) -> tuple[list[tuple[object, ...]], list[str]]:
    """Return the cells (formulas as written) and merged ranges of the first worksheet."""
    sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
    return [tuple(row) for row in sheet.iter_rows(values_only=True)], sorted(str(area) for area in sheet.merged_cells.ranges)


def stale_files(built: dict[str, bytes], folder: Path = HERE) -> list[str]:
    """Return the names of the files in `folder` whose cells differ from what the sources give."""
    # Cells and not bytes: another zlib packs the same sheet otherwise.
    return [
        name
        for name, content in built.items()
        if not (folder / name).exists() or read_cells((folder / name).read_bytes()) != read_cells(content)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description="Build the sample files from assets/samples/source.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs from its source")
    check = bool(parser.parse_args(arguments).check)
    try:
        built = build_files()
    except SourceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if check:
        stale = stale_files(built)
        for name in stale:
            sys.stderr.write(f"{name} differs from its source: run python assets/samples/build.py\n")
        return 1 if stale else 0
    for name, content in built.items():
        (HERE / name).write_bytes(content)
        sys.stdout.write(f"{name}: {len(content)} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
