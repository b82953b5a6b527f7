"""Judged rows for the tests of the exports, made here."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import openpyxl

from core.queries import ExportRow, ShownExample
from core.types import (
    Correction,
    Decision,
    Item,
    Judgement,
    JudgementStatus,
    JudgeSpec,
    Outcome,
    PanelSpec,
    Run,
    RunState,
    SourceRef,
    Verdict,
    one_language,
)

JUDGES = (JudgeSpec("glm", "GLM", "baseline", {"seed": 1}, {"zh": "GLM", "en": "GLM 4"}), JudgeSpec("qwen/2:7b", "Qwen", "baseline"))
NOON = dt.datetime(2025, 3, 1, 12, 0, tzinfo=dt.UTC)
RUN = Run(
    id=7,
    sheet_id=1,
    sheet_name="评审.xlsx",
    library_id=2,
    library_version="v-abc",
    panel=PanelSpec("cpu", {"zh": "本机评判组", "en": "CPU panel"}, JUDGES, "glm", sha256="f" * 64),
    aggregator="pooled-median",
    state=RunState.DONE,
    error={},
    items=3,
    created_at=NOON,
    started_at=NOON,
    finished_at=NOON + dt.timedelta(minutes=2),
    worked_seconds=118.5,
)


def item(
    number: int,
    external_id: str = "",
    *,
    text: str = "春天来了。",
    dimension: str = "fluency",
    prompt: str = "",
    gold: int | None = None,
    extra: Mapping[str, str] | None = None,
) -> Item:
    """Return an item that stands in row `number`."""
    return Item(
        number,
        1,
        number - 2,
        external_id or f"TE{number:04d}",
        dimension,
        prompt,
        text,
        gold,
        "h",
        SourceRef("评审.xlsx", "Sheet1", number),
        extra or {},
    )


def judged(
    of: Item, label: int | None = 4, *, corrected: int | None = None, rationale: str = "错误很少", verdict: bool = True
) -> ExportRow:
    """Return the item with an answer of each judge, the second of which abstains, and a verdict."""
    shares = {} if label is None else {1: 0.0, 2: 0.05, 3: 0.1, 4: 0.85, 5: 0.0}
    answers = (
        Judgement("qwen/2:7b", of.id, JudgementStatus.ABSTAINED, error={"zh": "文本过短", "en": "The text is too short"}),
        Judgement("glm", of.id, JudgementStatus.OK, shares, label, "4 分", one_language(rationale), "p" * 64, 12.3456, 99),
    )
    outcome = Outcome.NO_QUORUM if label is None else Outcome.MAJORITY
    decision = Decision(label, None if label is None else 3.8, shares, outcome, 0.25, "lead")
    examples = (ShownExample("TR0001", 4, 0.91234), ShownExample("TR0002", 2, 0.5))
    correction = None if corrected is None else Correction(of.id, corrected, label, "林", "", dt.datetime(2026, 11, 24, tzinfo=dt.UTC))
    return ExportRow(of, answers, Verdict(of.id, "pooled-median", decision) if verdict else None, examples, correction)


def cells(path: Path, worksheet: str) -> list[dict[str, object]]:
    """Read a worksheet back with openpyxl, one mapping per row."""
    page = openpyxl.load_workbook(path)[worksheet]
    header, *rows = page.iter_rows(values_only=True)
    return [dict(zip(map(str, header), row, strict=True)) for row in rows]


def csv_rows(path: Path, encoding: str = "utf-8-sig") -> list[list[str]]:
    """Read a csv file back."""
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.reader(file))
