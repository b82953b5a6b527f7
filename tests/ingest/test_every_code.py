"""Every code that the documents list can be provoked by a file, and its message is whole in both languages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import xlsxwriter
from xlsxwriter.worksheet import Worksheet

from core.ingest import Code, ParsedSheet
from core.ingest.problems import KINDS
from core.types import Severity
from tests.ingest.ole2 import write_xls
from tests.ingest.samples import HEADER, draw_xlsx, read, write_csv, write_xlsx

Make = Callable[[Path], ParsedSheet]
GOOD = ("A1", "写信", "流畅性", "春天来了。", "3")


def rows(*cells: tuple[object, ...], header: tuple[object, ...] = HEADER, **options: object) -> Make:
    """Return a maker of a csv file with these rows."""
    return lambda folder: read(write_csv(folder / "a.csv", [header, *cells]), **options)


def workbook(*cells: tuple[object, ...], header: tuple[object, ...] = HEADER, **more: list[tuple[object, ...]]) -> Make:
    """Return a maker of an xlsx file with these rows, and more worksheets."""
    return lambda folder: read(write_xlsx(folder / "a.xlsx", [header, *cells] if cells or header else [], **more))


def drawn(draw: Callable[[xlsxwriter.Workbook, Worksheet], object]) -> Make:
    """Return a maker of an xlsx file that is drawn below its header."""

    def both(book: xlsxwriter.Workbook, sheet: Worksheet) -> None:
        sheet.write_row(1, 0, GOOD)
        draw(book, sheet)

    return lambda folder: read(draw_xlsx(folder / "a.xlsx", both))


def text(content: str | bytes, name: str = "a.csv") -> Make:
    """Return a maker of a file with exactly this content."""

    def make(folder: Path) -> ParsedSheet:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return read(folder / name)

    return make


def secret(book: xlsxwriter.Workbook, sheet: Worksheet) -> None:
    """Hide the worksheet behind an empty one."""
    book.add_worksheet("空").activate()
    sheet.hide()


FRENCH = [(f"A{i}", "fluency", f"Les élèves étaient très contents, n° {i}, à l’école. Ça va, garçon?") for i in range(30)]
CHINESE = "id,dimension,text\n" + "".join(f"A{i},流畅性,第{i}篇：春天来了，万物复苏，小河解冻了。\n" for i in range(40))

MAKERS: Mapping[Code, Make] = {
    Code.MISSING_COLUMN: rows(GOOD[:3], header=HEADER[:3]),
    Code.DUPLICATE_COLUMN: rows((*GOOD, "二"), header=(*HEADER, HEADER[3])),
    Code.AMBIGUOUS_COLUMN: rows((*GOOD, "二"), header=(*HEADER, "正文")),
    Code.UNKNOWN_MAPPING: rows(GOOD, mapping={"text": "没有的列"}),
    Code.EMPTY_SHEET: workbook(header=()),
    Code.HEADER_ONLY: rows(),
    Code.HEADER_NOT_FIRST: rows(HEADER, GOOD, header=("秋季评审", "", "", "", "")),
    Code.UNNAMED_COLUMN: rows((*GOOD, "批注"), header=(*HEADER, "")),
    Code.PROMPT_COLUMN_ABSENT: rows(("A1", "规范性", "春"), header=("id", "维度", "内容")),
    Code.NUMERIC_IDS: workbook((17, "", "流畅性", "春", 3)),
    Code.HIDDEN_ROWS: drawn(lambda _, sheet: sheet.set_row(1, None, None, {"hidden": True})),
    Code.HIDDEN_WORKSHEET: drawn(secret),
    Code.OTHER_WORKSHEETS: workbook(GOOD, 二=[HEADER, GOOD]),
    Code.RENAMED_FILE: text(CHINESE, "a.xlsx"),
    Code.LEGACY_FORMAT: lambda folder: read(write_xls(folder / "a.xls", [HEADER, GOOD])),
    Code.ENCODING_GUESSED: lambda folder: read(write_csv(folder / "a.csv", [("id", "dimension", "text"), *FRENCH], "cp1252")),
    Code.MISSING_ID: rows(("", *GOOD[1:])),
    Code.DUPLICATE_ID: rows(GOOD, ("A1", "", "流畅性", "夏", "")),
    Code.ID_DIGITS_LOST: workbook((1234567890123456789, "", "流畅性", "春", "")),
    Code.NUMBER_BECAME_DECIMAL: rows(("17.0", *GOOD[1:])),
    Code.DATE_CELL: drawn(lambda book, sheet: sheet.write_number(1, 0, 45000, book.add_format({"num_format": "yyyy-mm-dd"}))),
    Code.MISSING_DIMENSION: rows(("A1", "", "", "春", "")),
    Code.UNKNOWN_DIMENSION: rows(("A1", "", "逻辑性", "春", "")),
    Code.EMPTY_TEXT: rows(("A1", "", "流畅性", "", "")),
    Code.EMPTY_TEXT_LABELLED: rows(("A1", "写信", "规范性", "", "")),
    Code.MISSING_PROMPT: rows(("A1", "", "规范性", "春", "")),
    Code.MISSING_LABEL: rows(("A1", "", "流畅性", "春", ""), require_labels=True),
    Code.LABEL_NOT_NUMBER: rows((*GOOD[:4], "优")),
    Code.LABEL_OFF_SCALE: rows((*GOOD[:4], "6")),
    Code.DUPLICATE_CONTENT: rows(GOOD, ("A2", *GOOD[1:])),
    Code.CELL_LIMIT: workbook(("A1", "", "流畅性", "长" * 32_767, "")),
    Code.CONTROL_CHARACTERS: rows(("A1", "", "流畅性", "春\x08天", "")),
    Code.INVISIBLE_IN_ID: rows(("A1\u200b", *GOOD[1:])),
    Code.LONE_SURROGATE: text('{"id": "A1", "dimension": "fluency", "text": "\\ud800"}', "a.jsonl"),
    Code.MOJIBAKE: rows(("A1", "", "流畅性", "锟斤拷", "")),
    Code.UNDECODABLE: text(CHINESE.encode("gb18030").replace("第7篇".encode("gb18030"), b"\xff\xff7")),
    Code.MERGED_CELLS: drawn(lambda _, sheet: (sheet.write_row(2, 0, ["A2", "", "流畅性"]), sheet.merge_range(1, 3, 2, 3, "共用"))),
    Code.MERGED_CELL_FILLED: drawn(lambda _, sheet: (sheet.write_row(2, 0, ["A2", "", "", "夏"]), sheet.merge_range(1, 2, 2, 2, "流畅性"))),
    Code.FORMULA: drawn(lambda _, sheet: sheet.write_formula(1, 3, '="春"', None, "春")),
    Code.FORMULA_UNCACHED: drawn(lambda _, sheet: sheet.write_formula(1, 3, '="春"', None, "")),
    Code.ERROR_CELL: drawn(lambda _, sheet: sheet.write_formula(1, 3, "=NA()", None, "#N/A")),
    Code.RAGGED_ROW: rows((*GOOD, "多出的")),
    Code.SHORT_ROW: rows(GOOD[:4]),
    Code.UNCLOSED_QUOTE: text('id,dimension,text\nA1,流畅性,"春\n'),
    Code.BAD_JSON_LINE: text('{"id": "A1"}\n{"id": \n', "a.jsonl"),
    Code.NOT_AN_OBJECT: text('{"id": "A1"}\n3\n', "a.jsonl"),
    Code.DUPLICATE_KEY: text('{"id": "A1", "dimension": "fluency", "text": "一", "text": "二"}\n', "a.jsonl"),
}


@pytest.mark.parametrize("code", list(Code))
def test_a_file_provokes_it(tmp_path: Path, code: Code) -> None:
    sheet = MAKERS[code](tmp_path)
    found = [problem for problem in sheet.problems if problem.code == code]
    assert found, [problem.code for problem in sheet.problems]
    fault = found[0]
    assert fault.severity is KINDS[code].severity
    for language in ("zh", "en"):
        message = fault.message[language]
        assert "None" not in message
        assert "{" not in message.replace('{"id"', "")
        assert "Words(" not in message
        assert message.rstrip().endswith(("。", "."))
        if fault.row is not None:
            assert str(fault.row) in message
    if fault.severity is Severity.ERROR:
        assert sheet.fatal or fault.row in sheet.error_rows


def test_long_values_are_shortened_in_messages_but_not_in_texts(tmp_path: Path) -> None:
    sheet = rows(("A1", "", "很长的维度名" * 100, "春", ""))(tmp_path)
    (fault,) = sheet.problems
    assert len(fault.value) == 200
    assert all(len(message) < 300 for message in fault.message.values())


def test_braces_in_values_are_plain_text(tmp_path: Path) -> None:
    sheet = rows(("{id}", "", "{row}", "春", ""))(tmp_path)
    assert "{row}" in sheet.problems[0].message["zh"]
    assert sheet.problems[0].external_id == "{id}"
