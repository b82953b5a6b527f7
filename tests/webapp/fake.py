"""A workbench with invented sheets and judges that take their time: for pages whose state must be held still."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.desks import RunCounts, RunLine
from core.errors import ExportError, NotFound, SheetError
from core.judging.aggregation import AGGREGATORS, get_aggregator
from core.queries import JudgeProgress, RowDetail, RowQuery, RowSort, RunPage, RunProgress, RunRow
from core.types import (
    Dimension,
    DimensionKind,
    Example,
    Item,
    Judgement,
    JudgementStatus,
    JudgeSpec,
    LabelledItem,
    Library,
    Origin,
    PanelSpec,
    RowProblem,
    Run,
    RunState,
    Severity,
    Sheet,
    SheetRow,
    SourceRef,
    Verdict,
    content_hash,
)
from webapp.services.run_desk import RunDesk
from webapp.workbench import Estimate, Question, SheetPreview, Workbench

HOSTILE = '<script>alert(1)</script>"><img src=x onerror="window.hacked=1">{{7*7}}${window.hacked=2}'

LEVELS = {
    5: {"zh": "通顺自然，几乎没有语病。", "en": "Reads naturally, hardly a fault."},
    4: {"zh": "大体通顺，偶有小错。", "en": "Mostly smooth, a slip here and there."},
    3: {"zh": "能读懂，有少量语病和错字。", "en": "Understandable, with some faults and wrong characters."},
    2: {"zh": "多处不通，需要猜测。", "en": "Broken in several places; one has to guess."},
    1: {"zh": "难以读懂。", "en": "Hard to follow."},
}
DIMENSIONS = (
    Dimension("fluency", {"zh": "流畅性", "en": "Fluency"}, (1, 2, 3, 4, 5), DimensionKind.ORDINAL, LEVELS, "1", False,
              description={"zh": "按每百字的语病数评分。", "en": "Scored by the faults in a hundred characters."}),
    Dimension("normativity", {"zh": "规范性", "en": "Normativity"}, (1, 2, 3, 4, 5), DimensionKind.ORDINAL, LEVELS, "1", True),
    Dimension("choice", {"zh": "选择题", "en": "Choice"}, (0, 1), DimensionKind.NOMINAL,
              {0: {"zh": "选错或拒答", "en": "wrong or refused"}, 1: {"zh": "选对", "en": "right"}}, "1", False),
)  # fmt: skip
BY_ID = {dimension.id: dimension for dimension in DIMENSIONS}
PANEL = PanelSpec(
    "cpu",
    {"zh": "CPU 评委组", "en": "CPU panel"},
    (
        JudgeSpec("rules", "规则", "rules", names={"zh": "规则", "en": "Rules"}),
        JudgeSpec("neighbours", "近邻", "neighbours", names={"zh": "近邻", "en": "Neighbours"}),
        JudgeSpec("ngrams", "字组", "ngrams", names={"zh": "字组", "en": "N-grams"}),
        JudgeSpec("surprise", "惊异", "surprise", names={"zh": "惊异", "en": "Surprise"}),
    ),
    lead="rules",
    description={"zh": "无需显卡与下载，几秒内从示例库学会。", "en": "No GPU and no download; learns from the library in seconds."},
)
SENTENCES = (
    "清晨的码头起了薄雾，渔船一只接一只靠岸，女人们提着竹篮等在石阶上。",
    "去年冬天雪下得晚，山上的茶树却比往年发芽更早，合作社提前半个月开了采。",
    "他把旧自行车擦得发亮，说要骑着它去看看河那边新修的的桥。",
    "会议最后决定，图书馆周末延长两个小时开放，由志愿者轮流值班。",
    "锅里的米粥咕嘟咕嘟地响，外婆一边剥蒜一边讲起她年轻时赶集的事。",
    "雨后的操场积了水，孩子们却因此而更加高兴，踩着水洼追来追去。",
)
PROBLEMS = (
    RowProblem(
        "empty_text", Severity.ERROR, 14, "待评判内容", "",
        {"zh": "第 14 行的待评判内容是空的。请补上文本，或删去这一行。", "en": "Row 14 has no text. Fill it in, or delete the row."},
        "A0013",
    ),
    RowProblem(
        "unknown_dimension", Severity.ERROR, 29, "评判维度", "流利性",
        {"zh": "第 29 行的维度“流利性”不认识。请改用已有的维度。", "en": "Row 29 has the unknown dimension “流利性”. Use a known one."},
        "A0028",
    ),
    RowProblem(
        "duplicate_id", Severity.ERROR, 41, "数据编号", "A0007",
        {"zh": "第 41 行的编号 A0007 与第 8 行相同。请改掉一个。", "en": "Row 41 repeats the id A0007 of row 8. Give it another id."},
        "A0007",
    ),
    RowProblem(
        "control_characters", Severity.WARNING, 52, "待评判内容", "…",
        {"zh": "第 52 行的文本有控制字符，已去掉。", "en": "Row 52 had control characters, which were removed."},
        "A0051",
    ),
)  # fmt: skip


@dataclass(slots=True)
class _FakeRun:
    run: Run
    items: list[Item]
    began: float
    worked: float = 0.0
    live: bool = True


class FakeRunDesk(RunDesk):
    """The list of the invented runs; none is deleted."""

    def __init__(self, workbench: FakeWorkbench) -> None:
        self._workbench = workbench

    def lines(self, limit: int = 50, offset: int = 0, *, deleted: bool = False) -> Sequence[RunLine]:
        runs = [] if deleted else self._workbench.runs(limit + offset)[offset:]
        progress = [self._workbench.progress(run.id) for run in runs]
        return [RunLine(now.run, RunCounts(now.decided, now.by_outcome, 0, 0, 0, 0)) for now in progress]

    def total(self, *, deleted: bool = False) -> int:
        return 0 if deleted else len(self._workbench.runs_)


@dataclass(slots=True)
class FakeWorkbench(Workbench):
    """`rate` is in rows a second; judges differ in speed, so that a live page shows a true race."""

    rate: float = 40.0
    hostile: bool = False
    folder: Path = Path()
    runs_: list[_FakeRun] = field(default_factory=list)
    previews: dict[str, SheetPreview] = field(default_factory=dict)
    libraries_: list[Library] = field(
        default_factory=lambda: [Library(1, "sample", "v1", 162, datetime.now(UTC), {"fluency": 60, "normativity": 58, "choice": 44})]
    )

    @property
    def run_desk(self) -> FakeRunDesk:  # type: ignore[override]
        return FakeRunDesk(self)

    def dimensions(self) -> Sequence[Dimension]:
        return DIMENSIONS

    def panels(self) -> Sequence[PanelSpec]:
        return (PANEL,)

    def aggregators(self) -> Sequence[str]:
        return tuple(AGGREGATORS)

    def libraries(self) -> Sequence[Library]:
        return self.libraries_

    def sample_sheet(self) -> Path:
        return Path("sheet.xlsx")

    def preview(self, path: Path, name: str = "", worksheet: str = "", mapping: Mapping[str, str] | None = None) -> SheetPreview:
        shown = name or path.name
        if "broken" in shown:
            raise SheetError(f"«{shown}» is truncated; save it again and upload it anew.", f"「{shown}」不完整；请重新保存后再上传。")
        token = hashlib.sha256(shown.encode()).hexdigest()
        problems = PROBLEMS if "bad" in shown else ()
        rows = tuple(self._rows(shown, 66))
        errors = sum(problem.severity is Severity.ERROR for problem in problems)
        self.previews[token] = SheetPreview(
            token, shown, token, 48_200, "csv" if shown.endswith("csv") else "xlsx", "gb18030" if shown.endswith("csv") else "",
            ("Sheet1", "备注"), worksheet or "Sheet1", ("数据编号", "创作要求", "评判维度", "待评判内容", "<b>备注</b>"),
            mapping or {"id": "数据编号", "prompt": "创作要求", "dimension": "评判维度", "text": "待评判内容"},
            rows[:20], len(rows) + errors, len(rows), dict(Counter(row.dimension_id for row in rows)), problems, errors, False,
        )  # fmt: skip
        return self.previews[token]

    def preview_again(self, token: str, worksheet: str = "", mapping: Mapping[str, str] | None = None) -> SheetPreview:
        if token not in self.previews:
            raise NotFound("The uploaded file is gone; upload it again.", "上传的文件已不在；请重新上传。")
        return self.preview(Path("x"), self.previews[token].name, worksheet, mapping)

    def store_sheet(
        self, token: str, *, worksheet: str = "", mapping: Mapping[str, str] | None = None, skip_bad_rows: bool = False
    ) -> Sheet:
        found = self.previews[token]
        return Sheet(
            len(self.runs_) + 1,
            found.name,
            token,
            found.format,
            found.encoding,
            "",
            found.columns,
            found.mapping,
            found.judgeable_rows,
            0,
            datetime.now(UTC),
        )

    def problems(self, sheet_id: int) -> Sequence[RowProblem]:
        return ()

    def import_library(self, path: Path, name: str = "") -> Library:
        self.libraries_.append(Library(len(self.libraries_) + 1, name, "v1", 80, datetime.now(UTC), {"fluency": 80}))
        return self.libraries_[-1]

    def estimate(self, rows: int, panel_id: str) -> Estimate:
        rate = self.rate if self.runs_ else None
        return Estimate(rows, rows * len(PANEL.judges), rate, rows / rate if rate else None)

    def start_run(self, sheet_id: int, library_id: int, panel_id: str, aggregator: str) -> Run:
        return self.add(next(iter(self.previews.values())).name if self.previews else "sheet.xlsx", 66, aggregator)

    def ask(self, question: Question, library_id: int, panel_id: str, aggregator: str) -> Run:
        run = self.add("question", 1, aggregator)
        entry = self.runs_[-1]
        entry.items = [replace(entry.items[0], dimension_id=question.dimension_id, prompt=question.prompt, text=question.text)]
        return run

    def add(self, name: str, rows: int, aggregator: str = "pooled-median", done: bool = False, ago: timedelta = timedelta()) -> Run:
        """Add a run of `rows` invented rows that starts now, or that is done."""
        number, now = len(self.runs_) + 1, datetime.now(UTC) - ago
        items = [
            Item(
                number * 100_000 + row.position, number, row.position, row.external_id, row.dimension_id, row.prompt, row.text, row.gold,
                row.content_hash, row.source, row.extra,
            )
            for row in self._rows(name, rows)
        ]  # fmt: skip
        run = Run(number, number, name, 1, "v1", PANEL, aggregator, RunState.RUNNING, "", rows, now, now, None)
        self.runs_.append(_FakeRun(run, items, time.monotonic() - (1.5 * rows / self.rate if done else 0)))
        return run

    def runs(self, limit: int = 50) -> Sequence[Run]:
        return [self.run(entry.run.id) for entry in reversed(self.runs_)][:limit]

    def run(self, run_id: int) -> Run:
        entry = self._entry(run_id)
        seconds = self._seconds(entry)
        done = self._judged(entry, 3) >= len(entry.items)
        state = RunState.DONE if done else RunState.RUNNING if entry.live else RunState.STOPPED
        return replace(entry.run, state=state, worked_seconds=min(seconds, 1.2 * len(entry.items) / self.rate))

    def stop(self, run_id: int) -> Run:
        entry = self._entry(run_id)
        entry.worked, entry.live = self._seconds(entry), False
        return self.run(run_id)

    def resume(self, run_id: int) -> Run:
        entry = self._entry(run_id)
        entry.began, entry.live = time.monotonic(), True
        return self.run(run_id)

    def reaggregate(self, run_id: int, aggregator: str) -> Run:
        entry = self._entry(run_id)
        entry.run = replace(entry.run, aggregator=aggregator)
        return self.run(run_id)

    def run_dimensions(self, run: Run) -> dict[str, int]:
        return dict(self.progress(run.id).by_dimension)

    def progress(self, run_id: int) -> RunProgress:
        entry, run = self._entry(run_id), self.run(run_id)
        rows = self._all(entry)
        decided = [row for row in rows if row.verdict]
        labels: dict[str, Counter[int]] = {}
        for row in decided:
            if row.verdict and row.verdict.decision.label is not None:
                labels.setdefault(row.item.dimension_id, Counter())[row.verdict.decision.label] += 1
        judges = tuple(
            JudgeProgress(judge.id, Counter(j.status for row in rows for j in row.judgements if j.judge_id == judge.id), 3.5 + 4 * place)
            for place, judge in enumerate(PANEL.judges)
        )
        left = (len(rows) - len(decided)) / self.rate if run.state is RunState.RUNNING and decided else None
        return RunProgress(
            run, run.state, "judging" if decided else "loading", len(rows), len(decided), judges,
            Counter(row.verdict.decision.outcome for row in decided if row.verdict), Counter(row.item.dimension_id for row in rows),
            self.rate if decided else None, left, 0, run.worked_seconds, labels,
        )  # fmt: skip

    def rows(self, run_id: int, query: RowQuery) -> RunPage:
        rows = [row for row in self._all(self._entry(run_id)) if _matches(row, query)]
        if query.sort is RowSort.DISAGREEMENT:
            rows.sort(key=lambda row: -row.verdict.decision.disagreement if row.verdict else 0)
        if query.sort is RowSort.LABEL:
            rows.sort(key=lambda row: row.verdict.decision.label or 0 if row.verdict else 9)
        start = query.page * query.page_size
        return RunPage(tuple(rows[start : start + query.page_size]), len(rows), query.page, query.page_size)

    def row(self, run_id: int, item_id: int) -> RowDetail:
        rows = self._all(self._entry(run_id))
        place = next((place for place, row in enumerate(rows) if row.item.id == item_id), None)
        if place is None:
            raise NotFound(f"Run {run_id} has no item {item_id}.", f"运行 {run_id} 里没有条目 {item_id}。")
        row = rows[place]
        before = rows[place - 1].item.id if place else None
        after = rows[place + 1].item.id if place + 1 < len(rows) else None
        return RowDetail(self.run(run_id), row.item, row.judgements, self._examples(row.item), row.verdict, (), before, after)

    def export(self, run_id: int, kind: str, encoding: str = "utf-8-sig") -> Path:
        if kind != "result.csv":
            raise ExportError("The fake writes result.csv only.", "假的工作台只写 result.csv。")
        path = self.folder / "result.csv"
        lines = [
            "数据编号,评判维度,预测分数",
            *(f"{row.item.external_id},{row.item.dimension_id},1" for row in self._all(self._entry(run_id))),
        ]
        path.write_text("\n".join(lines), encoding=encoding)
        return path

    # -- invention

    def _entry(self, run_id: int) -> _FakeRun:
        for entry in self.runs_:
            if entry.run.id == run_id:
                return entry
        raise NotFound(f"There is no run {run_id}; choose one from the list of runs.", f"没有运行 {run_id}；请从运行列表里选一个。")

    def _seconds(self, entry: _FakeRun) -> float:
        return entry.worked + (time.monotonic() - entry.began if entry.live else 0.0)

    def _judged(self, entry: _FakeRun, judge: int) -> int:
        return min(len(entry.items), int(self._seconds(entry) * self.rate * (1.3 - 0.1 * judge)))

    def _rows(self, name: str, number: int) -> list[SheetRow]:
        random_ = random.Random(name)
        rows = []
        for position in range(number):
            dimension = DIMENSIONS[position % 3]
            text = "".join(random_.sample(SENTENCES, 4))
            if dimension.id == "choice":
                text = f"正确选项为B，模型回复为：{random_.choice(['选 B。', '**B**', '答案是 A，因为……', '我无法回答这个问题。'])}"
            prompt = "以“家乡的变化”为题写一段记叙文，不少于两百字。" if dimension.needs_prompt else ""
            if self.hostile and position % 2 == 0:
                text, prompt = HOSTILE, HOSTILE
            identity = f"{HOSTILE}{position}" if self.hostile and position == 0 else f"A{position + 1:04d}"
            rows.append(
                SheetRow(
                    position,
                    identity,
                    dimension.id,
                    prompt,
                    text,
                    3 if position % 7 == 0 and dimension.id != "choice" else None,
                    SourceRef(name, "Sheet1", position + 2),
                    {"备注": "甲组"},
                )
            )
        return rows

    def _all(self, entry: _FakeRun) -> list[RunRow]:
        done = [self._judged(entry, judge) for judge in range(len(PANEL.judges))]
        rows = []
        for place, item in enumerate(entry.items):
            answers = tuple(self._answer(item, judge.id) for number, judge in enumerate(PANEL.judges) if place < done[number])
            dimension = BY_ID[item.dimension_id]
            verdict = None
            if len(answers) == len(PANEL.judges):
                verdict = Verdict(item.id, entry.run.aggregator, get_aggregator(entry.run.aggregator)(answers, dimension, PANEL.lead))
            rows.append(RunRow(item, answers, verdict))
        return rows

    def _answer(self, item: Item, judge: str) -> Judgement:
        truth = random.Random(item.content_hash + str(item.position))
        own = random.Random(f"{judge}{item.position}")
        dimension = BY_ID[item.dimension_id]
        if own.random() < 0.06:
            status = own.choice([JudgementStatus.ABSTAINED, JudgementStatus.OFF_MENU, JudgementStatus.REFUSED, JudgementStatus.FAILED])
            why = {"zh": "文本太短，看不出什么。", "en": "The text is too short to see anything."}
            return Judgement(judge, item.id, status, raw_reply="我认为……", error=why, latency_ms=own.uniform(1, 30))
        centre = truth.choice(dimension.labels) + own.choice([0, 0, 0, 0, 0, 1, -1, 2])
        weights = {label: 2.718 ** (-abs(label - centre) * own.uniform(0.7, 1.4)) for label in dimension.labels}
        total = sum(weights.values())
        probabilities = {label: weight / total for label, weight in weights.items()}
        label = max(probabilities, key=lambda one: probabilities[one])
        return Judgement(
            judge,
            item.id,
            JudgementStatus.OK,
            probabilities,
            label,
            '{"faults":3,"per_100":1.6,"places":[{"fault":"doubled_char","excerpt":"的的","at":12}]}',
            {"zh": "数出 3 处语病，合每百字 1.6 处。", "en": "Faults: 3, that is 1.6 per 100 characters."},
            latency_ms=own.uniform(1, 30),
        )

    def _examples(self, item: Item) -> tuple[Example, ...]:
        dimension = BY_ID[item.dimension_id]
        text = HOSTILE if self.hostile else SENTENCES[item.position % len(SENTENCES)] + SENTENCES[(item.position + 1) % len(SENTENCES)]
        return tuple(
            Example(
                LabelledItem(
                    label, f"S{label:04d}", dimension.id, "", text, label, Origin.SAMPLE, "", content_hash(dimension.id, "", text)
                ),
                0.83 - 0.07 * rank,
                rank,
                "ngram-1:5f0c",
            )
            for rank, label in enumerate(dimension.labels)
        )


def _matches(row: RunRow, query: RowQuery) -> bool:
    decision = row.verdict.decision if row.verdict else None
    return (
        (not query.dimension_id or row.item.dimension_id == query.dimension_id)
        and (query.outcome is None or (decision is not None and decision.outcome is query.outcome))
        and (query.label is None or (decision is not None and decision.label == query.label))
        and (query.status is None or any(j.status is query.status for j in row.judgements))
        and (not query.search or query.search in row.item.external_id + row.item.prompt + row.item.text)
    )
