"""The worker process: takes one queued run after the other, whoever looks on or has closed the browser.

`python -m webapp.worker` works until it gets SIGTERM or its parent (the server) is gone; then it stores the answers in
flight, puts its run back into the queue and exits. `WorkerSupervisor` starts it for the server and restarts it when it
dies; a run that a dead worker left is taken up again first.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING

from core.errors import CardTaken, PingpanError, RunTaken, StoreError
from core.processes import collect_rarely
from core.settings import PROJECT_ROOT, Settings, load_settings
from core.types import LocalText, Run, RunState
from db.runs import STALE_AFTER
from db.workers import current_worker, is_alive

if TYPE_CHECKING:
    from db.store import SqlStore

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
BEAT_SECONDS = 2.0
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 60.0
# A worker that lived this long before it died is restarted at once.
HEALTHY_S = 60.0
STOP_GRACE_S = 30.0


class Worker:
    """Claims runs and executes them, one at a time, until it is told to shut down.

    `execute` works on a claimed run and leaves it in its state. What it raises is the run's end (FAILED, with the
    message), but for StoreError: then the database is away, the run stays claimed and is tried again. `when_idle` is
    called at every look into the queue that finds nothing, `after_run` with each run that was left. A run that `hindrance` gives a reason against stays queued.
    """

    def __init__(
        self,
        store: SqlStore,
        execute: Callable[[int], object],
        *,
        parent: str = "",
        poll_seconds: float = POLL_SECONDS,
        stale_after: timedelta = STALE_AFTER,
        when_idle: Callable[[], object] = lambda: None,
        after_run: Callable[[int], object] = lambda _: None,
        hindrance: Callable[[], Callable[[Run], LocalText]] = lambda: lambda _: {},
    ) -> None:
        self._store = store
        self._when_idle, self._after_run = when_idle, after_run
        self._hindrance = hindrance
        self._execute = execute
        self._parent = parent
        self._poll_seconds = poll_seconds
        self._stale_after = stale_after
        self._name = current_worker()
        self._shutdown = threading.Event()
        self._over = threading.Event()
        self._current: int | None = None

    def shut_down(self) -> None:
        """Ask the worker to put its run back into the queue and to end; safe in a signal handler."""
        self._shutdown.set()

    def work(self) -> None:
        """Work until the shutdown."""
        watcher = threading.Thread(target=self._watch, name="worker-watch", daemon=True)
        watcher.start()
        failures = 0
        try:
            while not self._shutdown.is_set():
                try:
                    idle = not self._work_once()
                    if idle:
                        self._when_idle()
                    failures = 0
                except StoreError as error:
                    failures += 1
                    logger.error("the database is away (%s); trying again", error)
                    self._shutdown.wait(min(self._poll_seconds * 2**failures, LONGEST_BACKOFF_S))
                    continue
                if idle:
                    self._shutdown.wait(self._poll_seconds)
        finally:
            self._over.set()
            watcher.join()

    def _work_once(self) -> bool:
        run = self._store.claim_next(self._name, self._stale_after, self._hindrance())
        if run is None:
            return False
        logger.info("run %d: %s, panel %s", run.id, run.sheet_name, run.panel.id)
        self._current = run.id
        try:
            self._execute(run.id)
        except RunTaken as taken:
            logger.warning("run %d: %s", run.id, taken)
        except CardTaken as taken:
            self._hand_back(run.id, taken)
        except StoreError:
            raise
        except PingpanError as error:
            logger.error("run %d failed: %s", run.id, error)
            self._store.fail(run.id, self._name, error.messages)
        except Exception as error:
            logger.exception("run %d failed", run.id)
            what = f"{type(error).__name__}: {error}"
            words = {"zh": f"{what}。详情见工作进程的日志。", "en": f"{what}. The worker's log says more."}
            self._store.fail(run.id, self._name, words)
        finally:
            self._current = None
        if not self._shutdown.is_set():
            self._after_run(run.id)
        return True

    def _hand_back(self, run_id: int, taken: CardTaken) -> None:
        """Queue a run again whose card was leased by a job between two looks."""
        logger.info("run %d waits: %s", run_id, taken)
        self._store.request_requeue(run_id, self._name)
        self._store.end_work(run_id, self._name, RunState.STOPPED, taken.messages)
        self._shutdown.wait(self._poll_seconds)

    def _watch(self) -> None:
        """Beat for the current run, which may be loading for long; and hand it back when the shutdown comes."""
        beat = 0.0
        while not self._over.wait(0.1):
            if self._parent and not self._shutdown.is_set() and is_alive(self._parent) is False:
                logger.info("the server is gone; finishing")
                self._shutdown.set()
            run_id = self._current
            if run_id is None or (time.monotonic() - beat < BEAT_SECONDS and not self._shutdown.is_set()):
                continue
            try:
                if self._shutdown.is_set():
                    self._store.request_requeue(run_id, self._name)
                    self._over.wait(BEAT_SECONDS)
                else:
                    self._store.heartbeat(run_id, self._name)
                beat = time.monotonic()
            except StoreError as error:
                logger.warning("heartbeat of run %d: %s", run_id, error)
                self._over.wait(BEAT_SECONDS)


class WorkerSupervisor:
    """Keeps one process alive beside the server: the worker, or what `command` and `name` say.

    `environment` is laid over this process's (PINGPAN_… settings that the server was started with otherwise); `command`
    is what is started, the worker by default. Its log goes where the server's goes.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
        *,
        name: str = "worker",
        first_backoff: float = FIRST_BACKOFF_S,
        grace: float = STOP_GRACE_S,
    ) -> None:
        self._environment = dict(environment or {})
        self._command = list(command or (sys.executable, "-m", "webapp.worker", "--parent", current_worker()))
        self._name = name
        self._first_backoff = first_backoff
        self._grace = grace
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """Return the worker's process id, None while there is none."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def start(self) -> None:
        """Start the worker and watch it; a second call does nothing."""
        if self._thread is None:
            self._process = self._spawn()
            self._thread = threading.Thread(target=self._supervise, name=f"{self._name} supervisor", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Let the worker store what is in flight and end; after `grace` seconds it is killed, and nothing stored is lost."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(self._grace)
            except subprocess.TimeoutExpired:
                logger.warning("the %s did not end in %.0f s and is killed; what it had goes on at the next start", self._name, self._grace)
                process.kill()
                process.wait()
        if self._thread is not None:
            self._thread.join()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # A session of its own, so that Ctrl-C in the server's terminal reaches the worker as an orderly stop only.
        environment = {**os.environ, **self._environment}
        return subprocess.Popen(self._command, cwd=PROJECT_ROOT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)

    def _supervise(self) -> None:
        backoff = self._first_backoff
        while self._process is not None:
            born = time.monotonic()
            code = self._process.wait()
            if self._stopping.is_set():
                return
            backoff = self._first_backoff if time.monotonic() - born >= HEALTHY_S else min(backoff * 2, LONGEST_BACKOFF_S)
            logger.error("the %s ended with status %d; the next one starts in %.1f s", self._name, code, backoff)
            if self._stopping.wait(backoff):
                return
            self._process = self._spawn()
            self.restarts += 1
            if self._stopping.is_set():  # stop() may have looked at the process before this one
                self._process.terminate()


def _executor(settings: Settings) -> Callable[[int], object]:
    """Return a function that executes a run; the workbench, and all it imports, is opened for the first one."""
    opened: list[Callable[[int], object]] = []

    def execute(run_id: int) -> object:
        if not opened:
            from webapp.workbench import Workbench

            opened.append(Workbench.open(settings).execute)
        return opened[0](run_id)

    return execute


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker process; return its exit status."""
    from db.engine import make_engine
    from db.migrate import upgrade
    from db.store import SqlStore
    from webapp.services.housekeeping import Housekeeping
    from webapp.services.revival import PausedRuns
    from webapp.services.training.leases import CardLeases

    parser = argparse.ArgumentParser(prog="python -m webapp.worker", description=__doc__)
    parser.add_argument("--parent", default="", help="Identity of the process without which the worker ends.")
    options = parser.parse_args(arguments)
    settings = load_settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s worker %(name)s: %(message)s")
    try:
        engine = make_engine(settings.resolved_database_url())
        upgrade(engine)
    except StoreError as error:
        logger.error("%s", error)
        return 1
    store = SqlStore(engine)
    leases, paused, housekeeping = CardLeases(store), PausedRuns(store), Housekeeping(store)

    def when_idle() -> None:
        paused.revive()
        housekeeping.when_idle()

    worker = Worker(
        store,
        _executor(settings),
        parent=options.parent,
        when_idle=when_idle,
        after_run=housekeeping.after_run,
        hindrance=leases.hindrance,
    )

    def stop(_number: int, _frame: FrameType | None) -> None:
        worker.shut_down()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    logger.info("waiting for runs")
    worker.work()
    engine.dispose()
    return 0


if __name__ == "__main__":
    collect_rarely()
    sys.exit(main())
