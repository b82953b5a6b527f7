"""The embedded embedder: characters and character pairs, weighted by the library, hashed into 1,536 dimensions.

Two blocks stand side by side. 1,024 dimensions hold the single tokens (a CJK character, or a word or number of other
scripts): sublinear counts times inverse document frequency, the library's heaviest tokens spread evenly over the
dimensions and every other token hashed. 512 dimensions hold the pairs of neighbours: the same weight times the pair's
cohesion (how much oftener the library has the two together than chance would), the heaviest 200 of a text hashed with
a sign. Cohesion is what makes pairs that are words count and pairs that only touch fade, without a word list.

Every weight is rounded to a whole number before it is added, so sums are exact in any order: a text has the same vector,
bit for bit, in any batch, process and machine.

Sources: feature hashing with signs, Weinberger et al. 2009; sublinear tf-idf, Salton and Buckley 1988; cohesion is the
pointwise mutual information of Church and Hanks 1990, tempered by an exponent.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.retrieval.tokens import I64, U64, mixed, tokens

F64 = NDArray[np.float64]
CODE_VERSION = "ngram-1"
SINGLE_BITS, PAIR_BITS = 17, 21
SINGLE_WIDTH, PAIR_WIDTH = 1024, 512
WIDTH = SINGLE_WIDTH + PAIR_WIDTH
PAIR_SHARE = 0.5  # weight of the pairs' cosine beside the singles' 1.0
PAIRS_KEPT = 200
BATCH_ROWS, BATCH_CHARACTERS = 1024, 1_500_000
COUNT_LIMIT = 255
IDF_FLOOR = 0.3
SINGLE_IDF_POWER, SINGLE_POWER, PAIR_POWER = 0.75, 1.15, 1.4
COHESION_POWER, COHESION_FLOOR, COHESION_CEILING = 0.3, 0.2, 3.0
WEIGHT_UNIT = 64.0
STEPS = 8  # logarithms of counts are kept in eighths of an octave
PRIOR_DOCUMENTS = 20
# The commonest characters of modern written Chinese, most frequent first: what a document frequency is before any
# library has been seen, and what keeps a small library from taking "的" for a rare word.
COMMON = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里"
    "用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实"
    "日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政"
    "美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员"
    "解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件"
    "计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象"
    "完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运"
)


@dataclass(frozen=True, slots=True)
class _Counts:
    """Distinct features per text, ordered by text and feature: text number, feature, how often it occurs."""

    row: I64
    feature: I64
    count: I64


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch's features: singles, pairs, and for each pair the step of its chance (see `_Weights.chance`)."""

    rows: int
    singles: _Counts
    pairs: _Counts
    chance: I64


@dataclass(frozen=True, slots=True)
class _Weights:
    """What `fit` learns. Logarithms of counts are whole steps of an eighth octave, so that tables replace functions."""

    single_idf: F64
    single_slot: I64
    single_sign: F64
    pair_idf: F64
    single_step: I64
    total_step: int
    pair_step: I64


class NgramEmbedder:
    """Embeds Chinese (and other) texts without any model file; `fit` learns the weights of the library's language."""

    def __init__(self) -> None:
        self._weights = _weights(0, *(np.zeros(1 << bits, dtype=np.int64) for bits in (SINGLE_BITS, SINGLE_BITS, PAIR_BITS, PAIR_BITS)))
        self._version = f"{CODE_VERSION}-unfitted"

    @property
    def version(self) -> str:
        """Return the code's version and a hash of the texts that the weights come from."""
        return self._version

    def fit(self, texts: Sequence[str]) -> None:
        """Learn document frequencies and cohesion from `texts`; their order does not matter. Forgets an earlier fit."""
        digests = sorted(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts)
        version = f"{CODE_VERSION}-{hashlib.sha256(b''.join(digests)).hexdigest()[:16]}"
        if version == self._version:
            return
        single_df, single_count, pair_df, pair_count = (
            np.zeros(1 << bits, dtype=np.int64) for bits in (SINGLE_BITS, SINGLE_BITS, PAIR_BITS, PAIR_BITS)
        )
        for batch in _batches(texts):
            found = _features(batch, None)
            for counts, df, total in ((found.singles, single_df, single_count), (found.pairs, pair_df, pair_count)):
                df += np.bincount(counts.feature, minlength=len(df))
                total += np.bincount(counts.feature, weights=counts.count, minlength=len(total)).astype(np.int64)
        self._weights = _weights(len(texts), single_df, single_count, pair_df, pair_count)
        self._version = version

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row per text, shape (len(texts), 1536), float32; a text without letters gives a zero row."""
        vectors = np.zeros((len(texts), WIDTH), dtype=np.float32)
        at = 0
        for batch in _batches(texts):
            vectors[at : at + len(batch)] = _vectors(_features(batch, self._weights), self._weights)
            at += len(batch)
        return vectors


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut `texts` into batches of bounded memory."""
    start = size = 0
    for place, text in enumerate(texts):
        if place > start and (place - start >= BATCH_ROWS or size + len(text) > BATCH_CHARACTERS):
            yield texts[start:place]
            start, size = place, 0
        size += len(text)
    if start < len(texts):
        yield texts[start:]


def _features(texts: Sequence[str], weights: _Weights | None) -> _Batch:
    found = tokens(texts)
    hashed = mixed(found.identity)
    single = (hashed >> np.uint64(64 - SINGLE_BITS)).astype(np.int64)
    left = np.flatnonzero(found.joined)
    right = left + 1
    pair = (mixed(hashed[left] * np.uint64(3) + hashed[right]) >> np.uint64(64 - PAIR_BITS)).astype(np.int64)
    singles = _count(found.row.astype(np.uint64) << np.uint64(SINGLE_BITS) | single.astype(np.uint64), SINGLE_BITS)
    # The chance of a pair depends on its two tokens, which the hash no longer shows; it rides along in the low byte.
    chance = _chance(single[left], single[right], weights) if weights is not None else np.zeros(len(left), dtype=np.int64)
    keys = (found.row[left] << PAIR_BITS | pair) << 8 | chance
    counted = _count(keys.astype(np.uint64), PAIR_BITS + 8)
    pairs = _Counts(counted.row, counted.feature >> 8, counted.count)
    return _Batch(len(texts), singles, pairs, counted.feature & 0xFF)


def _chance(left: I64, right: I64, weights: _Weights) -> I64:
    """Return, in steps, how often each pair would occur in the library if its tokens fell independently (at least once)."""
    steps: I64 = weights.single_step[left] + weights.single_step[right] - weights.total_step
    return np.minimum(np.maximum(steps, 0), 0xFF)


def _count(keys: U64, bits: int) -> _Counts:
    """Count equal keys, where a key is the text number above `bits` bits of feature."""
    keys.sort()
    first = np.flatnonzero(np.concatenate((np.ones(min(1, len(keys)), dtype=np.bool_), keys[1:] != keys[:-1])))
    count = np.diff(np.concatenate((first, [len(keys)])))
    distinct = keys[first].astype(np.int64)
    return _Counts(distinct >> bits, distinct & ((1 << bits) - 1), np.minimum(count, COUNT_LIMIT))


def _steps(counts: I64) -> I64:
    steps: I64 = np.rint(STEPS * np.log2(np.maximum(counts, 1))).astype(np.int64)
    return steps


def _prior() -> F64:
    """Return, for each single feature, in which share of documents of some hundred characters it is to be expected."""
    prior = np.zeros(1 << SINGLE_BITS)
    place = (mixed(np.array([ord(character) for character in COMMON], dtype=np.uint64)) >> np.uint64(64 - SINGLE_BITS)).astype(np.int64)
    rank = np.arange(1, len(COMMON) + 1)
    prior[place] = 1.0 - np.exp(-450.0 * 0.12 / (rank + 3.0))  # Zipf's law over documents of 450 characters
    return prior


def _weights(documents: int, single_df: I64, single_count: I64, pair_df: I64, pair_count: I64) -> _Weights:
    expected = single_df + PRIOR_DOCUMENTS * _prior()
    idf = np.log((documents + PRIOR_DOCUMENTS + 1.0) / (expected + 1.0)) + IDF_FLOOR
    slot, sign = _slots(idf, single_df)
    return _Weights(
        single_idf=idf ** (SINGLE_IDF_POWER * SINGLE_POWER),
        single_slot=slot,
        single_sign=sign,
        pair_idf=(np.log((documents + 1.0) / (pair_df + 1.0)) + IDF_FLOOR) ** PAIR_POWER,
        single_step=_steps(single_count),
        total_step=int(_steps(np.array([single_count.sum()], dtype=np.int64))[0]),
        pair_step=_steps(pair_count + 1),
    )


def _slots(idf: F64, df: I64) -> tuple[I64, F64]:
    """Return the dimension and sign of every single feature.

    The library's features, heaviest first, are dealt out forwards and then backwards over the dimensions, so that heavy
    ones share a dimension only with light ones; the rest go where their hash says.
    """
    features = np.arange(1 << SINGLE_BITS, dtype=np.int64)
    hashed = mixed(features.astype(np.uint64))
    slot = (hashed & np.uint64(SINGLE_WIDTH - 1)).astype(np.int64)
    energy = np.rint(1000.0 * idf**2 * df).astype(np.int64)
    known = np.flatnonzero(df)
    known = known[np.argsort(-energy[known], kind="stable")]
    deal, place = np.divmod(np.arange(len(known)), SINGLE_WIDTH)
    slot[known] = np.where(deal % 2 == 0, place, SINGLE_WIDTH - 1 - place)
    return slot, np.where(hashed >> np.uint64(63), 1.0, -1.0)


_COUNT_WEIGHT: F64 = 1.0 + np.log(np.maximum(np.arange(COUNT_LIMIT + 1), 1))
_SINGLE_COUNT_WEIGHT: F64 = WEIGHT_UNIT * _COUNT_WEIGHT**SINGLE_POWER
_PAIR_COUNT_WEIGHT: F64 = WEIGHT_UNIT * _COUNT_WEIGHT**PAIR_POWER


def _cohesion_table() -> F64:
    """Return the weight by (steps of the pair's count + 1) - (steps of its chance + 1), offset by 256."""
    ratio = 2.0 ** (np.arange(-256, 512) / STEPS)
    return np.clip(ratio**COHESION_POWER, COHESION_FLOOR, COHESION_CEILING) ** PAIR_POWER


_COHESION: F64 = _cohesion_table()
_PLUS_ONE: I64 = np.rint(STEPS * np.log2(1.0 + 2.0 ** (np.arange(256) / STEPS))).astype(np.int64)
_PLUS_ONE[0] = 0  # a pair whose tokens the library hardly has: no chance to compare with


def _vectors(batch: _Batch, weights: _Weights) -> NDArray[np.float32]:
    singles, pairs = batch.singles, batch.pairs
    single_weight = np.rint(_SINGLE_COUNT_WEIGHT[singles.count] * weights.single_idf[singles.feature])
    left = _sum_up(
        batch.rows, SINGLE_WIDTH, singles.row, weights.single_slot[singles.feature], single_weight * weights.single_sign[singles.feature]
    )
    cohesion = _COHESION[weights.pair_step[pairs.feature] - _PLUS_ONE[batch.chance] + 256]
    pair_weight = np.rint(_PAIR_COUNT_WEIGHT[pairs.count] * weights.pair_idf[pairs.feature] * cohesion).astype(np.int64)
    row, feature, heaviest = _heaviest(batch.rows, pairs.row, pairs.feature, pair_weight)
    sign = 1.0 - 2.0 * (feature >> 9 & 1)
    right = _sum_up(batch.rows, PAIR_WIDTH, row, feature & (PAIR_WIDTH - 1), heaviest * sign)
    both = np.concatenate((_unit(left), math.sqrt(PAIR_SHARE) * _unit(right)), axis=1)
    return _unit(both).astype(np.float32)


def _heaviest(rows: int, row: I64, feature: I64, weight: I64) -> tuple[I64, I64, F64]:
    """Return the heaviest `PAIRS_KEPT` features of each text; equal weights are kept by feature."""
    keys = (row << 53) | (np.int64((1 << 31) - 1) - np.minimum(weight, (1 << 31) - 1)) << PAIR_BITS | feature
    keys.sort()
    row = keys >> 53
    rank = np.arange(len(keys)) - np.searchsorted(row, np.arange(rows))[row]
    keys = keys[rank < PAIRS_KEPT]
    return keys >> 53, keys & ((1 << PAIR_BITS) - 1), ((1 << 31) - 1 - (keys >> PAIR_BITS & ((1 << 31) - 1))).astype(np.float64)


def _sum_up(rows: int, width: int, row: I64, slot: I64, weight: F64) -> F64:
    sums: F64 = np.bincount(row * width + slot, weights=weight, minlength=rows * width).astype(np.float64, copy=False)
    return sums.reshape(rows, width)


def _unit(vectors: F64) -> F64:
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return vectors / np.where(length > 0, length, 1.0)[:, None]
