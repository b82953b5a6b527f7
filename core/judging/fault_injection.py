"""Faults put into sound text on purpose, so that a judge can learn what faults look like without anyone marking them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_INSERTED = "他她它你我" * 3 + "的的了是有"
_CLAUSE_END = "，。！？；\n"
_SHORTEST = 30
_MARGIN = 8


class Injury(StrEnum):
    """What was done to a place."""

    INSERT = "insert"
    DELETE = "delete"
    SWAP = "swap"
    MOVE = "move"
    DOUBLE = "double"
    REPLACE = "replace"
    TRUNCATE = "truncate"


_WEIGHTED = (
    (Injury.INSERT,) * 3 + (Injury.DELETE,) * 2 + (Injury.SWAP,) * 2 + (Injury.MOVE,) * 2
    + (Injury.DOUBLE, Injury.REPLACE) + (Injury.TRUNCATE,) * 2
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Injured:
    """A text with injected faults and the 0-based places where a reader would stumble."""

    text: str
    places: tuple[int, ...]


def injure(texts: Sequence[str], per_hundred: float, seed: int) -> list[Injured]:
    """Return each text with about `per_hundred` faults per 100 characters; the same seed gives the same faults.

    The mix follows what people find in such texts: pronouns pushed in, words left out, moved, swapped or doubled,
    characters replaced, clauses cut off before their end.
    """
    return [_injure(text, per_hundred, random.Random(seed * 1_000_003 + number)) for number, text in enumerate(texts)]


def _injure(text: str, per_hundred: float, rng: random.Random) -> Injured:
    if len(text) < _SHORTEST:
        return Injured(text, ())
    count = max(1, round(len(text) * per_hundred / 100.0))
    points = sorted(rng.sample(range(2, len(text) - _MARGIN), min(count, (len(text) - _MARGIN) // 10)))
    parts: list[str] = []
    places: list[int] = []
    written, read = 0, 0
    for point in points:
        if point < read:
            continue
        parts.append(text[read:point])
        written += point - read
        replacement, resume = _one(text, point, rng)
        if replacement is None:
            read = point
            continue
        places.append(written)
        if replacement:
            places.append(written + len(replacement))
        parts.append(replacement)
        written += len(replacement)
        read = min(resume, len(text))
    parts.append(text[read:])
    return Injured("".join(parts), tuple(places))


def _one(text: str, point: int, rng: random.Random) -> tuple[str | None, int]:
    """Return what stands at `point` instead, and where the text goes on; None where the fault would not show."""
    kind = rng.choice(_WEIGHTED)
    if kind is Injury.INSERT:
        return rng.choice(_INSERTED), point
    if kind is Injury.DELETE:
        return "", point + rng.choice((1, 2, 2, 3, 4))
    if kind is Injury.DOUBLE:
        return text[point : point + rng.choice((1, 2, 2, 3))], point
    if kind is Injury.REPLACE:
        return rng.choice(text), point + 1
    if kind is Injury.TRUNCATE:
        end = point
        while end < len(text) and text[end] not in _CLAUSE_END:
            end += 1
        return (None, point) if end == point or end - point > 10 else ("", end)
    first = rng.choice((1, 2, 2, 3)) if kind is Injury.SWAP else rng.choice((2, 2, 3, 4))
    second = rng.choice((1, 2, 2, 3, 4)) if kind is Injury.SWAP else rng.choice((4, 5, 6, 7, 8))
    moved = text[point + first : point + first + second] + text[point : point + first]
    return (None, point) if "\n" in moved else (moved, point + first + second)
