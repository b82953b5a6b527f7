"""Runs in the queue: who gets them, who loses them, and how they end."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from sqlalchemy import update

from core.errors import NotFound, RunTaken
from core.types import RunState, said
from db.engine import writing
from db.models import RunRecord
from db.store import SqlStore
from db.workers import current_worker, is_alive
from tests.db.build import add_library, add_run, add_sheet, judgement, panel

ME, OTHER = "elsewhere|1|1.0", "elsewhere|2|2.0"
REASON = {"en": "the server at :8000 does not answer", "zh": "服务 :8000 没有回应"}


@contextmanager
def other_process() -> Iterator[str]:
    """A living process, as a worker's identity."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        host, _, _ = current_worker().split("|")
        yield f"{host}|{process.pid}|{psutil.Process(process.pid).create_time():.2f}"
        process.kill()


def silent(store: SqlStore, run_id: int, seconds: float) -> None:
    """Make the last heartbeat of a run `seconds` older."""
    before = datetime.now(UTC) - timedelta(seconds=seconds)
    with writing(store.engine) as connection:
        connection.execute(update(RunRecord).where(RunRecord.id == run_id).values(heartbeat_at=before))


def test_a_run_freezes_its_panel_and_waits_in_the_queue(store: SqlStore) -> None:
    run = add_run(store, 5)
    assert run.panel == panel()
    assert (run.state, run.items, run.sheet_name, run.worked_seconds) == (RunState.QUEUED, 5, "作文.xlsx", 0.0)
    assert store.runs() == [run]
    with pytest.raises(NotFound, match="no sheet 77"):
        store.create_run(77, run.library_id, panel(), "majority")
    with pytest.raises(NotFound, match="no library 77"):
        store.create_run(run.sheet_id, 77, panel(), "majority")
    with pytest.raises(NotFound, match="no run 77"):
        store.run(77)


def test_runs_are_claimed_in_the_order_of_the_queue_each_by_one_worker(store: SqlStore) -> None:
    first, second = add_run(store, 2), add_run(store, 2)
    assert [store.progress(run.id).queue_place for run in (first, second)] == [0, 1]
    claimed = store.claim_next(ME)
    assert claimed is not None
    assert (claimed.id, claimed.state) == (first.id, RunState.RUNNING)
    assert claimed.started_at is not None
    assert [store.progress(run.id).queue_place for run in (first, second)] == [0, 1]
    with pytest.raises(RunTaken, match=r"elsewhere\|1"):
        store.claim(first.id, OTHER)
    assert store.claim(first.id, ME) == store.run(first.id)
    taken = store.claim_next(OTHER)
    assert taken is not None
    assert taken.id == second.id
    assert store.claim_next("elsewhere|3|3.0") is None


def test_a_run_of_a_dead_process_is_taken_over_at_once_and_of_a_living_one_not(store: SqlStore) -> None:
    run = add_run(store, 2)
    with other_process() as worker:
        store.claim(run.id, worker)
        assert is_alive(worker)
        assert store.claim_next(ME) is None
    assert is_alive(worker) is False
    again = store.claim_next(ME)
    assert again is not None
    assert again.id == run.id
    assert not store.heartbeat(run.id, worker)
    assert store.end_work(run.id, worker, RunState.DONE) is RunState.RUNNING  # the one who lost it changes nothing
    assert store.heartbeat(run.id, ME)


def test_a_recycled_pid_is_another_process() -> None:
    host, pid, started = current_worker().split("|")
    assert is_alive(current_worker())
    assert is_alive(f"{host}|{pid}|{float(started) - 500:.2f}") is False
    assert is_alive(f"other-{host}|{pid}|{started}") is None
    assert is_alive("") is None


def test_a_silent_worker_loses_its_run(store: SqlStore) -> None:
    run = add_run(store, 2)
    store.claim(run.id, ME)
    silent(store, run.id, 50)
    assert store.claim_next(OTHER, timedelta(seconds=60)) is None
    silent(store, run.id, 70)
    assert store.claim_next(OTHER, timedelta(seconds=60)) is not None
    assert not store.heartbeat(run.id, ME)


def test_a_run_that_kills_its_workers_without_progress_fails_in_the_end(store: SqlStore) -> None:
    run = add_run(store, 9)
    item = store.items(run.sheet_id)[0].id
    store.claim(run.id, "gone|0|0")
    for death in range(8):
        silent(store, run.id, 1_000)
        if death == 3:
            store.save_judgements(run.id, [judgement("first", item)])  # progress starts the count anew
        assert store.claim_next(f"gone|{death}|1") is not None or death == 7
    ended = store.run(run.id)
    assert ended.state is RunState.FAILED
    assert "died 5 times" in said(ended.error, "en")
    assert "中断 5 次" in said(ended.error, "zh")
    assert store.resume(run.id).state is RunState.QUEUED


def test_a_stop_is_obeyed_by_the_worker_or_at_once_when_there_is_none(store: SqlStore) -> None:
    waiting, running = add_run(store, 2), add_run(store, 2)
    assert store.request_stop(waiting.id).state is RunState.STOPPED
    store.claim(running.id, ME)
    assert store.request_stop(running.id).state is RunState.RUNNING
    assert not store.heartbeat(running.id, ME)
    assert store.end_work(running.id, ME, RunState.STOPPED) is RunState.STOPPED
    assert store.run(running.id).finished_at is not None
    for run in (running, waiting):
        assert store.resume(run.id).state is RunState.QUEUED
    assert store.claim_next(ME) == store.run(running.id)  # resumed first
    store.request_stop(running.id)
    store.resume(running.id)
    assert store.heartbeat(running.id, ME)  # the request was taken back in time


def test_a_run_left_with_a_request_to_stop_is_stopped_and_not_begun_again(store: SqlStore) -> None:
    run = add_run(store, 2)
    store.claim(run.id, ME)
    store.request_stop(run.id)
    silent(store, run.id, 1_000)
    assert store.claim_next(OTHER) is None
    assert store.run(run.id).state is RunState.STOPPED


def test_a_worker_that_shuts_down_leaves_its_run_first_in_the_queue(store: SqlStore) -> None:
    run, later = add_run(store, 2), add_run(store, 2)
    store.claim(run.id, ME)
    store.request_requeue(run.id, OTHER)  # not its run
    assert store.heartbeat(run.id, ME)
    store.request_requeue(run.id, ME)
    assert not store.heartbeat(run.id, ME)
    assert store.end_work(run.id, ME, RunState.STOPPED) is RunState.QUEUED
    assert [store.progress(other.id).queue_place for other in (run, later)] == [0, 1]


def test_ends_keep_their_reason_until_the_run_is_resumed(store: SqlStore) -> None:
    run = add_run(store, 2)
    for leave, state in ((store.pause, RunState.PAUSED), (store.fail, RunState.FAILED)):
        store.claim(run.id, ME)
        assert leave(run.id, ME, REASON) is state
        assert store.run(run.id).error == REASON
        assert store.progress(run.id).stage == state.value
        assert store.resume(run.id).error == {}
    store.claim(run.id, ME)
    assert store.finish(run.id, ME) is RunState.DONE
    assert store.resume(run.id).state is RunState.DONE
    assert store.request_stop(run.id).state is RunState.DONE


def test_time_is_counted_while_a_worker_lives_and_judging_apart(store: SqlStore) -> None:
    run = add_run(store, 4)
    store.claim(run.id, ME)
    silent(store, run.id, 20)
    store.set_stage(run.id, ME, "judging")  # 20 s of loading are over
    silent(store, run.id, 8)
    assert store.heartbeat(run.id, ME)
    silent(store, run.id, 3_000)  # the machine slept
    store.end_work(run.id, ME, RunState.PAUSED)
    assert store.run(run.id).worked_seconds == pytest.approx(20 + 8 + 60, abs=2)
    store.claim(run.id, ME)
    assert store.run(run.id).worked_seconds == pytest.approx(88, abs=2)  # the pause does not count
    assert store.measured_rate("small") is None
    store.finish(run.id, ME)
    assert store.measured_rate("small") == pytest.approx(4 / 68, rel=0.1)
    assert store.measured_rate("other") is None


def test_an_unfinished_run_of_the_same_work_is_found(store: SqlStore) -> None:
    run = add_run(store, 3)
    sheet = store.sheet(run.sheet_id)
    key = (sheet.sha256, run.library_version, run.panel.sha256, run.aggregator)
    assert store.find_resumable(*key) == run
    assert store.find_resumable(*key, worksheet="Sheet1", mapping=dict(sheet.mapping), skipped=0) == run
    assert store.find_resumable(*key, worksheet="Sheet9") is None
    assert store.find_resumable(*key, mapping={"id": "x"}) is None
    assert store.find_resumable(*key, skipped=1) is None
    for place in range(4):
        assert store.find_resumable(*(value if place != other else "x" for other, value in enumerate(key))) is None
    store.claim(run.id, ME)
    store.finish(run.id, ME)
    assert store.find_resumable(*key) is None
    assert store.find_resumable(*key, unwritten=[run.id]) == store.run(run.id)


def test_another_aggregator_needs_a_run_nobody_works_on(store: SqlStore) -> None:
    run = add_run(store, 2)
    assert store.set_aggregator(run.id, "median").state is RunState.QUEUED
    store.claim(run.id, ME)
    with pytest.raises(RunTaken):
        store.set_aggregator(run.id, "majority")
    assert store.set_aggregator(run.id, "median").aggregator == "median"
    store.finish(run.id, ME)
    again = store.set_aggregator(run.id, "majority")
    assert (again.state, again.aggregator, again.finished_at) == (RunState.QUEUED, "majority", None)


_CLAIM_ALL = """
import sys
from db.engine import make_engine
from db.store import SqlStore
from db.workers import current_worker
store = SqlStore(make_engine(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
me = current_worker()
while (run := store.claim_next(me)) is not None:
    print(run.id, flush=True)
    store.finish(run.id, me)
store.close()
"""


def test_two_processes_share_a_queue_without_doing_anything_twice(store: SqlStore, url: str) -> None:
    sheet, library = add_sheet(store, 1), add_library(store)
    ids = [store.create_run(sheet.id, library.id, panel(), "majority").id for _ in range(60)]
    command = [sys.executable, "-c", _CLAIM_ALL, url]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        with ThreadPoolExecutor(3) as pool:
            claimed = [output.split() for output, _ in pool.map(lambda worker: worker.communicate("go\n", timeout=60), workers)]
    finally:
        for worker in workers:
            worker.kill()
    assert sorted(int(run_id) for part in claimed for run_id in part) == ids
    assert {store.run(run_id).state for run_id in ids} == {RunState.DONE}


def test_two_threads_at_one_run_never_both_hold_it(store: SqlStore) -> None:
    run = add_run(store, 1)

    def take(worker: str) -> bool:
        try:
            store.claim(run.id, worker)
        except RunTaken:
            return False
        time.sleep(0.02)
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take, [f"elsewhere|{number}|1" for number in range(6)])) == 1
