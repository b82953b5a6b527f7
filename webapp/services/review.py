"""The review desk: a run's queues, who has which row, what people say of it, and how wrong the verdicts are by that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from core.errors import LabelError
from core.review import (
    AuditEstimate,
    Flag,
    ItemHistory,
    ItemState,
    LabelEvent,
    Lease,
    Neighbours,
    Outcomes,
    QueuePage,
    QueueQuery,
    QueueRow,
    QueueView,
    Reviewed,
    ViewCount,
)
from core.types import CorrectionKind, Dimension, Item
from db.corrections import Act
from db.store import SqlStore

# Looking for near-duplicates in so many rows takes a tenth of a second; of more the worker takes care (services/housekeeping.py).
FAMILIES_AT_ONCE = 500


class ReviewDesk:
    """Queues, leases, labels and the audit of runs.

    A queue stands in this order: one row of each near-duplicate family first, the rest of the families after all others;
    within that by the expected absolute error of the verdict under the judges' pooled distribution, then by their
    divergence, then as the sheet has it. The view ALL mixes in the run's random audit share (15%, core.review.audit_key),
    evenly and in random order. `annotator` and `author` are names as they are; the caller says who it is.
    """

    def __init__(self, store: SqlStore, dimensions: Mapping[str, Dimension]) -> None:
        self._store = store
        self._dimensions = dimensions

    def corrections(self) -> int:
        """Return how many rows people labelled, of all runs, whether or not they were added to a library."""
        return self._store.corrected_count()

    # The queue

    def queue(self, run_id: int, query: QueueQuery, annotator: str = "") -> QueuePage:
        """Return one page of a queue as `annotator` sees it. A page beyond the last is empty. Raises NotFound."""
        ready = self._prepare(run_id)
        return replace(self._store.queue(run_id, query, annotator), families_ready=ready)

    def counts(self, run_id: int, annotator: str = "", query: QueueQuery | None = None) -> Sequence[ViewCount]:
        """Return how many rows each view has under the other filters of `query`, in the order of QueueView."""
        return self._store.view_counts(run_id, query or QueueQuery(), annotator)

    def next_item(self, run_id: int, query: QueueQuery, annotator: str) -> Lease | None:
        """Lease the first row of a queue that nobody else has, and return the lease; None when there is none left.

        Two annotators never get the same row at once. Leases last five minutes; `lease` renews one.
        """
        self._named(annotator)
        self._prepare(run_id)
        return self._store.lease_next(run_id, query, annotator)

    def neighbours(self, run_id: int, query: QueueQuery, item_id: int, annotator: str = "") -> Neighbours:
        """Return where an item stands in a queue, and what comes before and after it."""
        return self._store.neighbours(run_id, query, item_id, annotator)

    def item(self, run_id: int, item_id: int, annotator: str = "", *, blind: bool = False) -> Reviewed:
        """Return everything that is shown of one row. `blind` hides what others said until `annotator` has a label.

        Raises NotFound.
        """
        detail = self._store.row(run_id, item_id)
        state = self._store.item_state(item_id)
        history = tuple(self._store.events(item_id))
        hidden = blind and not any(person.author == annotator and person.label is not None for person in state.people)
        row = self._store.queue_row(run_id, item_id)
        current = state.label if state.label is not None else (detail.verdict.decision.label if detail.verdict else None)
        lease = self._store.lease_of(run_id, item_id, annotator)
        shown = Reviewed(
            detail.run, detail.item, detail.judgements, detail.verdict, detail.examples, state, history, current, row, lease,
            detail.replaced, hidden,
        )  # fmt: skip
        return _veiled(shown, annotator) if hidden else shown

    def family(self, run_id: int, item_id: int) -> Sequence[QueueRow]:
        """Return the other rows of an item's near-duplicate family in a run; none while they are being looked for."""
        return self._store.family(run_id, item_id)

    def saw(self, annotator: str, item_id: int) -> None:
        """Keep that `annotator` was shown the votes of a row: a label of theirs on it is not blind from now on."""
        if annotator.strip():
            self._store.saw(annotator, item_id)

    # Leases

    def lease(self, run_id: int, item_id: int, annotator: str) -> Lease:
        """Take or renew the lease of a row. Where somebody else has it, `held` is False and theirs is returned. Raises NotFound."""
        self._named(annotator)
        self._store.run_item(run_id, item_id)
        return self._store.lease(run_id, item_id, annotator)

    def release(self, run_id: int, annotator: str, item_id: int | None = None) -> None:
        """Give back one row, or every row that `annotator` has in a run."""
        self._store.release(run_id, annotator, item_id)

    # Labels

    def label(
        self,
        run_id: int,
        item_id: int,
        label: int,
        author: str,
        reason: str = "",
        note: str = "",
        flags: Sequence[Flag] = (),
        *,
        blind: bool = False,
        view: QueueView = QueueView.ALL,
    ) -> Outcomes:
        """Append a label, release the row and return what is true then. Raises LabelError for a label off the scale.

        `view` is the queue the row came from. A label counts as blind only where the author had given none on this row
        before and was shown no votes of it (`saw`), for then they know what others say.
        """
        act = Act(CorrectionKind.LABEL, author, label, reason, note, tuple(flags), blind, view in {QueueView.ALL, QueueView.AUDIT})
        return self._append(run_id, item_id, act)

    def skip(self, run_id: int, item_id: int, author: str, note: str = "", flags: Sequence[Flag] = ()) -> Outcomes:
        """Pass over a row: it leaves this annotator's queues and stands in their view SKIPPED."""
        return self._append(run_id, item_id, Act(CorrectionKind.SKIP, author, None, "", note, tuple(flags)))

    def adjudicate(self, run_id: int, item_id: int, label: int, author: str, reason: str = "", note: str = "") -> Outcomes:
        """Settle a row on which people differ: its label is `label` until this is undone. Raises LabelError."""
        return self._append(run_id, item_id, Act(CorrectionKind.ADJUDICATION, author, label, reason, note))

    def undo(self, run_id: int, author: str, item_id: int | None = None) -> Outcomes:
        """Take back the author's latest act in a run (on `item_id`, where given) by appending an undo; return its item's state.

        Repeated, it goes further back. Raises LabelError when there is nothing to take back.
        """
        self._named(author)
        return self._store.undo(run_id, author, item_id)

    def history(self, item_id: int) -> ItemHistory:
        """Return one item, and its twins of equal content, in all runs with every act of people on it. Raises NotFound."""
        return self._store.item_history(item_id)

    # The audit

    def audit(self, run_id: int, *, blind_only: bool = True) -> Sequence[AuditEstimate]:
        """Return, by dimension, how wrong the run's verdicts are, from the audit share alone.

        Counted are the audit rows up to the furthest one that was served, which are a uniform random sample of the run
        whatever else was labelled; those of them without a (blind) label are left out and told by `drawn` - `labelled`.
        """
        from core.estimates import audit_estimate

        samples = self._store.audit_samples(run_id, blind_only=blind_only)
        return [audit_estimate(sample) for sample in samples]

    def _append(self, run_id: int, item_id: int, act: Act) -> Outcomes:
        self._named(act.author)
        item = self._store.run_item(run_id, item_id)
        dimension = self._dimensions.get(item.dimension_id)
        if act.label is not None and dimension is not None and act.label not in dimension.labels:
            raise _off_scale(item, dimension, act.label)
        return self._store.append(run_id, item_id, act)

    def _named(self, name: str) -> None:
        if not name.strip():
            raise LabelError("Say who you are first: a label needs a name.", zh="请先填写姓名：标注需要署名。")

    def _prepare(self, run_id: int) -> bool:
        """Return whether near-duplicates are known and marked. In a small sheet they are looked for now, in others by the worker."""
        state = self._store.families_state(run_id)
        if not state.ready and state.rows <= FAMILIES_AT_ONCE:
            self._store.mark_families(run_id)
            return True
        return state.ready


def _veiled(shown: Reviewed, annotator: str) -> Reviewed:
    """Leave out what the judges and other people said."""
    own = tuple(event for event in shown.history if event.author == annotator)
    people = tuple(person for person in shown.state.people if person.author == annotator)
    state = ItemState(shown.state.state, None, None, people)
    return replace(shown, judgements=(), verdict=None, replaced=(), state=state, history=_without_previous(own), current=None, row=None)


def _without_previous(events: Sequence[LabelEvent]) -> tuple[LabelEvent, ...]:
    return tuple(replace(event, previous_label=None) for event in events)


def _off_scale(item: Item, dimension: Dimension, label: int) -> LabelError:
    scale = ", ".join(map(str, dimension.labels))
    return LabelError(
        f"{label} is not on the scale of {dimension.name('en')} ({scale}); choose one of these for {item.external_id}.",
        zh=f"{label} 不在「{dimension.name('zh')}」的标签范围内（{scale}），请为 {item.external_id} 选择其中之一。",
    )
