"""From tag probabilities of tokens to suspected faults in characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.faultmarks import MarkKind, SuspectedFault

MOST = 64


def character_chances(length: int, spans: Sequence[tuple[int, int]], chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the chance of each kind at each character, (length, kinds), from those of tokens, (tokens, kinds).

    Tokens may be parts of one character: then the one that is surest of a fault speaks for it.
    """
    result = np.zeros((length, chances.shape[1]))
    sure = np.zeros(length)
    for (start, end), row in zip(spans, chances, strict=True):
        total = row.sum()
        for place in range(start, min(end, length)):
            if total > sure[place]:
                sure[place], result[place] = total, row
    return result


def mark_faults(text: str, chances: NDArray[np.float64], kinds: Sequence[MarkKind], least: float) -> list[SuspectedFault]:
    """Return runs of characters whose chance of a fault is at least `least`, the surest `MOST` of them, in order.

    A run's probability is that of its surest character. Runs end where blanks begin or end.
    """
    total = chances.sum(axis=1)
    over = total >= least
    found = []
    start = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and over[end] == over[start] and text[end].isspace() == text[end - 1].isspace():
            continue
        if over[start] and not text[start].isspace():
            kind = kinds[int(chances[start:end].sum(axis=0).argmax())] if kinds else None
            found.append(SuspectedFault(start, end, min(1.0, float(total[start:end].max())), kind))
        start = end
    surest = sorted(found, key=lambda fault: (-fault.probability, fault.start))[:MOST]
    return sorted(surest, key=lambda fault: fault.start)
