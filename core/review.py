"""What people do with a run: queues, leases, labels and what becomes of them.

A person's act on an item is an *event*, appended and never changed: a label, a skip, an undo, an adjudication. What is
true now of an item, `ItemState`, is a pure function of its events (`fold`). Stored states are caches of that function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from core.queries import ReplacedJudgement
from core.types import CorrectionKind, DimensionKind, Example, Item, Judgement, JudgementStatus, Outcome, Run, Verdict

AUDIT_SHARE = 0.15
LEASE_SECONDS = 300.0
LOW_CONFIDENCE = 0.5
# The expected error of a row without a verdict: nothing is known of it, so it stands before all others.
NO_VERDICT_ERROR = 1_000.0
# The name under which the verdict stands among the raters of an agreement table, and in the filter of a cell.
VERDICT = "verdict"
# The same for the labels that the sheet itself has.
GOLD = "gold"


class QueueView(StrEnum):
    """The saved views of a run's queue.

    ALL mixes the audit share in; AUDIT is that share alone, in random order. UNREAD holds off-menu, refused and failed
    replies and rows without a verdict (an abstention is a judge's right and not among them). MINE and SKIPPED are the
    annotator's own, latest first; ADJUDICATION holds rows on which people differ and that nobody has settled.
    """

    ALL = "all"
    DISAGREEMENT = "disagreement"
    LOW_CONFIDENCE = "low_confidence"
    TIES = "ties"
    UNREAD = "unread"
    AUDIT = "audit"
    ADJUDICATION = "adjudication"
    MINE = "mine"
    SKIPPED = "skipped"


class ReviewState(StrEnum):
    """Where an item stands with people: nobody labelled it, they agree, they differ, or an adjudication settled it."""

    OPEN = "open"
    LABELLED = "labelled"
    CONFLICT = "conflict"
    SETTLED = "settled"


class QueueScope(StrEnum):
    """Which rows of a view to list: OPEN is what this annotator has still to do, DONE what people have labelled, ANY all."""

    OPEN = "open"
    DONE = "done"
    ANY = "any"


class Flag(StrEnum):
    """What a person may say of a row beside its label."""

    HARD = "hard"  # 难以判断
    RUBRIC_GAP = "rubric_gap"  # 标准有缺口
    JUDGE_MISREAD = "judge_misread"  # 评委误读
    BORDERLINE = "borderline"  # 边界例


@dataclass(frozen=True, slots=True)
class Vote:
    """One condition of a cell: `rater` (a judge's id, "verdict" or, with `person`, somebody's name) gave `label`."""

    rater: str
    label: int
    person: bool = False
    blind: bool = True


@dataclass(frozen=True, slots=True)
class QueueQuery:
    """Which rows of a run stand in a queue, and in which order they come (see ReviewDesk). Empty filters mean all.

    `votes` keeps rows where every given rater gave that label: what a cell of a confusion matrix opens. `people` is how
    many people each row is wanted from: a row is open for an annotator until so many have labelled it or they have.
    `page` counts from 0.
    """

    view: QueueView = QueueView.ALL
    scope: QueueScope = QueueScope.OPEN
    dimension_id: str = ""
    label: int | None = None
    outcome: Outcome | None = None
    search: str = ""
    votes: tuple[Vote, ...] = ()
    low_confidence: float = LOW_CONFIDENCE
    people: int = 1
    page: int = 0
    page_size: int = 50


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A line of the queue. `votes` are the judges' labels in the panel's order, None where one gave none.

    `expected_error` is the mean absolute error of the verdict under the pooled distribution, in label steps (nominal: the
    probability that it is wrong), None without a verdict. `confidence` is the pooled probability of the verdict's label.
    `label` is the verdict's, `current` the current label. `leased_by` names who has the row now, "" for nobody.
    `duplicate` says that a near-duplicate with a higher expected error stands before it. `silences` says by judge why there
    is no label of theirs; whoever is not among them has not answered yet.
    """

    item_id: int
    position: int
    external_id: str
    dimension_id: str
    snippet: str
    votes: tuple[int | None, ...]
    label: int | None
    current: int | None
    expected: float | None
    outcome: Outcome
    disagreement: float
    expected_error: float | None
    confidence: float
    state: ReviewState
    people: int
    audit: bool
    duplicate: bool
    leased_by: str = ""
    silences: Mapping[str, JudgementStatus] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueuePage:
    """One page of a queue and how many rows match; `families_ready` is False while near-duplicates are being looked for."""

    rows: tuple[QueueRow, ...]
    total: int
    page: int
    page_size: int
    families_ready: bool = True


@dataclass(frozen=True, slots=True)
class ViewCount:
    """How many rows a view has, and how many of them are still open for the annotator."""

    view: QueueView
    total: int
    open: int


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Where an item stands in a queue (from 0, None where it is not in it), what comes before and after, and its length."""

    index: int | None
    previous_id: int | None
    next_id: int | None
    total: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Who has an item until when. `held` says whether it is the one who asked."""

    run_id: int
    item_id: int
    annotator: str
    expires_at: datetime
    held: bool


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """One act of a person on an item, as it was appended.

    `label` is None for a skip and for an undo; `retracts` is the id of the event that an undo takes back, and
    `retracted` says that an event was taken back later. `previous_label` is the current label before the event. `audit`
    says that the row was served by the random share. `run_id` is the run in which it was given.
    """

    id: int
    item_id: int
    run_id: int | None
    kind: CorrectionKind
    label: int | None
    previous_label: int | None
    author: str
    reason: str
    note: str
    flags: tuple[Flag, ...]
    blind: bool
    audit: bool
    created_at: datetime
    retracts: int | None = None
    retracted: bool = False


@dataclass(frozen=True, slots=True)
class PersonLabel:
    """What one person holds of an item now: their label (None: skipped only), the last one they gave blind, when."""

    author: str
    label: int | None
    blind_label: int | None
    skipped: bool
    audit: bool
    event_id: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ItemState:
    """What is true of an item now. `label` is people's (None where there is none or they differ), `event_id` the event
    that decided it; `people` holds everyone with a live label or skip, first come first."""

    state: ReviewState
    label: int | None
    event_id: int | None
    people: tuple[PersonLabel, ...] = ()

    @property
    def labellers(self) -> int:
        """Return how many people have a live label."""
        return sum(person.label is not None for person in self.people)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of a saved act: the event, the item's state after it, and the current label (else the verdict's)."""

    event: LabelEvent
    state: ItemState
    current: int | None


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Everything that the review page shows of one item. In blind mode, until the annotator has labelled,
    `judgements`, `verdict`, other people's labels and their history are left out and `hidden` is True."""

    run: Run
    item: Item
    judgements: tuple[Judgement, ...]
    verdict: Verdict | None
    examples: tuple[Example, ...]
    state: ItemState
    history: tuple[LabelEvent, ...]
    current: int | None
    row: QueueRow | None
    lease: Lease | None
    replaced: tuple[ReplacedJudgement, ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class RunAppearance:
    """An item (or a twin: equal dimension, prompt and text in another sheet) in one run."""

    run: Run
    item_id: int
    judgements: tuple[Judgement, ...]
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class ItemHistory:
    """One item in all runs and every act of people on it and its twins, oldest first."""

    item: Item
    appearances: tuple[RunAppearance, ...]
    events: tuple[LabelEvent, ...]
    state: ItemState


def expected_error(label: int | None, probabilities: Mapping[int, float], kind: DimensionKind = DimensionKind.ORDINAL) -> float:
    """Return the mean absolute error of `label` under a distribution, in label steps; nominal: the chance of being wrong.

    Without a label or a distribution nothing is known: NO_VERDICT_ERROR.
    """
    if label is None or not probabilities:
        return NO_VERDICT_ERROR
    if kind is DimensionKind.NOMINAL:
        return max(0.0, 1.0 - probabilities.get(label, 0.0))
    return sum(share * abs(label - other) for other, share in probabilities.items())


def audit_key(run_id: int, item_id: int) -> int | None:
    """Return the item's place in the random order of the run's audit share, None for an item outside of it.

    Deterministic: two independent numbers out of sha256 of both ids, one drawing the share, the other ordering it. Every
    prefix of that order is a uniform random sample of the run.
    """
    digest = hashlib.sha256(f"{run_id}:{item_id}".encode()).digest()
    if int.from_bytes(digest[:8]) >= AUDIT_SHARE * 2**64:
        return None
    return int.from_bytes(digest[8:12]) >> 1


@dataclass(frozen=True, slots=True)
class Mixture:
    """How two streams share a queue: of all rows `share` are audited, and `done` rows have already left the queue.

    The audit rows stand evenly among the others, going on from where the finished rows left off, so that whoever always
    takes the first row meets the share too.
    """

    plain: int
    audited: int
    share: float
    done: int = 0

    def audited_before(self, place: int) -> int:
        """Return how many of the first `place` rows are audit rows; the others are taken from the plain stream."""
        even = int((self.done + place) * self.share) - int(self.done * self.share)
        return min(self.audited, place, max(even, place - self.plain))

    def place_of(self, index: int, *, audited: bool) -> int:
        """Return the place in the queue of the `index`-th row of a stream."""
        low, high = index, index + (self.plain if audited else self.audited)
        while low < high:
            middle = (low + high) // 2
            before = self.audited_before(middle + 1)
            if (before if audited else middle + 1 - before) > index:
                high = middle
            else:
                low = middle + 1
        return low


@dataclass(slots=True)
class _Person:
    label: LabelEvent | None = None
    blind: LabelEvent | None = None
    audit: bool = False
    skip: LabelEvent | None = None


def fold(events: Iterable[LabelEvent]) -> ItemState:
    """Return what is true after `events` (oldest first).

    An adjudication settles an item until it is taken back, whatever is labelled meanwhile; otherwise the item has people's
    label when all who labelled it agree (each person's last label counts), and none while they differ.
    """
    live = _without_retracted(events)
    people: dict[str, _Person] = {}
    settled: LabelEvent | None = None
    for event in live:
        if event.kind is CorrectionKind.ADJUDICATION:
            settled = event
            continue
        person = people.setdefault(event.author, _Person())
        if event.kind is CorrectionKind.SKIP:
            person.skip = event
        elif event.kind is CorrectionKind.LABEL:
            person.label, person.skip = event, None
            person.blind = event if event.blind else person.blind
            person.audit = person.audit or event.audit
    holders = tuple(_holder(author, person) for author, person in people.items())
    if settled is not None:
        return ItemState(ReviewState.SETTLED, settled.label, settled.id, holders)
    labels = [person.label for person in people.values() if person.label is not None]
    if not labels:
        return ItemState(ReviewState.OPEN, None, None, holders)
    if len({event.label for event in labels}) > 1:
        return ItemState(ReviewState.CONFLICT, None, None, holders)
    last = max(labels, key=lambda event: event.id)
    return ItemState(ReviewState.LABELLED, last.label, last.id, holders)


def _without_retracted(events: Iterable[LabelEvent]) -> Sequence[LabelEvent]:
    known = list(events)
    gone = {event.retracts for event in known if event.kind is CorrectionKind.UNDO}
    return [event for event in known if event.kind is not CorrectionKind.UNDO and event.id not in gone]


def _holder(author: str, person: _Person) -> PersonLabel:
    event = person.label or person.skip
    if event is None:
        raise ValueError(f"{author} holds neither a label nor a skip")
    label = None if person.label is None else person.label.label
    blind = None if person.blind is None else person.blind.label
    return PersonLabel(author, label, blind, person.skip is not None, person.audit, event.id, event.created_at)


def unread_statuses() -> tuple[JudgementStatus, ...]:
    """Return the statuses that say that a reply could not be used, an abstention not among them."""
    return JudgementStatus.OFF_MENU, JudgementStatus.REFUSED, JudgementStatus.FAILED


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class AuditSample:
    """What the audit of one dimension is estimated from: `pairs` counts (verdict, people's label) over the labelled ones of
    the `drawn` audit rows; a row without a verdict counts as an error."""

    dimension_id: str
    population: int
    drawn: int
    pairs: Mapping[tuple[int | None, int], int]


@dataclass(frozen=True, slots=True)
class AuditEstimate:
    """How wrong the verdicts of one dimension are, by the random share alone.

    `population` counts the run's verdicts, `drawn` the audit rows up to the furthest one served, `labelled` those of them
    that people labelled. `errors` were labelled otherwise than the verdict; `error_rate` has a Wilson interval and
    `mae`, in label steps, a bootstrap one; both None before the first label.
    """

    dimension_id: str
    population: int
    drawn: int
    labelled: int
    errors: int
    error_rate: Interval | None
    mae: Interval | None


@dataclass(frozen=True, slots=True)
class VoteCount:
    """How many rows of a dimension have these labels: of each rater of the list it belongs to, in that order."""

    dimension_id: str
    labels: tuple[int | None, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class VoteCounts:
    """What agreement is counted from. `panel` counts the labels of all judges and, last, the verdict, over all rows;
    `people` the label of one person (by name), then the same, over the rows that the person labelled; `both` the labels
    of two people over the rows that both labelled; `everyone` everybody's labels of each row, in no order; `gold` the
    sheet's own label, then those of the panel and the verdict, over the rows that have one."""

    run_id: int
    judges: tuple[str, ...]
    blind_only: bool
    panel: tuple[VoteCount, ...]
    people: Mapping[str, tuple[VoteCount, ...]]
    both: Mapping[tuple[str, str], tuple[VoteCount, ...]]
    everyone: tuple[VoteCount, ...]
    flags: Mapping[Flag, int] = field(default_factory=dict)
    gold: tuple[VoteCount, ...] = ()


@dataclass(frozen=True, slots=True)
class Rater:
    """A judge, the verdict ("verdict"), the sheet's own label ("gold") or, with `person`, somebody."""

    name: str
    person: bool = False


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """How far two raters agree on one dimension, over the rows that both labelled.

    `matrix[i][j]` counts rows where `first` gave `labels[i]` and `second` `labels[j]`. Kappa has quadratic weights; alpha
    is Krippendorff's (ordinal; nominal on nominal dimensions), `ac2` Gwet's with quadratic weights (AC1 on nominal ones).
    A figure that is not defined (no rows, or one label only) is None. `cell(i, j)` is the query that opens its rows.
    """

    first: Rater
    second: Rater
    dimension_id: str
    labels: tuple[int, ...]
    matrix: tuple[tuple[int, ...], ...]
    n: int
    exact: float | None
    within_one: float | None
    mae: float | None
    kappa: float | None
    alpha: float | None
    ac2: float | None
    blind: bool = True

    def cell(self, row: int, column: int) -> QueueQuery:
        """Return the query of the rows in `matrix[row][column]`."""
        return self.query((self.labels[row], self.labels[column]))

    def query(self, labels: tuple[int, int] | None = None) -> QueueQuery:
        """Return the query of the rows with these labels; without labels, of the whole dimension."""
        raters = (self.first, self.second)
        votes = () if labels is None else tuple(Vote(r.name, label, r.person, self.blind) for r, label in zip(raters, labels, strict=True))
        return QueueQuery(scope=QueueScope.ANY, dimension_id=self.dimension_id, votes=votes)


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often a rater gave each label of a dimension; `query(label)` opens those rows."""

    rater: Rater
    dimension_id: str
    counts: Mapping[int, int]
    blind: bool = True

    def query(self, label: int) -> QueueQuery:
        """Return the query of the rows to which the rater gave `label`."""
        return QueueQuery(
            scope=QueueScope.ANY, dimension_id=self.dimension_id, votes=(Vote(self.rater.name, label, self.rater.person, self.blind),)
        )


@dataclass(frozen=True, slots=True)
class GroupAgreement:
    """How far all raters of a group ("judges", "people") agree on one dimension; rows with fewer than two labels do not count."""

    group: str
    dimension_id: str
    raters: int
    n: int
    alpha: float | None
    ac2: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """All tables of a run: pairs (judge x judge, judge x person, verdict x person, person x person), groups, distributions."""

    run_id: int
    blind_only: bool
    raters: tuple[Rater, ...]
    pairs: tuple[PairAgreement, ...]
    groups: tuple[GroupAgreement, ...]
    distributions: tuple[Distribution, ...]
    flags: Mapping[Flag, int] = field(default_factory=dict)

    def pair(self, first: str, second: str, dimension_id: str) -> PairAgreement | None:
        """Return the pair of two raters by name, in either order, or None."""
        for found in self.pairs:
            if found.dimension_id == dimension_id and {found.first.name, found.second.name} == {first, second}:
                return found
        return None
