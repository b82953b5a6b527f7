"""What only worksheets have: formulas, error values, merged cells, numbers and dates, hidden rows, several sheets."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter
from xlsxwriter.worksheet import Worksheet

from core.errors import SheetError
from core.ingest import Limits
from core.types import Severity
from tests.ingest.samples import HEADER, codes, draw_xlsx, only, read, write_xlsx, xlsx_of_part, xlsx_of_xml

Book = xlsxwriter.Workbook


def test_formulas_with_and_without_a_value(tmp_path: Path) -> None:
    def draw(_: Book, sheet: Worksheet) -> None:
        sheet.write_row(1, 0, ["A1", "", "流畅性"])
        sheet.write_formula(1, 3, '="春"&"天"', None, "春天")
        sheet.write_row(2, 0, ["A2", "", "流畅性"])
        sheet.write_formula(2, 3, "=D2", None, "")

    path = draw_xlsx(tmp_path / "a.xlsx", draw)
    sheet = read(path)
    assert [(p.code, p.row, p.column, p.external_id) for p in sheet.problems if p.code != "empty_text"] == [
        ("formula", 2, "待评判内容", "A1"),
        ("formula_uncached", 3, "待评判内容", "A2"),
    ]
    assert '="春"&"天"' in sheet.problems[0].message["zh"]
    assert "empty_text" not in codes(sheet)
    assert [row.text for row in sheet.rows] == ["春天"]


def test_formulas_as_openpyxl_writes_them(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    page = book.active
    assert page is not None
    page.append([*HEADER, "备注"])
    page.append(["A1", "", "流畅性", "春", "=1+2", "=A1"])
    book.save(tmp_path / "a.xlsx")
    sheet = read(tmp_path / "a.xlsx")
    assert [(p.code, p.column, p.severity) for p in sheet.problems] == [
        ("formula_uncached", "标注分值", Severity.ERROR),
        ("formula_uncached", "备注", Severity.WARNING),
    ]


def test_error_values(tmp_path: Path) -> None:
    def draw(_: Book, sheet: Worksheet) -> None:
        sheet.write(0, 5, "备注")
        sheet.write_row(1, 0, ["A1", "", "流畅性"])
        sheet.write_formula(1, 3, "=NA()", None, "#N/A")
        sheet.write_row(2, 0, ["A2", "", "流畅性", "夏"])
        sheet.write_formula(2, 5, "=1/0", None, "#DIV/0!")
        sheet.write_formula(3, 0, "=X", None, "#NAME?")

    sheet = read(draw_xlsx(tmp_path / "a.xlsx", draw))
    assert [(p.code, p.row, p.column, p.value, p.severity) for p in sheet.problems if p.code == "error_cell"] == [
        ("error_cell", 2, "待评判内容", "#N/A", Severity.ERROR),
        ("error_cell", 3, "备注", "#DIV/0!", Severity.WARNING),
        ("error_cell", 4, "数据编号", "#NAME?", Severity.ERROR),
    ]
    assert sheet.error_rows == (2, 4)
    assert sheet.rows[0].extra == {"备注": "#DIV/0!"}
    assert sheet.total_rows == 3


def test_merged_cells(tmp_path: Path) -> None:
    def draw(_: Book, sheet: Worksheet) -> None:
        for row, identity in enumerate(("A1", "A2", "A3"), start=1):
            sheet.write_row(row, 0, [identity, "", "", f"第{row}篇"])
        sheet.merge_range(1, 2, 3, 2, "流畅性")
        sheet.merge_range(2, 3, 3, 3, "共用的内容")

    sheet = read(draw_xlsx(tmp_path / "a.xlsx", draw))
    assert [(p.code, p.row, p.column, p.external_id) for p in sheet.problems] == [
        ("merged_cell_filled", 3, "评判维度", "A2"),
        ("merged_cell_filled", 4, "评判维度", "A3"),
        ("merged_cells", 4, "待评判内容", "A3"),
    ]
    assert "第 2–4 行" in sheet.problems[0].message["zh"]
    assert [(row.external_id, row.dimension_id) for row in sheet.rows] == [("A1", "fluency"), ("A2", "fluency")]


def test_cells_merged_across_columns(tmp_path: Path) -> None:
    def draw(_: Book, sheet: Worksheet) -> None:
        sheet.write_row(1, 0, ["A1", "", "流畅性"])
        sheet.merge_range(1, 3, 1, 4, "春天")
        sheet.merge_range(2, 0, 2, 4, "以下为草稿")

    sheet = read(draw_xlsx(tmp_path / "a.xlsx", draw))
    assert ("merged_cells", 2, "标注分值") in [(p.code, p.row, p.column) for p in sheet.problems]
    assert sheet.error_rows == (2, 3)


def test_numbers_in_cells(tmp_path: Path) -> None:
    sheet = read(
        write_xlsx(
            tmp_path / "a.xlsx",
            [
                (*HEADER, "轮次"),
                (17, "", "流畅性", "春", 3, 2),
                (18.5, "", "流畅性", 20240101, 3.0, 0.1),
                (123456789012345678, "", "流畅性", "秋", 2.5),
            ],
        )
    )
    assert [(row.external_id, row.text, row.gold) for row in sheet.rows] == [("17", "春", 3), ("18.5", "20240101", 3)]
    assert [row.extra for row in sheet.rows] == [{"轮次": "2"}, {"轮次": "0.1"}]
    assert codes(sheet) == ["numeric_ids", "id_digits_lost", "label_off_scale"]
    fault = only(sheet, "numeric_ids")
    assert (fault.row, fault.column, fault.severity) == (None, "数据编号", Severity.WARNING)
    assert "2 个编号" in fault.message["zh"]


def test_dates_and_truth_values(tmp_path: Path) -> None:
    def draw(book: Book, sheet: Worksheet) -> None:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_datetime(1, 0, dt.datetime(2024, 1, 2), day)
        sheet.write_row(1, 2, ["流畅性", "春"])
        sheet.write_row(2, 0, ["A2", "", "流畅性", True])
        sheet.write_row(3, 0, ["A3", "", "流畅性", "冬"])
        sheet.write_datetime(3, 4, dt.datetime(2024, 1, 2), day)

    sheet = read(draw_xlsx(tmp_path / "a.xlsx", draw))
    assert [(p.code, p.row) for p in sheet.problems] == [("date_cell", 2), ("label_not_number", 4)]
    assert [(row.external_id, row.text) for row in sheet.rows] == [("2024-01-02", "春"), ("A2", "TRUE")]


def test_worksheets(tmp_path: Path) -> None:
    first, second = [HEADER[:4], ("A1", "", "流畅性", "春")], [HEADER[:4], ("B1", "", "流畅性", "夏")]
    path = write_xlsx(tmp_path / "a.xlsx", [], 一=first, 二=second)
    sheet = read(path)
    assert (sheet.worksheets, sheet.worksheet) == (("Sheet1", "一", "二"), "一")
    assert "二" in only(sheet, "other_worksheets").message["zh"]
    chosen = read(path, worksheet="二")
    assert (chosen.rows[0].external_id, chosen.rows[0].source.worksheet) == ("B1", "二")
    assert "Sheet1" not in only(chosen, "other_worksheets").message["zh"]
    assert codes(read(path, worksheet="Sheet1"))[-1] == "empty_sheet"
    with pytest.raises(SheetError, match='no worksheet "三"; it has Sheet1, 一, 二'):
        read(path, worksheet="三")


def test_worksheet_names_that_xml_must_escape(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", [], **{"甲 & <乙>": [HEADER[:4], ("B1", "", "流畅性", "夏")]})
    assert read(path).worksheet == "甲 & <乙>"
    assert len(read(path, worksheet="甲 & <乙>").rows) == 1


def test_hidden_rows_and_worksheets(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "a.xlsx")) as book:
        secret, shown = book.add_worksheet("隐藏"), book.add_worksheet("显示")
        for page in (secret, shown):
            page.write_row(0, 0, HEADER[:4])
            page.write_row(1, 0, ["A1", "", "流畅性", "春"])
            page.write_row(2, 0, ["A2", "", "流畅性", "夏"])
        shown.set_row(2, None, None, {"hidden": True})
        shown.activate()
        secret.hide()
    sheet = read(tmp_path / "a.xlsx")
    assert sheet.worksheet == "显示"
    assert codes(sheet) == ["other_worksheets", "hidden_rows"]
    assert "首见于第 3 行" in sheet.problems[1].message["zh"]
    assert len(sheet.rows) == 2
    assert codes(read(tmp_path / "a.xlsx", worksheet="隐藏")) == ["hidden_worksheet", "other_worksheets"]


def test_escapes_and_white_space_come_back_as_they_were(tmp_path: Path) -> None:
    sheet = read(write_xlsx(tmp_path / "a.xlsx", [HEADER[:4], ("A1", "", "流畅性", "  一\r\n二_x000D_三\n ")]))
    assert sheet.problems == ()
    assert sheet.rows[0].text == "  一\r\n二_x000D_三\n "
    control = read(write_xlsx(tmp_path / "b.xlsx", [HEADER[:4], ("A1", "", "流畅性", "一\x08二")]))
    assert codes(control) == ["control_characters"]
    assert control.rows[0].text == "一二"


def test_a_text_at_the_limit_of_a_cell(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", [HEADER[:4], ("A1", "", "流畅性", "长" * 32_767), ("A2", "", "流畅性", "长" * 32_766)])
    assert [(p.code, p.row) for p in read(path).problems] == [("cell_limit", 2)]


def test_a_stray_cell_far_away_does_not_eat_the_memory(tmp_path: Path) -> None:
    head = "".join(
        f'<c r="{c}1" t="inlineStr"><is><t>{name}</t></is></c>' for c, name in zip("ABC", ("id", "dimension", "text"), strict=True)
    )
    row = "".join(f'<c r="{c}2" t="inlineStr"><is><t>{name}</t></is></c>' for c, name in zip("ABC", ("A1", "流畅性", "春"), strict=True))
    table = f'<row r="1">{head}</row><row r="2">{row}</row>'
    far = xlsx_of_xml(tmp_path / "a.xlsx", table + '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>')
    with pytest.raises(SheetError, match="1,048,576 rows by 16,384 columns") as caught:
        read(far)
    assert "多余的单元格" in caught.value.messages["zh"]
    formatted = xlsx_of_xml(tmp_path / "b.xlsx", table + '<row r="1048576"><c r="XFD1048576" s="0"/></row>')
    assert len(read(formatted).rows) == 1


def test_cells_without_references(tmp_path: Path) -> None:
    def row(*texts: str) -> str:
        return "<row>" + "".join(f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in texts) + "</row>"

    sheet = read(xlsx_of_xml(tmp_path / "a.xlsx", row("id", "dimension", "text") + row("A1", "流畅性", "春")))
    assert [row.text for row in sheet.rows] == ["春"]


def test_xml_that_is_broken_or_hostile(tmp_path: Path) -> None:
    with pytest.raises(SheetError, match="damaged"):
        read(xlsx_of_xml(tmp_path / "a.xlsx", '<row r="1"><c r="A1"><f>1</f></row>'))
    path = xlsx_of_xml(tmp_path / "b.xlsx", "")
    with pytest.raises(SheetError, match="damaged"):
        read(xlsx_of_xml(path, '</sheetData></worksheet><!DOCTYPE a [<!ENTITY b "c">]><worksheet><sheetData>'))


def test_prefixed_xml_is_scanned_too(tmp_path: Path) -> None:
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"

    def row(number: int, last: str, *texts: str) -> str:
        cells = "".join(
            f'<x:c r="{c}{number}" t="inlineStr"><x:is><x:t>{text}</x:t></x:is></x:c>' for c, text in zip("AB", texts, strict=True)
        )
        return f'<x:row r="{number}">{cells}{last}</x:row>'

    head = row(1, '<x:c r="C1" t="inlineStr"><x:is><x:t>text</x:t></x:is></x:c>', "id", "dimension")
    body = row(2, '<x:c r="C2" t="str"><x:f>X1</x:f><x:v>春</x:v></x:c>', "A1", "流畅性")
    error = row(3, '<x:c r="C3" t="e"><x:v>#REF!</x:v></x:c>', "A2", "流畅性")
    content = f'<x:worksheet xmlns:x="{space}"><x:sheetData>{head}{body}{error}</x:sheetData></x:worksheet>'
    path = xlsx_of_part(tmp_path / "a.xlsx", content.encode())
    sheet = read(path)
    assert [(p.code, p.row) for p in sheet.problems] == [("formula", 2), ("error_cell", 3)]
    assert [row.text for row in sheet.rows] == ["春"]


def test_hostile_tags_do_not_make_the_scan_slow(tmp_path: Path) -> None:
    for noise in ('<c r="A1" ' * 200_000, "<row " + 'hidden="1" ' * 200_000, "<c " + 'r="A1" t="n" ' * 200_000, "<" + "a" * 2_000_000):
        path = xlsx_of_part(tmp_path / "a.xlsx", f"<worksheet><sheetData>{noise}".encode())
        started = time.process_time()
        with pytest.raises(SheetError, match="damaged"):
            read(path)
        assert time.process_time() - started < 10


def test_a_cell_that_never_ends_is_refused(tmp_path: Path) -> None:
    path = xlsx_of_part(tmp_path / "a.xlsx", b"<worksheet><sheetData><row><c><v>" + b"1234567890abcdef" * 2**20)
    with pytest.raises(SheetError, match="more than 8 MiB"):
        read(path, limits=Limits(max_ratio=10**6))


def _cells(number: int, **cells: str) -> str:
    """Return a row of XML whose cells are given by their column."""
    return f'<row r="{number}">' + "".join(cell.format(place=f"{column}{number}") for column, cell in cells.items()) + "</row>"


def _string(text: str) -> str:
    return f'<c r="{{place}}" t="inlineStr"><is><t>{text}</t></is></c>'


_SILENT = '<c r="{place}" t="str"><f>IF(B9="","",1)</f><v></v></c>'
_HEAD = _cells(1, A=_string("编号"), B=_string("维度"), C=_string("内容"), D=_string("备注"))
_FIRST = _cells(2, A=_string("A1"), B=_string("流畅性"), C=_string("春"))


@pytest.mark.parametrize("columns", ["A", "D", "AD", "ABCD"])
def test_formulas_filled_down_below_the_table_make_no_rows(tmp_path: Path, columns: str) -> None:
    below = "".join(_cells(number, **dict.fromkeys(columns, _SILENT)) for number in range(3, 40))
    sheet = read(xlsx_of_xml(tmp_path / "a.xlsx", _HEAD + _FIRST + below))
    assert (codes(sheet), sheet.total_rows, [row.external_id for row in sheet.rows]) == ([], 1, ["A1"])


def test_a_formula_that_gives_nothing_is_told_where_its_row_holds_something(tmp_path: Path) -> None:
    row = _cells(3, A=_string("A2"), B=_string("流畅性"), C=_SILENT)
    sheet = read(xlsx_of_xml(tmp_path / "a.xlsx", _HEAD + _FIRST + row))
    assert (codes(sheet), sheet.error_rows) == (["formula", "empty_text"], (3,))


@pytest.mark.parametrize(
    ("cell", "code"), [('<c r="{place}" t="e"><v>#N/A</v></c>', "error_cell"), ('<c r="{place}"><f>B9</f></c>', "formula_uncached")]
)
def test_a_cell_whose_value_is_not_known_makes_a_row(tmp_path: Path, cell: str, code: str) -> None:
    sheet = read(xlsx_of_xml(tmp_path / "a.xlsx", _HEAD + _FIRST + _cells(5, C=cell)))
    assert (codes(sheet), sheet.error_rows) == ([code, "missing_id", "missing_dimension"], (5,))


def test_a_row_of_errors_between_title_and_header_hides_neither(tmp_path: Path) -> None:
    title = _cells(1, A=_string("某校作文"))
    errors = _cells(3, C='<c r="{place}" t="e"><v>#REF!</v></c>')
    head = _HEAD.replace('r="1"', 'r="6"').replace('1" t=', '6" t=')
    sheet = read(xlsx_of_xml(tmp_path / "a.xlsx", title + errors + head + _FIRST.replace('r="2"', 'r="7"').replace('2" t=', '7" t=')))
    assert [(row.external_id, row.source.row) for row in sheet.rows] == [("A1", 7)]
    assert "第 6 行" in only(sheet, "header_not_first").message["zh"]
