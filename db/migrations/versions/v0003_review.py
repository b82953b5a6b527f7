"""Review: queues, leases, the acts of people, near-duplicate families, deleted runs, sheets of chosen rows.

Revision: 0003, after 0002. Stored verdicts get their expected error, confidence, votes and audit place; stored corrections
become labels, and the state of every corrected item is derived from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_CHUNK = 5_000
_AUDIT_BORDER = 0.15 * 2**64
_UNKNOWN = 1_000.0
_VERDICT_COLUMNS: tuple[tuple[str, sa.types.TypeEngine[Any], str | None], ...] = (
    ("expected_error", sa.Double(), "0"),
    ("confidence", sa.Double(), "0"),
    ("votes", sa.Text(), ""),
    ("audit", sa.Integer(), None),
    ("duplicate", sa.Integer(), "0"),
    ("review", sa.String(16), "open"),
    ("people", sa.Integer(), "0"),
)
_QUEUE_INDEX = ["run_id", "duplicate", sa.literal_column("expected_error DESC"), sa.literal_column("disagreement DESC"), "position"]
_QUEUE_INDEX += ["dimension_id", "outcome", "label", "statuses", "confidence", "people", "review", "audit"]
_INDEXES: tuple[tuple[str, str, list[Any], str | None], ...] = (
    ("ix_items_content_hash", "items", ["content_hash"], None),
    ("ix_shown_examples_library_item_id", "shown_examples", ["library_item_id", "run_id"], None),
    ("ix_corrections_run_id_author_id", "corrections", ["run_id", "author", "id"], None),
    ("ix_verdicts_queue", "verdicts", _QUEUE_INDEX, None),
    ("ix_verdicts_audit", "verdicts", ["run_id", "audit"], "audit IS NOT NULL"),
    ("ix_verdicts_votes", "verdicts", ["run_id", "dimension_id", "votes", "label"], None),
    ("ix_verdicts_reviewed", "verdicts", ["run_id", "review", "item_id"], "review <> 'open'"),
)


def upgrade() -> None:
    """Add columns, tables and indexes, and fill them from what is stored."""
    _columns()
    _tables()
    connection = op.get_bind()
    _derive_labels(connection)
    for run_id, panel in connection.execute(sa.text("SELECT id, panel FROM runs")).all():
        _fill_verdicts(connection, run_id, panel if isinstance(panel, dict) else json.loads(panel))
    for name, table, columns, where in _INDEXES:
        condition = None if where is None else sa.text(where)
        op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


def _columns() -> None:
    op.add_column("sheets", sa.Column("parent_id", sa.Integer(), nullable=True))
    op.add_column("sheets", sa.Column("families_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("families_of", sa.Text(), nullable=False, server_default=""))
    for name, kind, default in _VERDICT_COLUMNS:
        op.add_column("verdicts", sa.Column(name, kind, nullable=default is None, server_default=default))
    kinds = sa.Enum("label", "skip", "undo", "adjudication", name="kind", native_enum=False, create_constraint=False, length=16)
    with op.batch_alter_table("corrections", naming_convention={"ck": "ck_%(table_name)s_%(constraint_name)s"}) as batch:
        batch.alter_column("label", existing_type=sa.Integer(), nullable=True)
        batch.add_column(sa.Column("kind", kinds, nullable=False, server_default="label"))
        batch.add_column(sa.Column("note", sa.Text(), nullable=False, server_default=""))
        batch.add_column(sa.Column("flags", sa.JSON(), nullable=False, server_default="[]"))
        batch.add_column(sa.Column("blind", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("audit", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("retracts", sa.Integer(), nullable=True))
        batch.create_check_constraint("kind", "kind IN ('label', 'skip', 'undo', 'adjudication')")
        batch.create_foreign_key("fk_corrections_retracts", "corrections", ["retracts"], ["id"])


def _item() -> sa.Column[int]:
    return sa.Column("item_id", sa.Integer(), nullable=False, autoincrement=False)


def _tables() -> None:
    states = sa.Enum("open", "labelled", "conflict", "settled", name="review", native_enum=False, create_constraint=True, length=16)
    op.create_table(
        "item_labels",
        _item(),
        sa.Column("review", states, nullable=False),
        sa.Column("label", sa.Integer(), nullable=True),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_item_labels_item_id"),
        sa.ForeignKeyConstraint(["event_id"], ["corrections.id"], name="fk_item_labels_event_id"),
        sa.PrimaryKeyConstraint("item_id", name="pk_item_labels"),
    )
    op.create_table(
        "person_labels",
        _item(),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("label", sa.Integer(), nullable=True),
        sa.Column("blind_label", sa.Integer(), nullable=True),
        sa.Column("skipped", sa.Boolean(), nullable=False),
        sa.Column("audit", sa.Boolean(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_person_labels_item_id"),
        sa.ForeignKeyConstraint(["event_id"], ["corrections.id"], name="fk_person_labels_event_id"),
        sa.PrimaryKeyConstraint("item_id", "author", name="pk_person_labels"),
    )
    op.create_index("ix_person_labels_author", "person_labels", ["author", "event_id"])
    op.create_table(
        "review_leases",
        sa.Column("run_id", sa.Integer(), nullable=False),
        _item(),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_review_leases_run_id"),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_review_leases_item_id"),
        sa.PrimaryKeyConstraint("run_id", "item_id", name="pk_review_leases"),
    )
    op.create_index("ix_review_leases_annotator", "review_leases", ["annotator"])
    op.create_table(
        "item_families",
        _item(),
        sa.Column("sheet_id", sa.Integer(), nullable=False),
        sa.Column("family", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_item_families_item_id"),
        sa.ForeignKeyConstraint(["sheet_id"], ["sheets.id"], name="fk_item_families_sheet_id"),
        sa.PrimaryKeyConstraint("item_id", name="pk_item_families"),
    )
    op.create_index("ix_item_families_sheet_id", "item_families", ["sheet_id"])


def _derive_labels(connection: sa.Connection) -> None:
    """Every stored correction is a label that was not blind: each author's last one counts, all must agree."""
    connection.execute(
        sa.text(
            "INSERT INTO person_labels (item_id, author, label, blind_label, skipped, audit, event_id, created_at) "
            "SELECT item_id, author, label, NULL, false, false, id, created_at FROM corrections "
            "WHERE id IN (SELECT max(id) FROM corrections GROUP BY item_id, author)"
        )
    )
    connection.execute(
        sa.text(
            "INSERT INTO item_labels (item_id, review, label, people, event_id) "
            "SELECT item_id, CASE WHEN min(label) = max(label) THEN 'labelled' ELSE 'conflict' END, "
            "CASE WHEN min(label) = max(label) THEN min(label) END, count(*), "
            "CASE WHEN min(label) = max(label) THEN max(event_id) END FROM person_labels GROUP BY item_id"
        )
    )
    for column, default in (("review", "'open'"), ("people", "0")):
        connection.execute(
            sa.text(
                f"UPDATE verdicts SET {column} = coalesce((SELECT {column} FROM item_labels l WHERE l.item_id = verdicts.item_id), {default})"
            )
        )


def _fill_verdicts(connection: sa.Connection, run_id: int, panel: Mapping[str, Any]) -> None:
    judges = [judge["id"] for judge in panel["judges"]]
    update = sa.text(
        "UPDATE verdicts SET expected_error = :error, confidence = :confidence, votes = :votes, audit = :audit "
        "WHERE run_id = :run_id AND item_id = :item_id"
    )
    for rows in _verdicts(connection, run_id):
        votes = _votes(connection, run_id, rows[0].item_id, rows[-1].item_id)
        values = []
        for row in rows:
            shares = row.probabilities if isinstance(row.probabilities, dict) else json.loads(row.probabilities)
            given = votes.get(row.item_id, {})
            spread = {int(label): share for label, share in shares.items()}
            known = row.label is not None and bool(spread)
            values.append(
                {
                    "run_id": run_id,
                    "item_id": row.item_id,
                    "error": sum(share * abs(row.label - label) for label, share in spread.items()) if known else _UNKNOWN,
                    "confidence": spread.get(row.label, 0.0) if known else 0.0,
                    "votes": ",".join("" if (label := given.get(judge)) is None else str(label) for judge in judges),
                    "audit": _audit_place(run_id, row.item_id),
                }
            )
        connection.execute(update, values)


def _verdicts(connection: sa.Connection, run_id: int) -> Iterator[Sequence[sa.Row[Any]]]:
    after = -1
    query = sa.text(
        "SELECT item_id, label, probabilities FROM verdicts WHERE run_id = :run_id AND item_id > :after ORDER BY item_id LIMIT :limit"
    )
    while rows := connection.execute(query, {"run_id": run_id, "after": after, "limit": _CHUNK}).all():
        yield rows
        after = rows[-1].item_id


def _votes(connection: sa.Connection, run_id: int, first: int, last: int) -> dict[int, dict[str, int]]:
    query = sa.text(
        "SELECT item_id, judge_id, label FROM judgements "
        "WHERE run_id = :run_id AND item_id BETWEEN :first AND :last AND status = 'ok' AND label IS NOT NULL"
    )
    found: dict[int, dict[str, int]] = {}
    for item_id, judge_id, label in connection.execute(query, {"run_id": run_id, "first": first, "last": last}):
        found.setdefault(item_id, {})[judge_id] = label
    return found


def _audit_place(run_id: int, item_id: int) -> int | None:
    digest = hashlib.sha256(f"{run_id}:{item_id}".encode()).digest()
    return None if int.from_bytes(digest[:8]) >= _AUDIT_BORDER else int.from_bytes(digest[8:12]) >> 1


def downgrade() -> None:
    """Take everything of it away again. Acts that the older tables cannot say go too: skips, undos and what they took back."""
    for name, table, _, _ in reversed(_INDEXES):
        op.drop_index(name, table_name=table)
    for table in ("item_families", "review_leases", "person_labels", "item_labels"):
        op.drop_table(table)
    connection = op.get_bind()
    gone = connection.execute(sa.text("SELECT retracts FROM corrections WHERE retracts IS NOT NULL")).scalars().all()
    connection.execute(sa.text("DELETE FROM corrections WHERE label IS NULL"))
    for event_id in gone:
        connection.execute(sa.text("DELETE FROM corrections WHERE id = :id"), {"id": event_id})
    with op.batch_alter_table("corrections", naming_convention={"ck": "ck_%(table_name)s_%(constraint_name)s"}) as batch:
        batch.drop_constraint("fk_corrections_retracts", type_="foreignkey")
        batch.drop_constraint("kind", type_="check")
        for column in ("kind", "note", "flags", "blind", "audit", "retracts"):
            batch.drop_column(column)
        batch.alter_column("label", existing_type=sa.Integer(), nullable=False)
    for name, _, _ in _VERDICT_COLUMNS:
        op.drop_column("verdicts", name)
    op.drop_column("runs", "families_of")
    op.drop_column("runs", "deleted_at")
    op.drop_column("sheets", "families_at")
    op.drop_column("sheets", "parent_id")
