"""Answers that were no votes and were asked for again; and who has seen the votes of which row.

Revision: 0007, after 0006. New tables only; what is stored stays as it is, blind labels too.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and their index."""
    op.create_table(
        "replaced_judgements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("judge_id", sa.Text(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("raw_reply", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("asked_again_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_replaced_judgements"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_replaced_judgements_run_id"),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_replaced_judgements_item_id"),
    )
    op.create_index("ix_replaced_judgements_run_id_item_id", "replaced_judgements", ["run_id", "item_id"])
    op.create_table(
        "seen_votes",
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("item_id", "author", name="pk_seen_votes"),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_seen_votes_item_id"),
    )


def downgrade() -> None:
    """Remove them. Answers that were replaced are lost."""
    op.drop_table("seen_votes")
    op.drop_table("replaced_judgements")
