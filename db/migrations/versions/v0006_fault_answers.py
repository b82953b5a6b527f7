"""What people answer to suspected faults.

Revision: 0006, after 0005. A new table only; what is stored stays as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ANSWERS = ("confirm", "reject", "missed", "undo")


def upgrade() -> None:
    """Add the table and its index."""
    op.create_table(
        "fault_answers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("judge_id", sa.Text(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("answer", sa.Enum(*_ANSWERS, name="answer", native_enum=False, create_constraint=True, length=16), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retracts", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_fault_answers"),
        sa.CheckConstraint('0 <= start AND start < "end"', name="span"),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_fault_answers_item_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_fault_answers_run_id"),
        sa.ForeignKeyConstraint(["retracts"], ["fault_answers.id"], name="fk_fault_answers_retracts"),
        sa.UniqueConstraint("retracts", name="uq_fault_answers_retracts"),
    )
    op.create_index("ix_fault_answers_item_id_id", "fault_answers", ["item_id", "id"])


def downgrade() -> None:
    """Take the table and its answers away again."""
    op.drop_index("ix_fault_answers_item_id_id", "fault_answers")
    op.drop_table("fault_answers")
