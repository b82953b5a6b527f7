"""Suspected faults: from tokens to characters, into a raw reply and back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.faultmarks import MARK_NAMES, MarkKind, SuspectedFault, fault_facts, suspected_faults
from core.judging.head.spans import MOST, character_chances, mark_faults
from core.types import Judgement, JudgementStatus

KINDS = (MarkKind.TYPO, MarkKind.ORDER)


def chances(*rows: tuple[float, float]) -> np.ndarray:
    return np.array(rows, float)


def test_tokens_that_are_parts_of_a_character_speak_for_it_together() -> None:
    spans = [(0, 2), (2, 3), (2, 3), (3, 5)]
    found = character_chances(5, spans, chances((0.0, 0.1), (0.2, 0.0), (0.0, 0.9), (0.6, 0.1)))
    assert found.sum(axis=1) == pytest.approx([0.1, 0.1, 0.9, 0.7, 0.7])
    assert found[2].argmax() == 1


def test_neighbouring_suspicions_are_one_fault_of_the_surest_probability() -> None:
    text = "一二三四 五六"
    each = chances((0, 0), (0.5, 0.0), (0.2, 0.6), (0, 0.1), (0.9, 0), (0.4, 0), (0, 0))
    assert mark_faults(text, each, KINDS, 0.3) == [
        SuspectedFault(1, 3, 0.8, MarkKind.TYPO),
        SuspectedFault(5, 6, 0.4, MarkKind.TYPO),
    ]
    assert mark_faults("", each[:0], KINDS, 0.3) == []


def test_of_very_many_suspicions_the_surest_are_told_in_order() -> None:
    text = "坏好" * 200
    each = np.zeros((400, 2))
    each[::2, 0] = np.linspace(0.4, 0.9, 200)
    found = mark_faults(text, each, KINDS, 0.3)
    assert len(found) == MOST
    assert found[0].start == 400 - 2 * MOST
    assert [fault.start for fault in found] == sorted(fault.start for fault in found)


def test_faults_come_back_from_a_judgement() -> None:
    faults = (SuspectedFault(0, 2, 0.75, MarkKind.ORDER), SuspectedFault(5, 6, 0.5))
    reply = json.dumps({"characters": 9, "faults": fault_facts(faults)})
    assert suspected_faults(Judgement("head", 1, JudgementStatus.OK, raw_reply=reply)) == faults


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "这段话有错误。",
        '{"faults": 3}',
        '{"faults": [[2, 1, 0.5], [0, 1], "x", [0, 1, 2.0], [-1, 1, 0.5], [true, 2, 0.5]]}',
        '["faults"]',
        '{"faults": [',
    ],
)
def test_replies_without_faults_and_damaged_ones_have_none(reply: str) -> None:
    assert suspected_faults(Judgement("rules", 1, JudgementStatus.OK, raw_reply=reply)) == ()


def test_a_kind_that_is_not_known_is_passed_over_but_its_place_is_kept() -> None:
    reply = '{"faults": [[3, 5, 0.5, "from the future"]]}'
    assert suspected_faults(Judgement("head", 1, JudgementStatus.OK, raw_reply=reply)) == (SuspectedFault(3, 5, 0.5),)
    assert set(MARK_NAMES) == set(MarkKind)
