"""transformers' Trainer, told how to batch rows, what the loss is, when to stop and what people are to see.

Kept from the Trainer: accumulation, clipping, the optimizer and its schedule, and checkpoints with optimizer, schedule and
random states. Replaced: the order of rows (a pure function of the seed, so that a resumed job sees the same batches), the
loss (on the label token, from the last position alone) and the look at the validation rows.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from core import gate
from core.errors import JobError
from core.training import EventKind, Prediction
from core.types import Dimension
from training.context import JobContext
from training.files import whole_folder, write_whole
from training.finetune.adapter import last_logits
from training.finetune.data import Batch, EncodedRow, LabelTokens, plan_batches
from training.finetune.losses import label_log_probabilities, label_loss
from training.specs import FineTuneSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WHOLE = "whole"
LOGGED_POINTS = 400


@dataclass(frozen=True, slots=True)
class Material:
    """What a fine-tune works on: encoded rows, the validation rows among them, labels, and the batches of the whole training."""

    train: Sequence[EncodedRow]
    validation: Sequence[EncodedRow]
    dimensions: dict[str, Dimension]
    tokens: LabelTokens
    batches: Sequence[Sequence[int]]
    pad_id: int


@dataclass(frozen=True, slots=True)
class Look:
    """What the validation rows say: MAE of the median, kappa, and the mean log loss on the labels."""

    mae: float
    kappa: float
    loss: float

    @property
    def order(self) -> tuple[float, float]:
        """Return what is compared: the smaller is better, and equal MAE is decided by the loss."""
        return round(self.mae, 6), self.loss


class LabelTrainer(Trainer):  # type: ignore[misc]
    """A Trainer of label tokens."""

    control: Any

    def __init__(self, spec: FineTuneSpec, context: JobContext, material: Material, model: Any, autocast: torch.dtype | None) -> None:
        steps = count_steps(spec, len(material.batches))
        self._spec, self._context, self._material = spec, context, material
        self._autocast = autocast
        self.model_accepts_loss_kwargs = False
        arguments = _arguments(spec, context, steps, next(model.parameters()).device.type, bool(material.validation), autocast)
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=list(material.train),
            eval_dataset=list(material.validation) or None,
            callbacks=[Reporter(spec, context, material, steps)],
        )
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = False

    def get_train_dataloader(self) -> Any:
        """Return the planned batches in their order."""
        from torch.utils.data import DataLoader

        tokens, pad_id = self._material.tokens, self._material.pad_id

        def collate(rows: list[EncodedRow]) -> dict[str, Batch]:
            return {"batch": tokens.batch(rows, pad_id)}

        rows: Any = self._material.train
        return DataLoader(rows, batch_sampler=[list(batch) for batch in self._material.batches], collate_fn=collate)

    def floating_point_ops(self, inputs: object) -> int:
        """Return 0: the Trainer's count knows neither the batch's form nor padding."""
        del inputs
        return 0

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: object = None) -> Any:
        """Return the mean label loss of a batch."""
        del return_outputs, num_items_in_batch
        batch: Batch = inputs["batch"]
        logits = self._logits(model, batch)
        return label_loss(logits, batch.targets.on(logits.device), self._spec.loss)

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """Look at the validation rows, tell it, and keep the model when it is the best so far."""
        look = self.look()
        step = self.state.global_step
        metrics = {"eval_mae": look.mae, "eval_kappa": look.kappa, "eval_loss": look.loss}
        earlier = looks(self.state.log_history)
        self.log(metrics)
        report_look(self._context, look, step, self.state.max_steps)
        if all(look.order < other.order for other in earlier):
            save_best(self._context, self.model, step, look)
        elif stale(looks(self.state.log_history)) >= self._spec.patience:
            words = {
                "en": f"Stopped early: no better figure in {self._spec.patience} looks at the validation rows.",
                "zh": f"提前停止：连续 {self._spec.patience} 次验证没有更好的结果。",
            }
            self._context.report(EventKind.NOTE, step, self.state.max_steps, message=words)
            self.control.should_training_stop = True
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def look(self) -> Look:
        """Return the figures of the validation rows with the model as it is."""
        import torch

        model: Any = self.model
        training = model.training
        model.eval()
        rows = sorted(self._material.validation, key=lambda row: len(row.ids))
        size = 2 * self._spec.batch_size
        found: list[tuple[EncodedRow, list[float]]] = []
        with torch.no_grad():
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                batch = self._material.tokens.batch(part, self._material.pad_id)
                logits = self._logits(model, batch)
                log_p = label_log_probabilities(logits, batch.targets.on(logits.device))
                found += zip(part, log_p.tolist(), strict=True)
        model.train(training)
        return _look(found, self._material.dimensions)

    def _logits(self, model: Any, batch: Batch) -> Tensor:
        import torch

        device = next(model.parameters()).device
        ids, lengths = batch.ids.to(device, non_blocking=True), batch.lengths.to(device, non_blocking=True)
        with torch.autocast(device.type, dtype=self._autocast or torch.bfloat16, enabled=self._autocast is not None):
            return last_logits(model, ids, lengths)


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Tells what happens, marks whole checkpoints, and ends the training when somebody asks for it."""

    def __init__(self, spec: FineTuneSpec, context: JobContext, material: Material, steps: int) -> None:
        self._spec, self._context, self._material, self._steps = spec, context, material, steps
        self._began = self._last = (0, time.perf_counter())
        self.stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ARG002
        """Start the clock."""
        self._began = self._last = (state.global_step, time.perf_counter())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ARG002
        """Save and end on request; a checkpoint's step is always logged, so that no spoiled one is kept."""
        if state.global_step % self._spec.checkpoint_every == 0:
            control.should_log = True
        if self._context.stop_requested() and state.global_step < self._steps:
            control.should_log = control.should_save = control.should_training_stop = True
            control.should_evaluate = False
            self.stopped = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: object) -> None:  # noqa: ARG002
        """Report loss, rates and the time left. Raises JobError when the loss is no number."""
        if logs is None or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise _spoiled(state.global_step, self._spec)
        now = time.perf_counter()
        (first, began), (before, then) = self._began, self._last
        self._last = (state.global_step, now)
        rows, tokens = self._seen(before, state.global_step)
        spent = max(now - then, 1e-9)
        figures = {
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs.get("grad_norm", math.nan),
            "rows_per_second": rows / spent,
            "tokens_per_second": tokens / spent,
            "memory_gib": memory_gib(args.device.type),
        }
        self._context.report(EventKind.TRAIN, state.global_step, self._steps, figures)
        left = (now - began) / max(1, state.global_step - first) * (self._steps - state.global_step)
        self._context.report(EventKind.PROGRESS, state.global_step, self._steps, {"seconds_left": left})

    def on_save(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ARG002
        """Mark the checkpoint as whole: the mark is written last."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_whole(folder / WHOLE, str(state.global_step))
        self._context.report(EventKind.CHECKPOINT, state.global_step, self._steps)

    def _seen(self, before: int, now: int) -> tuple[int, int]:
        """Return the rows and their tokens between two steps."""
        batches = self._material.batches[before * self._spec.accumulation : now * self._spec.accumulation]
        indices = [index for batch in batches for index in batch]
        return len(indices), sum(len(self._material.train[index].ids) for index in indices)


def count_steps(spec: FineTuneSpec, batches: int) -> int:
    """Return the optimizer steps of a training."""
    steps = max(1, -(-batches // spec.accumulation))
    return min(steps, spec.max_steps) if spec.max_steps else steps


def plan(spec: FineTuneSpec, train: Sequence[EncodedRow]) -> list[list[int]]:
    """Return the batches of the whole training; `max_steps` may ask for more epochs than `epochs` says, never for fewer rows."""
    lengths = [len(row.ids) for row in train]
    batches = plan_batches(lengths, spec.epochs, spec.batch_size, spec.group_by_length, spec.seed)
    return batches[: spec.max_steps * spec.accumulation] if spec.max_steps else batches


def looks(history: Sequence[dict[str, Any]]) -> list[Look]:
    """Return the looks that the Trainer's history holds, in order; the history is a part of every checkpoint."""
    return [Look(entry["eval_mae"], entry["eval_kappa"], entry["eval_loss"]) for entry in history if "eval_mae" in entry]


def stale(found: Sequence[Look]) -> int:
    """Return how many looks in a row were no better than the best before them."""
    best = min(range(len(found)), key=lambda place: (found[place].order, place))
    return len(found) - 1 - best


def report_look(context: JobContext, look: Look, step: int, steps: int) -> None:
    """Tell what the validation rows say."""
    context.report(EventKind.HELD_OUT, step, steps, {"mae": look.mae, "kappa": look.kappa, "loss": look.loss, "score": 1 / (1 + look.mae)})


def save_best(context: JobContext, model: Any, step: int, look: Look | None) -> None:
    """Keep the model as the best so far."""
    with whole_folder(context.checkpoints / "best") as folder:
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        record = {"step": step} if look is None else {"step": step, "mae": look.mae, "kappa": look.kappa, "loss": look.loss}
        (folder / "best.json").write_text(json.dumps(record), encoding="utf-8")


def memory_gib(device: str) -> float:
    """Return the peak memory of this process on the device, in GiB; on a CPU what it holds now."""
    if device == "cuda":
        import torch

        return float(torch.cuda.max_memory_allocated() / 2**30)
    import psutil

    return float(psutil.Process().memory_info().rss / 2**30)


def _look(found: Sequence[tuple[EncodedRow, list[float]]], dimensions: dict[str, Dimension]) -> Look:
    by_dimension: dict[str, list[Prediction]] = {}
    losses = []
    for row, log_p in found:
        dimension = dimensions[row.row.dimension_id]
        shares = {label: math.exp(value) for label, value in zip(dimension.labels, log_p[: len(dimension.labels)], strict=True)}
        if not all(math.isfinite(share) for share in shares.values()):
            return Look(math.inf, 0.0, math.inf)
        vote = max(shares, key=lambda label, shares=shares: shares[label])  # type: ignore[misc]
        by_dimension.setdefault(dimension.id, []).append(Prediction(row.row.hash, dimension.id, row.row.label, vote, shares))
        losses.append(-log_p[row.gold])
    figures = [gate.quality(rows, dimensions[name], dimensions[name].labels[0]) for name, rows in by_dimension.items()]
    count = len(figures)
    return Look(sum(one.mae for one in figures) / count, sum(one.kappa for one in figures) / count, sum(losses) / len(losses))


def _spoiled(step: int, spec: FineTuneSpec) -> JobError:
    return JobError(
        f"The loss at step {step} is no number: the weights are spoiled. Lower learning_rate (it is {spec.learning_rate:g}), or use dtype bf16 "
        "or fp32; then start a new job.",
        zh=f"第 {step} 步的损失不是数字，权重已损坏。请降低 learning_rate（现为 {spec.learning_rate:g}），或改用 bf16 / fp32，再新建任务。",
    )


def _arguments(
    spec: FineTuneSpec, context: JobContext, steps: int, device: str, validates: bool, autocast: torch.dtype | None
) -> TrainingArguments:
    import torch

    return TrainingArguments(
        output_dir=str(context.checkpoints),
        max_steps=steps,
        per_device_train_batch_size=spec.batch_size,
        gradient_accumulation_steps=spec.accumulation,
        learning_rate=spec.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(spec.warmup * steps),
        weight_decay=spec.weight_decay,
        gradient_checkpointing=spec.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if spec.gradient_checkpointing else None,
        fp16=autocast is torch.float16 and device == "cuda",
        eval_strategy="steps" if validates else "no",
        eval_steps=spec.evaluate_every,
        save_strategy="steps",
        save_steps=spec.checkpoint_every,
        save_total_limit=2,
        logging_steps=max(1, steps // LOGGED_POINTS),
        logging_nan_inf_filter=False,
        seed=spec.seed,
        data_seed=spec.seed,
        use_cpu=device == "cpu",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
    )
