"""Both languages say the same things, all that the pages ask for, and nothing that nobody asks for."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from string import Formatter

import pytest

from core.agreement import JUDGES, PEOPLE
from core.desks import Standing
from core.faultplaces import AnswerKind
from core.judging import aggregation
from core.judging.choice.model import ChoiceKind
from core.judging.head.files import Attention
from core.judging.registry import families
from core.judging.transformers.options import Precision
from core.pipeline import DECIDING, JUDGING, LOADING
from core.queries import RowSort
from core.review import Flag, QueueScope, QueueView, ReviewState
from core.settings import ASSETS, PROJECT_ROOT
from core.training import GateVerdict, JobKind, JobState, Split
from core.training import Stage as CandidateStage
from core.types import JudgementStatus, Origin, Outcome, RunState, Severity
from training.estimate import Estimate
from training.faults.learning import Method as HeadMethod
from training.faults.spec import FaultPretrainSpec, Made
from training.formats import ExportFormat
from training.heads.calibrate import CalibrationMethod
from training.heads.losses import OrdinalLoss
from training.heads.spec import HeadSpec
from training.specs import FineTuneSpec, LabelLoss, Method
from webapp.pages.address import MAPPED_FIELDS, Mode
from webapp.pages.judge import STEPS
from webapp.pages.shell import NoticeKind, PageName
from webapp.pages.training_answers import ANSWER_WEIGHT
from webapp.pages.training_candidates import MERGE, QUANTIZATIONS
from webapp.pages.training_form import GROUPS, OTHER_GROUP
from webapp.pages.training_setup import MADE_ROWS
from webapp.pages.translate import Language, load_translator, preferred_language
from webapp.services.model_states import Place, Readiness

ZH, EN = load_translator(Language.ZH).table, load_translator(Language.EN).table
REASONS = re.findall(r"^    (\w+) {2,}\S", aggregation.__doc__ or "", re.MULTILINE)

# What the judges' raw replies consist of; test_reply.py asks the judges themselves.
RULES = ["faults", "characters", "per_100", "per_1000", "places", "coverage", "expected", "kind", "correct", "picked", "evidence"]
REPLY_NAMES = [*RULES, "suspicious", "surprising", "neighbours", "nearest", "logprobs", "floored", "mass", "text", "token"]

# The families whose last part the program fills in: what may stand there.
FAMILIES: dict[str, list[str]] = {
    "view": list(QueueView),
    "view_hint": list(QueueView),
    "scope": list(QueueScope),
    "flag": list(Flag),
    "state": list(RunState),
    "outcome": list(Outcome),
    "status": list(JudgementStatus),
    "status_short": [status for status in JudgementStatus if status is not JudgementStatus.OK],
    "sort": list(RowSort),
    "origin": list(Origin),
    "severity": list(Severity),
    "mode": list(Mode),
    "aggregator": list(aggregation.AGGREGATORS),
    "reason": REASONS,
    "field": list(MAPPED_FIELDS),
    "field_hint": list(MAPPED_FIELDS),
    "notice": list(NoticeKind),
    "ready": list(Readiness),
    "place": list(Place),
    "standing": list(Standing),
    "group": [JUDGES, PEOPLE],
    "step": list(STEPS),
    "stage": [LOADING, JUDGING, DECIDING, *RunState],
    "choice": list(ChoiceKind),
    "reply": REPLY_NAMES,
    "fault_answer": [answer for answer in AnswerKind if answer is not AnswerKind.UNDO],
    "reply_part": ["excerpt", "at", "end", "label", "weight"],
    "job_state": list(JobState),
    "job_kind": list(JobKind),
    "candidate_stage": list(CandidateStage),
    "gate": list(GateVerdict),
    "split": list(Split),
    "export": list(ExportFormat),
    "training_group": [*GROUPS, OTHER_GROUP],
    "training_field": list({**FineTuneSpec.model_fields, **HeadSpec.model_fields, **FaultPretrainSpec.model_fields}),
    "family": list(families()),
    "training_hint": [
        name for name in {**FineTuneSpec.model_fields, **HeadSpec.model_fields, MADE_ROWS: "", ANSWER_WEIGHT: ""} if name != "kind"
    ],
    "training_option": [*Method, *LabelLoss, *Precision, *HeadMethod, *OrdinalLoss, *CalibrationMethod, *Attention, *Made, "true", "false"],
    "training_part": list(Estimate("cpu", 0, 0, 0, 0, 0, 0, 0).parts()),
}
PREFIXES: dict[str, list[str]] = {
    "shell.page_": list(PageName),
    "judge.lead_": list(Mode),
    "review.empty_": list(QueueView),
    "row.state_": list(ReviewState),
    "models.schedule_": ["together", "in_turn"],
    "compare.run_": ["a", "b"],
    "training.offer_": [MERGE, *QUANTIZATIONS],
}


def sources() -> str:
    paths = [*(PROJECT_ROOT / "webapp").rglob("*.py"), *(ASSETS / "web" / "templates").glob("*.html")]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def asked_for() -> set[str]:
    """Every key that a page or a template names, the families written out."""
    whole = set(re.findall(r"""["']([a-z_]+\.[a-z_]+)["']""", sources())) & (set(ZH) | set(EN))
    literal = set(re.findall(r"""\bt(?:_en|_zh)?\(\s*["']([a-z_]+\.[a-z_]+)["']""", sources()))
    families = {f"{family}.{member}" for family, members in FAMILIES.items() for member in members}
    prefixed = {f"{prefix}{member}" for prefix, members in PREFIXES.items() for member in members}
    return whole | {key for key in literal if not key.endswith((".", "_"))} | families | prefixed


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_have_the_same_keys_with_the_same_places() -> None:
    assert set(ZH) == set(EN)
    assert {key: places(ZH[key]) for key in ZH} == {key: places(EN[key]) for key in EN}


def test_every_key_that_is_asked_for_is_there_and_none_is_left_over() -> None:
    assert len(REASONS) >= 8
    assert asked_for() - set(ZH) == set(), "missing"
    assert set(ZH) - asked_for() == set(), "unused"


@pytest.mark.parametrize("table", [ZH, EN])
def test_no_text_is_empty_or_cut_off_by_the_file_format(table: dict[str, str]) -> None:
    assert [key for key, text in table.items() if not text.strip() or text == "None"] == []
    assert "#" in table["run.number"]  # a YAML comment would have eaten it


def test_a_code_without_a_text_is_shown_as_it_is() -> None:
    class New(StrEnum):
        LATER = "later"

    assert load_translator(Language.EN).member("state", New.LATER) == "later"


@pytest.mark.parametrize(
    ("cookie", "header", "expected"),
    [
        ("en", "zh-CN,zh;q=0.9", Language.EN),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", Language.ZH),
        ("", "de-DE,de;q=0.9,en;q=0.7,zh;q=0.3", Language.EN),
        ("", "en;q=0.2, zh-TW;q=0.5", Language.ZH),
        ("", "en;q=0", Language.ZH),
        ("xx", "", Language.ZH),
        ("", "fr, *;q=0.1", Language.ZH),
        ("", "en;q=nonsense, zh;q=0.5", Language.ZH),
    ],
)
def test_the_language_is_the_cookies_else_the_browsers_else_chinese(cookie: str, header: str, expected: Language) -> None:
    assert preferred_language(cookie, header) is expected


def test_a_broken_translation_file_is_told_with_its_path(tmp_path: Path) -> None:
    from core.errors import SettingsError

    (tmp_path / "en.yaml").write_text("- a list", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"en\.yaml"):
        load_translator(Language.EN, tmp_path)
    with pytest.raises(SettingsError, match=r"zh\.yaml"):
        load_translator(Language.ZH, tmp_path)
