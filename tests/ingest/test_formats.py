"""Every format and encoding, told by content; and files that cannot be read, each with its reason and remedy."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import random
import zipfile
from pathlib import Path

import pytest

from core.errors import SheetError
from core.ingest import Limits
from core.settings import Settings
from tests.conftest import real_file
from tests.ingest.ole2 import write_ole2, write_xls
from tests.ingest.samples import HEADER, SMALL, codes, only, read, write_csv, write_jsonl, write_xlsx

ROWS = [
    HEADER,
    ("A1", "请以“春天”为题，写一篇短文。", "规范性", "春天来了，万物复苏，\n小河解冻。😀", "4"),
    ("A2", "", "流畅性", "他说：“今天，天气真好。”于是我们一起去公园散步。", "5"),
    ("A3", "", "选择题", "正确选项为B 模型回复为B", "1"),
]
READ = [(row[0], row[1], row[3], int(row[4])) for row in ROWS[1:]]


def content(sheet: object) -> list[tuple[object, ...]]:
    """Return what must be the same whatever the format."""
    return [(row.external_id, row.prompt, row.text, row.gold) for row in sheet.rows]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("encoding", "shown", "delimiter"),
    [
        ("utf-8", "utf-8", ","),
        ("utf-8-sig", "utf-8-sig", ","),
        ("gb18030", "gb18030", ","),
        ("utf-16-le", "utf-16-le", ","),
        ("utf-16-be", "utf-16-be", ","),
        ("utf-16", "utf-16-le", "\t"),
        ("utf-8", "utf-8", ";"),
        ("gb18030", "gb18030", "\t"),
        ("utf-8", "utf-8", "\t"),
    ],
)
def test_delimited_files_in_every_encoding(tmp_path: Path, encoding: str, shown: str, delimiter: str) -> None:
    sheet = read(write_csv(tmp_path / "a.csv", ROWS, encoding, delimiter))
    assert content(sheet) == READ
    assert (sheet.encoding, sheet.format, sheet.problems) == (shown, "tsv" if delimiter == "\t" else "csv", ())


def test_utf_16_with_its_mark(tmp_path: Path) -> None:
    for mark, encoding in ((codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF16_LE, "utf-16-le")):
        path = write_csv(tmp_path / "a.csv", ROWS, encoding)
        path.write_bytes(mark + path.read_bytes())
        assert content(read(path)) == READ
        assert read(path).mapping["id"] == "数据编号"


def test_xlsx_jsonl_and_json_give_the_same_rows(tmp_path: Path) -> None:
    objects = [dict(zip(HEADER, row, strict=True)) for row in ROWS[1:]]
    lines = write_jsonl(tmp_path / "a.jsonl", objects)
    plain = tmp_path / "a.json"
    plain.write_text(json.dumps(objects, ensure_ascii=False, indent=1), encoding="utf-8-sig")
    wrapped = tmp_path / "b.json"
    wrapped.write_text(json.dumps({"version": 1, "data": objects}), encoding="utf-8")
    deeper = tmp_path / "c.json"
    deeper.write_text(json.dumps({"result": {"codes": [1, 2], "data": objects}}), encoding="utf-8")
    jsons = [(path, "json") for path in (plain, wrapped, deeper)]
    for path, shape in ((write_xlsx(tmp_path / "a.xlsx", ROWS), "xlsx"), (lines, "jsonl"), *jsons):
        sheet = read(path)
        assert (content(sheet), sheet.format, sheet.problems) == (READ, shape, ()), path.name


def test_an_old_xls_workbook_is_read_with_a_warning(tmp_path: Path) -> None:
    sheet = read(write_xls(tmp_path / "a.xls", [HEADER[:4], ("A1", "", "流畅性", "春天"), (17.0, "", "流畅性", "夏天")]))
    assert (sheet.format, sheet.worksheets) == ("xls", ("表一",))
    assert [(row.external_id, row.text) for row in sheet.rows] == [("A1", "春天"), ("17", "夏天")]
    assert codes(sheet) == ["legacy_format", "numeric_ids"]


@pytest.mark.parametrize(
    ("name", "shape"), [("a.xlsx", "csv"), ("a.jsonl", "csv"), ("a.csv", "xlsx"), ("a.csv", "jsonl"), ("a.xls", "xlsx"), ("a.tsv", "json")]
)
def test_a_renamed_file_is_read_by_what_it_holds(tmp_path: Path, name: str, shape: str) -> None:
    path = tmp_path / name
    objects = [dict(zip(HEADER, row, strict=True)) for row in ROWS[1:]]
    {
        "csv": lambda: write_csv(path, ROWS),
        "xlsx": lambda: write_xlsx(tmp_path / "real.xlsx", ROWS).rename(path),
        "jsonl": lambda: write_jsonl(path, objects),
        "json": lambda: path.write_text(json.dumps(objects), encoding="utf-8"),
    }[shape]()
    sheet = read(path)
    assert content(sheet) == READ
    assert sheet.format == shape
    fault = only(sheet, "renamed_file")
    assert name in fault.message["zh"]
    assert shape in fault.message["en"]


def test_the_name_of_an_upload_counts_and_not_its_path(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "3f2a", ROWS)
    assert read(path, name="评审.csv").problems == ()
    assert read(path, name="评审.csv").rows[0].source.file == "评审.csv"
    assert codes(read(path, name="评审.xlsx")) == ["renamed_file"]


def test_a_file_in_another_encoding_is_guessed_and_told(tmp_path: Path) -> None:
    rows = [
        ("id", "dimension", "text"),
        *[(f"A{i}", "fluency", "這個國家的經濟發展與環境保護問題，應當受到廣大學術界與藝術界的關注。" * 3) for i in range(20)],
    ]
    sheet = read(write_csv(tmp_path / "a.csv", rows, "big5"))
    assert "encoding_guessed" in codes(sheet)
    assert "學術界" in sheet.rows[0].text


def test_a_damaged_byte_marks_its_row_and_no_other(tmp_path: Path) -> None:
    rows = [HEADER, *[(f"A{i}", "", "流畅性", f"第{i}篇：春天来了，万物复苏，小河解冻，孩子们到田野里放风筝。", "") for i in range(40)]]
    for encoding in ("utf-8", "gb18030"):
        path = write_csv(tmp_path / "a.csv", rows, encoding)
        place = path.read_bytes().index("第7篇".encode(encoding)) + 40
        path.write_bytes(path.read_bytes()[:place] + b"\xff\xff" + path.read_bytes()[place:])
        sheet = read(path)
        assert set(codes(sheet)) == {"undecodable"}, encoding
        assert sheet.error_rows == (9,)
        assert len(sheet.rows) == 39


def refused(path: Path, said: str, said_zh: str, **options: object) -> None:
    """Check that the file is refused with these words and names itself."""
    with pytest.raises(SheetError) as caught:
        read(path, **options)
    english, chinese = caught.value.messages["en"], caught.value.messages["zh"]
    assert said in english
    assert said_zh in chinese
    assert path.name in english
    assert path.name in chinese


def test_files_that_are_no_table(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    for start, name in ((b"%PDF-1.7 ...", "PDF"), (b"\x89PNG\r\n\x1a\n", "PNG"), (gzip.compress(b"x"), "gzip")):
        path.write_bytes(start)
        refused(path, f"is a {name} file", f"是 {name} 文件")
    path.write_text("<html><body><table><tr><td>数据编号", encoding="utf-8")
    refused(path, "web page", "网页")
    path.write_bytes(random.Random(3).randbytes(5000))
    refused(path, "is no text in UTF-8", "不是 UTF-8")
    for member, said, said_zh in (
        ("word/document.xml", "a Word document", "Word 文档"),
        ("notes.txt", "without a workbook", "不含工作簿"),
        ("xl/workbook.bin", ".xlsb", "xlsb"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, "x")
        refused(path, said, said_zh)


def test_files_that_are_missing_empty_or_too_big(tmp_path: Path) -> None:
    refused(tmp_path / "none.csv", "cannot be opened", "无法打开")
    path = tmp_path / "a.csv"
    path.write_bytes(b"")
    refused(path, "0 bytes", "0 字节")
    path.write_bytes(b"\xef\xbb\xbf \r\n\r\n")
    refused(path, "only blank characters", "只有空白字符")
    path.write_bytes(b"x" * (SMALL.max_bytes + 1))
    refused(path, "PINGPAN_MAX_UPLOAD_MB", "PINGPAN_MAX_UPLOAD_MB", limits=SMALL)
    refused(tmp_path, "is a folder", "是文件夹")


def test_a_truncated_or_damaged_xlsx(tmp_path: Path) -> None:
    noise = random.Random(1)
    rows = [HEADER, *[(f"A{i}", "", "流畅性", str(noise.random()) * 20, "") for i in range(300)]]
    whole = write_xlsx(tmp_path / "whole.xlsx", rows).read_bytes()
    path = tmp_path / "a.xlsx"
    for share in (0.02, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        refused(path, "truncated", "截断")
    place = whole.index(b"xl/sharedStrings.xml") + 200
    path.write_bytes(whole[:place] + bytes(64) + whole[place + 64 :])
    refused(path, "damaged", "损坏")


def test_an_encrypted_workbook(tmp_path: Path) -> None:
    refused(write_ole2(tmp_path / "a.xlsx", "EncryptedPackage", random.Random(2).randbytes(6000)), "password", "密码")
    refused(write_ole2(tmp_path / "a.xls", "WordDocument", b"x" * 6000), "without a workbook", "没有工作簿")
    path = tmp_path / "b.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(200))
    refused(path, "truncated", "截断")


def test_json_that_is_no_list_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"id": 1,\n "text": }]', encoding="utf-8")
    refused(path, "line 2, column 10", "第 2 行第 10 个字符")
    path.write_text('{"a": [1], "b": [2]}', encoding="utf-8")
    refused(path, "more than one", "不止一个")
    path.write_text("[" * 100_000, encoding="utf-8")
    refused(path, "nested too deeply", "嵌套过深")


def rezipped(path: Path, part: str, content: bytes, target: Path) -> Path:
    """Copy an xlsx file with one part replaced."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in archive.namelist():
            copy.writestr(name, content if name == part else archive.read(name))
    return target


def test_zip_bombs_are_not_unpacked(tmp_path: Path) -> None:
    good = write_xlsx(tmp_path / "good.xlsx", ROWS)
    bomb = rezipped(good, "xl/sharedStrings.xml", b"<sst>" + b" " * (40 * 2**20), tmp_path / "bomb.xlsx")
    refused(bomb, "zip bomb", "压缩炸弹")
    refused(bomb, "zip bomb", "压缩炸弹", limits=Limits(max_ratio=10**6, max_unpacked_bytes=2**24))
    with zipfile.ZipFile(tmp_path / "many.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
        for number in range(200):
            archive.writestr(f"xl/{number}", "")
    refused(tmp_path / "many.xlsx", "201 members", "201 个成员", limits=Limits(max_zip_entries=100))


def test_a_zip_bomb_whose_directory_lies(tmp_path: Path) -> None:
    good = write_xlsx(tmp_path / "good.xlsx", ROWS)
    bomb = rezipped(good, "xl/sharedStrings.xml", b"<sst>" + b" " * (40 * 2**20), tmp_path / "bomb.xlsx")
    raw = bytearray(bomb.read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(raw))) as archive:
        true_size = archive.getinfo("xl/sharedStrings.xml").file_size.to_bytes(4, "little")
    lie = (5000).to_bytes(4, "little")
    assert raw.count(true_size) >= 1
    bomb.write_bytes(bytes(raw).replace(true_size, lie))
    refused(bomb, "zip bomb", "压缩炸弹")


def test_limits_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert Limits().max_bytes == settings.max_upload_mb * 2**20
    assert Limits().max_rows == settings.max_rows


def test_a_worksheet_of_a_text_file(tmp_path: Path) -> None:
    refused(write_csv(tmp_path / "a.csv", ROWS), "has no worksheet", "没有工作表", worksheet="Sheet1")


@pytest.mark.real_data
def test_the_competitions_files() -> None:
    sheet = read(real_file("test-B.xlsx"))
    assert (sheet.format, sheet.worksheet, sheet.worksheets) == ("xlsx", "Sheet (2)", ("Sheet (2)", "Sheet1"))
    assert (len(sheet.rows), sheet.problems, sheet.extra_columns) == (2750, (), ())
    assert [sum(row.dimension_id == name for row in sheet.rows) for name in ("normativity", "fluency", "choice")] == [1000, 1000, 750]
    labelled = read(real_file("train-fluency.csv"), require_labels=True)
    assert (labelled.encoding, labelled.problems) == ("gb18030", ())
    assert {row.gold for row in labelled.rows} == {1, 2, 3, 4, 5}
