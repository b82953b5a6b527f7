"""The mathematics of a head against plain references: its probabilities, first weights, calibration, splits and batches."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.judging.head.calibration import calibrated
from core.judging.head.files import Calibration
from core.judging.head.model import build_heads, cumulative_log_probabilities, set_thresholds, thresholds
from core.retrieval.families import family_ids
from tests.training.snapshots.made import essay
from training.faults.learning import Schedule, plan_batches, plan_steps, set_rate
from training.heads.calibrate import LEAST_ROWS, CalibrationMethod, choose_calibration
from training.heads.folds import grouped_folds, inner_split
from training.heads.probe import PENALTIES, start_from_probe
from training.heads.train import grades, train_grade, votes

torch = pytest.importorskip("torch")

# Probabilities


@settings(max_examples=25)
@given(score=st.floats(-60, 60), first=st.floats(-8, 8), steps=st.lists(st.floats(0.01, 5), min_size=0, max_size=4), higher=st.floats(0, 5))
def test_a_cumulative_logit_is_differences_of_sigmoids_and_a_higher_score_moves_all_of_it_up(
    score: float, first: float, steps: list[float], higher: float
) -> None:
    cuts = torch.tensor([first, *steps], dtype=torch.float64).cumsum(0)
    logs = cumulative_log_probabilities(torch.tensor([[score], [score + higher]], dtype=torch.float64), cuts)
    assert bool(torch.isfinite(logs).all())
    shares = logs.exp()
    assert shares.sum(1).tolist() == pytest.approx([1, 1])
    above = [1 / (1 + math.exp(cut - score)) for cut in cuts.tolist()]
    wanted = [one - other for one, other in zip([1.0, *above], [*above, 0.0], strict=True)]
    assert shares[0].tolist() == pytest.approx(wanted, abs=1e-9)
    assert bool((shares[1].cumsum(0) <= shares[0].cumsum(0) + 1e-12).all())


@settings(max_examples=20)
@given(first=st.floats(-20, 20), steps=st.lists(st.floats(0.0, 9), max_size=5))
def test_thresholds_are_what_was_set_and_always_ascend(first: float, steps: list[float]) -> None:
    heads = build_heads(3, 2, len(steps) + 2)
    wanted = torch.tensor([first, *(max(step, 1e-3) for step in steps)]).cumsum(0)
    set_thresholds(heads, torch.tensor([first, *steps]).cumsum(0))
    found = thresholds(heads)
    assert found.tolist() == pytest.approx(wanted.tolist(), abs=1e-2 + 1e-3 * abs(first))
    assert bool((found[1:] > found[:-1]).all())


SHARES = st.lists(st.lists(st.floats(0.001, 1), min_size=4, max_size=4), min_size=1, max_size=6).map(
    lambda rows: np.array(rows) / np.array(rows).sum(1, keepdims=True)
)


@settings(max_examples=20)
@given(shares=SHARES)
def test_a_vote_has_the_least_expected_absolute_error(shares: NDArray[np.float64]) -> None:
    places = np.arange(4)
    costs = np.abs(places[:, None] - places[None, :]) @ shares.T  # (said, rows)
    found = votes(shares)
    assert found.shape == (len(shares),)
    assert costs[found, np.arange(len(shares))] == pytest.approx(costs.min(0), abs=1e-6)


# Calibration


@settings(max_examples=20)
@given(shares=SHARES, temperature=st.floats(0.2, 5), shift=st.floats(-3, 3))
def test_calibrating_keeps_sums_and_a_temperature_keeps_the_order(shares: NDArray[np.float64], temperature: float, shift: float) -> None:
    assert calibrated(shares, Calibration()) == pytest.approx(shares, abs=1e-6)
    warm = calibrated(shares, Calibration(temperature=temperature))
    assert warm.sum(1) == pytest.approx(np.ones(len(shares)))
    for raw, made in zip(shares, warm, strict=True):
        order = np.argsort(raw, kind="stable")
        assert bool((np.diff(made[order]) >= -1e-9).all())
    moved = calibrated(shares, Calibration(shifts=(shift, 0.0, 0.0, 0.0)))
    odds = (moved[:, 0] / moved[:, 1]) / (shares[:, 0] / shares[:, 1])
    assert odds == pytest.approx(np.full(len(shares), math.exp(shift)), rel=1e-6)


def log_loss(shares: NDArray[np.float64], places: Sequence[int]) -> float:
    return float(-np.log(np.maximum(shares[np.arange(len(places)), list(places)], 1e-12)).sum())


def drawn(count: int, seed: int, power: float, bias: float = 0.0) -> tuple[NDArray[np.float64], list[int]]:
    """Return what a head says whose confidence is off by `power` and whose last label by `bias`, and labels drawn from the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.ones(4), size=count)
    said = truth**power * np.exp([0, 0, 0, bias])
    return said / said.sum(1, keepdims=True), [int(rng.choice(4, p=row)) for row in truth]


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_a_temperature_takes_back_what_a_head_is_too_sure_or_not_sure_enough_of(power: float) -> None:
    said, places = drawn(800, 3, power)
    found = choose_calibration(said, places, CalibrationMethod.TEMPERATURE)
    assert found.temperature == pytest.approx(power, rel=0.15)
    assert found.shifts == ()


def test_shifts_take_back_a_label_that_is_said_too_often() -> None:
    said, places = drawn(1200, 4, 1.0, bias=1.2)
    found = choose_calibration(said, places, CalibrationMethod.VECTOR)
    assert found.shifts[3] - np.mean(found.shifts[:3]) == pytest.approx(-1.2, abs=0.3)
    assert log_loss(calibrated(said, found), places) < log_loss(said, places) - 20


@settings(max_examples=15)
@given(
    rows=st.integers(0, 40), seed=st.integers(0, 99), power=st.floats(0.2, 6), method=st.sampled_from(CalibrationMethod), sure=st.booleans()
)
@example(rows=LEAST_ROWS, seed=0, power=3.0, method=CalibrationMethod.VECTOR, sure=True)
@example(rows=LEAST_ROWS - 1, seed=0, power=3.0, method=CalibrationMethod.VECTOR, sure=False)
def test_no_calibration_makes_its_own_rows_worse_and_few_rows_change_nothing(
    rows: int, seed: int, power: float, method: CalibrationMethod, sure: bool
) -> None:
    said, places = drawn(rows, seed, power) if rows else (np.zeros((0, 4)), [])
    if sure:
        said = np.eye(4)[[place % 4 for place in range(rows)]] if rows else said
    found = choose_calibration(said, places, method)
    if rows < LEAST_ROWS or method is CalibrationMethod.NONE:
        assert found == Calibration()
        return
    assert 0.13 < found.temperature < 7.5
    assert len(found.shifts) == (4 if method is CalibrationMethod.VECTOR else 0)
    assert log_loss(calibrated(said, found), places) <= log_loss(calibrated(said, Calibration()), places) + 1e-6


# First weights, and the grade alone


def samples(count: int, seed: int, noise: float = 0.5) -> tuple[NDArray[np.float64], list[int]]:
    """Return features of which two tell the label, (rows, features of a head with 3 states and 2 kinds), and labels."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(count, 7)) * 3 + 5
    truth = seen[:, 0] - 2 * seen[:, 1] + rng.normal(size=count) * noise
    return seen, np.searchsorted(np.quantile(truth, [0.25, 0.5, 0.75]), truth).tolist()


def left_out_error(seen: NDArray[np.float64], places: Sequence[int], penalty: float) -> float:
    """Return the leave-one-out error of a ridge regression by fitting it as many times as there are rows."""
    scaled = (seen - seen.mean(0)) / seen.std(0)
    target = np.asarray(places, float)
    errors = []
    for out in range(len(target)):
        rest = [row for row in range(len(target)) if row != out]
        x, y = scaled[rest], target[rest]
        weights = np.linalg.solve((x - x.mean(0)).T @ (x - x.mean(0)) + penalty * np.eye(x.shape[1]), (x - x.mean(0)).T @ (y - y.mean()))
        errors.append((target[out] - y.mean() - (scaled[out] - x.mean(0)) @ weights) ** 2)
    return float(np.mean(errors))


@pytest.mark.parametrize("seed", range(6))
def test_the_probe_has_the_penalty_and_the_direction_of_fitting_anew_without_each_row(seed: int) -> None:
    seen, places = samples(10, seed, noise=4.0)
    heads = build_heads(3, 2, 4)
    penalty = start_from_probe(heads, seen, places)
    errors = {one: left_out_error(seen, places, one) for one in PENALTIES}
    assert penalty == min(errors, key=lambda one: errors[one])
    scaled = (seen - seen.mean(0)) / seen.std(0)
    direction = np.linalg.solve(scaled.T @ scaled + penalty * np.eye(7), scaled.T @ (np.asarray(places) - np.mean(places)))
    weights = heads["grade"].weight.detach().double().numpy()[0]
    assert weights / np.linalg.norm(weights) == pytest.approx(direction / np.linalg.norm(direction), abs=1e-4)
    assert float(weights @ direction) > 0


def mean_ranked(shares: NDArray[np.float64], places: Sequence[int]) -> float:
    reached = np.arange(shares.shape[1])[None, :] >= np.asarray(places)[:, None]
    return float(((shares.cumsum(1) - reached) ** 2).sum(1).mean())


def test_a_grade_learns_what_can_be_learned_and_never_ends_worse_than_its_probe() -> None:
    seen, places = samples(120, 2)
    kept = [row for row, place in enumerate(places) if place != 2]  # a label that no row to learn from has
    held, wanted = samples(60, 5)
    probe = build_heads(3, 2, 4)
    start_from_probe(probe, seen[kept], [places[row] for row in kept])
    heads = build_heads(3, 2, 4)
    made = train_grade(heads, seen[kept], [places[row] for row in kept], held, wanted, calibration=CalibrationMethod.NONE)
    assert made.validation is not None
    assert made.validation == pytest.approx(grades(heads, held), abs=1e-6)
    assert bool(np.isfinite(made.validation).all())
    before, after = mean_ranked(grades(probe, held), wanted), mean_ranked(made.validation, wanted)
    assert after <= before + 1e-9
    constant = np.tile(np.bincount(wanted, minlength=4) / len(wanted), (len(wanted), 1))
    assert after < 0.6 * mean_ranked(constant, wanted)


def test_without_validation_rows_the_probe_is_the_grade() -> None:
    seen, places = samples(40, 3)
    heads, probe = build_heads(3, 2, 4), build_heads(3, 2, 4)
    made = train_grade(heads, seen, places, np.zeros((0, 7)), [])
    start_from_probe(probe, seen, places)
    assert (made.calibration, made.validation) == (Calibration(), None)
    assert grades(heads, seen) == pytest.approx(grades(probe, seen), abs=1e-6)


def test_a_feature_that_is_always_the_same_spoils_nothing() -> None:
    seen, places = samples(40, 4)
    seen[:, 3] = 2.0
    heads = build_heads(3, 2, 4)
    start_from_probe(heads, seen, places)
    found = grades(heads, np.vstack([seen, seen[:1]]))
    assert bool(np.isfinite(found).all())
    assert found[-1] == pytest.approx(found[0])


# Splits


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[str], list[int]]:
    """Texts in families of one to many near-duplicates, with labels."""
    chance = random.Random(draw(st.integers(0, 10**6)))
    texts: list[str] = []
    for size in draw(st.lists(st.sampled_from((1, 1, 1, 2, 3, 12)), min_size=1, max_size=12)):
        original = essay(chance.randrange(10**6), 60)
        texts += [original[: 20 + copy] + "改" + original[21 + copy :] for copy in range(size)]
    return texts, [chance.choice((1, 2, 3)) for _ in texts]


@settings(max_examples=12)
@given(rows=labelled(), count=st.integers(2, 6), seed=st.integers(0, 9))
def test_each_row_is_held_out_by_one_fold_and_no_family_straddles(rows: tuple[list[str], list[int]], count: int, seed: int) -> None:
    texts, labels = rows
    family = family_ids(texts)
    folds = grouped_folds(texts, labels, count, seed)
    assert len(folds) == count
    assert sorted(place for fold in folds for place in fold.held_out) == list(range(len(texts)))
    for fold in folds:
        assert sorted((*fold.train, *fold.held_out)) == list(range(len(texts)))
        assert {family[place] for place in fold.train}.isdisjoint(family[place] for place in fold.held_out)
    assert grouped_folds(texts, labels, count, seed) == folds


@settings(max_examples=15)
@given(rows=labelled(), share=st.sampled_from((0.0, 0.05, 0.15, 0.3, 0.49)), seed=st.integers(0, 9))
@example(rows=([essay(1)] * 20, [1, 2] * 10), share=0.15, seed=0)
def test_a_validation_share_is_never_overrun_by_a_large_family_and_something_is_left_to_learn_from(
    rows: tuple[list[str], list[int]], share: float, seed: int
) -> None:
    texts, labels = rows
    split = inner_split(texts, labels, share, seed)
    assert sorted((*split.train, *split.held_out)) == list(range(len(texts)))
    assert len(split.held_out) <= max(1.0, 1.5 * share * len(texts)) if share else not split.held_out
    assert split.train or len(texts) == 1


def test_every_label_is_in_every_fold_where_there_are_enough_of_it() -> None:
    texts, labels = [essay(n) for n in range(60)], [1] * 10 + [2] * 20 + [3] * 30
    for fold in grouped_folds(texts, labels, 5, 1):
        assert Counter(labels[place] for place in fold.held_out) == {1: 2, 2: 4, 3: 6}


# Batches and rates


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 300), max_size=60), tokens=st.integers(64, 900), epochs=st.sampled_from((0.3, 1.0, 2.0, 2.5)),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_an_epoch_takes_every_row_once_in_batches_within_the_budget(lengths: list[int], tokens: int, epochs: float, seed: int) -> None:
    batches = plan_batches(lengths, tokens, random.Random(seed))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= tokens
    schedule = Schedule(1e-4, 1e-3, epochs, tokens, seed=seed)
    steps = plan_steps(lengths, schedule)
    assert plan_steps(lengths, schedule) == steps
    often = Counter(place for step in steps for place in step)
    assert set(often.values()) <= {math.floor(epochs), math.ceil(epochs)}
    if lengths:
        assert steps


@settings(max_examples=20)
@given(steps=st.integers(1, 200), warmup=st.floats(0, 0.9))
def test_a_rate_rises_to_its_highest_and_falls_to_a_twentieth(steps: int, warmup: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer: Any = torch.optim.SGD([{"params": [weight], "lr": 9.0, "highest": 2.0}])
    rates = []
    for step in range(steps):
        set_rate(optimizer, step, steps, warmup)
        rates.append(optimizer.param_groups[0]["lr"])
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(2.0)
    assert min(rates) > 0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if steps - round(warmup * steps) > 20:
        assert rates[-1] < 0.12
