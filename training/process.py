"""The process of one job: `python -m training run JOB_DIR`. It knows its folder and nothing of a database."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from core.errors import PingpanError
from core.training import EventKind
from core.types import LocalText
from training import jobdir
from training.context import Product, Stopped
from training.events import EventLog
from training.registry import job_function

log = logging.getLogger(__name__)


class ExitStatus(IntEnum):
    """How a job's process ends. STOPPED is EX_TEMPFAIL of sysexits.h: run it again."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    TAKEN = 3
    STOPPED = 75


class ProcessContext:
    """The JobContext of this process; `asked` tells of signals, the folder's `stop` file of everybody else."""

    def __init__(self, folder: Path, events: EventLog, asked: Callable[[], bool] = lambda: False) -> None:
        self._folder = folder
        self._events = events
        self._asked = asked
        self.figures: dict[str, float] = {}

    @property
    def folder(self) -> Path:
        """Return the job's folder."""
        return self._folder

    @property
    def output(self) -> Path:
        """Return the folder of what the job makes; see training.files.whole_folder."""
        return self._folder / jobdir.OUTPUT

    @property
    def checkpoints(self) -> Path:
        """Return the folder of checkpoints."""
        return self._folder / jobdir.CHECKPOINTS

    def report(
        self,
        kind: EventKind,
        step: int = 0,
        steps: int = 0,
        figures: Mapping[str, float] | None = None,
        message: LocalText | None = None,
    ) -> None:
        """Append one event to events.jsonl, and say it in the log. The last figures of a NOTE or HELD_OUT stand in result.json."""
        event = self._events.append(kind, step, steps, figures, message)
        if event.figures and kind in (EventKind.NOTE, EventKind.HELD_OUT):
            self.figures = dict(event.figures)
        numbers = " ".join(f"{name}={value:.6g}" for name, value in event.figures.items())
        place = f" {step}/{steps}" if steps else f" {step}" if step else ""
        log.info("%s%s %s %s", kind, place, numbers, (message or {}).get("en", ""))

    def stop_requested(self) -> bool:
        """Return whether somebody asked the job to save and stop."""
        return self._asked() or jobdir.stop_requested(self._folder)


def run(folder: Path) -> ExitStatus:
    """Do the job of a folder, or go on with it, and return how it ended; a done job is left as it is."""
    folder = folder.absolute()
    try:
        spec = jobdir.load_spec(folder)
        with _taken(folder):
            result = jobdir.read_result(folder)
            if result is not None:
                sys.stderr.write(f"{folder}: this job was done on {result.finished_at:%Y-%m-%d %H:%M} UTC; nothing is changed.\n")
                return ExitStatus.DONE
            with _logging(folder), _signals() as asked:
                return _work(folder, spec.kind.value, lambda context: job_function(spec.kind)(spec, context), asked)
    except Timeout:
        sys.stderr.write(f"{folder}: another process works on this job ({jobdir.read_process(folder)}).\n")
        return ExitStatus.TAKEN
    except PingpanError as error:
        sys.stderr.write(f"{error}\n")
        return ExitStatus.FAILED


def _work(folder: Path, kind: str, function: Callable[[ProcessContext], Product | None], asked: Callable[[], bool]) -> ExitStatus:
    jobdir.write_process(folder)
    events = EventLog(folder / jobdir.EVENTS)
    context = ProcessContext(folder, events, asked)
    context.checkpoints.mkdir(exist_ok=True)
    context.output.mkdir(exist_ok=True)
    try:
        context.report(EventKind.STARTED, message={"zh": f"进程 {os.getpid()} 开始工作。", "en": f"Process {os.getpid()} works ({kind})."})
        if context.stop_requested():
            raise Stopped
        product = function(context)
        jobdir.write_result(folder, product, context.figures)
        context.report(EventKind.DONE, figures=context.figures)
    except Stopped:
        context.report(EventKind.STOPPED, message={"zh": "已保存并停止；可以继续。", "en": "Saved and stopped; it can go on."})
        return ExitStatus.STOPPED
    except PingpanError as error:
        log.exception("The job failed.")
        context.report(EventKind.FAILED, message=dict(error.messages))
        return ExitStatus.FAILED
    # The edge of the job: whatever happened, people are told.
    except Exception as error:
        log.exception("The job failed.")
        context.report(EventKind.FAILED, message=_unexpected(folder, error))
        return ExitStatus.FAILED
    finally:
        jobdir.clear_stop(folder)
        events.close()
    return ExitStatus.DONE


def _unexpected(folder: Path, error: Exception) -> LocalText:
    what = f"{type(error).__name__}: {error}".strip().splitlines()[0][:500]
    if type(error).__name__ == "OutOfMemoryError":
        return {
            "en": f"The card's memory ran out ({what}). Lower batch_size or max_length, or switch gradient_checkpointing on; then resume.",
            "zh": f"显存不足（{what}）。请减小 batch_size 或 max_length，或打开 gradient_checkpointing，然后继续。",
        }
    return {
        "en": f"{what}. The log has the details: {folder / jobdir.LOG}. Mend the cause and resume.",
        "zh": f"{what}。详情见日志 {folder / jobdir.LOG}；排除原因后可继续。",
    }


@contextmanager
def _taken(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system releases it when the process ends, however it ends. Raises filelock.Timeout."""
    with FileLock(folder / jobdir.LOCK, blocking=False):
        yield


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Take SIGTERM and SIGINT as requests to stop; a second one ends the process at once."""
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, remember)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _logging(folder: Path) -> Iterator[None]:
    """Log to log.txt, and to the terminal where somebody looks on; a crash of native code leaves its traceback there too."""
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    form.default_msec_format = "%s.%03d"
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    with (folder / jobdir.LOG).open("a", encoding="utf-8") as file:
        handlers: list[logging.Handler] = [logging.StreamHandler(file)]
        if not _is_file(sys.stderr.fileno(), file.fileno()):
            handlers.append(logging.StreamHandler(sys.stderr))
        for handler in handlers:
            handler.setFormatter(form)
        root.handlers = handlers
        root.setLevel(logging.INFO)
        logging.captureWarnings(True)
        faulthandler.enable(file)
        try:
            yield
        finally:
            faulthandler.disable()
            logging.captureWarnings(False)
            root.handlers = before
            root.setLevel(level)


def _is_file(one: int, other: int) -> bool:
    """Return whether two file descriptors are the same file: a runner may send the process's output to the log as well."""
    return os.path.sameopenfile(one, other)
