"""The runs desk: all runs with their counts, two runs side by side, and deleting with a way back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from core.desks import CompareQuery, Comparison, RunLine
from core.errors import PingpanError
from core.types import Dimension, Run
from db.store import SqlStore

if TYPE_CHECKING:
    from webapp.services.comparing import Matcher

logger = logging.getLogger(__name__)

# Two runs with so many rows in all are read and matched in a tenth of a second.
COMPARED_AT_ONCE = 10_000
_Pair: TypeAlias = tuple[int, datetime | None, int, datetime | None]


class RunDesk:
    """Lists, compares and deletes runs."""

    def __init__(self, store: SqlStore, dimensions: Mapping[str, Dimension]) -> None:
        self._store = store
        self._dimensions = dimensions
        self._lock = threading.Lock()
        self._reading: dict[_Pair, threading.Thread] = {}

    @cached_property
    def _matcher(self) -> Matcher:
        from webapp.services.comparing import Matcher

        return Matcher(self._store)

    def lines(self, limit: int = 50, offset: int = 0, *, deleted: bool = False) -> Sequence[RunLine]:
        """Return runs, newest first, with what stands of each; `deleted` lists those that were deleted instead."""
        return self._store.run_lines(limit, offset, deleted=deleted)

    def total(self, *, deleted: bool = False) -> int:
        """Return how many runs there are."""
        return self._store.run_total(deleted=deleted)

    def line(self, run_id: int) -> RunLine:
        """Return one run with what stands of it, deleted or not. Raises NotFound."""
        return self._store.run_line(run_id)

    def delete(self, run_id: int) -> Run:
        """Take a run out of every list and stop it; its data stays, and `restore` brings it back. Raises NotFound."""
        return self._store.delete_run(run_id)

    def restore(self, run_id: int) -> Run:
        """Bring a deleted run back, stopped where it had not ended. Raises NotFound."""
        return self._store.restore_run(run_id)

    def compare(self, first_id: int, second_id: int, query: CompareQuery | None = None) -> Comparison:
        """Return two runs row by row, with counts and one page of rows. Raises NotFound."""
        from webapp.services.comparing import compare

        return compare(self._store, self._matcher, self._dimensions, first_id, second_id, query or CompareQuery())

    def at_hand(self, first_id: int, second_id: int) -> bool:
        """Return whether two runs can be compared at once; where not, begin to read them, so that they soon can.

        Rows of long runs are read and matched once (seconds at 100,000 of them), beside the page. Raises NotFound.
        """
        first, second = self._store.run(first_id), self._store.run(second_id)
        if first.items + second.items <= COMPARED_AT_ONCE or self._known(first, second):
            return True
        pair = (first_id, first.finished_at, second_id, second.finished_at)
        with self._lock:
            reading = self._reading.get(pair)
            if reading is None:
                self._reading[pair] = reading = threading.Thread(target=self._read, args=(first_id, second_id), name="compare", daemon=True)
                reading.start()
            # What was read and is not known failed, or its runs are still at work: the page compares them itself, and says what is wrong.
            return not reading.is_alive()

    def _known(self, first: Run, second: Run) -> bool:
        return self._store.columns_at_hand(first, second) and self._matcher.knows(first.sheet_id, second.sheet_id)

    def _read(self, first_id: int, second_id: int) -> None:
        try:
            self.compare(first_id, second_id, CompareQuery(page_size=1))
        except PingpanError as error:
            logger.warning("runs %d and %d: %s", first_id, second_id, error)
        except Exception:
            logger.exception("runs %d and %d", first_id, second_id)
