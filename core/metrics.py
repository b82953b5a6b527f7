"""Figures of agreement and quality between true and predicted labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mean_absolute_error(true: Sequence[int], predicted: Sequence[float]) -> float:
    """Return the mean absolute error in label steps."""
    return float(np.abs(np.asarray(true, float) - np.asarray(predicted, float)).mean())


def score(true: Sequence[int], predicted: Sequence[float]) -> float:
    """Return 1 / (1 + MAE), the figure that competition boards show."""
    return 1.0 / (1.0 + mean_absolute_error(true, predicted))


def quadratic_weighted_kappa(true: Sequence[int], predicted: Sequence[int], labels: Sequence[int]) -> float:
    """Return Cohen's kappa with squared distances between label values as weights; 0.0 where one side is constant.

    Source: Cohen, "Weighted kappa", Psychological Bulletin 70(4), 1968.
    """
    from sklearn.metrics import cohen_kappa_score

    if len(set(true)) < 2 or len(set(predicted)) < 2:
        return 0.0
    return float(cohen_kappa_score(true, predicted, labels=list(even_scale(labels)), weights="quadratic"))


def even_scale(labels: Sequence[int]) -> range:
    """Return the evenly spaced scale on which rising labels stand: weights by place are then weights by value."""
    return range(labels[0], labels[-1] + 1, math.gcd(*np.diff(labels).tolist()) or 1)


def accuracy(true: Sequence[int], predicted: Sequence[int]) -> float:
    """Return the share of equal labels."""
    return float((np.asarray(true) == np.asarray(predicted)).mean())


def log_loss(true: Sequence[int], distributions: Sequence[Mapping[int, float]]) -> float:
    """Return the mean negative natural logarithm of the probability of the true label, floored at 1e-12."""
    chosen = np.array([dist[label] for label, dist in zip(true, distributions, strict=True)], float)
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def calibration_error(true: Sequence[int], distributions: Sequence[Mapping[int, float]], bins: int = 10) -> float:
    """Return the expected calibration error: the mean gap of confidence and accuracy over equal-width bins.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    best = [max(sorted(dist), key=lambda label, dist=dist: dist[label]) for dist in distributions]  # type: ignore[misc]
    confidence: NDArray[np.float64] = np.array([dist[label] for dist, label in zip(distributions, best, strict=True)], float)
    correct = np.array([label == truth for label, truth in zip(best, true, strict=True)], float)
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[which == b].sum() - correct[which == b].sum()) for b in range(bins)]
    return float(sum(gaps) / len(correct))
