"""Which rows of a sheet hold a text.

Texts are read once, for items never change; the hits are remembered, and turning pages costs no second reading. The texts
of a long sheet are read by a thread a core, for SQLite itself uses one (PostgreSQL has parallel scans of its own).
"""

from __future__ import annotations

import json
import os
import threading
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from sqlalchemy import ColumnElement, Connection, func, or_, select

from db.engine import reading
from db.models import ItemRecord

_REMEMBERED_SEARCHES = 16
# Of a sheet with so many rows and more, several threads read the texts; fewer rows take one some 20 ms.
READ_BY_ONE = 10_000
_MOST_THREADS = 4
_SHIFT = 2**36  # beyond any id, and a place times it still fits 63 bits


class SearchHits:
    """Remembers which items of a sheet hold a text, in sheet order, for the latest searches; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, str], array[int]] = OrderedDict()
        # One search at a time has several threads, each with a connection, so that searches never wait for each other's.
        self._parted = threading.Lock()

    def find(self, connection: Connection, sheet_id: int, wanted: str) -> array[int]:
        """Return the ids of the items whose external id, prompt or text holds `wanted`; ASCII letters in either case."""
        key = (sheet_id, wanted)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        hits = self._read(connection, sheet_id, wanted)
        with self._lock:
            self._known[key] = hits
            while len(self._known) > _REMEMBERED_SEARCHES:
                self._known.popitem(last=False)
        return hits

    def _read(self, connection: Connection, sheet_id: int, wanted: str) -> array[int]:
        """Read the texts of a sheet, in parts side by side where that pays."""
        last = connection.execute(select(func.max(ItemRecord.position)).where(ItemRecord.sheet_id == sheet_id)).scalar_one() or 0
        parts = min(_MOST_THREADS, os.cpu_count() or 1) if last >= READ_BY_ONE and connection.dialect.name == "sqlite" else 1
        if parts == 1 or not self._parted.acquire(blocking=False):
            return array("q", _hits(connection, sheet_id, wanted, 0, last + 1))
        ends = [(last + 1) * part // parts for part in range(parts + 1)]

        def read(start: int, end: int) -> Sequence[int]:
            with reading(connection.engine) as own:
                return _hits(own, sheet_id, wanted, start, end)

        try:
            with ThreadPoolExecutor(parts - 1, "search") as threads:
                others = [threads.submit(read, start, end) for start, end in pairwise(ends[1:])]
                hits = array("q", _hits(connection, sheet_id, wanted, *ends[:2]))
                for other in others:
                    hits.extend(other.result())
        finally:
            self._parted.release()
        return hits


def _hits(connection: Connection, sheet_id: int, wanted: str, start: int, end: int) -> Sequence[int]:
    """Return the ids of the items from one position to before another that hold `wanted`, in order."""
    record = ItemRecord
    where = (record.sheet_id == sheet_id, record.position >= start, record.position < end, _holds(connection, wanted))
    found = select(record.id, record.position).where(*where).order_by(record.position)
    if connection.dialect.name != "sqlite":
        return connection.execute(found).scalars().all()
    # One answer, not one for each row: where many rows hold it, threads would spend their time taking turns for Python.
    rows = found.subquery()
    pairs = json.loads(connection.execute(select(func.json_group_array(rows.c.position * _SHIFT + rows.c.id))).scalar_one())
    return [pair % _SHIFT for pair in sorted(pairs)]


def _holds(connection: Connection, wanted: str) -> ColumnElement[bool]:
    columns = (ItemRecord.external_id, ItemRecord.prompt, ItemRecord.text)
    postgres = connection.dialect.name == "postgresql"
    # Where there is no case to ignore, a plain search is faster than LIKE, but for SQLite's LIKE of what begins with an ASCII
    # sign: it goes to that sign's places in one leap each, three times as fast as `instr` in Chinese texts.
    if wanted.upper() == wanted.lower() and (postgres or not wanted[:1].isascii()):
        place = func.strpos if postgres else func.instr
        return or_(*(place(column, wanted) > 0 for column in columns))
    pattern = "%" + wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    # SQLite's LIKE ignores case by itself, and its ILIKE would copy every text in lower case.
    return or_(*(column.ilike(pattern, escape="\\") if postgres else column.like(pattern, escape="\\") for column in columns))
