"""Demands of a prompt that can be counted: how long the text is, how many numbered points it has.

The demand is added to the prompt, for a text that is there already: whether it is kept is then known exactly.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass

from training.defects.outline import NUMERALS, Marker, read_markers

_STATED = re.compile(r"[\d一二三四五六七八九十百千两]+\s*(?:余|多|个)?(?:字|点|条|个方面|部分)")
_AT_LEAST = re.compile(r"(?:不少于|不低于|至少)\s*(\d{2,5})\s*字|(\d{2,5})\s*字以上")
_AT_MOST = re.compile(r"(?:不超过|不多于)\s*(\d{2,5})\s*字|(\d{2,5})\s*字(?:以内|以下)")
_CLEARLY = 1.15
_FAR = 1.6
_FEWEST, _MOST = 2, 9


@dataclass(frozen=True, slots=True)
class Demand:
    """A demand in words, and the characters of the text that break it (none for one that is kept)."""

    words: str
    start: int = 0
    end: int = 0


def length_of(text: str) -> int:
    """Return the characters of a text without blanks, as lengths are demanded."""
    return sum(not character.isspace() for character in text)


def states_demand(prompt: str) -> bool:
    """Return whether a prompt states a length or a number of points already."""
    return bool(_STATED.search(prompt))


def keeps_length(prompt: str, text: str) -> bool:
    """Return whether a text has the length that its prompt states, in digits; one that states none is kept by any."""
    length = length_of(text)
    least = [int(match[1] or match[2]) for match in _AT_LEAST.finditer(prompt)]
    most = [int(match[1] or match[2]) for match in _AT_MOST.finditer(prompt)]
    return all(length >= number for number in least) and all(length <= number for number in most)


def added(prompt: str, demand: Demand) -> str:
    """Return the prompt with the demand at its end."""
    return f"{prompt.rstrip('。')}，{demand.words}。"


def kept_demand(text: str, draw: random.Random) -> Demand:
    """Return a demand that the text keeps."""
    items = numbered_lines(text)
    if items and draw.random() < 0.5:
        return Demand(f"分{NUMERALS[len(items) - 1]}点来写")
    length, factor = length_of(text), draw.uniform(_CLEARLY, _FAR)
    if draw.random() < 0.5:
        return Demand(f"全文不少于{_down(length / factor)}字")
    return Demand(f"全文不超过{_up(length * factor)}字")


def broken_demand(text: str, draw: random.Random) -> Demand:
    """Return a demand that the text does not keep: too short or too few points mark its last characters, else what is too much."""
    items = numbered_lines(text)
    end = len(text.rstrip())
    if items and draw.random() < 0.5:
        wanted = draw.choice([number for number in range(_FEWEST, _MOST + 1) if number != len(items)])
        start = items[wanted].whole.start if wanted < len(items) else max(0, end - 2)
        return Demand(f"分{NUMERALS[wanted - 1]}点来写", start, end)
    length, factor = length_of(text), draw.uniform(_CLEARLY, _FAR)
    if draw.random() < 0.5:
        return Demand(f"全文不少于{_up(length * factor)}字", max(0, end - 2), end)
    most = _down(length / factor)
    return Demand(f"全文不超过{most}字", _place_after(text, most), end)


def numbered_lines(text: str) -> list[Marker]:
    """Return the numbered lines of the text's first list; none where they are not numbered 1, 2, 3 and so on."""
    lines = [marker for marker in read_markers(text) if marker.opens_line]
    items = [marker for marker in lines if marker.form == lines[0].form]
    right = [marker.value for marker in items] == list(range(1, len(items) + 1))
    return items if right and _FEWEST <= len(items) <= _MOST else []


def _place_after(text: str, count: int) -> int:
    """Return the place of the first character that is more than `count`, blanks not counted."""
    seen = 0
    for place, character in enumerate(text):
        if not character.isspace():
            if seen == count:
                return place
            seen += 1
    return len(text)


def _step(length: float) -> int:
    return 50 if length >= 400 else 10


def _up(length: float) -> int:
    return math.ceil(length / _step(length)) * _step(length)


def _down(length: float) -> int:
    return max(10, math.floor(length / _step(length)) * _step(length))
