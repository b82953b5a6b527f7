"""The judge that is surprised: places where the library's language model stumbles, and how the text is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.judging.detector import TwoDetectors, fault_profile, highest, probabilities
from core.judging.injury_sample import learn_detectors
from core.judging.language_model import LanguageModel, Reader, learn_language
from core.judging.learned_judge import LearnedJudge, Note, Reading, Row
from core.judging.panel_judge import quoted
from core.judging.places import place_features
from core.judging.profile import profile, style_matrix
from core.judging.text_arrays import TextArrays, encode
from core.ports import JudgeContext
from core.types import JudgeSpec

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Language:
    """Counts of the library's n-grams and the detectors that weigh them."""

    counts: LanguageModel
    detectors: TwoDetectors


class SurpriseJudge(LearnedJudge[Language]):
    """Counts the places where the library would not go on like this, and grades by their density and the style.

    A text is never read with counts that its own family took part in: their share is taken out first, when learning
    as when judging.
    """

    family = "surprise"

    def acquire(self) -> Language:
        """Return counts of the library and detectors of faults injected into it."""
        counts = learn_language(self.kin.texts)
        self._reader = Reader(counts)
        width = self._places(encode(["字"]), [[]])[1]
        detectors = learn_detectors(
            self.kin, lambda arrays, kin: self._places(arrays, kin)[0], width, per_hundred=1.5, strength=0.1, sample=80_000
        )
        return Language(counts, detectors)

    def prepare(self, knowledge: Language) -> None:
        """Build the count tables."""
        self._reader = Reader(knowledge.counts)
        self._detectors = knowledge.detectors

    def read(self, rows: Sequence[Row]) -> Reading:
        """Return style and density of surprising places."""
        arrays = encode([row.text for row in rows])
        features, _ = self._places(arrays, [row.relatives for row in rows])
        halves = np.array([row.half for row in rows], dtype=np.int64)
        chance = probabilities(self._detectors.logits(features, arrays.doc, halves))
        style = style_matrix([profile(row.text, row.prompt) for row in rows])
        notes = [
            surprise_note(row.text, chance[start : start + len(row.text)])
            for row, start in zip(rows, arrays.starts().tolist(), strict=True)
        ]
        return Reading(np.concatenate([style, fault_profile(arrays, chance)], axis=1), notes)

    def _places(self, arrays: TextArrays, relatives: Sequence[Sequence[int]]) -> tuple[list[NDArray[np.int32]], int]:
        excluded = [[self.kin.texts[place] for place in family] for family in relatives]
        return place_features(arrays, self._reader.counts(arrays, excluded))


def surprise_note(text: str, chance: NDArray[np.float64]) -> Note:
    """Return the most surprising places of a text in words; `chance` has the probability of a fault at each place."""
    peaks = highest(chance, 0.1, _SHOWN)
    shown = [{"excerpt": quoted(text[max(0, at - 2) : at + 2]), "at": int(at), "chance": round(float(chance[at]), 2)} for at in peaks]
    expected, clear = float(chance.sum()), int((chance >= 0.2).sum())
    density = 100.0 * expected / max(len(text), 1)
    facts = {"surprising": round(expected, 1), "characters": len(text), "per_100": round(density, 2), "places": shown}
    zh = f"在 {len(text)} 字里，语言模型觉得有 {clear} 处明显不顺，折合每百字约 {density:.1f} 处可疑。"
    en = f"Places where the language clearly stumbles: {clear} in {len(text)} characters; about {density:.1f} per 100 are suspect."
    return Note(facts, {"zh": zh, "en": en})


def make_surprise(spec: JudgeSpec, context: JudgeContext) -> SurpriseJudge:
    """Return the `surprise` judge, learned from the library or read from its cache."""
    return SurpriseJudge(spec, context)
