"""What a reading of a 选择题 row consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ChoiceKind(StrEnum):
    """How the reply answers; the conventions behind each stand in docs/CHOICE.md."""

    LETTER = "letter"
    OPTION_TEXT = "option_text"
    LETTER_AND_TEXT = "letter_and_text"
    CONFLICT = "conflict"
    CONTRADICTED = "contradicted"
    ELIMINATION = "elimination"
    MULTIPLE = "multiple"
    ALL_OPTIONS = "all_options"
    REFUSAL = "refusal"
    NO_ANSWER = "no_answer"
    UNREADABLE_ROW = "unreadable_row"


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `letter` is canonical ("A" for the first, whatever mark the prompt uses), `text` as the prompt writes it.

    `folded` is the text without spacing, punctuation and case: what replies are compared with.
    """

    letter: str
    text: str
    folded: str


@dataclass(frozen=True, slots=True)
class Pick:
    """What the reply picks, before it is compared with the correct option."""

    letters: frozenset[str]
    kind: ChoiceKind
    confidence: float
    evidence: str


@dataclass(frozen=True, slots=True)
class ChoiceReading:
    """A row as read: canonical letters of the correct and of the picked options, and the label.

    `label` is 1 when exactly the correct options are picked, else 0, and None only when the row itself names no
    correct option. `confidence` in [0, 1] is how often readings of this sort are right. `evidence` is the part of
    the reply that decided, at most 80 characters. `explanation` maps "zh" and "en" to a sentence for people.
    """

    correct: frozenset[str]
    picked: frozenset[str]
    kind: ChoiceKind
    label: int | None
    confidence: float
    evidence: str = ""
    explanation: Mapping[str, str] = field(default_factory=dict)
