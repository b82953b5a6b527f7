"""Defects that a judge of a dimension with prompts suspects, on the pages: as faults of language are, with kinds of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.faultmarks import MARK_NAMES, MarkKind, SuspectedFault, fault_facts
from core.faultplaces import AnswerKind, merge
from core.types import Judgement, JudgementStatus
from tests.judging.panel import dimensions
from tests.webapp.faulted import faulted_workbench
from tests.webapp.test_pages import EN, ZH
from webapp.pages.fault_marks import fault_pane
from webapp.services.fault_answers import FaultAnswers, FaultedText


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> FaultAnswers:
    return faulted_workbench(tmp_path_factory.mktemp("defects"))[0].fault_answers


def test_defects_are_drawn_named_and_offered_where_the_dimension_has_prompts(faults: FaultAnswers) -> None:
    language = faults.row(1, 1)
    suspected = SuspectedFault(0, 4, 0.8, MarkKind.OFF_TOPIC)
    said = Judgement("head", 1, JudgementStatus.OK, raw_reply='{"faults": ' + str(fault_facts([suspected])).replace("'", '"') + "}")
    row = FaultedText(language.item, dimensions()["normativity"], 1, merge([said], len(language.item.text)), {}, False)
    pane = fault_pane(EN, row, "Lin")
    assert '<mark class="fm fm-s3"' in pane.text
    assert "off topic" in pane.windows[0]
    assert "偏离题目" in fault_pane(ZH, row, "Lin").windows[0]
    assert all(name["en"] in pane.form for name in MARK_NAMES.values())
    offered = fault_pane(EN, replace(language, places=()), "Lin").form
    assert MARK_NAMES[MarkKind.ORDER]["en"] in offered
    assert MARK_NAMES[MarkKind.LEFT_OUT]["en"] not in offered


def test_a_missed_defect_is_kept_with_its_kind_and_exported(faults: FaultAnswers, tmp_path: Path) -> None:
    kept = faults.mark(1, 1, 0, 4, MarkKind.LEFT_OUT, "林")
    assert (kept.kind, kept.answer) == (MarkKind.LEFT_OUT, AnswerKind.MISSED)
    faults.export(tmp_path / "answers.jsonl")
    assert '"left_out", "missed"' in (tmp_path / "answers.jsonl").read_text(encoding="utf-8")
