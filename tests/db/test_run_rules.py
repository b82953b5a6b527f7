"""Rules of runs that hold for every state: what each call makes of it, who may touch it, and what deleting leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from core.errors import NotFound, RunTaken
from core.queries import RowQuery, RowSort
from core.types import Example, JudgementStatus, LocalText, Outcome, Run, RunState
from db.base import now
from db.engine import writing
from db.models import RunRecord
from db.store import SqlStore
from tests.db.build import JUDGES, add_library, add_run, add_sheet, decision, judgement, panel
from tests.db.test_results import fill

ME, OTHER = "elsewhere|1|1.0", "elsewhere|2|2.0"
WHY = {"zh": "显卡被占用", "en": "the card is taken"}


def more_runs(store: SqlStore, count: int) -> list[Run]:
    sheet, library = add_sheet(store, 2), add_library(store)
    return [store.create_run(sheet.id, library.id, panel(), "majority") for _ in range(count)]


def bring_to(store: SqlStore, run: Run, state: RunState) -> None:
    """Bring a queued run into a state; RUNNING is by ME."""
    if state is not RunState.QUEUED:
        store.claim(run.id, ME)
    if state not in {RunState.QUEUED, RunState.RUNNING}:
        store.end_work(run.id, ME, state, WHY)


def silence(store: SqlStore, run_id: int) -> None:
    with writing(store.engine) as connection:
        connection.execute(update(RunRecord).where(RunRecord.id == run_id).values(heartbeat_at=now() - timedelta(minutes=5)))


CALLS: dict[str, Callable[[SqlStore, int], object]] = {
    "stop": lambda store, run_id: store.request_stop(run_id),
    "resume": lambda store, run_id: store.resume(run_id),
    "claim": lambda store, run_id: store.claim(run_id, ME),
    "finish": lambda store, run_id: store.finish(run_id, ME),
    "lost": lambda store, run_id: store.fail(run_id, OTHER, WHY),
}
# What becomes of a run, by the state it is in and by what is called; RUNNING is by ME, and asked to stop it runs on.
RULES = {
    RunState.QUEUED: {"stop": RunState.STOPPED, "claim": RunState.RUNNING},
    RunState.RUNNING: {"finish": RunState.DONE},
    RunState.PAUSED: {"stop": RunState.STOPPED, "resume": RunState.QUEUED, "claim": RunState.RUNNING},
    RunState.STOPPED: {"resume": RunState.QUEUED, "claim": RunState.RUNNING},
    RunState.FAILED: {"resume": RunState.QUEUED, "claim": RunState.RUNNING},
    RunState.DONE: {"claim": RunState.RUNNING},
}


def test_every_call_in_every_state_does_what_the_rules_say_and_no_more(file_store: SqlStore) -> None:
    runs = more_runs(file_store, 12)
    fresh = iter(runs)

    @settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(calls=st.lists(st.sampled_from(sorted(CALLS)), min_size=4, max_size=9))
    def check(calls: list[str]) -> None:
        run, state = next(fresh), RunState.QUEUED
        for name in calls:
            CALLS[name](file_store, run.id)
            state = RULES[state].get(name, state)
            found = file_store.run(run.id)
            assert found.state is state, (calls, name)
            assert (found.finished_at is not None) == (state in {RunState.DONE, RunState.STOPPED, RunState.FAILED})
            assert file_store.heartbeat(run.id, OTHER) is False
            assert file_store.progress(run.id).stage == state.value
        if state is RunState.RUNNING:
            file_store.finish(run.id, ME)

    check()


def test_a_deleted_run_is_nobodys_work_and_comes_back_stopped(file_store: SqlStore) -> None:
    (first,) = more_runs(file_store, 1)
    file_store.delete_run(first.id)
    for state in RunState:
        run, later = (file_store.create_run(first.sheet_id, first.library_id, panel(), "majority") for _ in range(2))
        check_deleted(file_store, state, run, later)
        file_store.delete_run(run.id)
        file_store.finish(later.id, OTHER)


def check_deleted(file_store: SqlStore, state: RunState, run: Run, later: Run) -> None:
    bring_to(file_store, run, state)
    deleted = file_store.delete_run(run.id)
    assert deleted.deleted_at is not None
    if state is RunState.RUNNING:
        assert not file_store.heartbeat(run.id, ME)  # its worker is told, and gives it back
        assert file_store.end_work(run.id, ME, RunState.STOPPED) is RunState.STOPPED
    claimed = file_store.claim_next(OTHER)
    assert claimed is not None
    assert claimed.id == later.id
    assert file_store.claim_next(OTHER) == file_store.run(later.id)  # its own again, and nothing else
    key = (file_store.sheet(run.sheet_id).sha256, run.library_version, run.panel.sha256, "majority")
    assert file_store.find_resumable(*key) == file_store.run(later.id)
    assert run.id not in file_store.unmarked_runs()
    back = file_store.restore_run(run.id)
    kept = {RunState.DONE, RunState.FAILED}
    assert (back.state, back.deleted_at) == (state if state in kept else RunState.STOPPED, None)


def test_runs_that_are_deleted_hold_no_place_in_the_queue(store: SqlStore) -> None:
    run, second = more_runs(store, 2)
    assert store.progress(second.id).queue_place == 1
    store.delete_run(run.id)
    with pytest.raises(NotFound, match="bring it back"):
        store.resume(run.id)  # from a page that was still open
    third = store.create_run(run.sheet_id, run.library_id, panel(), "majority")
    assert [store.progress(other.id).queue_place for other in (second, third)] == [0, 1]
    store.claim(second.id, ME)
    assert store.progress(third.id).queue_place == 1  # one at work stands before it
    store.finish(second.id, ME)
    assert store.progress(third.id).queue_place == 0
    store.request_stop(third.id)
    assert store.claim_next(OTHER) is None  # nor does anybody take them


def test_a_run_that_lost_its_worker_unseen_is_stopped_and_deleted_at_once(file_store: SqlStore) -> None:
    run, other = more_runs(file_store, 2)
    for each in (run, other):
        file_store.claim(each.id, ME)
        silence(file_store, each.id)
    assert file_store.request_stop(run.id).state is RunState.STOPPED
    assert file_store.delete_run(other.id).state is RunState.STOPPED
    assert file_store.set_aggregator(run.id, "median").aggregator == "median"


def test_only_a_deleted_run_can_be_removed_for_good(store: SqlStore) -> None:
    run = fill(store, 12, 12, finish=True)
    with pytest.raises(NotFound, match="delete it first") as caught:
        store.purge_run(run.id)
    assert "请先删除" in caught.value.messages["zh"]
    assert store.progress(run.id).decided == 12
    store.delete_run(run.id)
    assert store.expired_runs(now()) == [run.id]
    assert store.expired_runs(now() - timedelta(days=1)) == []
    store.purge_run(run.id)
    with pytest.raises(NotFound):
        store.purge_run(run.id)
    assert store.items(run.sheet_id)  # the sheet is not the run's
    assert store.measured_rate("small") is None


def test_a_hindered_run_waits_with_its_reason_and_lets_the_next_one_go_first(store: SqlStore) -> None:
    first, second = more_runs(store, 2)

    def hindrance(run: Run) -> LocalText:
        return WHY if run.id == first.id else {}

    claimed = store.claim_next(ME, hindrance=hindrance)
    assert claimed is not None
    assert (claimed.id, store.run(first.id).error, store.run(first.id).state) == (second.id, WHY, RunState.QUEUED)
    assert store.claim_next(OTHER, hindrance=hindrance) is None
    stopped = store.request_stop(first.id)
    assert (stopped.state, stopped.error) == (RunState.STOPPED, {})  # what it waited for is no reason any more
    store.resume(first.id)
    assert store.claim_next(OTHER) is not None
    assert store.run(first.id).error == {}


def test_a_worker_that_comes_back_gets_its_own_run_first_and_no_death_is_counted_against_it(file_store: SqlStore) -> None:
    run, other = more_runs(file_store, 2)
    file_store.claim(other.id, ME)
    for _ in range(7):
        again = file_store.claim_next(ME)
        assert again is not None
        assert (again.id, again.state) == (other.id, RunState.RUNNING)
    assert file_store.run(run.id).state is RunState.QUEUED


def test_a_run_that_is_not_there_is_told_in_both_languages(file_store: SqlStore) -> None:
    more = {"heartbeat": (ME,), "set_stage": (ME, "judging")}
    for call in ("heartbeat", "set_stage", "request_stop", "resume", "delete_run", "restore_run", "ask_again", "troubles"):
        with pytest.raises(NotFound, match="no run 4711") as caught:
            getattr(file_store, call)(4711, *more.get(call, ()))
        assert "4711" in caught.value.messages["zh"]


def test_a_run_at_work_is_not_changed_under_its_worker(file_store: SqlStore) -> None:
    (run,) = more_runs(file_store, 1)
    file_store.claim(run.id, ME)
    for call in (lambda: file_store.set_aggregator(run.id, "median"), lambda: file_store.claim(run.id, OTHER)):
        with pytest.raises(RunTaken, match=r"stop it first") as caught:
            call()
        assert ME in caught.value.messages["zh"]
    file_store.set_stage(run.id, OTHER, "loading")  # a worker that lost it says nothing any more
    assert file_store.progress(run.id).stage == "running"
    file_store.set_stage(run.id, ME, "loading")
    assert file_store.progress(run.id).stage == "loading"


def test_a_rate_is_that_of_the_latest_runs_of_the_panel(file_store: SqlStore) -> None:
    runs = more_runs(file_store, 4)
    seconds = (100.0, 4.0, 1.0, None)
    for run, spent in zip(runs, seconds, strict=True):
        bring_to(file_store, run, RunState.DONE if spent else RunState.FAILED)
        with writing(file_store.engine) as connection:
            connection.execute(update(RunRecord).where(RunRecord.id == run.id).values(judging_seconds=spent or 50.0))
    assert file_store.measured_rate("small", last=2) == pytest.approx(4 / 5)
    assert file_store.measured_rate("small") == pytest.approx(6 / 105)


def test_rows_and_examples_are_asked_for_page_by_page_to_the_end_and_beyond(file_store: SqlStore) -> None:
    run = add_run(file_store, 7)
    items, labelled = file_store.items(run.sheet_id), file_store.library_items(run.library_id)
    file_store.save_judgements(run.id, [judgement(judge, item.id) for item in items[::2] for judge in JUDGES])
    seen, after = [], -1
    while found := file_store.work_items(run.id, JUDGES, after, 2):
        seen += [work.item.position for work in found]
        after = seen[-1]
    assert seen == [1, 3, 5]
    assert file_store.work_items(run.id, ["first", "first"], -1, 9)[0].item.position == 1  # a judge named twice is one
    file_store.save_examples(run.id, {items[0].id: [Example(labelled[place], 1.0 - place / 9, place, "v") for place in range(5)]})
    assert file_store.items_shown(run.id, labelled[4].id) == [items[0].id]
    uses = file_store.example_uses(run.library_id, labelled[4].id)
    assert [(use.rank, use.verdict, use.current) for use in uses.uses] == [(4, None, None)]
    assert file_store.example_uses(run.library_id, labelled[4].id, page=3).uses == ()
    for query in (RowQuery(page=99), RowQuery(page=-3, page_size=0, outcome=Outcome.TIE)):
        assert file_store.rows(run.id, query).rows == ()
    assert len(file_store.rows(run.id, RowQuery(page=-3, page_size=0)).rows) == 1


def test_a_half_decided_run_lists_undecided_rows_by_every_order_and_status(store: SqlStore) -> None:
    run = add_run(store, 9)
    items = store.items(run.sheet_id)
    failed = [replace(judgement("first", item.id), status=JudgementStatus.FAILED, label=None, probabilities={}) for item in items[6:8]]
    store.save_judgements(run.id, [judgement("first", item.id) for item in items[:6]] + failed)
    store.save_verdicts(
        run.id, "majority", {items[1].id: decision(4, 0.5), items[2].id: decision(None, 0.9), items[6].id: decision(2, 0.1)}
    )

    def places(**query: object) -> list[int]:
        page = store.rows(run.id, RowQuery(page_size=20, **query))  # type: ignore[arg-type]
        assert page.total == len(page.rows)
        return [row.item.position for row in page.rows]

    assert places(sort=RowSort.DISAGREEMENT, descending=True) == [2, 1, 6, 0, 3, 4, 5, 7, 8]
    assert places(sort=RowSort.LABEL) == [6, 1, 2, 0, 3, 4, 5, 7, 8]
    assert places(status=JudgementStatus.FAILED) == [6, 7]
    assert places(status=JudgementStatus.FAILED, sort=RowSort.LABEL) == [6, 7]
    assert places(status=JudgementStatus.OK, descending=True) == [5, 4, 3, 2, 1, 0]
    assert places(status=JudgementStatus.REFUSED) == []
    assert places(search="第7篇", sort=RowSort.DISAGREEMENT) == [7]
