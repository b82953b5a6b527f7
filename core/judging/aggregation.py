"""Aggregators: pure functions of the judgements of one item, blind to their order.

Only judgements with status OK vote. Reason codes of a Decision, each translated for people in assets/translations:

    no_votes         no judge answered: no verdict
    single_vote      one judge answered: its own label
    lead_answer      nominal dimension, reference vote: the lead judge's answer
    equal_votes      more judges gave this label than any other
    lead_breaks_tie  two pairs, or all different: the lead judge's label
    pooled_no_lead   the lead judge had no vote where the reference vote needs one: the pooled distribution decides
    pooled_median    the median of the pooled distribution
    pooled_mode      nominal dimension: the most probable label of the pooled distribution
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.errors import SettingsError
from core.ports import Aggregator
from core.review import expected_error
from core.types import Decision, Dimension, DimensionKind, Judgement, JudgementStatus, Outcome

TOLERANCE = 1e-9


def pool(judgements: Sequence[Judgement], labels: Sequence[int]) -> dict[int, float]:
    """Return the mean of the judges' distributions, one probability per label; exact summation makes it order-free."""
    return {label: math.fsum(j.probabilities[label] for j in judgements) / len(judgements) for label in labels}


def expectation(probabilities: Mapping[int, float]) -> float:
    """Return the mean label of a distribution."""
    return math.fsum(label * p for label, p in probabilities.items())


def median(probabilities: Mapping[int, float]) -> int:
    """Return the label that minimises the expected absolute error, which is a median of the distribution.

    Of several equally good labels (a cumulative probability of exactly one half) the one nearest the mean is taken,
    the lowest at a draw.
    """
    mean = expectation(probabilities)
    cost = {label: math.fsum(p * abs(label - other) for other, p in probabilities.items()) for label in probabilities}
    least = min(cost.values()) + TOLERANCE
    return min((label for label in sorted(cost) if cost[label] <= least), key=lambda label: (round(abs(label - mean), 9), label))


def mode(probabilities: Mapping[int, float], preferred: int | None = None) -> int:
    """Return the most probable label; at a draw `preferred` if it is among the best, else the lowest."""
    best = max(probabilities.values())
    tied = [label for label in sorted(probabilities) if probabilities[label] >= best - TOLERANCE]
    return preferred if preferred in tied and preferred is not None else tied[0]


def entropy(probabilities: Iterable[float]) -> float:
    """Return the entropy of a distribution in bits."""
    return -math.fsum(p * math.log2(p) for p in probabilities if p > 0.0)


def divergence(judgements: Sequence[Judgement], pooled: Mapping[int, float]) -> float:
    """Return the generalised Jensen-Shannon divergence of the judges with equal weights, scaled to [0, 1].

    H(mean) - mean(H), divided by its largest possible value log2(min(judges, labels)).
    Source: Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory 37(1), 1991.
    """
    if len(judgements) < 2 or len(pooled) < 2:
        return 0.0
    spread = entropy(pooled.values()) - math.fsum(entropy(j.probabilities.values()) for j in judgements) / len(judgements)
    return min(1.0, max(0.0, spread / math.log2(min(len(judgements), len(pooled)))))


@dataclass(frozen=True, slots=True)
class _Ballot:
    """The votes of one item: OK judgements, counts by label, and the lead judge's vote if it has one."""

    votes: tuple[Judgement, ...]
    counts: Mapping[int, int]
    lead: int | None

    @property
    def winner(self) -> int | None:
        """Return the label with more votes than any other, or None."""
        top = max(self.counts.values())
        best = [label for label, count in self.counts.items() if count == top]
        return best[0] if len(best) == 1 else None

    @property
    def outcome(self) -> Outcome:
        """Return how the votes came together; a lone vote is no unanimity."""
        if len(self.votes) == 1:
            return Outcome.SINGLE
        if len(self.counts) == 1:
            return Outcome.UNANIMOUS
        return Outcome.MAJORITY if self.winner is not None else Outcome.TIE


def _ballot(judgements: Sequence[Judgement], lead: str) -> _Ballot:
    votes = tuple(j for j in judgements if j.status is JudgementStatus.OK and j.label is not None)
    counts = Counter(j.label for j in votes if j.label is not None)
    return _Ballot(votes, counts, next((j.label for j in votes if j.judge_id == lead), None))


Rule = Callable[[_Ballot, Mapping[int, float], Dimension], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class VotingAggregator:
    """An aggregator made of a name and a rule; everything but the label is the same for all of them."""

    id: str
    rule: Rule

    def __call__(self, judgements: Sequence[Judgement], dimension: Dimension, lead: str) -> Decision:
        """Return the decision (see core.ports.Aggregator)."""
        ballot = _ballot(judgements, lead)
        if not ballot.votes:
            return Decision(None, None, {}, Outcome.NO_QUORUM, 0.0, "no_votes")
        pooled = pool(ballot.votes, dimension.labels)
        label, reason = self.rule(ballot, pooled, dimension)
        spread = divergence(ballot.votes, pooled)
        error = expected_error(label, pooled, dimension.kind)
        return Decision(label, expectation(pooled), pooled, ballot.outcome, spread, reason, error)


def _reference_vote(ballot: _Ballot, pooled: Mapping[int, float], dimension: Dimension) -> tuple[int, str]:
    """Vote as the published winner did: equal votes win, the lead judge breaks ties and answers nominal dimensions."""
    if dimension.kind is DimensionKind.NOMINAL and ballot.lead is not None:
        return ballot.lead, "lead_answer"
    winner = ballot.winner
    if winner is not None:
        return winner, "equal_votes" if len(ballot.votes) > 1 else "single_vote"
    if ballot.lead is not None:
        return ballot.lead, "lead_breaks_tie"
    return _pooled(pooled, dimension, None), "pooled_no_lead"


def _pooled_median(ballot: _Ballot, pooled: Mapping[int, float], dimension: Dimension) -> tuple[int, str]:
    """Minimise the expected absolute error under the pooled distribution."""
    label = _pooled(pooled, dimension, ballot.lead)
    if len(ballot.votes) == 1:
        return label, "single_vote"
    return label, "pooled_mode" if dimension.kind is DimensionKind.NOMINAL else "pooled_median"


def _pooled(pooled: Mapping[int, float], dimension: Dimension, lead: int | None) -> int:
    return mode(pooled, lead) if dimension.kind is DimensionKind.NOMINAL else median(pooled)


AGGREGATORS: Mapping[str, Aggregator] = {
    "pooled-median": VotingAggregator("pooled-median", _pooled_median),
    "reference-vote": VotingAggregator("reference-vote", _reference_vote),
}


def get_aggregator(name: str) -> Aggregator:
    """Return the aggregator called `name`. Raises SettingsError naming the ones there are."""
    if name not in AGGREGATORS:
        known = ", ".join(AGGREGATORS)
        raise SettingsError(
            f"There is no aggregator «{name}»; choose one of: {known}.",
            zh=f"没有名为「{name}」的聚合方式；可选：{known}。",
        )
    return AGGREGATORS[name]
