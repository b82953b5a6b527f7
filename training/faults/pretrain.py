"""Fault pretraining: the model learns to tag faults token by token, and to tell their rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from core.judging.head.layout import Window
from core.judging.head.model import padded_batches, pool
from training.context import Stopped
from training.faults import checkpoints
from training.faults.learning import CLIP, Learner, Schedule, Watcher, make_optimizer, plan_steps, seconds, set_rate

if TYPE_CHECKING:
    from torch import Tensor

# What a character or token may have in place of a class: nothing is known of it, or only that it is faulty.
UNTAGGED, ANY_FAULT = -100, -1
_LOGGED = 10


class TaggedText(Protocol):
    """A text with a class for each character, and its rate of faults."""

    @property
    def prompt(self) -> str:
        """Return the prompt that the text answers, "" for none."""

    @property
    def text(self) -> str:
        """Return the text."""

    @property
    def tags(self) -> Sequence[int]:
        """Return the class of each character."""

    @property
    def rate(self) -> float | None:
        """Return the faults per as many characters as the learner's `rate_per` says; None where only some places are known."""


@dataclass(frozen=True, slots=True)
class TaggedRow:
    """A row as tokens: its windows, the class of each of the text's tokens (as the windows' spans), its rate of faults.

    A synthetic row has a rate; one that people answered on has none.
    """

    windows: tuple[Window, ...]
    tags: tuple[tuple[int, ...], ...]
    rate: float | None

    @property
    def cost(self) -> int:
        """Return the row's padded size in tokens."""
        return len(self.windows) * max(len(window.ids) for window in self.windows)


@dataclass(frozen=True, slots=True)
class TagFigures:
    """How well faults are seen in rows that were not trained on.

    `area` is the average precision of a token being faulty, `kinds` the share of faulty tokens whose kind is told rightly,
    `rate_error` the mean absolute error of the rate of faults, `rate_rank` its rank correlation.
    """

    loss: float
    area: float
    kinds: float
    rate_error: float
    rate_rank: float


def tag_rows(learner: Learner, rows: Sequence[TaggedText]) -> list[TaggedRow]:
    """Return rows as tokens; a token has the class of its first faulty character, and is sound where all of its characters are.

    Rows without a token, and windows in which nothing is known, are left out.
    """
    tagged = []
    for row, windows in zip(rows, learner.windows([row.text for row in rows], [row.prompt for row in rows]), strict=True):
        blank = UNTAGGED if row.rate is None else 0
        tags = [tuple(_token_tag(row.tags[start:end], blank) for start, end in window.spans) for window in windows]
        known = [place for place, found in enumerate(tags) if any(tag != UNTAGGED for tag in found)]
        if known:
            tagged.append(TaggedRow(tuple(windows[place] for place in known), tuple(tags[place] for place in known), row.rate))
    return tagged


def _token_tag(tags: Sequence[int], blank: int) -> int:
    """Return a token's class by those of its characters; `blank` where it stands on none."""
    faulty = next((tag for tag in tags if tag not in {0, UNTAGGED}), None)
    if faulty is not None:
        return faulty
    return blank if not tags else UNTAGGED if UNTAGGED in tags else 0


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
    """Return how well faults are seen in `rows`, which are synthetic."""
    import torch
    from scipy.stats import spearmanr
    from sklearn.metrics import average_precision_score

    learner.backbone.eval()
    losses, chances, classes, right, told, true = [], [], [], [], [], []
    with torch.no_grad():
        for members in padded_batches([row.cost for row in rows], tokens):
            batch = [rows[index] for index in members]
            logits, wanted, rate_told, rates = _forward(learner, batch)
            losses += [float(_synthetic_loss(logits, wanted, rate_told, rates, rate_weight))] * len(batch)
            kept = wanted != UNTAGGED
            probabilities, gold = logits[kept].softmax(-1).cpu(), wanted[kept].cpu()
            chances.append((1 - probabilities[:, 0]).numpy())
            classes.append(gold.numpy())
            faulty = gold > 0
            right.append((probabilities[faulty, 1:].argmax(-1) + 1 == gold[faulty]).numpy())
            told += rate_told.cpu().tolist()
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
    loss = _loss(learner, batch, rate_weight)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(list(learner.trainable().values()), CLIP)
    optimizer.step()
    return float(loss.detach())


def _forward(learner: Learner, rows: Sequence[TaggedRow]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return tag logits, wanted classes (`UNTAGGED` where nothing is wanted), told rates and true rates (NaN where none is known)."""
    import torch

    windows = [window for row in rows for window in row.windows]
    batch = learner.batch(windows)
    glance = learner.glance(batch)
    wanted = torch.full(batch.ids.shape, UNTAGGED)
    for place, (window, tags) in enumerate(zip(windows, (tags for row in rows for tags in row.tags), strict=True)):
        wanted[place, window.lead : len(window.ids)] = torch.tensor(tags)
    numbers = torch.tensor([number for number, row in enumerate(rows) for _ in row.windows], device=learner.device)
    seen = pool(learner.heads, glance.totals, numbers, len(rows))
    rates = torch.tensor([float("nan") if row.rate is None else row.rate for row in rows], device=learner.device)
    return glance.tags, wanted.to(learner.device), seen.rate, rates


def _loss(learner: Learner, rows: Sequence[TaggedRow], rate_weight: float) -> Tensor:
    """Return the mean over the rows, synthetic ones taken together, and those that people answered on taken together.

    Each part is a mean over its tokens, so that the few tokens that somebody answered on are not lost among all the others.
    """
    logits, wanted, rate_told, rates = _forward(learner, rows)
    answered = rates.isnan()
    if not bool(answered.any()):
        return _synthetic_loss(logits, wanted, rate_told, rates, rate_weight)
    of_window = [row.rate is None for row in rows for _ in row.windows]
    by_people = _answered_loss(logits[of_window], wanted[of_window])
    if bool(answered.all()):
        return by_people
    others = [not one for one in of_window]
    made = _synthetic_loss(logits[others], wanted[others], rate_told[~answered], rates[~answered], rate_weight)
    share = float(answered.float().mean())
    return share * by_people + (1.0 - share) * made


def _synthetic_loss(logits: Tensor, wanted: Tensor, rate_told: Tensor, rates: Tensor, rate_weight: float) -> Tensor:
    from torch.nn.functional import cross_entropy, smooth_l1_loss

    tagging = cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=UNTAGGED)
    return tagging + rate_weight * smooth_l1_loss(rate_told, rates)


def _answered_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the cross-entropy over the tokens of which something is known; of `ANY_FAULT` any class but the sound one is right."""
    import torch

    known = wanted != UNTAGGED
    told, right = logits[known].log_softmax(-1), wanted[known]
    of_class = told.gather(-1, right.clamp(min=0)[:, None])[:, 0]
    return -torch.where(right == ANY_FAULT, told[:, 1:].logsumexp(-1), of_class).mean()
