"""What the language model says of each place of a text, as features for a detector of faulty places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.judging.crossed import Crossed
from core.judging.language_model import BINS, Counts
from core.judging.text_arrays import CLASSES, TextArrays, ahead, char_classes

_FEW = 5


def place_features(arrays: TextArrays, counts: Counts) -> tuple[list[NDArray[np.int32]], int]:
    """Return for each place the buckets that a detector adds up, and the number of buckets.

    They say how usual the characters around the place are together, given how usual they are alone (pointwise mutual
    information in bins), whether the text itself repeats them, whether leaving one or two characters out would make
    the place more usual, and what kinds of characters meet.
    """
    crossed = Crossed(len(arrays.codes))
    one, two, three, four = (counts.library[order] for order in (1, 2, 3, 4))
    for step in (-1, 0, 1, 2):
        crossed.add((_at(one, step - 1), BINS), (_at(one, step), BINS), (_at(two, step), BINS))
    for step in (0, 1, 2):
        crossed.add((_at(two, step - 1), BINS), (_at(two, step), BINS), (_at(three, step), BINS))
    for step in (0, 1, 2, 3):
        crossed.add((_at(three, step - 1), BINS), (_at(three, step), BINS), (_at(four, step), BINS))
    own_two, own_three = counts.own[2], counts.own[3]
    crossed.add((own_two, 4), (own_three, 4), (_at(own_three, 1), 4), (two, _FEW))
    _add_classes(crossed, arrays, counts)
    _add_omissions(crossed, arrays, counts)
    return crossed.features, crossed.width


def _add_classes(crossed: Crossed, arrays: TextArrays, counts: Counts) -> None:
    here = char_classes(arrays.codes).astype(np.int32)
    before, after = _at(here, -1), _at(here, 1)
    two, three = counts.library[2], counts.library[3]
    crossed.add((here, CLASSES), (two, BINS), (_at(two, 1), _FEW))
    crossed.add((here, CLASSES), (three, BINS), (_at(three, 1), _FEW))
    crossed.add((before, CLASSES), (two, BINS), (three, _FEW))
    crossed.add((here, CLASSES), (before, CLASSES))
    crossed.add((here, CLASSES), (after, CLASSES))


def _add_omissions(crossed: Crossed, arrays: TextArrays, counts: Counts) -> None:
    here = char_classes(arrays.codes).astype(np.int32)
    two, three = counts.library[2], counts.library[3]
    for left_out, gap in counts.gaps.items():
        for step in (0, -left_out):
            pair, join = _at(gap.pair, step), step + left_out
            crossed.add((pair, BINS), (_at(two, step), _FEW), (_at(two, join), _FEW))
            crossed.add((_at(gap.left, step), BINS), (_at(three, step), _FEW), (pair, _FEW))
            crossed.add((_at(gap.right, step), BINS), (_at(three, join + 1), _FEW), (pair, _FEW))
            crossed.add((_at(gap.both, step), BINS), (_at(three, join), _FEW))
    first = counts.gaps[1]
    crossed.add((here, CLASSES), (first.left, _FEW), (first.right, _FEW))


def _at(values: NDArray[np.int32], steps: int) -> NDArray[np.int32]:
    return np.asarray(ahead(values, steps), dtype=np.int32)
