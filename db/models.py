"""The tables. Nothing outside `db` sees these classes: the store hands out the dataclasses of core.types.

Every constraint and index has a name, so that a migration can speak of it. Facts of an item that never change
(`position`, `dimension_id`) stand again in `verdicts`: its indexes then answer every filter and order of a run's table
by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Boolean, ForeignKey, Index, MetaData, PrimaryKeyConstraint, String, Text, UniqueConstraint, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.review import ReviewState
from core.types import CorrectionKind, JudgementStatus, LocalText, Origin, Outcome, RunState, Severity
from db.columns import LabelMap, LocalWords, UtcDateTime, text_enum

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class StopRequest(StrEnum):
    """What a running run was asked to do: nothing, stop for good, or go back to the queue (its worker shuts down)."""

    NONE = "none"
    STOP = "stop"
    REQUEUE = "requeue"


class Base(DeclarativeBase):
    """The base of all tables."""

    metadata = MetaData(naming_convention=NAMES)


class SheetRecord(Base):
    """An uploaded file as it was read. `dimension_counts` is dimension id -> items.

    `parent_id` is the sheet whose rows a sheet of chosen rows repeats. `families_at` is when its near-duplicates were
    looked for.
    """

    __tablename__ = "sheets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    format: Mapped[str] = mapped_column(Text)
    encoding: Mapped[str] = mapped_column(Text)
    worksheet: Mapped[str] = mapped_column(Text)
    columns: Mapped[list[str]] = mapped_column(JSON)
    mapping: Mapped[dict[str, str]] = mapped_column(JSON)
    rows: Mapped[int]
    skipped: Mapped[int]
    dimension_counts: Mapped[dict[str, int]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    parent_id: Mapped[int | None]
    families_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ItemRecord(Base):
    """One row to judge."""

    __tablename__ = "items"
    __table_args__ = (
        UniqueConstraint("sheet_id", "position"),
        Index("ix_items_sheet_id_dimension_id_position", "sheet_id", "dimension_id", "position"),
        Index("ix_items_content_hash", "content_hash"),
        # Few sheets have labels of their own: whether one has is known without reading its rows.
        Index("ix_items_gold", "sheet_id", "gold", sqlite_where=text("gold IS NOT NULL"), postgresql_where=text("gold IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sheet_id: Mapped[int] = mapped_column(ForeignKey("sheets.id"))
    position: Mapped[int]
    external_id: Mapped[str] = mapped_column(Text)
    dimension_id: Mapped[str] = mapped_column(Text)
    prompt: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    gold: Mapped[int | None]
    content_hash: Mapped[str] = mapped_column(String(64))
    source_row: Mapped[int]
    extra: Mapped[dict[str, str]] = mapped_column(JSON)


class ProblemRecord(Base):
    """One thing that was wrong in a sheet, in the order it was found."""

    __tablename__ = "row_problems"
    __table_args__ = (UniqueConstraint("sheet_id", "rank"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    sheet_id: Mapped[int] = mapped_column(ForeignKey("sheets.id"))
    rank: Mapped[int]
    code: Mapped[str] = mapped_column(Text)
    severity: Mapped[Severity] = mapped_column(text_enum(Severity, "severity"))
    row: Mapped[int | None]
    column: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)
    message: Mapped[dict[str, str]] = mapped_column(JSON)
    external_id: Mapped[str] = mapped_column(Text)


class LibraryRecord(Base):
    """A named set of labelled items; `sequence` numbers its versions from 1 and `version` is the current one's hash."""

    __tablename__ = "libraries"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(String(64))
    sequence: Mapped[int]
    size: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class LibraryVersionRecord(Base):
    """One state of a library; a run names the version it was made with, and gets exactly those items when it goes on."""

    __tablename__ = "library_versions"
    __table_args__ = (PrimaryKeyConstraint("library_id", "sequence"),)

    library_id: Mapped[int] = mapped_column(ForeignKey("libraries.id"))
    sequence: Mapped[int]
    version: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class LibraryItemRecord(Base):
    """One labelled item, never deleted: active in the versions from `added_in` until before `retired_in`. `reason` says why
    somebody gave it its label."""

    __tablename__ = "library_items"
    __table_args__ = (
        Index(
            "uq_library_items_active",
            "library_id",
            "content_hash",
            "label",
            "external_id",
            unique=True,
            sqlite_where=text("retired_in IS NULL"),
            postgresql_where=text("retired_in IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    library_id: Mapped[int] = mapped_column(ForeignKey("libraries.id"))
    external_id: Mapped[str] = mapped_column(Text)
    dimension_id: Mapped[str] = mapped_column(Text)
    prompt: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    label: Mapped[int]
    origin: Mapped[Origin] = mapped_column(text_enum(Origin, "origin"))
    author: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text, server_default="")
    content_hash: Mapped[str] = mapped_column(String(64))
    added_in: Mapped[int]
    retired_in: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    retired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RunRecord(Base):
    """A panel at work on a sheet.

    `worker` and `heartbeat_at` are the lease of the process at work. `worked_seconds` counts the time of living workers,
    `judging_seconds` the part of it in which judges answered. `deaths` counts workers in a row that died without storing
    one judgement more than `deaths_at`. `families_of` is the aggregator by whose verdicts near-duplicates are marked, "" for
    none. A run with `deleted_at` stands in no list and in no queue of work.
    """

    __tablename__ = "runs"
    __table_args__ = (Index("ix_runs_state_queued_at", "state", "queued_at"), Index("ix_runs_panel_id_state", "panel_id", "state"))

    id: Mapped[int] = mapped_column(primary_key=True)
    sheet_id: Mapped[int] = mapped_column(ForeignKey("sheets.id"), index=True)
    library_id: Mapped[int] = mapped_column(ForeignKey("libraries.id"))
    library_version: Mapped[str] = mapped_column(String(64))
    panel: Mapped[Mapping[str, Any]] = mapped_column(JSON)
    panel_id: Mapped[str] = mapped_column(Text)
    panel_sha256: Mapped[str] = mapped_column(String(64))
    judge_count: Mapped[int]
    aggregator: Mapped[str] = mapped_column(Text)
    state: Mapped[RunState] = mapped_column(text_enum(RunState, "state"))
    stage: Mapped[str] = mapped_column(Text)
    error: Mapped[LocalText] = mapped_column(LocalWords)
    items: Mapped[int]
    worker: Mapped[str] = mapped_column(Text)
    heartbeat_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stop_requested: Mapped[StopRequest] = mapped_column(text_enum(StopRequest, "stop_requested"))
    worked_seconds: Mapped[float]
    judging_seconds: Mapped[float]
    deaths: Mapped[int]
    deaths_at: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    queued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    families_of: Mapped[str] = mapped_column(Text, server_default="")


class JudgementRecord(Base):
    """One judge's answer on one item in one run: the first stored one stays."""

    __tablename__ = "judgements"
    __table_args__ = (
        PrimaryKeyConstraint("run_id", "item_id", "judge_id"),
        # Only the few answers that are not OK: who looks for those that are finds them everywhere.
        Index(
            "ix_judgements_not_ok",
            "run_id",
            "status",
            "item_id",
            sqlite_where=text("status <> 'ok'"),
            postgresql_where=text("status <> 'ok'"),
        ),
    )

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    judge_id: Mapped[str] = mapped_column(Text)
    status: Mapped[JudgementStatus] = mapped_column(text_enum(JudgementStatus, "status"))
    label: Mapped[int | None]
    probabilities: Mapped[Mapping[int, float]] = mapped_column(LabelMap)
    raw_reply: Mapped[str] = mapped_column(Text)
    rationale: Mapped[LocalText] = mapped_column(LocalWords)
    prompt_sha256: Mapped[str] = mapped_column(String(64))
    latency_ms: Mapped[float]
    tokens: Mapped[int]
    error: Mapped[LocalText] = mapped_column(LocalWords)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ReplacedRecord(Base):
    """An answer that was no vote and was asked for again by `author`: rows are only ever added."""

    __tablename__ = "replaced_judgements"
    __table_args__ = (Index("ix_replaced_judgements_run_id_item_id", "run_id", "item_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    judge_id: Mapped[str] = mapped_column(Text)
    status: Mapped[JudgementStatus] = mapped_column(text_enum(JudgementStatus, "status", checked=False))
    raw_reply: Mapped[str] = mapped_column(Text)
    error: Mapped[LocalText] = mapped_column(LocalWords)
    latency_ms: Mapped[float]
    tokens: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    author: Mapped[str] = mapped_column(Text)
    asked_again_at: Mapped[datetime] = mapped_column(UtcDateTime)


class TallyRecord(Base):
    """How many judgements of a status a judge has given in a run, kept with each insert: progress reads no judgement."""

    __tablename__ = "judgement_tallies"
    __table_args__ = (PrimaryKeyConstraint("run_id", "judge_id", "status"),)

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    judge_id: Mapped[str] = mapped_column(Text)
    status: Mapped[JudgementStatus] = mapped_column(text_enum(JudgementStatus, "status"))
    judgements: Mapped[int]
    latency_ms: Mapped[float]


class ShownRecord(Base):
    """A labelled item that was shown for an item in a run."""

    __tablename__ = "shown_examples"
    __table_args__ = (
        PrimaryKeyConstraint("run_id", "item_id", "rank"),
        Index("ix_shown_examples_library_item_id", "library_item_id", "run_id"),
        {"sqlite_with_rowid": False},
    )

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    rank: Mapped[int]
    library_item_id: Mapped[int] = mapped_column(ForeignKey("library_items.id"))
    similarity: Mapped[float]
    index_version: Mapped[str] = mapped_column(Text)


class VerdictRecord(Base):
    """What the run's aggregator made of an item.

    `statuses` is the set of its judgements' statuses as bits, `votes` their labels in the panel's order ("3,3,,4").
    `expected_error` and `confidence` are of the verdict under the pooled distribution. `audit` is the item's place in the
    random order of the audit share (NULL: not in it). `duplicate` says that a near-duplicate stands before it. `review`
    and `people` repeat the item's state with people (item_labels).
    """

    __tablename__ = "verdicts"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    position: Mapped[int]
    dimension_id: Mapped[str] = mapped_column(Text)
    aggregator: Mapped[str] = mapped_column(Text)
    outcome: Mapped[Outcome] = mapped_column(text_enum(Outcome, "outcome"))
    label: Mapped[int | None]
    expected: Mapped[float | None]
    disagreement: Mapped[float] = mapped_column()
    statuses: Mapped[int] = mapped_column(server_default="0")
    probabilities: Mapped[Mapping[int, float]] = mapped_column(LabelMap)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expected_error: Mapped[float] = mapped_column(server_default="0")
    confidence: Mapped[float] = mapped_column(server_default="0")
    votes: Mapped[str] = mapped_column(Text, server_default="")
    audit: Mapped[int | None] = mapped_column()
    duplicate: Mapped[int] = mapped_column(server_default="0")
    review: Mapped[ReviewState] = mapped_column(text_enum(ReviewState, "review", checked=False), server_default="open")
    people: Mapped[int] = mapped_column(server_default="0")

    __table_args__ = (
        PrimaryKeyConstraint("run_id", "item_id"),
        # Each order of a run's table is one index, and carries every column that a filter may ask for.
        Index("ix_verdicts_by_position", "run_id", "position", "dimension_id", "outcome", "label", "statuses"),
        Index("ix_verdicts_by_disagreement", "run_id", disagreement.desc(), "position", "dimension_id", "outcome", "label", "statuses"),
        Index("ix_verdicts_by_label", "run_id", "label", "position", "dimension_id", "outcome", "statuses"),
        Index("ix_verdicts_counts", "run_id", "aggregator", "dimension_id", "outcome", "label"),
        # The order of the review queue, its random share, what agreement is counted from, and what people have done.
        Index(
            "ix_verdicts_queue",
            "run_id",
            "duplicate",
            expected_error.desc(),
            disagreement.desc(),
            "position",
            "dimension_id",
            "outcome",
            "label",
            "statuses",
            "confidence",
            "people",
            "review",
            "audit",
        ),
        Index(
            "ix_verdicts_audit",
            "run_id",
            "audit",
            sqlite_where=text("audit IS NOT NULL"),
            postgresql_where=text("audit IS NOT NULL"),
        ),
        Index("ix_verdicts_votes", "run_id", "dimension_id", "votes", "label"),
        Index(
            "ix_verdicts_reviewed",
            "run_id",
            "review",
            "item_id",
            sqlite_where=text("review <> 'open'"),
            postgresql_where=text("review <> 'open'"),
        ),
        {"sqlite_with_rowid": False},
    )


class CorrectionRecord(Base):
    """An act of a person on an item; rows are only ever added. `run_id` is the run in which it happened.

    `label` is NULL for a skip and an undo; `retracts` is the act that an undo takes back.
    """

    __tablename__ = "corrections"
    __table_args__ = (
        Index("ix_corrections_item_id_id", "item_id", "id"),
        Index("ix_corrections_run_id_author_id", "run_id", "author", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    label: Mapped[int | None]
    previous_label: Mapped[int | None]
    author: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[CorrectionKind] = mapped_column(text_enum(CorrectionKind, "kind"), server_default="label")
    note: Mapped[str] = mapped_column(Text, server_default="")
    flags: Mapped[list[str]] = mapped_column(JSON, server_default="[]")
    blind: Mapped[bool] = mapped_column(Boolean, server_default=false())
    audit: Mapped[bool] = mapped_column(Boolean, server_default=false())
    retracts: Mapped[int | None] = mapped_column(ForeignKey("corrections.id"))


class ItemLabelRecord(Base):
    """What is true of an item by all acts of people on it: core.review.fold, stored. `event_id` is the act that decided."""

    __tablename__ = "item_labels"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True, autoincrement=False)
    review: Mapped[ReviewState] = mapped_column(text_enum(ReviewState, "review"))
    label: Mapped[int | None]
    people: Mapped[int]
    event_id: Mapped[int | None] = mapped_column(ForeignKey("corrections.id"))


class PersonLabelRecord(Base):
    """What one person holds of an item: a part of core.review.fold, stored."""

    __tablename__ = "person_labels"
    __table_args__ = (
        PrimaryKeyConstraint("item_id", "author"),
        Index("ix_person_labels_author", "author", "event_id"),
    )

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    author: Mapped[str] = mapped_column(Text)
    label: Mapped[int | None]
    blind_label: Mapped[int | None]
    skipped: Mapped[bool] = mapped_column(Boolean)
    audit: Mapped[bool] = mapped_column(Boolean)
    event_id: Mapped[int] = mapped_column(ForeignKey("corrections.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SeenRecord(Base):
    """Somebody was shown what judges said of an item: a label of theirs that comes later is not blind."""

    __tablename__ = "seen_votes"
    __table_args__ = (PrimaryKeyConstraint("item_id", "author"),)

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    author: Mapped[str] = mapped_column(Text)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)


class LeaseRecord(Base):
    """Who works on a row of a queue, and until when."""

    __tablename__ = "review_leases"
    __table_args__ = (PrimaryKeyConstraint("run_id", "item_id"), Index("ix_review_leases_annotator", "annotator"))

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    annotator: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class FamilyRecord(Base):
    """An item that has near-duplicates of its dimension in its sheet; `family` is the id of the first of them."""

    __tablename__ = "item_families"
    __table_args__ = (Index("ix_item_families_sheet_id", "sheet_id"),)

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True, autoincrement=False)
    sheet_id: Mapped[int] = mapped_column(ForeignKey("sheets.id"))
    family: Mapped[int]
