"""Small sheets, libraries, panels and runs for tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.types import (
    Decision,
    Dimension,
    DimensionKind,
    Judgement,
    JudgementStatus,
    JudgeSpec,
    Library,
    Origin,
    Outcome,
    PanelSpec,
    Run,
    Sheet,
    SheetRow,
    SourceRef,
)
from db.store import SqlStore

JUDGES = ("first", "second", "third", "fourth")
GRADED = ("fluency", "normativity")
RATIONALE = {"zh": "句子通顺", "en": "The sentences are smooth"}


def dimension(name: str, labels: tuple[int, ...] = (1, 2, 3, 4, 5)) -> Dimension:
    """Return a dimension."""
    return Dimension(name, {"zh": name}, labels, DimensionKind.ORDINAL, {}, "v1", needs_prompt=False)


DIMENSIONS = {name: dimension(name) for name in GRADED} | {"choice": dimension("choice", (0, 1))}


def sheet_rows(count: int, gold: bool = False, names: Sequence[str] = (*GRADED, "choice"), prefix: str = "D") -> Iterator[SheetRow]:
    """Yield rows of all dimensions in turn."""
    for position in range(count):
        name = names[position % len(names)]
        labels = DIMENSIONS[name].labels
        label = labels[position % len(labels)] if gold else None
        yield SheetRow(
            position,
            f"{prefix}{position:05d}",
            name,
            f"写一写第{position}件事",
            f"这是第{position}篇短文。Essay no. {position}, 100% done_",
            label,
            SourceRef("作文.xlsx", "Sheet1", position + 2),
            {"班级": f"{position % 4}班"} if position % 2 else {},
        )


def add_sheet(store: SqlStore, count: int, sha256: str = "ab" * 32) -> Sheet:
    """Store a sheet of `count` rows."""
    return store.add_sheet(
        name="作文.xlsx",
        sha256=sha256,
        format="xlsx",
        encoding="",
        worksheet="Sheet1",
        columns=("数据编号", "评判维度", "班级"),
        mapping={"id": "数据编号", "dimension": "评判维度"},
        rows=sheet_rows(count),
    )


def add_library(store: SqlStore, count: int = 30, name: str = "样例") -> Library:
    """Store a library of `count` labelled items."""
    return store.save_library(name, sheet_rows(count, gold=True, prefix="L"), Origin.IMPORT, "老师")


def panel(judges: Sequence[str] = JUDGES, schedule: str = "together") -> PanelSpec:
    """Return a panel of these judges; the first leads."""
    specs = tuple(
        JudgeSpec(judge, judge.title(), "fake", {"depth": 3, "nested": {"a": [1, 2.5, None]}}, {"zh": f"评委{judge}"}) for judge in judges
    )
    return PanelSpec("small", {"en": "Small", "zh": "小组"}, specs, judges[0], schedule, {"en": "for tests"}, "cd" * 32)


def add_run(store: SqlStore, count: int, judges: Sequence[str] = JUDGES, schedule: str = "together", aggregator: str = "majority") -> Run:
    """Store a sheet and a library, and queue a run over them."""
    sheet, library = add_sheet(store, count), add_library(store)
    return store.create_run(sheet.id, library.id, panel(judges, schedule), aggregator)


def judgement(judge_id: str, item_id: int, label: int = 3, labels: Sequence[int] = (1, 2, 3, 4, 5)) -> Judgement:
    """Return an OK judgement that is fairly sure of `label`."""
    shares = {other: 0.6 if other == label else 0.4 / (len(labels) - 1) for other in labels}
    return Judgement(judge_id, item_id, JudgementStatus.OK, shares, label, f"{label}分", RATIONALE, "ef" * 32, 2.5, 40)


def decision(label: int | None, disagreement: float = 0.25, outcome: Outcome = Outcome.MAJORITY) -> Decision:
    """Return a decision for `label`."""
    return Decision(label, None if label is None else label + 0.125, {1: 0.1, 2: 0.2, 3: 0.7}, outcome, disagreement, "three_of_four")
