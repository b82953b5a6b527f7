"""Answers that are no votes, asked for again: they leave the run for a log, and the run goes back into the queue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, delete, insert, select, tuple_, update

from core.queries import ReplacedJudgement
from core.types import JudgementStatus, RunState
from db.base import AnyRow, StoreBase, clean, now, spans, table_of
from db.engine import reading, writing
from db.models import JudgementRecord, ReplacedRecord, RunRecord, TallyRecord, VerdictRecord
from db.runs import get_run, held_by_worker, locked_run

# An abstention is a judge's own word, and an OK answer is never asked for again.
ASKED_AGAIN = (JudgementStatus.FAILED, JudgementStatus.OFF_MENU, JudgementStatus.REFUSED)
_KEPT = ("run_id", "item_id", "judge_id", "status", "raw_reply", "error", "latency_ms", "tokens", "created_at")


class AskedAgainStore(StoreBase):
    """Takes answers that are no votes out of a run and keeps them."""

    def ask_again(self, run_id: int, author: str = "", item_id: int | None = None, judge_id: str = "") -> int:
        """Have the run's failed, off-menu and refused answers (of one item, of one judge) given again; return how many.

        What was answered moves to a log. The items keep their verdicts until they are decided anew. The run is queued
        unless it is already, or paused. Raises NotFound, and RunTaken while a worker is at it.
        """
        with writing(self.engine) as connection:
            run = locked_run(connection, run_id)
            held_by_worker(run)
            rows = _troubles(connection, run_id, item_id, judge_id)
            if rows:
                _replace(connection, rows, author)
                _uncount(connection, run_id, rows)
                _undecide(connection, run_id, sorted({row.item_id for row in rows}))
                _queue_again(connection, run)
        return len(rows)

    def troubles(self, run_id: int) -> int:
        """Return how many answers of a run could be asked for again. Raises NotFound."""
        record = TallyRecord
        query = select(record.judgements).where(record.run_id == run_id, record.status.in_(ASKED_AGAIN))
        with reading(self.engine) as connection:
            get_run(connection, run_id)
            return sum(connection.execute(query).scalars())


def _troubles(connection: Connection, run_id: int, item_id: int | None, judge_id: str) -> Sequence[AnyRow]:
    record = JudgementRecord
    query = select(*(getattr(record, name) for name in _KEPT)).where(record.run_id == run_id, record.status.in_(ASKED_AGAIN))
    if item_id is not None:
        query = query.where(record.item_id == item_id)
    if judge_id:
        query = query.where(record.judge_id == judge_id)
    return connection.execute(query).all()


def _replace(connection: Connection, rows: Sequence[AnyRow], author: str) -> None:
    moment, record = now(), JudgementRecord
    values = [{**{name: getattr(row, name) for name in _KEPT}, "author": clean(author), "asked_again_at": moment} for row in rows]
    connection.execute(insert(table_of(ReplacedRecord)), values)
    for part in spans([(row.item_id, row.judge_id) for row in rows]):
        connection.execute(delete(record).where(record.run_id == rows[0].run_id, tuple_(record.item_id, record.judge_id).in_(part)))


def _uncount(connection: Connection, run_id: int, rows: Sequence[AnyRow]) -> None:
    sums: dict[tuple[str, JudgementStatus], tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for row in rows:
        count, latency = sums[row.judge_id, row.status]
        sums[row.judge_id, row.status] = (count + 1, latency + row.latency_ms)
    record = TallyRecord
    for (judge_id, status), (count, latency) in sums.items():
        mine = (record.run_id == run_id, record.judge_id == judge_id, record.status == status)
        less = {"judgements": record.judgements - count, "latency_ms": record.latency_ms - latency}
        connection.execute(update(record).where(*mine).values(less))
        connection.execute(delete(record).where(*mine, record.judgements <= 0))


def _undecide(connection: Connection, run_id: int, item_ids: Sequence[int]) -> None:
    """Let the verdicts stand as those of no aggregator, as after a change of the aggregator: they are decided anew."""
    record = VerdictRecord
    for ids in spans(item_ids):
        connection.execute(update(record).where(record.run_id == run_id, record.item_id.in_(ids)).values(aggregator=""))


def _queue_again(connection: Connection, run: AnyRow) -> None:
    values: dict[str, object] = {"families_of": "", "deaths": 0, "deaths_at": 0}
    if run.state in {RunState.DONE, RunState.STOPPED, RunState.FAILED}:
        values |= {"state": RunState.QUEUED, "queued_at": now(), "error": {}, "finished_at": None}
    connection.execute(update(RunRecord).where(RunRecord.id == run.id).values(values))


def replaced_judgements(connection: Connection, run_id: int, item_id: int) -> Iterator[ReplacedJudgement]:
    """Yield the answers on an item that were asked for again, oldest first."""
    record = ReplacedRecord
    columns = (record.judge_id, record.status, record.raw_reply, record.error, record.created_at, record.author, record.asked_again_at)
    query = select(*columns).where(record.run_id == run_id, record.item_id == item_id).order_by(record.id)
    return (ReplacedJudgement(*row) for row in connection.execute(query))
