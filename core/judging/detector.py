"""A linear detector of faulty places: the sum of one learned weight per feature, all features small integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.judging.text_arrays import (
    CLAUSE_ENDS,
    FUNCTION_WORDS,
    IT,
    ORDINARY,
    PRONOUNS,
    TextArrays,
    ahead,
    char_classes,
)

_STEPS = 8.0
_LIMIT = 10 * int(_STEPS)
_THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6)


@dataclass(frozen=True, slots=True)
class Detector:
    """Weights (buckets,) float32, an intercept, and the log odds that the training sample was shifted by."""

    weights: NDArray[np.float32]
    intercept: float

    def logits(self, features: list[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Return the log odds of a fault at each place; `features` are arrays of bucket numbers, one a feature."""
        total = np.full(len(features[0]), self.intercept, dtype=np.float32)
        for feature in features:
            total += self.weights[feature]
        return total


def fit_detector(
    features: list[NDArray[np.int32]], faulty: NDArray[np.bool_], width: int, *, strength: float, rounds: int, sample: int, seed: int
) -> Detector:
    """Return a detector learned from places (n,) that are `faulty` or not; `width` is the number of buckets.

    At most `sample` places are used, at most two thirds of them sound; the intercept is corrected for that
    (King and Zeng, "Logistic regression in rare events data", 2001).
    """
    import warnings

    from scipy.sparse import csr_matrix
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    bad, good = np.flatnonzero(faulty), np.flatnonzero(~faulty)
    bad_used = rng.permutation(bad)[: sample // 3]
    good_used = rng.permutation(good)[: sample - len(bad_used)]
    chosen = np.sort(np.concatenate([bad_used, good_used]))
    columns = np.stack([feature[chosen] for feature in features], axis=1)
    shape = (len(chosen), width)
    matrix = csr_matrix((np.ones(columns.size, np.float32), columns.ravel(), np.arange(0, columns.size + 1, columns.shape[1])), shape=shape)
    model = LogisticRegression(C=strength, max_iter=rounds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is a part of the regularisation
        model.fit(matrix, faulty[chosen])
    shift = np.log(len(bad) / len(good)) - np.log(len(bad_used) / len(good_used))
    return Detector(model.coef_[0].astype(np.float32), float(model.intercept_[0] + shift))


@dataclass(frozen=True, slots=True)
class TwoDetectors:
    """Detectors that learned from one half of the library each; `without[h]` did not see half h."""

    without: tuple[Detector, Detector]

    def logits(self, features: list[NDArray[np.int32]], doc: NDArray[np.int64], halves: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return log odds at each place; a text whose relatives stand in half h (`halves`) is read by `without[h]` alone."""
        first, second = (detector.logits(features) for detector in self.without)
        where = halves[doc]
        mean = (first + second) * np.float32(0.5)
        return np.where(where == 0, first, np.where(where == 1, second, mean))


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities by a table of steps of 1/8, so that the same logit gives the same bits in any batch."""
    step = np.clip(np.rint(logits * _STEPS), -_LIMIT, _LIMIT).astype(np.int64)
    table = 1.0 / (1.0 + np.exp(-np.arange(-_LIMIT, _LIMIT + 1) / _STEPS))
    return np.asarray(table[step + _LIMIT], dtype=np.float64)


def fault_profile(arrays: TextArrays, chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a text's fault chances come to, per 100 characters, shape (texts, width), on a logarithmic scale.

    In all above several thresholds, then by where they stand: on pronouns, after them, at clause ends, on particles,
    elsewhere.
    """
    classes = char_classes(arrays.codes)
    pronoun = np.isin(classes, PRONOUNS)
    places = (
        pronoun,
        classes == IT,
        np.asarray(ahead(pronoun, -1)),
        np.isin(classes, CLAUSE_ENDS),
        np.isin(classes, FUNCTION_WORDS),
        classes == ORDINARY,
    )
    columns = [_per_hundred(arrays, np.where(chance > limit, chance, 0.0)) for limit in _THRESHOLDS]
    for place in places:
        columns.append(_per_hundred(arrays, np.where(place & (chance > 0.05), chance, 0.0)))
        columns.append(_per_hundred(arrays, np.where(place & (chance > 0.2), 1.0, 0.0)))
    return np.log1p(3.0 * np.stack(columns, axis=1))


def _per_hundred(arrays: TextArrays, values: NDArray[np.float64]) -> NDArray[np.float64]:
    real = arrays.real
    sums = np.bincount(arrays.doc[real], weights=values[real], minlength=len(arrays.lengths))
    return np.asarray(100.0 * sums / np.maximum(arrays.lengths, 1), dtype=np.float64)
