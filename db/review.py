"""Review queues: pages, counts, leases, near-duplicate families and the audit's sample."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Engine, and_, case, delete, func, insert, or_, select, update

from core.review import (
    LEASE_SECONDS,
    AuditSample,
    Lease,
    Neighbours,
    QueuePage,
    QueueQuery,
    QueueRow,
    QueueScope,
    QueueView,
    ReviewState,
    ViewCount,
)
from core.types import JudgementStatus, Outcome, Run, RunState
from db.base import StoreBase, dialect_insert, now, spans, table_of
from db.engine import reading, writing
from db.models import (
    FamilyRecord,
    ItemLabelRecord,
    ItemRecord,
    JudgementRecord,
    LeaseRecord,
    PersonLabelRecord,
    RunRecord,
    SheetRecord,
    VerdictRecord,
)
from db.queue import QueueFinder, QueueMemory, own_condition, select_touched, touched_by, view_condition
from db.runs import get_run, locked_run

SNIPPET = 80
_TRIED = 20
_OWN = (QueueView.MINE, QueueView.SKIPPED)
_SHARED = tuple(view for view in QueueView if view not in _OWN)
_FAMILY_SHOWN, _FAMILY_KNOWN = 20, 500
_PASSAGE = 200


@dataclass(frozen=True, slots=True)
class FamiliesState:
    """A run's sheet, its number of rows, and whether near-duplicates need no work now."""

    sheet_id: int
    rows: int
    ready: bool


class ReviewStore(StoreBase):
    """Answers what stands in the queues of runs, and who has it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._queues = QueueMemory(self.searches)

    def queue(self, run_id: int, query: QueueQuery, annotator: str = "") -> QueuePage:
        """Return one page of a queue. Raises NotFound."""
        size = max(1, query.page_size)
        with reading(self.engine) as connection:
            run = get_run(connection, run_id)
            finder = QueueFinder(connection, run, query, annotator, self._queues)
            ids = finder.page(max(0, query.page) * size, size)
            return QueuePage(tuple(_rows(connection, run, ids)), finder.total(), query.page, size)

    def queue_row(self, run_id: int, item_id: int) -> QueueRow | None:
        """Return the line of one item, None before its verdict. Raises NotFound for an unknown run."""
        with reading(self.engine) as connection:
            return next(iter(_rows(connection, get_run(connection, run_id), [item_id])), None)

    def view_counts(self, run_id: int, query: QueueQuery, annotator: str = "") -> list[ViewCount]:
        """Return how many rows each view has under the filters of `query`, and how many are open for the annotator.

        In ADJUDICATION all rows are open, in MINE and SKIPPED what stands there. Raises NotFound.
        """
        base = replace(query, view=QueueView.ALL, scope=QueueScope.ANY)
        wanted = VerdictRecord.people < max(1, query.people)
        shared = [view_condition(view, query.low_confidence) for view in _SHARED]
        own = [own_condition(annotator, skipped=view is QueueView.SKIPPED) for view in _OWN]
        with reading(self.engine) as connection:
            finder = QueueFinder(connection, get_run(connection, run_id), base, annotator, self._queues)
            rows = finder.conditions()
            totals = self._queues.views.get(finder.sizes_key(), lambda: _summed(connection, rows, shared))
            # The few that people have touched are counted by themselves: labelled enough, and touched by the annotator.
            reviewed = (*rows, VerdictRecord.item_id.in_(select_touched(run_id, annotator)))
            closed = or_(~wanted, touched_by(annotator))
            done = _summed(connection, reviewed, [closed if one is None else and_(one, closed) for one in shared])
            conflicts, *personal = _summed(connection, reviewed, [view_condition(QueueView.ADJUDICATION, 0.0), *own])
        counts = {view: ViewCount(view, total, total - away) for view, total, away in zip(_SHARED, totals, done, strict=True)}
        counts[QueueView.ADJUDICATION] = ViewCount(QueueView.ADJUDICATION, conflicts, conflicts)
        counts |= {view: ViewCount(view, total, total) for view, total in zip(_OWN, personal, strict=True)}
        return [counts[view] for view in QueueView]

    def neighbours(self, run_id: int, query: QueueQuery, item_id: int, annotator: str = "") -> Neighbours:
        """Return an item's place in a queue and what stands beside it; outside of it, the first row is the next."""
        with reading(self.engine) as connection:
            finder = QueueFinder(connection, get_run(connection, run_id), query, annotator, self._queues)
            index = finder.place(item_id)
            total = finder.total()
            if index is None:
                first = finder.page(0, 1)
                return Neighbours(None, None, first[0] if first else None, total)
            beside = finder.page(max(0, index - 1), 2 if index == 0 else 3)
        own = min(index, 1)
        following = beside[own + 1] if len(beside) > own + 1 else None
        return Neighbours(index, beside[0] if index else None, following, total)

    # Leases

    def lease_next(self, run_id: int, query: QueueQuery, annotator: str, seconds: float = LEASE_SECONDS) -> Lease | None:
        """Lease the first row of a queue that nobody else has; None when there is none."""
        with writing(self.engine) as connection:
            run = get_run(connection, run_id)
            while True:
                moment = now()
                finder = QueueFinder(connection, run, query, annotator, self._queues, free_at=moment)
                found = finder.page(0, _TRIED)
                if not found:
                    return None
                for item_id in found:
                    if _take(connection, run_id, item_id, annotator, moment, seconds):
                        if finder.lists(item_id):
                            return Lease(run_id, item_id, annotator, moment + timedelta(seconds=seconds), held=True)
                        _give_back(connection, run_id, annotator, item_id)  # somebody labelled it since it was listed

    def lease(self, run_id: int, item_id: int, annotator: str, seconds: float = LEASE_SECONDS) -> Lease:
        """Take or renew a lease, or return whose it is. Raises StoreError for an unknown run or item."""
        with writing(self.engine) as connection:
            moment = now()
            if _take(connection, run_id, item_id, annotator, moment, seconds):
                return Lease(run_id, item_id, annotator, moment + timedelta(seconds=seconds), held=True)
            held = _leases(connection, run_id, [item_id], moment)[item_id]
            return replace(held, held=False)

    def lease_of(self, run_id: int, item_id: int, annotator: str = "") -> Lease | None:
        """Return the living lease of an item, None where nobody has it."""
        with reading(self.engine) as connection:
            found = _leases(connection, run_id, [item_id], now()).get(item_id)
        return None if found is None else replace(found, held=found.annotator == annotator)

    def release(self, run_id: int, annotator: str, item_id: int | None = None) -> None:
        """Give back one item, or all that the annotator has in the run."""
        with writing(self.engine) as connection:
            _give_back(connection, run_id, annotator, item_id)

    # Near-duplicate families

    def families_state(self, run_id: int) -> FamiliesState:
        """Return whether the run's near-duplicates are known and marked by its verdicts. Raises NotFound.

        A run that is not over needs nothing yet: its rows stand unmarked until then.
        """
        with reading(self.engine) as connection:
            run = get_run(connection, run_id)
            marked = connection.execute(select(RunRecord.families_of).where(RunRecord.id == run_id)).scalar_one()
        return FamiliesState(run.sheet_id, run.items, not _over(run) or marked == run.aggregator)

    def mark_families(self, run_id: int) -> None:
        """Look for near-duplicates in the run's sheet (once a sheet), and mark all but the worst of each family (once a
        run and aggregator). A family is of one dimension."""
        with reading(self.engine) as connection:
            run = get_run(connection, run_id)
            known = connection.execute(select(SheetRecord.families_at).where(SheetRecord.id == run.sheet_id)).scalar_one()
            texts = {} if known is not None else _texts(connection, run.sheet_id)
        families = _families(texts)
        with writing(self.engine) as connection:
            locked_run(connection, run_id)
            sheet = select(SheetRecord.families_at).where(SheetRecord.id == run.sheet_id).with_for_update()
            if connection.execute(sheet).scalar_one() is None:
                _save_families(connection, run.sheet_id, families)
            run = get_run(connection, run_id)
            if _over(run):
                _mark(connection, run)

    def family(self, run_id: int, item_id: int) -> list[QueueRow]:
        """Return the other rows of an item's near-duplicate family in a run, worst first; none before they are known."""
        record = FamilyRecord
        mine = select(record.family).where(record.item_id == item_id).scalar_subquery()
        kin = select(record.item_id).where(record.family == mine, record.item_id != item_id).limit(_FAMILY_KNOWN)
        with reading(self.engine) as connection:
            ids = list(connection.execute(kin).scalars())
            if not ids:
                return []
            verdict = VerdictRecord
            query = select(verdict.item_id).where(verdict.run_id == run_id, verdict.item_id.in_(ids))
            worst = query.order_by(verdict.expected_error.desc(), verdict.disagreement.desc(), verdict.position).limit(_FAMILY_SHOWN)
            return _rows(connection, get_run(connection, run_id), list(connection.execute(worst).scalars()))

    # The audit

    def audit_samples(self, run_id: int, *, blind_only: bool = True) -> list[AuditSample]:
        """Return, by dimension, the run's audit rows up to the furthest that was served, with what people say of them.

        An adjudication comes first; otherwise everybody's label (`blind_only`: blind label) must be the same. Raises NotFound.
        """
        verdict, person, item = VerdictRecord, PersonLabelRecord, ItemLabelRecord
        with reading(self.engine) as connection:
            get_run(connection, run_id)
            sizes = connection.execute(
                select(verdict.dimension_id, func.count().label("size")).where(verdict.run_id == run_id).group_by(verdict.dimension_id)
            ).all()
            served = select(func.max(verdict.audit)).join(person, person.item_id == verdict.item_id)
            furthest = connection.execute(served.where(verdict.run_id == run_id, verdict.audit.is_not(None), person.audit)).scalar_one()
            if furthest is None:
                return [AuditSample(name, size, 0, {}) for name, size in sorted((name, size) for name, size in sizes)]
            given = person.blind_label if blind_only else person.label
            query = (
                select(verdict.item_id, verdict.dimension_id, verdict.label, item.review, item.label, given)
                .outerjoin(item, item.item_id == verdict.item_id)
                .outerjoin(person, and_(person.item_id == verdict.item_id, given.is_not(None)))
                .where(verdict.run_id == run_id, verdict.audit <= furthest)
            )
            rows = connection.execute(query).all()
        return list(_samples({row.dimension_id: row.size for row in sizes}, [_AuditRow(*row) for row in rows]))


@dataclass(frozen=True, slots=True)
class _AuditRow:
    """One audit row and one person's label of it (`given`), or none."""

    item_id: int
    dimension_id: str
    verdict: int | None
    review: ReviewState | None
    settled: int | None
    given: int | None


def _samples(sizes: Mapping[str, int], rows: Sequence[_AuditRow]) -> Iterator[AuditSample]:
    truths: dict[int, set[int]] = defaultdict(set)
    verdicts: dict[int, tuple[str, int | None]] = {}
    for row in rows:
        verdicts[row.item_id] = (row.dimension_id, row.verdict)
        if row.review is ReviewState.SETTLED and row.settled is not None:
            truths[row.item_id] = {row.settled}
        elif row.review is not ReviewState.SETTLED and row.given is not None:
            truths[row.item_id].add(row.given)
    for name in sorted(sizes):
        mine = {item_id: label for item_id, (dimension_id, label) in verdicts.items() if dimension_id == name}
        known = {item_id: truths[item_id] for item_id in mine if len(truths.get(item_id, ())) == 1}
        pairs = Counter((mine[item_id], next(iter(truth))) for item_id, truth in known.items())
        yield AuditSample(name, sizes[name], len(mine), pairs)


def _summed(connection: Connection, rows: Sequence[ColumnElement[bool]], conditions: Sequence[ColumnElement[bool] | None]) -> list[int]:
    """Return how many of the rows meet each condition, in one pass."""
    columns = [func.count() if one is None else func.sum(case((one, 1), else_=0)) for one in conditions]
    return [int(value or 0) for value in connection.execute(select(*columns).select_from(VerdictRecord).where(*rows)).one()]


def _over(run: Run) -> bool:
    return run.state is RunState.DONE


def _take(connection: Connection, run_id: int, item_id: int, annotator: str, moment: datetime, seconds: float) -> bool:
    """Lease an item unless somebody else has it; one statement, so that of two at once one gets it."""
    record = LeaseRecord
    statement = dialect_insert(connection, record).values(
        run_id=run_id, item_id=item_id, annotator=annotator, expires_at=moment + timedelta(seconds=seconds)
    )
    taken = statement.on_conflict_do_update(
        index_elements=["run_id", "item_id"],
        set_={"annotator": statement.excluded.annotator, "expires_at": statement.excluded.expires_at},
        where=or_(record.annotator == annotator, record.expires_at <= moment),
    )
    return connection.execute(taken.returning(record.item_id)).one_or_none() is not None


def _give_back(connection: Connection, run_id: int, annotator: str, item_id: int | None) -> None:
    record = LeaseRecord
    statement = delete(record).where(record.run_id == run_id, record.annotator == annotator)
    connection.execute(statement if item_id is None else statement.where(record.item_id == item_id))


def _leases(connection: Connection, run_id: int, item_ids: Sequence[int], moment: datetime) -> dict[int, Lease]:
    record = LeaseRecord
    query = select(record.item_id, record.annotator, record.expires_at).where(
        record.run_id == run_id, record.item_id.in_(item_ids), record.expires_at > moment
    )
    return {row.item_id: Lease(run_id, row.item_id, row.annotator, row.expires_at, held=True) for row in connection.execute(query)}


def _rows(connection: Connection, run: Run, item_ids: Sequence[int]) -> list[QueueRow]:
    verdict, item, people = VerdictRecord, ItemRecord, ItemLabelRecord
    found: dict[int, QueueRow] = {}
    for ids in spans(item_ids):
        leases = _leases(connection, run.id, ids, now())
        query = (
            select(verdict, item.external_id, func.substr(item.text, 1, SNIPPET).label("snippet"), people.label.label("people_label"))
            .join(item, item.id == verdict.item_id)
            .outerjoin(people, people.item_id == verdict.item_id)
            .where(verdict.run_id == run.id, verdict.item_id.in_(ids))
        )
        rows = connection.execute(query).all()
        silences = _silences(connection, run.id, [row.item_id for row in rows if "" in row.votes.split(",")])
        for row in rows:
            lease = leases.get(row.item_id)
            found[row.item_id] = QueueRow(
                item_id=row.item_id,
                position=row.position,
                external_id=row.external_id,
                dimension_id=row.dimension_id,
                snippet=row.snippet,
                votes=tuple(int(vote) if vote else None for vote in row.votes.split(",")),
                label=row.label,
                current=row.label if row.people_label is None else row.people_label,
                expected=row.expected,
                outcome=row.outcome,
                disagreement=row.disagreement,
                expected_error=None if row.outcome is Outcome.NO_QUORUM else row.expected_error,
                confidence=row.confidence,
                state=row.review,
                people=row.people,
                audit=row.audit is not None,
                duplicate=bool(row.duplicate),
                leased_by="" if lease is None else lease.annotator,
                silences=silences.get(row.item_id, {}),
            )
    return [found[item_id] for item_id in item_ids if item_id in found]


def _silences(connection: Connection, run_id: int, item_ids: Sequence[int]) -> dict[int, dict[str, JudgementStatus]]:
    """Return, by item and judge, how the answers that gave no label ended."""
    found: dict[int, dict[str, JudgementStatus]] = defaultdict(dict)
    answer = JudgementRecord
    query = select(answer.item_id, answer.judge_id, answer.status).where(answer.run_id == run_id, answer.item_id.in_(item_ids))
    for item_id, judge_id, status in connection.execute(query) if item_ids else ():
        if status is not JudgementStatus.OK:
            found[item_id][judge_id] = status
    return found


def _texts(connection: Connection, sheet_id: int) -> dict[str, dict[int, str]]:
    """Return what makes each row of a sheet, by dimension and item, in the sheet's order.

    A short reply is like many others by nature: its prompt is what makes the row.
    """
    record = ItemRecord
    found: dict[str, dict[int, str]] = defaultdict(dict)
    query = select(record.dimension_id, record.id, record.prompt, record.text).where(record.sheet_id == sheet_id)
    for name, item_id, prompt, text in connection.execute(query.order_by(record.position)):
        found[name][item_id] = text if len(text) >= _PASSAGE else f"{prompt}\n{text}"
    return found


def _families(texts: Mapping[str, Mapping[int, str]]) -> dict[int, int]:
    """Return the family of every item that has a near-duplicate of its dimension."""
    from core.retrieval.families import family_ids

    found: dict[int, int] = {}
    for rows in texts.values():
        ids = list(rows)
        groups = family_ids(list(rows.values()))
        sizes = Counter(groups)
        found.update({item_id: ids[group] for item_id, group in zip(ids, groups, strict=True) if sizes[group] > 1})
    return found


def _save_families(connection: Connection, sheet_id: int, families: dict[int, int]) -> None:
    rows = [{"item_id": item_id, "sheet_id": sheet_id, "family": family} for item_id, family in sorted(families.items())]
    for part in spans(rows):
        connection.execute(insert(table_of(FamilyRecord)), list(part))
    connection.execute(update(SheetRecord).where(SheetRecord.id == sheet_id).values(families_at=now()))


def _mark(connection: Connection, run: Run) -> None:
    record, family = VerdictRecord, FamilyRecord
    query = (
        select(record.item_id, family.family)
        .join(family, family.item_id == record.item_id)
        .where(record.run_id == run.id)
        .order_by(record.expected_error.desc(), record.disagreement.desc(), record.position)
    )
    seen: set[int] = set()
    behind = []
    for item_id, group in connection.execute(query):
        if group in seen:
            behind.append(item_id)
        seen.add(group)
    connection.execute(update(record).where(record.run_id == run.id, record.duplicate != 0).values(duplicate=0))
    for ids in spans(behind):
        connection.execute(update(record).where(record.run_id == run.id, record.item_id.in_(ids)).values(duplicate=1))
    connection.execute(update(RunRecord).where(RunRecord.id == run.id).values(families_of=run.aggregator))
