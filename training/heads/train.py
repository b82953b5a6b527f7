"""Training an ordinal head: from a ridge probe, on labels, stopped early on validation rows, then calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.judging.head.calibration import calibrated
from core.judging.head.files import Calibration
from core.judging.head.layout import Window
from core.judging.head.model import Seen, label_log_probabilities, label_probabilities, padded_batches, pool
from core.judging.vote import chosen_label
from core.types import DimensionKind
from training.context import Stopped
from training.faults import checkpoints
from training.faults.learning import CLIP, Learner, Method, Schedule, Watcher, make_optimizer, plan_steps, set_rate
from training.heads.calibrate import CalibrationMethod, choose_calibration
from training.heads.losses import OrdinalLoss, ordinal_loss, ranked_score
from training.heads.probe import start_from_probe

if TYPE_CHECKING:
    import torch

GRADE_STEPS, GRADE_LOOK, GRADE_RATE = 300, 10, 2e-3


@dataclass(frozen=True, slots=True)
class GradedRow:
    """A labelled row as tokens; `place` is the position of its label on the scale."""

    windows: tuple[Window, ...]
    place: int

    @property
    def cost(self) -> int:
        """Return the row's padded size in tokens."""
        return len(self.windows) * max(len(window.ids) for window in self.windows)


@dataclass(frozen=True, slots=True)
class HeadTraining:
    """What a head training came to: its calibration, and how the validation rows were graded after it (None without any)."""

    calibration: Calibration
    validation: NDArray[np.float64] | None


def graded_rows(
    learner: Learner, texts: Sequence[str], labels: Sequence[int], scale: Sequence[int], prompts: Sequence[str] | None = None
) -> list[GradedRow]:
    """Return labelled rows as tokens. Rows without a token are left out."""
    places = {label: place for place, label in enumerate(scale)}
    rows = zip(learner.windows(texts, prompts), labels, strict=True)
    return [GradedRow(tuple(windows), places[label]) for windows, label in rows if windows]


def train_head(
    learner: Learner,
    rows: Sequence[GradedRow],
    validation: Sequence[GradedRow],
    schedule: Schedule,
    watcher: Watcher,
    loss: OrdinalLoss = OrdinalLoss.LIKELIHOOD,
    calibration: CalibrationMethod = CalibrationMethod.TEMPERATURE,
    folder: Path | None = None,
) -> HeadTraining:
    """Train the learner's grade (and what of it learns beside), keep what is best on the validation rows, and calibrate.

    The best is the least mean ranked probability score; the probe's own counts too. With a `folder` the training goes on from
    the checkpoint there. Raises Stopped after saving when the watcher asks for it.
    """
    tokens = schedule.tokens_per_step
    if learner.method is Method.FROZEN:
        return train_grade(
            learner.heads,
            features(learner, rows, tokens),
            [row.place for row in rows],
            features(learner, validation, tokens),
            [row.place for row in validation],
            loss,
            calibration,
        )
    start_from_probe(learner.heads, features(learner, rows, tokens), [row.place for row in rows])
    optimizer = make_optimizer(learner, schedule)
    standing = checkpoints.load(folder, learner, optimizer) if folder else checkpoints.Standing()
    steps = plan_steps([row.cost for row in rows], schedule)
    if validation and standing.best is None:
        _look(learner, validation, schedule, watcher, standing, len(steps))
    losses: list[float] = []
    while standing.step < len(steps) and standing.stale < schedule.patience:
        set_rate(optimizer, standing.step, len(steps), schedule.warmup)
        losses.append(_step(learner, optimizer, [rows[index] for index in steps[standing.step]], loss))
        standing.step += 1
        if standing.step % schedule.evaluate_every == 0 or standing.step == len(steps):
            watcher.train(standing.step, len(steps), {"loss": float(np.mean(losses))})
            losses = []
            if validation:
                _look(learner, validation, schedule, watcher, standing, len(steps))
            if folder:
                checkpoints.save(folder, learner, optimizer, standing)
        if watcher.stop_requested() and standing.step < len(steps):
            if folder:
                checkpoints.save(folder, learner, optimizer, standing)
            raise Stopped
    if standing.best_state is not None:
        learner.restore(standing.best_state)
    if not validation:
        return HeadTraining(Calibration(), None)
    raw = probabilities(learner, validation, tokens)
    chosen = choose_calibration(raw, [row.place for row in validation], calibration)
    return HeadTraining(chosen, calibrated(raw, chosen))


def train_grade(
    heads: Any,
    rows: NDArray[np.float64],
    places: Sequence[int],
    validation: NDArray[np.float64],
    validation_places: Sequence[int],
    loss: OrdinalLoss = OrdinalLoss.LIKELIHOOD,
    calibration: CalibrationMethod = CalibrationMethod.TEMPERATURE,
) -> HeadTraining:
    """Train the grade alone on what a frozen model saw, (rows, width) each, in seconds; the rest is as in `train_head`."""
    import torch

    start_from_probe(heads, rows, places)
    grade = [heads["grade"].weight, heads["grade"].bias, heads.thresholds]
    optimizer = torch.optim.AdamW(grade, lr=GRADE_RATE, weight_decay=0.0)
    seen, wanted = _as_seen(heads, rows), torch.tensor(list(places), device=heads.centre.device)
    best, kept = _ranked(heads, validation, validation_places), [weight.detach().clone() for weight in grade]
    for step in range(GRADE_STEPS if len(validation) else 0):
        value = ordinal_loss(label_log_probabilities(heads, seen), wanted, loss)
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % GRADE_LOOK == GRADE_LOOK - 1 and (now := _ranked(heads, validation, validation_places)) < best:
            best, kept = now, [weight.detach().clone() for weight in grade]
    with torch.no_grad():
        for weight, value in zip(grade, kept, strict=True):
            weight.copy_(value)
    if not len(validation):
        return HeadTraining(Calibration(), None)
    raw = grades(heads, validation)
    chosen = choose_calibration(raw, validation_places, calibration)
    return HeadTraining(chosen, calibrated(raw, chosen))


def grades(heads: Any, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each label for what a model saw, before calibration."""
    import torch

    with torch.no_grad():
        return label_probabilities(heads, _as_seen(heads, rows)).cpu().double().numpy()


def _as_seen(heads: Any, rows: NDArray[np.float64]) -> Seen:
    import torch

    given = torch.tensor(rows, dtype=torch.float32, device=heads.centre.device)
    return Seen(given, given[:, -1])


def _ranked(heads: Any, rows: NDArray[np.float64], places: Sequence[int]) -> float:
    """Return the mean ranked probability score; infinity without rows."""
    import torch

    if not len(rows):
        return float("inf")
    return float(ranked_score(torch.tensor(grades(heads, rows)), torch.tensor(list(places))).mean())


def features(learner: Learner, rows: Sequence[GradedRow], tokens: int) -> NDArray[np.float64]:
    """Return what the grade looks at, (rows, width)."""
    import torch

    return _in_batches(learner, rows, tokens, lambda seen: torch.as_tensor(seen.features))


def probabilities(learner: Learner, rows: Sequence[GradedRow], tokens: int) -> NDArray[np.float64]:
    """Return the probability of each label, (rows, labels), before calibration."""
    return _in_batches(learner, rows, tokens, lambda seen: label_probabilities(learner.heads, seen))


def votes(given: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the position of each row's median label, which has the least expected absolute error."""
    chosen = [chosen_label(dict(enumerate(row.tolist())), DimensionKind.ORDINAL) for row in given]
    return np.asarray(chosen, dtype=np.int64)


def _in_batches(learner: Learner, rows: Sequence[GradedRow], tokens: int, take: object) -> NDArray[np.float64]:
    import torch

    assert callable(take)
    learner.backbone.eval()
    parts: dict[int, NDArray[np.float64]] = {}
    with torch.no_grad():
        for members in padded_batches([row.cost for row in rows], tokens):
            found = take(_see(learner, [rows[index] for index in members]))
            parts.update(zip(members, found.cpu().double().numpy(), strict=True))
    return np.stack([parts[index] for index in range(len(rows))]) if parts else np.zeros((0, 0))


def _see(learner: Learner, rows: Sequence[GradedRow]) -> Seen:
    import torch

    batch = learner.batch([window for row in rows for window in row.windows])
    numbers = torch.tensor([number for number, row in enumerate(rows) for _ in row.windows], device=learner.device)
    return pool(learner.heads, learner.glance(batch).totals, numbers, len(rows))


def _step(learner: Learner, optimizer: torch.optim.Optimizer, batch: Sequence[GradedRow], kind: OrdinalLoss) -> float:
    import torch

    learner.backbone.train()
    places = torch.tensor([row.place for row in batch], device=learner.device)
    loss = ordinal_loss(label_log_probabilities(learner.heads, _see(learner, batch)), places, kind)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(list(learner.trainable().values()), CLIP)
    optimizer.step()
    return float(loss.detach())


def _look(
    learner: Learner, validation: Sequence[GradedRow], schedule: Schedule, watcher: Watcher, standing: checkpoints.Standing, steps: int
) -> None:
    """Look at the validation rows, tell it, and keep the weights when they are the best so far."""
    import torch

    given = probabilities(learner, validation, schedule.tokens_per_step)
    places = np.array([row.place for row in validation])
    ranked = float(ranked_score(torch.tensor(given), torch.tensor(places)).mean())
    mae = float(np.abs(votes(given) - places).mean())
    watcher.validation(standing.step, steps, {"ranked_score": ranked, "mae": mae})
    if standing.best is None or ranked < standing.best:
        standing.best, standing.best_state, standing.stale = ranked, learner.state(), 0
    else:
        standing.stale += 1
