"""Reads rows with a head judge's model: probabilities of labels and chances of faults, in padded batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.judging.head.calibration import calibrated
from core.judging.head.files import HeadFile
from core.judging.head.layout import Window
from core.judging.head.model import Batch, build_batch, label_probabilities, look, padded_batches, pool

if TYPE_CHECKING:
    from torch import Tensor

StateSource = Callable[[Batch], "Tensor"]
"""Gives the last states of a batch, (windows, width, hidden), fp32 or narrower."""


@dataclass(frozen=True, slots=True)
class RowReading:
    """What was read of one row: label probabilities, calibrated; each token's chance of each kind of fault; the rate of faults."""

    probabilities: NDArray[np.float64]
    chances: NDArray[np.float64]
    rate: float


class RowReader:
    """The model of a head judge at work."""

    def __init__(self, states: StateSource, heads: Any, head: HeadFile, pad_id: int, device: str, token_budget: int) -> None:
        self._states, self._heads, self._head = states, heads, head
        self._pad_id, self._device, self._budget = pad_id, device, token_budget

    def read(self, rows: Sequence[Sequence[Window]]) -> list[RowReading]:
        """Return one reading per row, in order; each row has at least one window. A row's reading does not depend on the others."""
        if not rows:
            return []
        import torch

        windows = [window for row in rows for window in row]
        numbers = [number for number, row in enumerate(rows) for _ in row]
        totals: list[Tensor | None] = [None] * len(windows)
        chances: list[NDArray[np.float64] | None] = [None] * len(windows)
        with torch.inference_mode():
            for members in padded_batches([len(window.ids) for window in windows], self._budget):
                batch = build_batch([windows[index] for index in members], self._pad_id, self._device)
                glance = look(self._heads, self._states(batch).float(), batch.text)
                faulty = glance.tags.softmax(-1)[..., 1:].cpu().double().numpy()
                for place, index in enumerate(members):
                    totals[index] = glance.totals[place]
                    chances[index] = faulty[place, windows[index].lead : len(windows[index].ids)]
            summed = torch.stack([total for total in totals if total is not None])
            seen = pool(self._heads, summed, torch.tensor(numbers, device=summed.device), len(rows))
            given = calibrated(label_probabilities(self._heads, seen).cpu().double().numpy(), self._head.calibration)
            rates = seen.rate.cpu().tolist()
        parts: list[list[NDArray[np.float64]]] = [[] for _ in rows]
        for number, found in zip(numbers, chances, strict=True):
            if found is not None:
                parts[number].append(found)
        return [RowReading(given[number], np.concatenate(parts[number]), rates[number]) for number in range(len(rows))]
