"""Libraries under hands: every version can be read again, changes go back, and what people say takes the place of what was there."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import pytest

from core.desks import LibraryQuery, Standing
from core.errors import NotFound, StoreError
from core.types import CorrectionKind, LabelledItem, Library, Origin, Run, SheetRow, SourceRef
from db.corrections import Act
from db.library_history import LibraryHistoryStore
from db.store import SqlStore
from tests.db.build import add_library, panel, sheet_rows

FACTS = {"name": "a.csv", "format": "csv", "encoding": "", "worksheet": "", "columns": (), "mapping": {}}
RETIRED = LibraryQuery(standing=Standing.RETIRED)


def row(place: int, text: str, gold: int | None = None, external_id: str = "") -> SheetRow:
    return SheetRow(place, external_id or f"T{place}", "fluency", "", text, gold, SourceRef("a.csv", "", place + 2))


def run_of(store: SqlStore, library: Library, rows: Sequence[SheetRow]) -> tuple[Run, list[int]]:
    """Return a queued run over these rows, and their items' ids."""
    sheet = store.add_sheet(sha256="5" * 64, rows=rows, **FACTS)  # type: ignore[arg-type]
    return store.create_run(sheet.id, library.id, panel(), "majority"), [item.id for item in store.items(sheet.id)]


def say(store: SqlStore, run: Run, item_id: int, label: int, author: str = "王") -> None:
    store.append(run.id, item_id, Act(CorrectionKind.LABEL, author, label))


def contents(store: SqlStore, library_id: int, version: str = "") -> list[tuple[str, str, int]]:
    return [(item.external_id, item.text, item.label) for item in store.library_items(library_id, version)]


def test_every_version_is_read_again_as_it_was_whatever_came_after(file_store: SqlStore) -> None:
    rng = random.Random(4)
    library = add_library(file_store, 12)
    kept = {library.version: contents(file_store, library.id)}

    def change(number: int) -> Library:
        items = file_store.library_items(library.id)
        if number % 3 == 0:
            return file_store.retire_examples(library.id, [item.id for item in rng.sample(items, 2)], "王").library
        if number % 3 == 1:
            return file_store.relabel_example(library.id, rng.choice(items).id, number % 2, "王").library
        return file_store.save_library("样例", list(sheet_rows(8 + number, gold=True, prefix="L")), Origin.IMPORT)

    for number in range(7):
        found = change(number)
        kept.setdefault(found.version, contents(file_store, library.id))
        assert found.size == len(contents(file_store, library.id)) == sum(found.counts.values())
    assert len(kept) > 4
    assert {version: contents(file_store, library.id, version) for version in kept} == kept
    told = LibraryHistoryStore(file_store.engine).library_versions(library.id)
    assert [version.sequence for version in told] == list(range(len(told), 0, -1))
    sizes = [0, *(version.size for version in reversed(told))]
    assert [version.added - version.retired for version in reversed(told)] == [now - then for then, now in pairwise(sizes)]
    assert LibraryHistoryStore(file_store.engine).library_versions(library.id, limit=2) == told[:2]


def test_a_row_that_had_to_be_cleaned_is_the_same_row_the_next_time(store: SqlStore) -> None:
    rows = [row(0, "前\0后", 3), row(1, "前\N{REPLACEMENT CHARACTER}后", 3, "T0"), row(2, "好", 4, "a\ud83d")]
    first = store.save_library("lib", rows, Origin.IMPORT)
    assert first.size == 2  # what is equal once it is stored counts once
    assert store.save_library("lib", rows, Origin.IMPORT) == first
    assert {item.external_id for item in store.library_items(first.id)} == {"T0", "a\N{REPLACEMENT CHARACTER}"}


def test_a_version_depends_on_no_order_of_rows_or_changes(file_store: SqlStore) -> None:
    rows = list(sheet_rows(9, gold=True))
    whole = file_store.save_library("whole", rows, Origin.IMPORT)
    steps = file_store.save_library("steps", rows[4:], Origin.SAMPLE, "王")
    assert steps.version != whole.version
    assert file_store.save_library("steps", [*reversed(rows[:4]), *rows[4:]], Origin.IMPORT).version == whole.version
    one, other = (
        file_store.library_items(file_store.save_library(name, rows[place : place + 1], Origin.IMPORT).id)
        for place, name in enumerate("ab")
    )
    assert [item.content_hash for item in one] != [item.content_hash for item in other]


def test_what_people_say_replaces_every_other_label_of_the_same_text(file_store: SqlStore) -> None:
    library = file_store.save_library("lib", [row(0, "甲", 1), row(1, "甲", 2), row(2, "乙", 5)], Origin.IMPORT)
    run, (first, _) = run_of(file_store, library, [row(0, "甲"), row(1, "丙")])
    say(file_store, run, first, 1)  # the library has this very row, and one that contradicts it
    assert [(one.label, one.replaces) for one in file_store.candidates(run.id, library.id)[0]] == [(1, 2)]
    change = file_store.promote(run.id, library.id, "张")
    assert (len(change.added), len(change.retired), change.library.size) == (0, 1, 2)
    assert contents(file_store, library.id) == [("T0", "甲", 1), ("T2", "乙", 5)]
    assert file_store.candidates(run.id, library.id) == ([], 0)
    back = file_store.undo_change(library.id, change.added, change.retired, "张")
    assert back.library.version == library.version


def test_of_equal_rows_that_were_labelled_differently_the_latest_label_is_kept(store: SqlStore) -> None:
    library = store.save_library("lib", [row(9, "旧", 3)], Origin.IMPORT)
    run, (one, twin, other) = run_of(store, library, [row(0, "甲"), row(1, "甲"), row(2, "乙")])
    say(store, run, twin, 4)
    say(store, run, one, 2)
    say(store, run, other, 5)
    found, total = store.candidates(run.id, library.id)
    assert ([(candidate.item.id, candidate.label) for candidate in found], total) == ([(one, 2), (other, 5)], 2)
    assert store.candidates(run.id, library.id, page=1, page_size=1) == (found[1:], 2)
    assert store.promote(run.id, library.id, "张").library.size == 3
    assert contents(store, library.id) == [("T0", "甲", 2), ("T2", "乙", 5), ("T9", "旧", 3)]
    assert store.promote(run.id, library.id, "张").added == ()
    say(store, run, twin, 5)  # said later: this is what people say now
    change = store.promote(run.id, library.id, "张", [twin])
    assert (len(change.added), len(change.retired)) == (1, 1)
    assert contents(store, library.id)[0] == ("T1", "甲", 5)


def test_only_labels_that_stand_come_in_signed_by_whoever_gave_them(file_store: SqlStore) -> None:
    library = file_store.save_library("lib", [row(9, "旧", 3)], Origin.IMPORT)
    run, ids = run_of(file_store, library, [row(place, f"第{place}") for place in range(5)])
    settled, undone, skipped, disputed, agreed = ids
    say(file_store, run, settled, 1)
    say(file_store, run, settled, 5, "李")
    file_store.append(run.id, settled, Act(CorrectionKind.ADJUDICATION, "赵", 2))
    say(file_store, run, undone, 4)
    file_store.undo(run.id, "王", undone)
    file_store.append(run.id, skipped, Act(CorrectionKind.SKIP, "王"))
    say(file_store, run, disputed, 1)
    say(file_store, run, disputed, 2, "李")
    say(file_store, run, agreed, 3)
    say(file_store, run, agreed, 3, "李")
    found, _ = file_store.candidates(run.id, library.id)
    assert [(one.item.id, one.label, one.author, one.replaces) for one in found] == [(settled, 2, "赵", None), (agreed, 3, "李", None)]
    assert file_store.promote(run.id, library.id, "张", [undone, disputed]).unchanged == 0
    assert file_store.library(library.id) == library
    with pytest.raises(NotFound, match="no library 77"):
        file_store.promote(run.id, 77, "张")
    with pytest.raises(NotFound, match="no run 77"):
        file_store.promote(77, library.id, "张")


def test_an_example_retired_twice_is_listed_once_and_put_back_once(file_store: SqlStore) -> None:
    library = add_library(file_store, 6)
    example = file_store.library_items(library.id)[0]
    key = (example.content_hash, example.label, example.external_id)

    def standing() -> LabelledItem:
        return next(item for item in file_store.library_items(library.id) if (item.content_hash, item.label, item.external_id) == key)

    old = [standing().id]
    for _ in range(2):
        gone = file_store.retire_examples(library.id, [old[-1], old[-1]], "王")
        assert gone.retired == (old[-1],)
        (listed,) = file_store.library_page(library.id, RETIRED).rows
        assert (listed.item.id, file_store.library_facets(library.id).retired) == (old[-1], 1)
        back = file_store.undo_change(library.id, (), [*old, old[-1]], "王")  # all that are known, and one of them twice
        assert (len(back.added), back.library.version) == (1, library.version)
        old.append(standing().id)
    assert file_store.library_page(library.id, RETIRED).total == 0
    assert file_store.library_facets(library.id).retired == 0
    detail = LibraryHistoryStore(file_store.engine).example_detail(library.id, old[0])
    assert [line.item.id for line in detail.labels] == old[::-1]
    with pytest.raises(NotFound) as caught:
        file_store.undo_change(library.id, (), [10**6], "王")
    assert "刷新" in caught.value.messages["zh"]


def test_relabelling_back_and_forth_and_into_a_label_that_stands(file_store: SqlStore) -> None:
    library = file_store.save_library("lib", [row(0, "甲", 1), row(0, "甲", 2)], Origin.IMPORT)
    low, high = file_store.library_items(library.id)
    merged = file_store.relabel_example(library.id, low.id, 2, "王")  # that one is there already
    assert (merged.added, merged.retired, merged.unchanged, merged.library.size) == ((), (low.id,), 1, 1)
    with pytest.raises(NotFound, match="retired meanwhile"):
        file_store.relabel_example(library.id, low.id, 3, "王")
    there = file_store.relabel_example(library.id, high.id, 5, "王")
    back = file_store.relabel_example(library.id, there.added[0], 2, "李")
    assert contents(file_store, library.id) == [("T0", "甲", 2)]
    assert back.library.version == merged.library.version
    assert file_store.library_item(library.id, high.id).author == ""  # who gave the first label is not forgotten
    assert file_store.library_item(library.id, back.added[0]).author == "李"


def test_two_who_change_a_library_at_once_make_two_versions_and_lose_nothing(store: SqlStore) -> None:
    library = add_library(store, 24)
    ids = [item.id for item in store.library_items(library.id)]

    def retire(place: int) -> tuple[str, str]:
        change = store.retire_examples(library.id, ids[place * 4 : place * 4 + 4], "王")
        return change.previous_version, change.library.version

    with ThreadPoolExecutor(4) as pool:
        steps = list(pool.map(retire, range(4)))
    assert len({version for _, version in steps}) == 4
    assert len({version for version, _ in steps}) == 4  # each begins where another ended
    assert store.library(library.id).size == 8
    told = LibraryHistoryStore(store.engine).library_versions(library.id)
    assert [version.size for version in told] == [8, 12, 16, 20, 24]


def test_lists_keep_their_words_with_odd_searches_pages_and_ids(store: SqlStore) -> None:
    library = store.save_library("lib", [row(0, "100%_\\\0", 3), row(1, "100 per cent", 4)], Origin.IMPORT)
    for search, wanted in (("%", 1), ("_", 1), ("\\", 1), ("\0", 1), ("100", 2), ("\ud800", 1), ("PER CENT", 1), ("无", 0)):
        query = LibraryQuery(search=search)
        assert store.library_page(library.id, query).total == wanted, search
        assert len(store.matching_examples(library.id, query)) == wanted, search
    assert store.library_page(library.id, LibraryQuery(page=5)).rows == ()
    assert len(store.library_page(library.id, LibraryQuery(page=-1, page_size=0)).rows) == 1
    one, other = store.matching_examples(library.id, LibraryQuery())
    lines = store.library_rows([other, 10**6, one], {one: 0.5})
    assert [(line.item.id, line.similarity) for line in lines] == [(other, None), (one, 0.5)]
    with pytest.raises(NotFound, match=r"run\.sh library"):
        store.matching_examples(99, LibraryQuery())
    with pytest.raises(NotFound):
        store.library_item(library.id + 1, one)


def test_a_run_cannot_be_made_with_a_version_that_never_was(file_store: SqlStore) -> None:
    library = add_library(file_store, 6)
    run, ids = run_of(file_store, library, [row(0, "甲"), row(1, "乙")])
    with pytest.raises(NotFound):
        file_store.create_run(run.sheet_id, library.id, panel(), "majority", "f" * 64)
    grown = file_store.save_library("样例", [*sheet_rows(6, gold=True, prefix="L"), row(9, "新", 1)], Origin.IMPORT)
    old = file_store.create_run(run.sheet_id, library.id, panel(), "majority", library.version)
    assert (old.library_version, file_store.create_run(run.sheet_id, library.id, panel(), "majority").library_version) == (
        library.version,
        grown.version,
    )
    again = file_store.judge_again(old.id, [ids[1], ids[1], 10**6])  # a row twice and one of nowhere
    assert (again.items, again.library_version) == (1, grown.version)
    assert file_store.dimension_counts(again.sheet_id) == {"fluency": 1}
    assert replace(file_store.items(again.sheet_id)[0], id=0, sheet_id=0, position=0) == replace(
        file_store.items(run.sheet_id)[1], id=0, sheet_id=0, position=0
    )
    with pytest.raises(StoreError) as caught:
        file_store.judge_again(old.id, [])
    assert "重新选择" in caught.value.messages["zh"]
