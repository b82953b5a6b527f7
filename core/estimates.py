"""Estimates with intervals: error rates and mean absolute errors from small samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.review import AuditEstimate, AuditSample, Interval

RESAMPLES = 2_000
CONFIDENCE = 0.95
_SEED = 15


def proportion(errors: int, trials: int) -> Interval | None:
    """Return a proportion with its 95% Wilson score interval, None without trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    from scipy.stats import binomtest

    if trials == 0:
        return None
    found = binomtest(errors, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(errors / trials, float(found.low), float(found.high))


def mean_with_interval(values: Mapping[float, int]) -> Interval | None:
    """Return the mean of counted values with its 95% percentile bootstrap interval; None without values.

    Resampling counted values is one multinomial draw a resample (Efron, "Bootstrap methods", Annals of Statistics 7(1),
    1979). Deterministic. One value alone, or equal values, have an interval of no width.
    """
    import numpy as np

    kept = {value: count for value, count in values.items() if count > 0}
    total = sum(kept.values())
    if total == 0:
        return None
    levels = np.array(sorted(kept), dtype=np.float64)
    counts = np.array([kept[value] for value in sorted(kept)], dtype=np.float64)
    draws = np.random.default_rng(_SEED).multinomial(total, counts / total, size=RESAMPLES)
    low, high = np.quantile(draws @ levels / total, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(levels @ counts / total), float(low), float(high))


def absolute_errors(pairs: Mapping[tuple[int | None, int], int]) -> dict[float, int]:
    """Return how often each absolute difference occurs among counted (label, truth) pairs; pairs without a label do not count."""
    found: dict[float, int] = {}
    for (label, truth), count in pairs.items():
        if label is not None:
            found[float(abs(label - truth))] = found.get(float(abs(label - truth)), 0) + count
    return found


def audit_estimate(sample: AuditSample) -> AuditEstimate:
    """Return how wrong the verdicts of a dimension are (see AuditEstimate)."""
    labelled = sum(sample.pairs.values())
    errors = sum(count for (label, truth), count in sample.pairs.items() if label != truth)
    mae = mean_with_interval(absolute_errors(sample.pairs))
    return AuditEstimate(sample.dimension_id, sample.population, sample.drawn, labelled, errors, proportion(errors, labelled), mae)


def pooled(samples: Sequence[AuditSample]) -> AuditSample:
    """Return the samples of several dimensions as one."""
    pairs: dict[tuple[int | None, int], int] = {}
    for sample in samples:
        for pair, count in sample.pairs.items():
            pairs[pair] = pairs.get(pair, 0) + count
    return AuditSample("", sum(sample.population for sample in samples), sum(sample.drawn for sample in samples), pairs)
