"""The runs desk: all runs with their counts, two runs side by side, and deleting with a way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from core.desks import CompareQuery, Comparison, RunLine
from core.types import Dimension, Run
from db.store import SqlStore

if TYPE_CHECKING:
    from webapp.services.comparing import Matcher


class RunDesk:
    """Lists, compares and deletes runs."""

    def __init__(self, store: SqlStore, dimensions: Mapping[str, Dimension]) -> None:
        self._store = store
        self._dimensions = dimensions
        self._matcher: Matcher | None = None

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
        from webapp.services.comparing import Matcher, compare

        self._matcher = self._matcher or Matcher(self._store)
        return compare(self._store, self._matcher, self._dimensions, first_id, second_id, query or CompareQuery())
