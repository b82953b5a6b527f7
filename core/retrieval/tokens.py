"""Texts as arrays: one pass over the code points of a whole batch, for the embedder and for near-duplicates.

Characters are normalised one by one (NFKC where it gives one character, lower case, by the frozen Unicode 3.2 tables
that every Python carries), so the result is the same on every version and machine.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
PLANE = 0x10000
CJK_START = 0x2E80
_POWER = np.uint64(0x100000001B3)
_WORD = np.uint64(1 << 63)
_POWERS: U64 = np.cumprod(np.full(64, _POWER, dtype=np.uint64), dtype=np.uint64)


class Kind(IntEnum):
    """What a character is to the tokeniser."""

    DROPPED = 0
    BLANK = 1
    MARK = 2
    SINGLE = 3
    WORD = 4


@dataclass(frozen=True, slots=True)
class Characters:
    """The normalised characters of a batch: text number, code point and kind of each, blanks and marks included."""

    row: I64
    code: U64
    kind: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a batch in order: text number, 64-bit identity, and whether the next token follows unbroken.

    A token is one CJK character or one run of letters and digits; punctuation breaks the sequence, blanks do not.
    """

    row: I64
    identity: U64
    joined: NDArray[np.bool_]


@cache
def _tables() -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Return, for every code point of the basic plane, its normal form and its kind."""
    database = unicodedata.ucd_3_2_0
    normal = np.arange(PLANE, dtype=np.uint32)
    kind = np.empty(PLANE, dtype=np.uint8)
    for code in range(PLANE):
        character = database.normalize("NFKC", chr(code)).lower() if not 0xD800 <= code < 0xE000 else chr(code)
        if len(character) == 1:
            normal[code] = ord(character)
        kind[code] = _kind(code, character[:1] or chr(code))
    return normal, kind


def _kind(code: int, character: str) -> Kind:
    category = unicodedata.ucd_3_2_0.category(character)
    if chr(code).isspace() or category[0] == "Z":
        return Kind.BLANK
    if category in {"Cc", "Cf", "Cs"}:
        return Kind.DROPPED
    if category[0] in "PS":
        return Kind.MARK
    if ord(character) < CJK_START and category[0] in "LNM":
        return Kind.WORD
    return Kind.SINGLE


def characters(texts: Sequence[str]) -> Characters:
    """Return the normalised characters of `texts`; format and control characters are gone."""
    normal, kinds = _tables()
    lengths = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    code = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    row = np.repeat(np.arange(len(texts), dtype=np.int64), lengths)
    low = np.minimum(code, PLANE - 1)
    wide = code >= PLANE
    kind = np.where(wide, np.uint8(Kind.SINGLE), kinds[low])
    kept = kind != Kind.DROPPED
    return Characters(row[kept], np.where(wide, code, normal[low])[kept].astype(np.uint64), kind[kept])


def tokens(texts: Sequence[str]) -> Tokens:
    """Return the tokens of `texts`."""
    chars = characters(texts)
    if not len(chars.code):
        empty = np.empty(0, dtype=np.int64)
        return Tokens(empty, empty.astype(np.uint64), np.empty(0, dtype=np.bool_))
    place = np.arange(len(chars.code), dtype=np.int64)
    in_word = chars.kind == Kind.WORD
    starts = in_word.copy()
    starts[1:] &= ~(in_word[:-1] & (chars.row[1:] == chars.row[:-1]))
    taken = starts | (chars.kind == Kind.SINGLE)
    identity = chars.code.copy()
    if starts.any():
        first = np.flatnonzero(starts)
        origin = first[np.cumsum(starts) - 1]
        weighted = np.where(in_word, (chars.code + np.uint64(1)) * _POWERS[(place - origin) % 64], np.uint64(0))
        identity[first] = mixed(np.add.reduceat(weighted, first)) | _WORD
    index = np.flatnonzero(taken)
    row, segment = chars.row[index], np.cumsum(chars.kind == Kind.MARK)[index]
    joined = np.zeros(len(index), dtype=np.bool_)
    joined[:-1] = (row[1:] == row[:-1]) & (segment[1:] == segment[:-1])
    return Tokens(row, identity[index], joined)


def mixed(values: U64) -> U64:
    """Return a well-spread 64-bit hash of each value (the finaliser of SplitMix64)."""
    mixed_values = values + np.uint64(0x9E3779B97F4A7C15)
    mixed_values ^= mixed_values >> np.uint64(30)
    mixed_values *= np.uint64(0xBF58476D1CE4E5B9)
    mixed_values ^= mixed_values >> np.uint64(27)
    mixed_values *= np.uint64(0x94D049BB133111EB)
    mixed_values ^= mixed_values >> np.uint64(31)
    return mixed_values
