"""A small model of ordered labels: cumulative logistic regressions averaged with extremely randomised trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.cores import one_core

_CLIP = 4.0
_PRIOR_WEIGHT = 10.0
_FLOOR = 2e-3


@dataclass(frozen=True, slots=True)
class OrdinalModel:
    """A fitted model; `labels` are ascending and every row of `predict` has one probability for each of them.

    `weights` is (labels - 1, features + 1), the last column the intercepts, over standardised features.
    `forest` is None when the examples are too few for trees.
    """

    labels: tuple[int, ...]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    forest: Any
    prior: NDArray[np.float64]
    examples: int

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities, shape (rows, labels); a row's answer is bit-equal whatever rows stand beside it."""
        result = self._linear(features)
        if self.forest is not None:
            result = 0.5 * (result + self._trees(features))
        result = (self.examples * result + _PRIOR_WEIGHT * self.prior) / (self.examples + _PRIOR_WEIGHT)
        result = np.maximum(result, _FLOOR)
        return np.asarray(result / result.sum(axis=1, keepdims=True), dtype=np.float64)

    def _linear(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = np.clip((features - self.centre) / self.scale, -_CLIP, _CLIP)
        # A sum over the last axis adds in the same order for any number of rows; a BLAS product need not.
        logits = (scaled[:, None, :] * self.weights[None, :, :-1]).sum(axis=2) + self.weights[:, -1]
        above = 1.0 / (1.0 + np.exp(-logits))
        above = np.minimum.accumulate(above, axis=1)
        ones, zeros = np.ones((len(above), 1)), np.zeros((len(above), 1))
        edges = np.concatenate([ones, above, zeros], axis=1)
        return np.asarray(edges[:, :-1] - edges[:, 1:], dtype=np.float64)

    def _trees(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        result = np.zeros((len(features), len(self.labels)))
        columns = [self.labels.index(int(label)) for label in self.forest.classes_]
        result[:, columns] = forest_shares(self.forest, features)
        return result


def forest_shares(forest: Any, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the forest's `predict_proba`, shape (rows, classes), bit for bit.

    It adds up the same in the same order, but does not spend ten times as long on preparing each tree for a few rows.
    """
    rows = features.astype(np.float32)
    total = np.zeros((len(rows), len(forest.classes_)))
    for tree in forest.estimators_:
        total += tree.tree_.predict(rows)[:, : total.shape[1]]
    return total / len(forest.estimators_)


def fit_ordinal(
    features: NDArray[np.float64], labels: NDArray[np.int64], scale: Sequence[int], *, trees: int = 150, strength: float = 0.03
) -> OrdinalModel:
    """Return a model of `labels` (rows,) given `features` (rows, width); `scale` is the dimension's labels.

    `strength` is the inverse ridge penalty of each cumulative logistic regression ("ordinal regression by reduction
    to binary", Frank and Hall, ECML 2001); trees are Geurts et al., "Extremely randomized trees", 2006. Halving
    them lowers the ranked probability score below that of either. Needs at least two different labels.
    """
    ordered = tuple(sorted(scale))
    counts = np.array([np.count_nonzero(labels == label) for label in ordered], dtype=np.float64)
    prior = (counts + 0.5) / (counts + 0.5).sum()
    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    scaled = np.clip((features - centre) / spread, -_CLIP, _CLIP)
    weights = np.array([_threshold(scaled, labels > label, strength) for label in ordered[:-1]])
    forest = _fit_trees(features, labels, trees) if len(labels) >= 60 else None
    return OrdinalModel(ordered, centre, spread, weights, forest, prior, len(labels))


def _threshold(scaled: NDArray[np.float64], above: NDArray[np.bool_], strength: float) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression

    share = (np.count_nonzero(above) + 0.25) / (len(above) + 0.5)
    if above.all() or not above.any():
        return np.append(np.zeros(scaled.shape[1]), np.log(share / (1 - share)))
    with one_core():
        model = LogisticRegression(C=strength, max_iter=500).fit(scaled, above)
    return np.append(model.coef_[0], model.intercept_[0])


def _fit_trees(features: NDArray[np.float64], labels: NDArray[np.int64], trees: int) -> object:
    from sklearn.ensemble import ExtraTreesClassifier

    leaf = int(np.clip(len(labels) // 100, 3, 8))
    # One thread: sums over trees then run in one order, and waiting for threads would take longer than growing the trees.
    model = ExtraTreesClassifier(trees, min_samples_leaf=leaf, max_features=0.5, random_state=0)
    return model.fit(features, labels)
