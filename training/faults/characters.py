"""Faults of single characters and words: homophones, lookalikes, wrong words, particles, measure words, punctuation."""

from __future__ import annotations

import random
from functools import lru_cache

from core.faultmarks import MarkKind
from training.faults.passage import CLAUSE_ENDS, Edit, Passage
from training.faults.wordlists import HALF_WIDTH, LOOKALIKES, MEASURES, PARTICLES, QUOTES, RIVALS, STOPS

_LOOKALIKES = {character: group.replace(character, "") for group in LOOKALIKES for character in group}
_RIVALS = {word: [other for other in group.split() if other != word] for group in RIVALS for word in group.split()}

_NUMERALS = "一二两三四五六七八九十百千万几多余各每这那"


def _replace(kind: MarkKind, start: int, end: int, put: str) -> Edit:
    return Edit(kind, start, end, put, (0, len(put)))


@lru_cache(maxsize=1)
def _homophones() -> dict[str, tuple[str, ...]]:
    """Return the common characters (the first level of GB 2312) by their commonest reading, without tone."""
    from pypinyin import lazy_pinyin

    common = [bytes((high, low)).decode("gb2312") for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF) if (high, low) < (0xD7, 0xFA)]
    by_reading: dict[str, list[str]] = {}
    for character, reading in zip(common, lazy_pinyin("".join(common)), strict=True):
        by_reading.setdefault(reading, []).append(character)
    return {reading: tuple(characters) for reading, characters in by_reading.items()}


def homophone(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Write a character of a word by another that sounds alike (its reading in the word decides)."""
    from pypinyin import lazy_pinyin

    word = passage.words[place]
    if not word.is_han or len(word.text) < 2:
        return None
    which = draw.randrange(len(word.text))
    reading = lazy_pinyin(word.text)[which]
    others = [character for character in _homophones().get(reading, ()) if character != word.text[which]]
    return _replace(MarkKind.TYPO, word.start + which, word.start + which + 1, draw.choice(others)) if others else None


def lookalike(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Write a character by another that looks alike."""
    word = passage.words[place]
    candidates = [number for number, character in enumerate(word.text) if character in _LOOKALIKES]
    if not candidates:
        return None
    which = draw.choice(candidates)
    return _replace(MarkKind.TYPO, word.start + which, word.start + which + 1, draw.choice(_LOOKALIKES[word.text[which]]))


def turn_characters(passage: Passage, place: int, _draw: random.Random) -> Edit | None:
    """Let the two characters of a word change places."""
    word = passage.words[place]
    if not word.is_han or len(word.text) != 2 or word.text[0] == word.text[1]:
        return None
    return _replace(MarkKind.TYPO, word.start, word.end, word.text[::-1])


def wrong_word(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Write another word of the same part of speech and length."""
    word = passage.words[place]
    other = passage.vocabulary.like(word, draw) if word.is_han and len(word.text) >= 2 else None
    return _replace(MarkKind.WORD, word.start, word.end, other) if other else None


def rival_word(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Write the near-synonym that does not go with what stands beside it."""
    word = passage.words[place]
    others = _RIVALS.get(word.text)
    return _replace(MarkKind.WORD, word.start, word.end, draw.choice(others)) if others else None


def wrong_particle(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Write 的 for 地, 了 for 着, and so on."""
    word = passage.words[place]
    others = PARTICLES.get(word.text)
    return _replace(MarkKind.PARTICLE, word.start, word.end, draw.choice(others)) if others else None


def push_particle(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Put 的, 了, 着 or 地 between a verb and what follows it."""
    word = passage.words[place]
    after = passage.words[place + 1].text if place + 1 < len(passage.words) else ""
    put = draw.choice(("的", "的", "了", "着", "地", "了的"))
    if not (word.is_han and word.tag[:1] in "vd") or not after or after[0] in put or word.text[-1] in put:
        return None
    return Edit(MarkKind.PARTICLE, word.end, word.end, put, (0, len(put)))


def wrong_measure(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Write another measure word behind a number; the two may be one word."""
    word = passage.words[place]
    number = word.text[:-1] or (passage.words[place - 1].text if place else "")
    if word.text[-1] not in MEASURES or not number or not (number[-1].isdigit() or number[-1] in _NUMERALS):
        return None
    return _replace(MarkKind.PARTICLE, word.end - 1, word.end, draw.choice([other for other in MEASURES if other != word.text[-1]]))


def wrong_stop(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Write another mark, a half-width one, two, or none."""
    word = passage.words[place]
    mark = word.text
    if mark not in STOPS:
        return None
    way = draw.random()
    if way < 0.35:
        return _replace(MarkKind.PUNCTUATION, word.start, word.end, draw.choice([other for other in STOPS[:5] if other != mark]))
    if way < 0.5:
        return _replace(MarkKind.PUNCTUATION, word.start, word.end, HALF_WIDTH[mark])
    if way < 0.65:
        return _replace(MarkKind.PUNCTUATION, word.start, word.end, mark + draw.choice(STOPS))
    after = passage.words[place + 1] if place + 1 < len(passage.words) else None
    if after is None or after.is_mark or not place or passage.words[place - 1].is_mark:
        return None
    return Edit(MarkKind.PUNCTUATION, word.start, word.end, "", (0, 0))


def push_stop(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Put a mark between two words of a clause."""
    word = passage.words[place]
    after = passage.words[place + 1] if place + 1 < len(passage.words) else None
    if word.is_mark or after is None or after.is_mark:
        return None
    put = draw.choice("，，，。、：；”“")
    return Edit(MarkKind.PUNCTUATION, word.end, word.end, put, (0, 1))


def wrong_quote(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Leave out a quotation mark, turn it round, or double it."""
    word = passage.words[place]
    if word.text not in tuple(QUOTES):
        return None
    if draw.random() < 0.5:
        return Edit(MarkKind.PUNCTUATION, word.start, word.end, "", (0, 0))
    turned = QUOTES[1 - QUOTES.index(word.text)]
    return _replace(MarkKind.PUNCTUATION, word.start, word.end, turned if draw.random() < 0.5 else word.text * 2)


def end_early(passage: Passage, place: int, _draw: random.Random) -> Edit | None:
    """End the sentence at a comma."""
    word = passage.words[place]
    if word.text != "，" or word.text not in CLAUSE_ENDS:
        return None
    return _replace(MarkKind.PUNCTUATION, word.start, word.end, "。")
