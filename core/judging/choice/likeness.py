"""How like an option a misspelt or shortened text is; built so that a changed number or a lost 不 is never overlooked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import takewhile

from core.judging.choice.model import Option

_NUMBERS = re.compile(r"\d+(?:\.\d+)?")
_NEGATIONS = re.compile("[不无未非没否反负]")
_LONGEST = 120
_LEAST, _MARGIN = 0.72, 0.08


def most_like(core: str, options: Sequence[Option]) -> tuple[frozenset[str], float]:
    """Return the one option that the folded text `core` must mean although it is spelt otherwise, and the likeness.

    (empty, 0.0) where none or more than one comes near.
    """
    if not 2 <= len(core) <= _LONGEST:
        return frozenset(), 0.0
    begun = [option for option in options if core in option.folded]
    if len(begun) == 1 and begun[0].folded.startswith(core) and not core[-1].isascii() and 4 * len(core) >= len(begun[0].folded):
        return frozenset({begun[0].letter}), 0.75
    begin, end = _shared(options, 1), _shared(options, -1)
    own = [option for option in options if core in {option.folded[begin:], option.folded[: len(option.folded) - end]} - {option.folded}]
    if len(own) == 1:
        return frozenset({own[0].letter}), 0.9  # "无效" of 合同有效, 合同无效, …; "18" of 16周岁, 18周岁, …
    scored = sorted(((likeness(core, option), option.letter) for option in options), reverse=True)
    if not scored or scored[0][0] < _LEAST or (len(scored) > 1 and scored[0][0] - scored[1][0] < _MARGIN):
        return frozenset(), 0.0
    return frozenset({scored[0][1]}), scored[0][0]


def _shared(options: Sequence[Option], step: int) -> int:
    """Return how many characters all options share at their beginning (`step` 1) or at their end (-1)."""
    columns = zip(*(option.folded[::step] for option in options), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def numbers_of(folded: str) -> list[str]:
    """Return the numbers in a folded text; 3.50 is 3.5."""
    return [number.rstrip("0").rstrip(".") if "." in number else number for number in _NUMBERS.findall(folded)]


def likeness(core: str, option: Option) -> float:
    """Return in [0, 1] how surely the folded text `core` is `option` misspelt or shortened; 1 only for equal texts."""
    if not option.folded or len(_NEGATIONS.findall(core)) != len(_NEGATIONS.findall(option.folded)):
        missing = len(option.folded) - len(core)
        within = missing >= 2 and (option.folded.endswith(core) or option.folded.startswith(core))
        return 0.8 if within and len(core) >= 4 and len(core) >= missing else 0.0
    numbers, own = numbers_of(core), numbers_of(option.folded)
    if numbers != own and (numbers or not option.folded.startswith(core)):
        return 0.0
    if core in option.folded and len(core) >= 3 and 2 * len(core) >= len(option.folded):
        return 0.9
    return SequenceMatcher(None, core, option.folded, autojunk=False).ratio()


def widest_reading(folded: str, at: int, option: Option, options: Sequence[Option]) -> tuple[Option, int, int]:
    """Return the option that stands at `at` of `folded`, and its span: a longer, slightly misspelt one before `option` itself.

    "友人乡间别墅" is 友人的乡间别墅 misspelt rather than the option 乡间别墅.
    """
    found, best = (option, at, at + len(option.folded)), 0.85
    for longer in options:
        offset = longer.folded.find(option.folded)
        if offset < 0 or len(longer.folded) <= len(option.folded):
            continue
        for start in range(max(0, at - offset - 1), min(at, at - offset + 1) + 1):
            for end in range(start + len(longer.folded) - 1, start + len(longer.folded) + 2):
                past = at + len(option.folded)
                if end > len(folded) or end < past or end - start <= len(option.folded):
                    continue
                if (start < at and folded[start] != longer.folded[0]) or (end > past and folded[end - 1] != longer.folded[-1]):
                    continue  # the words around belong to the sentence, not to the longer option
                score = likeness(folded[start:end], longer)
                if score > best:
                    found, best = (longer, start, end), score
    return found
