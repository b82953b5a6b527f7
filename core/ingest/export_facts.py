"""The facts of a run, as the third worksheet of full.xlsx lists them."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import xlsxwriter

from core.ingest.export import dimension_name
from core.ingest.export_columns import OUTCOMES, RowContext
from core.queries import ExportRow
from core.types import Outcome, RunState, Sheet, said

Fact = tuple[str, str | int | float]

_STATES: Mapping[RunState, str] = {
    RunState.QUEUED: "排队中",
    RunState.RUNNING: "评判中",
    RunState.PAUSED: "已暂停",
    RunState.STOPPED: "已停止",
    RunState.DONE: "已完成",
    RunState.FAILED: "失败",
}


@dataclass(slots=True)
class Tally:
    """What is counted while the rows are written."""

    rows: int = 0
    without_label: int = 0
    corrected: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    labels: dict[str, Counter[int]] = field(default_factory=dict)

    def add(self, row: ExportRow) -> None:
        """Count one judged row."""
        self.rows += 1
        self.corrected += row.corrected is not None
        if row.verdict is not None:
            self.outcomes[row.verdict.decision.outcome] += 1
        if row.label is None:
            self.without_label += 1
        else:
            self.labels.setdefault(row.item.dimension_id, Counter())[row.label] += 1


def run_facts(context: RowContext, tally: Tally, sheet: Sheet | None, more: Mapping[str, str] | None, skipped: int) -> Iterator[Fact]:
    """Yield name and value of every fact, in the export's language."""
    run, say = context.run, context.say
    yield say("运行编号", "Run"), run.id
    yield say("状态", "State"), say(_STATES[run.state], run.state.value)
    if run.error:
        yield say("错误", "Error"), said(run.error, context.language)
    yield from _sheet_facts(context, sheet)
    yield say("已导出的行", "Rows exported"), tally.rows
    yield say("跳过的行", "Rows skipped"), skipped
    yield say("无结论的行", "Rows without a verdict"), tally.without_label
    yield say("人工改正的行", "Rows corrected"), tally.corrected
    for outcome, count in sorted(tally.outcomes.items()):
        zh, en = OUTCOMES[outcome]
        yield say(f"投票结果 {zh}", f"Outcome {en}"), count
    for dimension, counts in sorted(tally.labels.items()):
        name = dimension_name(context.dimensions, dimension, context.language)
        yield say(f"分数分布 {name}", f"Scores of {name}"), " ".join(f"{label}:{count}" for label, count in sorted(counts.items()))
    yield say("样例库", "Library"), f"{run.library_id} ({run.library_version})"
    yield say("汇总方法", "Aggregator"), run.aggregator
    yield from _panel_facts(context)
    yield say("创建时间", "Created"), _time(run.created_at)
    yield say("开始时间", "Started"), _time(run.started_at)
    yield say("完成时间", "Finished"), _time(run.finished_at)
    yield say("用时（秒）", "Seconds worked"), round(run.worked_seconds, 3)
    yield say("导出时间", "Exported"), _time(datetime.now(UTC))
    yield "Python", platform.python_version()
    yield "XlsxWriter", xlsxwriter.__version__
    yield from (more or {}).items()


def _sheet_facts(context: RowContext, sheet: Sheet | None) -> Iterator[Fact]:
    say = context.say
    yield say("文件", "Sheet"), context.run.sheet_name
    if sheet is not None:
        yield "sha256", sheet.sha256
        yield say("格式", "Format"), " ".join(part for part in (sheet.format, sheet.encoding, sheet.worksheet) if part)
        yield say("列的对应关系", "Columns"), ", ".join(f"{name} = {header}" for name, header in sheet.mapping.items())


def _panel_facts(context: RowContext) -> Iterator[Fact]:
    panel, say = context.run.panel, context.say
    name = panel.names.get(context.language) or panel.names.get("zh", "")
    yield say("评判组", "Panel"), f"{panel.id} {name}".strip()
    if panel.sha256:
        yield say("评判组 sha256", "Panel sha256"), panel.sha256
    yield say("首席评判", "Lead judge"), panel.lead
    for judge in panel.judges:
        options = json.dumps(dict(judge.options), ensure_ascii=False, default=str)
        yield say(f"评判 {judge.id}", f"Judge {judge.id}"), f"{judge.named(context.language)}: {judge.family} {options}"


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
