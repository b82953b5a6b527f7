"""The figures agree with cases worked out by hand."""

from __future__ import annotations

import pytest

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
