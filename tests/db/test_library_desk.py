"""The library as people keep it: pages, versions with a way back, corrections that come in, rows judged again."""

from __future__ import annotations

import pytest

from core.desks import LibraryQuery, Standing
from core.errors import NotFound
from core.types import CorrectionKind, Example, Origin, Run, RunState
from db.corrections import Act
from db.store import SqlStore
from tests.db.build import JUDGES, add_library, add_run, decision, judgement


@pytest.fixture
def run(store: SqlStore) -> Run:
    run = add_run(store, 9)
    store.claim(run.id, "w")
    items = store.items(run.sheet_id)
    store.save_judgements(run.id, [judgement(judge, item.id) for item in items for judge in JUDGES])
    store.save_verdicts(run.id, "majority", {item.id: decision(1) for item in items})
    store.finish(run.id, "w")
    return store.run(run.id)


def test_pages_filter_search_and_count(store: SqlStore) -> None:
    library = add_library(store, 30)
    everything = store.library_page(library.id, LibraryQuery(page_size=100))
    assert (everything.total, len(everything.rows)) == (30, 30)
    assert [row.item.id for row in everything.rows] == sorted((row.item.id for row in everything.rows), reverse=True)
    paged = [row for page in range(4) for row in store.library_page(library.id, LibraryQuery(page=page, page_size=9)).rows]
    assert paged == list(everything.rows)
    for query, keep in (
        (LibraryQuery(dimension_id="choice", page_size=99), lambda item: item.dimension_id == "choice"),
        (LibraryQuery(label=3, page_size=99), lambda item: item.label == 3),
        (LibraryQuery(search="第1篇", page_size=99), lambda item: "第1篇" in item.text),
        (LibraryQuery(search="100%", page_size=99), lambda item: True),
        (LibraryQuery(search="l0000", page_size=99), lambda item: item.external_id.startswith("L0000")),
        (LibraryQuery(origin=Origin.SAMPLE), lambda item: False),
        (LibraryQuery(author="老师", page_size=99), lambda item: True),
    ):
        wanted = {row.item.id for row in everything.rows if keep(row.item)}
        found = store.library_page(library.id, query)
        assert ({row.item.id for row in found.rows}, found.total) == (wanted, len(wanted)), query
    facets = store.library_facets(library.id)
    assert {name: sum(labels.values()) for name, labels in facets.labels.items()} == library.counts
    assert (facets.origins, facets.authors, facets.retired) == ({Origin.IMPORT: 30}, {"老师": 30}, 0)
    with pytest.raises(NotFound):
        store.library_page(99, LibraryQuery())


def test_retiring_leaves_retrieval_but_not_history_and_can_be_undone(store: SqlStore, run: Run) -> None:
    library = store.library(run.library_id)
    gone = store.library_items(library.id)[:2]
    change = store.retire_examples(library.id, [item.id for item in gone], "王")
    assert (change.library.size, change.previous_version) == (28, library.version)
    assert not {item.id for item in gone} & {item.id for item in store.library_items(library.id)}
    assert {item.id for item in gone} <= {item.id for item in store.library_items(library.id, run.library_version)}
    retired = store.library_page(library.id, LibraryQuery(standing=Standing.RETIRED))
    assert {row.item.id for row in retired.rows} == {item.id for item in gone}
    assert all(row.retired_at is not None for row in retired.rows)
    with pytest.raises(NotFound, match="retired meanwhile"):
        store.retire_examples(library.id, [gone[0].id], "王")
    back = store.undo_change(library.id, change.added, change.retired, "王")
    assert back.library.version == library.version
    assert store.undo_change(library.id, change.added, change.retired, "王").library == back.library  # twice changes nothing
    assert {(item.origin, item.author) for item in store.library_items(library.id)} == {(Origin.IMPORT, "老师")}


def test_another_label_is_a_new_example_and_can_be_undone(store: SqlStore) -> None:
    library = add_library(store, 12)
    item = store.library_items(library.id)[0]
    change = store.relabel_example(library.id, item.id, item.label % 2 + 3, "王")
    (new,) = (found for found in store.library_items(library.id) if found.id in change.added)
    assert (new.text, new.label, new.origin, new.author) == (item.text, item.label % 2 + 3, Origin.CORRECTION, "王")
    assert change.retired == (item.id,)
    assert change.library.size == 12
    assert store.undo_change(library.id, change.added, change.retired, "王").library.version == library.version
    assert store.relabel_example(library.id, store.library_items(library.id)[0].id, item.label, "王").added == ()


def test_corrections_come_in_once_and_replace_what_they_contradict(store: SqlStore, run: Run) -> None:
    items = store.items(run.sheet_id)
    for item, label in zip(items[:4], (2, 3, 1, 4), strict=True):
        store.append(run.id, item.id, Act(CorrectionKind.LABEL, "王", label))
    store.append(run.id, items[3].id, Act(CorrectionKind.LABEL, "李", 5))  # nobody has settled this one
    found, total = store.candidates(run.id, run.library_id)
    assert (total, [(one.item.id, one.label, one.author, one.replaces) for one in found]) == (
        3,
        [(items[0].id, 2, "王", 1), (items[1].id, 3, "王", 2), (items[2].id, 1, "王", 0)],
    )
    first = store.promote(run.id, run.library_id, "张", [items[0].id])
    assert (len(first.added), len(first.retired), first.library.size) == (1, 1, 30)
    second = store.promote(run.id, run.library_id, "张")
    assert (len(second.added), second.unchanged) == (2, 1)
    again = store.promote(run.id, run.library_id, "张")
    assert (again.added, again.unchanged, again.library.version) == ((), 3, second.library.version)
    stored = {item.content_hash: item for item in store.library_items(run.library_id)}
    promoted = stored[items[0].content_hash]
    assert (promoted.label, promoted.origin, promoted.author) == (2, Origin.CORRECTION, "王")
    assert store.candidates(run.id, run.library_id) == ([], 0)


def test_rows_that_used_an_example_are_known_and_judged_again(store: SqlStore, run: Run) -> None:
    items, labelled = store.items(run.sheet_id), store.library_items(run.library_id)
    store.save_examples(run.id, {item.id: [Example(labelled[item.position % 2], 0.5, 0, "v")] for item in items})
    uses = store.example_uses(run.library_id, labelled[1].id, page_size=3)
    assert (uses.total, uses.by_run, len(uses.uses)) == (4, {run.id: 4}, 3)
    assert [use.external_id for use in uses.uses] == ["D00001", "D00003", "D00005"]
    assert {(use.verdict, use.current, use.similarity) for use in uses.uses} == {(1, 1, 0.5)}
    shown = {row.item.id: row.shown for row in store.library_page(run.library_id, LibraryQuery(page_size=99)).rows}
    assert (shown[labelled[0].id], shown[labelled[1].id], shown[labelled[2].id]) == (5, 4, 0)

    store.retire_examples(run.library_id, [labelled[1].id], "王")
    again = store.judge_again(run.id, store.items_shown(run.id, labelled[1].id))
    assert (again.state, again.items, again.aggregator) == (RunState.QUEUED, 4, run.aggregator)
    assert again.library_version == store.library(run.library_id).version != run.library_version
    copies = store.items(again.sheet_id)
    assert [(copy.external_id, copy.content_hash, copy.source, copy.position) for copy in copies] == [
        (items[place].external_id, items[place].content_hash, items[place].source, number) for number, place in enumerate((1, 3, 5, 7))
    ]
    assert store.judge_again(run.id, [items[7].id, items[5].id, items[3].id, items[1].id]).sheet_id == again.sheet_id
    store.append(run.id, items[1].id, Act(CorrectionKind.LABEL, "王", 4))
    assert [event.label for event in store.item_history(copies[0].id).events] == [4]  # what was said of its twin is in sight
    store.delete_run(run.id)
    assert store.example_uses(run.library_id, labelled[1].id).total == 0
    with pytest.raises(NotFound, match="choose some"):
        store.judge_again(run.id, [10**6])
