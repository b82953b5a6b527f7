"""A linear detector of faulty places: the sum of one learned weight per feature, all features small integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.cores import one_core
from core.judging.text_arrays import (
    CLAUSE_ENDS,
    FUNCTION_WORDS,
    IT,
    ORDINARY,
    PRONOUNS,
    TextArrays,
    char_classes,
)

_STEPS = 8.0
_LIMIT = 10 * int(_STEPS)
_LEAST = 0.05
_LEAST_SEEN = 3
_UNKNOWN = -4.0
_THRESHOLDS = (0.05, 0.1, 0.2, 0.4, 0.6)


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
    (King and Zeng, "Logistic regression in rare events data", 2001). Where nothing is faulty, as in a library of very
    short texts, the detector finds every place equally sound.
    """
    import warnings

    from scipy.sparse import csr_matrix
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    bad, good = np.flatnonzero(faulty), np.flatnonzero(~faulty)
    if not len(bad) or not len(good):
        return Detector(np.zeros(width, dtype=np.float32), _UNKNOWN)
    bad_used = rng.permutation(bad)[: sample // 3]
    good_used = rng.permutation(good)[: sample - len(bad_used)]
    chosen = np.sort(np.concatenate([bad_used, good_used]))
    columns = np.stack([feature[chosen] for feature in features], axis=1)
    # Buckets that hardly occur would slow the solver down and say nothing that holds elsewhere.
    used = np.bincount(columns.ravel(), minlength=width) >= _LEAST_SEEN
    ones = used[columns].astype(np.float32).ravel()
    narrow = np.maximum(np.cumsum(used) - 1, 0).astype(np.int32)[columns].ravel()
    pointers = np.arange(0, columns.size + 1, columns.shape[1])
    matrix = csr_matrix((ones, narrow, pointers), shape=(len(chosen), int(used.sum())))
    model = LogisticRegression(C=strength, max_iter=rounds)
    with warnings.catch_warnings(), one_core():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is a part of the regularisation
        model.fit(matrix, faulty[chosen])
    shift = np.log(len(bad) / len(good)) - np.log(len(bad_used) / len(good_used))
    weights = np.zeros(width, dtype=np.float32)
    weights[used] = model.coef_[0]
    return Detector(weights, float(model.intercept_[0] + shift))


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
    suspect = np.flatnonzero((chance > _LEAST) & arrays.real)
    classes, before = char_classes(arrays.codes[suspect]), char_classes(arrays.codes[suspect - 1])
    here, doc = chance[suspect], arrays.doc[suspect]
    places = (
        np.isin(classes, PRONOUNS),
        classes == IT,
        np.isin(before, PRONOUNS),
        np.isin(classes, CLAUSE_ENDS),
        np.isin(classes, FUNCTION_WORDS),
        classes == ORDINARY,
    )
    length = np.maximum(arrays.lengths, 1)

    def total(doc: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(100.0 * np.bincount(doc, weights=values, minlength=len(length)) / length, dtype=np.float64)

    columns = [total(arrays.doc[arrays.real], chance[arrays.real])]
    columns += [total(doc, np.where(here > limit, here, 0.0)) for limit in _THRESHOLDS]
    for place in places:
        columns.append(total(doc, np.where(place, here, 0.0)))
        columns.append(total(doc, np.where(place & (here > 0.2), 1.0, 0.0)))
    return np.log1p(3.0 * np.stack(columns, axis=1))


def highest(chance: NDArray[np.float64], least: float, number: int) -> list[int]:
    """Return the places of the highest chances, at most `number` and none below `least`, in order of place."""
    places = np.flatnonzero(chance >= least)
    order = np.argsort(-chance[places], kind="stable")[:number]
    return sorted(places[order].tolist())
