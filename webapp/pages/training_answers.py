"""People's answers on suspected faults, as the training page offers them to a pretraining: how many there are, and their weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.faultmarks import MARK_NAMES
from core.faultplaces import AnswerKind
from training.faults.spec import FaultPretrainSpec
from webapp.pages.training_address import TrainingAddress
from webapp.pages.training_form import FieldKind, FormField, single_field
from webapp.pages.translate import Translator
from webapp.workbench import Workbench

ANSWER_WEIGHT = "answer_weight"
_OFFERED = ("8", "2", "16", "0")
_KINDS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class AnswersOffer:
    """How much answers weigh (None while there are none), and what there is of them in words."""

    weight: FormField | None
    words: str


def answers_offer(workbench: Workbench, t: Translator, address: TrainingAddress) -> AnswersOffer:
    """Return the offer for an address."""
    found = workbench.fault_answers.totals()
    if not found.total:
        return AnswersOffer(None, t("training.answers_none"))
    words = t(
        "training.answers_there",
        count=f"{found.total:,}",
        texts=f"{found.texts:,}",
        confirmed=found.answers.get(AnswerKind.CONFIRM, 0),
        rejected=found.answers.get(AnswerKind.REJECT, 0),
        missed=found.answers.get(AnswerKind.MISSED, 0),
    )
    most = sorted(found.kinds.items(), key=lambda pair: -pair[1])[:_KINDS_SHOWN]
    kinds = [f"{t.pick(MARK_NAMES[kind]) if kind else t('training.answers_no_kind')} {count}" for kind, count in most]
    return AnswersOffer(_weight(t, address.settings), words + t("training.answers_kinds", kinds=t("punctuation.list").join(kinds)))


def _weight(t: Translator, settings: Mapping[str, str]) -> FormField:
    field = single_field(t, FaultPretrainSpec, ANSWER_WEIGHT, {}, settings)
    offered = _OFFERED if field.value in _OFFERED else (field.value, *_OFFERED)
    named = [(value, t("training.answers_out") if value == "0" else t("training.answers_times", count=value)) for value in offered]
    return replace(field, kind=FieldKind.CHOICE, options=tuple(named))
