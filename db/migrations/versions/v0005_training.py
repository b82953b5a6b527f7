"""Training: snapshots and their held-out rows, jobs and their events, candidates, promotions, leased cards.

Revision: 0005, after 0004. New tables only; what is stored stays as it is.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_STATES = ("waiting", "queued", "running", "stopping", "stopped", "done", "failed")
_JOB_KINDS = ("fine_tune", "evaluate", "merge", "quantize", "fault_pretrain", "head")
_EVENT_KINDS = ("started", "progress", "train", "held_out", "checkpoint", "note", "done", "stopped", "failed")
_STAGES = ("adapter", "merged", "awq", "w8a8", "head")
_VERDICTS = ("better", "worse", "unproven")
_INDEXES = (
    ("ix_snapshots_lineage", "snapshots", ["lineage", "id"]),
    ("ix_jobs_state_queued_at", "jobs", ["state", "queued_at", "id"]),
    ("ix_jobs_after", "jobs", ["after"]),
    ("ix_job_events_kind", "job_events", ["job_id", "kind", "sequence"]),
    ("ix_candidates_snapshot_id", "candidates", ["snapshot_id"]),
    ("ix_promotions_candidate_id", "promotions", ["candidate_id"]),
    ("ix_promotions_panel_id", "promotions", ["panel_id", "id"]),
)
_TABLES = ("gpu_leases", "promotions", "candidates", "job_events", "jobs", "held_out_rows", "snapshots")


def upgrade() -> None:
    """Add the tables and their indexes."""
    _snapshots()
    _jobs()
    _candidates()
    for name, table, columns in _INDEXES:
        op.create_index(name, table, columns)


def _choice(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def _must(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _may(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def _key(table: str) -> tuple[sa.Column[Any], sa.PrimaryKeyConstraint]:
    return _must("id", sa.Integer()), sa.PrimaryKeyConstraint("id", name=f"pk_{table}")


def _parent(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=f"fk_{table}_{column}")


def _snapshots() -> None:
    op.create_table(
        "snapshots",
        *_key("snapshots"),
        *(_must(name, sa.Text()) for name in ("name", "lineage", "folder")),
        *(_must(name, sa.String(64)) for name in ("sha256", "held_out_sha256")),
        *(_must(name, sa.Integer()) for name in ("train_rows", "held_out_rows")),
        _must("seed", sa.BigInteger()),
        _must("examples", sa.Integer()),
        *(_must(name, sa.JSON()) for name in ("filter", "counts")),
        _must("author", sa.Text()),
        _must("created_at", _TIME),
    )
    op.create_table(
        "held_out_rows",
        _must("lineage", sa.Text()),
        _must("content_hash", sa.String(64)),
        _must("family", sa.Text()),
        sa.PrimaryKeyConstraint("lineage", "content_hash", name="pk_held_out_rows"),
        sqlite_with_rowid=False,
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        *_key("jobs"),
        _must("kind", _choice("kind", _JOB_KINDS)),
        _must("name", sa.Text()),
        _must("state", _choice("state", _STATES)),
        *(_must(name, sa.Text()) for name in ("spec", "folder")),
        *(_may(name, sa.Integer()) for name in ("snapshot_id", "after")),
        *(_must(name, sa.Text()) for name in ("device", "process", "author", "error")),
        _must("worked_seconds", sa.Double()),
        *(_must(name, _TIME) for name in ("created_at", "queued_at")),
        *(_may(name, _TIME) for name in ("started_at", "running_since", "heartbeat_at", "finished_at", "archived_at")),
        _parent("jobs", "snapshot_id", "snapshots"),
        _parent("jobs", "after", "jobs"),
    )
    op.create_table(
        "job_events",
        *(_must(name, sa.Integer()) for name in ("job_id", "sequence")),
        _must("at", _TIME),
        _must("kind", _choice("kind", _EVENT_KINDS)),
        *(_must(name, sa.Integer()) for name in ("step", "steps")),
        _must("figures", sa.JSON()),
        _must("message", sa.Text()),
        _parent("job_events", "job_id", "jobs"),
        sa.PrimaryKeyConstraint("job_id", "sequence", name="pk_job_events"),
    )
    op.create_table(
        "gpu_leases",
        *(_must(name, sa.Text()) for name in ("host", "device", "holder", "process")),
        *(_must(name, _TIME) for name in ("since", "heartbeat_at")),
        sa.PrimaryKeyConstraint("host", "device", name="pk_gpu_leases"),
    )


def _candidates() -> None:
    op.create_table(
        "candidates",
        *_key("candidates"),
        _must("name", sa.Text()),
        _must("stage", _choice("stage", _STAGES)),
        _must("family", sa.Text()),
        _must("options", sa.JSON()),
        _must("job_id", sa.Integer()),
        *(_may(name, sa.Integer()) for name in ("evaluation_id", "previous")),
        _must("snapshot_id", sa.Integer()),
        _must("bytes", sa.BigInteger()),
        _may("predictions", sa.Text()),
        _must("created_at", _TIME),
        *(_parent("candidates", name, "jobs") for name in ("job_id", "evaluation_id")),
        _parent("candidates", "previous", "candidates"),
        _parent("candidates", "snapshot_id", "snapshots"),
        sa.UniqueConstraint("job_id", name="uq_candidates_job_id"),
    )
    op.create_table(
        "promotions",
        *_key("promotions"),
        _must("candidate_id", sa.Integer()),
        *(_must(name, sa.Text()) for name in ("panel_id", "judge_id")),
        *(_must(name, sa.String(64)) for name in ("before_sha256", "after_sha256")),
        *(_must(name, sa.Text()) for name in ("before_text", "after_text")),
        _must("verdict", _choice("verdict", _VERDICTS)),
        *(_must(name, sa.Text()) for name in ("reason", "author")),
        _must("created_at", _TIME),
        _may("rolled_back_at", _TIME),
        _must("rolled_back_by", sa.Text()),
        _parent("promotions", "candidate_id", "candidates"),
    )


def downgrade() -> None:
    """Take the tables away again. The folders of snapshots and jobs stay where they are."""
    for name, table, _ in reversed(_INDEXES):
        op.drop_index(name, table)
    for table in _TABLES:
        op.drop_table(table)
