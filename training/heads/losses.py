"""Losses of ordered labels, over the logarithms of their probabilities."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class OrdinalLoss(StrEnum):
    """LIKELIHOOD: the label's negative log-probability. RANKED: the ranked probability score (Epstein, "A scoring system for
    probability forecasts of ranked categories", J. Appl. Meteorology 8, 1969). EXPECTED: likelihood plus the expected absolute error.
    """

    LIKELIHOOD = "likelihood"
    RANKED = "ranked"
    EXPECTED = "expected"


def ordinal_loss(log_probabilities: Tensor, places: Tensor, kind: OrdinalLoss) -> Tensor:
    """Return the mean loss; `log_probabilities` is (rows, labels), `places` the position of each row's label."""
    import torch

    likelihood = -log_probabilities.gather(1, places[:, None]).mean()
    if kind is OrdinalLoss.LIKELIHOOD:
        return likelihood
    probabilities = log_probabilities.exp()
    if kind is OrdinalLoss.RANKED:
        return ranked_score(probabilities, places).mean() + 0.1 * likelihood
    steps = torch.arange(probabilities.shape[1], device=probabilities.device)
    distance = (steps[None, :] - places[:, None]).abs()
    return likelihood + (probabilities * distance).sum(1).mean()


def ranked_score(probabilities: Tensor, places: Tensor) -> Tensor:
    """Return the ranked probability score of each row: 0 for a sure right answer; a miss costs more the farther it is."""
    import torch

    steps = torch.arange(probabilities.shape[1], device=probabilities.device)
    reached = (steps[None, :] >= places[:, None]).to(probabilities.dtype)
    return ((probabilities.cumsum(1) - reached) ** 2)[:, :-1].sum(1)
