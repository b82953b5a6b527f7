"""What the worker does beside the runs, so that no page waits for it: near-duplicates, and runs deleted long ago."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from core.errors import PingpanError, StoreError
from db.base import now
from db.runs import DELETED_KEPT
from db.store import SqlStore

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
PURGE_SECONDS = 3600.0


class Housekeeping:
    """Marks the near-duplicates of finished runs and removes deleted ones for good after 30 days.

    A worker calls `after_run` with each run that it leaves, and `when_idle` whenever it has nothing else to do: what a
    killed worker or another process left undone is found there.
    """

    def __init__(self, store: SqlStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._next_look = self._next_purge = 0.0
        self._given_up: set[int] = set()

    def after_run(self, run_id: int) -> None:
        """Mark the near-duplicates of a run that is done; any other is left alone."""
        if run_id in self._store.unmarked_runs():
            self._mark(run_id)

    def when_idle(self) -> None:
        """Do the next piece of work that is there, one run a call; cheap when called often."""
        moment = self._clock()
        if moment < self._next_look:
            return
        waiting = next((run_id for run_id in self._store.unmarked_runs() if run_id not in self._given_up), None)
        if waiting is not None:
            self._mark(waiting)
        elif moment >= self._next_purge:
            self._next_purge = moment + PURGE_SECONDS
            self.purge()
        else:
            self._next_look = moment + LOOK_SECONDS

    def purge(self) -> list[int]:
        """Remove the runs that were deleted more than 30 days ago; return their ids."""
        expired = self._store.expired_runs(now() - DELETED_KEPT)
        for run_id in expired:
            self._store.purge_run(run_id)
            logger.info("run %d was deleted %d days ago and is removed for good", run_id, DELETED_KEPT.days)
        return expired

    def _mark(self, run_id: int) -> None:
        began = time.monotonic()
        try:
            self._store.mark_families(run_id)
        except StoreError:
            raise
        except PingpanError as error:
            self._given_up.add(run_id)
            logger.warning("near-duplicates of run %d: %s", run_id, error)
        except Exception:
            self._given_up.add(run_id)
            logger.exception("near-duplicates of run %d", run_id)
        else:
            logger.info("run %d: near-duplicates marked in %.1f s", run_id, time.monotonic() - began)
