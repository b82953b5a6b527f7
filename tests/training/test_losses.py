"""The losses on the label token: their values by hand, their gradients, and what their order means."""

from __future__ import annotations

import math
from typing import Any

import pytest

from training.finetune.losses import Targets, label_log_probabilities, label_loss
from training.specs import LabelLoss

torch = pytest.importorskip("torch")

TOKENS = [7, 3, 9, 1, 4]


def targets(gold: list[int], *, ordinal: bool = True, labels: int = 5) -> Targets:
    count = len(gold)
    known = torch.tensor([[place < labels for place in range(5)]] * count)
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]] * count)
    return Targets(torch.tensor([TOKENS] * count), values, known, torch.tensor(gold), torch.tensor([ordinal] * count))


def logits_of(shares: list[float], outside: float = -3.0) -> Any:
    logits = torch.full((1, 12), outside, dtype=torch.float64)
    for token, share in zip(TOKENS, shares, strict=True):
        logits[0, token] = math.log(share)
    return logits


def test_each_loss_has_the_value_of_its_formula() -> None:
    shares = [0.1, 0.2, 0.4, 0.2, 0.1]
    logits, gold = logits_of(shares), targets([3])
    total = 1 + 7 * math.exp(-3.0)
    by_hand = {
        LabelLoss.CROSS_ENTROPY: -math.log(0.2 / total),
        LabelLoss.LABELS: -math.log(0.2),
        LabelLoss.ORDINAL_LOG: -sum(math.log(1 - p) * abs(label - 4) ** 1.5 for label, p in enumerate(shares, 1)),
        LabelLoss.EXPECTED_SQUARED: -math.log(0.2) + (3.0 - 4) ** 2,
    }
    for loss, value in by_hand.items():
        assert float(label_loss(logits, gold, loss)) == pytest.approx(value, rel=1e-5), loss


@pytest.mark.parametrize("loss", list(LabelLoss))
def test_gradients_are_those_of_the_function(loss: LabelLoss, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)  # differences need 64 bits
    logits = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: label_loss(given, _double(targets([0, 2, 4])), loss), logits)


def _double(of: Targets) -> Targets:
    return Targets(of.tokens, of.values.double(), of.known, of.gold, of.ordinal)


def test_a_farther_miss_costs_more_exactly_where_order_counts() -> None:
    near, far = logits_of([0.01, 0.01, 0.47, 0.5, 0.01]), logits_of([0.5, 0.01, 0.47, 0.01, 0.01])
    gold = targets([2])
    for loss in (LabelLoss.ORDINAL_LOG, LabelLoss.EXPECTED_SQUARED):
        assert label_loss(far, gold, loss) > label_loss(near, gold, loss) + 0.1
        unordered = targets([2], ordinal=False)
        assert float(label_loss(far, unordered, loss)) == pytest.approx(float(label_loss(near, unordered, loss)))
    assert float(label_loss(far, gold, LabelLoss.LABELS)) == pytest.approx(float(label_loss(near, gold, LabelLoss.LABELS)))


def test_a_dimension_with_fewer_labels_gets_no_probability_elsewhere() -> None:
    logits = torch.randn(2, 12, requires_grad=True)
    few = targets([0, 1], labels=2)
    shares = label_log_probabilities(logits, few).exp()
    assert torch.allclose(shares[:, :2].sum(1), torch.ones(2))
    assert (shares[:, 2:] == 0).all()
    for loss in LabelLoss:
        logits.grad = None
        label_loss(logits, few, loss).backward()
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all(), loss
        if loss is not LabelLoss.CROSS_ENTROPY:
            assert (logits.grad[:, TOKENS[2:]] == 0).all(), loss


def test_a_certain_wrong_answer_costs_much_and_never_infinity() -> None:
    logits = torch.full((1, 12), -1000.0, requires_grad=True)
    with torch.no_grad():
        logits[0, TOKENS[0]] = 1000.0
    for loss in LabelLoss:
        logits.grad = None
        value = label_loss(logits, targets([4]), loss)
        value.backward()
        assert math.isfinite(float(value.detach()))
        assert float(value.detach()) > 10
        assert torch.isfinite(logits.grad).all()
