"""Jobs are processes of their own: they outlive their runner, and whatever becomes of them is written down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from core.processes import identity_of, is_alive, kill, pid_of
from core.settings import PROJECT_ROOT
from core.training import EventKind, JobState, Snapshot, Split
from core.types import said
from tests.training.build import rows
from tests.training.runner.conftest import RunnerProcess, drive, freeze, measure, wait_for, wait_over
from training import jobdir
from webapp.job_runner import Runner
from webapp.workbench import Workbench


@pytest.fixture
def long(bench: Workbench) -> Snapshot:
    """A snapshot whose measurement takes some seconds when every row is told."""
    return freeze(bench, rows(20, Split.TRAIN), rows(1_200, Split.HELD_OUT), name="long")


def test_a_job_is_followed_over_the_death_of_its_runner(bench: Workbench, long: Snapshot, runner: RunnerProcess) -> None:
    job = bench.jobs.submit(measure(long, slow=True), "li", snapshot_id=long.id)
    assert bench.jobs.job(job.id).place == 1
    wait_for(lambda: bench.jobs.job(job.id).step > 0)
    runner.kill()
    process = bench.store.job(job.id).process
    seen = bench.jobs.job(job.id)
    assert is_alive(process)
    pid = pid_of(process)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # so that it cannot be through before the next runner is up
    runner.start()
    time.sleep(1)
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: bench.jobs.job(job.id).events > seen.events)
    assert wait_over(bench, job.id) is JobState.DONE
    done = bench.jobs.job(job.id)
    assert (done.step, done.steps, done.job.process, done.place) == (1_200, 1_200, "", None)
    events = bench.jobs.events(job.id)
    assert [event.sequence for event in events] == list(range(1, done.events + 1))
    assert [event.kind for event in events].count(EventKind.STARTED) == 1  # it was followed, not done again
    assert bench.jobs.curves(job.id).held_out["mae"][0].step == 1_200
    assert "1200/1200" in bench.jobs.log_tail(job.id)


def test_stop_saves_a_killed_job_is_lost_and_both_go_on_where_they_were(bench: Workbench, long: Snapshot) -> None:
    runner = Runner(bench.store, bench.settings)
    job_id = bench.jobs.submit(measure(long, slow=True), "li", snapshot_id=long.id).id
    drive(runner, lambda: bench.jobs.job(job_id).step > 0)
    assert bench.jobs.stop(job_id).job.state is JobState.STOPPING
    drive(runner, lambda: bench.store.job(job_id).state is JobState.STOPPED)
    kept = len((bench.store.job(job_id).folder / "checkpoints" / "predictions.jsonl").read_bytes().splitlines())
    assert 0 < kept < 1_200

    assert bench.jobs.resume(job_id).job.state is JobState.QUEUED
    drive(runner, lambda: bench.jobs.job(job_id).step > kept)
    kill(bench.store.job(job_id).process)
    drive(runner, lambda: bench.store.job(job_id).state is JobState.FAILED)
    lost = bench.jobs.job(job_id)
    assert lost.resumable
    assert "ended by SIGKILL" in said(lost.job.error, "en")
    assert f"{lost.step}/1200" in said(lost.job.error, "en") or "progress" in said(lost.job.error, "en")
    assert "继续" in said(lost.job.error, "zh")

    bench.jobs.resume(job_id)
    drive(runner, lambda: bench.store.job(job_id).state is JobState.DONE)
    assert bench.store.job(job_id).error == {}


def test_what_another_runner_left_is_lost_or_queued_again(bench: Workbench, small: Snapshot) -> None:
    """A runner that died before it started its job's process, and a job that died while no runner was there."""
    left, died = (bench.jobs.submit(measure(small), "li", snapshot_id=small.id).id for _ in range(2))
    gone = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    dead = identity_of(gone.pid)
    for job_id in (left, died):
        bench.store.claim_next_job(dead, wanted=lambda job, job_id=job_id: job.id == job_id)  # type: ignore[misc]
    folder = bench.store.job(died).folder
    jobdir.create(folder, measure(small))
    (folder / jobdir.LOG).write_text("it began\nand then\n", encoding="utf-8")
    gone.kill()
    gone.wait()
    runner = Runner(bench.store, bench.settings, lost_after=0.0)
    runner.follow()
    runner.follow()
    assert bench.store.job(left).state is JobState.QUEUED
    assert bench.store.job(died).state is JobState.FAILED
    assert said(bench.store.job(died).error, "en").endswith("it began\nand then")


def test_a_job_done_by_hand_is_seen_and_a_spec_that_cannot_be_done_is_told(bench: Workbench, small: Snapshot) -> None:
    runner = Runner(bench.store, bench.settings)
    by_hand = bench.jobs.submit(measure(small), "li", snapshot_id=small.id)
    wrong = bench.jobs.submit(measure(small, "rulez"), "li", snapshot_id=small.id)
    jobdir.create(by_hand.folder, measure(small))
    subprocess.run(bench.jobs.command(by_hand.id), shell=True, check=True, cwd="/", capture_output=True)
    drive(runner, lambda: bench.store.job(wrong.id).state is JobState.FAILED)
    assert bench.store.job(by_hand.id).state is JobState.DONE
    assert "rulez" in said(bench.store.job(wrong.id).error, "en")
    assert pid_of(bench.store.job(by_hand.id).process) is None
    assert str(PROJECT_ROOT) in bench.jobs.command(by_hand.id)
