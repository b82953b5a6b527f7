"""What the gate says of any two judges: its interval against a bootstrap written out, and what must not change its mind."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t

from core import gate
from core.errors import JobError
from core.gate import FEWEST_FAMILIES, Interval, Pair, compare, compare_all, constant, quality
from core.training import GateVerdict, Prediction
from core.types import Dimension
from tests.core.test_gate import CHOICE, FLUENCY, NORMS, pair, said

FEW = {"resamples": 200}
SHARES = st.lists(st.floats(0, 1), min_size=5, max_size=5).map(lambda found: [value + 1e-3 for value in found])


@st.composite
def predictions(draw: st.DrawFn, most: int = 30) -> tuple[list[Prediction], list[Prediction], dict[str, str]]:
    """Two judges on the same rows of fluency, some unanswered, and the rows' families."""
    old, new, families = [], [], {}
    for number in range(draw(st.integers(1, most))):
        gold, name = draw(st.integers(1, 5)), f"r{number}"
        for side in (old, new):
            label = draw(st.none() | st.integers(1, 5))
            side.append(said(name, gold, label))
        families[old[-1].hash] = draw(st.sampled_from("abcdefghij"))
    return old, new, families


def mean_loss(found: Sequence[Prediction], fallback: int) -> float:
    return sum(abs(one.gold - (fallback if one.label is None else one.label)) for one in found) / len(found)


@settings(max_examples=12)
@given(made=predictions(), fallback=st.integers(1, 5), seed=st.integers(0, 9))
def test_a_gain_is_the_difference_of_mean_losses_whatever_the_order_of_rows_and_the_names_of_families(
    made: tuple[list[Prediction], list[Prediction], dict[str, str]], fallback: int, seed: int
) -> None:
    old, new, families = made
    found = compare(Pair(FLUENCY, old, new, fallback), families, **FEW)
    assert found.gain == pytest.approx(mean_loss(old, fallback) - mean_loss(new, fallback), abs=1e-9)
    assert found.old.unanswered == sum(one.label is None for one in old)
    assert found.old.mae == pytest.approx(mean_loss(old, fallback))
    order = random.Random(seed).sample(range(len(old)), len(old))
    turned = compare(Pair(FLUENCY, [old[n] for n in order], [new[n] for n in order], fallback), families, **FEW)
    for one, other in ((turned.old, found.old), (turned.new, found.new)):
        assert one.mae == pytest.approx(other.mae)
        assert one.kappa == pytest.approx(other.kappa)
        assert one.calibration_error == pytest.approx(other.calibration_error)
    renamed = {name: f"family of {family}" for name, family in families.items()}
    assert compare(Pair(FLUENCY, old, new, fallback), renamed, **FEW) == found
    if len(set(families.values())) < FEWEST_FAMILIES:
        assert (found.low, found.high, found.verdict) == (-4, 4, GateVerdict.UNPROVEN)
    else:
        assert -4 <= found.low <= found.high <= 4


def by_hand(differences: Mapping[str, Sequence[float]], confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    """Return the interval by drawing families one after the other, two made-up ones among them."""
    sums = [sum(rows) for rows in differences.values()]
    changed = [abs(value) for value in sums if value]
    size = sum(changed) / len(changed) if changed else 0.0
    drawn = [(sum(rows), len(rows)) for rows in differences.values()] + [(size, 0), (-size, 0)]
    chance, found = random.Random(seed), []
    for _ in range(resamples):
        sample = chance.choices(drawn, k=len(drawn))
        found.append(sum(value for value, _ in sample) / max(1, sum(rows for _, rows in sample)))
    families = len(sums)
    outside = norm.cdf(np.sqrt(families / (families - 1)) * t.ppf((1 - confidence) / 2, families - 1))
    low, high = np.quantile(found, [outside, 1 - outside])
    return float(low), float(high)


@pytest.mark.parametrize(("families", "confidence"), [(12, 0.95), (40, 0.95), (40, 0.8)])
def test_the_interval_is_that_of_a_bootstrap_by_hand(families: int, confidence: float) -> None:
    chance = random.Random(families)
    old, new, named = [], [], {}
    differences: dict[str, list[float]] = {}
    for family in range(families):
        for row in range(chance.choice((1, 1, 2, 4))):
            name = f"{family}.{row}"
            before, after = chance.choice((1, 2, 3, 4)), chance.choice((2, 3, 3, 4))
            old.append(said(name, 3, before))
            new.append(said(name, 3, after))
            named[old[-1].hash] = str(family)
            differences.setdefault(str(family), []).append(abs(before - 3) - abs(after - 3))
    found = compare(Pair(FLUENCY, old, new, 3), named, confidence=confidence)
    low, high = by_hand(differences, confidence, 3000, 1)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.07 * width)
    assert found.high == pytest.approx(high, abs=0.07 * width)
    assert found.confidence == confidence


def test_more_confidence_and_fewer_rows_prove_less() -> None:
    whole = pair(160, 0.5, 0.35, seed=11)
    widths = [found.high - found.low for found in (compare(whole, {}, confidence=level) for level in (0.5, 0.8, 0.95, 0.99))]
    assert widths == sorted(widths)
    part = replace(whole, old=whole.old[:40], new=whole.new[:40])
    assert compare(part, {}).high - compare(part, {}).low > widths[2]


@settings(max_examples=25)
@given(low=st.floats(-4, 4), high=st.floats(-4, 4))
def test_a_verdict_needs_an_interval_that_leaves_zero_out(low: float, high: float) -> None:
    assume(low <= high)
    verdict = Interval((low + high) / 2, low, high).verdict
    assert (verdict is GateVerdict.UNPROVEN) is (low <= 0 <= high)
    assert verdict is not GateVerdict.BETTER or low > 0
    assert verdict is not GateVerdict.WORSE or high < 0


@settings(max_examples=25)
@given(labels=st.dictionaries(st.integers(-1, 6), st.integers(0, 9)), dimension=st.sampled_from((FLUENCY, CHOICE)))
def test_no_other_constant_costs_less_than_the_one_for_unanswered_rows(labels: dict[int, int], dimension: Dimension) -> None:
    found = constant(labels, dimension)
    assert found in dimension.labels
    costs = {
        label: sum(count * gate.loss(gold, label, dimension) for gold, count in labels.items() if gold in dimension.labels)
        for label in dimension.labels
    }
    assert costs[found] == min(costs.values())


@settings(max_examples=20)
@given(rows=st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=5), silent=st.booleans())
def test_drift_is_the_same_both_ways_and_nothing_where_nothing_moved(rows: list[tuple[list[float], list[float]]], silent: bool) -> None:
    sides: list[list[Prediction]] = [[], []]
    for number, shares in enumerate(rows):
        for side, raw in zip(sides, shares, strict=True):
            side.append(Prediction(str(number), "fluency", 3, 3, {label: p / sum(raw) for label, p in enumerate(raw, 1)}))
    old, new = sides
    matrix = [np.array([[one.probabilities[label] for label in range(1, 6)] for one in side]) for side in sides]
    wanted = float(np.abs(matrix[0] - matrix[1]).mean()), float(np.abs((matrix[0] - matrix[1]) @ np.arange(1, 6)).mean())
    if silent:  # rows that one of them did not answer say nothing of a move
        old, new = [said("x", 1, None), *old], [said("x", 1, 5), *new]
    assert gate.moved(old, new) == pytest.approx(wanted)
    assert gate.moved(new, old) == pytest.approx(wanted)
    assert gate.moved(old, old) == (0.0, 0.0)
    assert gate.moved([said("x", 1, None)], [said("x", 1, 5)]) == (0.0, 0.0)


def test_the_overall_verdict_does_not_depend_on_the_order_of_dimensions() -> None:
    pairs = [pair(80, 0.6, 0.3), pair(60, 0.5, 0.3, NORMS, seed=4), pair(40, 0.3, 0.3, CHOICE, seed=8)]
    overall, each = compare_all(pairs, {}, **FEW)
    turned, others = compare_all(pairs[::-1], {}, **FEW)
    assert turned.gain == pytest.approx(overall.gain)
    assert turned.old == overall.old
    assert [one.dimension_id for one in others] == ["choice", "normativity", "fluency"]
    assert overall.old.rows == sum(one.old.rows for one in each[:2])
    (alone,) = compare_all(pairs[2:], {}, **FEW)[1]
    assert compare_all(pairs[2:], {}, **FEW)[0] == replace(alone, dimension_id="")
    nominal = [pair(40, 0.3, 0.2, replace(CHOICE, id=name), seed=8) for name in ("a", "b")]
    both, parts = compare_all(nominal, {}, **FEW)
    assert both.gain == pytest.approx(sum(one.gain for one in parts) / 2)


def test_families_that_reach_over_dimensions_are_resampled_together() -> None:
    one, two = pair(60, 0.6, 0.35), pair(60, 0.6, 0.35, NORMS)
    shared = {p.hash: str(n) for side in (one.old, two.old) for n, p in enumerate(side)}
    together, apart = compare_all([one, two], shared)[0], compare_all([one, two], {})[0]
    assert together.gain == apart.gain
    assert together.high - together.low > 1.15 * (apart.high - apart.low)  # the same rows twice are no more evidence


@settings(max_examples=25)
@given(golds=st.lists(st.integers(1, 5), min_size=1, max_size=20), fallback=st.integers(1, 5))
def test_a_judge_that_says_nothing_is_the_constant(golds: list[int], fallback: int) -> None:
    found = quality([said(str(n), gold, None) for n, gold in enumerate(golds)], FLUENCY, fallback)
    assert found.unanswered == found.rows == len(golds)
    assert found.mae == pytest.approx(sum(abs(gold - fallback) for gold in golds) / len(golds))
    assert (found.kappa, found.calibration_error) == (0.0, 0.0)
    assert found.accuracy == pytest.approx(Counter(golds)[fallback] / len(golds))


def test_what_cannot_be_compared_is_told_in_both_languages() -> None:
    made = pair(30, 0.5, 0.2)
    for wrong in (
        replace(made, new=[]),
        replace(made, new=[replace(made.new[0], gold=9), *made.new[1:]]),
        replace(made, new=made.new[::-1]),
    ):
        with pytest.raises(JobError, match="Fluency: the two judges were not measured on the same") as caught:
            compare(wrong, {})
        assert "流畅性" in caught.value.messages["zh"]
    with pytest.raises(JobError, match="no held-out rows to compare on") as caught:
        compare_all([], {})
    assert "留出行" in caught.value.messages["zh"]
    with pytest.raises(JobError, match="the snapshot has no held-out rows"):
        compare(replace(made, old=[], new=[]), {})
