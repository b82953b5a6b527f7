"""Sheets, their items and their problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Connection, func, insert, select, update

from core.errors import NotFound
from core.types import Item, RowProblem, Severity, Sheet, SheetRow
from db.base import INSERT_CHUNK, StoreBase, chunked, clean, now, table_of
from db.engine import reading, writing
from db.models import ItemRecord, ProblemRecord, SheetRecord
from db.records import item_of, select_items, sheet_of, sheet_row_values


class SheetStore(StoreBase):
    """Keeps uploaded sheets."""

    def add_sheet(
        self,
        *,
        name: str,
        sha256: str,
        format: str,
        encoding: str,
        worksheet: str,
        columns: Sequence[str],
        mapping: Mapping[str, str],
        rows: Iterable[SheetRow],
        problems: Iterable[RowProblem] = (),
        skipped: int = 0,
    ) -> Sheet:
        """Store a sheet with its rows and problems in one transaction, and return it.

        `rows` are read once, 5,000 at a time, so memory does not grow with the sheet; `skipped` counts the rows that
        the user agreed to leave out. Raises StoreError; nothing is stored then.
        """
        counts: Counter[str] = Counter()
        with writing(self.engine) as connection:
            values = {
                "name": name,
                "sha256": sha256,
                "format": format,
                "encoding": encoding,
                "worksheet": worksheet,
                "columns": list(columns),
                "mapping": dict(mapping),
                "rows": 0,
                "skipped": skipped,
                "dimension_counts": {},
                "created_at": now(),
            }
            sheet_id = int(connection.execute(insert(SheetRecord).values(values).returning(SheetRecord.id)).scalar_one())
            for chunk in chunked(rows, INSERT_CHUNK):
                counts.update(row.dimension_id for row in chunk)
                connection.execute(insert(table_of(ItemRecord)), [_item_values(sheet_id, row) for row in chunk])
            _add_problems(connection, sheet_id, problems)
            totals = {"rows": counts.total(), "dimension_counts": dict(sorted(counts.items()))}
            connection.execute(update(SheetRecord).where(SheetRecord.id == sheet_id).values(totals))
            return _sheet(connection, sheet_id)

    def sheet(self, sheet_id: int) -> Sheet:
        """Return a sheet. Raises NotFound."""
        with reading(self.engine) as connection:
            return _sheet(connection, sheet_id)

    def sheets(self, limit: int = 50) -> list[Sheet]:
        """Return the latest sheets, newest first."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(table_of(SheetRecord)).order_by(SheetRecord.id.desc()).limit(limit))
            return [sheet_of(row) for row in rows]

    def find_sheet(self, sha256: str, worksheet: str, mapping: Mapping[str, str], skipped: int = 0) -> Sheet | None:
        """Return the latest sheet read from the same bytes, worksheet and mapping with as many rows skipped."""
        query = select(table_of(SheetRecord)).where(SheetRecord.sha256 == sha256).order_by(SheetRecord.id.desc())
        with reading(self.engine) as connection:
            for row in connection.execute(query):
                if (row.worksheet, row.mapping, row.skipped) == (worksheet, dict(mapping), skipped):
                    return sheet_of(row)
        return None

    def dimension_counts(self, sheet_id: int) -> dict[str, int]:
        """Return how many items of each dimension a sheet has. Raises NotFound."""
        with reading(self.engine) as connection:
            counts = connection.execute(select(SheetRecord.dimension_counts).where(SheetRecord.id == sheet_id)).scalar_one_or_none()
        if counts is None:
            raise _no_sheet(sheet_id)
        return counts

    def problems(self, sheet_id: int, limit: int | None = None, severity: Severity | None = None) -> list[RowProblem]:
        """Return what was wrong in a sheet, in the order it was found; at most `limit`."""
        record = ProblemRecord
        query = (
            select(record.code, record.severity, record.row, record.column, record.value, record.message, record.external_id)
            .where(record.sheet_id == sheet_id)
            .order_by(record.rank)
            .limit(limit)
        )
        if severity is not None:
            query = query.where(record.severity == severity)
        with reading(self.engine) as connection:
            return [RowProblem(*row) for row in connection.execute(query)]

    def problem_count(self, sheet_id: int) -> int:
        """Return how many problems a sheet had."""
        with reading(self.engine) as connection:
            return connection.execute(select(func.count()).where(ProblemRecord.sheet_id == sheet_id)).scalar_one()

    def items(self, sheet_id: int, after_position: int = -1, limit: int = 1_000) -> list[Item]:
        """Return at most `limit` items above `after_position`, in sheet order."""
        query = (
            select_items()
            .where(ItemRecord.sheet_id == sheet_id, ItemRecord.position > after_position)
            .order_by(ItemRecord.position)
            .limit(limit)
        )
        with reading(self.engine) as connection:
            return [item_of(row) for row in connection.execute(query)]

    def iter_items(self, sheet_id: int, chunk: int = 1_000) -> Iterator[Item]:
        """Yield every item of a sheet in its order, reading `chunk` at a time."""
        after = -1
        while items := self.items(sheet_id, after, chunk):
            yield from items
            after = items[-1].position


def _item_values(sheet_id: int, row: SheetRow) -> dict[str, object]:
    return {
        **sheet_row_values(row),
        "sheet_id": sheet_id,
        "position": row.position,
        "gold": row.gold,
        "source_row": row.source.row,
        "extra": dict(row.extra),
    }


def _add_problems(connection: Connection, sheet_id: int, problems: Iterable[RowProblem]) -> None:
    for chunk in chunked(enumerate(problems), INSERT_CHUNK):
        connection.execute(
            insert(table_of(ProblemRecord)),
            [
                {
                    "sheet_id": sheet_id,
                    "rank": rank,
                    "code": problem.code,
                    "severity": problem.severity,
                    "row": problem.row,
                    "column": clean(problem.column),
                    "value": clean(problem.value),
                    "message": {language: clean(text) for language, text in problem.message.items()},
                    "external_id": clean(problem.external_id),
                }
                for rank, problem in chunk
            ],
        )


def _sheet(connection: Connection, sheet_id: int) -> Sheet:
    row = connection.execute(select(table_of(SheetRecord)).where(SheetRecord.id == sheet_id)).one_or_none()
    if row is None:
        raise _no_sheet(sheet_id)
    return sheet_of(row)


def _no_sheet(sheet_id: int) -> NotFound:
    return NotFound(f"There is no sheet {sheet_id}; it may have been stored in another PINGPAN_HOME.", zh=f"没有编号为 {sheet_id} 的表格。")
