"""Features as buckets: each crosses a few small integers and has its own stretch of a detector's weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Crossed:
    """Collects the features of `places` places; `features` are their buckets, `width` the number of buckets so far."""

    def __init__(self, places: int) -> None:
        self._places = places
        self.features: list[NDArray[np.int32]] = []
        self.width = 0

    def add(self, *parts: tuple[NDArray[np.int32], int]) -> None:
        """Add the crossing of `parts`, each an array (places,) of values and their number; larger values count as the last."""
        bucket = np.zeros(self._places, dtype=np.int32)
        size = 1
        for values, number in parts:
            bucket = bucket * np.int32(number) + np.minimum(values, np.int32(number - 1))
            size *= number
        self.features.append(bucket + np.int32(self.width))
        self.width += size
