"""Finding columns: by their names, by the user's mapping, and what is said where that fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import SheetError
from core.ingest import HEADER_ALIASES, SheetField
from core.types import Severity
from tests.ingest.samples import HEADER, codes, only, read, write_csv, write_jsonl, write_xlsx

ROW = ("A1", "写一封信", "流畅性", "春天来了。", "4")


def test_chinese_header(tmp_path: Path) -> None:
    sheet = read(write_csv(tmp_path / "a.csv", [HEADER, ROW]))
    assert sheet.problems == ()
    row = sheet.rows[0]
    assert (row.external_id, row.prompt, row.dimension_id, row.text, row.gold) == ("A1", "写一封信", "fluency", "春天来了。", 4)
    assert (row.position, row.source.file, row.source.worksheet, row.source.row) == (0, "a.csv", "", 2)
    assert sheet.mapping == dict(zip(("id", "prompt", "dimension", "text", "label"), HEADER, strict=True))
    assert not sheet.fatal
    assert (sheet.total_rows, sheet.error_rows) == (1, ())


@pytest.mark.parametrize(
    "header",
    [
        ("ID", "Prompt", "Dimension", "Text", "Score"),
        (" data_id ", "INSTRUCTION", "criterion", "model-reply", "Gold Label"),
        ("编号", "题目", "维度", "内容", "分值"),
        ("ＩＤ", "创作 要求", "评判维度（必填）", "待评判内容*", "标注分值(1-5)"),
    ],
)
def test_other_names_count_whatever_their_case_width_and_spaces(tmp_path: Path, header: tuple[str, ...]) -> None:
    header = tuple("模型回复" if name == "model-reply" else name for name in header)
    sheet = read(write_csv(tmp_path / "a.csv", [header, ROW]))
    assert sheet.problems == ()
    assert (sheet.rows[0].prompt, sheet.rows[0].gold) == ("写一封信", 4)
    assert set(sheet.mapping) == {"id", "prompt", "dimension", "text", "label"}


@pytest.mark.parametrize("field", list(SheetField))
def test_every_alias_is_known(tmp_path: Path, field: SheetField) -> None:
    place = list(SheetField).index(field)
    for alias in HEADER_ALIASES[field]:
        canonical = [HEADER_ALIASES[other][0] for other in SheetField]
        canonical[place] = alias.upper()
        row = {SheetField.ID: "A1", SheetField.PROMPT: "题", SheetField.DIMENSION: "流畅性", SheetField.TEXT: "文", SheetField.LABEL: "3"}
        sheet = read(write_csv(tmp_path / "a.csv", [canonical, [row[other] for other in SheetField]]))
        assert sheet.problems == (), alias
        assert sheet.mapping[field] == alias.upper()


def test_columns_may_stand_in_any_order_and_extras_are_kept(tmp_path: Path) -> None:
    sheet = read(
        write_csv(
            tmp_path / "a.csv",
            [("备注", "text", "作者", "dimension", "id"), ("好", "春天。", "张三", "fluency", "7"), ("", "夏天。", "", "fluency", "8")],
        )
    )
    assert sheet.extra_columns == ("备注", "作者")
    assert sheet.rows[0].extra == {"备注": "好", "作者": "张三"}
    assert sheet.rows[1].extra == {}


def test_a_mapping_wins_over_names(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [("id", "text", "translation", "kind"), ("A1", "spring", "春天。", "流畅性")])
    assert codes(read(path)) == ["missing_column"]
    sheet = read(path, mapping={"text": "Translation", "dimension": "kind"})
    assert sheet.problems == ()
    assert sheet.rows[0].text == "春天。"
    assert sheet.rows[0].extra == {"text": "spring"}


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"text": "正文稿"}, "没有「正文稿」列"),
        ({"body": "text"}, "字段只能是"),
        ({"text": "text", "prompt": "text"}, "只能对应一个字段"),
    ],
)
def test_a_mapping_that_cannot_be(tmp_path: Path, mapping: dict[str, str], said: str) -> None:
    sheet = read(write_csv(tmp_path / "a.csv", [("id", "text", "dimension"), ("A1", "春", "流畅性")]), mapping=mapping)
    assert sheet.fatal
    assert said in only(sheet, "unknown_mapping").message["zh"]


def test_every_missing_column_is_told_at_once_with_its_names(tmp_path: Path) -> None:
    sheet = read(write_csv(tmp_path / "a.csv", [("甲", "乙"), ("1", "2"), ("3", "4")]))
    assert sheet.fatal
    assert (sheet.rows, sheet.total_rows) == ((), 2)
    assert [(p.code, p.column) for p in sheet.problems] == [
        ("missing_column", "数据编号"),
        ("missing_column", "评判维度"),
        ("missing_column", "待评判内容"),
    ]
    assert "甲, 乙" in sheet.problems[0].message["zh"]
    assert "data id" in sheet.problems[0].message["en"]


def test_a_library_needs_the_label_column(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [HEADER[:4], ROW[:4]])
    assert not read(path).fatal
    assert only(read(path, require_labels=True), "missing_column").column == "标注分值"


def test_a_doubled_column_is_no_guess(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [("数据编号", "评判维度", "待评判内容", "待评判内容"), ("A1", "流畅性", "甲", "乙")])
    fault = only(read(path), "duplicate_column")
    assert read(path).fatal
    assert (fault.column, fault.severity) == ("待评判内容", Severity.ERROR)
    assert "第 3, 4 列" in fault.message["zh"]
    alike = read(write_csv(tmp_path / "b.csv", [("ID", "Dimension", "Text", "text"), ("A1", "流畅性", "甲", "乙")]))
    assert [fault.code for fault in alike.problems] == ["duplicate_column"]


def test_a_doubled_extra_column_is_kept_twice(tmp_path: Path) -> None:
    sheet = read(write_csv(tmp_path / "a.csv", [("id", "dimension", "text", "备注", "备注"), ("A1", "流畅性", "春", "一", "二")]))
    assert only(sheet, "duplicate_column").severity is Severity.WARNING
    assert sheet.rows[0].extra == {"备注": "一", "备注 (2)": "二"}


def test_the_canonical_name_wins_over_an_alias(tmp_path: Path) -> None:
    sheet = read(write_csv(tmp_path / "a.csv", [("id", "数据编号", "维度", "待评判内容"), ("9", "A1", "流畅性", "春")]))
    assert only(sheet, "ambiguous_column").column == "数据编号"
    assert sheet.rows[0].external_id == "A1"
    assert sheet.rows[0].extra == {"id": "9"}


def test_a_title_above_the_header(tmp_path: Path) -> None:
    sheet = read(write_xlsx(tmp_path / "a.xlsx", [("2024 年秋季评审",), (), HEADER, ROW]))
    assert "2024 年秋季评审" in only(sheet, "header_not_first").message["zh"]
    assert sheet.rows[0].source.row == 4


def test_a_column_without_a_name_is_kept(tmp_path: Path) -> None:
    sheet = read(
        write_xlsx(
            tmp_path / "a.xlsx",
            [("id", "", "dimension", "text", ""), ("A1", "", "流畅性", "春", "手写批注"), ("A2", "", "流畅性", "夏", "又一条")],
        )
    )
    assert "第 5 列" in only(sheet, "unnamed_column").message["zh"]
    assert sheet.extra_columns == ("column_5",)
    assert sheet.rows[1].extra == {"column_5": "又一条"}


def test_no_prompt_column_where_a_dimension_needs_it(tmp_path: Path) -> None:
    sheet = read(write_csv(tmp_path / "a.csv", [("id", "dimension", "text"), ("A1", "规范性", "春"), ("A2", "流畅性", "夏")]))
    assert codes(sheet) == ["prompt_column_absent", "missing_prompt"]
    assert sheet.error_rows == (2,)
    assert [row.external_id for row in sheet.rows] == ["A2"]


def test_header_only_and_empty(tmp_path: Path) -> None:
    bare = read(write_csv(tmp_path / "a.csv", [HEADER]))
    assert (codes(bare), bare.fatal, bare.total_rows) == (["header_only"], True, 0)
    empty = read(write_xlsx(tmp_path / "b.xlsx", []))
    assert (codes(empty), empty.fatal) == (["empty_sheet"], True)
    assert codes(read(write_jsonl(tmp_path / "c.json", [[]]))) == ["empty_sheet"]


def test_json_keys_are_columns_and_may_differ_from_row_to_row(tmp_path: Path) -> None:
    sheet = read(
        write_jsonl(
            tmp_path / "a.jsonl",
            [
                {"id": "A1", "dimension": "fluency", "text": "春"},
                {"text": "夏", "tags": ["a", {"b": 1}], "id": 2, "dimension": "fluency", "label": 3, "note": None},
            ],
        )
    )
    assert sheet.problems == ()
    assert sheet.columns == ("id", "dimension", "text", "tags", "label", "note")
    assert sheet.rows[1].extra == {"tags": '["a", {"b": 1}]'}
    assert (sheet.rows[1].external_id, sheet.rows[1].gold, sheet.rows[1].source.row) == ("2", 3, 2)


def test_a_row_that_reads_like_a_header_is_none(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [("id", "kind", "body"), ("A1", "流畅性", "春"), ("题目", "内容", "正文")])
    sheet = read(path, mapping={"dimension": "kind", "text": "body"})
    assert codes(sheet) == ["unknown_dimension"]
    assert sheet.columns == ("id", "kind", "body")
    assert codes(read(path)) == ["missing_column", "missing_column"]


def test_header_names_hold_no_control_characters(tmp_path: Path) -> None:
    sheet = read(write_jsonl(tmp_path / "a.jsonl", [{"id": "A1", "dimension": "fluency", "text": "春", " a\x00b\n": "甲", "": "乙"}]))
    assert sheet.columns == ("id", "dimension", "text", "ab", "column_5")
    assert sheet.rows[0].extra == {"ab": "甲", "column_5": "乙"}


def test_extra_columns_are_cleaned_and_told(tmp_path: Path) -> None:
    sheet = read(write_csv(tmp_path / "a.csv", [("id", "dimension", "text", "备注"), ("A1", "流畅性", "春", "一\x08二")]))
    fault = only(sheet, "control_characters")
    assert (fault.row, fault.column, fault.value) == (2, "备注", "U+0008")
    assert sheet.rows[0].extra == {"备注": "一二"}


def test_names_made_for_columns_never_collide(tmp_path: Path) -> None:
    header = ("id", "dimension", "text", "备注", "备注 (2)", "备注", "column_8", "")
    sheet = read(write_csv(tmp_path / "a.csv", [header, ("A1", "流畅性", "春", "一", "二", "三", "四", "五")]))
    assert sheet.rows[0].extra == {"备注": "一", "备注 (2)": "二", "备注 (3)": "三", "column_8": "四", "column_8 (2)": "五"}
    assert sheet.extra_columns == tuple(sheet.rows[0].extra)


@pytest.mark.parametrize(
    "mark", ["\u00ad", "\u180e", "\u200b", "\u200f", "\u202a", "\u202c", "\u202e", "\u2060", "\u2064", "\u2066", "\u2069", "\ufeff"]
)
def test_marks_that_cannot_be_seen_hide_no_header_dimension_id_or_label(tmp_path: Path, mark: str) -> None:
    header = [f"{mark}{name[0]}{mark}{name[1:]}{mark}" for name in HEADER]
    row = (f"{mark}A1{mark}", "写春天", f"{mark}流畅{mark}性", f"春{mark}天", f"{mark}4{mark}")
    sheet = read(write_csv(tmp_path / "a.csv", [header, row]))
    assert codes(sheet) == ["invisible_in_id"]
    assert [(r.external_id, r.dimension_id, r.gold, r.text) for r in sheet.rows] == [("A1", "fluency", 4, f"春{mark}天")]


@pytest.mark.parametrize(
    "header",
    ["标注分值（1 到 5 分，\n只填整数）", "标注分值\n【必填\n见说明】", "Label [1-5;\r\n whole numbers]", "标注分值（见(附件\n一)）"],
)
def test_a_remark_of_several_lines_is_a_remark(tmp_path: Path, header: str) -> None:
    sheet = read(write_csv(tmp_path / "a.csv", [("编号", "维度", "内容", header), ("A1", "流畅性", "春", "4")]), require_labels=True)
    assert (codes(sheet), sheet.rows[0].gold) == ([], 4)
    assert sheet.mapping["label"].startswith(header[:4])


def test_a_header_as_long_as_a_text_is_an_extra_column(tmp_path: Path) -> None:
    long = "内容（" + "说" * 1_000 + "）"
    sheet = read(write_csv(tmp_path / "a.csv", [("编号", "维度", "内容", long), ("A1", "流畅性", "春", "夏")]))
    assert (codes(sheet), sheet.rows[0].text, sheet.rows[0].extra) == ([], "春", {long: "夏"})


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_ids_as_keys_are_refused_before_they_fill_the_memory(tmp_path: Path, suffix: str) -> None:
    rows = [{f"ID{number}": {"text": "春"}} for number in range(3_000)]  # padded, they would be nine million cells
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    if suffix == "json":
        path = tmp_path / "a.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(SheetError) as told:
        read(path)
    assert 'more than 1,000 different keys ("ID1000" in row 1001 is one too many)' in told.value.messages["en"]
    assert "最多接受 1,000 列" in told.value.messages["zh"]


def test_as_many_keys_as_there_may_be_columns_are_read(tmp_path: Path) -> None:
    row = {"id": "A1", "dimension": "fluency", "text": "春", **{f"列{number}": str(number) for number in range(997)}}
    assert len(read(write_jsonl(tmp_path / "a.jsonl", [row])).rows[0].extra) == 997
    with pytest.raises(SheetError, match="more than 1,000 different keys"):
        read(write_jsonl(tmp_path / "b.jsonl", [row, {"id": "A2", "dimension": "fluency", "text": "夏", "多": ""}]))
