"""What the review page shows, made of what the review desk knows: pure functions from domain objects to view objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.review import (
    AuditEstimate,
    Flag,
    LabelEvent,
    PersonLabel,
    QueuePage,
    QueueRow,
    QueueView,
    Reviewed,
    ReviewState,
    ViewCount,
)
from core.types import CorrectionKind, Dimension, Example, Item, Run
from webapp.pages.figures import Chip, ChipKind, Spread, lone_votes, silent_chip, spread_of
from webapp.pages.judged_view import Judged, judged
from webapp.pages.review_address import ReviewAddress, RowAddress
from webapp.pages.training_address import CORRECTIONS, TrainingAddress
from webapp.pages.translate import Translator


@dataclass(frozen=True, slots=True)
class ViewTab:
    """A saved view with the number of rows that are still open in it, and of all."""

    view: QueueView
    open: int
    total: int
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class QueueLine:
    """One entry of the queue; `chips` are empty where the votes are hidden."""

    row: QueueRow
    dimension: str
    chips: tuple[Chip, ...]
    spread: Spread | None
    href: str
    chosen: bool
    leased_by: str


@dataclass(frozen=True, slots=True)
class Queue:
    """The left pane."""

    address: ReviewAddress
    tabs: tuple[ViewTab, ...]
    lines: tuple[QueueLine, ...]
    total: int
    pages: int
    previous_href: str
    next_href: str
    clear_href: str
    families_ready: bool
    blind: bool


@dataclass(frozen=True, slots=True)
class AuditLine:
    """The audit of one dimension: the estimate with names and percentages."""

    dimension: str
    estimate: AuditEstimate

    @property
    def known(self) -> bool:
        """Return whether anything can be said yet."""
        return self.estimate.error_rate is not None


@dataclass(frozen=True, slots=True)
class ReviewHead:
    """The bar at the top: how far people are in the view, and how wrong the verdicts are."""

    run: Run
    done: int
    total: int
    audit: tuple[AuditLine, ...]
    run_href: str
    annotator: str
    blind: bool
    corrections: int
    train_href: str

    @property
    def percent(self) -> float:
        """Return how much of the view is reviewed, in percent."""
        return 100 * self.done / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class LevelButton:
    """One label of the scale: its words, the button's mark, and whether the annotator holds it."""

    label: int
    mark: str
    text: str
    held: bool


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One act of a person. `undone` says that it was taken back later."""

    event: LabelEvent
    flags: tuple[str, ...]
    own: bool

    @property
    def undone(self) -> bool:
        """Return whether this act counts no more."""
        return self.event.retracted

    @property
    def kind(self) -> CorrectionKind:
        """Return what the person did."""
        return self.event.kind


@dataclass(frozen=True, slots=True)
class FamilyLine:
    """A near-duplicate of the item in the same run."""

    external_id: str
    dimension: str
    current: int | None
    href: str


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """The middle and the right pane."""

    address: ReviewAddress
    item: Item
    run: Run
    dimension: Dimension
    dimension_name: str
    hidden: bool
    blind: bool
    judged: Judged
    examples: tuple[Example, ...]
    buttons: tuple[LevelButton, ...]
    mine: PersonLabel | None
    note: str
    flags: frozenset[Flag]
    people: tuple[PersonLabel, ...]
    state: ReviewState
    current: int | None
    history: tuple[HistoryLine, ...]
    family: tuple[FamilyLine, ...]
    leased_by: str
    adjudicating: bool
    audit: bool
    duplicate: bool
    row_href: str
    run_href: str

    @property
    def characters(self) -> int:
        """Return the text's length without blanks."""
        return len("".join(self.item.text.split()))


def review_head(
    t: Translator,
    run: Run,
    counts: Sequence[ViewCount],
    audit: Sequence[AuditEstimate],
    dimensions: Mapping[str, Dimension],
    address: ReviewAddress,
    annotator: str,
    blind: bool,
    corrections: int,
) -> ReviewHead:
    """Return the bar at the top; done and total are of the chosen view, `corrections` of all runs."""
    chosen = next((count for count in counts if count.view is address.view), None)
    lines = tuple(AuditLine(dimensions[one.dimension_id].name(t.language), one) for one in audit if one.dimension_id in dimensions)
    total = chosen.total if chosen else 0
    return ReviewHead(
        run=run,
        done=total - chosen.open if chosen else 0,
        total=total,
        audit=lines,
        run_href=f"/{t.language}/run?run={run.id}",
        annotator=annotator,
        blind=blind,
        corrections=corrections,
        train_href=TrainingAddress(source=CORRECTIONS).url(t.language) if corrections else "",
    )


def queue(
    t: Translator, page: QueuePage, counts: Sequence[ViewCount], run: Run, dimensions: Mapping[str, Dimension], address: ReviewAddress,
    annotator: str, blind: bool,
) -> Queue:  # fmt: skip
    """Return the left pane. In blind mode the entries show neither votes nor verdicts."""
    pages = max(1, -(-page.total // page.page_size))
    here = page.page + 1
    return Queue(
        address=address,
        tabs=tuple(
            ViewTab(one.view, one.open, one.total, address.moved(view=one.view).url(t.language), one.view is address.view) for one in counts
        ),
        lines=tuple(_line(t, row, run, dimensions[row.dimension_id], address, annotator, blind) for row in page.rows),
        total=page.total,
        pages=pages,
        previous_href=address.moved(page=here - 1).url(t.language) if here > 1 else "",
        next_href=address.moved(page=here + 1).url(t.language) if here < pages else "",
        clear_href=address.unfiltered().url(t.language),
        families_ready=page.families_ready,
        blind=blind,
    )


def _line(t: Translator, row: QueueRow, run: Run, dimension: Dimension, address: ReviewAddress, annotator: str, blind: bool) -> QueueLine:
    votes = [label for label in row.votes if label is not None]
    return QueueLine(
        row=row,
        dimension=dimension.name(t.language),
        chips=() if blind else _chips(t, row, run, dimension),
        spread=None if blind else spread_of(votes, row.expected, dimension),
        href=address.moved(item=row.item_id).url(t.language),
        chosen=row.item_id == address.item,
        leased_by=row.leased_by if row.leased_by != annotator else "",
    )


def _chips(t: Translator, row: QueueRow, run: Run, dimension: Dimension) -> tuple[Chip, ...]:
    judges = run.panel.judges
    alone = lone_votes({judge.id: label for judge, label in zip(judges, row.votes, strict=False) if label is not None}, dimension)
    return tuple(
        silent_chip(judge.named(t.language), row.silences.get(judge.id))
        if label is None
        else Chip(judge.named(t.language), ChipKind.OUTLIER if judge.id in alone else ChipKind.VOTE, label, None)
        for judge, label in zip(judges, row.votes, strict=False)
    )


def family_lines(
    t: Translator, rows: Sequence[QueueRow], dimensions: Mapping[str, Dimension], address: ReviewAddress
) -> tuple[FamilyLine, ...]:
    """Return the near-duplicates of an item as the page lists them."""
    return tuple(
        FamilyLine(
            row.external_id, dimensions[row.dimension_id].name(t.language), row.current, address.moved(item=row.item_id).url(t.language)
        )
        for row in rows
    )


def review_item(
    t: Translator,
    found: Reviewed,
    dimension: Dimension,
    address: ReviewAddress,
    annotator: str,
    blind: bool,
    family: tuple[FamilyLine, ...] = (),
) -> ReviewItem:
    """Return the middle and the right pane of one item."""
    mine = next((person for person in found.state.people if person.author == annotator), None)
    last = next((event for event in reversed(found.history) if mine and event.id == mine.event_id), None)
    lease = found.lease
    settling = address.view is QueueView.ADJUDICATION and found.state.state in {ReviewState.CONFLICT, ReviewState.SETTLED}
    return ReviewItem(
        address=address,
        item=found.item,
        run=found.run,
        dimension=dimension,
        dimension_name=dimension.name(t.language),
        hidden=found.hidden,
        blind=blind,
        judged=judged(t, found.run, found.item.id, found.judgements, found.verdict, dimension, found.replaced),
        examples=found.examples,
        buttons=_buttons(t, dimension, None if settling else mine),
        mine=mine,
        note=last.note if last and not settling else "",
        flags=frozenset(last.flags) if last and not settling else frozenset(),
        people=tuple(person for person in found.state.people if person.label is not None),
        state=found.state.state,
        current=found.current,
        history=tuple(history_line(t, event, annotator) for event in found.history if event.kind is not CorrectionKind.UNDO),
        family=family,
        leased_by=lease.annotator if lease and not lease.held and lease.annotator != annotator else "",
        adjudicating=settling,
        audit=bool(found.row and found.row.audit) and not found.hidden,
        duplicate=bool(found.row and found.row.duplicate),
        row_href=RowAddress(found.item.id).url(t.language),
        run_href=f"/{t.language}/run?run={found.run.id}&item={found.item.id}",
    )


def _buttons(t: Translator, dimension: Dimension, mine: PersonLabel | None) -> tuple[LevelButton, ...]:
    return tuple(
        LevelButton(
            label,
            t.pick(dimension.marks.get(label, {})),
            t.pick(dimension.levels.get(label, {})),
            mine is not None and mine.label == label,
        )
        for label in dimension.labels
    )


def history_line(t: Translator, event: LabelEvent, annotator: str) -> HistoryLine:
    """Return one act as the pages list it."""
    return HistoryLine(event, tuple(t.member("flag", flag) for flag in event.flags), event.author == annotator)
