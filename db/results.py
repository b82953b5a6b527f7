"""What pages and exports read of a run: pages of rows, one row in full, every row in order.

A page is found in two steps: the ids of its rows (db.paging), then those few rows in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select

from core.errors import NotFound
from core.queries import ExportRow, RowDetail, RowQuery, RunPage, RunRow, ShownExample
from core.types import Correction, Judgement, Run, Verdict
from db.asked_again import replaced_judgements
from db.base import StoreBase, spans
from db.corrections import last_corrections, standing_corrections
from db.engine import reading
from db.models import ItemRecord, LibraryItemRecord, ShownRecord, VerdictRecord
from db.paging import find_page
from db.records import VERDICT_COLUMNS, item_of, select_items, verdict_of
from db.runs import get_run
from db.work import examples_by_item, judgements_by_item


class ResultStore(StoreBase):
    """Reads runs for pages and exports."""

    def rows(self, run_id: int, query: RowQuery) -> RunPage:
        """Return one page of a run's rows and how many match. A page beyond the last is empty. Raises NotFound."""
        with reading(self.engine) as connection:
            run = get_run(connection, run_id)
            ids, total = find_page(connection, run, query, self.searches)
            return RunPage(tuple(_run_rows(connection, run, ids)), total, query.page, query.page_size)

    def row(self, run_id: int, item_id: int) -> RowDetail:
        """Return everything known of one item in one run. Raises NotFound."""
        with reading(self.engine) as connection:
            run = get_run(connection, run_id)
            rows = _run_rows(connection, run, [item_id])
            if not rows or rows[0].item.sheet_id != run.sheet_id:
                raise NotFound(f"Run {run_id} has no item {item_id}.", zh=f"评判任务 {run_id} 中没有条目 {item_id}。")
            item = rows[0].item
            corrections = tuple(standing_corrections(connection, item_id))
            examples = examples_by_item(connection, run_id, [item_id]).get(item_id, ())
            before, after = (_neighbour(connection, run.sheet_id, item.position, forward=forward) for forward in (False, True))
            replaced = tuple(replaced_judgements(connection, run_id, item_id))
        return RowDetail(run, item, rows[0].judgements, examples, rows[0].verdict, corrections, before, after, replaced)

    def export_rows(self, run_id: int, chunk: int = 1_000) -> Iterator[ExportRow]:
        """Yield every row of a run in sheet order, with memory for `chunk` rows only. Raises NotFound."""
        run = self._run(run_id)
        after = -1
        while True:
            with reading(self.engine) as connection:
                window = select(ItemRecord.id).where(ItemRecord.sheet_id == run.sheet_id, ItemRecord.position > after)
                ids = connection.execute(window.order_by(ItemRecord.position).limit(chunk)).scalars().all()
                rows = _run_rows(connection, run, ids)
                shown = _shown(connection, run_id, ids)
                corrections = last_corrections(connection, ids)
            if not rows:
                return
            for row in rows:
                yield _export_row(row, shown.get(row.item.id, []), corrections.get(row.item.id))
            after = rows[-1].item.position

    def _run(self, run_id: int) -> Run:
        with reading(self.engine) as connection:
            return get_run(connection, run_id)


def _run_rows(connection: Connection, run: Run, item_ids: Sequence[int]) -> list[RunRow]:
    """Return the rows of these items, in the order of `item_ids`, with judgements in the panel's order."""
    judgements = judgements_by_item(connection, run.id, item_ids)
    places = {spec.id: place for place, spec in enumerate(run.panel.judges)}
    items = {}
    verdicts: dict[int, Verdict] = {}
    for ids in spans(item_ids):
        items.update({row[0]: item_of(row) for row in connection.execute(select_items().where(ItemRecord.id.in_(ids)))})
        query = select(*VERDICT_COLUMNS).where(VerdictRecord.run_id == run.id, VerdictRecord.item_id.in_(ids))
        verdicts.update({row.item_id: verdict_of(row) for row in connection.execute(query)})

    def in_panel_order(judgement: Judgement) -> tuple[int, str]:
        return places.get(judgement.judge_id, len(places)), judgement.judge_id

    return [
        RunRow(items[item_id], tuple(sorted(judgements.get(item_id, ()), key=in_panel_order)), verdicts.get(item_id))
        for item_id in item_ids
        if item_id in items
    ]


def _shown(connection: Connection, run_id: int, item_ids: Sequence[int]) -> dict[int, list[ShownExample]]:
    record, labelled = ShownRecord, LibraryItemRecord
    found: dict[int, list[ShownExample]] = {}
    for ids in spans(item_ids):
        query = (
            select(record.item_id, labelled.external_id, labelled.label, record.similarity)
            .join(labelled, labelled.id == record.library_item_id)
            .where(record.run_id == run_id, record.item_id.in_(ids))
            .order_by(record.item_id, record.rank)
        )
        for item_id, external_id, label, similarity in connection.execute(query):
            found.setdefault(item_id, []).append(ShownExample(external_id, label, similarity))
    return found


def _neighbour(connection: Connection, sheet_id: int, position: int, *, forward: bool) -> int | None:
    beyond = ItemRecord.position > position if forward else ItemRecord.position < position
    order = ItemRecord.position.asc() if forward else ItemRecord.position.desc()
    query = select(ItemRecord.id).where(ItemRecord.sheet_id == sheet_id, beyond).order_by(order).limit(1)
    return connection.execute(query).scalar_one_or_none()


def _export_row(row: RunRow, shown: Sequence[ShownExample], correction: Correction | None) -> ExportRow:
    return ExportRow(row.item, row.judgements, row.verdict, tuple(shown), correction)
