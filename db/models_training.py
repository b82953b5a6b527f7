"""The tables of training: snapshots and their held-out rows, jobs and their events, candidates, promotions, leased cards.

Snapshots, held-out rows, events and promotions are only ever added; a promotion is marked when it is rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, PrimaryKeyConstraint, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.training import EventKind, GateVerdict, JobKind, JobState, Stage
from core.types import LocalText
from db.columns import LocalWords, UtcDateTime, text_enum
from db.models import Base


class SnapshotRecord(Base):
    """A frozen training set. `filter` and `counts` are documents (see db.training)."""

    __tablename__ = "snapshots"
    __table_args__ = (Index("ix_snapshots_lineage", "lineage", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    lineage: Mapped[str] = mapped_column(Text)
    folder: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    held_out_sha256: Mapped[str] = mapped_column(String(64))
    train_rows: Mapped[int]
    held_out_rows: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    examples: Mapped[int]
    filter: Mapped[dict[str, Any]] = mapped_column(JSON)
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    author: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class HeldOutRecord(Base):
    """A row that a lineage never trains on and no run shows as an example; fixed by the lineage's first snapshot."""

    __tablename__ = "held_out_rows"
    __table_args__ = (PrimaryKeyConstraint("lineage", "content_hash"), {"sqlite_with_rowid": False})

    lineage: Mapped[str] = mapped_column(Text)
    content_hash: Mapped[str] = mapped_column(String(64))
    family: Mapped[str] = mapped_column(Text)


class JobRecord(Base):
    """A job. `process` and `heartbeat_at` are those of its process while it is RUNNING or STOPPING, begun at `running_since`;
    `worked_seconds` counts the times before that."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state_queued_at", "state", "queued_at", "id"), Index("ix_jobs_after", "after"))

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[JobKind] = mapped_column(text_enum(JobKind, "kind"))
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[JobState] = mapped_column(text_enum(JobState, "state"))
    spec: Mapped[str] = mapped_column(Text)
    folder: Mapped[str] = mapped_column(Text)
    snapshot_id: Mapped[int | None] = mapped_column(ForeignKey("snapshots.id"))
    after: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    device: Mapped[str] = mapped_column(Text)
    process: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(Text)
    error: Mapped[LocalText] = mapped_column(LocalWords)
    worked_seconds: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    queued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    running_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    heartbeat_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    archived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class JobEventRecord(Base):
    """One line of a job's event file: the first stored one of a number stays."""

    __tablename__ = "job_events"
    __table_args__ = (PrimaryKeyConstraint("job_id", "sequence"), Index("ix_job_events_kind", "job_id", "kind", "sequence"))

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    sequence: Mapped[int]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[EventKind] = mapped_column(text_enum(EventKind, "kind"))
    step: Mapped[int]
    steps: Mapped[int]
    figures: Mapped[Mapping[str, float]] = mapped_column(JSON)
    message: Mapped[LocalText] = mapped_column(LocalWords)


class CandidateRecord(Base):
    """A judge that a job produced; a job produces one."""

    __tablename__ = "candidates"
    __table_args__ = (UniqueConstraint("job_id"), Index("ix_candidates_snapshot_id", "snapshot_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    stage: Mapped[Stage] = mapped_column(text_enum(Stage, "stage"))
    family: Mapped[str] = mapped_column(Text)
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    evaluation_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    previous: Mapped[int | None] = mapped_column(ForeignKey("candidates.id"))
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshots.id"))
    bytes: Mapped[int] = mapped_column(BigInteger)
    predictions: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PromotionRecord(Base):
    """A candidate put into a panel, never deleted; `before_text` and `after_text` are the panel file's, for the way back."""

    __tablename__ = "promotions"
    __table_args__ = (Index("ix_promotions_candidate_id", "candidate_id"), Index("ix_promotions_panel_id", "panel_id", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    candidate_id: Mapped[int] = mapped_column(ForeignKey("candidates.id"))
    panel_id: Mapped[str] = mapped_column(Text)
    judge_id: Mapped[str] = mapped_column(Text)
    before_sha256: Mapped[str] = mapped_column(String(64))
    after_sha256: Mapped[str] = mapped_column(String(64))
    before_text: Mapped[str] = mapped_column(Text)
    after_text: Mapped[str] = mapped_column(Text)
    verdict: Mapped[GateVerdict] = mapped_column(text_enum(GateVerdict, "verdict"))
    reason: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    rolled_back_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    rolled_back_by: Mapped[str] = mapped_column(Text)


class GpuLeaseRecord(Base):
    """Who computes on a card of a host."""

    __tablename__ = "gpu_leases"
    __table_args__ = (PrimaryKeyConstraint("host", "device"),)

    host: Mapped[str] = mapped_column(Text)
    device: Mapped[str] = mapped_column(Text)
    holder: Mapped[str] = mapped_column(Text)
    process: Mapped[str] = mapped_column(Text)
    since: Mapped[datetime] = mapped_column(UtcDateTime)
    heartbeat_at: Mapped[datetime] = mapped_column(UtcDateTime)
