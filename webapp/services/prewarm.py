"""What pages are made of, loaded and read before anybody asks: a first look costs no more than a second one.

Templates and modules first: the review page's intervals need scipy, the agreement page's figures scikit-learn, and compiling
and importing takes seconds that nobody should wait for. Then what the pages of long runs begin with.
"""

from __future__ import annotations

import gc
import importlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from core.errors import PingpanError
from core.types import RunState
from db.store import SqlStore

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
# The latest finished runs that are read ahead, and of these those that are likely to be compared.
LATEST, COMPARED = 20, 3
MODULES = ("scipy.stats", "sklearn.metrics", "krippendorff", "irrCAC.raw", "irrCAC.table")


def at_once(_over: threading.Event) -> None:
    """Wait for nothing."""


class Prewarm:
    """Loads modules and templates, then reads the counts and columns of the latest finished runs, in a thread beside the server."""

    def __init__(
        self,
        store: SqlStore,
        compare: Callable[[int, int], object],
        read: Callable[[int], object] = lambda _: None,
        wait: Callable[[threading.Event], object] = at_once,
        prepare: Sequence[Callable[[], object]] = (),
    ) -> None:
        """`read` reads whatever else of a run its pages begin with; `compare` reads two of them.

        `wait` returns when it is time to begin, or when the event that it is given is set. `prepare` is what else is done
        once. `ready` is set when all was loaded and read for the first time.
        """
        self._store, self._read = store, read
        self._compare, self._wait, self._prepare = compare, wait, prepare
        self._over = threading.Event()
        self.ready = threading.Event()
        self._done: set[tuple[int, str, object]] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="prewarm", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, once the run that is being read is read."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """Read what is not read yet of the latest finished runs."""
        finished = [run for run in self._store.runs(LATEST) if run.state is RunState.DONE]
        for place, run in enumerate(finished):
            key = (run.id, run.aggregator, run.finished_at)
            if key in self._done or self._over.is_set():
                continue
            self._done.add(key)
            self._store.vote_counts(run.id)
            self._store.run_line(run.id)
            self._read(run.id)
            if 0 < place < COMPARED:
                self._compare(finished[0].id, run.id)

    def load(self) -> None:
        """Import what pages need and the first page does not, and do what else is to be done once."""
        begun = time.monotonic()
        steps: list[Callable[[], object]] = [*self._prepare, *(partial(importlib.import_module, name) for name in MODULES)]
        for step in steps:
            if not self._over.is_set():
                step()
        logger.info("modules and templates loaded ahead in %.1f s", time.monotonic() - begun)

    def _work(self) -> None:
        self._wait(self._over)
        _guarded(self.load)
        while not self._over.is_set():
            if _guarded(self.look) and not self.ready.is_set():
                settle()
                self.ready.set()
            self._over.wait(LOOK_SECONDS)


def settle() -> None:
    """Keep the garbage collector from going through what has come to stay, which stops every answer for 0.2 to 0.6 seconds."""
    gc.collect()
    gc.freeze()


def _guarded(work: Callable[[], None]) -> bool:
    """Do `work` and return whether it came to its end: what is not read ahead is read when it is asked for."""
    try:
        work()
    except PingpanError as error:
        logger.warning("reading ahead: %s", error)
    except Exception:  # the edge of the thread
        logger.exception("reading ahead")
    else:
        return True
    return False
