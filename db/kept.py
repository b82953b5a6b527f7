"""What the store remembers between pages: results that cost a look at every row of a finished run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from sqlalchemy import Connection, func, select

from core.types import Run
from db.models import VerdictRecord

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """The latest `most` results by key; any thread may use it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: K | None) -> bool:
        """Return whether there is a result."""
        with self._lock:
            return key in self._known

    def get(self, key: K | None, make: Callable[[], V]) -> V:
        """Return what is known under a key, else what `make` gives, remembered (under None it is not).

        Two at once may both make it.
        """
        if key is None:
            return make()
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = make()
        with self._lock:
            self._known[key] = found
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return found


@dataclass(frozen=True, slots=True)
class VerdictKey:
    """What changes whenever a run's verdicts do; `finished_at` tells a run that was taken up again from what it was before."""

    run_id: int
    aggregator: str
    decided: int
    finished_at: datetime


def verdict_key(connection: Connection, run: Run) -> VerdictKey | None:
    """Return the key of what a run's verdicts of its aggregator give; None while the run is at work and they may change."""
    if run.finished_at is None:
        return None
    record = VerdictRecord
    query = select(func.count()).where(record.run_id == run.id, record.aggregator == run.aggregator)
    return VerdictKey(run.id, run.aggregator, connection.execute(query).scalar_one(), run.finished_at)
