"""Losses of any batch against their formulas written out in numpy, and where their least value is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.finetune.losses import Targets, label_log_probabilities, label_loss
from training.heads.losses import OrdinalLoss, ordinal_loss, ranked_score
from training.specs import LabelLoss

torch = pytest.importorskip("torch")

WIDTH, VOCABULARY = 5, 9
ORDERED = (LabelLoss.ORDINAL_LOG, LabelLoss.EXPECTED_SQUARED)
# A row: its logits, its labels (a scale may have gaps), the place of the true one, whether labels have an order.
SCALES = st.sampled_from([(1, 2, 3, 4, 5), (0, 1), (1, 3, 9), (-2, 0, 2, 4)])
ROWS = st.tuples(st.lists(st.floats(-6, 6), min_size=VOCABULARY, max_size=VOCABULARY), SCALES, st.integers(0, 99), st.booleans())
Row = tuple[Sequence[float], tuple[int, ...], int, bool]


def batch(rows: Sequence[Row]) -> tuple[Any, Targets]:
    """Return the rows as a batch; the token of a row's n-th label is n + 2, labels that it lacks are filled up with the first."""
    tokens, values, known = [], [], []
    for _, scale, _, _ in rows:
        filler = WIDTH - len(scale)
        tokens.append([*range(2, 2 + len(scale)), *[2] * filler])
        values.append([*map(float, scale), *[0.0] * filler])
        known.append([True] * len(scale) + [False] * filler)
    gold = [at % len(scale) for _, scale, at, _ in rows]
    ordered = [order for *_, order in rows]
    logits = torch.tensor([row[0] for row in rows])
    return logits, Targets(*map(torch.tensor, (tokens, values, known, gold, ordered)))


def by_hand(row: Row, loss: LabelLoss) -> float:
    """Return a row's loss by its definition."""
    logits, scale, at, ordered = row
    gold = at % len(scale)
    weights = np.exp(np.asarray(logits, float))
    if loss is LabelLoss.CROSS_ENTROPY:
        return -math.log(weights[2 + gold] / weights.sum())
    shares = weights[2 : 2 + len(scale)] / weights[2 : 2 + len(scale)].sum()
    plain = -math.log(shares[gold])
    if loss is LabelLoss.LABELS or not ordered:
        return plain
    if loss is LabelLoss.EXPECTED_SQUARED:
        return plain + float((shares @ np.asarray(scale) - scale[gold]) ** 2)
    return -sum(math.log(1 - share) * abs(label - scale[gold]) ** 1.5 for share, label in zip(shares, scale, strict=True))


@settings(max_examples=25)
@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_a_batch_costs_the_mean_of_its_rows_by_the_written_formula_whatever_their_scales(rows: list[Row]) -> None:
    logits, targets = batch(rows)
    for loss in LabelLoss:
        wanted = sum(by_hand(row, loss) for row in rows) / len(rows)
        assert float(label_loss(logits, targets, loss)) == pytest.approx(wanted, rel=2e-4, abs=2e-5), loss
        moved = targets.on("cpu")
        assert torch.equal(label_loss(logits, moved, loss), label_loss(logits, targets, loss))


@settings(max_examples=25)
@given(row=ROWS, other=st.lists(st.floats(-20, 20), min_size=VOCABULARY, max_size=VOCABULARY), shift=st.floats(-9, 9))
def test_only_the_labels_count_and_only_by_how_they_differ(row: Row, other: list[float], shift: float) -> None:
    logits, targets = batch([row])
    known = [place for place in range(VOCABULARY) if 2 <= place < 2 + len(row[1])]
    changed = torch.tensor([[float(logits[0, n]) + shift if n in known else other[n] for n in range(VOCABULARY)]])
    for loss in set(LabelLoss) - {LabelLoss.CROSS_ENTROPY}:
        assert float(label_loss(changed, targets, loss)) == pytest.approx(float(label_loss(logits, targets, loss)), rel=1e-3, abs=1e-4)
    shares = label_log_probabilities(changed, targets).exp()
    assert float(shares.sum()) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("loss", list(LabelLoss))
@pytest.mark.parametrize("gold", [0, 2, 4])
def test_descending_a_loss_from_anywhere_ends_at_certainty_of_the_true_label(loss: LabelLoss, gold: int) -> None:
    torch.manual_seed(gold)
    start, targets = batch([([0.0] * VOCABULARY, (1, 2, 3, 4, 5), gold, True)])
    logits = start + torch.randn(1, VOCABULARY)
    first = float(label_loss(logits, targets, loss))
    for _ in range(60):
        logits.requires_grad_()
        (slope,) = torch.autograd.grad(label_loss(logits, targets, loss), logits)
        logits = logits.detach() - 0.3 * slope / slope.norm()
    assert float(label_loss(logits, targets, loss)) < min(0.1, first)
    assert float(label_log_probabilities(logits, targets).exp()[0, gold]) > 0.9


@given(shares=st.lists(st.floats(0.02, 1), min_size=5, max_size=5), gold=st.integers(0, 4), at=st.integers(0, 4), part=st.floats(0.05, 0.9))
def test_moving_probability_farther_from_the_truth_never_costs_less_where_labels_have_an_order(
    shares: list[float], gold: int, at: int, part: float
) -> None:
    """A part of one label's share goes one step away from the true label, on the same side of it."""
    if at == gold or not 0 <= (to := at + (1 if at > gold else -1)) < 5:
        return
    before = np.asarray(shares) / sum(shares)
    after = before.copy()
    after[to] += part * before[at]
    after[at] *= 1 - part
    assert _ranked(after, gold) >= _ranked(before, gold) - 1e-6
    # The expected score alone may be right by a balance of errors: mass on one side only shows the distance.
    one_side = [share if (n - gold) * (at - gold) >= 0 else 1e-6 for n, share in enumerate(before)]
    near = np.asarray(one_side) / sum(one_side)
    far = near.copy()
    far[to] += part * near[at]
    far[at] *= 1 - part
    costs = [_cost(given, gold, LabelLoss.EXPECTED_SQUARED) for given in (near, far)]
    assert costs[1] >= costs[0] - 1e-4


def _cost(shares: Any, gold: int, loss: LabelLoss) -> float:
    logits = [0.0, 0.0, *np.log(shares), 0.0, 0.0]
    made, targets = batch([(logits, (1, 2, 3, 4, 5), gold, True)])
    return float(label_loss(made, targets, loss))


def _ranked(shares: Any, gold: int) -> float:
    return float(ranked_score(torch.tensor(np.asarray(shares))[None], torch.tensor([gold]))[0])


SHARES = st.lists(st.floats(0.01, 1), min_size=2, max_size=6)


@settings(max_examples=25)
@given(rows=st.integers(1, 4), data=st.data())
def test_the_losses_of_a_head_are_their_formulas(rows: int, data: st.DataObject) -> None:
    width = data.draw(st.integers(2, 6))
    given_shares = np.array(data.draw(st.lists(st.lists(st.floats(0.01, 1), min_size=width, max_size=width), min_size=rows, max_size=rows)))
    given_shares /= given_shares.sum(1, keepdims=True)
    places = data.draw(st.lists(st.integers(0, width - 1), min_size=rows, max_size=rows))
    logs, wanted = torch.tensor(np.log(given_shares)), torch.tensor(places)
    likelihood = -np.mean([math.log(share[at]) for share, at in zip(given_shares, places, strict=True)])
    ranked = [
        sum((share[: cut + 1].sum() - (at <= cut)) ** 2 for cut in range(width - 1)) for share, at in zip(given_shares, places, strict=True)
    ]
    absolute = [sum(p * abs(label - at) for label, p in enumerate(share)) for share, at in zip(given_shares, places, strict=True)]
    values: dict[OrdinalLoss, float] = {
        OrdinalLoss.LIKELIHOOD: likelihood,
        OrdinalLoss.RANKED: np.mean(ranked) + 0.1 * likelihood,
        OrdinalLoss.EXPECTED: likelihood + np.mean(absolute),
    }
    for kind, value in values.items():
        assert float(ordinal_loss(logs, wanted, kind)) == pytest.approx(value, rel=1e-6)
    assert ranked_score(logs.exp(), wanted).tolist() == pytest.approx(ranked)


@settings(max_examples=25)
@given(truth=SHARES, said=SHARES)
def test_nobody_gains_in_the_ranked_score_by_saying_other_than_what_is_true(truth: list[float], said: list[float]) -> None:
    """It is a proper score: the true distribution has the least expected one."""
    width = min(len(truth), len(said))
    true, other = (np.asarray(shares[:width]) / sum(shares[:width]) for shares in (truth, said))
    expected: Callable[[Any], float] = lambda given: sum(p * _ranked(given, place) for place, p in enumerate(true))  # noqa: E731
    assert expected(true) <= expected(other) + 1e-9


@pytest.mark.parametrize("kind", list(OrdinalLoss))
def test_a_sure_right_answer_costs_nothing_and_its_gradient_is_finite_even_where_it_is_sure_and_wrong(kind: OrdinalLoss) -> None:
    sure = torch.tensor([[-1e-9, -20.0, -20.0]], dtype=torch.float64, requires_grad=True)
    assert float(ordinal_loss(sure.detach(), torch.tensor([0]), kind)) == pytest.approx(0, abs=1e-6)
    value = ordinal_loss(sure, torch.tensor([2]), kind)
    value.backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) > 1.5
    assert sure.grad is not None
    assert bool(torch.isfinite(sure.grad).all())
