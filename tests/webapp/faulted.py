"""A workbench with a judged sheet whose judges suspect faults at known places: astral characters, line breaks, HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from core.faultmarks import FAULTS_KEY, MarkKind, SuspectedFault, fault_facts
from core.judging.aggregation import get_aggregator
from core.settings import Settings
from core.types import Item, Judgement, JudgementStatus, JudgeSpec, Origin, PanelSpec, Run, SheetRow, SourceRef
from webapp.workbench import Workbench

# 0: an emoji, two lines, HTML; 1: a plain row; 2: not graded.
TEXTS = (
    "😀他把旧自行车擦的发亮，\n说要骑着它去看看<b>河那边</b>&新修的的桥。\r\n👍🏽桥很长很长。",
    "清晨的码头起了薄雾，渔船一只接一只靠岸。",
    "正确选项为B 模型回复为B",
)
DIMENSIONS = {TEXTS[0]: "fluency", TEXTS[1]: "fluency", TEXTS[2]: "choice"}
PANEL = PanelSpec(
    "small",
    {"zh": "小组", "en": "Small"},
    (JudgeSpec("head", "错误头", "fake", names={"en": "Head"}), JudgeSpec("rules", "规则", "fake", names={"en": "Rules"})),
    "head",
    sha256="ab" * 32,
)


def at(words: str, text: str = TEXTS[0]) -> tuple[int, int]:
    """Return where words stand, in code points."""
    return text.index(words), text.index(words) + len(words)


def suspicions() -> tuple[SuspectedFault, ...]:
    """Return what the head suspects in the first row: a strong, a middling and a weak place."""
    chances = (("的发", 0.92, MarkKind.PARTICLE), ("<b>河", 0.55, MarkKind.WORD), ("长很", 0.2, None))
    return tuple(SuspectedFault(*at(words), chance, kind) for words, chance, kind in chances)


def _dimension(text: str) -> str:
    return next(dimension for known, dimension in DIMENSIONS.items() if text.startswith(known))


def _replies(text: str) -> tuple[str, str]:
    if not text.startswith(TEXTS[0]):
        return json.dumps({FAULTS_KEY: []}), json.dumps({"faults": 0, "places": []})
    start, end = at("的的")
    place = {"fault": "doubled_char", "excerpt": "的的", "at": start, "end": end}
    return json.dumps({FAULTS_KEY: fault_facts(suspicions())}), json.dumps({"faults": 1, "places": [place]})


def faulted_workbench(home: Path, texts: Sequence[str] = TEXTS) -> tuple[Workbench, Run, Sequence[Item]]:
    """Return the workbench, its finished run and the items in order; each of `texts` begins with one of TEXTS."""
    workbench = Workbench.open(Settings(home=home, port=0, open_browser=False, _env_file=None))  # type: ignore[call-arg]
    store, source = workbench.store, SourceRef("桥.xlsx", "", 2)
    rows = [SheetRow(n, f"B{n:02d}", _dimension(text), "", text, None, source) for n, text in enumerate(texts)]
    sheet = store.add_sheet(name="桥.xlsx", sha256="cd" * 32, format="xlsx", encoding="", worksheet="", columns=(), mapping={}, rows=rows)
    library = store.save_library("样例", [SheetRow(0, "L0", "fluency", "", "雾散了。", 5, source)], Origin.IMPORT)
    run = store.create_run(sheet.id, library.id, PANEL, "pooled-median")
    store.claim(run.id, "w")
    items, known, vote = store.items(sheet.id), {one.id: one for one in workbench.dimensions()}, get_aggregator("pooled-median")
    decisions = {}
    for item in items:
        labels = known[item.dimension_id].labels
        shares = {label: 1 / len(labels) for label in labels}
        answers = [
            Judgement(judge.id, item.id, JudgementStatus.OK, shares, labels[1], reply)
            for judge, reply in zip(PANEL.judges, _replies(item.text), strict=True)
        ]
        store.save_judgements(run.id, answers)
        decisions[item.id] = vote(answers, known[item.dimension_id], "head")
    store.save_verdicts(run.id, run.aggregator, decisions)
    store.finish(run.id, "w")
    return workbench, store.run(run.id), items
