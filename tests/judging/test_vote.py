"""The label that a judge votes for."""

from __future__ import annotations

import pytest

from core.judging.vote import chosen_label
from core.types import DimensionKind


@pytest.mark.parametrize(
    ("probabilities", "ordinal", "nominal"),
    [
        ({1: 0.4, 2: 0.15, 3: 0.1, 4: 0.35, 5: 0.0}, 2, 1),
        ({5: 0.34, 4: 0.3, 1: 0.36}, 4, 1),  # in whatever order they come
        ({0: 0.5, 1: 0.5}, 0, 0),
        ({1: 0.2, 2: 0.1 + 0.2, 3: 0.5}, 2, 3),  # half is reached in spite of rounding
    ],
)
def test_ordered_labels_are_voted_by_the_median_and_others_by_the_mode(probabilities: dict[int, float], ordinal: int, nominal: int) -> None:
    assert chosen_label(probabilities, DimensionKind.ORDINAL) == ordinal
    assert chosen_label(probabilities, DimensionKind.NOMINAL) == nominal
    cost = {at: sum(p * abs(at - label) for label, p in probabilities.items()) for at in probabilities}
    assert cost[ordinal] == pytest.approx(min(cost.values()))
