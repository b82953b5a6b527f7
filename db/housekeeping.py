"""What is done beside the runs: runs whose near-duplicates are to be marked, and deleted runs that are kept no longer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Table, delete, select, update

from core.errors import NotFound
from core.types import RunState
from db.base import StoreBase
from db.engine import reading, writing
from db.models import Base, RunRecord
from db.runs import get_run

# So many rows of a run go in one transaction: others wait for it some tens of milliseconds.
_ROWS_AT_ONCE = 1_000


class HousekeepingStore(StoreBase):
    """Finds and does what nobody waits for."""

    def unmarked_runs(self) -> list[int]:
        """Return the finished runs whose near-duplicates are not marked by their present verdicts, the latest first."""
        record = RunRecord
        query = select(record.id).where(
            record.state == RunState.DONE, record.deleted_at.is_(None), record.items > 0, record.families_of != record.aggregator
        )
        with reading(self.engine) as connection:
            return list(connection.execute(query.order_by(record.id.desc())).scalars())

    def expired_runs(self, before: datetime) -> list[int]:
        """Return the runs that were deleted before a moment."""
        query = select(RunRecord.id).where(RunRecord.deleted_at < before).order_by(RunRecord.id)
        with reading(self.engine) as connection:
            return list(connection.execute(query).scalars())

    def purge_run(self, run_id: int) -> None:
        """Remove a deleted run for good: judgements, verdicts, examples shown, leases. Raises NotFound, for one that is not deleted too.

        What people did in it stays, as acts on their items. It goes in pieces; cut off in between, it goes on when called again.
        """
        with reading(self.engine) as connection:
            if get_run(connection, run_id).deleted_at is None:
                raise NotFound(f"There is no deleted run {run_id}; delete it first.", zh=f"没有已删除的任务 {run_id}；请先删除它。")
        for table in _referring():
            while not self._purge_piece(table, run_id):
                pass
        with writing(self.engine) as connection:
            connection.execute(delete(RunRecord).where(RunRecord.id == run_id, RunRecord.deleted_at.is_not(None)))

    def _purge_piece(self, table: Table, run_id: int) -> bool:
        """Remove a piece of what a table holds of a run; return whether nothing is left."""
        mine = table.c.run_id == run_id
        with writing(self.engine) as connection:
            if table.c.run_id.nullable:
                connection.execute(update(table).where(mine).values(run_id=None))
            elif "item_id" not in table.c:
                connection.execute(delete(table).where(mine))
            else:
                return _remove_rows(connection, table, run_id)
        return True


def _referring() -> list[Table]:
    """Return the tables that name runs."""
    tables = Base.metadata.sorted_tables
    return [
        table for table in tables if "run_id" in table.c and any(key.column.table.name == "runs" for key in table.c.run_id.foreign_keys)
    ]


def _remove_rows(connection: Connection, table: Table, run_id: int) -> bool:
    items = select(table.c.item_id).where(table.c.run_id == run_id).order_by(table.c.item_id).limit(_ROWS_AT_ONCE)
    last = connection.execute(items.offset(_ROWS_AT_ONCE - 1).limit(1)).scalar_one_or_none()
    statement = delete(table).where(table.c.run_id == run_id)
    connection.execute(statement if last is None else statement.where(table.c.item_id <= last))
    return last is None
