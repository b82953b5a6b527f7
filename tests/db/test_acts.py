"""Acts of people on items: what is kept of each, who may take what back, and what the log says of any item at any time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import LabelError, NotFound
from core.review import Flag, LabelEvent, QueueQuery, QueueScope, QueueView, ReviewState, fold
from core.types import CorrectionKind, JudgementStatus, Run, RunState
from db.base import now
from db.corrections import Act
from db.store import SqlStore
from tests.db.build import JUDGES, add_run, add_sheet, decision, judgement, panel

LOST = "\N{REPLACEMENT CHARACTER}"


def decided(store: SqlStore, count: int = 4, label: int = 3) -> tuple[Run, list[int]]:
    """Return a finished run whose verdicts are all `label`, and its items' ids."""
    run = add_run(store, count)
    return finished(store, run, label), [item.id for item in store.items(run.sheet_id)]


def finished(store: SqlStore, run: Run, label: int) -> Run:
    store.claim(run.id, "w")
    store.save_verdicts(run.id, run.aggregator, {item.id: decision(label) for item in store.items(run.sheet_id)})
    store.finish(run.id, "w")
    return store.run(run.id)


def say(store: SqlStore, run: Run | None, item_id: int, label: int, author: str = "王", *, blind: bool = False) -> LabelEvent:
    return store.append(None if run is None else run.id, item_id, Act(CorrectionKind.LABEL, author, label, blind=blind)).event


ACTS = st.lists(st.tuples(st.sampled_from(["王", "李"]), st.sampled_from([*CorrectionKind]), st.integers(1, 2), st.booleans()), max_size=7)


def test_the_stored_state_is_what_the_log_says_after_any_acts(file_store: SqlStore) -> None:
    run, ids = decided(file_store, 8)
    fresh = iter(ids)

    @settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(acts=ACTS)
    def check(acts: list[tuple[str, CorrectionKind, int, bool]]) -> None:
        item_id = next(fresh)
        for author, kind, label, blind in acts:
            if kind is not CorrectionKind.UNDO:
                file_store.append(run.id, item_id, Act(kind, author, None if kind is CorrectionKind.SKIP else label, blind=blind))
                continue
            live = [
                event for event in file_store.events(item_id) if event.kind is not kind and not event.retracted and event.author == author
            ]
            if live:
                assert file_store.undo(run.id, author, item_id).event.retracts == live[-1].id
        events = file_store.events(item_id)
        state = fold(events)
        assert file_store.item_state(item_id) == state
        assert file_store.current_label(item_id, run.id) == (3 if state.label is None else state.label)
        line = file_store.queue_row(run.id, item_id)
        assert line is not None
        assert (line.state, line.people) == (state.state, state.labellers)
        exported = next(row for row in file_store.export_rows(run.id) if row.item.id == item_id)
        assert exported.corrected == state.label
        assert [c.created_at for c in file_store.corrections(item_id)] == [
            e.created_at for e in events if e.label is not None and not e.retracted
        ]
        assert sum(event.blind for event in events if event.author == "王") <= 1  # the first label alone can be blind

    check()
    before = [file_store.item_state(item_id) for item_id in ids]
    file_store.refold()
    assert [file_store.item_state(item_id) for item_id in ids] == before


def test_everything_that_was_said_is_kept_as_far_as_a_database_can(store: SqlStore) -> None:
    run, ids = decided(store)
    act = Act(CorrectionKind.LABEL, "王\0", 4, "理由\ud83d", "备注\0", (Flag.HARD, Flag.JUDGE_MISREAD))
    event = store.append(run.id, ids[0], act).event
    assert (event.author, event.reason, event.note, event.flags) == (f"王{LOST}", f"理由{LOST}", f"备注{LOST}", act.flags)
    assert (event.previous_label, event.run_id, event.retracts, event.retracted) == (3, run.id, None, False)
    assert timedelta(0) <= now() - event.created_at < timedelta(minutes=1)
    (kept,) = store.corrections(ids[0])
    assert (kept.label, kept.note, kept.kind, kept.previous_label) == (4, f"备注{LOST}", CorrectionKind.LABEL, 3)
    store.append(run.id, ids[0], Act(CorrectionKind.SKIP, "李", note="不懂"))
    assert store.events(ids[0])[1].label is None
    assert store.corrections(ids[0]) == [kept]


def test_a_label_is_blind_only_where_its_author_saw_no_votes_before(store: SqlStore) -> None:
    run, ids = decided(store)
    for _ in range(2):  # shown twice, kept once
        store.saw("王", ids[0])
    store.saw("王", 10**6)  # a page of another database
    assert not say(store, run, ids[0], 2, blind=True).blind
    assert say(store, run, ids[0], 2, "李", blind=True).blind  # somebody else has seen nothing
    assert say(store, run, ids[1], 2, blind=True).blind  # nor is it so of another row
    store.undo(run.id, "王", ids[1])
    assert not say(store, run, ids[1], 4, blind=True).blind  # they know the row by now
    assert not say(store, run, ids[2], 4).blind
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.saw("张", ids[2]), range(4)))
    assert not say(store, run, ids[2], 4, "张", blind=True).blind


def test_an_act_counts_for_the_audit_only_on_a_row_of_its_share(file_store: SqlStore) -> None:
    run, _ = decided(file_store, 40)
    everyone = file_store.queue(run.id, QueueQuery(scope=QueueScope.ANY, page_size=40)).rows
    rows = [row for row in everyone if row.audit or row.position < 3]
    marks = {}
    for row in rows:
        act = Act(CorrectionKind.LABEL, "王", 3, audit=True)
        marks[row.item_id] = file_store.append(run.id, row.item_id, act).event.audit
    assert marks == {row.item_id: row.audit for row in rows}
    assert {True, False} == set(marks.values())
    assert not file_store.append(None, rows[0].item_id, Act(CorrectionKind.LABEL, "李", 3, audit=True)).event.audit


def test_people_take_back_their_own_acts_in_their_own_run_the_latest_first(file_store: SqlStore) -> None:
    run, ids = decided(file_store)
    other = finished(file_store, file_store.create_run(run.sheet_id, run.library_id, panel(), "majority"), 5)
    first, second = say(file_store, run, ids[0], 1), say(file_store, run, ids[1], 2)
    theirs, elsewhere = say(file_store, run, ids[0], 4, "李"), say(file_store, other, ids[1], 5)
    assert elsewhere.previous_label == 2  # what was said in one run is true in the other
    undone = file_store.undo(run.id, "王")
    assert (undone.event.retracts, undone.event.item_id, undone.current) == (second.id, ids[1], 5)
    assert file_store.undo(run.id, "王", ids[0]).current == 4
    assert [event.retracted for event in file_store.events(ids[0])] == [True, False, False]
    with pytest.raises(LabelError) as caught:
        file_store.undo(run.id, "王")
    assert "没有可撤销" in caught.value.messages["zh"]
    with pytest.raises(LabelError, match="nothing left"):
        file_store.undo(run.id, "李", ids[1])
    assert file_store.undo(other.id, "王").event.retracts == elsewhere.id
    assert file_store.undo(run.id, "李").event.retracts == theirs.id
    assert {file_store.item_state(item_id).state for item_id in ids} == {ReviewState.OPEN}
    assert first.id < second.id < theirs.id


def test_two_undos_at_once_take_back_two_acts(store: SqlStore) -> None:
    run, ids = decided(store)
    acts = [say(store, run, item_id, 1).id for item_id in ids]
    with ThreadPoolExecutor(4) as pool:
        undone = list(pool.map(lambda _: store.undo(run.id, "王").event.retracts, range(4)))
    assert sorted(undone, key=int) == acts  # type: ignore[arg-type]


def test_labels_of_many_at_once_are_all_there_and_the_state_is_theirs(store: SqlStore) -> None:
    run, ids = decided(store)
    people = [f"人{number}" for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: say(store, run, ids[0], 2 if name == "人3" else 4, name), people))
    state = store.item_state(ids[0])
    assert {person.author for person in state.people} == set(people)
    row = store.queue_row(run.id, ids[0])
    assert row is not None
    assert (row.state, row.people, row.current) == (ReviewState.CONFLICT, 6, 3)
    say(store, run, ids[0], 4, "人3")
    assert store.current_label(ids[0], run.id) == 4


def test_a_verdict_that_comes_later_knows_what_people_said_before(file_store: SqlStore) -> None:
    run = add_run(file_store, 3)
    ids = [item.id for item in file_store.items(run.sheet_id)]
    assert say(file_store, run, ids[0], 5).previous_label is None
    say(file_store, None, ids[1], 1)
    say(file_store, None, ids[1], 2, "李")
    assert file_store.queue_row(run.id, ids[0]) is None  # no verdict, no line
    finished(file_store, run, 3)
    lines = {row.item_id: row for row in file_store.queue(run.id, QueueQuery(scope=QueueScope.ANY)).rows}
    assert [(lines[key].state, lines[key].people, lines[key].current) for key in ids] == [
        (ReviewState.LABELLED, 1, 5),
        (ReviewState.CONFLICT, 2, 3),
        (ReviewState.OPEN, 0, 3),
    ]
    assert [row.item_id for row in file_store.queue(run.id, QueueQuery(QueueView.ADJUDICATION), "张").rows] == [ids[1]]


def test_the_history_of_a_row_has_its_twins_in_all_runs_that_are_not_deleted(file_store: SqlStore) -> None:
    run, ids = decided(file_store, 2)
    file_store.save_judgements(run.id, [judgement(judge, ids[0]) for judge in sorted(JUDGES)])
    twin_sheet = add_sheet(file_store, 2, "cd" * 32)
    twins = [item.id for item in file_store.items(twin_sheet.id)]
    later = finished(file_store, file_store.create_run(twin_sheet.id, run.library_id, panel(), "majority"), 5)
    mine, theirs = say(file_store, run, ids[0], 1), say(file_store, later, twins[0], 2, "李")
    history = file_store.item_history(ids[0])
    assert [(one.run.id, one.item_id) for one in history.appearances] == [(later.id, twins[0]), (run.id, ids[0])]
    assert [answer.judge_id for answer in history.appearances[1].judgements] == list(JUDGES)  # in the panel's order
    assert [one.verdict.decision.label for one in history.appearances if one.verdict] == [5, 3]
    assert [event.id for event in history.events] == [mine.id, theirs.id]
    assert history.state.label == 1  # a twin's label is in sight, and is not this row's
    file_store.delete_run(later.id)
    assert [one.run.id for one in file_store.item_history(ids[0]).appearances] == [run.id]
    with pytest.raises(NotFound) as caught:
        file_store.item_history(10**6)
    assert "没有编号" in caught.value.messages["zh"]


def test_rows_of_another_run_are_not_this_runs(file_store: SqlStore) -> None:
    run, ids = decided(file_store, 1)
    other = file_store.items(add_sheet(file_store, 1, "cd" * 32).id)[0]
    assert file_store.run_item(run.id, ids[0]).id == ids[0]
    for run_id, item_id in ((run.id, other.id), (99, ids[0])):
        with pytest.raises(NotFound, match=f"Run {run_id} has no item {item_id}") as caught:
            file_store.run_item(run_id, item_id)
        assert "没有条目" in caught.value.messages["zh"]
    with pytest.raises(NotFound):
        file_store.queue(99, QueueQuery())
    assert file_store.queue_row(run.id, other.id) is None


def test_a_lease_is_of_one_run_and_only_a_label_of_its_holder_ends_it(store: SqlStore) -> None:
    run, ids = decided(store)
    other = finished(store, store.create_run(run.sheet_id, run.library_id, panel(), "majority"), 5)
    store.lease(run.id, ids[0], "王")
    assert store.lease(other.id, ids[0], "李").held
    say(store, run, ids[0], 2, "李")
    assert store.lease_of(run.id, ids[0], "王") is not None
    refused = store.lease(run.id, ids[0], "李")
    assert (refused.held, refused.annotator) == (False, "王")
    short = store.lease(run.id, ids[1], "王", seconds=0)
    assert short.held
    assert store.lease_of(run.id, ids[1]) is None  # it is over as soon as it began
    assert store.lease(run.id, ids[1], "李").held
    store.release(run.id, "王")
    assert store.lease(run.id, ids[0], "李").held
    renewed = store.lease(run.id, ids[0], "李", seconds=5_000)
    assert renewed.expires_at - now() > timedelta(seconds=4_000)
    with ThreadPoolExecutor(5) as pool:
        taken = list(pool.map(lambda number: store.lease(run.id, ids[2], f"人{number}"), range(5)))
    assert sum(lease.held for lease in taken) == 1
    assert len({lease.annotator for lease in taken}) == 1


def test_asking_again_keeps_the_authors_name_readable(store: SqlStore) -> None:
    run, ids = decided(store, 1)
    failed = replace(judgement("first", ids[0]), status=JudgementStatus.FAILED, label=None, probabilities={})
    store.save_judgements(run.id, [failed])
    assert store.ask_again(run.id, "林\0") == 1
    assert [old.author for old in store.row(run.id, ids[0]).replaced] == [f"林{LOST}"]
    assert store.run(run.id).state is RunState.QUEUED
