"""What pages of long runs are made of, read before anybody asks: a first look costs no more than a second one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from core.errors import PingpanError
from core.types import RunState
from db.store import SqlStore

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
# The latest finished runs that are read ahead, and of these those that are likely to be compared.
LATEST, COMPARED = 20, 3


class Prewarm:
    """Reads the counts and columns of the latest finished runs, in a thread beside the server."""

    def __init__(self, store: SqlStore, compare: Callable[[int, int], object], read: Callable[[int], object] = lambda _: None) -> None:
        """`read` reads whatever else of a run its pages begin with; `compare` reads two of them."""
        self._store, self._read = store, read
        self._compare = compare
        self._over = threading.Event()
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

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                self.look()
            except PingpanError as error:
                logger.warning("reading ahead: %s", error)
            except Exception:  # the edge of the thread: what is not read ahead is read when it is asked for
                logger.exception("reading ahead")
            self._over.wait(LOOK_SECONDS)
