"""The agreement desk: judges, the verdict and people against each other."""

from __future__ import annotations

from collections.abc import Mapping

from core.review import Agreement
from core.types import Dimension
from db.store import SqlStore


class AgreementDesk:
    """Tables of agreement of a run, made of counts that the database groups."""

    def __init__(self, store: SqlStore, dimensions: Mapping[str, Dimension]) -> None:
        self._store = store
        self._dimensions = dimensions

    def agreement(self, run_id: int, *, blind_only: bool = True, dimension_id: str = "") -> Agreement:
        """Return every pair's figures and confusion matrix, the groups' alpha and AC2, and everyone's distribution.

        Of people only labels that were given blind count, unless `blind_only` is off. Every cell and bar names the query
        that opens its rows (`PairAgreement.cell`, `Distribution.query`). Raises NotFound.
        """
        from core.agreement import tables

        counts = self._store.vote_counts(run_id, blind_only=blind_only)
        wanted = {key: dimension for key, dimension in self._dimensions.items() if dimension_id in {"", key}}
        return tables(counts, wanted)
