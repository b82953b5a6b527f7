"""How a text is written, as numbers: faults found by rules, pronouns, punctuation, repetition, and fit to its prompt."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.judging.faults import Fault, FaultKind, find_faults

_PRONOUNS = "他她它你我"
_SENTENCE_END = "。！？”…）.!?』」"
_QUOTED = re.compile("“(.+)”为(?:主题|题)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_HAN_PAIR = re.compile("(?=([一-鿿]{2}))")
_KINDS = tuple(FaultKind)


@dataclass(frozen=True, slots=True)
class PromptFit:
    """How a text answers its prompt, each in [0, 1] except `length_ratio` (text per prompt character).

    `coverage` is the share of the prompt's character pairs that the text has, `numbers` the share of its numbers.
    """

    coverage: float
    numbers: float
    length_ratio: float
    present: bool


@dataclass(frozen=True, slots=True)
class Profile:
    """A text's faults and its numbers; `style` (width,) is what models learn from, `fit` the prompt's part."""

    characters: int
    faults: tuple[Fault, ...]
    fit: PromptFit
    repeated_lines: float
    ends_open: bool
    style: NDArray[np.float64]

    @property
    def distinct(self) -> int:
        """Return the number of different faults: a caption repeated five times is one fault."""
        return len({(fault.kind, fault.excerpt) for fault in self.faults})

    @property
    def density(self) -> float:
        """Return different faults per 100 characters."""
        return 100.0 * self.distinct / max(self.characters, 1)


@lru_cache(maxsize=2048)
def profile(text: str, prompt: str = "") -> Profile:
    """Return the profile of one text; it depends on nothing else.

    The last ones are kept, because three judges of a panel look at the same rows one after the other.
    """
    faults = tuple(find_faults(text))
    lines = [line for line in text.split("\n") if line.strip()]
    repeated = 1.0 - len(set(lines)) / len(lines) if lines else 0.0
    ends_open = not text.rstrip().endswith(tuple(_SENTENCE_END))
    fit = _fit(text, prompt)
    style = _style(text, faults, repeated, ends_open, fit)
    return Profile(len(text), faults, fit, repeated, ends_open, style)


def style_matrix(profiles: Sequence[Profile]) -> NDArray[np.float64]:
    """Return the styles as rows, shape (profiles, width)."""
    return np.array([one.style for one in profiles], dtype=np.float64).reshape(len(profiles), -1)


def _fit(text: str, prompt: str) -> PromptFit:
    if not prompt.strip():
        return PromptFit(0.0, 0.0, 0.0, present=False)
    quoted = _QUOTED.search(prompt)
    topic = quoted.group(1) if quoted else prompt
    pairs = set(_HAN_PAIR.findall(topic))
    coverage = sum(pair in text for pair in pairs) / len(pairs) if pairs else 0.0
    numbers = set(_NUMBER.findall(topic))
    found = sum(number in text for number in numbers) / len(numbers) if numbers else 1.0
    return PromptFit(coverage, found, len(text) / max(len(topic), 1), present=True)


def _style(text: str, faults: Sequence[Fault], repeated: float, ends_open: bool, fit: PromptFit) -> NDArray[np.float64]:
    per_hundred = 100.0 / max(len(text), 1)
    kinds = Counter(fault.kind for fault in faults)
    distinct = len({(fault.kind, fault.excerpt) for fault in faults})
    rates = [kinds[kind] * per_hundred for kind in _KINDS]
    rates += [len(faults) * per_hundred, distinct * per_hundred]
    rates += [text.count(pronoun) * per_hundred for pronoun in _PRONOUNS]
    rates += [text.count(mark) * per_hundred for mark in ("\n", "”", "，", "。", "的", "了")]
    shares = [repeated, float(ends_open), fit.coverage, fit.numbers, math.log1p(fit.length_ratio)]
    # Rates are skewed: one fault more says much in a clean text and little in a bad one.
    style = np.array([math.log1p(3.0 * rate) for rate in rates] + shares + [math.log1p(len(text))])
    style.flags.writeable = False
    return style
