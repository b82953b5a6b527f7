"""Faults by order and by gaps: words that changed places, words that are missing."""

from __future__ import annotations

import random

from core.faultmarks import MarkKind
from training.faults.passage import Edit, Passage


def _rearranged(passage: Passage, first: int, last: int, order: list[tuple[int, int]]) -> Edit | None:
    """Return the words `first` to `last` put together in another order of pieces; None where that changes nothing."""
    if not passage.plain(first, last):
        return None
    old, new = passage.slice(first, last), "".join(passage.slice(start, end) for start, end in order)
    if old == new:
        return None
    start, end = passage.words[first].start, passage.words[last - 1].end
    return Edit(MarkKind.ORDER, start, end, new, (0, len(new)))


def swap_words(passage: Passage, place: int, _draw: random.Random) -> Edit | None:
    """Let two neighbouring words change places."""
    return _rearranged(passage, place, place + 2, [(place + 1, place + 2), (place, place + 1)])


def swap_chunks(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Let two neighbouring chunks of one to four words change places."""
    middle = place + draw.randint(1, 4)
    last = middle + draw.randint(1, 4)
    return _rearranged(passage, place, last, [(middle, last), (place, middle)]) if last - place > 2 else None


def move_to_end(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Move one or two words to the end of their clause."""
    length = draw.choice((1, 1, 2))
    last = passage.clause_of(place)[1]
    if not length + 1 < last - place <= 14:
        return None
    return _rearranged(passage, place, last, [(place + length, last), (place, place + length)])


def move_to_front(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Move one to three words to the front of their clause."""
    first, last = passage.clause_of(place)
    end = min(place + draw.choice((1, 2, 2, 3)), last)
    if not 1 < place - first <= 12 or end <= place:
        return None
    return _rearranged(passage, first, end, [(place, end), (first, place)])


def scramble(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Shuffle four to seven words."""
    last = place + draw.randint(4, 7)
    if not passage.plain(place, last):
        return None
    order = [(number, number + 1) for number in range(place, last)]
    draw.shuffle(order)
    return _rearranged(passage, place, last, order)


def drop_word(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Leave out one word, or two."""
    last = place + draw.choice((1, 1, 1, 2))
    if not passage.plain(place, last) or not passage.words[place].is_han:
        return None
    return _gap(passage, place, last)


def drop_grammar(passage: Passage, place: int, _draw: random.Random) -> Edit | None:
    """Leave out a preposition, an auxiliary or a linking verb."""
    word = passage.words[place]
    if not (word.tag[:1] in "pu" or word.text in ("是", "有", "在", "将", "把", "对", "为", "被", "使")):
        return None
    return _gap(passage, place, place + 1)


def cut_clause(passage: Passage, place: int, _draw: random.Random) -> Edit | None:
    """Break a clause off before its last words."""
    first, last = passage.clause_of(place)
    if place - first < 2 or not 2 <= last - place <= 5 or not passage.plain(place, last):
        return None
    return _gap(passage, place, last)


def drop_object(passage: Passage, place: int, _draw: random.Random) -> Edit | None:
    """Leave out the noun at the end of a clause, so that its verb has no object."""
    first, last = passage.clause_of(place)
    word = passage.words[last - 1] if last > first else None
    if word is None or last - first < 4 or not word.is_han or not word.tag.startswith("n"):
        return None
    return _gap(passage, last - 1, last)


def _gap(passage: Passage, first: int, last: int) -> Edit:
    return Edit(MarkKind.MISSING, passage.words[first].start, passage.words[last - 1].end, "", (0, 0))
