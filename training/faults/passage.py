"""A text in words, as the makers of faults see it."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from core.faultmarks import MarkKind

CLAUSE_ENDS = "，。！？；：…\n"
_OPENERS, _CLOSERS = "“‘（《【「(", "”’）》】」)"


@dataclass(frozen=True, slots=True)
class Word:
    """One word: characters `start` to `end` of the text; `tag` is jieba's part of speech ("n", "v", "r", ..., "x" for marks)."""

    text: str
    start: int
    end: int
    tag: str

    @property
    def is_mark(self) -> bool:
        """Return whether this is punctuation or a blank."""
        return not any(character.isalnum() for character in self.text)

    @property
    def is_han(self) -> bool:
        """Return whether every character is a Chinese one."""
        return all("一" <= character <= "鿿" for character in self.text)


@dataclass(frozen=True, slots=True)
class Edit:
    """A fault to be put in: `replacement` stands for characters `start` to `end` of the text.

    `marked` is the part of the replacement, from and to, where a reader stumbles; an empty part is a gap, which marks the
    characters beside it.
    """

    kind: MarkKind
    start: int
    end: int
    replacement: str
    marked: tuple[int, int]


@dataclass(frozen=True)
class Passage:
    """A text with its words; `vocabulary` has the words of the whole corpus by part of speech and length."""

    text: str
    words: tuple[Word, ...]
    vocabulary: Vocabulary

    @cached_property
    def clauses(self) -> tuple[tuple[int, int], ...]:
        """Return the clauses as word positions, first and past the last, the ending mark left out."""
        found, first = [], 0
        for place, word in enumerate(self.words):
            if word.text[0] in CLAUSE_ENDS:
                if place > first:
                    found.append((first, place))
                first = place + 1
        if first < len(self.words):
            found.append((first, len(self.words)))
        return tuple(found)

    @cached_property
    def _clause_starts(self) -> list[int]:
        return [first for first, _ in self.clauses]

    def clause_of(self, place: int) -> tuple[int, int]:
        """Return the clause that holds the word at `place`; an empty one for a mark between clauses."""
        which = bisect_right(self._clause_starts, place) - 1
        if which < 0 or place >= self.clauses[which][1]:
            return place, place
        return self.clauses[which]

    def slice(self, first: int, last: int) -> str:
        """Return the text of the words `first` to `last` (exclusive)."""
        return self.text[self.words[first].start : self.words[last - 1].end] if last > first else ""

    def plain(self, first: int, last: int) -> bool:
        """Return whether the words `first` to `last` (exclusive) stand in one clause and hold no bracket or quote."""
        if not 0 <= first < last <= len(self.words):
            return False
        return not any(word.text[0] in CLAUSE_ENDS or word.text[0] in _OPENERS + _CLOSERS for word in self.words[first:last])


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of a corpus, by (part of speech, length), in a fixed order."""

    words: dict[tuple[str, int], tuple[str, ...]]

    def like(self, word: Word, draw: random.Random) -> str | None:
        """Return another word of the same part of speech and length, or None."""
        others = self.words.get((word.tag[:1], len(word.text)), ())
        if len(others) < 2:
            return None
        chosen = draw.choice(others)
        return chosen if chosen != word.text else None


FaultMaker = Callable[[Passage, int, random.Random], Edit | None]
"""Makes a fault at the word with the given position, or None where it would not show."""


def read_words(text: str) -> tuple[Word, ...]:
    """Return the words of `text`; together they are the whole text."""
    import rjieba

    words, start = [], 0
    for piece, tag in rjieba.tag(text):
        words.append(Word(piece, start, start + len(piece), tag))
        start += len(piece)
    return tuple(words)


def read_passages(texts: list[str]) -> list[Passage]:
    """Return the passages of a corpus, which share one vocabulary."""
    known = {text: read_words(text) for text in dict.fromkeys(texts)}
    kinds: dict[tuple[str, int], set[str]] = {}
    for words in known.values():
        for word in words:
            if word.is_han and word.tag[:1] in "nvadr" and len(word.text) <= 4:
                kinds.setdefault((word.tag[:1], len(word.text)), set()).add(word.text)
    vocabulary = Vocabulary({key: tuple(sorted(found)) for key, found in sorted(kinds.items())})
    return [Passage(text, known[text], vocabulary) for text in texts]
