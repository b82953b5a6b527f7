"""Faults by words that do not belong: pronouns, connectives, padding, repetition."""

from __future__ import annotations

import random

from core.faultmarks import MarkKind
from training.faults.passage import Edit, Passage
from training.faults.wordlists import (
    CATEGORY_NOUNS,
    CLAUSE_TAILS,
    DOUBLED_PHRASES,
    FUNCTION_WORDS,
    INNER_CONNECTIVES,
    OPENING_CONNECTIVES,
    PRONOUNS,
    STRAY_CLAUSES,
)

_DOUBLED = dict(DOUBLED_PHRASES)


def _insert(kind: MarkKind, at: int, words: str) -> Edit:
    return Edit(kind, at, at, words, (0, len(words)))


def push_pronoun(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Put a pronoun before a word, or behind the last of a clause, where nothing asks for one."""
    word = passage.words[place]
    if word.is_mark or word.tag.startswith("r"):
        return None
    at = word.end if place + 1 == passage.clause_of(place)[1] and draw.random() < 0.5 else word.start
    if at == word.start and place and passage.words[place - 1].tag.startswith("r"):
        return None
    return _insert(MarkKind.PRONOUN, at, draw.choice(PRONOUNS))


def replace_by_pronoun(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Let a pronoun stand for a noun that it cannot stand for."""
    word = passage.words[place]
    if not (word.is_han and word.tag.startswith("n") and len(word.text) >= 2):
        return None
    put = draw.choice(PRONOUNS[:5])
    return Edit(MarkKind.PRONOUN, word.start, word.end, put, (0, len(put)))


def open_with_connective(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Open a clause with a connective that connects nothing."""
    first, last = passage.clause_of(place)
    if last - first < 3 or passage.words[first].tag.startswith("c") or not passage.words[first].is_han:
        return None
    return _insert(MarkKind.CONNECTIVE, passage.words[first].start, draw.choice(OPENING_CONNECTIVES))


def push_connective(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Put a connective or preposition between two words inside a clause."""
    first, last = passage.clause_of(place)
    word = passage.words[place]
    if not first < place < last or word.is_mark or word.tag[:1] in "cp":
        return None
    return _insert(MarkKind.CONNECTIVE, word.start, draw.choice(INNER_CONNECTIVES))


def swap_connective(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Put another connective or preposition where one stands."""
    word = passage.words[place]
    if not (word.is_han and word.tag[:1] in "cp"):
        return None
    put = draw.choice(OPENING_CONNECTIVES + INNER_CONNECTIVES)
    return Edit(MarkKind.CONNECTIVE, word.start, word.end, put, (0, len(put))) if put != word.text else None


def pad_function_word(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Put a function word before a word."""
    first, last = passage.clause_of(place)
    word, put = passage.words[place], draw.choice(FUNCTION_WORDS)
    if not first < place < last or word.is_mark or word.text[0] == put[0] or passage.words[place - 1].text[-1] == put[-1]:
        return None
    return _insert(MarkKind.PADDING, word.start, put)


def pad_category(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Hang "的工作", "的问题", ... onto a noun or verb."""
    word = passage.words[place]
    after = passage.words[place + 1].text if place + 1 < len(passage.words) else "。"
    if not (word.is_han and len(word.text) >= 2 and word.tag[:1] in "nv") or after.startswith("的"):
        return None
    return _insert(MarkKind.PADDING, word.end, draw.choice(CATEGORY_NOUNS))


def pad_tail(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """End a clause with a predicate that it has no room for: two sentence patterns blended into one."""
    first, last = passage.clause_of(place)
    if last - first < 4 or not passage.words[last - 1].is_han:
        return None
    return _insert(MarkKind.PADDING, passage.words[last - 1].end, draw.choice(CLAUSE_TAILS))


def pad_clause(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Put a stray clause behind a clause."""
    first, last = passage.clause_of(place)
    if last - first < 3 or last >= len(passage.words) or passage.words[last].text[0] not in "，。；":
        return None
    return _insert(MarkKind.PADDING, passage.words[last - 1].end, "，" + draw.choice(STRAY_CLAUSES))


def pad_verb(passage: Passage, place: int, _draw: random.Random) -> Edit | None:
    """Say a verb as "进行了 ... 的工作"."""
    word = passage.words[place]
    if not (word.is_han and len(word.text) == 2 and word.tag.startswith("v")):
        return None
    return Edit(MarkKind.PADDING, word.start, word.end, f"进行了{word.text}的工作", (0, len(word.text) + 6))


def pad_synonym(passage: Passage, place: int, _draw: random.Random) -> Edit | None:
    """Say the same thing twice in two words."""
    word = passage.words[place]
    doubled = _DOUBLED.get(word.text)
    return Edit(MarkKind.PADDING, word.start, word.end, doubled, (0, len(doubled))) if doubled else None


def pad_foreign_word(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Put a word from elsewhere in the text before a word."""
    first, last = passage.clause_of(place)
    other = passage.words[draw.randrange(len(passage.words))]
    if not first < place < last or not other.is_han or len(other.text) < 2 or passage.words[place].is_mark:
        return None
    if other.text in (passage.words[place].text, passage.words[place - 1].text):
        return None
    return _insert(MarkKind.PADDING, passage.words[place].start, other.text)


def double_word(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Write a word, or the last character of one, twice."""
    word = passage.words[place]
    if not word.is_han:
        return None
    part = word.text if draw.random() < 0.7 else word.text[-1]
    return _insert(MarkKind.REPEATED, word.end, part)


def double_phrase(passage: Passage, place: int, draw: random.Random) -> Edit | None:
    """Write two to four words again, at once or behind a few more."""
    length, apart = draw.randint(2, 4), draw.choice((0, 0, 1, 2))
    end = place + length + apart
    if not passage.plain(place, end):
        return None
    return _insert(MarkKind.REPEATED, passage.words[end - 1].end, passage.slice(place, place + length))


def double_clause(passage: Passage, place: int, _draw: random.Random) -> Edit | None:
    """Write a clause a second time."""
    first, last = passage.clause_of(place)
    if not 3 <= last - first <= 8 or not passage.plain(first, last):
        return None
    return _insert(MarkKind.REPEATED, passage.words[last - 1].end, "，" + passage.slice(first, last))
