"""Jobs, their events and the cards they lease.

A job waits (WAITING for the job before it, QUEUED for its turn), runs in a process of its own, and ends DONE, FAILED or
STOPPED; the last two can be queued again. A process outlives the one that started it: whoever runs jobs now recognises
it by its identity (core.processes), and takes its card only when it is dead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, or_, select, update
from sqlalchemy.orm import aliased

from core.errors import JobError, NotFound
from core.processes import is_alive
from core.training import EventKind, GpuLease, Job, JobEvent, JobKind, JobState
from core.types import LocalText
from db.base import AnyRow, StoreBase, clean, clean_words, dialect_insert, now, spans, table_of
from db.engine import reading, writing
from db.models_training import GpuLeaseRecord, JobEventRecord, JobRecord

# A card's holder on another host, or one that may not be looked at, counts as gone after this long without a heartbeat.
LEASE_STALE_AFTER = timedelta(minutes=10)
# A heartbeat younger than this says that a job worked until now; otherwise its last sign of life ends its time.
_FRESH = timedelta(seconds=60)
AT_WORK = frozenset({JobState.RUNNING, JobState.STOPPING})
OVER = frozenset({JobState.DONE, JobState.FAILED, JobState.STOPPED})
RESUMABLE = frozenset({JobState.FAILED, JobState.STOPPED})


def any_job(job: Job) -> bool:  # noqa: ARG001
    """Return True: the choice of who takes jobs as they come."""
    return True


class TrainingJobStore(StoreBase):
    """Keeps jobs."""

    # Jobs

    def add_job(
        self,
        kind: JobKind,
        name: str,
        spec: str | Callable[[Path], str],
        jobs_folder: Path,
        *,
        snapshot_id: int | None = None,
        after: int | None = None,
        author: str = "",
    ) -> Job:
        """Queue a job and return it; its folder is `jobs_folder`/<id, five digits>, and is not made here.

        With `after` it is WAITING until that job is done. A `spec` that is a function makes it for that folder, before anybody can
        take the job. Raises NotFound for an unknown job before it.
        """
        with writing(self.engine) as connection:
            waits = after is not None and _locked(connection, after).state is not JobState.DONE
            moment = now()
            values: dict[str, Any] = {
                "kind": kind,
                "name": clean(name),
                "state": JobState.WAITING if waits else JobState.QUEUED,
                "spec": spec if isinstance(spec, str) else "",
                "folder": "",
                "snapshot_id": snapshot_id,
                "after": after,
                "device": "",
                "process": "",
                "author": clean(author),
                "error": {},
                "worked_seconds": 0.0,
                "created_at": moment,
                "queued_at": moment,
            }
            job_id = connection.execute(insert(JobRecord).values(values).returning(JobRecord.id)).scalar_one()
            folder = jobs_folder / f"{job_id:05d}"
            _set(connection, job_id, folder=str(folder))
            if not isinstance(spec, str):
                _set(connection, job_id, spec=spec(folder))
            return _job(connection, job_id)

    def set_job_spec(self, job_id: int, spec: str) -> Job:
        """Replace the spec of a job that no process works on, for one that needs its own folder's path. Raises NotFound, JobError."""
        with writing(self.engine) as connection:
            _refuse_at_work(_locked(connection, job_id))
            _set(connection, job_id, spec=spec)
            return _job(connection, job_id)

    def job(self, job_id: int) -> Job:
        """Return a job. Raises NotFound."""
        with reading(self.engine) as connection:
            return _job(connection, job_id)

    def jobs(self, limit: int = 100, *, states: Collection[JobState] = (), archived: bool = False) -> list[Job]:
        """Return the latest jobs, newest first: those in `states` (empty: any), archived ones only when asked for."""
        record = JobRecord
        query = select(table_of(record)).order_by(record.id.desc()).limit(limit)
        if states:
            query = query.where(record.state.in_(list(states)))
        if not archived:
            query = query.where(record.archived_at.is_(None))
        with reading(self.engine) as connection:
            return [_job_of(row) for row in connection.execute(query)]

    def job_queue(self) -> list[Job]:
        """Return the QUEUED jobs in the order of their turn."""
        record = JobRecord
        query = select(table_of(record)).where(record.state == JobState.QUEUED, record.archived_at.is_(None))
        with reading(self.engine) as connection:
            return [_job_of(row) for row in connection.execute(query.order_by(record.queued_at, record.id))]

    def jobs_after(self, job_id: int) -> list[Job]:
        """Return the jobs that come after a job in chains, oldest first."""
        query = select(table_of(JobRecord)).where(JobRecord.after == job_id).order_by(JobRecord.id)
        with reading(self.engine) as connection:
            return [_job_of(row) for row in connection.execute(query)]

    def claim_next_job(self, runner: str, device: str = "", wanted: Callable[[Job], bool] = any_job) -> Job | None:
        """Take the first QUEUED job that is `wanted` and whose job before it is done, and lease `device` ("": none) for it.

        The job is RUNNING by the process `runner` until `set_job_process` names its own. None when there is none, or when
        another living process has the card. Of two who ask at once, one gets it.
        """
        record, before = JobRecord, aliased(JobRecord)
        query = (
            select(table_of(record))
            .outerjoin(before, before.id == record.after)
            .where(record.state == JobState.QUEUED, record.archived_at.is_(None))
            .where(or_(record.after.is_(None), before.state == JobState.DONE))
            .order_by(record.queued_at, record.id)
            .with_for_update(of=table_of(record), skip_locked=True)
        )
        with writing(self.engine) as connection:
            for row in connection.execute(query):
                if wanted(_job_of(row)):
                    if device and not _lease(connection, device, f"job {row.id}", runner):
                        return None
                    moment = now()
                    begun = {"started_at": row.started_at or moment, "running_since": moment, "heartbeat_at": moment}
                    state: dict[str, Any] = {
                        "state": JobState.RUNNING,
                        "process": runner,
                        "device": device,
                        "error": {},
                        "finished_at": None,
                    }
                    _set(connection, row.id, **begun, **state)
                    return _job(connection, row.id)
        return None

    def set_job_process(self, job_id: int, process: str) -> Job:
        """Say which process works on a job, and give it the job's card. Raises NotFound, and JobError unless it runs."""
        with writing(self.engine) as connection:
            row = _locked(connection, job_id)
            if row.state not in AT_WORK:
                raise JobError(f"Job {job_id} is {row.state}; it has no process.", zh=f"任务 {job_id} 未在运行，没有进程。")
            _set(connection, job_id, process=process, heartbeat_at=now())
            lease = GpuLeaseRecord
            mine = (lease.device == row.device, lease.process == row.process, lease.host == _host(row.process))
            connection.execute(update(lease).where(*mine).values(process=process, host=_host(process), heartbeat_at=now()))
            return _job(connection, job_id)

    def beat_job(self, job_id: int) -> JobState:
        """Record that a job's process is alive, renew its card, and return the job's state (STOPPING: it shall stop)."""
        with writing(self.engine) as connection:
            row = _locked(connection, job_id)
            if row.state in AT_WORK:
                _set(connection, job_id, heartbeat_at=now())
                lease = GpuLeaseRecord
                connection.execute(update(lease).where(lease.process == row.process).values(heartbeat_at=now()))
            return JobState(row.state)

    def set_job_state(self, job_id: int, state: JobState, error: LocalText | None = None) -> Job:
        """Put a job into `state` with the reason, and return it. Raises NotFound.

        A job that is over gives its card back. DONE queues the jobs that waited for it; a job that is DONE stays so.
        """
        with writing(self.engine) as connection:
            row = _locked(connection, job_id)
            if row.state is JobState.DONE:
                return _job(connection, job_id)
            values: dict[str, Any] = {"state": state, "error": clean_words(error or {})}
            if row.state in AT_WORK and state not in AT_WORK:
                values |= _end_of_work(connection, row)
            if state in OVER:
                values["finished_at"] = now()
            _set(connection, job_id, **values)
            if state is JobState.DONE:
                waiting = (JobRecord.after == job_id, JobRecord.state == JobState.WAITING)
                connection.execute(update(JobRecord).where(*waiting).values(state=JobState.QUEUED, queued_at=now()))
            return _job(connection, job_id)

    def request_job_stop(self, job_id: int) -> Job:
        """Ask a job to save and stop: one that runs becomes STOPPING, one that waits STOPPED. Others stay. Raises NotFound."""
        with writing(self.engine) as connection:
            row = _locked(connection, job_id)
            if row.state is JobState.RUNNING:
                _set(connection, job_id, state=JobState.STOPPING)
            elif row.state in {JobState.QUEUED, JobState.WAITING}:
                _set(connection, job_id, state=JobState.STOPPED, finished_at=now())
            return _job(connection, job_id)

    def requeue_job(self, job_id: int) -> Job:
        """Put a STOPPED or FAILED job at the end of the queue again; it goes on from its last checkpoint. Others stay. Raises NotFound."""
        with writing(self.engine) as connection:
            row = _locked(connection, job_id)
            if row.state in RESUMABLE:
                waits = row.after is not None and _locked(connection, row.after).state is not JobState.DONE
                state = JobState.WAITING if waits else JobState.QUEUED
                _set(connection, job_id, state=state, queued_at=now(), error={}, finished_at=None, archived_at=None)
            return _job(connection, job_id)

    def archive_job(self, job_id: int, *, archived: bool = True) -> Job:
        """Take a job out of the list, or bring it back. Raises NotFound, and JobError for one at work."""
        with writing(self.engine) as connection:
            _refuse_at_work(_locked(connection, job_id))
            _set(connection, job_id, archived_at=now() if archived else None)
            return _job(connection, job_id)

    # Events

    def append_events(self, job_id: int, events: Iterable[JobEvent]) -> int:
        """Store a job's events; those whose number is there already are passed over. Return how many were new."""
        record = JobEventRecord
        values = [
            {
                "job_id": job_id,
                "sequence": event.sequence,
                "at": event.at,
                "kind": event.kind,
                "step": event.step,
                "steps": event.steps,
                "figures": dict(event.figures),
                "message": clean_words(event.message),
            }
            for event in events
        ]
        added = 0
        with writing(self.engine) as connection:
            for part in spans(values, 500):
                statement = dialect_insert(connection, record).values(list(part))
                kept = statement.on_conflict_do_nothing(index_elements=["job_id", "sequence"]).returning(record.sequence)
                added += len(connection.execute(kept).all())
        return added

    def job_events(
        self, job_id: int, after_sequence: int = 0, kinds: Collection[EventKind] = (), limit: int | None = None
    ) -> list[JobEvent]:
        """Return a job's events behind `after_sequence` in their order: of these kinds (empty: all), the first `limit`."""
        record = JobEventRecord
        query = select(table_of(record)).where(record.job_id == job_id, record.sequence > after_sequence)
        if kinds:
            query = query.where(record.kind.in_(list(kinds)))
        with reading(self.engine) as connection:
            return [_event_of(row) for row in connection.execute(query.order_by(record.sequence).limit(limit))]

    def last_job_event(self, job_id: int, kinds: Collection[EventKind] = ()) -> JobEvent | None:
        """Return a job's last event of these kinds (empty: any), None before any."""
        record = JobEventRecord
        query = select(table_of(record)).where(record.job_id == job_id).order_by(record.sequence.desc()).limit(1)
        if kinds:
            query = query.where(record.kind.in_(list(kinds)))
        with reading(self.engine) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _event_of(row)

    # Cards

    def lease_gpu(self, device: str, holder: str, process: str) -> bool:
        """Lease a card of the process's host, or renew the lease; False while another living process has it."""
        with writing(self.engine) as connection:
            return _lease(connection, device, holder, process)

    def renew_gpu(self, device: str, process: str) -> bool:
        """Record that the holder is alive; False when `process` has the card no more."""
        record = GpuLeaseRecord
        mine = (record.host == _host(process), record.device == device, record.process == process)
        with writing(self.engine) as connection:
            statement = update(record).where(*mine).values(heartbeat_at=now()).returning(record.device)
            return connection.execute(statement).one_or_none() is not None

    def release_gpu(self, device: str, process: str) -> None:
        """Give a card back; nothing happens when another has it."""
        with writing(self.engine) as connection:
            _release(connection, device, process)

    def gpu_leases(self, host: str = "") -> list[GpuLease]:
        """Return the leases whose holders live, of one host or of all."""
        record = GpuLeaseRecord
        query = select(table_of(record)).order_by(record.host, record.device)
        if host:
            query = query.where(record.host == host)
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        return [GpuLease(row.host, row.device, row.holder, row.process, row.since, row.heartbeat_at) for row in rows if not _gone(row)]


def _host(process: str) -> str:
    return process.partition("|")[0]


def _gone(row: AnyRow) -> bool:
    alive = is_alive(row.process)
    return not alive if alive is not None else bool(now() - row.heartbeat_at > LEASE_STALE_AFTER)


def _lease(connection: Connection, device: str, holder: str, process: str) -> bool:
    record = GpuLeaseRecord
    moment, host = now(), _host(process)
    key = (record.host == host, record.device == device)
    values = {"holder": clean(holder), "process": process, "since": moment, "heartbeat_at": moment}
    statement = dialect_insert(connection, record).values(host=host, device=device, **values)
    made = statement.on_conflict_do_nothing(index_elements=["host", "device"]).returning(record.device)
    if connection.execute(made).one_or_none() is not None:
        return True
    row = connection.execute(select(table_of(record)).where(*key).with_for_update()).one_or_none()
    if row is None:  # given back since; who asks again gets it
        return False
    if row.process == process and row.holder == values["holder"]:
        connection.execute(update(record).where(*key).values(heartbeat_at=moment))
        return True
    if row.process == process or not _gone(row):
        return False
    connection.execute(update(record).where(*key).values(**values))
    return True


def _release(connection: Connection, device: str, process: str) -> None:
    record = GpuLeaseRecord
    table = table_of(record)
    connection.execute(table.delete().where(record.host == _host(process), record.device == device, record.process == process))


def _end_of_work(connection: Connection, row: AnyRow) -> dict[str, Any]:
    """Return what a job is without its process, after giving its card back."""
    moment = now()
    ended = moment if row.heartbeat_at is not None and moment - row.heartbeat_at < _FRESH else _last_sign(connection, row)
    worked = 0.0 if row.running_since is None else max(0.0, (ended - row.running_since).total_seconds())
    if row.device:
        _release(connection, row.device, row.process)
    return {"process": "", "running_since": None, "heartbeat_at": None, "worked_seconds": row.worked_seconds + worked}


def _last_sign(connection: Connection, row: AnyRow) -> datetime:
    """Return when a lost job last showed that it worked, by its heartbeat or its events."""
    record = JobEventRecord
    last: datetime | None = connection.execute(
        select(record.at).where(record.job_id == row.id).order_by(record.sequence.desc()).limit(1)
    ).scalar()
    signs: Sequence[datetime] = [sign for sign in (row.heartbeat_at, last) if sign is not None]
    return max(signs, default=now())


def _locked(connection: Connection, job_id: int) -> AnyRow:
    """Return the job's row, locked against other writers until the transaction ends. Raises NotFound."""
    query = select(table_of(JobRecord)).where(JobRecord.id == job_id).with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise _no_job(job_id)
    return row


def _no_job(job_id: int) -> NotFound:
    return NotFound(f"There is no job {job_id}; `./run.sh jobs` lists them.", zh=f"没有编号为 {job_id} 的训练任务。")


def _refuse_at_work(row: AnyRow) -> None:
    if row.state in AT_WORK:
        raise JobError(f"Job {row.id} is at work; stop it first.", zh=f"任务 {row.id} 正在运行，请先停止。")


def _set(connection: Connection, job_id: int, **values: object) -> None:
    connection.execute(update(JobRecord).where(JobRecord.id == job_id).values(**values))


def _job(connection: Connection, job_id: int) -> Job:
    row = connection.execute(select(table_of(JobRecord)).where(JobRecord.id == job_id)).one_or_none()
    if row is None:
        raise _no_job(job_id)
    return _job_of(row)


def _job_of(row: AnyRow) -> Job:
    under_way = 0.0
    if row.running_since is not None and row.heartbeat_at is not None:
        under_way = max(0.0, (row.heartbeat_at - row.running_since).total_seconds())
    return Job(
        id=row.id,
        kind=row.kind,
        name=row.name,
        state=row.state,
        spec=row.spec,
        folder=Path(row.folder),
        snapshot_id=row.snapshot_id,
        after=row.after,
        device=row.device,
        process=row.process,
        author=row.author,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        worked_seconds=row.worked_seconds + under_way,
        archived_at=row.archived_at,
    )


def _event_of(row: AnyRow) -> JobEvent:
    return JobEvent(row.sequence, row.at, row.kind, row.step, row.steps, row.figures, row.message)
