"""Intervals hold what they should as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.estimates import audit_estimate, mean_with_interval, pooled, proportion
from core.review import AuditSample


def test_wilsons_interval_of_the_textbook() -> None:
    found = proportion(4, 40)
    assert found is not None
    assert (found.value, found.low, found.high) == (0.1, pytest.approx(0.0396, abs=1e-4), pytest.approx(0.2305, abs=1e-4))
    assert proportion(0, 0) is None
    none = proportion(0, 20)
    assert none is not None
    assert none.high > 0.15  # no error seen is not no error


def test_the_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    hits = 0
    for _ in range(200):
        counts = rng.multinomial(120, shares)
        found = mean_with_interval({float(step): int(count) for step, count in enumerate(counts)})
        assert found is not None
        hits += found.low <= shares @ np.arange(4) <= found.high
    assert 180 <= hits <= 200
    assert mean_with_interval({}) is None


def test_an_audit_counts_a_missing_verdict_as_an_error_without_a_distance() -> None:
    sample = AuditSample("fluency", 1_000, 12, {(3, 3): 7, (2, 4): 2, (None, 1): 1})
    found = audit_estimate(sample)
    assert (found.population, found.drawn, found.labelled, found.errors) == (1_000, 12, 10, 3)
    assert found.error_rate is not None
    assert found.error_rate.value == pytest.approx(0.3)
    assert found.mae is not None
    assert found.mae.value == pytest.approx(4 / 9)
    both = pooled([sample, sample])
    assert (both.population, both.pairs[2, 4]) == (2_000, 4)
    empty = audit_estimate(AuditSample("choice", 5, 0, {}))
    assert (empty.error_rate, empty.mae) == (None, None)


@given(st.integers(0, 400), st.integers(1, 400))
def test_a_proportion_lies_in_its_interval_which_narrows_with_more_rows(errors: int, more: int) -> None:
    trials = errors + more
    found, tenfold = proportion(errors, trials), proportion(10 * errors, 10 * trials)
    assert found is not None
    assert tenfold is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert tenfold.high - tenfold.low < found.high - found.low
    mirrored = proportion(trials - errors, trials)
    assert mirrored is not None
    assert (mirrored.low, mirrored.high) == (pytest.approx(1 - found.high), pytest.approx(1 - found.low))


@given(st.dictionaries(st.integers(0, 9).map(float), st.integers(0, 30), max_size=6))
def test_a_mean_lies_in_its_interval_and_within_the_values(values: dict[float, int]) -> None:
    found = mean_with_interval(values)
    kept = {value: count for value, count in values.items() if count}
    assert (found is None) == (not kept)
    if found is not None:
        assert found.value == pytest.approx(sum(value * count for value, count in kept.items()) / sum(kept.values()))
        assert min(kept) - 1e-9 <= found.low <= found.value + 1e-9
        assert found.value - 1e-9 <= found.high <= max(kept) + 1e-9
        assert found == mean_with_interval(dict(reversed(values.items())))
        assert len(kept) > 1 or found.low == found.high == found.value


def test_several_dimensions_together_are_their_rows_together() -> None:
    one = AuditSample("fluency", 100, 9, {(3, 3): 4, (2, 4): 1})
    two = AuditSample("choice", 50, 3, {(3, 3): 1, (None, 1): 2})
    both = pooled([one, two])
    assert both == pooled([two, one])
    assert (both.population, both.drawn, dict(both.pairs)) == (150, 12, {(3, 3): 5, (2, 4): 1, (None, 1): 2})
    assert pooled([]) == AuditSample("", 0, 0, {})
    assert audit_estimate(both).errors == audit_estimate(one).errors + audit_estimate(two).errors == 3
