"""Places of a text that judges suspect, put together over the judges of a row, and what people answered.

Judges that see faults keep them in their replies (core.faultmarks). The embedded judges quote places too: the rule judge
finds faults without a probability, the judges that count n-grams and surprises give one to a character. Offsets are
characters (code points) of the item's text, from 0, ends exclusive.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from core.faultmarks import MARK_NAMES, MarkKind, suspected_faults
from core.judging.faults import FAULT_NAMES, FaultKind
from core.types import Dimension, Judgement, LocalText

# Where a rule, which gives no probability, stands among those that give one: as an even chance.
RULE_RANK = 0.5

_RULE_KINDS: Mapping[FaultKind, MarkKind] = {
    FaultKind.DOUBLED_CHAR: MarkKind.REPEATED,
    FaultKind.DOUBLED_WORD: MarkKind.REPEATED,
    FaultKind.QUOTE: MarkKind.PUNCTUATION,
    FaultKind.BRACKET: MarkKind.PUNCTUATION,
    FaultKind.MIXED: MarkKind.PUNCTUATION,
    FaultKind.PUNCTUATION: MarkKind.PUNCTUATION,
    FaultKind.OPENING: MarkKind.PUNCTUATION,
    FaultKind.CUT: MarkKind.MISSING,
    FaultKind.DANGLING: MarkKind.MISSING,
    FaultKind.CONNECTIVE: MarkKind.CONNECTIVE,
    FaultKind.PRONOUN: MarkKind.PRONOUN,
    FaultKind.PRONOUN_PAIR: MarkKind.PRONOUN,
    FaultKind.PARTICLE: MarkKind.PARTICLE,
    FaultKind.REDUNDANT: MarkKind.PADDING,
}
_UNNAMED: LocalText = {"zh": "疑似错误", "en": "suspected fault"}


class AnswerKind(StrEnum):
    """What a person says of a place: it is a fault, it is none, it is one that no judge saw; or they take an answer back."""

    CONFIRM = "confirm"
    REJECT = "reject"
    MISSED = "missed"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class FaultAnswer:
    """An answer of a person; appended, never overwritten. `retracts` is the answer that an undo takes back.

    `run_id` is the run whose judges were shown (None: of all runs); `judge_id` the judge that was surest of the place ("" for a
    place that a person marked).
    """

    id: int
    item_id: int
    run_id: int | None
    judge_id: str
    start: int
    end: int
    kind: MarkKind | None
    answer: AnswerKind
    author: str
    created_at: datetime
    retracts: int | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """One judge's suspicion of a place; `probability` is None where the judge gives none (a rule)."""

    judge_id: str
    start: int
    end: int
    probability: float | None
    kind: MarkKind | None
    names: LocalText

    @property
    def rank(self) -> float:
        """Return how strongly it speaks beside others."""
        return RULE_RANK if self.probability is None else self.probability


@dataclass(frozen=True, slots=True)
class Place:
    """A place with the judges that suspect it, the strongest first, and people's standing answers, the oldest first.

    A place without voices was marked by people alone.
    """

    start: int
    end: int
    voices: tuple[Voice, ...] = ()
    answers: tuple[FaultAnswer, ...] = ()

    @property
    def probability(self) -> float | None:
        """Return the highest probability that a judge gives, None where none gives one."""
        return max((voice.probability for voice in self.voices if voice.probability is not None), default=None)

    @property
    def kind(self) -> MarkKind | None:
        """Return what is wrong, by the strongest voice that says so, else by the latest person that does."""
        said = [voice.kind for voice in self.voices] + [answer.kind for answer in reversed(self.answers)]
        return next((kind for kind in said if kind), None)

    @property
    def names(self) -> LocalText:
        """Return the name of what is wrong in both languages."""
        named = next((voice.names for voice in self.voices if voice.kind), None)
        return named or (MARK_NAMES[self.kind] if self.kind else self.voices[0].names if self.voices else _UNNAMED)

    def answer_of(self, author: str) -> FaultAnswer | None:
        """Return a person's latest standing answer."""
        return next((answer for answer in reversed(self.answers) if answer.author == author), None)

    def weight(self, author: str = "") -> float:
        """Return how much of a fault the place is: by the person's own answer 1 or 0, else its probability; a rule counts 1."""
        own = self.answer_of(author) if author else None
        if own is not None:
            return 0.0 if own.answer is AnswerKind.REJECT else 1.0
        return 1.0 if self.probability is None else self.probability


def voices(judgement: Judgement) -> tuple[Voice, ...]:
    """Return the suspicions that a judgement's reply holds, in order of place; () where it holds none."""
    marked = suspected_faults(judgement)
    if marked:
        return tuple(Voice(judgement.judge_id, one.start, one.end, one.probability, one.kind, one.names) for one in marked)
    if '"places"' not in judgement.raw_reply:
        return ()
    try:
        facts = json.loads(judgement.raw_reply)
    except (ValueError, RecursionError):
        return ()
    listed = facts.get("places") if isinstance(facts, dict) else None
    found = [voice for entry in listed if (voice := _quoted_place(judgement.judge_id, entry))] if isinstance(listed, list) else []
    return tuple(sorted(found, key=lambda voice: (voice.start, voice.end)))


def _quoted_place(judge_id: str, entry: object) -> Voice | None:
    """Return a place that an embedded judge quotes: with a chance it is one character, else the rule's excerpt.

    Older replies of rules have no end: their excerpts stop at 12 characters.
    """
    if not isinstance(entry, dict):
        return None
    start, end, chance, code, excerpt = (entry.get(name) for name in ("at", "end", "chance", "fault", "excerpt"))
    if type(start) is not int or start < 0:
        return None
    if isinstance(chance, (int, float)) and 0.0 <= chance <= 1.0:
        return Voice(judge_id, start, start + 1, float(chance), None, _UNNAMED)
    if not isinstance(code, str) or code not in set(FaultKind) or not isinstance(excerpt, str):
        return None
    stop = end if type(end) is int else start + len(excerpt)
    rule = FaultKind(code)
    return Voice(judge_id, start, stop, None, _RULE_KINDS.get(rule), FAULT_NAMES[rule]) if stop > start else None


def merge(judgements: Iterable[Judgement], length: int) -> tuple[Place, ...]:
    """Return the suspected places of a text of `length` characters over all judges, apart from each other, in order of place.

    The strongest voice gives a place its bounds; weaker ones that overlap it join it. What reaches beyond the text is left out.
    """
    heard = [voice for judgement in judgements for voice in voices(judgement) if voice.end <= length]
    heard.sort(key=lambda voice: (-voice.rank, voice.start, voice.end, voice.judge_id))
    places: list[Place] = []
    for voice in heard:
        nearest = max(range(len(places)), key=lambda number: _overlap(places[number], voice), default=-1)
        if nearest >= 0 and _overlap(places[nearest], voice) > 0:
            place = places[nearest]
            if voice not in place.voices:  # the same judge says the same in several runs
                places[nearest] = replace(place, voices=(*place.voices, voice))
        else:
            places.append(Place(voice.start, voice.end, (voice,)))
    return tuple(sorted(places, key=lambda place: place.start))


def standing(answers: Iterable[FaultAnswer]) -> tuple[FaultAnswer, ...]:
    """Return each person's last answer on each span, without what was taken back, the oldest first."""
    listed = sorted(answers, key=lambda answer: answer.id)
    gone = {answer.retracts for answer in listed if answer.answer is AnswerKind.UNDO}
    last = {
        (answer.author, answer.start, answer.end): answer
        for answer in listed
        if answer.answer is not AnswerKind.UNDO and answer.id not in gone
    }
    return tuple(sorted(last.values(), key=lambda answer: answer.id))


def answered(places: Sequence[Place], answers: Sequence[FaultAnswer]) -> tuple[Place, ...]:
    """Return the places with the standing `answers` on them, and with those that people alone hold for faults.

    An answer belongs to the place of its own bounds, else (unless somebody marked it as missed) to the one it overlaps most: judges
    of another run may draw a place's bounds otherwise. What belongs nowhere is a place of its own, or nothing where all reject it.
    """
    held = list(places)
    for answer in answers:
        nearest = max(range(len(held)), key=lambda number: _nearness(held[number], answer), default=-1)
        if nearest >= 0 and _nearness(held[nearest], answer) > 0:
            held[nearest] = replace(held[nearest], answers=(*held[nearest].answers, answer))
        else:
            held.append(Place(answer.start, answer.end, (), (answer,)))
    kept = [place for place in held if place.voices or any(answer.answer is not AnswerKind.REJECT for answer in place.answers)]
    return tuple(sorted(kept, key=lambda place: (place.start, place.end)))


def per_hundred(places: Iterable[Place], length: int, author: str = "") -> float:
    """Return the faults per 100 characters that the places amount to (see Place.weight)."""
    return 100.0 * sum(place.weight(author) for place in places) / max(length, 1)


def rubric_label(dimension: Dimension, rate: float) -> int | None:
    """Return the label that so many faults per 100 characters mean by the dimension's `fault_rates`; None where it has none."""
    if not dimension.fault_rates:
        return None
    worst = next(label for label in dimension.labels if label not in dimension.fault_rates)
    return next((label for label, most in sorted(dimension.fault_rates.items(), key=lambda pair: pair[1]) if rate <= most), worst)


def _overlap(place: Place, other: Voice | FaultAnswer) -> int:
    return min(place.end, other.end) - max(place.start, other.start)


def _nearness(place: Place, answer: FaultAnswer) -> int:
    if (place.start, place.end) == (answer.start, answer.end):
        return 1 << 30
    return 0 if answer.answer is AnswerKind.MISSED or not place.voices else _overlap(place, answer)
