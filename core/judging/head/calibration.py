"""Correcting label probabilities so that they mean what they say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.judging.head.files import Calibration

_FLOOR = 1e-9


def calibrated(probabilities: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """Return corrected probabilities, (rows, labels), each row summing to 1."""
    logits = np.log(np.maximum(probabilities, _FLOOR)) / calibration.temperature
    if calibration.shifts:
        logits = logits + np.asarray(calibration.shifts)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)
