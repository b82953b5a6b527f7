"""Fault pretraining: the model learns to tag faults token by token, and to tell their rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.judging.head.layout import Window
from core.judging.head.model import padded_batches, pool
from training.context import Stopped
from training.faults import checkpoints
from training.faults.injector import FaultyText
from training.faults.learning import CLIP, Learner, Schedule, Watcher, make_optimizer, plan_steps, seconds, set_rate

if TYPE_CHECKING:
    from torch import Tensor

UNTAGGED = -100
_LOGGED = 10


@dataclass(frozen=True, slots=True)
class TaggedRow:
    """A synthetic row as tokens: its windows, the class of each of the text's tokens (as the windows' spans), its faults per 100."""

    windows: tuple[Window, ...]
    tags: tuple[tuple[int, ...], ...]
    rate: float

    @property
    def cost(self) -> int:
        """Return the row's padded size in tokens."""
        return len(self.windows) * max(len(window.ids) for window in self.windows)


@dataclass(frozen=True, slots=True)
class TagFigures:
    """How well faults are seen in rows that were not trained on.

    `area` is the average precision of a token being faulty, `kinds` the share of faulty tokens whose kind is told rightly,
    `rate_error` the mean absolute error of faults per 100 characters, `rate_rank` its rank correlation.
    """

    loss: float
    area: float
    kinds: float
    rate_error: float
    rate_rank: float


def tag_rows(learner: Learner, rows: Sequence[FaultyText]) -> list[TaggedRow]:
    """Return rows as tokens; a token has the class of its first tagged character. Rows without a token are left out."""
    tagged = []
    for row, windows in zip(rows, learner.windows([row.text for row in rows]), strict=True):
        if windows:
            tags = tuple(tuple(next((tag for tag in row.tags[start:end] if tag), 0) for start, end in window.spans) for window in windows)
            tagged.append(TaggedRow(tuple(windows), tags, row.rate))
    return tagged


def pretrain(
    learner: Learner,
    rows: Sequence[TaggedRow],
    validation: Sequence[TaggedRow],
    schedule: Schedule,
    watcher: Watcher,
    folder: Path | None = None,
    rate_weight: float = 0.1,
) -> TagFigures | None:
    """Train, keep the weights that are best on the validation rows, and return their figures (None without validation rows).

    With a `folder` the training goes on from the checkpoint there, and saves one at each look at the validation rows.
    Raises Stopped after saving when the watcher asks for it.
    """
    optimizer = make_optimizer(learner, schedule)
    standing = checkpoints.load(folder, learner, optimizer) if folder else checkpoints.Standing()
    steps = plan_steps([row.cost for row in rows], schedule)
    clock, tokens, losses = seconds(), 0, []
    while standing.step < len(steps):
        batch = [rows[index] for index in steps[standing.step]]
        set_rate(optimizer, standing.step, len(steps), schedule.warmup)
        losses.append(_step(learner, optimizer, batch, rate_weight))
        tokens += sum(len(window.ids) for row in batch for window in row.windows)
        standing.step += 1
        if standing.step % _LOGGED == 0 or standing.step == len(steps):
            spent = max(next(clock), 1e-9)
            watcher.train(standing.step, len(steps), {"loss": float(np.mean(losses)), "tokens_per_second": tokens / spent})
            tokens, losses = 0, []
        if validation and (standing.step % schedule.evaluate_every == 0 or standing.step == len(steps)):
            _look(learner, validation, schedule, watcher, standing, len(steps), rate_weight)
            if folder:
                checkpoints.save(folder, learner, optimizer, standing)
            if standing.stale >= schedule.patience:
                break
        if watcher.stop_requested() and standing.step < len(steps):
            if folder:
                checkpoints.save(folder, learner, optimizer, standing)
            raise Stopped
    if standing.best_state is not None:
        learner.restore(standing.best_state)
    return figures(learner, validation, schedule.tokens_per_step, rate_weight) if validation else None


def figures(learner: Learner, rows: Sequence[TaggedRow], tokens: int, rate_weight: float = 0.1) -> TagFigures:
    """Return how well faults are seen in `rows`."""
    import torch
    from scipy.stats import spearmanr
    from sklearn.metrics import average_precision_score

    learner.backbone.eval()
    losses, chances, classes, right, told, true = [], [], [], [], [], []
    with torch.no_grad():
        for members in padded_batches([row.cost for row in rows], tokens):
            batch = [rows[index] for index in members]
            logits, wanted, per_hundred, rates = _forward(learner, batch)
            losses += [float(_loss(logits, wanted, per_hundred, rates, rate_weight))] * len(batch)
            kept = wanted != UNTAGGED
            probabilities, gold = logits[kept].softmax(-1).cpu(), wanted[kept].cpu()
            chances.append((1 - probabilities[:, 0]).numpy())
            classes.append(gold.numpy())
            faulty = gold > 0
            right.append((probabilities[faulty, 1:].argmax(-1) + 1 == gold[faulty]).numpy())
            told += per_hundred.cpu().tolist()
            true += rates.cpu().tolist()
    gold_all, kinds = np.concatenate(classes) > 0, np.concatenate(right)
    rank = spearmanr(told, true).statistic if len(set(told)) > 1 and len(set(true)) > 1 else 0.0
    return TagFigures(
        float(np.mean(losses)),
        float(average_precision_score(gold_all, np.concatenate(chances))) if gold_all.any() else 0.0,
        float(kinds.mean()) if len(kinds) else 0.0,
        float(np.abs(np.array(told) - np.array(true)).mean()),
        float(rank),
    )


def _look(
    learner: Learner,
    validation: Sequence[TaggedRow],
    schedule: Schedule,
    watcher: Watcher,
    standing: checkpoints.Standing,
    steps: int,
    rate_weight: float,
) -> None:
    """Look at the validation rows, tell it, and keep the weights when they are the best so far."""
    seen = figures(learner, validation, schedule.tokens_per_step, rate_weight)
    told = {"loss": seen.loss, "area": seen.area, "kinds": seen.kinds, "rate_error": seen.rate_error, "rate_rank": seen.rate_rank}
    watcher.validation(standing.step, steps, told)
    if standing.best is None or seen.loss < standing.best:
        standing.best, standing.best_state, standing.stale = seen.loss, learner.state(), 0
    else:
        standing.stale += 1


def _step(learner: Learner, optimizer: object, batch: Sequence[TaggedRow], rate_weight: float) -> float:
    import torch

    assert isinstance(optimizer, torch.optim.Optimizer)
    learner.backbone.train()
    loss = _loss(*_forward(learner, batch), rate_weight)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(list(learner.trainable().values()), CLIP)
    optimizer.step()
    return float(loss.detach())


def _forward(learner: Learner, rows: Sequence[TaggedRow]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return tag logits, wanted classes (`UNTAGGED` where nothing is wanted), told rates and true rates."""
    import torch

    windows = [window for row in rows for window in row.windows]
    batch = learner.batch(windows)
    glance = learner.glance(batch)
    wanted = torch.full(batch.ids.shape, UNTAGGED)
    for place, (window, tags) in enumerate(zip(windows, (tags for row in rows for tags in row.tags), strict=True)):
        wanted[place, window.lead : len(window.ids)] = torch.tensor(tags)
    numbers = torch.tensor([number for number, row in enumerate(rows) for _ in row.windows], device=learner.device)
    seen = pool(learner.heads, glance.totals, numbers, len(rows))
    rates = torch.tensor([row.rate for row in rows], device=learner.device)
    return glance.tags, wanted.to(learner.device), seen.per_hundred, rates


def _loss(logits: Tensor, wanted: Tensor, per_hundred: Tensor, rates: Tensor, rate_weight: float) -> Tensor:
    from torch.nn.functional import cross_entropy, smooth_l1_loss

    tagging = cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=UNTAGGED)
    return tagging + rate_weight * smooth_l1_loss(per_hundred, rates)
