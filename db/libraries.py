"""Libraries of labelled items: versions that a run can come back to, whatever was imported since."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, or_, select, update

from core.errors import LibraryError, NotFound
from core.types import LabelledItem, Library, Origin, SheetRow
from db.base import AnyRow, StoreBase, dialect_insert, now, spans, table_of
from db.engine import reading, writing
from db.models import LibraryItemRecord, LibraryRecord, LibraryVersionRecord
from db.records import LABELLED_COLUMNS, labelled_of, sheet_row_values

# What makes two labelled items the same one: content hash, label, external id.
LibraryKey = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class _Change:
    """What a new version adds and retires."""

    added: Mapping[LibraryKey, Mapping[str, object]]
    retired: tuple[int, ...]


class LibraryStore(StoreBase):
    """Keeps the labelled items that judges are shown and learn from."""

    def save_library(self, name: str, rows: Iterable[SheetRow], origin: Origin, author: str = "") -> Library:
        """Make `rows` the active items of the library `name`, and return it.

        Rows without a gold label are left out; the same id, content and label twice count once. The same content again
        changes nothing; otherwise what is gone is retired, never deleted, and the version changes. Raises LibraryError
        when no row has a label.
        """
        # By what will be stored: a row that had to be cleaned is the same one the next time.
        cleaned = [(sheet_row_values(row), row.gold) for row in rows if row.gold is not None]
        wanted = {(str(row["content_hash"]), label, str(row["external_id"])): row for row, label in reversed(cleaned)}
        if not wanted:
            raise LibraryError(
                f"The library {name!r} would have no labelled row; add a label column (标注分值) with values on the scale.",
                zh=f"样例库“{name}”没有任何带标注的行;请添加“标注分值”列。",
            )
        with writing(self.engine) as connection:
            library = _locked(connection, name)
            present = active_keys(connection, library.id)
            change = _Change(
                {key: row for key, row in wanted.items() if key not in present},
                tuple(item_id for key, item_id in present.items() if key not in wanted),
            )
            if change.added or change.retired:
                _apply(connection, library.id, library.sequence + 1, change, origin, author)
            return get_library(connection, library.id)

    def library(self, library_id: int) -> Library:
        """Return a library with its counts by dimension. Raises NotFound."""
        with reading(self.engine) as connection:
            return get_library(connection, library_id)

    def find_library(self, name: str) -> Library | None:
        """Return the library called `name`, or None."""
        with reading(self.engine) as connection:
            found = connection.execute(select(LibraryRecord.id).where(LibraryRecord.name == name)).scalar_one_or_none()
            return None if found is None else get_library(connection, found)

    def libraries(self) -> list[Library]:
        """Return every library, newest first."""
        with reading(self.engine) as connection:
            ids = connection.execute(select(LibraryRecord.id).order_by(LibraryRecord.id.desc())).scalars().all()
            return [get_library(connection, library_id) for library_id in ids]

    def library_items(self, library_id: int, version: str = "") -> list[LabelledItem]:
        """Return the items of a library's `version` (empty: the current one), in an order that only their content sets.

        Raises NotFound for an unknown library or version.
        """
        record = LibraryItemRecord
        with reading(self.engine) as connection:
            sequence = _sequence(connection, library_id, version)
            query = (
                select(*LABELLED_COLUMNS)
                .where(record.library_id == library_id, record.added_in <= sequence)
                .where(or_(record.retired_in.is_(None), record.retired_in > sequence))
            )
            items = [labelled_of(row) for row in connection.execute(query)]
        # Sorted here and not by the database, whose collations differ.
        return sorted(items, key=lambda item: (item.dimension_id, item.external_id, item.content_hash, item.label))


def library_version(keys: Iterable[LibraryKey]) -> str:
    """Return the hash (sha256, hex) of a library's active items, each as content hash, label and external id."""
    digest = hashlib.sha256()
    for content, label, external_id in sorted(keys):
        digest.update(f"{content}:{label}:{len(external_id)}:{external_id}\n".encode())
    return digest.hexdigest()


def _locked(connection: Connection, name: str) -> AnyRow:
    """Return id and sequence of the library `name`, made when there is none, locked until the transaction ends."""
    empty = {"name": name, "version": library_version(()), "sequence": 0, "size": 0, "created_at": now()}
    connection.execute(dialect_insert(connection, LibraryRecord).values(empty).on_conflict_do_nothing(index_elements=["name"]))
    return connection.execute(select(LibraryRecord.id, LibraryRecord.sequence).where(LibraryRecord.name == name).with_for_update()).one()


def active_keys(connection: Connection, library_id: int) -> dict[LibraryKey, int]:
    """Return what stands in a library now: key -> id."""
    record = LibraryItemRecord
    query = select(record.content_hash, record.label, record.external_id, record.id).where(
        record.library_id == library_id, record.retired_in.is_(None)
    )
    return {(content, label, external_id): item_id for content, label, external_id, item_id in connection.execute(query)}


def _apply(connection: Connection, library_id: int, sequence: int, change: _Change, origin: Origin, author: str) -> None:
    # In the order of their keys, so that equal libraries get equal ids in equal databases.
    values = [{**change.added[key], "label": key[1], "origin": origin, "author": author} for key in sorted(change.added)]
    commit_version(connection, library_id, sequence, values, change.retired)


def commit_version(
    connection: Connection, library_id: int, sequence: int, added: Sequence[Mapping[str, object]], retired: Sequence[int]
) -> list[int]:
    """Make version number `sequence` of a library: `added` are the values of its new items, `retired` the ids of those that
    leave; return the ids of the new items, in their order."""
    moment = now()
    record = LibraryItemRecord
    for ids in spans(retired):
        connection.execute(update(record).where(record.id.in_(ids)).values(retired_in=sequence, retired_at=moment))
    fixed = {"library_id": library_id, "added_in": sequence, "retired_in": None, "created_at": moment, "retired_at": None}
    new: list[int] = []
    for part in spans([{**values, **fixed} for values in added]):
        statement = insert(table_of(record)).returning(record.id, sort_by_parameter_order=True)
        new += connection.execute(statement, list(part)).scalars()
    keys = active_keys(connection, library_id)
    state = {"sequence": sequence, "version": library_version(keys), "size": len(keys)}
    connection.execute(update(LibraryRecord).where(LibraryRecord.id == library_id).values(state))
    connection.execute(insert(LibraryVersionRecord).values(library_id=library_id, created_at=moment, **state))
    return new


def get_library(connection: Connection, library_id: int) -> Library:
    """Return a library within a transaction. Raises NotFound."""
    row = connection.execute(select(table_of(LibraryRecord)).where(LibraryRecord.id == library_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no library {library_id}; `./run.sh library` lists them.", zh=f"没有编号为 {library_id} 的样例库。")
    item = LibraryItemRecord
    dimensions = connection.execute(select(item.dimension_id).where(item.library_id == library_id, item.retired_in.is_(None))).scalars()
    return Library(row.id, row.name, row.version, row.size, row.created_at, dict(sorted(Counter(dimensions).items())))


def _sequence(connection: Connection, library_id: int, version: str) -> int:
    record = LibraryVersionRecord
    if not version:
        version = get_library(connection, library_id).version
    query = select(record.sequence).where(record.library_id == library_id, record.version == version)
    found = connection.execute(query.order_by(record.sequence.desc()).limit(1)).scalar_one_or_none()
    if found is None:
        raise NotFound(
            f"Library {library_id} never had the version {version[:12]}; import its file again.",
            zh=f"样例库 {library_id} 没有版本 {version[:12]};请重新导入。",
        )
    return found
