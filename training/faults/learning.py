"""What both trainings share: a model that learns, rows as tokens, batches, the optimizer and its schedule."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from core.faultmarks import MARK_KINDS, MarkKind
from core.judging.head.files import Attention
from core.judging.head.layout import Window, read_windows
from core.judging.head.model import Batch, Glance, build_batch, build_heads, last_states, load_backbone, look
from training.attention import avoid_broken_backward

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CLIP = 1.0
_BUCKETS = 50


class Method(StrEnum):
    """Which weights below the heads learn: all, a LoRA adapter, or none."""

    FULL = "full"
    LORA = "lora"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a training goes. `tokens_per_step` counts padding; `head_rate` is the heads' learning rate."""

    learning_rate: float
    head_rate: float
    epochs: float
    tokens_per_step: int
    warmup: float = 0.1
    weight_decay: float = 0.01
    evaluate_every: int = 50
    patience: int = 4
    seed: int = 0


class Watcher(Protocol):
    """Who follows a training: told of figures, asked whether to stop."""

    def train(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Take the figures of training steps."""

    def validation(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Take the figures of the validation rows."""

    def stop_requested(self) -> bool:
        """Return whether to save and stop."""


class Unwatched:
    """Nobody follows, nobody stops."""

    def train(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Pass over."""

    def validation(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Pass over."""

    def stop_requested(self) -> bool:
        """Return False."""
        return False


@dataclass
class Learner:
    """A model that learns: base model, heads, and how both are run. What learns is fp32; `half` computes in bf16.

    `over_base` is False where the weights below an adapter are no longer the base model's own. `trains_embeddings` is for
    models that start from nothing. `kinds` are the tagger's classes, `rate_per` the characters that its rate of faults is for.
    """

    backbone: Any
    heads: Any
    tokenizer: Any
    attention: Attention
    method: Method
    device: str
    max_length: int
    half: bool = False
    reads_prompt: bool = False
    over_base: bool = True
    trains_embeddings: bool = False
    kinds: tuple[MarkKind, ...] = MARK_KINDS
    rate_per: int = 100

    @property
    def pad_id(self) -> int:
        """Return the id that fills windows up."""
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0

    def windows(self, texts: Sequence[str], prompts: Sequence[str] | None = None) -> list[list[Window]]:
        """Return the windows of texts."""
        return read_windows(self.tokenizer, texts, self.max_length, prompts if self.reads_prompt else None)

    def batch(self, windows: Sequence[Window]) -> Batch:
        """Return windows as a batch on the device."""
        return build_batch(windows, self.pad_id, self.device)

    def glance(self, batch: Batch) -> Glance:
        """Return what the model sees, with gradients where its weights learn."""
        import torch

        with self._precision():
            states = last_states(self.backbone, batch, self.attention)
        with torch.autocast(self.device.partition(":")[0], enabled=False):
            return look(self.heads, states.float(), batch.text)

    def trainable(self) -> dict[str, Tensor]:
        """Return the weights that learn, by name."""
        named = [*(("backbone." + name, weight) for name, weight in self.backbone.named_parameters())]
        named += [("heads." + name, weight) for name, weight in self.heads.named_parameters()]
        return {name: weight for name, weight in named if weight.requires_grad}

    def state(self) -> dict[str, Tensor]:
        """Return copies, on the CPU, of what learns and of the heads' buffers."""
        kept = {**self.trainable(), **{"heads." + name: buffer for name, buffer in self.heads.named_buffers()}}
        return {name: weight.detach().to("cpu", copy=True) for name, weight in kept.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        import torch

        mine = {**self.trainable(), **{"heads." + name: buffer for name, buffer in self.heads.named_buffers()}}
        with torch.no_grad():
            for name, weight in mine.items():
                weight.copy_(state[name])

    def _precision(self) -> AbstractContextManager[Any]:
        import torch

        return torch.autocast(self.device.partition(":")[0], dtype=torch.bfloat16, enabled=self.half)


@dataclass(frozen=True, slots=True)
class LearnerOptions:
    """How a model learns. `rank`, `alpha` and `dropout` are of a fresh LoRA adapter; `kinds` and `rate_per` are as in `Learner`."""

    attention: Attention = Attention.BIDIRECTIONAL
    method: Method = Method.LORA
    device: str = "cpu"
    max_length: int = 1024
    rank: int = 64
    alpha: int = 128
    dropout: float = 0.0
    half: bool = False
    reads_prompt: bool = False
    trains_embeddings: bool = False
    seed: int = 0
    kinds: tuple[MarkKind, ...] = MARK_KINDS
    rate_per: int = 100


def make_learner(folder: Path, options: LearnerOptions, labels: int) -> Learner:
    """Return a learner over the base model of a folder, with fresh heads. The seed decides the fresh weights."""
    import torch
    from transformers import AutoTokenizer

    torch.manual_seed(options.seed)
    backbone = load_backbone(folder, weights_format(options), options.device)
    heads = build_heads(backbone.config.get_text_config().hidden_size, len(options.kinds), labels).to(options.device)
    if options.method is Method.LORA:
        backbone = add_adapter(backbone, options.rank, options.alpha, options.dropout)
    learner = Learner(
        backbone,
        heads,
        AutoTokenizer.from_pretrained(folder),
        options.attention,
        options.method,
        options.device,
        options.max_length,
        options.half,
        options.reads_prompt,
        trains_embeddings=options.trains_embeddings,
        kinds=options.kinds,
        rate_per=options.rate_per,
    )
    set_up(learner, options.method)
    return learner


def weights_format(options: LearnerOptions) -> torch.dtype:
    """Return the base model's number format: bf16 where an adapter learns in bf16 above it, else fp32."""
    import torch

    return torch.bfloat16 if options.half and options.method is Method.LORA else torch.float32


def set_up(learner: Learner, method: Method) -> None:
    """Let learn what the method says; an adapter says so itself."""
    avoid_broken_backward()
    learner.method = method
    if method is not Method.LORA:
        learner.backbone.requires_grad_(method is Method.FULL)
    # The embeddings are most of a small model's weights, and few texts move few of their rows.
    learner.backbone.get_input_embeddings().requires_grad_(learner.trains_embeddings and method is Method.FULL)


def add_adapter(backbone: Any, rank: int, alpha: int, dropout: float) -> Any:
    """Return the base model with a fresh LoRA adapter on every linear layer."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", bias="none")
    return without_casts(get_peft_model(backbone, config))


def without_casts(adapted: Any) -> Any:
    """Return the model with an adapter that leaves casts to autocast: its own would turn every input into fp32 and back."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in adapted.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False
    return adapted


def plan_batches(lengths: Sequence[int], tokens: int, draw: random.Random) -> list[list[int]]:
    """Return the batches of one epoch: rows of about equal length together, at most `tokens` with padding, in random order."""
    order = list(range(len(lengths)))
    draw.shuffle(order)
    per_bucket = max(1, _BUCKETS * max(1, tokens // max(1, max(lengths, default=1))))
    batches: list[list[int]] = []
    for start in range(0, len(order), per_bucket):
        batch: list[int] = []
        for index in sorted(order[start : start + per_bucket], key=lambda place: lengths[place]):
            if batch and lengths[index] * (len(batch) + 1) > tokens:
                batches.append(batch)
                batch = []
            batch.append(index)
        batches.append(batch)
    draw.shuffle(batches)
    return batches


def plan_steps(lengths: Sequence[int], schedule: Schedule) -> list[list[int]]:
    """Return the batches of the whole training, one a step; a part of an epoch is its first batches."""
    draw = random.Random(schedule.seed)
    steps: list[list[int]] = []
    whole = math.floor(schedule.epochs)
    for _ in range(whole):
        steps += plan_batches(lengths, schedule.tokens_per_step, draw)
    if schedule.epochs > whole:
        last = plan_batches(lengths, schedule.tokens_per_step, draw)
        steps += last[: max(1, round(len(last) * (schedule.epochs - whole)))]
    return steps


def make_optimizer(learner: Learner, schedule: Schedule) -> torch.optim.Optimizer:
    """Return AdamW with one learning rate for the base model and one for the heads; vectors and heads do not decay."""
    import torch

    named = learner.trainable()
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, weight in named.items():
        head = name.startswith("heads.")
        rate = schedule.head_rate if head else schedule.learning_rate
        decay = 0.0 if head or weight.ndim < 2 else schedule.weight_decay
        groups.setdefault((rate, decay), []).append(weight)
    listed = [{"params": weights, "lr": rate, "highest": rate, "weight_decay": decay} for (rate, decay), weights in groups.items()]
    return torch.optim.AdamW(listed, betas=(0.9, 0.98 if len(named) > 8 else 0.999))


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, warmup: float) -> None:
    """Set the learning rates of a step (from 0): rising over the warm-up, then falling along a cosine to a twentieth."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        share = (step + 1) / rising
    else:
        done = (step - rising) / max(1, steps - rising)
        share = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * share


def seconds() -> Iterator[float]:
    """Yield the seconds since the last time that it was asked."""
    import time

    last = time.perf_counter()
    while True:
        now = time.perf_counter()
        yield now - last
        last = now
