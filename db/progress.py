"""How far a run is: read every second by every open page, so it reads tallies and one index, never the judgements."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from core.errors import NotFound
from core.queries import JudgeProgress, RunProgress
from core.types import JudgementStatus, Outcome, PanelSpec, Run, RunState
from db.base import AnyRow, StoreBase, now
from db.engine import reading
from db.models import RunRecord, SheetRecord, TallyRecord, VerdictRecord
from db.records import run_of, select_runs
from db.runs import JUDGING, beat_seconds


@dataclass(slots=True)
class _VerdictCounts:
    decided: int = 0
    by_outcome: dict[Outcome, int] = field(default_factory=lambda: defaultdict(int))
    labels: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))


class ProgressStore(StoreBase):
    """Answers how far runs are."""

    def progress(self, run_id: int) -> RunProgress:
        """Return how far a run is. Raises NotFound.

        The rate is (judgements / judges) over the seconds in which judges answered, on all days and workers together:
        neither a pause nor the loading of models bends it. `by_dimension` counts the sheet's items.
        """
        with reading(self.engine) as connection:
            query = select_runs().add_columns(SheetRecord.dimension_counts).where(RunRecord.id == run_id)
            row = connection.execute(query).one_or_none()
            if row is None:
                raise NotFound(f"There is no run {run_id}.", zh=f"没有编号为 {run_id} 的评判任务。")
            run = run_of(row)
            judges = _judges(connection, run_id, run.panel)
            counts = _verdicts(connection, run_id, run.aggregator)
            place = _queue_place(connection, row)
        running = run.state is RunState.RUNNING
        since = beat_seconds(row, now()) if running else 0.0
        judging = row.judging_seconds + (since if row.stage == JUDGING else 0.0)
        rate, left = _speed(run, judges, judging)
        return RunProgress(
            run=run,
            state=run.state,
            stage=row.stage if running and row.stage else run.state.value,
            total=run.items,
            decided=counts.decided,
            judges=judges,
            by_outcome=dict(counts.by_outcome),
            by_dimension=row.dimension_counts,
            rate=rate,
            seconds_left=left,
            queue_place=place,
            elapsed_seconds=run.worked_seconds + since,
            label_counts={dimension: dict(sorted(labels.items())) for dimension, labels in sorted(counts.labels.items())},
        )


def _judges(connection: Connection, run_id: int, panel: PanelSpec) -> tuple[JudgeProgress, ...]:
    statuses: dict[str, dict[JudgementStatus, int]] = defaultdict(dict)
    latency: dict[str, float] = defaultdict(float)
    record = TallyRecord
    for judge_id, status, count, milliseconds in connection.execute(
        select(record.judge_id, record.status, record.judgements, record.latency_ms).where(record.run_id == run_id)
    ):
        statuses[judge_id][status] = count
        latency[judge_id] += milliseconds
    return tuple(
        JudgeProgress(spec.id, statuses[spec.id], latency[spec.id] / max(1, sum(statuses[spec.id].values()))) for spec in panel.judges
    )


def _verdicts(connection: Connection, run_id: int, aggregator: str) -> _VerdictCounts:
    record = VerdictRecord
    query = (
        select(record.dimension_id, record.outcome, record.label, func.count())
        .where(record.run_id == run_id, record.aggregator == aggregator)
        .group_by(record.dimension_id, record.outcome, record.label)
    )
    counts = _VerdictCounts()
    for dimension_id, outcome, label, count in connection.execute(query):
        counts.decided += count
        counts.by_outcome[outcome] += count
        if label is not None:
            counts.labels[dimension_id][label] += count
    return counts


def _queue_place(connection: Connection, row: AnyRow) -> int:
    """Return how many runs come before a queued one: those at work and those queued earlier."""
    if row.state is not RunState.QUEUED:
        return 0
    record = RunRecord
    earlier = (record.queued_at < row.queued_at) | ((record.queued_at == row.queued_at) & (record.id < row.id))
    query = select(func.count()).select_from(record).where(record.deleted_at.is_(None))
    before = query.where((record.state == RunState.RUNNING) | ((record.state == RunState.QUEUED) & earlier))
    return connection.execute(before).scalar_one()


def stored_rate(connection: Connection, run_id: int) -> float | None:
    """Return a run's rows a second by what is stored, None until it is known: the figure of `progress` without its counts."""
    run, tally = RunRecord, TallyRecord
    answered = select(func.sum(tally.judgements)).where(tally.run_id == run_id).scalar_subquery()
    row = connection.execute(select(run.judging_seconds, run.judge_count, answered.label("answered")).where(run.id == run_id)).one()
    return row.answered / row.judge_count / row.judging_seconds if row.answered and row.judging_seconds > 0 else None


def _speed(run: Run, judges: tuple[JudgeProgress, ...], judging_seconds: float) -> tuple[float | None, float | None]:
    """Return rows a second and the seconds left, each None until it is known."""
    answered = sum(judge.done for judge in judges)
    over = run.state in {RunState.DONE, RunState.FAILED}
    if answered == 0 or judging_seconds <= 0:
        return None, 0.0 if run.state is RunState.DONE else None
    rate = answered / len(judges) / judging_seconds
    missing = run.items - answered / len(judges)
    return rate, 0.0 if over else max(0.0, missing / rate)
