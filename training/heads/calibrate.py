"""Choosing the calibration of a head on validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from core.judging.head.calibration import calibrated
from core.judging.head.files import Calibration

LEAST_ROWS = 20
_PULL = 2.0


class CalibrationMethod(StrEnum):
    """NONE leaves probabilities as they are, TEMPERATURE makes all of them more or less sure, VECTOR also shifts each label."""

    NONE = "none"
    TEMPERATURE = "temperature"
    VECTOR = "vector"


def choose_calibration(probabilities: NDArray[np.float64], places: Sequence[int], method: CalibrationMethod) -> Calibration:
    """Return the calibration with the least log loss on validation rows, pulled towards none by a weak penalty.

    Fewer than `LEAST_ROWS` rows say too little: then nothing is changed.
    """
    from scipy.optimize import minimize

    labels = probabilities.shape[1]
    if method is CalibrationMethod.NONE or len(places) < LEAST_ROWS:
        return Calibration()
    rows, wanted = np.arange(len(places)), np.asarray(places)
    width = 1 + (labels if method is CalibrationMethod.VECTOR else 0)

    def loss(values: NDArray[np.float64]) -> float:
        given = calibrated(probabilities, _read(values))
        return float(-np.log(np.maximum(given[rows, wanted], 1e-12)).sum() + _PULL * (values**2).sum())

    found = minimize(loss, np.zeros(width), method="L-BFGS-B", bounds=[(-2.0, 2.0)] * width)
    return _read(found.x)


def _read(values: NDArray[np.float64]) -> Calibration:
    """Return the calibration of a vector: the logarithm of the temperature, then the shifts."""
    return Calibration(temperature=float(np.exp(values[0])), shifts=tuple(float(value) for value in values[1:]))
