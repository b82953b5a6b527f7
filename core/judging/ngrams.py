"""The judge of n-grams: a linear tagger over windows of characters that learned what faults look like when made on purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.judging.detector import TwoDetectors, fault_profile, highest, probabilities
from core.judging.injury_sample import learn_detectors
from core.judging.learned_judge import LearnedJudge, Note, Reading, Row
from core.judging.panel_judge import quoted
from core.judging.profile import profile, style_matrix
from core.judging.text_arrays import TextArrays, ahead, char_classes, encode
from core.ports import JudgeContext
from core.types import JudgeSpec

_BITS = 18
_COARSE, _FINE = 60, 400
_KEPT = "，。、；：？！“”‘’（）《》\n…—·\"'"
_SHOWN = 5
_MULTIPLY, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xA0761D6478BD642F)


@dataclass(frozen=True, slots=True)
class Tagger:
    """Two alphabets, (65536,) each, that keep the library's most frequent characters and fold the rest; and detectors."""

    coarse: NDArray[np.uint64]
    fine: NDArray[np.uint64]
    detectors: TwoDetectors


class NgramJudge(LearnedJudge[Tagger]):
    """Tags each place by the n-grams around it, with rare characters folded, and grades by the density of tags.

    What differs from `surprise` is the kind of evidence: not how often the library has a sequence, but which
    sequences of frequent characters, particles and punctuation stand where faults were injected.
    """

    family = "ngrams"

    def acquire(self) -> Tagger:
        """Return alphabets and detectors learned from the library's texts."""
        self._alphabets(_alphabet(self.kin.texts, _COARSE), _alphabet(self.kin.texts, _FINE))
        detectors = learn_detectors(
            self.kin, lambda arrays, _: self._windows(arrays), 1 << _BITS, per_hundred=2.5, strength=0.1, sample=70_000
        )
        return Tagger(self._coarse, self._fine, detectors)

    def prepare(self, knowledge: Tagger) -> None:
        """Take alphabets and detectors."""
        self._alphabets(knowledge.coarse, knowledge.fine)
        self._detectors = knowledge.detectors

    def read(self, rows: Sequence[Row]) -> Reading:
        """Return density and places of the tags, and the rates of kinds of characters."""
        arrays = encode([row.text for row in rows])
        halves = np.array([row.half for row in rows], dtype=np.int64)
        chance = probabilities(self._detectors.logits(self._windows(arrays), arrays.doc, halves))
        notes = [_note(row.text, chance[start : start + len(row.text)]) for row, start in zip(rows, arrays.starts().tolist(), strict=True)]
        style = style_matrix([profile(row.text, row.prompt) for row in rows])
        return Reading(np.concatenate([style, fault_profile(arrays, chance), _class_rates(arrays)], axis=1), notes)

    def _alphabets(self, coarse: NDArray[np.uint64], fine: NDArray[np.uint64]) -> None:
        self._coarse, self._fine = coarse, fine

    def _windows(self, arrays: TextArrays) -> list[NDArray[np.int32]]:
        """Return the bucket of each window template at each place, shape (n,) per template."""
        codes = arrays.codes
        place = codes.astype(np.int64)
        views = {"c": codes, "f": self._fine[place], "s": self._coarse[place]}
        return [_bucket(number, [_at(views[kind], step) for kind, step in window]) for number, window in enumerate(_WINDOWS)]


# c: the character, f: folded to the 400 most frequent, s: folded to the 60 most frequent; each with its distance.
_WINDOWS: tuple[tuple[tuple[str, int], ...], ...] = (
    (("c", 0),),
    (("c", -1),),
    (("c", -1), ("c", 0)),
    (("c", -2), ("c", -1)),
    (("c", 0), ("c", 1)),
    (("s", 0), ("c", -1), ("s", 1)),
    (("s", -1), ("c", 0), ("s", 1)),
    (("s", -2), ("s", -1), ("s", 0), ("s", 1)),
    (("s", -3), ("s", -2), ("s", -1), ("s", 0)),
    (("s", -1), ("s", 0), ("s", 1), ("s", 2)),
    (("f", -1), ("f", 0), ("f", 1)),
    (("f", -2), ("f", -1), ("f", 0)),
    (("f", -2), ("f", 0)),
    (("f", -1), ("f", 1)),
)


def _at(values: NDArray[np.uint64], steps: int) -> NDArray[np.uint64]:
    return np.asarray(ahead(values, steps), dtype=np.uint64)


def _bucket(number: int, parts: Sequence[NDArray[np.uint64]]) -> NDArray[np.int32]:
    key = np.full(len(parts[0]), number + 1, dtype=np.uint64)
    for part in parts:
        key = key * np.uint64(65_599) + part
    key *= _MULTIPLY
    key ^= key >> np.uint64(32)
    key *= _MIX
    return (key >> np.uint64(64 - _BITS)).astype(np.int32)


def _alphabet(texts: Sequence[str], size: int) -> NDArray[np.uint64]:
    """Return the table that keeps the `size` most frequent characters and the punctuation, and folds all others."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    frequent = sorted((one for one in counts if not one.isascii()), key=lambda one: (-counts[one], one))[:size]
    table = np.ones(0x10000, dtype=np.uint64)
    table[ord("0") : ord("9") + 1] = 2
    table[ord("A") : ord("Z") + 1] = 3
    table[ord("a") : ord("z") + 1] = 3
    for index, character in enumerate(dict.fromkeys([*frequent, *_KEPT]), start=10):
        if ord(character) < 0x10000:
            table[ord(character)] = index
    return table


def _class_rates(arrays: TextArrays) -> NDArray[np.float64]:
    """Return how often each kind of character stands in each text, per 100 on a logarithmic scale, and the log length."""
    real = arrays.real
    width, texts = 27, len(arrays.lengths)
    cell = arrays.doc[real] * width + np.minimum(char_classes(arrays.codes[real]), width - 1)
    counts = np.bincount(cell, minlength=texts * width).reshape(texts, width)
    rates = np.log1p(300.0 * counts / np.maximum(arrays.lengths, 1)[:, None])
    return np.concatenate([rates, np.log1p(arrays.lengths)[:, None]], axis=1)


def _note(text: str, chance: NDArray[np.float64]) -> Note:
    peaks = highest(chance, 0.2, _SHOWN)
    shown = [{"excerpt": quoted(text[max(0, at - 2) : at + 2]), "at": int(at), "chance": round(float(chance[at]), 2)} for at in peaks]
    clear = int((chance >= 0.3).sum())
    density = 100.0 * clear / max(len(text), 1)
    facts = {"suspicious": clear, "characters": len(text), "per_100": round(density, 2), "places": shown}
    zh = f"在 {len(text)} 字里，有 {clear} 处字组像是出了错，折合每百字 {density:.1f} 处。"
    en = f"Places where the characters look wrong: {clear} in {len(text)} characters, {density:.1f} per 100."
    return Note(facts, {"zh": zh, "en": en})


def make_ngrams(spec: JudgeSpec, context: JudgeContext) -> NgramJudge:
    """Return the `ngrams` judge, learned from the library or read from its cache."""
    return NgramJudge(spec, context)
