"""The aggregators: the published vote to the letter, the median of the pooled distribution, blind to order."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SettingsError
from core.judging.aggregation import AGGREGATORS, get_aggregator
from core.types import Dimension, DimensionKind, Judgement, JudgementStatus, Outcome

LABELS = (1, 2, 3, 4, 5)
GRADED = Dimension("fluency", {"zh": "流畅性"}, LABELS, DimensionKind.ORDINAL, {}, "1", False)
CHOICE = Dimension("choice", {"zh": "选择题"}, (0, 1), DimensionKind.NOMINAL, {}, "1", True)
JUDGES = ("glm", "qwen", "internlm", "gemma")
VOTE = get_aggregator("reference-vote")
MEDIAN = get_aggregator("pooled-median")


def answer(judge: str, label: int, labels: Sequence[int] = LABELS, sure: float = 0.7) -> Judgement:
    rest = (1 - sure) / (len(labels) - 1)
    return Judgement(judge, 1, JudgementStatus.OK, {x: sure if x == label else rest for x in labels}, label)


def silent(judge: str, status: JudgementStatus = JudgementStatus.ABSTAINED) -> Judgement:
    return Judgement(judge, 1, status, error={"": "cannot judge"})


def published_vote(scores: Sequence[int]) -> int:
    """The rule as its authors state it; the lead judge's score stands first."""
    counts = Counter(scores)
    pairs = [label for label, count in counts.items() if count == 2]
    for label, count in counts.items():
        if count >= 3:
            return label
    return pairs[0] if len(pairs) == 1 else scores[0]


def test_reference_vote_is_the_published_vote_for_every_set_of_scores_in_every_order() -> None:
    for scores in itertools.product(LABELS, repeat=4):
        votes = [answer(judge, label) for judge, label in zip(JUDGES, scores, strict=True)]
        decisions = {VOTE(order, GRADED, "glm").label for order in itertools.permutations(votes)}
        assert decisions == {published_vote(scores)}, scores


def test_reference_vote_takes_the_lead_judges_answer_on_choice_rows() -> None:
    votes = [answer("glm", 0, (0, 1)), *(answer(j, 1, (0, 1)) for j in JUDGES[1:])]
    decision = VOTE(votes, CHOICE, "glm")
    assert (decision.label, decision.reason, decision.outcome) == (0, "lead_answer", Outcome.MAJORITY)


def test_reference_vote_without_the_lead_judge_falls_back_to_the_pooled_distribution() -> None:
    votes = [silent("glm", JudgementStatus.FAILED), answer("qwen", 1), answer("internlm", 2), answer("gemma", 5)]
    decision = VOTE(votes, GRADED, "glm")
    assert (decision.reason, decision.outcome) == ("pooled_no_lead", Outcome.TIE)
    assert decision.label == MEDIAN(votes, GRADED, "glm").label


@pytest.mark.parametrize(
    ("scores", "outcome"),
    [((3, 3, 3, 3), Outcome.UNANIMOUS), ((3, 3, 3, 1), Outcome.MAJORITY), ((3, 3, 1, 2), Outcome.MAJORITY), ((3, 3, 1, 1), Outcome.TIE),
     ((1, 2, 3, 4), Outcome.TIE)],
)  # fmt: skip
def test_outcome_says_how_the_votes_came_together(scores: tuple[int, ...], outcome: Outcome) -> None:
    votes = [answer(judge, label) for judge, label in zip(JUDGES, scores, strict=True)]
    assert {aggregator(votes, GRADED, "glm").outcome for aggregator in AGGREGATORS.values()} == {outcome}


def test_a_lone_vote_counts_but_is_neither_majority_nor_unanimity() -> None:
    decision = VOTE([answer("glm", 4), *(silent(j) for j in JUDGES[1:])], GRADED, "glm")
    assert (decision.label, decision.outcome, decision.reason, decision.disagreement) == (4, Outcome.SINGLE, "single_vote", 0.0)


@pytest.mark.parametrize("name", list(AGGREGATORS))
def test_no_vote_means_no_label(name: str) -> None:
    silences = [status for status in JudgementStatus if status is not JudgementStatus.OK]
    votes = [silent(judge, status) for judge, status in zip(JUDGES, silences, strict=True)]
    decision = get_aggregator(name)(votes, GRADED, "glm")
    assert (decision.label, decision.expected, decision.outcome) == (None, None, Outcome.NO_QUORUM)


def test_pooled_median_minimises_the_expected_absolute_error_where_the_mode_does_not() -> None:
    votes = [answer("glm", 1, sure=0.9), answer("qwen", 1, sure=0.9), answer("internlm", 4, sure=0.9), answer("gemma", 5, sure=0.9)]
    decision = MEDIAN(votes, GRADED, "glm")
    cost = {label: sum(p * abs(label - x) for x, p in decision.probabilities.items()) for label in LABELS}
    assert cost[decision.label or 0] == pytest.approx(min(cost.values()))


distributions = st.lists(st.floats(0.001, 1.0), min_size=5, max_size=5).map(lambda raw: [x / sum(raw) for x in raw])


@given(st.lists(distributions, min_size=1, max_size=6), st.randoms())
def test_order_never_matters_and_the_median_is_optimal(raw: list[list[float]], random: object) -> None:
    votes = [
        Judgement(f"j{n}", 1, JudgementStatus.OK, dict(zip(LABELS, p, strict=True)), LABELS[p.index(max(p))]) for n, p in enumerate(raw)
    ]
    shuffled = list(votes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for aggregator in AGGREGATORS.values():
        assert aggregator(votes, GRADED, "j0") == aggregator(shuffled, GRADED, "j0")
    decision = MEDIAN(votes, GRADED, "j0")
    cost = {label: sum(p * abs(label - x) for x, p in decision.probabilities.items()) for label in LABELS}
    assert cost[decision.label or 0] <= min(cost.values()) + 1e-6
    assert 0.0 <= decision.disagreement <= 1.0
    assert decision.expected == pytest.approx(sum(x * p for x, p in decision.probabilities.items()))


def test_disagreement_is_zero_for_equal_judges_and_one_for_judges_who_share_nothing() -> None:
    same = [answer(judge, 3) for judge in JUDGES]
    apart = [
        Judgement(judge, 1, JudgementStatus.OK, {x: float(x == label) for x in LABELS}, label)
        for judge, label in zip(JUDGES, LABELS[:4], strict=True)
    ]
    assert MEDIAN(same, GRADED, "glm").disagreement == pytest.approx(0.0, abs=1e-12)
    assert MEDIAN(apart, GRADED, "glm").disagreement == pytest.approx(1.0)
    assert math.isclose(sum(MEDIAN(apart, GRADED, "glm").probabilities.values()), 1.0)


def test_a_half_and_half_distribution_goes_to_the_label_nearer_the_mean() -> None:
    halves = {1: 0.5, 2: 0.0, 3: 0.0, 4: 0.1, 5: 0.4}
    assert MEDIAN([Judgement("glm", 1, JudgementStatus.OK, halves, 1)], GRADED, "glm").label == 3


def test_an_unknown_aggregator_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"pooled-median, reference-vote"):
        get_aggregator("mean")


def spread(judge: str, shares: Sequence[float], labels: Sequence[int], label: int) -> Judgement:
    return Judgement(judge, 1, JudgementStatus.OK, dict(zip(labels, shares, strict=True)), label)


def test_a_draw_of_two_classes_goes_to_the_lead_judge_and_without_it_to_the_lower() -> None:
    votes = [spread("qwen", (0.25, 0.75), (0, 1), 1), spread("glm", (0.75, 0.25), (0, 1), 0)]
    for lead, label in (("glm", 0), ("qwen", 1), ("gemma", 0)):
        decision = MEDIAN(votes, CHOICE, lead)
        assert (decision.label, decision.reason, decision.outcome) == (label, "pooled_mode", Outcome.TIE)
        assert decision.expected_error == pytest.approx(0.5)


def test_classes_without_the_lead_judge_are_voted_on() -> None:
    votes = [silent("glm"), answer("qwen", 1, (0, 1)), answer("gemma", 1, (0, 1)), answer("internlm", 0, (0, 1))]
    assert (VOTE(votes, CHOICE, "glm").label, VOTE(votes, CHOICE, "glm").reason) == (1, "equal_votes")
    lone = VOTE([silent("glm"), answer("qwen", 1, (0, 1))], CHOICE, "glm")
    assert (lone.label, lone.reason, lone.outcome) == (1, "single_vote", Outcome.SINGLE)


def test_a_lead_judges_silence_is_no_vote_whatever_it_holds() -> None:
    odd = Judgement("glm", 1, JudgementStatus.REFUSED, dict.fromkeys(LABELS, 0.2), 1)
    votes = [odd, answer("qwen", 4), answer("gemma", 4)]
    for aggregator in AGGREGATORS.values():
        assert aggregator(votes, GRADED, "glm") == aggregator(votes[1:], GRADED, "glm")
        assert aggregator(votes, GRADED, "glm").outcome is Outcome.UNANIMOUS


@given(st.lists(distributions, min_size=2, max_size=5))
def test_disagreement_is_the_mean_distance_to_the_pooled_distribution_in_bits(raw: list[list[float]]) -> None:
    """The divergence by its other definition: the mean relative entropy of each judge to all of them together."""
    decision = MEDIAN([spread(f"j{n}", shares, LABELS, 3) for n, shares in enumerate(raw)], GRADED, "j0")
    distance = sum(
        p * math.log2(p / decision.probabilities[label]) for shares in raw for label, p in zip(LABELS, shares, strict=True)
    ) / len(raw)
    assert decision.disagreement == pytest.approx(distance / math.log2(min(len(raw), 5)), abs=1e-9)


@given(st.lists(distributions, min_size=1, max_size=4), st.sampled_from(LABELS))
def test_the_expected_error_of_a_verdict_is_that_of_its_label_under_the_pooled_distribution(raw: list[list[float]], lead: int) -> None:
    votes = [spread(f"j{n}", shares, LABELS, lead) for n, shares in enumerate(raw)]
    vote, median = VOTE(votes, GRADED, "j0"), MEDIAN(votes, GRADED, "j0")
    assert vote.label == lead
    assert vote.expected_error == pytest.approx(sum(p * abs(lead - label) for label, p in vote.probabilities.items()))
    assert median.expected_error is not None
    assert vote.expected_error is not None
    assert median.expected_error <= vote.expected_error + 1e-9


def test_a_scale_of_any_labels_is_pooled_by_their_values() -> None:
    wide = Dimension("wide", {"zh": "百分制"}, (-10, 0, 60, 100), DimensionKind.ORDINAL, {}, "1", False)
    votes = [spread("glm", (0.0, 0.3, 0.3, 0.4), wide.labels, 60), spread("qwen", (0.0, 0.1, 0.5, 0.4), wide.labels, 60)]
    decision = MEDIAN(votes, wide, "glm")
    assert (decision.label, decision.expected) == (60, pytest.approx(0.4 * 60 + 40))
