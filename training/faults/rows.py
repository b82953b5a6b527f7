"""Rows to learn from: pieces of clean prose with faults put in, their tags and rates."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.faultmarks import MarkKind
from training.faults.injector import FaultyText, inject
from training.faults.kinds import SHARES
from training.faults.material import cut


@dataclass(frozen=True, slots=True)
class Recipe:
    """How synthetic rows are made.

    Pieces have at most about `longest` characters. `sound` is the share of rows without a fault; the others have from 0 to
    `highest` faults per 100 characters, every rate as often as any other.
    """

    count: int
    seed: int
    longest: int = 600
    highest: float = 4.6
    sound: float = 0.1
    shares: Mapping[MarkKind, float] | None = None


def make_rows(texts: Sequence[str], recipe: Recipe) -> list[FaultyText]:
    """Return `recipe.count` rows; every piece of the texts is used about as often as any other. Pure: the seed decides everything."""
    draw = random.Random(recipe.seed)
    pieces = [piece for text in texts for piece in cut(text, recipe.longest)]
    if not pieces:
        return []
    chosen: list[str] = []
    while len(chosen) < recipe.count:
        draw.shuffle(pieces)
        chosen += pieces[: recipe.count - len(chosen)]
    rates = [0.0 if draw.random() < recipe.sound else draw.uniform(0.0, recipe.highest) for _ in chosen]
    return inject(chosen, rates, recipe.seed, SHARES if recipe.shares is None else recipe.shares)
