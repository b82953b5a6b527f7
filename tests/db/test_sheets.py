"""Sheets keep every row and problem as it was read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.errors import NotFound, StoreError
from core.types import RowProblem, Severity, SheetRow, SourceRef, content_hash
from db.store import SqlStore
from tests.db.build import add_sheet, sheet_rows


def test_a_sheet_comes_back_as_it_was_read(store: SqlStore) -> None:
    sheet = add_sheet(store, 11)
    assert (sheet.name, sheet.rows, sheet.columns) == ("作文.xlsx", 11, ("数据编号", "评判维度", "班级"))
    assert sheet.created_at.tzinfo is not None
    assert store.sheet(sheet.id) == sheet == store.sheets()[0]
    assert store.dimension_counts(sheet.id) == {"choice": 3, "fluency": 4, "normativity": 4}
    for item, row in zip(store.iter_items(sheet.id, chunk=4), sheet_rows(11), strict=True):
        assert (item.position, item.external_id, item.prompt, item.text) == (row.position, row.external_id, row.prompt, row.text)
        assert (item.source, item.extra, item.gold) == (row.source, row.extra, None)
        assert item.content_hash == row.content_hash
    assert [item.position for item in store.items(sheet.id, after_position=7, limit=2)] == [8, 9]


def test_problems_keep_their_order_and_both_languages(store: SqlStore) -> None:
    found = [
        RowProblem("label_off_scale", Severity.ERROR, 9, "标注分值", "7", {"en": "off the scale", "zh": "超出范围"}, "D9"),
        RowProblem("doubled_id", Severity.WARNING, 3, "数据编号", "D1", {"en": "doubled", "zh": "重复"}),
        RowProblem("empty_sheet", Severity.ERROR, None, "", "nul \0 and half \ud800", {"en": "x", "zh": "y"}),
    ]
    facts = {"name": "a.csv", "sha256": "0" * 64, "format": "csv", "encoding": "gb18030", "worksheet": ""}
    sheet = store.add_sheet(**facts, columns=[], mapping={}, rows=[], problems=found, skipped=2)
    assert store.problems(sheet.id)[:2] == found[:2]
    assert store.problems(sheet.id)[2].value == "nul \N{REPLACEMENT CHARACTER} and half \N{REPLACEMENT CHARACTER}"
    assert store.problems(sheet.id, limit=1, severity=Severity.WARNING) == [found[1]]
    assert store.problem_count(sheet.id) == 3
    assert (sheet.rows, sheet.skipped) == (0, 2)


def test_a_sheet_is_found_again_only_when_it_was_read_in_the_same_way(store: SqlStore) -> None:
    sheet = add_sheet(store, 3)
    assert store.find_sheet(sheet.sha256, "Sheet1", dict(sheet.mapping)) == sheet
    assert store.find_sheet(sheet.sha256, "Sheet2", dict(sheet.mapping)) is None
    assert store.find_sheet(sheet.sha256, "Sheet1", {"id": "编号"}) is None
    assert store.find_sheet(sheet.sha256, "Sheet1", dict(sheet.mapping), skipped=1) is None


def test_a_sheet_whose_reading_breaks_leaves_nothing_behind(store: SqlStore) -> None:
    def broken() -> Iterator[SheetRow]:
        yield from sheet_rows(6_000)
        raise OSError("the disk was pulled out")

    with pytest.raises(OSError, match="pulled out"):
        store.add_sheet(name="a", sha256="1" * 64, format="csv", encoding="", worksheet="", columns=[], mapping={}, rows=broken())
    assert store.sheets() == []
    with pytest.raises(NotFound, match="no sheet 1"):
        store.sheet(1)


def test_two_rows_at_one_position_are_refused(store: SqlStore) -> None:
    rows = [*sheet_rows(2), *sheet_rows(1)]
    with pytest.raises(StoreError, match="refused a row"):
        store.add_sheet(name="a", sha256="1" * 64, format="csv", encoding="", worksheet="", columns=[], mapping={}, rows=rows)
    assert store.sheets() == []


def test_text_that_no_database_keeps_is_kept_readable(store: SqlStore) -> None:
    row = SheetRow(0, "a\0b", "fluency", "", "前\0后\udc80", None, SourceRef("a.csv", "", 2))
    sheet = store.add_sheet(name="a.csv", sha256="2" * 64, format="csv", encoding="", worksheet="", columns=[], mapping={}, rows=[row])
    item = store.items(sheet.id)[0]
    assert (item.external_id, item.text) == ("a\N{REPLACEMENT CHARACTER}b", "前\N{REPLACEMENT CHARACTER}后\N{REPLACEMENT CHARACTER}")
    assert item.content_hash == content_hash(item.dimension_id, item.prompt, item.text)
