"""Why an example of a library has the label that it has; an index of the labels that sheets have themselves.

Revision: 0004, after 0003. Examples that are already stored have no reason.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the index."""
    op.add_column("library_items", sa.Column("reason", sa.Text(), server_default="", nullable=False))
    known = sa.text("gold IS NOT NULL")
    op.create_index("ix_items_gold", "items", ["sheet_id", "gold"], sqlite_where=known, postgresql_where=known)


def downgrade() -> None:
    """Take the reasons and the index away again."""
    op.drop_index("ix_items_gold", "items")
    op.drop_column("library_items", "reason")
