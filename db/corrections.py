"""What people said of items: acts that are appended, and what is true of an item by them.

`corrections` is the log. `person_labels`, `item_labels` and the columns `review` and `people` of verdicts are what
core.review.fold makes of it, written in the transaction that appends, and made again from the log by `refold`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from core.errors import LabelError, NotFound
from core.review import Flag, ItemHistory, ItemState, LabelEvent, Outcomes, PersonLabel, RunAppearance, fold
from core.types import Correction, CorrectionKind, Item
from db.base import AnyRow, AnySelect, StoreBase, clean, dialect_insert, now, spans, table_of
from db.engine import reading, writing
from db.models import (
    CorrectionRecord,
    ItemLabelRecord,
    ItemRecord,
    LeaseRecord,
    PersonLabelRecord,
    RunRecord,
    SeenRecord,
    VerdictRecord,
)
from db.records import CORRECTION_COLUMNS, VERDICT_COLUMNS, correction_of, item_of, select_items, verdict_of
from db.runs import get_run
from db.work import judgements_by_item


@dataclass(frozen=True, slots=True)
class Act:
    """What a person does with an item, before it is appended (see core.review.LabelEvent)."""

    kind: CorrectionKind
    author: str
    label: int | None = None
    reason: str = ""
    note: str = ""
    flags: tuple[Flag, ...] = ()
    blind: bool = False
    audit: bool = False
    retracts: int | None = None


class CorrectionStore(StoreBase):
    """Keeps what people said."""

    def add_correction(self, item_id: int, label: int, author: str, reason: str = "", run_id: int | None = None) -> Correction:
        """Append a label and return it; `previous_label` is the item's current label (in `run_id`, where given).

        Raises NotFound for an unknown item.
        """
        event = self.append(run_id, item_id, Act(CorrectionKind.LABEL, author, label, reason)).event
        return Correction(item_id, label, event.previous_label, event.author, event.reason, event.created_at)

    def append(self, run_id: int | None, item_id: int, act: Act) -> Outcomes:
        """Append an act, derive the item's state anew and give back the author's lease, in one transaction.

        A label stays blind only as the author's first on this item; it counts for the audit only on a row of the run's
        audit share. Raises NotFound for an unknown item.
        """
        with writing(self.engine) as connection:
            _locked_item(connection, item_id)
            return _append(connection, run_id, item_id, act)

    def saw(self, author: str, item_id: int) -> None:
        """Keep that somebody was shown the votes of an item, once. An unknown item is left alone."""
        author = clean(author)
        with reading(self.engine) as connection:
            known = connection.execute(select(ItemRecord.id).where(ItemRecord.id == item_id)).first() is not None
            if not known or _has_seen(connection, item_id, author):
                return
        with writing(self.engine) as connection:
            statement = dialect_insert(connection, SeenRecord).values(item_id=item_id, author=author, seen_at=now())
            connection.execute(statement.on_conflict_do_nothing())

    def undo(self, run_id: int, author: str, item_id: int | None = None) -> Outcomes:
        """Append an undo of the author's latest act in a run (on `item_id`, where given) that still stands.

        Raises LabelError when there is none.
        """
        record = CorrectionRecord
        gone = select(record.retracts).where(record.run_id == run_id, record.author == author, record.retracts.is_not(None))
        query = (
            select(record.id, record.item_id)
            .where(record.run_id == run_id, record.author == author, record.kind != CorrectionKind.UNDO, record.id.not_in(gone))
            .order_by(record.id.desc())
            .limit(1)
        )
        if item_id is not None:
            query = query.where(record.item_id == item_id)
        with writing(self.engine) as connection:
            if connection.dialect.name == "postgresql":  # one undo of one person at a time; SQLite has one writer anyway
                connection.execute(select(func.pg_advisory_xact_lock(run_id, func.hashtext(author))))
            last = connection.execute(query).one_or_none()
            if last is None:
                raise LabelError(f"{author} has nothing left to undo in run {run_id}.", zh=f"{author} 在任务 {run_id} 中没有可撤销的操作。")
            _locked_item(connection, last.item_id)
            return _append(connection, run_id, last.item_id, Act(CorrectionKind.UNDO, author, retracts=last.id))

    def corrections(self, item_id: int) -> list[Correction]:
        """Return an item's labels and adjudications that were not taken back, oldest first."""
        with reading(self.engine) as connection:
            return standing_corrections(connection, item_id)

    def events(self, item_id: int) -> list[LabelEvent]:
        """Return every act on an item, oldest first."""
        with reading(self.engine) as connection:
            return _events(connection, [item_id])

    def item_state(self, item_id: int) -> ItemState:
        """Return what is true of an item by all acts on it."""
        with reading(self.engine) as connection:
            return fold(_events(connection, [item_id]))

    def item_history(self, item_id: int) -> ItemHistory:
        """Return an item and its twins (equal dimension, prompt and text) in all runs that are not deleted. Raises NotFound."""
        with reading(self.engine) as connection:
            row = connection.execute(select_items().where(ItemRecord.id == item_id)).one_or_none()
            if row is None:
                raise _no_item(item_id)
            item = item_of(row)
            twins = connection.execute(select(ItemRecord.id).where(ItemRecord.content_hash == item.content_hash)).scalars().all()
            events = _events(connection, twins)
            own = fold(event for event in events if event.item_id == item_id)
            return ItemHistory(item, _appearances(connection, twins), tuple(events), own)

    def current_label(self, item_id: int, run_id: int | None = None) -> int | None:
        """Return people's label of an item where they agree or one settled it, else its verdict in `run_id`, else None."""
        with reading(self.engine) as connection:
            return _current_label(connection, item_id, run_id)

    def run_item(self, run_id: int, item_id: int) -> Item:
        """Return an item of a run. Raises NotFound where the run has no such item."""
        query = select_items().join(RunRecord, RunRecord.sheet_id == ItemRecord.sheet_id)
        with reading(self.engine) as connection:
            row = connection.execute(query.where(RunRecord.id == run_id, ItemRecord.id == item_id)).one_or_none()
        if row is None:
            raise NotFound(f"Run {run_id} has no item {item_id}.", zh=f"评判任务 {run_id} 中没有条目 {item_id}。")
        return item_of(row)

    def refold(self) -> int:
        """Derive the state of every item that people touched anew from the log; return how many items that were."""
        with writing(self.engine) as connection:
            touched = connection.execute(select(CorrectionRecord.item_id).distinct()).scalars().all()
            for item_id in touched:
                _store_state(connection, item_id, fold(_events(connection, [item_id])))
            return len(touched)


def last_corrections(connection: Connection, item_ids: Sequence[int]) -> dict[int, Correction]:
    """Return, of each item whose label people gave or settled, the correction that decided it."""
    found: dict[int, Correction] = {}
    for ids in spans(item_ids):
        query = select(*CORRECTION_COLUMNS).join(ItemLabelRecord, ItemLabelRecord.event_id == CorrectionRecord.id)
        for row in connection.execute(query.where(ItemLabelRecord.item_id.in_(ids))):
            correction = correction_of(row)
            found[correction.item_id] = correction
    return found


def standing_corrections(connection: Connection, item_id: int) -> list[Correction]:
    """Return an item's labels and adjudications that were not taken back, oldest first."""
    record = CorrectionRecord
    gone = select(record.retracts).where(record.item_id == item_id, record.retracts.is_not(None))
    query = select(*CORRECTION_COLUMNS).where(record.item_id == item_id, record.label.is_not(None), record.id.not_in(gone))
    return [correction_of(row) for row in connection.execute(query.order_by(record.id))]


def _append(connection: Connection, run_id: int | None, item_id: int, act: Act) -> Outcomes:
    before = _events(connection, [item_id])
    previous = _current_label(connection, item_id, run_id)
    author = clean(act.author)
    spoken = any(event.author == author and event.label is not None for event in before)
    audited = select(VerdictRecord.audit).where(VerdictRecord.run_id == run_id, VerdictRecord.item_id == item_id)
    values: dict[str, Any] = {
        "item_id": item_id,
        "run_id": run_id,
        "kind": act.kind,
        "label": act.label,
        "previous_label": previous,
        "author": author,
        "reason": clean(act.reason),
        "note": clean(act.note),
        "flags": [flag.value for flag in act.flags],
        "blind": act.blind and not spoken and not _has_seen(connection, item_id, author),
        "audit": act.audit and connection.execute(audited).scalar_one_or_none() is not None,
        "retracts": act.retracts,
        "created_at": now(),
    }
    event_id = connection.execute(insert(CorrectionRecord).values(values).returning(CorrectionRecord.id)).scalar_one()
    events = _events(connection, [item_id])
    state = fold(events)
    _store_state(connection, item_id, state)
    lease = LeaseRecord
    connection.execute(delete(lease).where(lease.run_id == run_id, lease.item_id == item_id, lease.annotator == author))
    event = next(event for event in events if event.id == event_id)
    return Outcomes(event, state, _current_label(connection, item_id, run_id))


def _has_seen(connection: Connection, item_id: int, author: str) -> bool:
    record = SeenRecord
    return connection.execute(select(record.item_id).where(record.item_id == item_id, record.author == author)).first() is not None


def _store_state(connection: Connection, item_id: int, state: ItemState) -> None:
    connection.execute(delete(PersonLabelRecord).where(PersonLabelRecord.item_id == item_id))
    if state.people:
        connection.execute(insert(table_of(PersonLabelRecord)), [_person_values(item_id, person) for person in state.people])
    short = {"review": state.state, "people": state.labellers}
    statement = dialect_insert(connection, ItemLabelRecord).values(item_id=item_id, label=state.label, event_id=state.event_id, **short)
    changed = {name: statement.excluded[name] for name in ("review", "people", "label", "event_id")}
    connection.execute(statement.on_conflict_do_update(index_elements=["item_id"], set_=changed))
    runs = select(RunRecord.id).join(ItemRecord, ItemRecord.sheet_id == RunRecord.sheet_id).where(ItemRecord.id == item_id)
    record = VerdictRecord
    connection.execute(update(record).where(record.run_id.in_(runs), record.item_id == item_id).values(**short))


def _person_values(item_id: int, person: PersonLabel) -> dict[str, object]:
    return {
        "item_id": item_id,
        "author": person.author,
        "label": person.label,
        "blind_label": person.blind_label,
        "skipped": person.skipped,
        "audit": person.audit,
        "event_id": person.event_id,
        "created_at": person.created_at,
    }


def _events(connection: Connection, item_ids: Sequence[int]) -> list[LabelEvent]:
    record = CorrectionRecord
    rows: list[AnyRow] = []
    for ids in spans(item_ids):
        rows += connection.execute(select(table_of(record)).where(record.item_id.in_(ids))).all()
    events = [_event(row) for row in sorted(rows, key=lambda row: int(row.id))]
    gone = {event.retracts for event in events if event.retracts is not None}
    return [replace(event, retracted=True) if event.id in gone else event for event in events]


def _event(row: AnyRow) -> LabelEvent:
    return LabelEvent(
        row.id,
        row.item_id,
        row.run_id,
        row.kind,
        row.label,
        row.previous_label,
        row.author,
        row.reason,
        row.note,
        tuple(Flag(flag) for flag in row.flags),
        row.blind,
        row.audit,
        row.created_at,
        row.retracts,
    )


def _appearances(connection: Connection, item_ids: Sequence[int]) -> tuple[RunAppearance, ...]:
    """Return the items in every run that is not deleted, latest run first."""
    found = []
    query: AnySelect = select(RunRecord.id, ItemRecord.id).join(ItemRecord, ItemRecord.sheet_id == RunRecord.sheet_id)
    for ids in spans(item_ids):
        pairs = connection.execute(query.where(ItemRecord.id.in_(ids), RunRecord.deleted_at.is_(None))).all()
        for run_id, item_id in sorted(pairs, key=lambda pair: (-int(pair[0]), int(pair[1]))):
            run = get_run(connection, run_id)
            places = {spec.id: place for place, spec in enumerate(run.panel.judges)}
            answers = judgements_by_item(connection, run_id, [item_id]).get(item_id, [])
            answers.sort(key=lambda answer: places.get(answer.judge_id, len(places)))
            verdict = select(*VERDICT_COLUMNS).where(VerdictRecord.run_id == run_id, VerdictRecord.item_id == item_id)
            row = connection.execute(verdict).one_or_none()
            found.append(RunAppearance(run, item_id, tuple(answers), None if row is None else verdict_of(row)))
    return tuple(found)


def _locked_item(connection: Connection, item_id: int) -> None:
    if connection.execute(select(ItemRecord.id).where(ItemRecord.id == item_id).with_for_update()).one_or_none() is None:
        raise _no_item(item_id)


def _no_item(item_id: int) -> NotFound:
    return NotFound(f"There is no item {item_id}.", zh=f"没有编号为 {item_id} 的条目。")


def _current_label(connection: Connection, item_id: int, run_id: int | None) -> int | None:
    known = connection.execute(select(ItemLabelRecord.label).where(ItemLabelRecord.item_id == item_id)).scalar_one_or_none()
    if known is not None:
        return known
    query = select(VerdictRecord.label).where(VerdictRecord.run_id == run_id, VerdictRecord.item_id == item_id)
    return connection.execute(query).scalar_one_or_none()
