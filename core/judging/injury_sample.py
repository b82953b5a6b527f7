"""Learns two detectors from faults injected into the library's own texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.judging.detector import Detector, TwoDetectors, fit_detector
from core.judging.fault_injection import injure
from core.judging.kinship import Kinship
from core.judging.text_arrays import PAD, TextArrays, encode

Features = Callable[[TextArrays, Sequence[Sequence[int]]], list[NDArray[np.int32]]]
_MOST_CHARACTERS = 500_000


def learn_detectors(kin: Kinship, features: Features, width: int, *, per_hundred: float, strength: float, sample: int) -> TwoDetectors:
    """Return detectors of injected faults; `features` maps arrays and each text's relatives to buckets below `width`.

    At most half a million characters of the library are injured, evenly from all of it, so that learning takes seconds
    whatever the library's size. `sample` places are used for each half.
    """
    chosen = _evenly(kin.texts)
    injured = injure([kin.texts[place] for place in chosen], per_hundred, seed=0)
    arrays = encode([one.text for one in injured])
    faulty = np.zeros(len(arrays.codes), dtype=np.bool_)
    for start, length, one in zip(arrays.starts(), arrays.lengths, injured, strict=True):
        for place in one.places:
            faulty[start + min(place, length + PAD - 1)] = True
    found = features(arrays, [sorted({place, *kin.relatives[place]}) for place in chosen])
    half = kin.halves[np.array(chosen, dtype=np.int64)][arrays.doc]
    detectors: list[Detector] = []
    for number in (0, 1):
        outside = (half != number) & arrays.real
        # Where one half holds a single large family, nothing is left outside it: better to learn from all than not at all.
        use = np.flatnonzero(outside if (outside & faulty).any() else arrays.real)
        part = [feature[use] for feature in found]
        detectors.append(fit_detector(part, faulty[use], width, strength=strength, rounds=50, sample=sample, seed=number))
    return TwoDetectors((detectors[0], detectors[1]))


def _evenly(texts: Sequence[str]) -> list[int]:
    total = sum(map(len, texts))
    step = max(1, -(-total // _MOST_CHARACTERS))
    return list(range(0, len(texts), step))
