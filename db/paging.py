"""Which rows stand on a page of a run's table.

Every order is one index of `verdicts` that carries the columns of all filters, so that a page is found without touching
a row. Rows that have no verdict yet stand after all others where the order is the verdict's. Only a search reads texts
(`db.searches`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, SQLColumnExpression, exists, func, select, text, union_all

from core.queries import RowQuery, RowSort
from core.types import JudgementStatus, Run, RunState
from db.base import AnySelect, clean
from db.models import ItemRecord, JudgementRecord, VerdictRecord
from db.records import STATUS_BITS
from db.searches import SearchHits


def find_page(connection: Connection, run: Run, query: RowQuery, searches: SearchHits) -> tuple[list[int], int]:
    """Return the ids of the page's items in order, and the number of all rows that match."""
    finder = _Finder(connection, run, query)
    size = max(1, query.page_size)
    start = max(0, query.page) * size
    if not query.search:
        return finder.page(start, size)
    hits = searches.find(connection, run.sheet_id, clean(query.search))
    if finder.is_plain:
        ids = list(reversed(hits)) if query.descending else list(hits)
    else:
        wanted = set(hits)
        ids = [item_id for item_id in finder.all() if item_id in wanted] if wanted else []
    return ids[start : start + size], len(ids)


class _Finder:
    """Finds rows for one query on one run, whatever it searches for."""

    def __init__(self, connection: Connection, run: Run, query: RowQuery) -> None:
        self.connection = connection
        self.run = run
        self.query = query
        # Once a run is done every item has its verdict, and nothing need be looked for among the undecided.
        self.decided_only = run.state is RunState.DONE or query.outcome is not None or query.label is not None

    @property
    def is_plain(self) -> bool:
        """Return whether the query is for all rows in sheet order."""
        query = self.query
        filters = (query.dimension_id, query.outcome, query.label, query.status)
        return query.sort is RowSort.POSITION and all(value in {None, ""} for value in filters)

    def page(self, start: int, size: int) -> tuple[list[int], int]:
        """Return a slice of the matching ids in order, and how many match."""
        if self.decided_only:
            decided = self._decided()
            return self._ids(decided.order_by(*self._order()), start, size), self._count(decided)
        if self.query.sort is RowSort.POSITION:
            found = self._by_position()
            return self._ids(found, start, size), self._count(found)
        decided = self._decided()
        count = self._count(decided)
        ids = self._ids(decided.order_by(*self._order()), start, size)
        if len(ids) < size:
            ids += self._ids(self._undecided().order_by(ItemRecord.position), max(0, start - count), size - len(ids))
        if self.query.status is None:
            return ids, self._count(self._items())
        return ids, count + self._count(self._undecided())

    def all(self) -> list[int]:
        """Return every matching id in order."""
        if not self.decided_only and self.query.sort is RowSort.POSITION:
            return self._ids(self._by_position())
        ids = self._ids(self._decided().order_by(*self._order()))
        return ids if self.decided_only else ids + self._ids(self._undecided().order_by(ItemRecord.position))

    def _by_position(self) -> AnySelect:
        if self.query.status is None:
            return self._items().order_by(_directed(ItemRecord.position, self.query))
        both = union_all(self._decided(), self._undecided()).subquery()
        return select(both.c.item_id).order_by(_directed(both.c.position, self.query))

    def _decided(self) -> AnySelect:
        record, query = VerdictRecord, self.query
        found: AnySelect = select(record.item_id, record.position).where(record.run_id == self.run.id)
        if query.dimension_id:
            found = found.where(record.dimension_id == query.dimension_id)
        if query.outcome is not None:
            found = found.where(record.outcome == query.outcome)
        if query.label is not None:
            found = found.where(record.label == query.label)
        if query.status is not None:
            found = found.where(record.statuses.op("&")(STATUS_BITS[query.status]) != 0)
        return found

    def _items(self) -> AnySelect:
        found: AnySelect = select(ItemRecord.id.label("item_id"), ItemRecord.position).where(ItemRecord.sheet_id == self.run.sheet_id)
        if self.query.dimension_id:
            found = found.where(ItemRecord.dimension_id == self.query.dimension_id)
        return found

    def _undecided(self) -> AnySelect:
        found = self._items().where(~exists().where(VerdictRecord.run_id == self.run.id, VerdictRecord.item_id == ItemRecord.id))
        if self.query.status is None:
            return found
        record = JudgementRecord
        having = (record.run_id == self.run.id, record.status == self.query.status)
        if self.query.status is JudgementStatus.OK:
            return found.where(exists().where(*having, record.item_id == ItemRecord.id))
        # The literal lets the database use the index of the few that are not OK.
        return found.where(ItemRecord.id.in_(select(record.item_id).where(*having, text("judgements.status <> 'ok'"))))

    def _order(self) -> tuple[ColumnElement[Any], ...]:
        record = VerdictRecord
        if self.query.sort is RowSort.POSITION:
            return (_directed(record.position, self.query),)
        if self.query.sort is RowSort.DISAGREEMENT:
            return (_directed(record.disagreement, self.query), record.position.asc())
        # A verdict without a label stands last in either direction, on every database.
        return (record.label.is_(None).asc(), _directed(record.label, self.query), record.position.asc())

    def _ids(self, statement: AnySelect, start: int = 0, size: int | None = None) -> list[int]:
        # The id is the first column of every statement here.
        return list(self.connection.execute(statement.offset(start or None).limit(size)).scalars())

    def _count(self, statement: AnySelect) -> int:
        return self.connection.execute(select(func.count()).select_from(statement.order_by(None).subquery())).scalar_one()


def _directed(column: SQLColumnExpression[Any], query: RowQuery) -> ColumnElement[Any]:
    return column.desc() if query.descending else column.asc()
