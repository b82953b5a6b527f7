"""`evaluate`: how far each judge and the verdict are from a sheet's own labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from core import metrics
from core.errors import SheetError
from core.settings import load_settings
from core.types import Dimension, DimensionKind, Judgement, JudgementStatus, Run, RunState, Verdict, said
from webapp.cli.console import plain_console
from webapp.cli.judge import follow, print_problems, resolve_library
from webapp.workbench import Workbench


@dataclass(slots=True)
class _Answers:
    """True labels, predicted labels and distributions of one judge (or the verdict) on one dimension."""

    true: list[int] = field(default_factory=list)
    predicted: list[int] = field(default_factory=list)
    distributions: list[Mapping[int, float]] = field(default_factory=list)

    def add(self, gold: int, label: int, distribution: Mapping[int, float]) -> None:
        self.true.append(gold)
        self.predicted.append(label)
        self.distributions.append(distribution)

    def cells(self, dimension: Dimension) -> list[str]:
        if not self.true:
            return ["0"]  # nobody answered: there is nothing to compare
        exact = f"{metrics.accuracy(self.true, self.predicted):.3f}"
        calibration = f"{metrics.calibration_error(self.true, self.distributions):.3f}"
        if dimension.kind is DimensionKind.NOMINAL:
            return [str(len(self.true)), exact, "", "", "", calibration]
        kappa = metrics.quadratic_weighted_kappa(self.true, self.predicted, dimension.labels)
        error = metrics.mean_absolute_error(self.true, self.predicted)
        return [str(len(self.true)), exact, f"{error:.3f}", f"{1 / (1 + error):.3f}", f"{kappa:.3f}", calibration]


def run_evaluate(sheet: Path, library: str, panel: str | None, aggregator: str | None, *, skip_bad_rows: bool) -> int:
    """Judge a labelled sheet, print the figures, and return the exit status."""
    console = plain_console(stderr=True)
    workbench = Workbench.open(load_settings())
    preview = workbench.preview(sheet)
    print_problems(console, preview)
    if preview.rows and all(row.gold is None for row in preview.rows):  # told before the work
        raise SheetError(
            "The sheet has no labels (标注分值) to compare with; `judge` judges unlabelled sheets.",
            zh="表中没有标签（标注分值）可以对照；没有标签的表请用 judge 评判。",
        )
    stored = workbench.store_sheet(preview.token, worksheet=preview.worksheet, mapping=preview.mapping, skip_bad_rows=skip_bad_rows)
    run = workbench.start_here(stored.id, resolve_library(workbench, library).id, panel, aggregator)
    run = follow(console, workbench, run)
    if run.state is not RunState.DONE:
        console.print(f"Run {run.id} is {run.state.value}: {said(run.error, 'en')}")
        return 1
    plain_console().print(_table(workbench, run))
    return 0


def _table(workbench: Workbench, run: Run) -> Table:
    answers: dict[tuple[str, str], _Answers] = defaultdict(_Answers)
    for row in workbench.export_rows(run.id):
        if row.item.gold is None:
            continue
        for judgement in row.judgements:
            if judgement.status is JudgementStatus.OK:
                _add(answers[row.item.dimension_id, judgement.judge_id], row.item.gold, judgement)
        if row.verdict is not None:
            _add(answers[row.item.dimension_id, "verdict"], row.item.gold, row.verdict)
    table = Table("dimension", "judge", "rows", "exact", "MAE", "1/(1+MAE)", "QWK", "ECE", box=None)
    dimensions = {dimension.id: dimension for dimension in workbench.dimensions()}
    for dimension_id, dimension in dimensions.items():
        for judge in (*(judge.id for judge in run.panel.judges), "verdict"):
            if (dimension_id, judge) in answers:
                table.add_row(dimension.name("zh"), judge, *answers[dimension_id, judge].cells(dimension))
    return table


def _add(answers: _Answers, gold: int, answer: Judgement | Verdict) -> None:
    label, probabilities = (
        (answer.label, answer.probabilities) if isinstance(answer, Judgement) else (answer.decision.label, answer.decision.probabilities)
    )
    if label is not None:
        answers.add(gold, label, probabilities)
