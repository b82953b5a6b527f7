"""The worker process: works through the queue, survives its own death, and leaves nothing half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import LibraryError, StoreError
from core.settings import PROJECT_ROOT
from core.types import Run, RunState, said
from db.engine import make_engine
from db.migrate import upgrade
from db.store import SqlStore
from db.workers import current_worker
from tests.db.build import JUDGES, add_run, panel
from webapp.worker import Worker, WorkerSupervisor


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def home_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'pingpan.db'}"


@pytest.fixture
def opened(home_url: str) -> Iterator[SqlStore]:
    engine = make_engine(home_url)
    upgrade(engine)
    store = SqlStore(engine)
    yield store
    store.close()


@pytest.fixture
def supervise(home_url: str, tmp_path: Path) -> Iterator[Callable[..., WorkerSupervisor]]:
    """Start supervised workers with the tests' judges, and stop them in the end."""
    started: list[WorkerSupervisor] = []

    def start(pause: float = 0.0) -> WorkerSupervisor:
        command = [sys.executable, "-m", "tests.worker.process", home_url, str(tmp_path / "asked.log"), str(pause), current_worker()]
        supervisor = WorkerSupervisor(command=command, first_backoff=0.05)
        supervisor.start()
        started.append(supervisor)
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop()


def answered(store: SqlStore, run: Run) -> int:
    return sum(judge.done for judge in store.progress(run.id).judges)


def test_runs_are_worked_on_one_after_the_other(opened: SqlStore, supervise: Callable[..., WorkerSupervisor]) -> None:
    runs = [add_run(opened, 25) for _ in range(3)]
    supervisor = supervise()
    supervisor.start()  # a second call does nothing
    wait_for(lambda: all(opened.run(run.id).state is RunState.DONE for run in runs))
    begun = [opened.run(run.id).started_at for run in runs]
    assert begun == sorted(begun, key=str)
    late = add_run(opened, 5)
    wait_for(lambda: opened.run(late.id).state is RunState.DONE)
    assert supervisor.restarts == 0
    supervisor.stop()
    assert supervisor.pid is None


def test_a_killed_worker_is_replaced_and_its_run_goes_on(
    opened: SqlStore, supervise: Callable[..., WorkerSupervisor], tmp_path: Path
) -> None:
    run = add_run(opened, 60)
    supervisor = supervise(pause=0.003)
    for killed in range(2):
        wait_for(lambda before=killed * 60: answered(opened, run) > before)  # type: ignore[misc]
        pid = supervisor.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda killed=killed: supervisor.restarts == killed + 1)  # type: ignore[misc]
    wait_for(lambda: opened.run(run.id).state is RunState.DONE)
    assert answered(opened, run) == 60 * len(JUDGES)
    asked = Counter((tmp_path / "asked.log").read_text().splitlines())
    assert sum(asked.values()) - len(asked) <= 2 * 10  # at most the batches in flight were asked again
    assert len(set((tmp_path / "asked.born").read_text().splitlines())) == 3


def test_a_shutdown_keeps_the_answers_and_leaves_the_run_in_the_queue(opened: SqlStore, supervise: Callable[..., WorkerSupervisor]) -> None:
    run, later = add_run(opened, 200), add_run(opened, 2)
    supervisor = supervise(pause=0.01)
    wait_for(lambda: answered(opened, run) > 20)
    supervisor.stop()
    left = opened.run(run.id)
    assert (left.state, left.error, left.finished_at) == (RunState.QUEUED, {}, None)
    assert opened.run(later.id).state is RunState.QUEUED
    kept = answered(opened, run)
    assert 20 < kept < 800
    supervise()
    wait_for(lambda: opened.run(later.id).state is RunState.DONE)
    assert opened.run(run.id).state is RunState.DONE  # it was first in the queue
    assert answered(opened, run) == 800


def test_a_worker_whose_server_is_gone_ends(opened: SqlStore, home_url: str, tmp_path: Path) -> None:
    run = add_run(opened, 400)
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as server:
        import psutil

        parent = f"{current_worker().split('|')[0]}|{server.pid}|{psutil.Process(server.pid).create_time():.2f}"
        command = [sys.executable, "-m", "tests.worker.process", home_url, str(tmp_path / "asked.log"), "0.01", parent]
        worker = subprocess.Popen(command, cwd=PROJECT_ROOT)
        try:
            wait_for(lambda: answered(opened, run) > 0)
            server.kill()
            server.wait()
            assert worker.wait(30) == 0
        finally:
            worker.kill()
            worker.wait()
    assert opened.run(run.id).state is RunState.QUEUED


def test_a_stopped_run_makes_room_for_the_next(opened: SqlStore, supervise: Callable[..., WorkerSupervisor]) -> None:
    run, later = add_run(opened, 400), add_run(opened, 3)
    supervise(pause=0.005)
    wait_for(lambda: answered(opened, run) > 0)
    opened.request_stop(run.id)
    wait_for(lambda: opened.run(later.id).state is RunState.DONE)
    assert opened.run(run.id).state is RunState.STOPPED


def test_a_run_that_breaks_fails_with_the_reason_and_the_worker_goes_on(opened: SqlStore) -> None:
    runs = [add_run(opened, 1) for _ in range(4)]
    faults: dict[int, Exception | None] = {
        runs[0].id: LibraryError("The library has no usable example."),
        runs[1].id: ValueError("seven"),
        runs[2].id: StoreError("the disk is full"),
        runs[3].id: None,
    }
    tries: list[int] = []

    def execute(run_id: int) -> None:
        tries.append(run_id)
        fault = faults[run_id]
        if isinstance(fault, StoreError) and tries.count(run_id) == 2:
            fault = None  # the database is back
        if fault is not None:
            raise fault
        opened.finish(run_id, current_worker())

    worker = Worker(opened, execute, poll_seconds=0.01)
    thread = threading.Thread(target=worker.work)
    thread.start()
    wait_for(lambda: opened.run(runs[3].id).state is RunState.DONE)
    worker.shut_down()
    thread.join(10)
    assert not thread.is_alive()
    assert tries == [runs[0].id, runs[1].id, runs[2].id, runs[2].id, runs[3].id]
    ended = [opened.run(run.id) for run in runs]
    assert [run.state for run in ended] == [RunState.FAILED, RunState.FAILED, RunState.DONE, RunState.DONE]
    assert said(ended[0].error, "en") == "The library has no usable example."
    assert ended[1].error == {
        "zh": "ValueError: seven。详情见工作进程的日志。",
        "en": "ValueError: seven. The worker's log says more.",
    }


def test_a_long_preparation_does_not_look_dead(opened: SqlStore) -> None:
    run = opened.create_run(add_run(opened, 1).sheet_id, 1, panel(), "mean")
    opened.request_stop(run.id - 1)
    beaten: list[float] = []

    def prepare(run_id: int) -> None:
        time.sleep(2.5)
        beaten.append(opened.run(run_id).worked_seconds)
        opened.finish(run_id, current_worker())

    worker = Worker(opened, prepare, poll_seconds=0.01)
    thread = threading.Thread(target=worker.work)
    thread.start()
    wait_for(lambda: opened.run(run.id).state is RunState.DONE)
    worker.shut_down()
    thread.join(10)
    assert beaten[0] > 1.5


def test_the_real_process_starts_light_and_ends_on_sigterm(tmp_path: Path) -> None:
    environment = {**os.environ, "PINGPAN_HOME": str(tmp_path / "home"), "PINGPAN_LOG_LEVEL": "warning"}
    supervisor = WorkerSupervisor({"PINGPAN_HOME": str(tmp_path / "home")})
    supervisor.start()
    database = tmp_path / "home" / "pingpan.db"
    try:
        wait_for(database.exists)
        import psutil

        assert supervisor.pid is not None
        loaded = {Path(found.path).name for found in psutil.Process(supervisor.pid).memory_maps()}
        assert not any(name.startswith(("libtorch", "libarrow")) for name in loaded)
        wait_for(lambda: b"0002" in database.read_bytes() or database.with_name("pingpan.db-wal").exists())
    finally:
        supervisor.stop()
    assert supervisor.restarts == 0
    wrong = subprocess.run(
        [sys.executable, "-m", "webapp.worker"],
        env={**environment, "PINGPAN_DATABASE_URL": "mysql://x"},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert wrong.returncode == 1
    assert "mysql is not supported" in wrong.stderr


def test_a_worker_that_cannot_start_is_tried_again_ever_more_slowly(tmp_path: Path) -> None:
    log = tmp_path / "born"
    command = [sys.executable, "-c", f"open({str(log)!r}, 'a').write('x'); raise SystemExit(3)"]
    supervisor = WorkerSupervisor(command=command, first_backoff=0.1)
    supervisor.start()
    wait_for(lambda: supervisor.restarts >= 2)
    time.sleep(0.3)
    supervisor.stop()
    assert len(log.read_text()) <= 4
    restarts = supervisor.restarts
    time.sleep(0.2)
    assert supervisor.restarts == restarts
