"""The figures agree with cases worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import metrics


def test_error_and_board_score() -> None:
    assert metrics.mean_absolute_error([1, 2, 3, 4], [1, 3, 3, 2]) == pytest.approx(0.75)
    assert metrics.score([1, 2, 3, 4], [1, 3, 3, 2]) == pytest.approx(1 / 1.75)


def test_kappa_is_one_for_equal_labels_zero_for_a_constant_and_weighs_distance() -> None:
    true = [1, 2, 3, 4, 5, 1, 5]
    assert metrics.quadratic_weighted_kappa(true, true, (1, 2, 3, 4, 5)) == pytest.approx(1.0)
    assert metrics.quadratic_weighted_kappa(true, [3] * 7, (1, 2, 3, 4, 5)) == 0.0
    near = metrics.quadratic_weighted_kappa(true, [1, 2, 3, 4, 4, 1, 5], (1, 2, 3, 4, 5))
    far = metrics.quadratic_weighted_kappa(true, [1, 2, 3, 4, 1, 1, 5], (1, 2, 3, 4, 5))
    assert far < near < 1.0


def test_kappa_weighs_by_the_labels_values() -> None:
    true, predicted = [1, 2, 10, 10, 2, 1], [1, 10, 10, 10, 2, 2]
    wrong = sum((a - b) ** 2 for a, b in zip(true, predicted, strict=True)) / 6
    by_chance = sum((a - b) ** 2 for a in true for b in predicted) / 36
    assert metrics.quadratic_weighted_kappa(true, predicted, (1, 2, 10)) == pytest.approx(1 - wrong / by_chance)


def test_log_loss_and_calibration() -> None:
    sure = [{0: 0.9, 1: 0.1}] * 10
    assert metrics.log_loss([0] * 9 + [1], sure) == pytest.approx(0.3251, abs=1e-4)
    assert metrics.calibration_error([0] * 9 + [1], sure) == pytest.approx(0.0, abs=1e-9)
    assert metrics.calibration_error([1] * 10, sure) == pytest.approx(0.9)


def test_accuracy() -> None:
    assert metrics.accuracy([0, 1, 1, 0], [0, 1, 0, 0]) == pytest.approx(0.75)


LABELS = (1, 2, 4, 5)
PAIRS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=30)
SHARES = (
    st.lists(st.floats(0, 1), min_size=4, max_size=4)
    .filter(lambda raw: sum(raw) > 0.1)
    .map(lambda raw: dict(zip(LABELS, (x / sum(raw) for x in raw), strict=True)))
)


def kappa_by_hand(pairs: list[tuple[int, int]]) -> float:
    wrong = sum((a - b) ** 2 for a, b in pairs) / len(pairs)
    by_chance = sum((a - b) ** 2 for a, _ in pairs for _, b in pairs) / len(pairs) ** 2
    return 1 - wrong / by_chance


@settings(max_examples=20)
@given(PAIRS)
def test_kappa_is_the_formula_of_its_author_for_any_labels(pairs: list[tuple[int, int]]) -> None:
    true, said = [a for a, _ in pairs], [b for _, b in pairs]
    found = metrics.quadratic_weighted_kappa(true, said, LABELS)
    constant = len(set(true)) == 1 or len(set(said)) == 1
    assert found == pytest.approx(0.0 if constant else kappa_by_hand(pairs), abs=1e-9)
    assert found == pytest.approx(metrics.quadratic_weighted_kappa(said, true, LABELS), abs=1e-9)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from(LABELS), SHARES), min_size=1, max_size=20), st.randoms())
def test_figures_of_distributions_do_not_depend_on_the_order_of_rows(rows: list[tuple[int, dict[int, float]]], draw: object) -> None:
    mixed = list(rows)
    draw.shuffle(mixed)  # type: ignore[attr-defined]
    for figure in (metrics.log_loss, metrics.calibration_error):
        one, other = (figure([gold for gold, _ in some], [shares for _, shares in some]) for some in (rows, mixed))
        assert one == pytest.approx(other)
        assert one >= 0
    assert metrics.calibration_error([gold for gold, _ in rows], [shares for _, shares in rows]) <= 1


def test_a_label_that_was_given_no_chance_costs_much_but_not_everything() -> None:
    assert metrics.log_loss([1], [{1: 0.0, 2: 1.0}]) == pytest.approx(27.631, abs=1e-3)
    assert metrics.log_loss([2], [{1: 0.0, 2: 1.0}]) == 0.0


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=6, unique=True).map(sorted))
def test_an_even_scale_has_every_label_and_as_few_steps_as_can_be(labels: list[int]) -> None:
    scale = metrics.even_scale(labels)
    assert set(labels) <= set(scale)
    assert (scale[0], scale[-1]) == (labels[0], labels[-1])
    assert not any(all((label - labels[0]) % step == 0 for label in labels) for step in range(scale.step + 1, labels[-1] - labels[0] + 1))
