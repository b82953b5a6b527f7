"""Suspected faults: where in a text a judge that sees faults would put its red pen, as its judgements keep them.

Such a judge writes them into the facts of its raw reply: `{"faults": [[start, end, probability, kind], ...]}`, in
character offsets of the item's text. Older replies and those of other judges have none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.types import Judgement, LocalText

FAULTS_KEY = "faults"
_DECIMALS = 3


class MarkKind(StrEnum):
    """What is wrong with a marked place; the value is a stable code that models are trained on, MARK_NAMES is for people."""

    PRONOUN = "pronoun"
    CONNECTIVE = "connective"
    PADDING = "padding"
    ORDER = "order"
    MISSING = "missing"
    REPEATED = "repeated"
    TYPO = "typo"
    WORD = "word"
    PARTICLE = "particle"
    PUNCTUATION = "punctuation"
    OFF_TOPIC = "off_topic"
    LEFT_OUT = "left_out"
    MISPLACED = "misplaced"
    LAYOUT = "layout"
    CUT_OFF = "cut_off"
    DEMAND = "demand"


MARK_NAMES: Mapping[MarkKind, LocalText] = {
    MarkKind.PRONOUN: {"zh": "代词多余", "en": "superfluous pronoun"},
    MarkKind.CONNECTIVE: {"zh": "关联词不当", "en": "misplaced connective"},
    MarkKind.PADDING: {"zh": "成分赘余", "en": "superfluous words"},
    MarkKind.ORDER: {"zh": "语序不当", "en": "wrong word order"},
    MarkKind.MISSING: {"zh": "成分残缺", "en": "missing words"},
    MarkKind.REPEATED: {"zh": "重复", "en": "repetition"},
    MarkKind.TYPO: {"zh": "错别字", "en": "wrong character"},
    MarkKind.WORD: {"zh": "用词不当", "en": "wrong word"},
    MarkKind.PARTICLE: {"zh": "助词或量词误用", "en": "misused particle or measure word"},
    MarkKind.PUNCTUATION: {"zh": "标点误用", "en": "misused punctuation"},
    MarkKind.OFF_TOPIC: {"zh": "偏离题目", "en": "off topic"},
    MarkKind.LEFT_OUT: {"zh": "要点缺失", "en": "missing point"},
    MarkKind.MISPLACED: {"zh": "前后颠倒", "en": "wrong place"},
    MarkKind.LAYOUT: {"zh": "标题、编号或分段有误", "en": "broken heading, numbering or paragraph"},
    MarkKind.CUT_OFF: {"zh": "首尾残缺", "en": "beginning or end cut off"},
    MarkKind.DEMAND: {"zh": "不合篇幅或条数要求", "en": "stated length or number of points not kept"},
}
"""The name of each kind in both languages."""

MARK_KINDS: tuple[MarkKind, ...] = tuple(MarkKind)[: list(MarkKind).index(MarkKind.OFF_TOPIC)]
"""Faults of language, in the order of a tagger's classes: class 0 is sound text, class n + 1 is `MARK_KINDS[n]`."""

DEFECT_KINDS: tuple[MarkKind, ...] = tuple(MarkKind)[len(MARK_KINDS) :]
"""Defects of a text that answers a prompt, likewise in the order of a tagger's classes."""

_BY_CODE: Mapping[str, MarkKind] = {kind.value: kind for kind in MarkKind}


@dataclass(frozen=True, slots=True)
class SuspectedFault:
    """A place that a judge takes for a fault: characters `start` (0-based) to `end` (exclusive) of the item's text.

    `probability` in [0, 1] is the judge's own that the place is faulty; `kind` is None where the judge tells no kind.
    """

    start: int
    end: int
    probability: float
    kind: MarkKind | None = None

    @property
    def names(self) -> LocalText:
        """Return the kind's name in both languages."""
        return MARK_NAMES[self.kind] if self.kind else {"zh": "疑似错误", "en": "suspected fault"}


def suspected_faults(judgement: Judgement) -> tuple[SuspectedFault, ...]:
    """Return the suspected faults that a judgement carries, in order of place; () where it carries none.

    Entries that are no faults (another judge's fact of the same name, a damaged reply) are passed over.
    """
    reply = judgement.raw_reply
    if f'"{FAULTS_KEY}"' not in reply:
        return ()
    try:
        facts = json.loads(reply)
    except (ValueError, RecursionError):
        return ()
    listed = facts.get(FAULTS_KEY) if isinstance(facts, dict) else None
    found = [fault for entry in listed if (fault := fault_of(entry))] if isinstance(listed, list) else []
    return tuple(sorted(found, key=lambda fault: (fault.start, fault.end)))


def fault_facts(faults: Iterable[SuspectedFault]) -> list[list[object]]:
    """Return the faults in the form that a raw reply keeps under `FAULTS_KEY`."""
    return [[fault.start, fault.end, round(fault.probability, _DECIMALS), *([fault.kind.value] if fault.kind else [])] for fault in faults]


def fault_of(entry: object) -> SuspectedFault | None:
    """Return the fault that one entry of a reply names, None for what is no such entry."""
    if not isinstance(entry, list) or len(entry) not in (3, 4):
        return None
    start, end, probability = entry[:3]
    if type(start) is not int or type(end) is not int or not isinstance(probability, (int, float)):
        return None
    if not 0 <= start < end or not 0.0 <= probability <= 1.0:
        return None
    named = entry[3] if len(entry) == 4 else None
    kind = _BY_CODE.get(named) if isinstance(named, str) else None
    return SuspectedFault(start, end, float(probability), kind)


def kinds_marked(*, needs_prompt: bool) -> tuple[MarkKind, ...]:
    """Return the kinds that can be wrong in a dimension: defects first where it has a prompt, else faults of language alone."""
    return DEFECT_KINDS + MARK_KINDS if needs_prompt else MARK_KINDS
