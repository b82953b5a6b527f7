"""Which rows stand in a review queue, and in which order: two streams of one index, mixed (core.review.Mixture).

The plain stream is `ix_verdicts_queue`: representatives of near-duplicate families first, then by expected error,
divergence, place in the sheet. The audit stream is the random order of the run's audit share. Only the view ALL has both;
every other view is one stream.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    CompoundSelect,
    Connection,
    Integer,
    and_,
    any_,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union,
)

from core.review import AUDIT_SHARE, GOLD, VERDICT, Mixture, QueueQuery, QueueScope, QueueView, ReviewState, Vote, unread_statuses
from core.types import Outcome, Run
from db.base import AnySelect, clean
from db.kept import Kept, VerdictKey, verdict_key
from db.models import ItemRecord, LeaseRecord, PersonLabelRecord, VerdictRecord
from db.records import STATUS_BITS
from db.searches import SearchHits

_UNREAD = sum(STATUS_BITS[status] for status in unread_statuses())
_OWN = {QueueView.MINE, QueueView.SKIPPED}
_SIZES_KEPT = 500


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows of the two streams are listed, and how many have left the queue."""

    plain: int
    audited: int
    done: int


@dataclass(frozen=True, slots=True)
class SizesKey:
    """What the sizes of a view depend on, whoever has labelled what."""

    verdicts: VerdictKey
    view: QueueView
    dimension_id: str
    label: int | None
    outcome: Outcome | None
    low_confidence: float


class QueueMemory:
    """What is remembered between pages of queues: the store's searches, and the sizes of views of finished runs before people's labels."""

    def __init__(self, searches: SearchHits) -> None:
        self.searches = searches
        self.streams: Kept[SizesKey, tuple[int, int]] = Kept(_SIZES_KEPT)
        self.views: Kept[SizesKey, list[int]] = Kept(_SIZES_KEPT)


class QueueFinder:
    """Finds rows of one run's queue for one annotator. `free_at`, where given, leaves out rows that others have leased then."""

    def __init__(
        self, connection: Connection, run: Run, query: QueueQuery, annotator: str, memory: QueueMemory, free_at: datetime | None = None
    ) -> None:
        self.connection = connection
        self.run = run
        self.query = query
        self.annotator = annotator
        self.memory = memory
        self.free_at = free_at
        self.mixed = query.view is QueueView.ALL
        self._counts: Counts | None = None

    def total(self) -> int:
        """Return how many rows are listed."""
        counts = self.counts()
        return counts.plain + counts.audited

    def page(self, start: int, size: int) -> list[int]:
        """Return the ids of `size` rows from place `start` on."""
        if not self.mixed:
            return self._ids(self._ordered(), start, size)
        mixture = self.mixture()
        size = max(0, min(size, self.total() - start))
        before, after = mixture.audited_before(start), mixture.audited_before(start + size)
        audited = self._ids(self._stream(audited=True), before, after - before)
        plain = self._ids(self._stream(audited=False), start - before, size - (after - before))
        return _interleaved(mixture, start, plain, audited)

    def place(self, item_id: int) -> int | None:
        """Return the place of a row in the queue, None where it is not listed."""
        record = VerdictRecord
        row = self.connection.execute(
            self._listed(record.audit, record.duplicate, record.expected_error, record.disagreement, record.position).where(
                record.item_id == item_id
            )
        ).one_or_none()
        if row is None:
            return None
        audited = row.audit is not None
        if self.query.view in _OWN:
            ids = self._ids(self._ordered())
            return ids.index(item_id) if item_id in ids else None
        if self.query.view is QueueView.AUDIT:
            return self._count(
                self._listed(record.item_id).where(tuple_(record.audit, record.item_id) < tuple_(row.audit, literal(item_id)))
            )
        if self.mixed and audited:
            before = self._stream(audited=True).where(tuple_(record.audit, record.item_id) < tuple_(row.audit, literal(item_id)))
            return self.mixture().place_of(self._count(before), audited=True)
        earlier = or_(
            record.duplicate < row.duplicate,
            and_(record.duplicate == row.duplicate, record.expected_error > row.expected_error),
            and_(
                record.duplicate == row.duplicate,
                record.expected_error == row.expected_error,
                or_(
                    record.disagreement > row.disagreement,
                    and_(record.disagreement == row.disagreement, record.position < row.position),
                ),
            ),
        )
        stream = self._stream(audited=False) if self.mixed else self._listed(record.item_id)
        index = self._count(stream.where(earlier))
        return self.mixture().place_of(index, audited=False) if self.mixed else index

    def lists(self, item_id: int) -> bool:
        """Return whether a row is listed."""
        record = VerdictRecord
        return self.connection.execute(self._listed(record.item_id).where(record.item_id == item_id)).one_or_none() is not None

    def counts(self) -> Counts:
        """Return the sizes of the streams (asked once)."""
        if self._counts is None:
            key = self.sizes_key()
            self._counts = self._counted() if key is None else self._derived(key)
        return self._counts

    def sizes_key(self) -> SizesKey | None:
        """Return under what the sizes of the view are remembered; None where they change with labels, or are those of a search."""
        query = self.query
        if query.search or query.votes or query.view in {*_OWN, QueueView.ADJUDICATION}:
            return None
        verdicts = verdict_key(self.connection, self.run)
        if verdicts is None:
            return None
        return SizesKey(verdicts, query.view, query.dimension_id, query.label, query.outcome, query.low_confidence)

    def _counted(self) -> Counts:
        listed, audit = self._in_scope(), self._audit()
        return Counts(*self._sums(self.conditions(), and_(listed, ~audit), and_(listed, audit), ~listed))

    def _derived(self, key: SizesKey) -> Counts:
        """Return the sizes from those of the whole view and from the few rows that people have touched or have now."""
        audit, listed = self._audit(), self._in_scope()
        plain, audited = self.memory.streams.get(key, lambda: self._streams(audit))
        few = [*self.conditions(), self._touched_by_anybody()]
        inside = self.query.scope is QueueScope.DONE
        which = listed if inside else ~listed
        some_plain, some_audited = self._sums(few, and_(which, ~audit), and_(which, audit))
        if inside:
            return Counts(some_plain, some_audited, plain + audited - some_plain - some_audited)
        return Counts(plain - some_plain, audited - some_audited, some_plain + some_audited)

    def _streams(self, audit: ColumnElement[bool]) -> tuple[int, int]:
        plain, audited = self._sums(self.conditions(), ~audit, audit)
        return plain, audited

    def _sums(self, rows: Sequence[ColumnElement[bool]], *wanted: ColumnElement[bool]) -> list[int]:
        found = self.connection.execute(select(*map(_sum, wanted)).select_from(VerdictRecord).where(*rows)).one()
        return [int(value or 0) for value in found]

    def _audit(self) -> ColumnElement[bool]:
        return VerdictRecord.audit.is_not(None) if self.mixed else literal(value=False)

    def _touched_by_anybody(self) -> ColumnElement[bool]:
        """Return a condition that holds for every row outside of the open queue: labelled, passed over, or leased."""
        leased = [select(LeaseRecord.item_id).where(LeaseRecord.run_id == self.run.id)] if self.free_at is not None else []
        return VerdictRecord.item_id.in_(select_touched(self.run.id, self.annotator, *leased))

    def mixture(self) -> Mixture:
        """Return how the streams share the queue; what has left it counts for whoever takes the first row."""
        counts = self.counts()
        return Mixture(counts.plain, counts.audited, AUDIT_SHARE, counts.done)

    def _ordered(self) -> AnySelect:
        record = VerdictRecord
        if self.query.view is QueueView.AUDIT:
            return self._listed(record.item_id).order_by(record.audit, record.item_id)
        if self.query.view in _OWN:
            person = PersonLabelRecord
            found = self._listed(record.item_id).join(person, and_(person.item_id == record.item_id, person.author == self.annotator))
            return found.order_by(person.event_id.desc())
        return self._listed(record.item_id).order_by(*_worst_first())

    def _stream(self, *, audited: bool) -> AnySelect:
        record = VerdictRecord
        if audited:
            return self._listed(record.item_id).where(record.audit.is_not(None)).order_by(record.audit, record.item_id)
        return self._listed(record.item_id).where(record.audit.is_(None)).order_by(*_worst_first())

    def _listed(self, *columns: Any) -> AnySelect:
        return select(*columns).where(*self.conditions(), self._in_scope())

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what a row must be for the view and the filters, whoever has labelled it."""
        record, query = VerdictRecord, self.query
        found = [record.run_id == self.run.id, *self._view(query.view)]
        if query.dimension_id:
            found.append(record.dimension_id == query.dimension_id)
        if query.label is not None:
            found.append(record.label == query.label)
        if query.outcome is not None:
            found.append(record.outcome == query.outcome)
        if query.search:
            found.append(self._search(query.search))
        return found + self._votes(query.votes)

    def _view(self, view: QueueView) -> list[ColumnElement[bool]]:
        condition = view_condition(view, self.query.low_confidence)
        if condition is not None:
            return [condition]
        if view in _OWN:
            return [VerdictRecord.item_id.in_(_touched(self.annotator, skipped=view is QueueView.SKIPPED))]
        return []

    def _in_scope(self) -> ColumnElement[bool]:
        record, view = VerdictRecord, self.query.view
        scope = self.query.scope
        listed: ColumnElement[bool] = true()
        if scope is QueueScope.DONE:
            listed = record.people > 0
        elif scope is QueueScope.OPEN and view is not QueueView.ADJUDICATION and view not in _OWN:
            # Where one person is enough, whoever has labelled a row has closed it: only what they skipped is looked up.
            passed = _touched(self.annotator, skipped=True if self.query.people <= 1 else None)
            listed = and_(record.people < max(1, self.query.people), record.item_id.not_in(passed))
        if self.free_at is not None:
            lease = LeaseRecord
            others = select(lease.item_id).where(
                lease.run_id == self.run.id, lease.annotator != self.annotator, lease.expires_at > self.free_at
            )
            listed = and_(listed, record.item_id.not_in(others))
        return listed

    def _search(self, wanted: str) -> ColumnElement[bool]:
        hits = self.memory.searches.find(self.connection, self.run.sheet_id, clean(wanted))
        if self.connection.dialect.name == "postgresql":
            return VerdictRecord.item_id == any_(cast(list(hits), ARRAY(Integer)))
        # One parameter, however many hits.
        known = func.json_each(json.dumps(list(hits))).table_valued("value")
        return VerdictRecord.item_id.in_(select(known.c.value))

    def _votes(self, votes: Sequence[Vote]) -> list[ColumnElement[bool]]:
        record = VerdictRecord
        found: list[ColumnElement[bool]] = []
        places = {spec.id: place for place, spec in enumerate(self.run.panel.judges)}
        wanted: dict[int, str] = {}
        for vote in votes:
            if vote.person:
                person = PersonLabelRecord
                given = person.blind_label if vote.blind else person.label
                found.append(record.item_id.in_(select(person.item_id).where(person.author == vote.rater, given == vote.label)))
            elif vote.rater == VERDICT:
                found.append(record.label == vote.label)
            elif vote.rater == GOLD:
                known = select(ItemRecord.id).where(ItemRecord.sheet_id == self.run.sheet_id, ItemRecord.gold == vote.label)
                found.append(record.item_id.in_(known))
            elif vote.rater in places:
                wanted[places[vote.rater]] = str(vote.label)
            else:
                found.append(literal(value=False))
        if wanted:
            found.append(record.votes.in_(self._patterns(wanted)))
        return found

    def _patterns(self, wanted: dict[int, str]) -> list[str]:
        """Return the patterns of votes that have these labels at these places of the panel."""
        record = VerdictRecord
        known = self.connection.execute(select(record.votes).where(record.run_id == self.run.id).distinct()).scalars()
        return [pattern for pattern in known if _matches(pattern.split(","), wanted)]

    def _ids(self, statement: AnySelect, start: int = 0, size: int | None = None) -> list[int]:
        if size is not None and size <= 0:
            return []
        return list(self.connection.execute(statement.offset(start or None).limit(size)).scalars())

    def _count(self, statement: AnySelect) -> int:
        return self.connection.execute(select(func.count()).select_from(statement.order_by(None).subquery())).scalar_one()


def select_touched(run_id: int, annotator: str, *more: AnySelect) -> CompoundSelect[Any]:
    """Return the items of a run that anybody has labelled or settled, those that the annotator has labelled or skipped, and `more`."""
    record = VerdictRecord
    # The literal is what the partial index is made with.
    reviewed = select(record.item_id).where(record.run_id == run_id, record.review != literal_column("'open'"))
    return union(reviewed, _touched(annotator), *more)


def view_condition(view: QueueView, low_confidence: float) -> ColumnElement[bool] | None:
    """Return what a verdict must be for a view, None for the views that are everybody's own and for ALL."""
    record = VerdictRecord
    if view is QueueView.DISAGREEMENT:
        return record.outcome.in_([Outcome.MAJORITY, Outcome.TIE])
    if view is QueueView.LOW_CONFIDENCE:
        return record.confidence < low_confidence
    if view is QueueView.TIES:
        return record.outcome == Outcome.TIE
    if view is QueueView.UNREAD:
        return or_(record.statuses.op("&")(_UNREAD) != 0, record.outcome == Outcome.NO_QUORUM)
    if view is QueueView.AUDIT:
        return record.audit.is_not(None)
    if view is QueueView.ADJUDICATION:
        return record.review == ReviewState.CONFLICT
    return None


def own_condition(annotator: str, *, skipped: bool) -> ColumnElement[bool]:
    """Return that the annotator holds a label of a verdict's item (or, `skipped`, passed it over)."""
    return VerdictRecord.item_id.in_(_touched(annotator, skipped=skipped))


def touched_by(annotator: str) -> ColumnElement[bool]:
    """Return that the annotator has labelled or skipped a verdict's item."""
    return VerdictRecord.item_id.in_(_touched(annotator))


def _touched(annotator: str, *, skipped: bool | None = None) -> AnySelect:
    person = PersonLabelRecord
    found: AnySelect = select(person.item_id).where(person.author == annotator)
    if skipped is None:
        return found
    return found.where(person.skipped) if skipped else found.where(person.label.is_not(None))


def _sum(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return cast(func.sum(case((condition, 1), else_=0)), Integer)


def _worst_first() -> tuple[ColumnElement[Any], ...]:
    record = VerdictRecord
    return record.duplicate.asc(), record.expected_error.desc(), record.disagreement.desc(), record.position.asc()


def _matches(votes: Sequence[str], wanted: dict[int, str]) -> bool:
    return all(place < len(votes) and votes[place] == label for place, label in wanted.items())


def _interleaved(mixture: Mixture, start: int, plain: Sequence[int], audited: Sequence[int]) -> list[int]:
    """Return both streams as the mixture says. Where others have changed them meanwhile, what is there moves up."""
    rows: list[int] = []
    streams = {False: iter(plain), True: iter(audited)}
    for place in range(start, start + len(plain) + len(audited)):
        is_audit = mixture.audited_before(place + 1) > mixture.audited_before(place)
        found = next(streams[is_audit], None)
        found = next(streams[not is_audit], None) if found is None else found
        if found is not None:
            rows.append(found)
    return rows
