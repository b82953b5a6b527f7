"""The odd forms of delimited files: line endings, delimiters, quotes, very long cells, encodings that are hard to tell."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ingest.samples import HEADER, codes, only, read, write_csv


def texts(path: Path, **options: object) -> list[tuple[str, str]]:
    """Return id and text of each row of a sheet without problems."""
    sheet = read(path, **options)
    assert sheet.problems == ()
    return [(row.external_id, row.text) for row in sheet.rows]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_endings(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(ending.join(("id,dimension,text", 'A1,fluency,"一"', 'A2,fluency,"二, ""三"""', "")).encode())
    assert texts(path) == [("A1", "一"), ("A2", '二, "三"')]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_texts_full_of_other_delimiters_do_not_mislead(tmp_path: Path, delimiter: str) -> None:
    rows = [("id", "dimension", "text"), *[(f"A{i}", "fluency", f"{i},,,;;;\t\t\t|||") for i in range(30)]]
    assert [text for _, text in texts(write_csv(tmp_path / "a.csv", rows, delimiter=delimiter))] == [row[2] for row in rows[1:]]


def test_the_delimiter_is_found_under_names_that_only_the_mapping_knows(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.txt", [("甲", "乙", "丙,丁"), ("A1", "fluency", "春,天")], delimiter=";")
    assert texts(path, mapping={"id": "甲", "dimension": "乙", "text": "丙,丁"}) == [("A1", "春,天")]


def test_a_line_that_names_the_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("sep=;\nid;dimension;text\nA1;fluency;春\n", encoding="utf-8")
    sheet = read(path)
    assert codes(sheet) == ["header_not_first"]
    assert [(row.external_id, row.source.row) for row in sheet.rows] == [("A1", 3)]


def test_a_very_long_cell(tmp_path: Path) -> None:
    long = "春天来了。" * 60_000
    assert texts(write_csv(tmp_path / "a.csv", [("id", "dimension", "text"), ("A1", "fluency", long)])) == [("A1", long)]


def test_quotes_that_are_not_at_the_start_are_plain(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,dimension,text\nA1,fluency,他说"好"，走了\nA2,fluency,"一"二\n', encoding="utf-8")
    assert texts(path) == [("A1", '他说"好"，走了'), ("A2", "一二")]


def test_rows_keep_their_numbers_through_texts_of_several_lines(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [HEADER, ("A1", "", "流畅性", "一\n二\n三", ""), (), ("A2", "", "无此维度", "四", "")])
    sheet = read(path)
    assert sheet.rows[0].source.row == 2
    assert only(sheet, "unknown_dimension").row == 4


def test_gb18030_of_traditional_and_rare_characters_is_told_by_its_header(tmp_path: Path) -> None:
    rows = [HEADER, *[(f"A{i}", "", "流畅性", "龘靐齉齾爩麤灪籲鱻麣讟癵欞驫鸞厵驪虋㐂㑇", "") for i in range(3)]]
    sheet = read(write_csv(tmp_path / "a.csv", rows, "gb18030"))
    assert sheet.encoding == "gb18030"
    assert {p.code for p in sheet.problems} == {"duplicate_content"}


def test_plain_ascii_is_utf_8(tmp_path: Path) -> None:
    sheet = read(write_csv(tmp_path / "a.csv", [("id", "dimension", "text"), ("A1", "fluency", "plain")]))
    assert (sheet.encoding, sheet.size_bytes, len(sheet.sha256)) == ("utf-8", (tmp_path / "a.csv").stat().st_size, 64)


def test_a_file_cut_in_the_middle_of_a_character(tmp_path: Path) -> None:
    rows = [("id", "dimension", "text"), *[(f"A{i}", "fluency", f"{i}春天来了，万物复苏，小河解冻，孩子们放风筝。") for i in range(30)]]
    for encoding in ("utf-8", "gb18030", "utf-16-le"):
        path = write_csv(tmp_path / "a.csv", rows, encoding)
        path.write_bytes(path.read_bytes()[: -7 if encoding != "utf-8" else -6])
        sheet = read(path)
        assert len(sheet.rows) >= 29, encoding
        assert set(codes(sheet)) <= {"undecodable"}


def test_windows_1252_is_guessed(tmp_path: Path) -> None:
    rows = [
        ("id", "dimension", "text"),
        *[(f"A{i}", "fluency", f"Les élèves ont été très contents à l’école, n° {i}. Ça va, garçon?") for i in range(30)],
    ]
    sheet = read(write_csv(tmp_path / "a.csv", rows, "cp1252"))
    assert only(sheet, "encoding_guessed").value in {"cp1252", "cp1250", "latin_1", "iso8859_15", "cp1254"}
    assert "élèves" in sheet.rows[0].text


def test_utf_32_is_not_taken_for_utf_16(tmp_path: Path) -> None:
    sheet = read(write_csv(tmp_path / "a.csv", [HEADER, ("A1", "", "流畅性", "春天来了，万物复苏。", "")], "utf-32"))
    assert only(sheet, "encoding_guessed").value == "utf-32"
    assert sheet.rows[0].text == "春天来了，万物复苏。"


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_stray_zero_bytes_do_not_make_a_file_utf_16(tmp_path: Path, encoding: str) -> None:
    path = write_csv(
        tmp_path / "a.csv", [HEADER, *[(f"A{i}", "", "流畅性", f"\x00春天来了，万物复苏{i}。", "") for i in range(9)]], encoding
    )
    sheet = read(path)
    assert sheet.encoding == encoding
    assert set(codes(sheet)) == {"control_characters"}
    assert len(sheet.rows) == 9


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(tmp_path: Path, encoding: str) -> None:
    for text in ("plain ASCII text", "上下左右，春天来了，万物复苏，小河解冻。" * 30, "Привет, мир"):
        sheet = read(write_csv(tmp_path / "a.csv", [("id", "dimension", "text"), ("A1", "fluency", text)], encoding))
        assert (sheet.encoding, sheet.rows[0].text) == (encoding, text)


@pytest.fixture
def usual_field_limit() -> Iterator[None]:
    """Let the csv module refuse long cells, as it does in a process that has read no sheet yet."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)


@pytest.mark.usefixtures("usual_field_limit")
def test_a_very_long_cell_among_the_first_rows_of_a_new_process(tmp_path: Path) -> None:
    rows = [("id", "dimension", "text"), ("A1", "fluency", "长" * 200_000)]
    assert len(texts(write_csv(tmp_path / "a.csv", rows))[0][1]) == 200_000


@pytest.mark.parametrize("long", ["(" * 20_000, "(" * 10_000 + "x)" * 10 + "x", "[(【" * 7_000])
def test_a_long_text_of_brackets_is_read_at_once(tmp_path: Path, long: str) -> None:
    path = write_csv(tmp_path / "a.csv", [("id", "dimension", "text"), ("A1", "fluency", long)])
    started = time.process_time()
    assert texts(path) == [("A1", long)]
    assert time.process_time() - started < 1.0  # 20,000 brackets cost 12 s when every cell was compared as a header


def test_a_field_that_a_mapping_leaves_open_does_not_choose_the_delimiter(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [("甲", "dimension", "text"), ("A1", "fluency", ";;;;;;;;;;")])
    assert texts(path, mapping={"id": "甲", "label": ""}) == [("A1", ";" * 10)]
    for nothing in (" ", "-", "\ufeff"):
        sheet = read(path, mapping={"id": "甲", "label": nothing})
        assert (codes(sheet), sheet.columns) == (["unknown_mapping"], ("甲", "dimension", "text"))


@pytest.mark.parametrize("blank", ["", ",,", " ,\u3000,"])
def test_the_header_is_found_below_any_number_of_blank_rows(tmp_path: Path, blank: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("某校作文,,\n" + f"{blank}\n" * 60 + "id,dimension,text\n" + f"{blank}\n" * 30 + "A1,fluency,春\n", encoding="utf-8")
    sheet = read(path)
    assert [(row.external_id, row.source.row) for row in sheet.rows] == [("A1", 93)]
    assert "第 62 行" in only(sheet, "header_not_first").message["zh"]


def test_no_header_is_looked_for_below_twenty_filled_rows(tmp_path: Path) -> None:
    above = [("说明", str(number), "") for number in range(19)]
    table = [("id", "dimension", "text"), ("A1", "fluency", "春")]
    assert len(read(write_csv(tmp_path / "a.csv", [*above, *table])).rows) == 1
    late = read(write_csv(tmp_path / "b.csv", [*above, ("说明", "19", ""), *table]))
    assert late.fatal
    assert codes(late) == ["missing_column"] * 3
