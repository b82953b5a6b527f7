"""What is done beside the runs: near-duplicates marked by the worker, deleted runs removed for good."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from core.errors import NotFound
from core.review import QueueQuery
from core.types import CorrectionKind, Run, RunState
from db.base import now
from db.corrections import Act
from db.engine import reading, writing
from db.models import Base, RunRecord
from db.runs import DELETED_KEPT
from db.store import SqlStore
from db.workers import current_worker
from tests.db.build import JUDGES, add_run, decision, judgement
from webapp.services.housekeeping import Housekeeping
from webapp.worker import Worker


def judge_all(store: SqlStore, run: Run) -> Run:
    """Claim a run, judge all of it and finish it."""
    if run.state is not RunState.RUNNING:
        store.claim(run.id, current_worker())
    items = [work.item for work in store.work_items(run.id, JUDGES, -1, 5_000)]
    store.save_judgements(run.id, [judgement(judge, item.id) for item in items for judge in JUDGES])
    store.save_verdicts(run.id, run.aggregator, {item.id: decision(3) for item in items})
    store.finish(run.id, current_worker())
    return store.run(run.id)


def wait_for(store: SqlStore, run_id: int) -> None:
    deadline = time.monotonic() + 30
    while store.run(run_id).state is not RunState.DONE or not store.families_state(run_id).ready:
        assert time.monotonic() < deadline, "near-duplicates were never marked"
        time.sleep(0.01)


def test_the_worker_marks_near_duplicates_of_each_run_and_of_those_that_a_killed_one_left(store: SqlStore) -> None:
    left = judge_all(store, add_run(store, 6))  # its worker was killed before it marked anything
    assert store.unmarked_runs() == [left.id]
    store.set_aggregator(left.id, "pooled-median")  # queued again: not to be marked before it is decided
    assert store.unmarked_runs() == []
    states: list[RunState] = []

    class Watched(Housekeeping):
        def after_run(self, run_id: int) -> None:
            states.append(store.run(run_id).state)
            if run_id != left.id:
                super().after_run(run_id)

    fresh = add_run(store, 6)
    housekeeping = Watched(store)
    worker = Worker(
        store,
        lambda run_id: judge_all(store, store.run(run_id)),
        poll_seconds=0.01,
        when_idle=housekeeping.when_idle,
        after_run=housekeeping.after_run,
    )
    thread = threading.Thread(target=worker.work)
    thread.start()
    try:
        wait_for(store, fresh.id)
        wait_for(store, left.id)
    finally:
        worker.shut_down()
        thread.join(10)
    assert states == [RunState.DONE, RunState.DONE]  # runs stand as done while this is still to do
    assert store.unmarked_runs() == []


def test_a_deleted_run_comes_back_for_thirty_days_and_is_then_removed_with_what_people_said_kept(store: SqlStore) -> None:
    kept, gone, young = (judge_all(store, add_run(store, 2_500 if place == 1 else 4)) for place in range(3))
    item = store.queue(gone.id, QueueQuery()).rows[0].item_id
    store.append(gone.id, item, Act(CorrectionKind.LABEL, "林", 2))
    store.lease(gone.id, item, "林")
    store.delete_run(gone.id)
    store.delete_run(young.id)
    assert Housekeeping(store).purge() == []
    assert store.restore_run(gone.id).state is RunState.DONE
    store.delete_run(gone.id)
    with writing(store.engine) as connection:
        long_ago = now() - DELETED_KEPT - timedelta(hours=1)
        connection.execute(update(RunRecord).where(RunRecord.id == gone.id).values(deleted_at=long_ago))
    assert [line.run.id for line in store.run_lines(deleted=True)] == [young.id]
    with pytest.raises(NotFound):
        store.restore_run(gone.id)
    assert Housekeeping(store).purge() == [gone.id]
    with pytest.raises(NotFound):
        store.run(gone.id)
    with reading(store.engine) as connection:
        for table in Base.metadata.sorted_tables:
            if "run_id" in table.c:
                assert connection.execute(select(func.count()).where(table.c.run_id == gone.id)).scalar_one() == 0, table.name
    assert [event.label for event in store.events(item)] == [2]
    assert store.item_state(item).label == 2
    assert store.queue(kept.id, QueueQuery()).total == 4
    assert store.restore_run(young.id).state is RunState.DONE
