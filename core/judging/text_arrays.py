"""Many texts as one array of characters, so that statistics of characters run at the speed of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PAD = 6
PAD_CODE = 2
CLASSES = 28
"""Width of a character class index; `char_classes` gives values below it."""

_GROUPS = (
    "他", "她", "它", "你", "我", "的", "了", "是", "在", "有", "们", "。！？!?…", "，,", "；;：:、", "“”‘’\"'",
    "（）()《》【】〈〉", "\n", "和与及并或", "地得着过", "这那", "不没", "而但却因所以且如",
)  # fmt: skip
_FIRST = {"digit": 23, "latin": 24, "pad": 25, "other": 26}
_SALTS = (0, 0, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93)
_MULTIPLIER = np.uint64(0xA0761D6478BD642F)

PRONOUNS = (1, 2, 3, 4, 5)
IT = 3
CLAUSE_ENDS = (12, 13, 14)
FUNCTION_WORDS = (6, 7, 8, 9, 10)
ORDINARY = 0


@dataclass(frozen=True, slots=True)
class TextArrays:
    """Texts side by side, each between `PAD` pad characters.

    `codes` is (n,) uint64 of code points (those above U+FFFF are one stand-in), `doc` (n,) int64 the text of each
    place, `real` (n,) bool is False on padding, `lengths` (texts,) int64 counts the characters of each text.
    """

    codes: NDArray[np.uint64]
    doc: NDArray[np.int64]
    real: NDArray[np.bool_]
    lengths: NDArray[np.int64]

    def place(self, doc: int, position: int) -> int:
        """Return the index of a text's character."""
        return int(self.lengths[:doc].sum()) + (2 * doc + 1) * PAD + position

    def starts(self) -> NDArray[np.int64]:
        """Return the index of each text's first character, shape (texts,)."""
        before = np.concatenate([[0], np.cumsum(self.lengths + 2 * PAD)[:-1]]).astype(np.int64)
        return before + PAD


def encode(texts: Sequence[str]) -> TextArrays:
    """Return `texts` as arrays; a lone surrogate counts as a question mark."""
    pad = chr(PAD_CODE) * PAD
    raw = "".join(f"{pad}{text}{pad}" for text in texts).encode("utf-32-le", errors="replace")
    codes = np.frombuffer(raw, dtype="<u4").astype(np.uint64)
    codes[codes > 0xFFFF] = 0x2FFF
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    doc = np.repeat(np.arange(len(texts), dtype=np.int64), lengths + 2 * PAD)
    return TextArrays(codes, doc, codes != PAD_CODE, lengths)


@lru_cache(maxsize=1)
def _class_table() -> NDArray[np.uint8]:
    table = np.full(0x10000, _FIRST["other"], dtype=np.uint8)
    table[0x4E00:0xA000] = ORDINARY
    for index, group in enumerate(_GROUPS, start=1):
        for character in group:
            table[ord(character)] = index
    table[ord("0") : ord("9") + 1] = _FIRST["digit"]
    table[ord("A") : ord("Z") + 1] = _FIRST["latin"]
    table[ord("a") : ord("z") + 1] = _FIRST["latin"]
    table[PAD_CODE] = _FIRST["pad"]
    return table


def char_classes(codes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the class of each character: pronouns and particles one by one, then kinds of punctuation, Han, digits."""
    return _class_table()[codes.astype(np.int64)]


def ahead(values: NDArray[np.generic], steps: int) -> NDArray[np.generic]:
    """Return the array whose place i holds what `values` holds at i + steps; padding makes the wrap harmless."""
    return np.roll(values, -steps)


def pack(*characters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return up to four 16-bit characters as one exact 64-bit key."""
    key = characters[0]
    for character in characters[1:]:
        key = (key << np.uint64(16)) | character
    return key


def buckets(keys: NDArray[np.uint64], order: int, bits: int) -> NDArray[np.int64]:
    """Return the bucket of each key in a table of 2**bits; `order` (2 to 4) keeps n-grams of different lengths apart."""
    mixed = keys * np.uint64(_SALTS[order])
    mixed ^= mixed >> np.uint64(32)
    mixed *= _MULTIPLIER
    return (mixed >> np.uint64(64 - bits)).astype(np.int64)
