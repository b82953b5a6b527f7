"""Losses on the label token, from the logits after the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.specs import LabelLoss

if TYPE_CHECKING:
    from torch import Tensor

# The exponent of the distances in the ordinal log loss; 1.5 was best in its source.
DISTANCE_POWER = 1.5


@dataclass(frozen=True, slots=True)
class Targets:
    """What a batch should answer, for rows of dimensions with up to L labels.

    `tokens` (B, L) are the labels' token ids, `values` (B, L) the labels, `known` (B, L) is False where a row's dimension
    has fewer labels, `gold` (B,) the place of the true one, `ordinal` (B,) whether labels have an order.
    """

    tokens: Tensor
    values: Tensor
    known: Tensor
    gold: Tensor
    ordinal: Tensor

    def on(self, device: object) -> Targets:
        """Return the targets on another device."""
        moved = (tensor.to(device) for tensor in (self.tokens, self.values, self.known, self.gold, self.ordinal))  # type: ignore[call-overload]
        return Targets(*moved)


def label_log_probabilities(logits: Tensor, targets: Targets) -> Tensor:
    """Return log-probabilities among each row's labels, (B, L); -inf where there is no label. `logits` are (B, vocabulary)."""
    chosen = logits.float().gather(1, targets.tokens).masked_fill(~targets.known, float("-inf"))
    return chosen.log_softmax(-1)


def label_loss(logits: Tensor, targets: Targets, loss: LabelLoss) -> Tensor:
    """Return the mean loss of a batch; see LabelLoss. Labels without an order get LABELS instead of an ordinal loss."""
    from torch.nn.functional import cross_entropy

    if loss is LabelLoss.CROSS_ENTROPY:
        return cross_entropy(logits.float(), targets.tokens.gather(1, targets.gold[:, None])[:, 0])
    log_p = label_log_probabilities(logits, targets)
    plain = -log_p.gather(1, targets.gold[:, None])[:, 0]
    if loss is LabelLoss.LABELS:
        return plain.mean()
    distance = (targets.values - targets.values.gather(1, targets.gold[:, None])).abs().masked_fill(~targets.known, 0.0)
    ordered = loss is LabelLoss.ORDINAL_LOG
    ordinal = _ordinal_log(log_p, distance, targets.known) if ordered else plain + _expected_squared(log_p, targets)
    return ordinal.where(targets.ordinal, plain).mean()


def _ordinal_log(log_p: Tensor, distance: Tensor, known: Tensor) -> Tensor:
    """Return -sum over labels of log(1 - p) * distance^1.5; log(1 - p) is that of all other labels together."""
    import torch

    count = log_p.shape[1]
    others = ~torch.eye(count, dtype=torch.bool, device=log_p.device)[None] & known[:, None, :]
    rest = log_p[:, None, :].expand(-1, count, -1).masked_fill(~others, -1e9).logsumexp(-1)
    return -(rest.clamp(min=-1e4) * distance**DISTANCE_POWER).sum(-1)


def _expected_squared(log_p: Tensor, targets: Targets) -> Tensor:
    """Return the squared error of the mean of the labels' distribution, in label steps."""
    expected = (log_p.exp() * targets.values).masked_fill(~targets.known, 0.0).sum(-1)
    error: Tensor = (expected - targets.values.gather(1, targets.gold[:, None])[:, 0]) ** 2
    return error
