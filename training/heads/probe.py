"""First weights for the grade: a ridge regression on what the model sees before it has learned any label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.judging.head.model import cumulative_log_probabilities, set_thresholds
from training.heads.losses import OrdinalLoss, ordinal_loss

if TYPE_CHECKING:
    from torch import Tensor

PENALTIES = tuple(10.0**power for power in np.arange(0.0, 5.5, 0.5))
_SCALE_FLOOR = 1e-3
_ROUNDS = 200


def start_from_probe(heads: Any, features: NDArray[np.float64], places: Sequence[int]) -> float:
    """Set the grade's weights, scaling and thresholds from labelled rows; return the penalty that leave-one-out chose.

    `features` is (rows, width), `places` the position of each row's label. The thresholds are fitted on leave-one-out
    predictions, so that the first probabilities are not overconfident.
    """
    import torch

    centre, scale = features.mean(axis=0), np.maximum(features.std(axis=0), _SCALE_FLOOR)
    scaled = (features - centre) / scale
    target = np.asarray(places, float)
    weights, left_out, penalty = _ridge(scaled, target - target.mean())
    slope, cuts = _fit_thresholds(left_out, list(places), heads.thresholds.numel() + 1)
    with torch.no_grad():
        device = heads.centre.device
        heads.centre.copy_(torch.tensor(centre, dtype=torch.float32, device=device))
        heads.scale.copy_(torch.tensor(scale, dtype=torch.float32, device=device))
        heads["grade"].weight.copy_(torch.tensor(weights * slope, dtype=torch.float32, device=device)[None])
        heads["grade"].bias.zero_()
    set_thresholds(heads, cuts.to(heads.thresholds.device))
    return penalty


def _ridge(scaled: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the weights, the leave-one-out predictions and the penalty whose leave-one-out error is least."""
    left, values, right = np.linalg.svd(scaled, full_matrices=False)
    projected = left.T @ target
    best: tuple[float, float, NDArray[np.float64], NDArray[np.float64]] | None = None
    for penalty in PENALTIES:
        shrink = values**2 / (values**2 + penalty)
        leverage = (left**2 * shrink).sum(axis=1) + 1.0 / len(target)
        residual = (target - left @ (shrink * projected)) / np.maximum(1.0 - leverage, 1e-6)
        error = float((residual**2).mean())
        if best is None or error < best[0]:
            weights = right.T @ (values / (values**2 + penalty) * projected)
            best = (error, float(penalty), weights, target - residual)
    assert best is not None
    return best[2], best[3], best[1]


def _fit_thresholds(scores: NDArray[np.float64], places: Sequence[int], labels: int) -> tuple[float, Tensor]:
    """Return the slope and the ascending thresholds of a cumulative-logit model of one number."""
    import torch
    from torch.nn.functional import softplus

    score, wanted = torch.tensor(scores, dtype=torch.float64), torch.tensor(list(places))
    log_slope = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    free = torch.tensor([-2.0] + [0.5] * (labels - 2), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_slope, free], max_iter=_ROUNDS, line_search_fn="strong_wolfe")

    def cuts() -> Tensor:
        return torch.cat([free[:1], free[:1] + softplus(free[1:]).cumsum(0)])

    def loss() -> float:
        optimizer.zero_grad()
        given = cumulative_log_probabilities(log_slope.exp() * score[:, None], cuts())
        # A label that no row has must not send its threshold to infinity.
        value = ordinal_loss(given, wanted, OrdinalLoss.LIKELIHOOD) + 1e-4 * ((free**2).sum() + log_slope.square().sum())
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return float(log_slope.detach().exp()), cuts().detach().float()
