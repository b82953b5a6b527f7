"""The columns of full.xlsx, each with its title in both languages and how it is filled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from core.ingest.export import dimension_name
from core.ingest.xlsx_writer import Value
from core.queries import ExportRow
from core.types import Dimension, Judgement, JudgementStatus, JudgeSpec, Outcome, Run, said

Answers = Mapping[str, Judgement]


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that was not judged: its 1-based number, its id where it has one, and why."""

    number: int
    external_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class RowContext:
    """What a column may need beside the row itself."""

    run: Run
    dimensions: Mapping[str, Dimension]
    language: str

    def answers(self, row: ExportRow) -> Answers:
        """Return the row's judgements by judge."""
        return {judgement.judge_id: judgement for judgement in row.judgements}

    def say(self, zh: str, en: str) -> str:
        """Return the text in the export's language."""
        return zh if self.language == "zh" else en


@dataclass(frozen=True, slots=True)
class FullColumn:
    """A column: its title, its width in characters, its value for a judged row and for a skipped one."""

    title: str
    width: int
    value: Callable[[ExportRow, Answers], Value]
    skipped: Callable[[SkippedRow], Value] = lambda _: None


FIXED_TITLES: tuple[tuple[str, str], ...] = (
    ("数据编号", "Id"),
    ("行号", "Row"),
    ("评判维度", "Dimension"),
    ("创作要求", "Prompt"),
    ("待评判内容", "Text"),
    ("标注分值", "Gold label"),
    ("状态", "Status"),
    ("预测分数", "Score"),
    ("裁决", "Verdict"),
    ("人工改正", "Correction"),
    ("期望分", "Expected"),
    ("概率", "Probabilities"),
    ("投票结果", "Outcome"),
    ("依据", "Basis"),
    ("分歧", "Disagreement"),
    ("汇总方法", "Aggregator"),
    ("示例", "Examples"),
    ("说明", "Note"),
)
"""The titles of the columns that every export has, in order; docs/DATA.md explains each."""

JUDGE_TITLES: tuple[tuple[str, str], ...] = (
    ("分数", "label"),
    ("状态", "status"),
    ("期望分", "expected"),
    ("把握", "confidence"),
    ("概率", "probabilities"),
    ("理由", "reason"),
)
"""The titles of each judge's columns, behind the judge's name."""

OUTCOMES: Mapping[Outcome, tuple[str, str]] = {
    Outcome.UNANIMOUS: ("一致", "unanimous"),
    Outcome.MAJORITY: ("多数", "majority"),
    Outcome.SINGLE: ("单票", "single"),
    Outcome.TIE: ("平票", "tie"),
    Outcome.NO_QUORUM: ("票数不足", "no quorum"),
}
_STATUSES: Mapping[JudgementStatus, tuple[str, str]] = {
    JudgementStatus.OK: ("正常", "ok"),
    JudgementStatus.ABSTAINED: ("弃权", "abstained"),
    JudgementStatus.OFF_MENU: ("不在选项内", "off menu"),
    JudgementStatus.REFUSED: ("拒答", "refused"),
    JudgementStatus.FAILED: ("失败", "failed"),
}


def full_columns(context: RowContext, extra_columns: Sequence[str]) -> list[FullColumn]:
    """Return every column of the results' worksheet: the fixed ones, six per judge, and the sheet's own extra columns."""
    columns = [*_item_columns(context), *_verdict_columns(context)]
    names = {judge.id: judge.named(context.language) for judge in context.run.panel.judges}
    bearers = Counter(names.values())
    for judge in context.run.panel.judges:
        name = names[judge.id]
        columns.extend(_judge_columns(judge, name if bearers[name] == 1 else f"{name} ({judge.id})", context))
    taken = {column.title for column in columns}
    for name in extra_columns:
        title = name
        while title in taken:
            title = f"{title} *"
        taken.add(title)
        columns.append(FullColumn(title, 16, partial(_extra, name)))
    return columns


def _extra(name: str, row: ExportRow, _: Answers) -> Value:
    return row.item.extra.get(name, "")


def _item_columns(context: RowContext) -> list[FullColumn]:
    title = iter(context.say(*pair) for pair in FIXED_TITLES)
    return [
        FullColumn(next(title), 16, lambda row, _: row.item.external_id, lambda bad: bad.external_id),
        FullColumn(next(title), 8, lambda row, _: row.item.source.row, lambda bad: bad.number),
        FullColumn(next(title), 12, lambda row, _: dimension_name(context.dimensions, row.item.dimension_id, context.language)),
        FullColumn(next(title), 36, lambda row, _: row.item.prompt),
        FullColumn(next(title), 60, lambda row, _: row.item.text),
        FullColumn(next(title), 10, lambda row, _: row.item.gold),
    ]


def _verdict_columns(context: RowContext) -> list[FullColumn]:
    title = iter(context.say(*pair) for pair in FIXED_TITLES[6:])
    say = context.say
    return [
        FullColumn(next(title), 10, lambda row, _: _row_status(row, context), lambda _: say("已跳过", "skipped")),
        FullColumn(next(title), 10, lambda row, _: row.label),
        FullColumn(next(title), 8, lambda row, _: row.verdict.decision.label if row.verdict else None),
        FullColumn(next(title), 10, lambda row, _: row.corrected),
        FullColumn(next(title), 9, lambda row, _: _number(row.verdict.decision.expected) if row.verdict else None),
        FullColumn(next(title), 30, lambda row, _: compact(row.verdict.decision.probabilities) if row.verdict else ""),
        FullColumn(next(title), 10, lambda row, _: say(*OUTCOMES[row.verdict.decision.outcome]) if row.verdict else ""),
        FullColumn(next(title), 16, lambda row, _: row.verdict.decision.reason if row.verdict else ""),
        FullColumn(next(title), 10, lambda row, _: _number(row.verdict.decision.disagreement) if row.verdict else None),
        FullColumn(next(title), 16, lambda row, _: row.verdict.aggregator if row.verdict else ""),
        FullColumn(next(title), 40, lambda row, _: ", ".join(f"{shown.external_id} ({shown.similarity:.3f})" for shown in row.examples)),
        FullColumn(next(title), 40, lambda *_: "", lambda bad: bad.reason),
    ]


def _row_status(row: ExportRow, context: RowContext) -> str:
    if row.corrected is not None:
        return context.say("已改正", "corrected")
    if row.label is None:
        return context.say("无结论", "no verdict")
    return context.say("已评判", "judged")


def _judge_columns(judge: JudgeSpec, name: str, context: RowContext) -> list[FullColumn]:
    title = iter(f"{name} {context.say(*pair)}" for pair in JUDGE_TITLES)

    def of(pick: Callable[[Judgement], Value]) -> Callable[[ExportRow, Answers], Value]:
        def value(_: ExportRow, answers: Answers) -> Value:
            judgement = answers.get(judge.id)
            return None if judgement is None else pick(judgement)

        return value

    return [
        FullColumn(next(title), 9, of(lambda j: j.label)),
        FullColumn(next(title), 9, of(lambda j: context.say(*_STATUSES[j.status]))),
        FullColumn(next(title), 9, of(_expected)),
        FullColumn(next(title), 9, of(lambda j: None if j.label is None else _number(j.probabilities.get(j.label)))),
        FullColumn(next(title), 30, of(lambda j: compact(j.probabilities))),
        FullColumn(next(title), 40, of(lambda j: said(j.rationale or j.error, context.language))),
    ]


def compact(probabilities: Mapping[int, float]) -> str:
    """Return a distribution on one line, as in `1:.05 2:.10 3:.85`."""
    shares = ((label, f"{share:.2f}") for label, share in sorted(probabilities.items()))
    return " ".join(f"{label}:{share.removeprefix('0') if share != '0.00' else '0'}" for label, share in shares)


def _expected(judgement: Judgement) -> float | None:
    if not judgement.probabilities:
        return None
    return float(sum(label * share for label, share in judgement.probabilities.items()))


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
