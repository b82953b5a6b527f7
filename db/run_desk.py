"""The runs in lists, and the columns that two runs are compared by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from sqlalchemy import Connection, Engine, and_, case, func, select

from core.desks import RunCounts, RunLine
from core.review import ReviewState
from core.types import Item, Outcome, Run
from db.base import StoreBase, now, spans
from db.engine import reading
from db.kept import Kept, VerdictKey, verdict_key
from db.models import ItemLabelRecord, ItemRecord, RunRecord, VerdictRecord
from db.progress import stored_rate
from db.records import item_of, run_of, select_items, select_runs
from db.runs import DELETED_KEPT, get_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int64]
    Floats: TypeAlias = NDArray[np.float64]

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


class RunDeskStore(StoreBase):
    """Reads runs side by side. Columns of sheets and finished verdicts are remembered for the next page."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._sheets: Kept[int, SheetColumns] = Kept(_KEPT)
        self._verdicts: Kept[VerdictKey, VerdictColumns] = Kept(_KEPT)
        self._outcomes: Kept[VerdictKey, dict[Outcome, int]] = Kept(1_000)

    def run_lines(self, limit: int = 50, offset: int = 0, *, deleted: bool = False) -> list[RunLine]:
        """Return runs, newest first, with their counts."""
        wanted = RunRecord.deleted_at >= now() - DELETED_KEPT if deleted else RunRecord.deleted_at.is_(None)
        query = select_runs().where(wanted).order_by(RunRecord.id.desc()).limit(limit).offset(offset)
        with reading(self.engine) as connection:
            runs = [run_of(row) for row in connection.execute(query)]
            return [self._line(connection, run) for run in runs]

    def run_total(self, *, deleted: bool = False) -> int:
        """Return how many runs there are."""
        wanted = RunRecord.deleted_at >= now() - DELETED_KEPT if deleted else RunRecord.deleted_at.is_(None)
        with reading(self.engine) as connection:
            return connection.execute(select(func.count()).select_from(RunRecord).where(wanted)).scalar_one()

    def run_line(self, run_id: int) -> RunLine:
        """Return one run with its counts, deleted or not. Raises NotFound."""
        with reading(self.engine) as connection:
            return self._line(connection, get_run(connection, run_id))

    def sheet_columns(self, sheet_id: int) -> SheetColumns:
        """Return the columns of a sheet; items never change, so they are read once."""
        return self._sheets.get(sheet_id, lambda: self._read_sheet(sheet_id))

    def _read_sheet(self, sheet_id: int) -> SheetColumns:
        record = ItemRecord
        query = select(record.id, record.dimension_id, record.gold)
        with reading(self.engine) as connection:
            rows = connection.execute(query.where(record.sheet_id == sheet_id).order_by(record.position)).all()
        ids, dimensions, gold = zip(*rows, strict=True) if rows else ((), (), ())
        return SheetColumns(np.array(ids, dtype=np.int64), dimensions, _labels(gold))

    def sheet_keys(self, sheet_id: int) -> list[SheetKey]:
        """Return what the items of a sheet are known again by, in sheet order."""
        record = ItemRecord
        query = select(record.external_id, record.content_hash).where(record.sheet_id == sheet_id).order_by(record.position)
        with reading(self.engine) as connection:
            return [SheetKey(*row) for row in connection.execute(query)]

    def verdict_columns(self, run: Run) -> VerdictColumns:
        """Return the verdicts of a run's aggregator."""
        with reading(self.engine) as connection:
            key = verdict_key(connection, run)
        return self._verdicts.get(key, lambda: self._read_verdicts(run))

    def _read_verdicts(self, run: Run) -> VerdictColumns:
        record = VerdictRecord
        query = select(record.item_id, record.label, record.expected).where(record.run_id == run.id, record.aggregator == run.aggregator)
        with reading(self.engine) as connection:
            rows = connection.execute(query.order_by(record.item_id)).all()
        ids, labels, expected = zip(*rows, strict=True) if rows else ((), (), ())
        return VerdictColumns(
            np.array(ids, dtype=np.int64),
            _labels(labels),
            np.array([np.nan if value is None else value for value in expected], dtype=np.float64),
        )

    def columns_at_hand(self, first: Run, second: Run) -> bool:
        """Return whether what two runs are compared by is remembered, so that comparing them reads few rows."""
        with reading(self.engine) as connection:
            verdicts = [verdict_key(connection, run) in self._verdicts for run in (first, second)]
        return all(verdicts) and all(run.sheet_id in self._sheets for run in (first, second))

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
        return RunLine(run, counts, run.deleted_at, stored_rate(connection, run.id))

    def _by_outcome(self, connection: Connection, run: Run) -> dict[Outcome, int]:
        """Return the counts by outcome, remembered for as many verdicts: a list of long runs must not read them all again."""
        record = VerdictRecord

        def count() -> dict[Outcome, int]:
            query = select(record.outcome, func.count()).where(record.run_id == run.id, record.aggregator == run.aggregator)
            return {row[0]: row[1] for row in connection.execute(query.group_by(record.outcome))}

        return self._outcomes.get(verdict_key(connection, run), count)


def _labels(values: Sequence[int | None]) -> Ints:
    return np.array([NO_LABEL if value is None else value for value in values], dtype=np.int64)
