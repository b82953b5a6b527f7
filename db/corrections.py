"""Corrections: a person's label for an item. They are appended; the current label is the last one, else the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select

from core.errors import NotFound
from core.types import Correction
from db.base import StoreBase, clean, now, spans
from db.engine import reading, writing
from db.models import CorrectionRecord, ItemRecord, VerdictRecord
from db.records import CORRECTION_COLUMNS, correction_of


class CorrectionStore(StoreBase):
    """Keeps what people said."""

    def add_correction(self, item_id: int, label: int, author: str, reason: str = "", run_id: int | None = None) -> Correction:
        """Append a correction and return it; `previous_label` is the item's current label (in `run_id`, where given).

        Raises NotFound for an unknown item.
        """
        with writing(self.engine) as connection:
            if connection.execute(select(ItemRecord.id).where(ItemRecord.id == item_id).with_for_update()).one_or_none() is None:
                raise NotFound(f"There is no item {item_id}.", zh=f"没有编号为 {item_id} 的条目。")
            previous = _current_label(connection, item_id, run_id)
            correction = Correction(item_id, label, previous, clean(author), clean(reason), now())
            connection.execute(
                insert(CorrectionRecord).values(
                    item_id=item_id,
                    run_id=run_id,
                    label=label,
                    previous_label=previous,
                    author=correction.author,
                    reason=correction.reason,
                    created_at=correction.created_at,
                )
            )
            return correction

    def corrections(self, item_id: int) -> list[Correction]:
        """Return an item's corrections, oldest first."""
        query = select(*CORRECTION_COLUMNS).where(CorrectionRecord.item_id == item_id).order_by(CorrectionRecord.id)
        with reading(self.engine) as connection:
            return [correction_of(row) for row in connection.execute(query)]

    def current_label(self, item_id: int, run_id: int | None = None) -> int | None:
        """Return an item's last correction, else its verdict in `run_id`, else None."""
        with reading(self.engine) as connection:
            return _current_label(connection, item_id, run_id)


def last_corrections(connection: Connection, item_ids: Sequence[int]) -> dict[int, Correction]:
    """Return the last correction of each item that has any."""
    found: dict[int, Correction] = {}
    for ids in spans(item_ids):
        last = (
            select(func.max(CorrectionRecord.id))
            .where(CorrectionRecord.item_id.in_(ids))
            .group_by(CorrectionRecord.item_id)
            .scalar_subquery()
        )
        for row in connection.execute(select(*CORRECTION_COLUMNS).where(CorrectionRecord.id.in_(last))):
            correction = correction_of(row)
            found[correction.item_id] = correction
    return found


def _current_label(connection: Connection, item_id: int, run_id: int | None) -> int | None:
    corrected = last_corrections(connection, [item_id]).get(item_id)
    if corrected is not None:
        return corrected.label
    query = select(VerdictRecord.label).where(VerdictRecord.run_id == run_id, VerdictRecord.item_id == item_id)
    return connection.execute(query).scalar_one_or_none()
