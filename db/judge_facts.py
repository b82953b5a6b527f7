"""What stored judgements say of judges: how fast each answers, how often it cannot, and what it said last when it could not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from core.types import JudgementStatus, LocalText
from db.base import StoreBase
from db.engine import reading
from db.models import JudgementRecord, RunRecord, TallyRecord

# Only the latest runs are asked for errors: an old one says little of what is true today.
_RUNS = 20


@dataclass(frozen=True, slots=True)
class LastError:
    """The latest failure of a judge: where, when, and its words."""

    run_id: int
    item_id: int
    at: datetime
    words: LocalText


@dataclass(frozen=True, slots=True)
class JudgeFacts:
    """All judgements of one judge of a panel: how many by status, their mean latency, and the latest failure."""

    by_status: Mapping[JudgementStatus, int]
    mean_latency_ms: float | None
    last_error: LastError | None

    @property
    def answers(self) -> int:
        """Return how many judgements there are."""
        return sum(self.by_status.values())


class JudgeFactsStore(StoreBase):
    """Reads what stored judgements say of judges."""

    def judge_facts(self, panel_id: str) -> dict[str, JudgeFacts]:
        """Return what is stored of each judge that any version of a panel had, by the judge's id."""
        record = TallyRecord
        query = (
            select(record.judge_id, record.status, func.sum(record.judgements), func.sum(record.latency_ms))
            .join(RunRecord, RunRecord.id == record.run_id)
            .where(RunRecord.panel_id == panel_id)
            .group_by(record.judge_id, record.status)
        )
        statuses: dict[str, dict[JudgementStatus, int]] = {}
        spent: dict[str, float] = {}
        with reading(self.engine) as connection:
            for judge_id, status, count, milliseconds in connection.execute(query):
                statuses.setdefault(judge_id, {})[status] = count
                spent[judge_id] = spent.get(judge_id, 0.0) + milliseconds
        return {
            judge_id: JudgeFacts(
                counts,
                spent[judge_id] / sum(counts.values()) if sum(counts.values()) else None,
                self._last_error(panel_id, judge_id) if counts.get(JudgementStatus.FAILED) else None,
            )
            for judge_id, counts in statuses.items()
        }

    def panel_runs(self) -> dict[str, int]:
        """Return how many runs each panel has had."""
        query = select(RunRecord.panel_id, func.count().label("runs")).group_by(RunRecord.panel_id)
        with reading(self.engine) as connection:
            return {row.panel_id: row.runs for row in connection.execute(query)}

    def _last_error(self, panel_id: str, judge_id: str) -> LastError | None:
        tally, record = TallyRecord, JudgementRecord
        failed = JudgementStatus.FAILED
        with reading(self.engine) as connection:
            runs = (
                select(RunRecord.id)
                .join(tally, (tally.run_id == RunRecord.id) & (tally.judge_id == judge_id) & (tally.status == failed))
                .where(RunRecord.panel_id == panel_id)
                .order_by(RunRecord.id.desc())
                .limit(_RUNS)
            )
            for run_id in connection.execute(runs).scalars().all():
                query = (
                    select(record.item_id, record.created_at, record.error)
                    .where(record.run_id == run_id, record.status == failed, record.judge_id == judge_id)
                    .order_by(record.item_id.desc())
                    .limit(1)
                )
                found = connection.execute(query).one_or_none()
                if found is not None:
                    return LastError(run_id, found.item_id, found.created_at, found.error)
        return None
