"""The job runner: starts training jobs as processes of their own, and writes down what they tell.

`python -m webapp.job_runner` is started and watched by the server, like the worker. It holds nothing that it could not read
again: killed and started anew it finds its jobs by the identity of their processes and follows them further. Ending it ends
no job. `Runner` is also what `./run.sh jobs run` uses in its own process.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from types import FrameType

import psutil

from core.errors import PingpanError, StoreError
from core.processes import collect_rarely, current_process, identity_of, is_alive, pid_of, started_at
from core.settings import Settings, load_settings
from core.training import EventKind, Job, JobEvent, JobState
from core.types import LocalText
from db.store import SqlStore
from training import events, jobdir
from webapp.services.training import cards, launch, products
from webapp.services.training.leases import CardLeases

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
BEAT_SECONDS = 5.0
# A process of another runner may need a moment before it has written down who it is.
LOST_AFTER_S = 10.0
LONGEST_BACKOFF_S = 60.0
AT_WORK = frozenset({JobState.RUNNING, JobState.STOPPING})
ENDS = frozenset({EventKind.DONE, EventKind.STOPPED, EventKind.FAILED})
LOG_LINES, LOG_CHARACTERS = 12, 1_500


@dataclass(slots=True)
class _Followed:
    """What this runner remembers of a job at work; nothing of it is needed after a restart."""

    offset: int = 0
    last: JobEvent | None = None
    child: launch.Child | None = None
    beat: float = field(default=-BEAT_SECONDS)
    missed: float | None = None


class Runner:
    """Takes queued jobs, one a card and one on the processor at a time, and follows them to their end.

    `only` keeps it to some jobs: what the command line runs itself. Jobs of other hosts are left alone.
    """

    def __init__(
        self,
        store: SqlStore,
        settings: Settings,
        *,
        leases: CardLeases | None = None,
        parent: str = "",
        only: Collection[int] | None = None,
        poll_seconds: float = POLL_SECONDS,
        lost_after: float = LOST_AFTER_S,
    ) -> None:
        self._store = store
        self._settings = settings
        self._leases = leases or CardLeases(store)
        self._parent = parent
        self._only = only
        self._poll_seconds = poll_seconds
        self._lost_after = lost_after
        self._shutdown = threading.Event()
        self._followed: dict[int, _Followed] = {}

    def shut_down(self) -> None:
        """Ask the runner to end; its jobs go on. Safe in a signal handler."""
        self._shutdown.set()

    def work(self) -> None:
        """Start and follow jobs until the shutdown."""
        failures = 0
        while not self._shutdown.is_set():
            if self._parent and is_alive(self._parent) is False:
                logger.info("the server is gone; ending, jobs go on")
                return
            try:
                self.step()
                failures = 0
            except StoreError as error:
                failures += 1
                logger.error("the database is away (%s); trying again", error)
            self._shutdown.wait(min(self._poll_seconds * 2**failures, LONGEST_BACKOFF_S))

    def step(self) -> None:
        """Follow every job at work, then start what can be started."""
        self.follow()
        self.start()

    def follow(self) -> None:
        """Write down what the jobs at work have told since, and what became of those that ended."""
        at_work = [job for job in self._store.jobs(10_000, states=AT_WORK, archived=True) if self._mine(job)]
        for job in at_work:
            try:
                self._follow(job)
            except StoreError:
                raise
            except (PingpanError, OSError) as error:
                logger.error("job %d: %s", job.id, error)
        for job_id in set(self._followed) - {job.id for job in at_work}:
            child = self._followed[job_id].child
            if child is None or child.poll() is not None:
                del self._followed[job_id]

    def start(self) -> None:
        """Start the next job on every free card and, where none runs there, on the processor."""
        if not self._queued():
            return
        there = self._leases.devices()
        taken = self._leases.holders()
        for device in there:
            if device not in taken:
                self._start_next(device, there)
        at_work = self._store.jobs(10_000, states=AT_WORK, archived=True)
        if not any(_here(job) and not job.device and self._mine(job) for job in at_work):
            self._start_next("", there)

    # Starting

    def _queued(self) -> bool:
        """Put products into the specs that wait for them, and return whether any job is queued."""
        found = False
        for job in self._store.job_queue():
            if not self._mine(job):
                continue
            try:
                products.fill(self._store, job)
                found = True
            except StoreError:
                raise
            except PingpanError as error:
                self._store.set_job_state(job.id, JobState.FAILED, error.messages)
        return found

    def _start_next(self, device: str, there: Sequence[str]) -> None:
        job = self._store.claim_next_job(current_process(), device, lambda job: self._mine(job) and _fits(job, device, there))
        if job is None:
            return
        try:
            child = launch.start(job, products.spec_of(job), self._settings)
        except (PingpanError, OSError) as error:
            logger.error("job %d cannot be started: %s", job.id, error)
            words = error.messages if isinstance(error, PingpanError) else _cannot_start(job, error)
            self._store.set_job_state(job.id, JobState.FAILED, words)
            return
        logger.info("job %d: %s, process %d %s", job.id, job.name, child.pid, device or "on the processor")
        self._followed[job.id] = _Followed(child=child, offset=_end_of(job))
        identity = identity_of(child.pid)
        if identity:
            self._store.set_job_process(job.id, identity)

    # Following

    def _mine(self, job: Job) -> bool:
        return self._only is None or job.id in self._only

    def _follow(self, job: Job) -> None:
        followed = self._followed.setdefault(job.id, _Followed())
        self._copy_events(job, followed)
        alive = self._alive(job, followed)
        if alive is None:
            return
        if alive:
            followed.missed = None
            if job.state is JobState.STOPPING and not jobdir.stop_requested(job.folder):
                jobdir.request_stop(job.folder)
            if time.monotonic() - followed.beat >= BEAT_SECONDS:
                self._store.beat_job(job.id)
                followed.beat = time.monotonic()
            return
        if self._adopt(job, followed) or not self._surely_gone(job, followed):
            return
        self._copy_events(job, followed)
        self._conclude(job, followed)

    def _copy_events(self, job: Job, followed: _Followed) -> None:
        told, followed.offset = events.tail(job.folder / jobdir.EVENTS, followed.offset)
        if told:
            followed.last = told[-1]
            self._store.append_events(job.id, told)

    def _alive(self, job: Job, followed: _Followed) -> bool | None:
        if followed.child is not None and followed.child.poll() is not None:
            return False
        return is_alive(job.process) if job.process else False

    def _adopt(self, job: Job, followed: _Followed) -> bool:
        """Follow the process that works on the job's folder where another one was noted: started by hand, or by a runner that died."""
        identity = jobdir.read_process(job.folder)
        if not identity or identity == job.process or not is_alive(identity):
            return False
        logger.info("job %d: following process %s", job.id, identity)
        self._store.set_job_process(job.id, identity)
        followed.child, followed.missed = None, None
        return True

    def _surely_gone(self, job: Job, followed: _Followed) -> bool:
        """Return whether no process can still come up: one that another runner started may not have said yet who it is."""
        if followed.child is not None or jobdir.read_process(job.folder) == job.process:
            return True
        now = time.monotonic()
        followed.missed = now if followed.missed is None else followed.missed
        return now - followed.missed >= self._lost_after

    def _conclude(self, job: Job, followed: _Followed) -> None:
        """Write down how a job whose process is gone has ended."""
        current = self._store.job(job.id)
        if current.state not in AT_WORK or current.process != job.process:
            return  # somebody else has written it down meanwhile
        state, error = _ending(job, followed) if (job.folder / jobdir.LOG).exists() else (JobState.QUEUED, {})
        if state is JobState.DONE:
            candidate = products.record(self._store, job)
            logger.info("job %d is done%s", job.id, f": candidate {candidate.id}" if candidate else "")
        else:
            logger.info("job %d is %s %s", job.id, state, error.get("en", ""))
        self._store.set_job_state(job.id, state, error)
        _end_session(job.process)


def _fits(job: Job, device: str, there: Sequence[str]) -> bool:
    """Return whether a job computes on `device` ("": the processor)."""
    try:
        wanted = cards.wanted_by_job(products.spec_of(job))
    except PingpanError:
        return device == ""  # it is started, and its process says what is wrong
    if wanted in {cards.AUTO, cards.CUDA} and there:
        return device != ""
    return cards.resolved(wanted, there) == device if wanted.startswith(cards.CUDA) and there else device == ""


def _here(job: Job) -> bool:
    return not job.process or job.process.partition("|")[0] == socket.gethostname()


def _end_of(job: Job) -> int:
    """Return where the events of the next process begin."""
    try:
        return (job.folder / jobdir.EVENTS).stat().st_size
    except FileNotFoundError:
        return 0


def _ending(job: Job, followed: _Followed) -> tuple[JobState, LocalText]:
    """Return how a job ended: by its result, else by its process's last event, else it is lost."""
    if jobdir.read_result(job.folder) is not None:
        return JobState.DONE, {}
    last, begun = followed.last, started_at(job.process)
    if last is not None and last.kind in ENDS and (begun is None or last.at.timestamp() >= begun - 1):
        if last.kind is EventKind.STOPPED:
            return JobState.STOPPED, {}
        if last.kind is EventKind.FAILED:
            return JobState.FAILED, last.message
    code = followed.child.poll() if followed.child is not None else None
    return JobState.FAILED, _lost(job, code)


def _lost(job: Job, code: int | None) -> LocalText:
    tail = "\n".join(jobdir.log_tail(job.folder, LOG_CHARACTERS).splitlines()[-LOG_LINES:])
    en_code, zh_code = ("", "")
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        en_code, zh_code = f" (ended by {name}: perhaps memory ran out)", f"（被 {name} 结束，可能是内存不足）"
    elif code is not None:
        en_code, zh_code = f" (status {code})", f"（状态 {code}）"
    return {
        "en": f"The job's process is gone without saying why{en_code}. Resume it: it goes on from its last checkpoint.\n{tail}".rstrip(),
        "zh": f"任务进程已消失，没有留下原因{zh_code}。可以继续：将从上一个检查点接着运行。\n{tail}".rstrip(),
    }


def _cannot_start(job: Job, error: OSError) -> LocalText:
    return {
        "en": f"The job's process cannot be started in {job.folder}: {error}. Mend the cause and resume.",
        "zh": f"无法在 {job.folder} 启动任务进程：{error}。排除原因后可继续。",
    }


def _end_session(process: str) -> None:
    """End what a job's process left behind in its session, so that its memory and card are free."""
    session = pid_of(process)
    if session is None or psutil.pid_exists(session):
        return
    for other in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(other.pid) == session:
                other.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job runner; return its exit status."""
    from db.engine import make_engine
    from db.migrate import upgrade

    parser = argparse.ArgumentParser(prog="python -m webapp.job_runner", description=__doc__)
    parser.add_argument("--parent", default="", help="Identity of the process without which the runner ends.")
    options = parser.parse_args(arguments)
    settings = load_settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s runner %(name)s: %(message)s")
    try:
        engine = make_engine(settings.resolved_database_url())
        upgrade(engine)
    except StoreError as error:
        logger.error("%s", error)
        return 1
    runner = Runner(SqlStore(engine), settings, parent=options.parent)

    def stop(_number: int, _frame: FrameType | None) -> None:
        runner.shut_down()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    logger.info("waiting for jobs")
    runner.work()
    engine.dispose()
    return 0


if __name__ == "__main__":
    collect_rarely()
    sys.exit(main())
