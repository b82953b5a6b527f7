"""The fake workbench with the real review desk over a store in memory: queues in their simplest form, labels by the real rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

from core.errors import LabelError
from core.queries import RowDetail, RowQuery, RunRow
from core.review import (
    LEASE_SECONDS,
    ItemHistory,
    ItemState,
    LabelEvent,
    Lease,
    Neighbours,
    Outcomes,
    QueuePage,
    QueueQuery,
    QueueRow,
    QueueScope,
    QueueView,
    ReviewState,
    RunAppearance,
    ViewCount,
    audit_key,
    expected_error,
    fold,
)
from core.types import CorrectionKind, Item, JudgementStatus, Outcome
from db.corrections import Act
from db.review import FamiliesState
from tests.webapp.fake import BY_ID, FakeWorkbench
from webapp.services.review import ReviewDesk

ALL_ROWS = RowQuery(page_size=100_000)


@dataclass(slots=True)
class FakeReviewStore:
    """What the review desk asks of the store; one run at a time is leased and labelled, events count up."""

    workbench: FakeWorkbench
    log: list[LabelEvent] = field(default_factory=list)
    held: dict[tuple[int, int], tuple[str, datetime]] = field(default_factory=dict)

    def row(self, run_id: int, item_id: int) -> RowDetail:
        return self.workbench.row(run_id, item_id)

    def run_item(self, run_id: int, item_id: int) -> Item:
        return self.workbench.row(run_id, item_id).item

    def events(self, item_id: int) -> list[LabelEvent]:
        gone = {event.retracts for event in self.log if event.kind is CorrectionKind.UNDO}
        return [replace(event, retracted=event.id in gone) for event in self.log if event.item_id == item_id]

    def item_state(self, item_id: int) -> ItemState:
        return fold(self.events(item_id))

    def corrected_count(self) -> int:
        return sum(self.item_state(item_id).labellers > 0 for item_id in {event.item_id for event in self.log})

    def families_state(self, run_id: int) -> FamiliesState:
        return FamiliesState(0, 0, ready=True)

    def family(self, run_id: int, item_id: int) -> list[QueueRow]:
        return []

    def audit_samples(self, run_id: int, *, blind_only: bool) -> Sequence[object]:
        return ()

    # The queue

    def _row(self, run_id: int, row: RunRow) -> QueueRow:
        decision = row.verdict.decision if row.verdict else None
        state = self.item_state(row.item.id)
        dimension = BY_ID[row.item.dimension_id]
        label = decision.label if decision else None
        probabilities = decision.probabilities if decision else {}
        return QueueRow(
            row.item.id,
            row.item.position,
            row.item.external_id,
            dimension.id,
            row.item.text[:80],
            tuple(judgement.label for judgement in row.judgements),
            label,
            state.label if state.label is not None else label,
            decision.expected if decision else None,
            decision.outcome if decision else Outcome.NO_QUORUM,
            decision.disagreement if decision else 0.0,
            expected_error(label, probabilities, dimension.kind),
            probabilities.get(label, 0.0) if label is not None else 0.0,
            state.state,
            state.labellers,
            audit_key(run_id, row.item.id) is not None,
            False,
            self._holder(run_id, row.item.id),
            {judgement.judge_id: judgement.status for judgement in row.judgements if judgement.status is not JudgementStatus.OK},
        )

    def _matches(self, row: RunRow, line: QueueRow, query: QueueQuery, annotator: str) -> bool:
        people = self.item_state(line.item_id).people
        own = next((person for person in people if person.author == annotator), None)
        statuses = {judgement.status for judgement in row.judgements} - {JudgementStatus.OK, JudgementStatus.ABSTAINED}
        in_view = {
            QueueView.ALL: True,
            QueueView.DISAGREEMENT: len({vote for vote in line.votes if vote is not None}) > 1,
            QueueView.LOW_CONFIDENCE: line.confidence < query.low_confidence,
            QueueView.TIES: line.outcome is Outcome.TIE,
            QueueView.UNREAD: bool(statuses),
            QueueView.AUDIT: line.audit,
            QueueView.ADJUDICATION: line.state is ReviewState.CONFLICT,
            QueueView.MINE: own is not None and own.label is not None,
            QueueView.SKIPPED: own is not None and own.skipped,
        }[query.view]
        personal = query.view in {QueueView.ADJUDICATION, QueueView.MINE, QueueView.SKIPPED}
        still = personal or (line.people < query.people and own is None)
        wanted = {QueueScope.OPEN: still, QueueScope.DONE: line.people > 0, QueueScope.ANY: True}[query.scope]
        return in_view and wanted and query.dimension_id in {"", line.dimension_id} and query.search in line.external_id

    def _lines(self, run_id: int, query: QueueQuery, annotator: str) -> list[QueueRow]:
        rows = [(row, self._row(run_id, row)) for row in self.workbench.rows(run_id, ALL_ROWS).rows]
        lines = [line for row, line in rows if self._matches(row, line, query, annotator)]
        return sorted(lines, key=lambda line: (-(line.expected_error or 0), line.position))

    def queue(self, run_id: int, query: QueueQuery, annotator: str) -> QueuePage:
        lines = self._lines(run_id, query, annotator)
        start = query.page * query.page_size
        return QueuePage(tuple(lines[start : start + query.page_size]), len(lines), query.page, query.page_size)

    def view_counts(self, run_id: int, query: QueueQuery, annotator: str) -> list[ViewCount]:
        def count(view: QueueView, scope: QueueScope) -> int:
            return len(self._lines(run_id, replace(query, view=view, scope=scope), annotator))

        return [ViewCount(view, count(view, QueueScope.ANY), count(view, QueueScope.OPEN)) for view in QueueView]

    def queue_row(self, run_id: int, item_id: int) -> QueueRow:
        return next(self._row(run_id, row) for row in self.workbench.rows(run_id, ALL_ROWS).rows if row.item.id == item_id)

    def neighbours(self, run_id: int, query: QueueQuery, item_id: int, annotator: str) -> Neighbours:
        ids = [line.item_id for line in self._lines(run_id, query, annotator)]
        if item_id not in ids:
            return Neighbours(None, None, None, len(ids))
        place = ids.index(item_id)
        return Neighbours(place, ids[place - 1] if place else None, ids[place + 1] if place + 1 < len(ids) else None, len(ids))

    # Leases

    def _holder(self, run_id: int, item_id: int) -> str:
        name, until = self.held.get((run_id, item_id), ("", datetime.min.replace(tzinfo=UTC)))
        return name if until > datetime.now(UTC) else ""

    def lease(self, run_id: int, item_id: int, annotator: str) -> Lease:
        if self._holder(run_id, item_id) in {"", annotator}:
            self.held[run_id, item_id] = (annotator, datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS))
        name, until = self.held[run_id, item_id]
        return Lease(run_id, item_id, name, until, name == annotator)

    def saw(self, author: str, item_id: int) -> None:
        """Nothing here asks whether a label is blind."""

    def lease_of(self, run_id: int, item_id: int, annotator: str) -> Lease | None:
        holder = self._holder(run_id, item_id)
        return Lease(run_id, item_id, holder, self.held[run_id, item_id][1], holder == annotator) if holder else None

    def lease_next(self, run_id: int, query: QueueQuery, annotator: str) -> Lease | None:
        free = (line for line in self._lines(run_id, query, annotator) if line.leased_by in {"", annotator})
        line = next(free, None)
        return self.lease(run_id, line.item_id, annotator) if line else None

    def release(self, run_id: int, annotator: str, item_id: int | None) -> None:
        for key, (name, _) in list(self.held.items()):
            if key[0] == run_id and name == annotator and item_id in {None, key[1]}:
                del self.held[key]

    # Labels

    def append(self, run_id: int, item_id: int, act: Act, retracts: int | None = None) -> Outcomes:
        before = self._current(run_id, item_id)
        blind = act.blind and not any(event.author == act.author and event.label is not None for event in self.events(item_id))
        audit = act.audit and audit_key(run_id, item_id) is not None
        event = LabelEvent(
            len(self.log) + 1, item_id, run_id, act.kind, act.label, before, act.author, act.reason, act.note, act.flags, blind, audit,
            datetime.now(UTC), retracts,
        )  # fmt: skip
        self.log.append(event)
        self.release(run_id, act.author, item_id)
        return Outcomes(event, self.item_state(item_id), self._current(run_id, item_id))

    def _current(self, run_id: int, item_id: int) -> int | None:
        label = self.item_state(item_id).label
        verdict = self.workbench.row(run_id, item_id).verdict
        return label if label is not None or verdict is None else verdict.decision.label

    def undo(self, run_id: int, author: str, item_id: int | None) -> Outcomes:
        gone = {event.retracts for event in self.log}
        own = [event for event in self.log if event.author == author and event.kind is not CorrectionKind.UNDO and event.id not in gone]
        if not own:
            raise LabelError("There is nothing to undo.", zh="没有可撤销的操作。")
        return self.append(run_id, own[-1].item_id, Act(CorrectionKind.UNDO, author, None), own[-1].id)

    def item_history(self, item_id: int) -> ItemHistory:
        found = [
            self.workbench.row(run.id, item_id)
            for run in self.workbench.runs()
            if any(row.item.id == item_id for row in self.workbench.rows(run.id, ALL_ROWS).rows)
        ]
        appearances = tuple(RunAppearance(one.run, item_id, one.judgements, one.verdict) for one in found)
        return ItemHistory(found[0].item, appearances, tuple(self.events(item_id)), self.item_state(item_id))


class ReviewedFake(FakeWorkbench):
    """The fake workbench, with people."""

    @cached_property
    def review(self) -> ReviewDesk:
        return ReviewDesk(FakeReviewStore(self), BY_ID)  # type: ignore[arg-type]
