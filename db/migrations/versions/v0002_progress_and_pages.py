"""Tallies of judgements for the progress of a run, and indexes that answer every page of its table.

Revision: 0002, after 0001. Runs that are already stored get their tallies and statuses here.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_VERDICT_INDEXES: tuple[tuple[str, list[str | sa.ColumnElement[float]]], ...] = (
    ("ix_verdicts_by_position", ["run_id", "position", "dimension_id", "outcome", "label", "statuses"]),
    (
        "ix_verdicts_by_disagreement",
        ["run_id", sa.literal_column("disagreement DESC"), "position", "dimension_id", "outcome", "label", "statuses"],
    ),
    ("ix_verdicts_by_label", ["run_id", "label", "position", "dimension_id", "outcome", "statuses"]),
    ("ix_verdicts_counts", ["run_id", "aggregator", "dimension_id", "outcome", "label"]),
)
_BITS = (("ok", 1), ("abstained", 2), ("off_menu", 4), ("refused", 8), ("failed", 16))


def upgrade() -> None:
    """Add the tallies, the statuses of verdicts and the indexes, filled from what is stored."""
    status = sa.Enum(*(name for name, _ in _BITS), name="status", native_enum=False, create_constraint=True, length=16)
    op.create_table(
        "judgement_tallies",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("judge_id", sa.Text(), nullable=False),
        sa.Column("status", status, nullable=False),
        sa.Column("judgements", sa.Integer(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_judgement_tallies_run_id"),
        sa.PrimaryKeyConstraint("run_id", "judge_id", "status", name="pk_judgement_tallies"),
    )
    op.execute(
        "INSERT INTO judgement_tallies (run_id, judge_id, status, judgements, latency_ms) "
        "SELECT run_id, judge_id, status, count(*), sum(latency_ms) FROM judgements GROUP BY run_id, judge_id, status"
    )
    op.add_column("verdicts", sa.Column("statuses", sa.Integer(), server_default="0", nullable=False))
    bits = " + ".join(f"max(CASE WHEN j.status = '{name}' THEN {bit} ELSE 0 END)" for name, bit in _BITS)
    op.execute(
        f"UPDATE verdicts SET statuses = coalesce((SELECT {bits} FROM judgements j "
        "WHERE j.run_id = verdicts.run_id AND j.item_id = verdicts.item_id), 0)"
    )
    unusual = sa.text("status <> 'ok'")
    keys = ["run_id", "status", "item_id"]
    op.create_index("ix_judgements_not_ok", "judgements", keys, sqlite_where=unusual, postgresql_where=unusual)
    for name, columns in _VERDICT_INDEXES:
        op.create_index(name, "verdicts", columns)


def downgrade() -> None:
    """Take tallies, statuses and indexes away again; judgements and verdicts stay."""
    for name, _ in _VERDICT_INDEXES:
        op.drop_index(name, table_name="verdicts")
    op.drop_index("ix_judgements_not_ok", table_name="judgements")
    op.drop_column("verdicts", "statuses")
    op.drop_table("judgement_tallies")
