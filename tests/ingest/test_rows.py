"""What can be wrong in a row: told at once, with row, column and remedy, and never dropped silently."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.errors import SheetError
from core.ingest import ParsedSheet
from core.types import Severity
from tests.ingest.samples import HEADER, SMALL, codes, only, read, write_csv, write_jsonl, write_xlsx


def csv_of(tmp_path: Path, *rows: Sequence[object], **options: object) -> ParsedSheet:
    """Read a csv file of these rows under the canonical header."""
    return read(write_csv(tmp_path / "a.csv", [HEADER, *rows]), **options)


GOOD = ("G1", "", "流畅性", "春天来了。", "")


@pytest.mark.parametrize("written", ["流畅性", "fluency", "FLUENCY", " 流畅 性", "Fluency", "通顺", "ｆｌｕｅｎｃｙ"])
def test_a_dimension_by_id_name_or_alias(tmp_path: Path, written: str) -> None:
    assert csv_of(tmp_path, ("A1", "", written, "春", "")).rows[0].dimension_id == "fluency"


def test_an_unknown_dimension_names_the_known_ones(tmp_path: Path) -> None:
    sheet = csv_of(tmp_path, ("A1", "", "逻辑性", "春", "3"), GOOD)
    fault = only(sheet, "unknown_dimension")
    assert (fault.row, fault.column, fault.value, fault.external_id, fault.severity) == (2, "评判维度", "逻辑性", "A1", Severity.ERROR)
    assert "流畅性（fluency）、规范性（normativity）、选择题（choice）" in fault.message["zh"]
    assert "fluency (流畅性)" in fault.message["en"]
    assert sheet.error_rows == (2,)
    assert [(row.external_id, row.position) for row in sheet.rows] == [("G1", 1)]


@pytest.mark.parametrize(("written", "label"), [("5", 5), (" 4 ", 4), ("３", 3), ("", None), ("+2", 2)])
def test_labels(tmp_path: Path, written: str, label: int | None) -> None:
    sheet = csv_of(tmp_path, ("A1", "", "流畅性", "春", written))
    assert sheet.problems == ()
    assert sheet.rows[0].gold == label


def test_a_label_off_the_scale_reads_as_a_person_would_say_it(tmp_path: Path) -> None:
    fault = only(csv_of(tmp_path, ("A1", "", "流畅性", "春", "7")), "label_off_scale")
    assert fault.message["zh"] == "第 2 行「标注分值」为 7：流畅性只接受 1 2 3 4 5。改正它，或留空表示未标注。"
    assert fault.message["en"] == (
        'Row 2, "标注分值" is 7: fluency accepts only 1 2 3 4 5. Correct it, or leave it empty for an unlabelled row.'
    )


@pytest.mark.parametrize(
    ("dimension", "written", "code"),
    [
        ("流畅性", "0", "label_off_scale"),
        ("流畅性", "2.5", "label_off_scale"),
        ("选择题", "2", "label_off_scale"),
        ("流畅性", "1e3", "label_off_scale"),
        ("流畅性", "优", "label_not_number"),
        ("流畅性", "4分", "label_not_number"),
        ("流畅性", "nan", "label_not_number"),
        ("流畅性", "9" * 5000, "label_not_number"),
        ("流畅性", "TRUE", "label_not_number"),
    ],
)
def test_labels_that_cannot_be(tmp_path: Path, dimension: str, written: str, code: str) -> None:
    sheet = csv_of(tmp_path, ("A1", "", dimension, "春", written))
    assert codes(sheet) == [code]
    assert sheet.error_rows == (2,)


def test_a_library_row_needs_a_label(tmp_path: Path) -> None:
    sheet = csv_of(tmp_path, GOOD, ("A2", "", "流畅性", "夏", "9"), require_labels=True)
    assert codes(sheet) == ["missing_label", "label_off_scale"]
    assert "删除该行" in sheet.problems[1].message["zh"]


def test_ids(tmp_path: Path) -> None:
    sheet = csv_of(
        tmp_path,
        ("A1", "", "流畅性", "春", ""),
        ("", "", "流畅性", "夏", ""),
        (" A1 ", "", "流畅性", "秋", ""),
        ("00017", "", "流畅性", "冬", ""),
    )
    assert codes(sheet) == ["missing_id", "duplicate_id"]
    assert "第 2 行的编号重复" in sheet.problems[1].message["zh"]
    assert [(row.external_id, row.position, row.source.row) for row in sheet.rows] == [("A1", 0, 2), ("00017", 3, 5)]
    assert sheet.error_rows == (3, 4)


def test_numbers_that_became_decimals(tmp_path: Path) -> None:
    sheet = csv_of(tmp_path, ("17.0", "", "流畅性", "春", "3.0"), ("1.5", "", "流畅性", "夏", ""))
    assert [(p.code, p.column, p.severity) for p in sheet.problems] == [
        ("number_became_decimal", "数据编号", Severity.WARNING),
        ("number_became_decimal", "标注分值", Severity.WARNING),
    ]
    assert [(row.external_id, row.gold) for row in sheet.rows] == [("17", 3), ("1.5", None)]


def test_an_id_that_a_spreadsheet_saved_in_scientific_form(tmp_path: Path) -> None:
    sheet = csv_of(tmp_path, ("1.23457E+11", "", "流畅性", "春", ""), ("2E5", "", "流畅性", "夏", ""))
    assert [(p.code, p.row) for p in sheet.problems] == [("id_digits_lost", 2)]
    assert [row.external_id for row in sheet.rows] == ["1.23457E+11", "2E5"]


def test_json_numbers(tmp_path: Path) -> None:
    sheet = read(
        write_jsonl(
            tmp_path / "a.jsonl",
            [
                {"id": 12345678901234567890, "dimension": "fluency", "text": "春", "label": 3},
                {"id": 17.0, "dimension": "fluency", "text": "夏", "label": float("nan")},
            ],
        )
    )
    assert codes(sheet) == ["number_became_decimal"]
    assert [(row.external_id, row.gold) for row in sheet.rows] == [("12345678901234567890", 3), ("17", None)]


def test_json_numbers_keep_every_digit(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": 1.10, "dimension": "fluency", "text": 5, "label": 3, "n": {"a": [1, 2.50, null]}}\n'
        f'{{"id": {"9" * 5000}, "dimension": "fluency", "text": "夏", "label": true}}\n',
        encoding="utf-8",
    )
    sheet = read(path)
    assert codes(sheet) == ["label_not_number"]
    assert [(row.external_id, row.text, row.gold, row.extra) for row in sheet.rows] == [("1.10", "5", 3, {"n": '{"a": [1, 2.5, null]}'})]
    assert type(sheet.rows[0].text) is str
    assert sheet.problems[0].external_id == "9" * 5000


def test_empty_texts_by_dimension(tmp_path: Path) -> None:
    sheet = csv_of(tmp_path, ("A1", "", "流畅性", " \n", ""), ("A2", "写信", "规范性", "", "5"))
    assert [(p.code, p.severity, p.row) for p in sheet.problems] == [
        ("empty_text", Severity.ERROR, 2),
        ("empty_text_labelled", Severity.WARNING, 3),
    ]
    assert "空内容记 5 分" in sheet.problems[1].message["zh"]
    assert [row.external_id for row in sheet.rows] == ["A2"]


def test_a_prompt_where_it_is_needed(tmp_path: Path) -> None:
    sheet = csv_of(tmp_path, ("A1", " ", "规范性", "春", ""), ("A2", "", "流畅性", "夏", ""))
    assert codes(sheet) == ["missing_prompt"]
    assert [row.external_id for row in sheet.rows] == ["A2"]


def test_all_faults_of_a_row_and_of_all_rows_come_at_once(tmp_path: Path) -> None:
    sheet = csv_of(tmp_path, ("", "", "流利", "", "x"), ("B", "", "规范性", "", "6"), GOOD, ("G1", "", "", "", ""))
    assert [(p.row, p.code) for p in sheet.problems] == [
        (2, "missing_id"),
        (2, "unknown_dimension"),
        (2, "empty_text"),
        (3, "label_off_scale"),
        (3, "missing_prompt"),
        (3, "empty_text_labelled"),
        (5, "duplicate_id"),
        (5, "missing_dimension"),
        (5, "empty_text"),
    ]
    assert sheet.error_rows == (2, 3, 5)
    assert (sheet.total_rows, len(sheet.rows), sheet.fatal) == (4, 1, False)
    for fault in sheet.problems:
        assert f"第 {fault.row} 行" in fault.message["zh"]
        assert fault.column in fault.message["en"]


def test_the_same_content_twice(tmp_path: Path) -> None:
    sheet = csv_of(
        tmp_path,
        GOOD,
        ("G2", "", "流畅性", "春天来了。", ""),
        ("G3", "写信", "流畅性", "春天来了。", ""),
        ("G4", "", "选择题", "春天来了。", ""),
    )
    fault = only(sheet, "duplicate_content")
    assert (fault.row, fault.external_id, fault.severity) == (3, "G2", Severity.WARNING)
    assert "第 2 行" in fault.message["zh"]
    assert len(sheet.rows) == 4


def test_control_characters_are_removed_and_told(tmp_path: Path) -> None:
    sheet = csv_of(tmp_path, ("A\x001", "", "流畅性", "一\x08二\x0b三\t四\r\n五\x7f", ""))
    assert [(p.code, p.value) for p in sheet.problems] == [
        ("control_characters", "U+0000"),
        ("control_characters", "U+0008, U+000B, U+007F"),
    ]
    assert (sheet.rows[0].external_id, sheet.rows[0].text) == ("A1", "一二\n三\t四\r\n五")


def test_invisible_characters_leave_ids_but_not_texts(tmp_path: Path) -> None:
    sheet = csv_of(tmp_path, ("A1", "", "流畅性", "春", ""), ("\u200bA1\u202a", "", "流畅性", "夏\u200d", ""))
    assert codes(sheet) == ["invisible_in_id", "duplicate_id"]
    assert "U+200B, U+202A" in sheet.problems[0].message["en"]


def test_garbled_texts_and_half_characters(tmp_path: Path) -> None:
    sheet = read(
        write_jsonl(
            tmp_path / "a.jsonl",
            [{"id": "A1", "dimension": "fluency", "text": "春锟斤拷天"}, {"id": "A2", "dimension": "fluency", "text": "夏\ufffd"}],
        )
    )
    assert codes(sheet) == ["mojibake", "mojibake"]
    path = tmp_path / "b.jsonl"
    path.write_text('{"id": "A1", "dimension": "fluency", "text": "half \\ud83d and whole \\ud83d\\ude00"}\n', encoding="utf-8")
    sheet = read(path)
    assert codes(sheet) == ["lone_surrogate"]
    assert sheet.rows[0].text == "half \ufffd and whole 😀"


def test_ragged_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,dimension,text\nA1,流畅性,春,夏\nA2,流畅性,秋,,\nA3,流畅性\n\nA4,流畅性,冬\n", encoding="utf-8")
    sheet = read(path)
    assert [(p.code, p.row) for p in sheet.problems] == [("ragged_row", 2), ("short_row", 4), ("empty_text", 4)]
    assert [p.external_id for p in sheet.problems] == ["A1", "A3", "A3"]
    assert "多出：夏" in sheet.problems[0].message["zh"]
    assert [(row.external_id, row.source.row) for row in sheet.rows] == [("A2", 3), ("A4", 6)]


def test_a_quote_that_never_closes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,dimension,text\nA1,流畅性,春\nA2,流畅性,"夏\nA3,流畅性,秋\n', encoding="utf-8")
    sheet = read(path)
    assert [(p.code, p.row) for p in sheet.problems] == [("unclosed_quote", 3)]
    assert (sheet.error_rows, len(sheet.rows), sheet.total_rows) == ((3,), 1, 2)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_the_last_row_counts_with_or_without_a_line_break(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f'id,dimension,text\r\nA1,流畅性,春\r\nA2,流畅性,"夏\n天"{ending}'.encode())
    assert [row.text for row in read(path).rows] == ["春", "夏\n天"]
    assert read(path).problems == ()


def test_blank_rows_are_no_rows(tmp_path: Path) -> None:
    sheet = read(write_xlsx(tmp_path / "a.xlsx", [HEADER, GOOD, (), ("", " ", "", "", ""), ("G2", "", "流畅性", "夏", ""), (), ()]))
    assert sheet.problems == ()
    assert (sheet.total_rows, [row.source.row for row in sheet.rows]) == (2, [2, 5])


def test_broken_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": "A1", "dimension": "fluency", "text": "春"}\n\n[1, 2]\n{"id": "A2", "dimension": "fluency", "text": "一", "text": "二"}\n'
        '{"id": "A3", "dimension": "flu',
        encoding="utf-8",
    )
    sheet = read(path)
    assert [(p.code, p.row, p.external_id) for p in sheet.problems] == [
        ("not_an_object", 3, ""),
        ("duplicate_key", 4, "A2"),
        ("bad_json_line", 5, ""),
    ]
    assert "第 3 行是列表，不是对象" in sheet.problems[0].message["zh"]
    assert (sheet.error_rows, sheet.total_rows) == ((3, 4, 5), 4)


def test_too_many_rows(tmp_path: Path) -> None:
    rows = [(f"A{i}", "", "流畅性", f"第{i}", "") for i in range(51)]
    assert len(csv_of(tmp_path, *rows[:50], limits=SMALL).rows) == 50
    with pytest.raises(SheetError, match="more than 50 rows") as caught:
        csv_of(tmp_path, *rows, limits=SMALL)
    assert "PINGPAN_MAX_ROWS" in caught.value.messages["zh"]
    with pytest.raises(SheetError, match="more than 50 rows"):
        read(write_jsonl(tmp_path / "b.jsonl", [{"id": i, "dimension": "fluency", "text": f"{i}"} for i in range(51)]), limits=SMALL)


def jsonl_of(tmp_path: Path, *lines: str) -> ParsedSheet:
    """Read a jsonl file of exactly these lines."""
    (tmp_path / "a.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return read(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('["春天", {"键": 1}]', '["春天", {"键": 1}]'),
        ('"春天"', '"春天"'),
        ("null", "null"),
        ("true", "true"),
        ("12345678901234567890.50", "12345678901234567890.50"),
    ],
)
def test_a_row_that_is_no_object_is_shown_as_it_stands_in_the_file(tmp_path: Path, line: str, shown: str) -> None:
    sheet = jsonl_of(tmp_path, '{"id": "A1", "dimension": "fluency", "text": "春"}', line)
    assert (only(sheet, "not_an_object").value, sheet.error_rows) == (shown, (2,))


@pytest.mark.parametrize(
    ("second", "shown"), [('{"k": "中"}', '{"k": "中"}'), ("null", "null"), ("[1, 2.50]", "[1, 2.5]"), ("17", "17"), ('"夏"', '"夏"')]
)
def test_the_second_value_of_a_key_is_shown_as_json(tmp_path: Path, second: str, shown: str) -> None:
    sheet = jsonl_of(tmp_path, f'{{"id": " A1\\u200b ", "dimension": "fluency", "text": "春", "text": {second}}}')
    fault = only(sheet, "duplicate_key")
    assert fault.value.strip('"') == shown.strip('"')
    assert (fault.column, fault.external_id, sheet.error_rows) == ("text", "A1", (1,))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "A1", "text"', "缺少冒号"),
        ('{"id": "A1", "text": ', "此处应为一个值"),
        ('{"id": "A1", text: "春"}', "此处应为双引号中的键"),
        ('{"id": "A1" "text": "春"}', "缺少逗号"),
        ('{"id": "A1", "text": "春', "字符串没有结束"),
        ('{"id": "A1", "text": "春\t"}', "字符串中有控制字符"),
        (r'{"id": "A1", "text": "\x"}', "反斜杠转义无效"),
        (r'{"id": "A1", "text": "\u12"}', r"\uXXXX 转义无效"),
        ('{"id": "A1"} {"id": "A2"}', "其后还有多余内容"),
    ],
)
def test_what_is_wrong_with_json_is_told_in_chinese(tmp_path: Path, line: str, reason: str) -> None:
    told = only(jsonl_of(tmp_path, '{"id": "A0", "dimension": "fluency", "text": "春"}', line), "bad_json_line")
    assert f"：{reason}）" in told.message["zh"]
    assert told.message["en"].isascii()
    path = tmp_path / "a.json"
    path.write_text(f"[{line}]", encoding="utf-8")
    with pytest.raises(SheetError) as refused:
        read(path)
    assert "：" in refused.value.messages["zh"]
    assert not any(word in refused.value.messages["zh"] for word in ("Expecting", "Invalid", "Extra", "Unterminated"))


@pytest.mark.parametrize("deep", ["[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900, "[" * 100_000])
def test_values_nested_too_deeply_spoil_their_row_alone(tmp_path: Path, deep: str) -> None:
    good = '{"id": "A1", "dimension": "fluency", "text": "春"}'
    nested = f'{{"id": "A2", "dimension": "fluency", "text": "春", "more": 1, "more": {deep}}}'
    sheet = jsonl_of(tmp_path, good, nested)
    assert ([row.external_id for row in sheet.rows], sheet.error_rows) == (["A1"], (2,))


def test_what_no_parser_can_nest_is_told(tmp_path: Path) -> None:
    good = '{"id": "A1", "dimension": "fluency", "text": "春"}'
    nested = f'{{"id": "A2", "dimension": "fluency", "text": "春", "more": {"[" * 100_000}}}'
    sheet = jsonl_of(tmp_path, good, nested)
    assert ([row.external_id for row in sheet.rows], sheet.error_rows) == (["A1"], (2,))
    assert "嵌套过深" in only(sheet, "bad_json_line").message["zh"]
    path = tmp_path / "a.json"
    path.write_text(f"[{good}, {nested}]", encoding="utf-8")
    with pytest.raises(SheetError, match="nested too deeply"):
        read(path)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 5_000, "0.1", "-17", "12345678901234567890"])
def test_nested_values_are_json_again_whatever_the_number(tmp_path: Path, number: str) -> None:
    sheet = jsonl_of(tmp_path, f'{{"id": "A1", "dimension": "fluency", "text": "春", "more": {{"n": [{number}]}}}}')
    assert codes(sheet) == []

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    kept = json.loads(sheet.rows[0].extra["more"], parse_constant=refuse)["n"][0]
    assert kept is None if number in {"NaN", "Infinity"} else str(kept) == number


def test_half_characters_stay_in_no_message(tmp_path: Path) -> None:
    sheet = jsonl_of(
        tmp_path,
        r'{"id": "\ud800", "dimension": "\udfff", "text": "春", "label": "\ud8ff"}',
        r'{"id": "A2\ud800", "dimension": "fluency", "text": "夏", "label": "\ud800", "\udc00": 1, "\udc00": "\udc00"}',
        r'["\ud800"]',
        r'{"id": "A4", "dimension": "fluency", "text": "秋", "label": "\ud800"}',
    )
    assert sheet.error_rows == (1, 2, 3, 4)
    for told in sheet.problems:  # a page, a terminal and a database refuse to encode half a character
        "".join((told.column, told.value, told.external_id, *told.message.values())).encode()
    assert {told.external_id for told in sheet.problems if told.row == 2} == {"A2\ufffd"}
    assert only(sheet, "label_not_number").value == "\ufffd"


def test_control_characters_in_a_dimension_or_a_label_are_removed_and_told(tmp_path: Path) -> None:
    sheet = csv_of(tmp_path, ("A1", "", "流畅\x0b性\x00", "春", "\x084\x7f"))
    assert [(row.dimension_id, row.gold) for row in sheet.rows] == [("fluency", 4)]
    assert [(told.code, told.column, told.value) for told in sheet.problems] == [
        ("control_characters", "评判维度", "U+0000, U+000B"),
        ("control_characters", "标注分值", "U+0008, U+007F"),
    ]


@pytest.mark.parametrize("written", ["1E+11", "1.2E+11", "1.23457E+11", "9E+300"])
def test_a_large_id_saved_in_scientific_form_has_lost_its_digits(tmp_path: Path, written: str) -> None:
    sheet = csv_of(tmp_path, (written, "", "流畅性", "春", ""))
    assert (codes(sheet), sheet.rows[0].external_id) == (["id_digits_lost"], written)


@pytest.mark.parametrize("written", ["1E+1", "E+11", "12E+11", "1e+11x", "A1E+11", "1E11"])
def test_an_id_that_only_looks_scientific_is_an_id(tmp_path: Path, written: str) -> None:
    assert codes(csv_of(tmp_path, (written, "", "流畅性", "春", ""))) == []


@pytest.mark.parametrize("written", ["1_0", "0_4", "4_", "_4", "0x4", "4,0", "IV", "四", "4 4"])
def test_what_only_a_program_would_read_as_a_number_is_no_label(tmp_path: Path, written: str) -> None:
    assert codes(csv_of(tmp_path, ("A1", "", "流畅性", "春", written))) == ["label_not_number"]
