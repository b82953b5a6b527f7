"""What the judges said of one row and how its verdict came about, as every page shows it (row_judged.html)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.judging.aggregation import AGGREGATORS
from core.queries import ReplacedJudgement
from core.review import expected_error
from core.types import Decision, Dimension, DimensionKind, Judgement, JudgementStatus, JudgeSpec, Run, RunState, Verdict
from db.asked_again import ASKED_AGAIN
from webapp.pages.figures import Bar, bars, outliers
from webapp.pages.reply import readable_reply
from webapp.pages.translate import Translator
from webapp.pages.why import WhyAsk, why_ask

# The central share of the pooled distribution that the verdict's line names.
INTERVAL_SHARE = 0.9
LIVE_STATES = frozenset({RunState.QUEUED, RunState.RUNNING})


@dataclass(frozen=True, slots=True)
class JudgeCard:
    """One judge's answer in the detail, its words in the page's language; `judgement` is None while it has not answered."""

    judge_id: str
    name: str
    lead: bool
    outlier: bool
    judgement: Judgement | None
    bars: tuple[Bar, ...]
    error: str
    rationale: str
    reply: str
    why: WhyAsk | None = None
    before: tuple[ReplacedJudgement, ...] = ()
    can_ask_again: bool = False


@dataclass(frozen=True, slots=True)
class OtherVote:
    """What another aggregator makes of the same judgements."""

    aggregator: str
    label: int | None


@dataclass(frozen=True, slots=True)
class Judged:
    """The strip of judges and the verdict's line of one row in one run."""

    run_id: int
    item_id: int
    dimension: Dimension
    cards: tuple[JudgeCard, ...]
    decision: Decision | None
    aggregator: str
    bars: tuple[Bar, ...]
    votes: tuple[str, ...]
    others: tuple[OtherVote, ...]
    interval: tuple[int, int] | None
    expected_error: float | None


def judged(
    t: Translator,
    run: Run,
    item_id: int,
    judgements: Sequence[Judgement],
    verdict: Verdict | None,
    dimension: Dimension,
    replaced: Sequence[ReplacedJudgement] = (),
) -> Judged:
    """Return what the judges said of a row; without judgements every card waits for its answer."""
    decision = verdict.decision if verdict else None
    aggregator = verdict.aggregator if verdict else run.aggregator
    cards = tuple(
        replace(card, before=tuple(one for one in replaced if one.judge_id == card.judge_id))
        for card in judge_cards(t, run, judgements, dimension)
    )
    return Judged(
        run_id=run.id,
        item_id=item_id,
        dimension=dimension,
        cards=cards,
        decision=decision,
        aggregator=aggregator,
        bars=bars(decision.probabilities, dimension, decision.label) if decision else (),
        votes=tuple(vote_word(t, card.judgement) for card in cards),
        others=other_votes(judgements, dimension, run.panel.lead, aggregator) if decision else (),
        interval=central_interval(decision.probabilities) if decision and dimension.kind is DimensionKind.ORDINAL else None,
        expected_error=_error(decision, dimension),
    )


def judge_cards(t: Translator, run: Run, judgements: Sequence[Judgement], dimension: Dimension) -> tuple[JudgeCard, ...]:
    """Return a card for each judge of the run's panel, in the panel's order."""
    alone = outliers(judgements, dimension)
    answers = {j.judge_id: j for j in judgements}
    return tuple(_card(t, spec, run, answers.get(spec.id), spec.id in alone, dimension) for spec in run.panel.judges)


def _card(t: Translator, spec: JudgeSpec, run: Run, answer: Judgement | None, alone: bool, dimension: Dimension) -> JudgeCard:
    name, lead = spec.named(t.language), spec.id == run.panel.lead
    if answer is None:
        return JudgeCard(spec.id, name, lead, alone, None, (), "", "", "")
    drawn = bars(answer.probabilities, dimension, answer.label)
    ask = why_ask(spec, run.id, answer, t.language)
    words = (t.pick(answer.error), t.pick(answer.rationale), readable_reply(t, answer.raw_reply))
    askable = answer.status in ASKED_AGAIN and run.state not in LIVE_STATES
    return JudgeCard(spec.id, name, lead, alone, answer, drawn, *words, ask, can_ask_again=askable)


def vote_word(t: Translator, answer: Judgement | None) -> str:
    """Return a vote as the line of the verdict writes it: the label, else the status in words, else an ellipsis."""
    if answer is None:
        return "…"
    return str(answer.label) if answer.label is not None else t.member("status", answer.status)


def other_votes(judgements: Sequence[Judgement], dimension: Dimension, lead: str, aggregator: str) -> tuple[OtherVote, ...]:
    """Return what each aggregator but `aggregator` makes of the judgements; they are pure, so this asks no model.

    Nothing where the dimension's scale has other labels by now than the judges were asked for.
    """
    voting = [one for one in judgements if one.status is JudgementStatus.OK]
    if any(label not in one.probabilities for one in voting for label in dimension.labels):
        return ()
    others = (other for name, other in AGGREGATORS.items() if name != aggregator)
    return tuple(OtherVote(other.id, other(judgements, dimension, lead).label) for other in others)


def _error(decision: Decision | None, dimension: Dimension) -> float | None:
    if decision is None or decision.label is None or not decision.probabilities:
        return None
    return expected_error(decision.label, decision.probabilities, dimension.kind)


def central_interval(probabilities: Mapping[int, float], share: float = INTERVAL_SHARE) -> tuple[int, int] | None:
    """Return the lowest and highest label of the central `share` of a distribution, None for an empty one."""
    if not probabilities:
        return None
    tail, labels = (1 - share) / 2, sorted(probabilities)
    return _quantile(probabilities, labels, tail), _quantile(probabilities, labels, 1 - tail)


def _quantile(probabilities: Mapping[int, float], labels: Sequence[int], level: float) -> int:
    total = 0.0
    for label in labels:
        total += probabilities[label]
        if total >= level - 1e-9:
            return label
    return labels[-1]
