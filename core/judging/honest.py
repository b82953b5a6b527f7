"""Three models of one dimension, so that a row that stands in the library is judged by one that did not see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.judging.ordinal import OrdinalModel, fit_ordinal

_LEAST = 20


@dataclass(frozen=True, slots=True)
class HonestModel:
    """`full` learned from all examples, `without[h]` from those outside half h (None where too few are left)."""

    full: OrdinalModel
    without: tuple[OrdinalModel | None, OrdinalModel | None]

    @property
    def examples(self) -> int:
        """Return the number of examples."""
        return self.full.examples

    def predict(self, features: NDArray[np.float64], halves: Sequence[int]) -> NDArray[np.float64]:
        """Return probabilities (rows, labels); `halves` says where each row's relatives stand: 0, 1, 2 both, -1 none.

        A row with relatives that no model is without gets the plain shares of the labels.
        """
        result = self.full.predict(features)
        where = np.asarray(halves)
        for half, model in enumerate((*self.without, None)):
            rows = np.flatnonzero(where == half)
            if len(rows):
                result[rows] = self.full.prior if model is None else model.predict(features[rows])
        return result


def fit_honest(features: NDArray[np.float64], labels: NDArray[np.int64], halves: NDArray[np.int64], scale: Sequence[int]) -> HonestModel:
    """Return models of `labels` (rows,) given `features` (rows, width); `halves` (rows,) is 0 or 1."""
    without = []
    for half in (0, 1):
        rows = halves != half
        enough = np.count_nonzero(rows) >= _LEAST and len(np.unique(labels[rows])) > 1
        # Fewer trees: these two only stand in for rows that the library knows already.
        without.append(fit_ordinal(features[rows], labels[rows], scale, trees=60) if enough else None)
    return HonestModel(fit_ordinal(features, labels, scale), (without[0], without[1]))
