"""Splits that no near-duplicate family straddles, with every label spread evenly."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from core.retrieval.families import family_ids


@dataclass(frozen=True, slots=True)
class Fold:
    """Positions of the rows to learn from, and of those held out."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]


def grouped_folds(texts: Sequence[str], labels: Sequence[int], count: int, seed: int) -> list[Fold]:
    """Return `count` folds; each row is held out once, and families stay together.

    Families are dealt, largest first and otherwise at random, to the fold that lacks their labels most.
    """
    families: dict[int, list[int]] = {}
    for place, family in enumerate(family_ids(texts)):
        families.setdefault(family, []).append(place)
    groups = list(families.values())
    random.Random(seed).shuffle(groups)
    groups.sort(key=len, reverse=True)
    share = {label: number / count for label, number in Counter(labels).items()}
    held: list[list[int]] = [[] for _ in range(count)]
    counts: list[Counter[int]] = [Counter() for _ in range(count)]
    for group in groups:
        wanted = Counter(labels[place] for place in group)
        lack = [sum(number * (1 - counts[fold][label] / share[label]) for label, number in wanted.items()) for fold in range(count)]
        fold = max(range(count), key=lambda one: (lack[one], -len(held[one])))
        held[fold] += group
        counts[fold] += wanted
    everyone = set(range(len(texts)))
    return [Fold(tuple(sorted(everyone - set(part))), tuple(sorted(part))) for part in held]


def inner_split(texts: Sequence[str], labels: Sequence[int], share: float, seed: int) -> Fold:
    """Return the rows to learn from and those to validate on, about `share` of them; families stay together.

    Where a family is too large for the share, the rows to validate on are fewer.
    """
    if share <= 0:
        return Fold(tuple(range(len(texts))), ())
    folds = grouped_folds(texts, labels, max(2, round(1 / share)), seed)
    most = max(1.0, 1.5 * share * len(texts))
    return next((fold for fold in folds if len(fold.held_out) <= most), min(folds, key=lambda fold: len(fold.held_out)))
