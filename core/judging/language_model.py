"""Counts of character n-grams of the library, with any text's own share taken out before it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.judging.text_arrays import TextArrays, ahead, buckets, encode, pack

ORDERS = (2, 3, 4)
BINS = 10
"""Counts are read on a logarithmic scale of this many steps: 0, 1, 2-3, 4-7, …, 256 and more."""

_BITS = (16, 24)
_LARGEST = 65_535


@dataclass(frozen=True, slots=True)
class Gap:
    """How usual a place would be without some characters from here on: the pair that would meet, and it with the
    character to its left, to its right, and both; bins, each (n,)."""

    pair: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    both: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Counts:
    """Logarithmic bins of n-gram counts, each (n,) int32 for the n-gram that ends at a place.

    `library` by order (1 to 4) counts the library without the excluded texts, `own` by order (2, 3) the other
    occurrences in the same text, `gaps` by the number of characters (1, 2) left out from a place on.
    """

    library: dict[int, NDArray[np.int32]]
    own: dict[int, NDArray[np.int32]]
    gaps: dict[int, Gap]


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """Saturating count tables by order, 2**bits buckets each; `characters` (65536,) counts single characters.

    `keys` and `values` by order hold the filled buckets only; the full tables are built from them when first used.
    """

    bits: int
    size: int
    characters: NDArray[np.int64]
    keys: dict[int, NDArray[np.int32]]
    values: dict[int, NDArray[np.uint16]]

    def tables(self) -> dict[int, NDArray[np.uint16]]:
        """Return the full tables by order: 2**bits counts each (at most 32 MB an order)."""
        result = {}
        for order in ORDERS:
            table = np.zeros(1 << self.bits, dtype=np.uint16)
            table[self.keys[order]] = self.values[order]
            result[order] = table
        return result


def learn_language(texts: Sequence[str]) -> LanguageModel:
    """Return the n-gram counts of `texts`: about a second for a million characters.

    Tables grow with the library, 16 buckets per character up to 2**24, so that few unseen n-grams fall on a seen one.
    """
    arrays = encode(texts)
    codes = arrays.codes
    bits = int(np.clip(np.ceil(np.log2(max(len(codes), 1) * 16)), *_BITS))
    keys, values = {}, {}
    for order in ORDERS:
        found, counts = np.unique(_ending_here(codes, order, bits), return_counts=True)
        keys[order] = found.astype(np.int32)
        values[order] = np.minimum(counts, _LARGEST).astype(np.uint16)
    characters = np.bincount(codes.astype(np.int64), minlength=0x10000)
    return LanguageModel(bits, len(codes), characters, keys, values)


class Reader:
    """Looks texts up in a language model; `excluded[i]` are library texts whose share row i must not see."""

    def __init__(self, model: LanguageModel) -> None:
        self._bits = model.bits
        self._tables = model.tables()
        self._characters = model.characters
        self._steps = _bin(np.arange(_LARGEST + 1))

    def counts(self, arrays: TextArrays, excluded: Sequence[Sequence[str]]) -> Counts:
        """Return the counts at every place of `arrays`; each text's do not depend on the texts beside it."""
        codes, doc = arrays.codes, arrays.doc
        share = _Share(excluded, self._bits)
        library = {1: _bin(self._characters[codes.astype(np.int64)] - share.characters(codes, doc))}
        own = {}
        for order in ORDERS:
            key = _ending_here(codes, order, self._bits)
            library[order] = self._look(order, key, doc, share)
            if order < 4:
                own[order] = _bin(_repeats(key, doc, self._bits))
        return Counts(library, own, {left_out: self._gap(codes, doc, share, left_out) for left_out in (1, 2)})

    def _gap(self, codes: NDArray[np.uint64], doc: NDArray[np.int64], share: _Share, left_out: int) -> Gap:
        """Return the counts of the n-grams that would meet if `left_out` characters from a place on were not there."""

        def count(*steps: int) -> NDArray[np.int32]:
            key = buckets(pack(*[_at(codes, step) for step in steps]), len(steps), self._bits)
            return self._look(len(steps), key, doc, share)

        n = left_out
        return Gap(count(-1, n), count(-2, -1, n), count(-1, n, n + 1), count(-2, -1, n, n + 1))

    def _look(self, order: int, key: NDArray[np.int64], doc: NDArray[np.int64], share: _Share) -> NDArray[np.int32]:
        found = self._tables[order][key]
        bins = self._steps[found]
        if not share.empty:
            seen = np.flatnonzero((found > 0) & share.covers[doc])
            bins[seen] = _bin(found[seen].astype(np.int64) - share.ngrams(order, key[seen], doc[seen]))
        return bins


class _Share:
    """What the excluded texts of each row put into the tables; `covers` (rows,) says which rows have any."""

    def __init__(self, excluded: Sequence[Sequence[str]], bits: int) -> None:
        self._bits = bits
        self.covers = np.array([len(texts) > 0 for texts in excluded], dtype=np.bool_)
        rows = [row for row, texts in enumerate(excluded) for _ in texts]
        self._texts = encode([text for texts in excluded for text in texts])
        self._rows = np.array(rows, dtype=np.int64)[self._texts.doc] if rows else np.zeros(0, dtype=np.int64)
        self._counted: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    @property
    def empty(self) -> bool:
        return not len(self._rows)

    def characters(self, codes: NDArray[np.uint64], doc: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._look(1, codes.astype(np.int64), doc)

    def ngrams(self, order: int, key: NDArray[np.int64], doc: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._look(order, key, doc)

    def _look(self, order: int, key: NDArray[np.int64], doc: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.empty:
            return np.zeros(len(key), dtype=np.int64)
        found, counts = self._count(order)
        wanted = doc << self._bits | key
        place = np.minimum(np.searchsorted(found, wanted), len(found) - 1)
        return np.where(found[place] == wanted, counts[place], 0)

    def _count(self, order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if order not in self._counted:
            codes = self._texts.codes
            mine = codes.astype(np.int64) if order == 1 else _ending_here(codes, order, self._bits)
            self._counted[order] = np.unique(self._rows << self._bits | mine, return_counts=True)
        return self._counted[order]


def _at(codes: NDArray[np.uint64], steps: int) -> NDArray[np.uint64]:
    return np.asarray(ahead(codes, steps), dtype=np.uint64)


def _ending_here(codes: NDArray[np.uint64], order: int, bits: int) -> NDArray[np.int64]:
    return buckets(pack(*[_at(codes, back) for back in range(1 - order, 1)]), order, bits)


def _repeats(key: NDArray[np.int64], doc: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    _, inverse, counts = np.unique(doc << bits | key, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] - 1, dtype=np.int64)


def _bin(counts: NDArray[np.int64]) -> NDArray[np.int32]:
    exponent = np.frexp(np.maximum(counts, 0).astype(np.float32))[1]  # 0, 1, 2, 3 for 0, 1, 2-3, 4-7
    return np.minimum(exponent, BINS - 1).astype(np.int32)
