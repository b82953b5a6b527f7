"""The "why?" button of a judge's answer: which judges can be asked, and what the button needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.judging.registry import can_explain
from core.types import Judgement, JudgementStatus, JudgeSpec, Run


@dataclass(frozen=True, slots=True)
class WhyAsk:
    """Whom the button asks, about which row of which run; `label` is the label that is explained."""

    run: int
    item: int
    judge: str
    name: str
    label: int


def why_ask(spec: JudgeSpec, run_id: int, answer: Judgement | None, language: str) -> WhyAsk | None:
    """Return the question for a judge's answer; None where there is no label, or no model to ask."""
    if answer is None or answer.status is not JudgementStatus.OK or answer.label is None or not can_explain(spec):
        return None
    return WhyAsk(run_id, answer.item_id, spec.id, spec.named(language), answer.label)


def why_asks(run: Run, judgements: Sequence[Judgement], language: str) -> tuple[WhyAsk, ...]:
    """Return the questions for all answers of a row, in the panel's order."""
    answers = {judgement.judge_id: judgement for judgement in judgements}
    asks = (why_ask(spec, run.id, answers.get(spec.id), language) for spec in run.panel.judges)
    return tuple(ask for ask in asks if ask is not None)
