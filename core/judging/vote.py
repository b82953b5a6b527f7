"""A judge's own label, made of its probabilities: one rule for every family."""

from __future__ import annotations

from collections.abc import Mapping

from core.types import DimensionKind

# Half of the probability is reached in spite of rounding.
_HALF = 0.5 - 1e-9


def chosen_label(probabilities: Mapping[int, float], kind: DimensionKind) -> int:
    """Return the judge's own vote: the median of ordered labels (least expected absolute error), else the likeliest.

    Of equally likely unordered labels the smallest is taken.
    """
    ordered = sorted(probabilities)
    if kind is DimensionKind.NOMINAL:
        return max(ordered, key=lambda label: probabilities[label])
    reached = 0.0
    for label in ordered:
        reached += probabilities[label]
        if reached >= _HALF:
            return label
    return ordered[-1]
