"""Rows as token ids, what is kept for validation, and in which order batches come."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from core.judging.transformers.chat import PromptEncoder
from core.training import TrainingRow
from core.types import Dimension, DimensionKind
from training.finetune.losses import Targets
from training.rows import prompt

if TYPE_CHECKING:
    from torch import Tensor

# Rows of like length are looked for among so many batches: enough for little padding, few enough for a fresh mix.
GROUPED_BATCHES = 32
ENCODED_TOGETHER = 512


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row ready for the model: the prompt's ids, and the true label's place among its dimension's labels."""

    row: TrainingRow
    ids: tuple[int, ...]
    gold: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows together: ids (B, T) padded at the right, where a causal model's last real token does not see it; lengths (B,)."""

    ids: Tensor
    lengths: Tensor
    targets: Targets


class LabelTokens:
    """The token of each label, by dimension."""

    def __init__(self, encoder: PromptEncoder, dimensions: Mapping[str, Dimension]) -> None:
        self._dimensions = dimensions
        self._tokens = {name: encoder.label_ids(dimension) for name, dimension in dimensions.items()}
        self._width = max(len(tokens) for tokens in self._tokens.values())

    def targets(self, rows: Sequence[EncodedRow]) -> Targets:
        """Return what the rows should answer."""
        import torch

        tokens, values, known = [], [], []
        for row in rows:
            labels, own = self._dimensions[row.row.dimension_id].labels, self._tokens[row.row.dimension_id]
            filler = self._width - len(own)
            tokens.append([*own, *[own[0]] * filler])
            values.append([*map(float, labels), *[0.0] * filler])
            known.append([True] * len(own) + [False] * filler)
        ordinal = [self._dimensions[row.row.dimension_id].kind is DimensionKind.ORDINAL for row in rows]
        return Targets(
            torch.tensor(tokens), torch.tensor(values), torch.tensor(known), torch.tensor([row.gold for row in rows]), torch.tensor(ordinal)
        )

    def batch(self, rows: Sequence[EncodedRow], pad_id: int) -> Batch:
        """Return rows as one batch."""
        import torch

        lengths = [len(row.ids) for row in rows]
        ids = torch.full((len(rows), max(lengths)), pad_id)
        for place, row in enumerate(rows):
            ids[place, : lengths[place]] = torch.tensor(row.ids)
        return Batch(ids, torch.tensor(lengths), self.targets(rows))


def encode_rows(
    rows: Sequence[TrainingRow], encoder: PromptEncoder, dimensions: Mapping[str, Dimension], max_length: int
) -> tuple[list[EncodedRow], list[TrainingRow]]:
    """Return the rows that fit into `max_length` tokens, and those that do not."""
    fitting: list[EncodedRow] = []
    too_long: list[TrainingRow] = []
    for start in range(0, len(rows), ENCODED_TOGETHER):
        part = rows[start : start + ENCODED_TOGETHER]
        for row, ids in zip(part, encoder.encode([prompt(row) for row in part]), strict=True):
            if len(ids) > max_length:
                too_long.append(row)
            else:
                fitting.append(EncodedRow(row, tuple(ids), dimensions[row.dimension_id].labels.index(row.label)))
    return fitting, too_long


def split_validation(rows: Sequence[EncodedRow], share: float, seed: int) -> tuple[list[EncodedRow], list[EncodedRow]]:
    """Return training and validation rows; near-duplicate families stay together. At least one row trains."""
    families = sorted({row.row.family for row in rows})
    random.Random(f"validation-{seed}").shuffle(families)
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row.row.family] = sizes.get(row.row.family, 0) + 1
    kept: set[str] = set()
    count = 0
    for family in families[1:]:
        if count + sizes[family] > share * len(rows):
            continue
        kept.add(family)
        count += sizes[family]
    return [row for row in rows if row.row.family not in kept], [row for row in rows if row.row.family in kept]


def plan_batches(lengths: Sequence[int], epochs: float, batch_size: int, group: bool, seed: int) -> list[list[int]]:
    """Return the batches of a whole training as row indices, a pure function of its arguments: a resumed job has the same.

    Each epoch takes every row once, in a fresh order; the last one may be a part of an epoch.
    """
    batches: list[list[int]] = []
    whole, rest = int(epochs), epochs - int(epochs)
    for epoch in range(whole + (rest > 0)):
        draw = random.Random(f"order-{seed}-{epoch}")
        order = draw.sample(range(len(lengths)), len(lengths))
        if epoch == whole:
            order = order[: max(1, round(rest * len(order)))]
        batches += _cut(order, lengths, batch_size, group, draw)
    return batches


def _cut(order: list[int], lengths: Sequence[int], batch_size: int, group: bool, draw: random.Random) -> list[list[int]]:
    if group:
        span = GROUPED_BATCHES * batch_size
        spans = [sorted(order[start : start + span], key=lambda index: lengths[index]) for start in range(0, len(order), span)]
        order = list(chain.from_iterable(spans))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if group:
        draw.shuffle(batches)
    return batches
