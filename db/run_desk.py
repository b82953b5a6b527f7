"""The runs in lists, and the columns that two runs are compared by."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
from sqlalchemy import Connection, Engine, and_, case, func, select

from core.desks import RunCounts, RunLine
from core.review import ReviewState
from core.types import Item, Outcome, Run
from db.base import StoreBase, spans
from db.engine import reading
from db.models import ItemLabelRecord, ItemRecord, RunRecord, VerdictRecord
from db.records import item_of, run_of, select_items, select_runs
from db.runs import get_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int64]
    Floats: TypeAlias = NDArray[np.float64]

K = TypeVar("K")
V = TypeVar("V")
# A label that is not there, in an array of labels.
NO_LABEL = -(2**31)
_KEPT = 6


@dataclass(frozen=True, slots=True)
class SheetColumns:
    """A sheet's items as columns in sheet order, with the sheet's own labels (NO_LABEL: none)."""

    item_ids: Ints
    dimensions: tuple[str, ...]
    gold: Ints


@dataclass(frozen=True, slots=True)
class SheetKey:
    """What a row of a sheet is known again by in another sheet."""

    external_id: str
    content_hash: str


@dataclass(frozen=True, slots=True)
class VerdictColumns:
    """A run's verdicts as columns in the order of their items' ids."""

    item_ids: Ints
    labels: Ints
    expected: Floats


@dataclass(frozen=True, slots=True)
class _VerdictKey:
    """What changes whenever a run's verdicts do."""

    run_id: int
    aggregator: str
    decided: int


class RunDeskStore(StoreBase):
    """Reads runs side by side. Columns of sheets and finished verdicts are remembered for the next page."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._columns_lock = threading.Lock()
        self._sheets: OrderedDict[int, SheetColumns] = OrderedDict()
        self._verdicts: OrderedDict[_VerdictKey, VerdictColumns] = OrderedDict()
        self._outcomes: OrderedDict[_VerdictKey, dict[Outcome, int]] = OrderedDict()

    def run_lines(self, limit: int = 50, offset: int = 0, *, deleted: bool = False) -> list[RunLine]:
        """Return runs, newest first, with their counts."""
        wanted = RunRecord.deleted_at.is_not(None) if deleted else RunRecord.deleted_at.is_(None)
        query = select_runs().where(wanted).order_by(RunRecord.id.desc()).limit(limit).offset(offset)
        with reading(self.engine) as connection:
            runs = [run_of(row) for row in connection.execute(query)]
            return [self._line(connection, run) for run in runs]

    def run_total(self, *, deleted: bool = False) -> int:
        """Return how many runs there are."""
        wanted = RunRecord.deleted_at.is_not(None) if deleted else RunRecord.deleted_at.is_(None)
        with reading(self.engine) as connection:
            return connection.execute(select(func.count()).select_from(RunRecord).where(wanted)).scalar_one()

    def run_line(self, run_id: int) -> RunLine:
        """Return one run with its counts, deleted or not. Raises NotFound."""
        with reading(self.engine) as connection:
            return self._line(connection, get_run(connection, run_id))

    def sheet_columns(self, sheet_id: int) -> SheetColumns:
        """Return the columns of a sheet; items never change, so they are read once."""
        with self._columns_lock:
            if sheet_id in self._sheets:
                self._sheets.move_to_end(sheet_id)
                return self._sheets[sheet_id]
        record = ItemRecord
        query = select(record.id, record.dimension_id, record.gold)
        with reading(self.engine) as connection:
            rows = connection.execute(query.where(record.sheet_id == sheet_id).order_by(record.position)).all()
        ids, dimensions, gold = zip(*rows, strict=True) if rows else ((), (), ())
        found = SheetColumns(np.array(ids, dtype=np.int64), dimensions, _labels(gold))
        self._remember(self._sheets, sheet_id, found)
        return found

    def sheet_keys(self, sheet_id: int) -> list[SheetKey]:
        """Return what the items of a sheet are known again by, in sheet order."""
        record = ItemRecord
        query = select(record.external_id, record.content_hash).where(record.sheet_id == sheet_id).order_by(record.position)
        with reading(self.engine) as connection:
            return [SheetKey(*row) for row in connection.execute(query)]

    def verdict_columns(self, run: Run) -> VerdictColumns:
        """Return the verdicts of a run's aggregator."""
        record = VerdictRecord
        mine = (record.run_id == run.id, record.aggregator == run.aggregator)
        with reading(self.engine) as connection:
            key = _key(connection, run)
            with self._columns_lock:
                if key in self._verdicts:
                    self._verdicts.move_to_end(key)
                    return self._verdicts[key]
            query = select(record.item_id, record.label, record.expected).where(*mine).order_by(record.item_id)
            rows = connection.execute(query).all()
        ids, labels, expected = zip(*rows, strict=True) if rows else ((), (), ())
        found = VerdictColumns(
            np.array(ids, dtype=np.int64),
            _labels(labels),
            np.array([np.nan if value is None else value for value in expected], dtype=np.float64),
        )
        self._remember(self._verdicts, key, found)
        return found

    def people_labels(self, sheet_id: int) -> dict[int, int]:
        """Return people's label of every item of a sheet that has one."""
        record = ItemLabelRecord
        query = select(record.item_id, record.label).join(ItemRecord, ItemRecord.id == record.item_id)
        with reading(self.engine) as connection:
            rows = connection.execute(query.where(ItemRecord.sheet_id == sheet_id, record.label.is_not(None)))
            return {row.item_id: row.label for row in rows if row.label is not None}

    def items_by_id(self, item_ids: Sequence[int]) -> dict[int, Item]:
        """Return these items by id."""
        found: dict[int, Item] = {}
        with reading(self.engine) as connection:
            for ids in spans(item_ids):
                found.update({row[0]: item_of(row) for row in connection.execute(select_items().where(ItemRecord.id.in_(ids)))})
        return found

    def _line(self, connection: Connection, run: Run) -> RunLine:
        outcomes = self._by_outcome(connection, run)
        record, item = VerdictRecord, ItemLabelRecord
        touched = (record.run_id == run.id, record.review != ReviewState.OPEN.value)
        changed = and_(item.label.is_not(None), record.label.is_distinct_from(item.label))
        query = (
            select(record.review, func.count(), func.sum(case((changed, 1), else_=0)))
            .join(item, item.item_id == record.item_id)
            .where(*touched)
            .group_by(record.review)
        )
        states: dict[ReviewState, int] = defaultdict(int)
        differing = 0
        for state, count, others in connection.execute(query):
            states[state] = count
            differing += int(others or 0)
        counts = RunCounts(
            sum(outcomes.values()), outcomes, sum(states.values()), states[ReviewState.CONFLICT], states[ReviewState.SETTLED], differing
        )
        return RunLine(run, counts, run.deleted_at)

    def _by_outcome(self, connection: Connection, run: Run) -> dict[Outcome, int]:
        """Return the counts by outcome, remembered for as many verdicts: a list of long runs must not read them all again."""
        key = _key(connection, run)
        with self._columns_lock:
            if key in self._outcomes:
                return self._outcomes[key]
        record = VerdictRecord
        query = select(record.outcome, func.count()).where(record.run_id == run.id, record.aggregator == run.aggregator)
        found: dict[Outcome, int] = {row[0]: row[1] for row in connection.execute(query.group_by(record.outcome))}
        self._remember(self._outcomes, key, found, kept=1_000)
        return found

    def _remember(self, known: OrderedDict[K, V], key: K, value: V, kept: int = _KEPT) -> None:
        with self._columns_lock:
            known[key] = value
            while len(known) > kept:
                known.popitem(last=False)


def _key(connection: Connection, run: Run) -> _VerdictKey:
    record = VerdictRecord
    query = select(func.count()).where(record.run_id == run.id, record.aggregator == run.aggregator)
    return _VerdictKey(run.id, run.aggregator, connection.execute(query).scalar_one())


def _labels(values: Sequence[int | None]) -> Ints:
    return np.array([NO_LABEL if value is None else value for value in values], dtype=np.int64)
