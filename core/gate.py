"""The gate between a candidate and a panel: figures of both judges on the same held-out rows, and whether the gain is real.

The loss of a row is the distance in label steps between the true label and the median of the judge's distribution; on a
nominal dimension it is 1 for another label. A row without an answer gets the constant that costs least on the training
labels, and is counted. `gain` is the old judge's mean loss minus the new one's.

The interval of the gain is a paired bootstrap over near-duplicate families, since rows of a family are no independent
evidence: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13, with whole families as the unit
(Field and Welsh, "Bootstrapping clustered data", JRSS B 69(3), 2007). Two corrections keep it honest where it is small:

- the percentiles are expanded for the number of families (Hesterberg, "What teachers should know about the bootstrap",
  The American Statistician 69(4), 2015, section 5.2);
- two made-up families stand beside the real ones, one for and one against the new judge, each of the size of a mean
  difference. Without them a handful of rows that happen to change the same way would pass for proof (the idea of Agresti
  and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine 24, 2005).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from core import metrics
from core.errors import JobError
from core.judging.aggregation import expectation, median
from core.training import Comparison, GateVerdict, Prediction, Quality
from core.types import Dimension, DimensionKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 4_000
SEED = 15
_CHUNK = 500
# Below these many families nothing can be resampled that would mean something.
FEWEST_FAMILIES = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """Old and new judge on the rows of one dimension; `fallback` is the label of rows without an answer (`constant`)."""

    dimension: Dimension
    old: Sequence[Prediction]
    new: Sequence[Prediction]
    fallback: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A gain with its interval."""

    gain: float
    low: float
    high: float

    @property
    def verdict(self) -> GateVerdict:
        """Return what the interval proves."""
        if self.low > 0:
            return GateVerdict.BETTER
        return GateVerdict.WORSE if self.high < 0 else GateVerdict.UNPROVEN


def constant(labels: Mapping[int, int], dimension: Dimension) -> int:
    """Return the label that costs least on counted labels: their median, on a nominal dimension the most frequent.

    Without labels it is the middle of the scale.
    """
    counted = {label: labels.get(label, 0) for label in dimension.labels}
    total = sum(counted.values())
    if total == 0:
        return sorted(dimension.labels)[len(dimension.labels) // 2]
    shares = {label: count / total for label, count in counted.items()}
    if dimension.kind is DimensionKind.NOMINAL:
        return max(sorted(shares), key=lambda label: shares[label])
    return median(shares)


def answered(prediction: Prediction) -> bool:
    """Return whether a judge gave an answer that can be counted."""
    return prediction.label is not None


def point(prediction: Prediction, dimension: Dimension) -> int | None:
    """Return the label that a prediction is measured by: the median of its distribution, on a nominal dimension its vote."""
    if prediction.label is None or not prediction.probabilities or dimension.kind is DimensionKind.NOMINAL:
        return prediction.label
    return median(prediction.probabilities)


def loss(gold: int, label: int, dimension: Dimension) -> float:
    """Return what a label costs: label steps from the true one, on a nominal dimension 0 or 1."""
    return float(gold != label) if dimension.kind is DimensionKind.NOMINAL else float(abs(gold - label))


def quality(predictions: Sequence[Prediction], dimension: Dimension, fallback: int) -> Quality:
    """Return the figures of a judge on the rows of one dimension; `fallback` is the label of rows without an answer.

    The calibration error is over the answered rows alone. Raises JobError without rows.
    """
    if not predictions:
        raise _no_rows(dimension)
    gold = [prediction.gold for prediction in predictions]
    labels = _labels(predictions, dimension, fallback)
    known = [prediction for prediction in predictions if answered(prediction) and prediction.probabilities]
    mae = sum(loss(true, label, dimension) for true, label in zip(gold, labels, strict=True)) / len(gold)
    return Quality(
        rows=len(gold),
        unanswered=sum(not answered(prediction) for prediction in predictions),
        mae=mae,
        score=1 / (1 + mae),
        kappa=metrics.quadratic_weighted_kappa(gold, labels, dimension.labels),
        calibration_error=metrics.calibration_error([p.gold for p in known], [p.probabilities for p in known]) if known else 0.0,
        accuracy=metrics.accuracy(gold, labels),
    )


def compare(
    pair: Pair, families: Mapping[str, str], *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = SEED
) -> Comparison:
    """Return old against new on one dimension; `families` names the near-duplicate family of each row's hash.

    Deterministic. Raises JobError where the two did not judge the same rows.
    """
    found = _interval(*_by_family([pair], families), confidence, resamples, seed, _span(pair.dimension))
    return _comparison(pair, found, confidence)


def compare_all(
    pairs: Sequence[Pair], families: Mapping[str, str], *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[Comparison, tuple[Comparison, ...]]:
    """Return the overall comparison (dimension "") and that of each dimension.

    Overall is the board's figure: the mean loss over the graded dimensions, each with the same weight, families resampled
    across dimensions together. A nominal dimension must not fall: proven worse there is worse, and a lower accuracy alone
    makes a gain unproven. Without a graded dimension the nominal ones count. Raises JobError like `compare`.
    """
    if not pairs:
        raise JobError("There are no held-out rows to compare on.", zh="没有可用于比较的留出行。")
    each = tuple(compare(pair, families, confidence=confidence, resamples=resamples, seed=seed) for pair in pairs)
    if len(pairs) == 1:
        return replace(each[0], dimension_id=""), each
    graded = [place for place, pair in enumerate(pairs) if pair.dimension.kind is DimensionKind.ORDINAL]
    counted = graded or list(range(len(pairs)))
    together = [pairs[place] for place in counted]
    span = max(_span(pair.dimension) for pair in together)
    found = _interval(*_by_family(together, families), confidence, resamples, seed, span)
    spared = [one for place, one in enumerate(each) if place not in counted]
    return _overall([each[place] for place in counted], spared, found, confidence), each


def _labels(predictions: Sequence[Prediction], dimension: Dimension, fallback: int) -> list[int]:
    found = (point(prediction, dimension) for prediction in predictions)
    return [fallback if label is None else label for label in found]


def _paired_losses(pair: Pair) -> NDArray[np.float64]:
    """Return old minus new loss by row, (rows,)."""
    if [(p.hash, p.gold) for p in pair.old] != [(p.hash, p.gold) for p in pair.new]:
        raise JobError(
            f"{pair.dimension.name('en')}: the two judges were not measured on the same held-out rows; evaluate both on this snapshot.",
            zh=f"{pair.dimension.name('zh')}：两个评委测评的不是同一批留出行；请在该训练集上重新测评两者。",
        )
    if not pair.old:
        raise _no_rows(pair.dimension)
    old, new = (_labels(predictions, pair.dimension, pair.fallback) for predictions in (pair.old, pair.new))
    return np.array(
        [loss(p.gold, a, pair.dimension) - loss(p.gold, b, pair.dimension) for p, a, b in zip(pair.old, old, new, strict=True)], float
    )


def _by_family(pairs: Sequence[Pair], families: Mapping[str, str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return loss differences summed by family and pair, and numbers of rows, each (families, pairs)."""
    names = [[families.get(prediction.hash, prediction.hash) for prediction in pair.old] for pair in pairs]
    places = {name: place for place, name in enumerate(dict.fromkeys(name for column in names for name in column))}
    sums, counts = np.zeros((len(places), len(pairs))), np.zeros((len(places), len(pairs)))
    for column, pair in enumerate(pairs):
        index = [places[name] for name in names[column]]
        np.add.at(sums[:, column], index, _paired_losses(pair))
        np.add.at(counts[:, column], index, 1.0)
    return sums, counts


def _interval(
    sums: NDArray[np.float64], counts: NDArray[np.float64], confidence: float, resamples: int, seed: int, span: float
) -> Interval:
    """Return the mean over dimensions of the mean difference, with its interval (see the module's docstring).

    `sums` and `counts` are (families, dimensions). Where there are too few families the interval is the widest there is.
    """
    from scipy.stats import norm, t

    gain = float((sums.sum(0) / counts.sum(0)).mean())
    families = len(sums)
    if families < FEWEST_FAMILIES:
        return Interval(gain, -span, span)
    size = np.array([np.abs(column[column != 0]).mean() if column.any() else 0.0 for column in sums.T])
    sums = np.concatenate([sums, size[None], -size[None]])
    counts = np.concatenate([counts, np.zeros((2, counts.shape[1]))])
    rng, draws = np.random.default_rng(seed), []
    for start in range(0, resamples, _CHUNK):
        weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=min(_CHUNK, resamples - start)).astype(float)
        draws.append(((weights @ sums) / np.maximum(weights @ counts, 1.0)).mean(1))
    outside = float(norm.cdf(np.sqrt(families / (families - 1)) * t.ppf((1 - confidence) / 2, families - 1)))
    low, high = np.quantile(np.concatenate(draws), [outside, 1 - outside])
    return Interval(gain, float(low), float(high))


def _comparison(pair: Pair, found: Interval, confidence: float) -> Comparison:
    drift, shift = moved(pair.old, pair.new)
    return Comparison(
        dimension_id=pair.dimension.id,
        old=quality(pair.old, pair.dimension, pair.fallback),
        new=quality(pair.new, pair.dimension, pair.fallback),
        gain=found.gain,
        low=found.low,
        high=found.high,
        confidence=confidence,
        drift=drift,
        shift=shift,
        verdict=found.verdict,
    )


def moved(old: Sequence[Prediction], new: Sequence[Prediction]) -> tuple[float, float]:
    """Return the mean absolute differences of label probabilities and of expected scores, over rows that both answered.

    The first is over every label of every row, the second in label steps; (0, 0) where no row was answered by both.
    """
    both = [(a.probabilities, b.probabilities) for a, b in zip(old, new, strict=True) if a.probabilities and b.probabilities]
    if not both:
        return 0.0, 0.0
    gaps = [abs(a.get(label, 0.0) - b.get(label, 0.0)) for a, b in both for label in a.keys() | b.keys()]
    return float(np.mean(gaps)), float(np.mean([abs(expectation(a) - expectation(b)) for a, b in both]))


def _overall(counted: Sequence[Comparison], spared: Sequence[Comparison], found: Interval, confidence: float) -> Comparison:
    verdict = found.verdict
    if any(one.verdict is GateVerdict.WORSE for one in spared):
        verdict = GateVerdict.WORSE
    elif verdict is GateVerdict.BETTER and any(one.gain < 0 for one in spared):
        verdict = GateVerdict.UNPROVEN
    return Comparison(
        dimension_id="",
        old=_mean_quality([one.old for one in counted]),
        new=_mean_quality([one.new for one in counted]),
        gain=found.gain,
        low=found.low,
        high=found.high,
        confidence=confidence,
        drift=float(np.mean([one.drift for one in counted])),
        shift=float(np.mean([one.shift for one in counted])),
        verdict=verdict,
    )


def overall_quality(found: Sequence[tuple[Dimension, Quality]]) -> Quality:
    """Return the figures over the graded dimensions (the nominal ones where there are no others), each with the same weight."""
    graded = [one for dimension, one in found if dimension.kind is DimensionKind.ORDINAL]
    return _mean_quality(graded or [one for _, one in found])


def _mean_quality(qualities: Sequence[Quality]) -> Quality:
    """Return the figures with equal weight for every dimension; rows are summed."""
    mae = float(np.mean([one.mae for one in qualities]))
    return Quality(
        rows=sum(one.rows for one in qualities),
        unanswered=sum(one.unanswered for one in qualities),
        mae=mae,
        score=1 / (1 + mae),
        kappa=float(np.mean([one.kappa for one in qualities])),
        calibration_error=float(np.mean([one.calibration_error for one in qualities])),
        accuracy=float(np.mean([one.accuracy for one in qualities])),
    )


def _span(dimension: Dimension) -> float:
    return 1.0 if dimension.kind is DimensionKind.NOMINAL else float(max(dimension.labels) - min(dimension.labels))


def _no_rows(dimension: Dimension) -> JobError:
    return JobError(
        f"{dimension.name('en')}: the snapshot has no held-out rows; freeze one that holds rows of this dimension out.",
        zh=f"{dimension.name('zh')}：训练集中没有留出行；请生成包含该维度留出行的训练集。",
    )
