"""Near-duplicate families: texts that share long runs of characters, whatever their dimension.

A text is its normalised letters (no blanks, no punctuation). Every run of 13 of them is hashed. A text of at most 400
letters keeps all of its hashes, a longer one those whose hash falls into a fixed eighth (FracMinHash, Irber et al.
2022), so that any two texts can be compared by the hashes that both would keep. Two texts are near-duplicates when they
are equal as letters, or when they share at least `OVERLAP` of the smaller one's kept hashes (the overlap coefficient)
and these stand for at least `SHARED_RUN` runs; two texts too short for that, when they share half of the longer one's
runs. docs/RETRIEVAL.md tells how the thresholds were chosen.

Runs that more than `COMMON_LIMIT` different texts share are forms ("以下说法正确的是……"), not passages, and are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.retrieval.tokens import I64, U64, Kind, characters, mixed

RUN = 13
SHORT = 400
SAMPLE_BITS = 3
OVERLAP = 0.15
SHARED_RUN = 16
SHARED_SHORT = 4
COMMON_LIMIT = 256
BATCH_TEXTS, BATCH_CHARACTERS = 1024, 1_500_000
FILTER_BITS = 22


@dataclass(frozen=True, slots=True)
class _Fingerprints:
    """Kept hashes of a batch, ordered by text: `row` and `hash` run together, the rest is per text."""

    row: I64
    hash: U64
    whole: U64
    short: NDArray[np.bool_]


class FamilyIndex:
    """The texts of a library, ready to say which of them are near-duplicates of other texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        prints = _merge(list(_fingerprints(texts)))
        self._whole: dict[int, list[int]] = {}
        for position, whole in enumerate(prints.whole.tolist()):
            if whole:
                self._whole.setdefault(whole, []).append(position)
        # Equal texts are one node: a prompt that stands in every row must not make every pair of rows a comparison.
        leaders = np.array(sorted(members[0] for members in self._whole.values()), dtype=np.int64)
        self._members = [frozenset(self._whole[int(prints.whole[leader])]) for leader in leaders]
        node = np.full(len(texts), -1, dtype=np.int64)
        node[leaders] = np.arange(len(leaders))
        kept = node[prints.row] >= 0
        row, hashes = node[prints.row[kept]], prints.hash[kept]
        order = np.lexsort((row, hashes))
        self._row, self._hash = row[order], hashes[order]
        self._short = prints.short[leaders]
        self._start, self._runs = _postings(self._hash)
        self._common = self._start[np.diff(self._runs) > COMMON_LIMIT]
        self._all, self._sampled = _sizes(self._row, self._hash, self._usual(self._hash), len(leaders))
        self._filter = np.zeros(1 << FILTER_BITS, dtype=np.bool_)
        self._filter[_filter_place(self._start)] = True

    def matches(self, texts: Sequence[str]) -> list[frozenset[int]]:
        """Return, for each text, the positions of the library texts that are its near-duplicates (itself included).

        The answer for a text does not depend on the other texts. A text without letters matches nothing.
        """
        found: list[frozenset[int]] = []
        for prints in _fingerprints(texts):
            near: list[set[int]] = [set(self._whole.get(whole, ())) for whole in prints.whole.tolist()]
            for row, node in zip(*self._near(prints), strict=True):
                near[row] |= self._members[node]
            found += [frozenset(members) for members in near]
        return found

    def _near(self, prints: _Fingerprints) -> tuple[list[int], list[int]]:
        """Return the pairs of query row and library node whose shared hashes are enough."""
        usual = self._usual(prints.hash)
        queries = len(prints.whole)
        query_all, query_sampled = _sizes(prints.row, prints.hash, usual, queries)
        row, hashes = prints.row[usual], prints.hash[usual]
        hit = self._filter[_filter_place(hashes)]
        row, hashes = row[hit], hashes[hit]
        if not len(hashes) or not len(self._start):
            return [], []
        place = np.minimum(np.searchsorted(self._start, hashes), len(self._start) - 1)
        hit = self._start[place] == hashes
        row, place = row[hit], place[hit]
        counts = self._runs[place + 1] - self._runs[place]
        if not len(counts):
            return [], []
        first = np.repeat(self._runs[place] - (np.cumsum(counts) - counts), counts)
        nodes = self._row[first + np.arange(len(first))]
        pairs, shared = np.unique(np.repeat(row, counts) * len(self._members) + nodes, return_counts=True)
        query, node = np.divmod(pairs, len(self._members))
        both_short = prints.short[query] & self._short[node]
        smaller = np.where(both_short, np.minimum(query_all[query], self._all[node]), np.minimum(query_sampled[query], self._sampled[node]))
        runs = np.where(both_short, shared, shared << SAMPLE_BITS)
        enough = (shared >= OVERLAP * smaller) & (runs >= SHARED_RUN)
        # Two short texts have few runs to share; they are kin when they share most of the longer one's.
        enough |= both_short & (shared >= SHARED_SHORT) & (2 * shared >= np.maximum(query_all[query], self._all[node]))
        return query[enough].tolist(), node[enough].tolist()

    def _usual(self, hashes: U64) -> NDArray[np.bool_]:
        """Return which hashes are not those of a common form."""
        if not len(self._common):
            return np.ones(len(hashes), dtype=np.bool_)
        return ~np.isin(hashes, self._common)


def family_ids(texts: Sequence[str]) -> list[int]:
    """Return for each text the number of its family: the position of the family's first text.

    Families are the connected groups of near-duplicates. Texts without letters are each their own family.
    """
    matches = FamilyIndex(texts).matches(texts)
    return family_groups(len(texts), [(place, other) for place, near in enumerate(matches) for other in near])


def family_groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Return, for each of `count` places, the first place of the group that `pairs` connect it to."""
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return [root(place) for place in range(count)]


def _fingerprints(texts: Sequence[str]) -> Iterator[_Fingerprints]:
    start = size = 0
    for place, text in enumerate(texts):
        if place > start and (place - start >= BATCH_TEXTS or size + len(text) > BATCH_CHARACTERS):
            yield _batch_fingerprints(texts[start:place])
            start, size = place, 0
        size += len(text)
    if start < len(texts):
        yield _batch_fingerprints(texts[start:])


def _batch_fingerprints(texts: Sequence[str]) -> _Fingerprints:
    chars = characters(texts)
    letter = chars.kind >= Kind.SINGLE
    row, code = chars.row[letter], chars.code[letter]
    lengths = np.bincount(row, minlength=len(texts))
    short = lengths <= SHORT
    whole = _whole(code, lengths)
    if len(code) < RUN:
        return _Fingerprints(row[:0], code[:0], whole, short)
    hashes = _runs(code)
    row, end = row[: len(hashes)], row[RUN - 1 :]
    kept = (row == end) & (short[row] | (hashes >> np.uint64(64 - SAMPLE_BITS) == 0))
    row, hashes = row[kept], hashes[kept]
    order = np.lexsort((hashes, row))
    row, hashes = row[order], hashes[order]
    distinct = np.ones(len(hashes), dtype=np.bool_)
    distinct[1:] = (hashes[1:] != hashes[:-1]) | (row[1:] != row[:-1])
    return _Fingerprints(row[distinct], hashes[distinct], whole, short)


def _runs(code: U64) -> U64:
    """Return the hash of every run of 13 letters, built from runs of 1, 2, 4 and 8."""
    one = mixed(code)
    two = mixed(one[:-1] * np.uint64(3) + one[1:])
    four = mixed(two[:-2] * np.uint64(3) + two[2:])
    eight = mixed(four[:-4] * np.uint64(3) + four[4:])
    count = len(code) - RUN + 1
    return mixed(mixed(eight[:count] * np.uint64(3) + four[8 : 8 + count]) * np.uint64(3) + one[12 : 12 + count])


def _whole(code: U64, lengths: I64) -> U64:
    """Return a hash of all letters of each text, 0 for a text without any."""
    whole = np.zeros(len(lengths), dtype=np.uint64)
    filled = np.flatnonzero(lengths)
    if len(filled):
        ends = np.cumsum(lengths)
        starts = (ends - lengths)[filled]
        place = (np.arange(len(code)) - np.repeat(starts, lengths[filled])).astype(np.uint64)
        whole[filled] = mixed(np.add.reduceat(mixed(code << np.uint64(32) | place), starts)) | np.uint64(1)
    return whole


def _merge(batches: Sequence[_Fingerprints]) -> _Fingerprints:
    offsets = np.cumsum([0, *(len(batch.whole) for batch in batches)])
    empty = np.empty(0, dtype=np.uint64)
    return _Fingerprints(
        np.concatenate([np.empty(0, dtype=np.int64), *(batch.row + offset for batch, offset in zip(batches, offsets, strict=False))]),
        np.concatenate([empty, *(batch.hash for batch in batches)]),
        np.concatenate([empty, *(batch.whole for batch in batches)]),
        np.concatenate([np.empty(0, dtype=np.bool_), *(batch.short for batch in batches)]),
    )


def _postings(hashes: U64) -> tuple[U64, I64]:
    """Return the distinct hashes of a sorted array and the borders of their runs."""
    first = np.flatnonzero(np.concatenate((np.ones(min(1, len(hashes)), dtype=np.bool_), hashes[1:] != hashes[:-1])))
    return hashes[first], np.concatenate((first, [len(hashes)])).astype(np.int64)


def _sizes(row: I64, hashes: U64, usual: NDArray[np.bool_], texts: int) -> tuple[I64, I64]:
    """Return how many usual hashes each text keeps, and how many of them every text would keep."""
    row, hashes = row[usual], hashes[usual]
    sampled = hashes >> np.uint64(64 - SAMPLE_BITS) == 0
    return np.bincount(row, minlength=texts), np.bincount(row[sampled], minlength=texts)


def _filter_place(hashes: U64) -> I64:
    return (hashes & np.uint64((1 << FILTER_BITS) - 1)).astype(np.int64)
