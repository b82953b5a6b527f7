"""Libraries: a version is a content, and every version stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import LibraryError, NotFound
from core.types import Origin
from db.store import SqlStore
from tests.db.build import add_library, add_sheet, panel, sheet_rows


def test_the_same_content_again_changes_nothing(store: SqlStore) -> None:
    first = add_library(store, 30)
    assert (first.size, first.counts) == (30, {"choice": 10, "fluency": 10, "normativity": 10})
    shuffled = list(reversed(list(sheet_rows(30, gold=True, prefix="L"))))
    assert store.save_library("样例", shuffled, Origin.IMPORT, "someone else") == first
    assert store.libraries() == [first]
    assert store.find_library("样例") == first
    assert store.find_library("none") is None
    assert {item.author for item in store.library_items(first.id)} == {"老师"}


def test_a_version_names_content_alone(store: SqlStore) -> None:
    one, other = add_library(store, 30, "one"), add_library(store, 30, "other")
    assert one.id != other.id
    assert one.version == other.version
    key = [(item.external_id, item.label, item.text) for item in store.library_items(one.id)]
    assert key == [(item.external_id, item.label, item.text) for item in store.library_items(other.id)]


def test_a_changed_label_makes_a_version_and_the_old_one_stays(store: SqlStore) -> None:
    rows = list(sheet_rows(9, gold=True))
    before = store.save_library("lib", rows, Origin.IMPORT)
    rows[0] = replace(rows[0], gold=5)
    after = store.save_library("lib", rows[:8], Origin.CORRECTION, "老师")
    assert after.version != before.version
    assert (after.id, after.size) == (before.id, 8)
    old = {item.external_id: item for item in store.library_items(before.id, before.version)}
    new = {item.external_id: item for item in store.library_items(before.id)}
    assert (old["D00000"].label, new["D00000"].label) == (1, 5)
    assert "D00008" in old
    assert "D00008" not in new
    assert old["D00001"] == new["D00001"]  # what did not change is the same item
    assert store.save_library("lib", list(sheet_rows(9, gold=True)), Origin.IMPORT).version == before.version


def test_a_run_keeps_the_version_it_was_made_with(store: SqlStore) -> None:
    sheet, library = add_sheet(store, 3), add_library(store, 12)
    run = store.create_run(sheet.id, library.id, panel(), "majority")
    add_library(store, 15)
    assert store.run(run.id).library_version == library.version
    assert len(store.library_items(run.library_id, run.library_version)) == 12
    with pytest.raises(NotFound, match="never had the version"):
        store.library_items(library.id, "f" * 64)
    with pytest.raises(NotFound, match="no library 99"):
        store.library_items(99)


def test_doubles_count_once_and_unlabelled_rows_not_at_all(store: SqlStore) -> None:
    labelled = list(sheet_rows(3, gold=True))
    library = store.save_library("lib", [*labelled, *labelled, *sheet_rows(5)], Origin.SAMPLE)
    assert library.size == 3
    with pytest.raises(LibraryError, match="no labelled row") as caught:
        store.save_library("empty", sheet_rows(2), Origin.IMPORT)
    assert "标注分值" in caught.value.messages["zh"]
    assert [found.name for found in store.libraries()] == ["lib"]
