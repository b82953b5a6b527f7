"""What the run page draws of judgements: score chips, the outlier, the spread of a row and small distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.types import Decision, Dimension, DimensionKind, Judgement, JudgementStatus, PanelSpec


class ChipKind(StrEnum):
    """How a judge's chip looks; each kind also differs in its text, so colour is never alone."""

    VOTE = "vote"
    OUTLIER = "outlier"
    ABSTAINED = "abstained"
    UNREAD = "unread"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Chip:
    """One judge's answer in a table row; `label` is None unless the judge voted."""

    judge: str
    kind: ChipKind
    label: int | None
    status: JudgementStatus | None


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the votes lie on the scale, in percent of its length: the bar from the lowest to the highest, and the mark."""

    left: float
    width: float
    mark: float | None


@dataclass(frozen=True, slots=True)
class Bar:
    """One label of a distribution: `percent` is its probability, `height` is scaled so that certainty fills the plot."""

    label: int
    percent: float
    height: float
    top: bool


def outliers(judgements: Sequence[Judgement], dimension: Dimension) -> frozenset[str]:
    """Return the ids of the judges that stand alone.

    On an ordinal scale: two or more steps from the nearest other vote, while the others lie within one step of each
    other. On a nominal one: the only vote for its label, against at least two that agree.
    """
    return lone_votes({j.judge_id: j.label for j in judgements if j.status is JudgementStatus.OK and j.label is not None}, dimension)


def lone_votes(votes: Mapping[str, int], dimension: Dimension) -> frozenset[str]:
    """Return the names in `votes` whose label stands alone, by the rule of `outliers`."""
    return frozenset(judge for judge in votes if _alone(judge, votes, dimension))


def _alone(judge: str, votes: Mapping[str, int], dimension: Dimension) -> bool:
    own = votes[judge]
    others = [label for other, label in votes.items() if other != judge]
    if len(others) < 2:
        return False
    if dimension.kind is DimensionKind.NOMINAL:
        return len(set(others)) == 1 and own != others[0]
    steps = {label: step for step, label in enumerate(sorted(dimension.labels))}
    places = [steps.get(label, label) for label in others]
    nearest = min(abs(place - steps.get(own, own)) for place in places)
    return nearest >= 2 and max(places) - min(places) <= 1


def chips(panel: PanelSpec, judgements: Sequence[Judgement], dimension: Dimension, language: str) -> tuple[Chip, ...]:
    """Return one chip for each judge of the panel, named in `language`, in the panel's order; who has not answered yet is pending."""
    alone = outliers(judgements, dimension)
    answers = {j.judge_id: j for j in judgements}
    return tuple(_chip(judge.named(language), answers.get(judge.id), judge.id in alone) for judge in panel.judges)


def _chip(name: str, answer: Judgement | None, alone: bool) -> Chip:
    if answer is None or answer.status is not JudgementStatus.OK:
        return silent_chip(name, None if answer is None else answer.status)
    return Chip(name, ChipKind.OUTLIER if alone else ChipKind.VOTE, answer.label, answer.status)


def silent_chip(name: str, status: JudgementStatus | None) -> Chip:
    """Return the chip of a judge that gave no label; `status` says why, and is None where it has not answered yet."""
    if status is None:
        return Chip(name, ChipKind.PENDING, None, None)
    return Chip(name, ChipKind.ABSTAINED if status is JudgementStatus.ABSTAINED else ChipKind.UNREAD, None, status)


def spread(judgements: Sequence[Judgement], decision: Decision | None, dimension: Dimension) -> Spread | None:
    """Return the spread of a row's votes, None before the first; the mark stands at the expected label."""
    votes = [j.label for j in judgements if j.status is JudgementStatus.OK and j.label is not None]
    return spread_of(votes, decision.expected if decision else None, dimension)


def spread_of(votes: Sequence[int], expected: float | None, dimension: Dimension) -> Spread | None:
    """Return the spread of labels with the mark at `expected`, None without a label."""
    low, high = min(dimension.labels), max(dimension.labels)
    if not votes or low == high:
        return None
    scale = 100 / (high - low)
    mark = None if expected is None else (expected - low) * scale
    return Spread((min(votes) - low) * scale, (max(votes) - min(votes)) * scale, mark)


def bars(probabilities: Mapping[int, float], dimension: Dimension, marked: int | None = None, full: float = 1.0) -> tuple[Bar, ...]:
    """Return one bar for every label of the scale, empty where there is no distribution.

    `marked` is the label that stands out (a vote or a verdict: the median of a distribution need not be its mode);
    `full` is the probability that fills the plot.
    """
    if not probabilities:
        return ()
    shares = ((label, probabilities.get(label, 0.0)) for label in dimension.labels)
    return tuple(Bar(label, 100 * share, max(100 * share / full, 2), label == marked) for label, share in shares)
