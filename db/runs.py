"""Runs from queue to end: who works on one, and what stops it.

A run that is RUNNING belongs to one worker, by `worker` and `heartbeat_at`. It may be taken over when that process is
dead, or when its heartbeat is older than `stale_after`. The one who lost it learns so at its next heartbeat, and until
then can do no harm: what is stored is unique, and the first stored stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update

from core.errors import NotFound, RunTaken, StoreError
from core.types import LocalText, PanelSpec, Run, RunState
from db.base import AnyRow, AnySelect, StoreBase, clean_words, now, table_of
from db.engine import reading, writing
from db.models import LibraryVersionRecord, RunRecord, SheetRecord, StopRequest, TallyRecord
from db.records import panel_document, run_of, select_runs
from db.workers import is_alive

STALE_AFTER = timedelta(seconds=60)
# For so long a deleted run can be brought back; then it is removed for good (db/housekeeping.py).
DELETED_KEPT = timedelta(days=30)
# A run whose workers die again and again without one more judgement is ended: it would take every worker with it.
MAX_DEATHS = 5
# More than this between two heartbeats was sleep of the machine or a stopped process, not work.
LONGEST_BEAT_S = 60.0
JUDGING = "judging"
# What a run is without a worker.
_FREE: Mapping[str, Any] = {"worker": "", "heartbeat_at": None, "stage": "", "stop_requested": StopRequest.NONE}


class RunRepository(StoreBase):
    """Keeps runs and their leases."""

    def create_run(self, sheet_id: int, library_id: int, panel: PanelSpec, aggregator: str, library_version: str = "") -> Run:
        """Queue a run of `panel` over a sheet with a library's version (empty: the current one), and return it.

        Raises NotFound for an unknown sheet, library or version.
        """
        with writing(self.engine) as connection:
            return get_run(connection, insert_run(connection, sheet_id, library_id, panel, aggregator, library_version))

    def run(self, run_id: int) -> Run:
        """Return a run. Raises NotFound."""
        with reading(self.engine) as connection:
            return get_run(connection, run_id)

    def runs(self, limit: int = 50) -> list[Run]:
        """Return the latest runs that are not deleted, newest first."""
        with reading(self.engine) as connection:
            return [
                run_of(row)
                for row in connection.execute(
                    select_runs().where(RunRecord.deleted_at.is_(None)).order_by(RunRecord.id.desc()).limit(limit)
                )
            ]

    def find_resumable(
        self,
        sheet_sha256: str,
        library_version: str,
        panel_sha256: str,
        aggregator: str,
        *,
        worksheet: str | None = None,
        mapping: Mapping[str, str] | None = None,
        skipped: int | None = None,
        unwritten: Collection[int] = (),
    ) -> Run | None:
        """Return the latest unfinished run of the same bytes, library, panel and aggregator, or None.

        Those of `unwritten` count as unfinished though every row is judged.

        `worksheet`, `mapping` and `skipped`, where given, must be those of the run's sheet: they decide which rows it has.
        """
        query = (
            select_runs()
            .add_columns(SheetRecord.mapping)
            .where(SheetRecord.sha256 == sheet_sha256, RunRecord.library_version == library_version)
            .where(RunRecord.panel_sha256 == panel_sha256, RunRecord.aggregator == aggregator)
            .where(or_(RunRecord.state != RunState.DONE, RunRecord.id.in_(unwritten)))
            .where(RunRecord.deleted_at.is_(None))
            .order_by(RunRecord.id.desc())
        )
        if worksheet is not None:
            query = query.where(SheetRecord.worksheet == worksheet)
        if skipped is not None:
            query = query.where(SheetRecord.skipped == skipped)
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        return next((run_of(row) for row in rows if mapping is None or row.mapping == dict(mapping)), None)

    def claim_next(
        self, worker: str, stale_after: timedelta = STALE_AFTER, hindrance: Callable[[Run], LocalText] = lambda _: {}
    ) -> Run | None:
        """Take the next run for `worker`: one that a dead or silent worker left first, then the oldest in the queue.

        Returns None when there is nothing to do. Two workers never get the same run. A run that was left with a request
        to stop is stopped, and one whose workers died 5 times without a new judgement fails. A queued run that has a
        `hindrance` is passed over and shows it; it must not ask the database.
        """
        with writing(self.engine) as connection:
            for row in connection.execute(_lockable(RunRecord.state == RunState.RUNNING).order_by(RunRecord.queued_at, RunRecord.id)):
                if (row.worker == worker or _abandoned(row, stale_after)) and _take_over(connection, row, worker):
                    return get_run(connection, row.id)
            passed: list[int] = []
            while True:  # one row at a time, so that others meanwhile find the rest unlocked
                queued = _lockable(RunRecord.state == RunState.QUEUED).where(RunRecord.id.not_in(passed))
                first = connection.execute(queued.order_by(RunRecord.queued_at, RunRecord.id).limit(1)).one_or_none()
                if first is None:
                    return None
                reason = hindrance(get_run(connection, first.id))
                if not reason:
                    _lease(connection, first, worker)
                    return get_run(connection, first.id)
                passed.append(first.id)
                if dict(first.error) != dict(reason):
                    _set(connection, first.id, error=clean_words(reason))

    def claim(self, run_id: int, worker: str, stale_after: timedelta = STALE_AFTER) -> Run:
        """Take this run for `worker`, out of its turn, whatever its state but RUNNING by a living worker.

        Repeated by the same worker it changes nothing. Raises NotFound, and RunTaken while another works on it.
        """
        with writing(self.engine) as connection:
            row = locked_run(connection, run_id)
            if row.state is RunState.RUNNING and row.worker == worker:
                return get_run(connection, run_id)
            if row.state is RunState.RUNNING and not _abandoned(row, stale_after):
                raise _taken(run_id, row.worker)
            _lease(connection, row, worker)
            return get_run(connection, run_id)

    def heartbeat(self, run_id: int, worker: str) -> bool:
        """Record that `worker` is alive and count its time; return False when it must stop or has lost the run."""
        with writing(self.engine) as connection:
            row = locked_run(connection, run_id)
            if row.state is not RunState.RUNNING or row.worker != worker:
                return False
            _set(connection, run_id, **_beat(row))
            return row.stop_requested is StopRequest.NONE

    def set_stage(self, run_id: int, worker: str, stage: str) -> None:
        """Say what the worker does now ("loading", "learning", "judging", …); a heartbeat too."""
        with writing(self.engine) as connection:
            row = locked_run(connection, run_id)
            if row.state is RunState.RUNNING and row.worker == worker:
                _set(connection, run_id, stage=stage, **_beat(row))

    def end_work(self, run_id: int, worker: str, state: RunState, error: LocalText | None = None) -> RunState:
        """Give the run back in `state` with the reason, and return the state it has.

        STOPPED becomes QUEUED where the request was only to shut the worker down. A run that `worker` has lost keeps the
        state that others gave it.
        """
        with writing(self.engine) as connection:
            row = locked_run(connection, run_id)
            if row.state is not RunState.RUNNING or row.worker != worker:
                return RunState(row.state)
            if state is RunState.STOPPED and row.stop_requested is StopRequest.REQUEUE:
                state = RunState.QUEUED
            over = now() if state in {RunState.DONE, RunState.FAILED, RunState.STOPPED} else None
            _set(connection, run_id, state=state, error=clean_words(error or {}), finished_at=over, **{**_beat(row), **_FREE})
            return state

    def finish(self, run_id: int, worker: str) -> RunState:
        """End a run whose every row has its verdict."""
        return self.end_work(run_id, worker, RunState.DONE)

    def fail(self, run_id: int, worker: str, error: LocalText) -> RunState:
        """End a run that cannot go on, with the reason."""
        return self.end_work(run_id, worker, RunState.FAILED, error)

    def pause(self, run_id: int, worker: str, reason: LocalText) -> RunState:
        """Lay a run aside until someone resumes it, with the reason."""
        return self.end_work(run_id, worker, RunState.PAUSED, reason)

    def request_stop(self, run_id: int) -> Run:
        """Ask a run to stop after the answers in flight; a run that no living worker holds stops at once.

        A run that is over stays as it is.
        """
        with writing(self.engine) as connection:
            row = locked_run(connection, run_id)
            if row.state is RunState.RUNNING and not _abandoned(row, STALE_AFTER):
                _set(connection, run_id, stop_requested=StopRequest.STOP)
            elif row.state in {RunState.RUNNING, RunState.QUEUED, RunState.PAUSED}:
                error = {} if row.state is RunState.QUEUED else row.error  # what it waited for is no reason any more
                _set(connection, run_id, state=RunState.STOPPED, finished_at=now(), error=error, **_FREE)
            return get_run(connection, run_id)

    def request_requeue(self, run_id: int, worker: str) -> None:
        """Ask that `worker`, which shuts down, puts its run back into the queue after the answers in flight."""
        with writing(self.engine) as connection:
            row = locked_run(connection, run_id)
            if row.state is RunState.RUNNING and row.worker == worker and row.stop_requested is StopRequest.NONE:
                _set(connection, run_id, stop_requested=StopRequest.REQUEUE)

    def resume(self, run_id: int) -> Run:
        """Put a stopped, paused or failed run at the end of the queue; what is judged stays judged.

        A request to stop that was not yet obeyed is taken back. A run that is queued, runs or is done stays as it is.
        Raises NotFound for a deleted run, too: nobody would take it from the queue.
        """
        with writing(self.engine) as connection:
            row = locked_run(connection, run_id)
            if row.deleted_at is not None:
                raise NotFound(f"Run {run_id} is deleted; bring it back first.", zh=f"任务 {run_id} 已删除；请先恢复它。")
            if row.state in {RunState.STOPPED, RunState.PAUSED, RunState.FAILED}:
                fresh = {"state": RunState.QUEUED, "queued_at": now(), "error": {}, "finished_at": None, "deaths": 0}
                _set(connection, run_id, stop_requested=StopRequest.NONE, **fresh)
            elif row.state is RunState.RUNNING and row.stop_requested is StopRequest.STOP:
                _set(connection, run_id, stop_requested=StopRequest.NONE)
            return get_run(connection, run_id)

    def set_aggregator(self, run_id: int, aggregator: str) -> Run:
        """Choose another aggregator; verdicts of the old one count as undecided until they are replaced.

        A run that was done is queued again, to be decided anew (no judge is asked). Raises RunTaken while a worker is at it.
        """
        with writing(self.engine) as connection:
            row = locked_run(connection, run_id)
            if row.aggregator == aggregator:
                return get_run(connection, run_id)
            held_by_worker(row)
            again = {"state": RunState.QUEUED, "queued_at": now(), "finished_at": None} if row.state is RunState.DONE else {}
            _set(connection, run_id, aggregator=aggregator, families_of="", **again)
            return get_run(connection, run_id)

    def delete_run(self, run_id: int) -> Run:
        """Take a run out of every list and queue, asking it to stop; nothing of it is lost. Raises NotFound."""
        stopped = self.request_stop(run_id)
        if stopped.deleted_at is None:
            with writing(self.engine) as connection:
                _set(connection, run_id, deleted_at=now())
        return self.run(run_id)

    def restore_run(self, run_id: int) -> Run:
        """Bring a deleted run back in the state it was left in. Raises NotFound, also 30 days after it was deleted."""
        with writing(self.engine) as connection:
            row = locked_run(connection, run_id)
            if row.deleted_at is not None and row.deleted_at < now() - DELETED_KEPT:
                raise _no_run(run_id)
            _set(connection, run_id, deleted_at=None)
            return get_run(connection, run_id)

    def measured_rate(self, panel_id: str, last: int = 5) -> float | None:
        """Return rows a second over the `last` finished runs of a panel, or None before any."""
        query = (
            select(RunRecord.items, RunRecord.judging_seconds)
            .where(RunRecord.panel_id == panel_id, RunRecord.state == RunState.DONE, RunRecord.judging_seconds > 0)
            .order_by(RunRecord.id.desc())
            .limit(last)
        )
        with reading(self.engine) as connection:
            measured = connection.execute(query).all()
        return sum(row.items for row in measured) / sum(row.judging_seconds for row in measured) if measured else None


def insert_run(connection: Connection, sheet_id: int, library_id: int, panel: PanelSpec, aggregator: str, library_version: str = "") -> int:
    """Queue a run within a transaction and return its id (see RunRepository.create_run). Raises NotFound."""
    moment = now()
    rows = connection.execute(select(SheetRecord.rows).where(SheetRecord.id == sheet_id)).scalar_one_or_none()
    version = _version(connection, library_id, library_version)
    if rows is None or version is None:
        raise NotFound(
            f"There is no {'sheet ' + str(sheet_id) if rows is None else 'library ' + str(library_id)} to make a run of.",
            zh=f"没有编号为 {sheet_id if rows is None else library_id} 的{'表格' if rows is None else '样例库'}。",
        )
    values: Mapping[str, Any] = {
        "sheet_id": sheet_id,
        "library_id": library_id,
        "library_version": version,
        "panel": panel_document(panel),
        "panel_id": panel.id,
        "panel_sha256": panel.sha256,
        "judge_count": len(panel.judges),
        "aggregator": aggregator,
        "state": RunState.QUEUED,
        "stage": "",
        "error": {},
        "items": rows,
        "worker": "",
        "stop_requested": StopRequest.NONE,
        "worked_seconds": 0.0,
        "judging_seconds": 0.0,
        "deaths": 0,
        "deaths_at": 0,
        "created_at": moment,
        "queued_at": moment,
    }
    return int(connection.execute(insert(RunRecord).values(values).returning(RunRecord.id)).scalar_one())


def get_run(connection: Connection, run_id: int) -> Run:
    """Return a run within a transaction. Raises NotFound."""
    row = connection.execute(select_runs().where(RunRecord.id == run_id)).one_or_none()
    if row is None:
        raise _no_run(run_id)
    return run_of(row)


def locked_run(connection: Connection, run_id: int) -> AnyRow:
    """Return the run's row, locked against other writers of this run until the transaction ends. Raises NotFound."""
    query = select(table_of(RunRecord)).where(RunRecord.id == run_id).with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise _no_run(run_id)
    return row


def beat_seconds(row: AnyRow, moment: datetime) -> float:
    """Return the seconds worked since the run's last heartbeat."""
    return 0.0 if row.heartbeat_at is None else min(max((moment - row.heartbeat_at).total_seconds(), 0.0), LONGEST_BEAT_S)


def held_by_worker(row: AnyRow) -> None:
    """Raise RunTaken where a living worker is at the run of a locked row."""
    if row.state is RunState.RUNNING and not _abandoned(row, STALE_AFTER):
        raise _taken(row.id, row.worker)


def _no_run(run_id: int) -> NotFound:
    return NotFound(f"There is no run {run_id}.", zh=f"没有编号为 {run_id} 的评判任务。")


def _lockable(condition: Any) -> AnySelect:
    return select(table_of(RunRecord)).where(condition, RunRecord.deleted_at.is_(None)).with_for_update(key_share=True, skip_locked=True)


def _set(connection: Connection, run_id: int, **values: object) -> None:
    connection.execute(update(RunRecord).where(RunRecord.id == run_id).values(**values))


def _beat(row: AnyRow) -> dict[str, object]:
    moment = now()
    worked = beat_seconds(row, moment)
    judged = worked if row.stage == JUDGING else 0.0
    return {"heartbeat_at": moment, "worked_seconds": row.worked_seconds + worked, "judging_seconds": row.judging_seconds + judged}


def _abandoned(row: AnyRow, stale_after: timedelta) -> bool:
    if is_alive(row.worker) is False or row.heartbeat_at is None:
        return True
    return bool(now() - row.heartbeat_at > stale_after)


def _take_over(connection: Connection, row: AnyRow, worker: str) -> bool:
    """Lease an abandoned run to `worker`; False where it ended instead."""
    if row.stop_requested is StopRequest.STOP:
        _set(connection, row.id, state=RunState.STOPPED, finished_at=now(), **_FREE)
        return False
    tally = func.coalesce(func.sum(TallyRecord.judgements), 0)
    judged = connection.execute(select(tally).where(TallyRecord.run_id == row.id)).scalar_one()
    deaths = row.deaths + 1 if judged == row.deaths_at else 1
    if deaths >= MAX_DEATHS and row.worker != worker:
        reason = {
            "zh": f"工作进程已中断 {deaths} 次，其间没有新的评判；请查看其日志（内存不足？），再继续运行。",
            "en": f"The worker died {deaths} times without a new judgement; look at its log (memory?), then resume the run.",
        }
        _set(connection, row.id, state=RunState.FAILED, error=reason, finished_at=now(), **_FREE)
        return False
    _set(connection, row.id, deaths=deaths, deaths_at=judged)
    _lease(connection, row, worker)
    return True


def _lease(connection: Connection, row: AnyRow, worker: str) -> None:
    moment = now()
    begun = {"worker": worker, "heartbeat_at": moment, "started_at": row.started_at or moment, "finished_at": None}
    _set(connection, row.id, state=RunState.RUNNING, stage="", error={}, stop_requested=StopRequest.NONE, **begun)


def _taken(run_id: int, worker: str) -> StoreError:
    return RunTaken(
        f"Run {run_id} is being worked on by {worker}; stop it first, or wait until it is over.",
        zh=f"评判任务 {run_id} 正由 {worker} 执行;请先停止或等待结束。",
    )


def _version(connection: Connection, library_id: int, version: str) -> str | None:
    record = LibraryVersionRecord
    query = select(record.version).where(record.library_id == library_id).order_by(record.sequence.desc()).limit(1)
    if version:
        query = query.where(record.version == version)
    return connection.execute(query).scalar_one_or_none()
