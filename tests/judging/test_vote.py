"""The label that a judge votes for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(st.dictionaries(st.integers(-5, 9), st.floats(0.001, 1), min_size=1, max_size=6), st.randoms())
def test_a_vote_costs_least_on_an_ordered_scale_and_is_likeliest_on_another(raw: dict[int, float], draw: Any) -> None:
    shares = {label: share / sum(raw.values()) for label, share in raw.items()}
    cost = {label: sum(share * abs(label - other) for other, share in shares.items()) for label in shares}
    mixed = list(shares.items())
    draw.shuffle(mixed)
    for order in (shares, dict(mixed)):
        assert cost[chosen_label(order, DimensionKind.ORDINAL)] == pytest.approx(min(cost.values()))
        likeliest = chosen_label(order, DimensionKind.NOMINAL)
        assert shares[likeliest] == max(shares.values())
        assert likeliest == min(label for label in shares if shares[label] == shares[likeliest])
