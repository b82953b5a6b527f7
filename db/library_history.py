"""What a library was: its versions, and every label that one example had."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy.orm import InstrumentedAttribute

from core.desks import ExampleDetail, LibraryRow, LibraryVersion
from core.errors import NotFound
from db.base import AnyRow, StoreBase, clean
from db.engine import reading, writing
from db.models import LibraryItemRecord, LibraryVersionRecord
from db.records import LABELLED_COLUMNS, labelled_of

LATEST = 50


class LibraryHistoryStore(StoreBase):
    """Reads the history of libraries."""

    def library_versions(self, library_id: int, limit: int = LATEST) -> list[LibraryVersion]:
        """Return the versions of a library, newest first, with how many items each added and retired."""
        record, item = LibraryVersionRecord, LibraryItemRecord
        query = select(*record.__table__.columns).where(record.library_id == library_id).order_by(record.sequence.desc()).limit(limit)
        with reading(self.engine) as connection:
            came = _counts(connection, item.added_in, library_id)
            went = _counts(connection, item.retired_in, library_id)
            return [
                LibraryVersion(row.sequence, row.version, row.size, came.get(row.sequence, 0), went.get(row.sequence, 0), row.created_at)
                for row in connection.execute(query)
            ]

    def example_detail(self, library_id: int, example_id: int) -> ExampleDetail:
        """Return one example, active or retired, with every label that its content had in this library. Raises NotFound."""
        item = LibraryItemRecord
        columns = (*LABELLED_COLUMNS, item.created_at, item.retired_at, item.reason)
        with reading(self.engine) as connection:
            found = connection.execute(select(*columns).where(item.id == example_id, item.library_id == library_id)).one_or_none()
            if found is None:
                raise NotFound(
                    f"Library {library_id} has no example {example_id}; it may stand in another library.",
                    zh=f"示例库 {library_id} 中没有编号为 {example_id} 的示例；它可能在别的示例库中。",
                )
            same = select(*columns).where(item.library_id == library_id, item.content_hash == found.content_hash)
            rows = connection.execute(same.order_by(item.id.desc())).all()
        return ExampleDetail(_row(found), tuple(_row(row) for row in rows), {row.id: row.reason for row in rows if row.reason})

    def note_reason(self, example_id: int, reason: str) -> None:
        """Say why an example has the label that it has."""
        with writing(self.engine) as connection:
            connection.execute(update(LibraryItemRecord).where(LibraryItemRecord.id == example_id).values(reason=clean(reason)))


def _counts(connection: Connection, column: InstrumentedAttribute[Any], library_id: int) -> dict[int, int]:
    """Return how many items have each version in `column`."""
    query = select(column, func.count()).where(LibraryItemRecord.library_id == library_id, column.is_not(None)).group_by(column)
    return {row[0]: row[1] for row in connection.execute(query)}


def _row(row: AnyRow) -> LibraryRow:
    *labelled, added_at, retired_at, _ = row
    return LibraryRow(labelled_of(labelled), added_at, retired_at, 0)
