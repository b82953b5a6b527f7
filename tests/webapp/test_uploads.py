"""Uploaded files: kept by content, read once, found again by their token alone, whoever else uploads at the same time."""

from __future__ import annotations

import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.desks import LibraryQuery, Standing
from core.dimensions import load_dimensions
from core.errors import BadRowsError, LibraryError, NotFound, PingpanError, SheetError
from core.ingest import Limits
from core.retrieval.embedders import make_embedder
from core.retrieval.index import ChromaIndex
from core.settings import ASSETS, Settings
from core.types import Dimension, Origin, SheetRow, SourceRef
from db.engine import make_engine
from db.migrate import upgrade
from db.store import SqlStore
from tests.db.build import DIMENSIONS
from webapp.services.libraries import LibraryDesk
from webapp.services.uploads import KEPT_IN_MEMORY, ReadOptions, Uploads, read_options
from webapp.workbench import Workbench

HEAD = "数据编号,评判维度,待评判内容\n"
SHEET = HEAD + "A1,流畅性,清晨的码头起了薄雾。\n"


def uploads_in(folder: Path, max_bytes: int = 10_000) -> Uploads:
    return Uploads(folder / "uploads", Limits(max_bytes=max_bytes), known_dimensions)


@functools.cache
def known_dimensions() -> dict[str, Dimension]:
    return load_dimensions(ASSETS / "dimensions")


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return uploads_in(tmp_path)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench.open(Settings(home=tmp_path / "home", max_upload_mb=1, _env_file=None))  # type: ignore[call-arg]


def file(folder: Path, text: str = SHEET, name: str = "表.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_the_same_bytes_are_one_upload_under_the_name_given_last(uploads: Uploads, tmp_path: Path) -> None:
    first = uploads.keep(file(tmp_path), "昨天.csv")
    second = uploads.keep(file(tmp_path, name="other.csv"))
    assert (first.token, second.name) == (second.token, "other.csv")
    assert uploads.get(first.token).name == "other.csv"
    assert uploads.keep(file(tmp_path, SHEET + "A2,流畅性,二。\n")).token != first.token
    assert first.path.read_text(encoding="utf-8") == SHEET  # what was kept stays, whatever becomes of the file


def test_an_upload_is_there_after_a_restart(uploads: Uploads, tmp_path: Path) -> None:
    token = uploads.keep(file(tmp_path)).token
    again = uploads_in(tmp_path)
    assert [row.external_id for row in again.read(again.get(token), ReadOptions()).rows] == ["A1"]


@pytest.mark.parametrize("token", ["", "..", "../uploads", "a" * 63, "A" * 64, "a" * 64 + "\n", "g" * 64, "a" * 64])
def test_no_other_token_opens_anything(uploads: Uploads, tmp_path: Path, token: str) -> None:
    uploads.keep(file(tmp_path))
    for name in ("content", "name.txt"):  # beside the uploads, where no token leads
        (tmp_path / name).write_text("x", encoding="utf-8")
    with pytest.raises(NotFound) as told:
        uploads.get(token)
    assert "重新拖入" in told.value.messages["zh"]


def test_what_cannot_be_kept_is_told_with_its_path_and_a_remedy(tmp_path: Path) -> None:
    small = uploads_in(tmp_path, max_bytes=10)
    for path, words in (
        (tmp_path / "missing.csv", "Check the path"),
        (tmp_path, "Check the path"),
        (file(tmp_path), "PINGPAN_MAX_UPLOAD_MB"),
    ):
        with pytest.raises(SheetError, match=words) as told:
            small.keep(path)
        assert path.name in told.value.messages["en"]
        assert path.name in told.value.messages["zh"]
    (tmp_path / "taken").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(SheetError, match="cannot be read"):
        Uploads(tmp_path / "taken", Limits(max_bytes=10_000), dict).keep(file(tmp_path))


def test_people_who_upload_at_once_get_each_their_own(uploads: Uploads, tmp_path: Path) -> None:
    paths = [file(tmp_path, f"{HEAD}A{number % 3},流畅性,第{number % 3}件事。\n", f"{number}.csv") for number in range(12)]
    begin = threading.Barrier(4)

    def upload(path: Path) -> str:
        if path.stem in "0123":
            begin.wait(10)
        kept = uploads.keep(path)
        (row,) = uploads.read(kept, ReadOptions()).rows
        return row.external_id

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(upload, paths)) == [f"A{number % 3}" for number in range(12)]
    assert sorted(path.name for path in (tmp_path / "uploads").rglob("*") if path.is_file()) == ["content"] * 3 + ["name.txt"] * 3


def test_a_sheet_is_read_once_for_each_way_of_reading_it_and_memory_holds_the_latest(uploads: Uploads, tmp_path: Path) -> None:
    kept = uploads.keep(file(tmp_path))
    plain = uploads.read(kept, ReadOptions())
    assert uploads.read(kept, read_options("", {})) is plain
    mapped = {"id": "数据编号", "text": "评判维度", "dimension": "待评判内容"}
    other = uploads.read(kept, read_options("", mapped))
    assert other is not plain
    assert uploads.read(kept, read_options("", dict(reversed(mapped.items())))) is other  # whatever the order of the fields
    for number in range(KEPT_IN_MEMORY):
        uploads.read(uploads.keep(file(tmp_path, SHEET + f"B{number},流畅性,又。\n")), ReadOptions())
    assert uploads.read(kept, ReadOptions()) is not plain
    again = uploads.read(kept, ReadOptions())
    uploads.forget(kept.token)
    assert uploads.read(kept, ReadOptions()) is not again


def test_storing_what_a_preview_showed_does_not_read_the_file_again(uploads: Uploads, tmp_path: Path) -> None:
    kept = uploads.keep(file(tmp_path))
    seen = uploads.read(kept, ReadOptions())
    stored = uploads.read(kept, read_options(seen.worksheet, seen.mapping))
    assert stored.rows is seen.rows
    assert stored.mapping == seen.mapping
    uploads.forget(kept.token)
    assert uploads.read(kept, read_options(seen.worksheet, seen.mapping)).rows is not seen.rows


@settings(max_examples=10)
@given(st.binary(max_size=60), st.sampled_from(["a.csv", "a.xlsx", "a.json", "a.jsonl", "a.tsv", "a", "a.exe"]))
def test_any_bytes_are_a_sheet_or_are_told_not_to_be(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / name).write_bytes(content)
    uploads = uploads_in(folder)
    try:
        parsed = uploads.read(uploads.keep(folder / name), ReadOptions())
    except PingpanError as error:
        assert all(error.messages[language] for language in ("en", "zh"))
    else:
        assert parsed.fatal or parsed.total_rows >= len(parsed.rows)


# -- what becomes of a sheet


def test_a_sheet_that_is_read_in_the_same_way_is_stored_once(bench: Workbench, tmp_path: Path) -> None:
    token = bench.preview(file(tmp_path, "数据编号,评判维度,待评判内容,备注\nA1,流畅性,清晨的码头起了薄雾。,写景\n")).token
    first, again = bench.store_sheet(token), bench.store_sheet(token)
    assert first.id == again.id
    mapped = bench.store_sheet(token, mapping={"id": "数据编号", "text": "待评判内容", "dimension": "评判维度", "prompt": "备注"})
    assert mapped.id != first.id


def test_bad_rows_are_left_out_only_by_consent_and_stay_told(bench: Workbench, tmp_path: Path) -> None:
    bad = "".join(f"X{number},流利度,文。\n" for number in range(8))
    seen = bench.preview(file(tmp_path, SHEET + bad))
    assert (seen.total_rows, seen.judgeable_rows, seen.error_rows, seen.fatal) == (9, 1, 8, False)
    with pytest.raises(BadRowsError) as told:
        bench.store_sheet(seen.token)
    assert told.value.rows == tuple(range(3, 11))
    assert "8 of 9 rows" in told.value.messages["en"]
    assert "… and 3 more" in told.value.messages["en"]
    assert "另有 3 处" in told.value.messages["zh"]
    sheet = bench.store_sheet(seen.token, skip_bad_rows=True)
    assert (sheet.skipped, len(bench.store.items(sheet.id)), len(bench.problems(sheet.id))) == (8, 1, 8)


@pytest.mark.parametrize("text", [HEAD, HEAD + "A1,流利度,文。\n", "a,b\n1,2\n"])
def test_a_file_without_a_row_to_judge_is_neither_sheet_nor_library(bench: Workbench, tmp_path: Path, text: str) -> None:
    seen = bench.preview(file(tmp_path, text))
    for skip in (False, True):
        with pytest.raises(SheetError, match="No row of 表.csv can be judged"):
            bench.store_sheet(seen.token, skip_bad_rows=skip)
    with pytest.raises(LibraryError) as told:
        bench.import_library(file(tmp_path, text))
    assert "表.csv 中没有可用作示例的行" in told.value.messages["zh"]
    assert [library.name for library in bench.libraries()] == ["sample"]


def test_a_library_is_called_as_its_file_and_one_is_told_by_name(bench: Workbench, tmp_path: Path) -> None:
    labelled = "数据编号,评判维度,待评判内容,标注分值\nA1,流畅性,清晨。,5\nA2,流畅性,傍晚。,\nA3,流畅性,夜里。,9\n"
    library = bench.import_library(file(tmp_path, labelled, "一 二.三.csv"))
    assert (library.name, library.size) == ("一 二.三", 1)  # rows without a label, or with one off the scale, are no examples
    assert bench.library_named("一 二.三").id == library.id
    with pytest.raises(LibraryError, match="libraries: .*一 二.三"):
        bench.library_named("一 二")


def test_only_the_ending_of_the_file_itself_leaves_a_librarys_name(bench: Workbench, tmp_path: Path) -> None:
    labelled = file(tmp_path, "数据编号,评判维度,待评判内容,标注分值\nA1,流畅性,清晨。,5\n")
    for name, called in {
        "": "表",
        "  ": "表",
        "v1.2": "v1.2",
        "二〇二五.春": "二〇二五.春",
        "春.csv": "春",
        "夏.CSV": "夏",
        "2025/春.1": "2025/春.1",
        "2025/春.csv": "2025/春",
        "a.csv.csv": "a.csv",
    }.items():
        assert bench.import_library(labelled, name).name == called


def test_two_editions_of_a_library_are_two_libraries(bench: Workbench, tmp_path: Path) -> None:
    head = "数据编号,评判维度,待评判内容,标注分值\n"
    first = bench.import_library(file(tmp_path, head + "A1,流畅性,清晨。,5\n"), "v1.2")
    second = bench.import_library(file(tmp_path, head + "A1,流畅性,傍晚。,3\n"), "v1.3")
    assert first.id != second.id
    assert [item.text for item in bench.store.library_items(first.id)] == ["清晨。"]  # the second did not take its place


# -- names of files that are no UTF-8, as an archive made on Windows leaves them


def gbk_file(folder: Path, text: str, name: str = "评审表.csv") -> Path:
    """Write a file whose name is in GBK, or skip where the file system takes no such name."""
    path = folder / os.fsdecode(name.encode("gb18030"))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    return path


def test_a_file_whose_name_is_in_gbk_is_kept_read_and_stored(bench: Workbench, tmp_path: Path) -> None:
    seen = bench.preview(gbk_file(tmp_path, SHEET))
    assert (seen.name, seen.judgeable_rows) == ("评审表.csv", 1)
    sheet = bench.store_sheet(seen.token)
    assert (sheet.name, bench.store.items(sheet.id)[0].source.file) == ("评审表.csv", "评审表.csv")
    library = bench.import_library(gbk_file(tmp_path, "数据编号,评判维度,待评判内容,标注分值\nA1,流畅性,清晨。,5\n", "样例.csv"))
    assert library.name == "样例"


def test_what_is_wrong_with_a_file_whose_name_is_in_gbk_can_be_printed(uploads: Uploads, tmp_path: Path) -> None:
    wrong = (gbk_file(tmp_path, "%PDF-1.7 "), gbk_file(tmp_path, "春" * 10_000, "太大.csv"), tmp_path / "\udcc6\udcc0.csv")
    for path, told in zip(wrong, ("评审表.csv is a PDF", "太大.csv has 0 MiB", "评.csv cannot be read"), strict=True):
        with pytest.raises(SheetError) as refused:
            uploads.read(uploads.keep(path), ReadOptions())
        assert told in refused.value.messages["en"]
        "".join(refused.value.messages.values()).encode()


@pytest.mark.parametrize(("name", "shown"), [("春.csv", "春.csv"), ("\ud800.csv", "\ufffd.csv"), ("\udcb4\udcba.csv", "春.csv")])
def test_any_name_that_a_program_gives_is_kept_as_text(uploads: Uploads, tmp_path: Path, name: str, shown: str) -> None:
    upload = uploads.keep(file(tmp_path), name)
    assert (upload.name, uploads.get(upload.token).name) == (shown, shown)


# -- likeness over a library whose vectors are not all at hand


def test_the_graph_finds_what_comparing_all_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'pingpan.db'}")
    upgrade(engine)
    store, embedder = SqlStore(engine), make_embedder("ngram")
    words = ("码头", "薄雾", "渔船", "竹篮", "石阶", "茶树")
    rows = [
        SheetRow(
            n, f"L{n}", ("fluency", "normativity")[n % 2], "", f"{words[n % 6]}边的{words[n // 6]}很好看", n % 5 + 1, SourceRef("a", "", n)
        )
        for n in range(36)
    ]
    library = store.save_library("库", rows, Origin.IMPORT)
    exact = LibraryDesk(store, DIMENSIONS, tmp_path / "index", lambda: embedder)
    query = LibraryQuery(like="码头边的竹篮", page_size=40)
    wanted = {row.item.id: row.similarity for row in exact.items(library.id, query).rows}
    monkeypatch.setattr("core.retrieval.index.ChromaIndex", functools.partial(ChromaIndex, exact_limit=2))
    graph = LibraryDesk(store, DIMENSIONS, tmp_path / "index", lambda: embedder)
    found = {row.item.id: row.similarity for row in graph.items(library.id, query).rows}
    assert list(found)[:5] == list(wanted)[:5]
    assert found == pytest.approx({key: wanted[key] for key in found}, abs=1e-5)
    narrowed = graph.items(library.id, LibraryQuery(like="码头", dimension_id="fluency", label=1)).rows
    assert {(row.item.dimension_id, row.item.label) for row in narrowed} == {("fluency", 1)}
    assert graph.items(library.id, LibraryQuery(like="码头", dimension_id="choice")).total == 0
    assert graph.items(library.id, LibraryQuery(like="码头", standing=Standing.RETIRED)).total == 0
    with pytest.raises(NotFound):
        graph.items(99, query)
    store.close()
