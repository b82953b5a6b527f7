"""What the run page shows, made of what the workbench knows: pure functions from domain objects to view objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.queries import JudgeProgress, RowDetail, RowSort, RunPage, RunProgress, RunRow
from core.types import Decision, Dimension, DimensionKind, Example, Item, JudgementStatus, JudgeSpec, Outcome, Run, RunState
from db.asked_again import ASKED_AGAIN
from webapp.pages.address import FIRST, LAST, RunAddress
from webapp.pages.figures import Bar, Chip, Spread, bars, chips, spread
from webapp.pages.judged_view import LIVE_STATES, Judged, judged
from webapp.pages.translate import Translator

RESUMABLE_STATES = frozenset({RunState.PAUSED, RunState.STOPPED, RunState.FAILED})


@dataclass(frozen=True, slots=True)
class JudgeLine:
    """How far one judge is: `rate` in rows a second over the time worked; `troubles` counts answers that are no votes."""

    name: str
    lead: bool
    done: int
    percent: float
    rate: float | None
    seconds_left: float | None
    latency_ms: float
    troubles: tuple[tuple[JudgementStatus, int, str], ...]


@dataclass(frozen=True, slots=True)
class OutcomeTab:
    """A filter by outcome with its count; `outcome` is None for all rows."""

    outcome: Outcome | None
    count: int
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class DimensionSummary:
    """The verdicts of one dimension: how many rows, and a histogram whose bars lead to the rows."""

    name: str
    rows: int
    href: str
    bars: tuple[tuple[Bar, int, str], ...]


@dataclass(frozen=True, slots=True)
class RunHead:
    """The top of the run page."""

    run: Run
    state: RunState
    live: bool
    progress: RunProgress
    percent: float
    judges: tuple[JudgeLine, ...]
    dimensions: tuple[DimensionSummary, ...]
    can_ask_again: int


@dataclass(frozen=True, slots=True)
class RowLine:
    """One row of the table."""

    item: Item
    dimension: str
    chips: tuple[Chip, ...]
    decision: Decision | None
    spread: Spread | None
    ordinal: bool
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """The table: the rows of one page, the filters, and the ways to the other pages ("" where there is none)."""

    address: RunAddress
    tabs: tuple[OutcomeTab, ...]
    rows: tuple[RowLine, ...]
    total: int
    first: int
    last: int
    pages: int
    previous_href: str
    next_href: str
    clear_href: str
    top_href: str


@dataclass(frozen=True, slots=True)
class Detail:
    """A row in full."""

    run_id: int
    item: Item
    dimension: Dimension
    dimension_name: str
    judged: Judged
    examples: tuple[Example, ...]
    close_href: str
    previous_href: str
    next_href: str


def _troubles(progress: RunProgress) -> int:
    """Return how many answers are no votes and may be asked for again."""
    return sum(judge.by_status.get(status, 0) for judge in progress.judges for status in ASKED_AGAIN)


def run_head(t: Translator, progress: RunProgress, dimensions: Mapping[str, Dimension], address: RunAddress) -> RunHead:
    """Return the top of the run page."""
    run = progress.run
    answers = {judge.judge_id: judge for judge in progress.judges}
    return RunHead(
        run=run,
        state=progress.state,
        live=progress.state in LIVE_STATES,
        progress=progress,
        percent=100 * progress.decided / progress.total if progress.total else 0.0,
        can_ask_again=0 if progress.state in LIVE_STATES else _troubles(progress),
        judges=tuple(_judge_line(t, spec, answers.get(spec.id), progress, address) for spec in run.panel.judges),
        dimensions=tuple(
            _dimension_summary(t, dimensions[name], rows, progress.label_counts.get(name, {}), address)
            for name, rows in progress.by_dimension.items()
            if name in dimensions
        ),
    )


def _judge_line(t: Translator, spec: JudgeSpec, answer: JudgeProgress | None, progress: RunProgress, address: RunAddress) -> JudgeLine:
    done = answer.done if answer else 0
    average = sum(judge.done for judge in progress.judges) / len(progress.judges) if progress.judges else 0
    # The run's rate is that of the average judge over the seconds in which judges answered; so is each judge's own.
    rate = progress.rate * done / average if progress.rate and done and average else None
    troubles = tuple(
        (status, number, address.unfiltered().moved(status=status).url(t.language))
        for status, number in (answer.by_status.items() if answer else ())
        if number and status is not JudgementStatus.OK
    )
    return JudgeLine(
        name=spec.named(t.language),
        lead=spec.id == progress.run.panel.lead,
        done=done,
        percent=100 * done / progress.total if progress.total else 0.0,
        rate=rate,
        seconds_left=(progress.total - done) / rate if rate else None,
        latency_ms=answer.mean_latency_ms if answer else 0.0,
        troubles=troubles,
    )


def _dimension_summary(t: Translator, dimension: Dimension, rows: int, labels: Mapping[int, int], address: RunAddress) -> DimensionSummary:
    total = sum(labels.values())
    shares = {label: labels.get(label, 0) / total for label in dimension.labels} if total else {}
    base = address.unfiltered().moved(dimension=dimension.id)
    drawn = bars(shares, dimension, full=max(shares.values(), default=1.0))
    linked = tuple((bar, labels.get(bar.label, 0), base.moved(label=str(bar.label)).url(t.language)) for bar in drawn)
    return DimensionSummary(dimension.name(t.language), rows, base.url(t.language), linked)


def listing(t: Translator, page: RunPage, progress: RunProgress, dimensions: Mapping[str, Dimension], address: RunAddress) -> Listing:
    """Return the table of a page of rows."""
    pages = max(1, -(-page.total // page.page_size))
    here = page.page + 1
    start = page.page * page.page_size
    return Listing(
        address=address,
        tabs=_tabs(t, progress, address),
        rows=tuple(_row_line(t, row, progress.run, dimensions[row.item.dimension_id], address) for row in page.rows),
        total=page.total,
        first=start + 1 if page.rows else 0,
        last=start + len(page.rows),
        pages=pages,
        previous_href=address.moved(page=here - 1, item="").url(t.language) if here > 1 else "",
        next_href=address.moved(page=here + 1, item="").url(t.language) if here < pages else "",
        clear_href=address.unfiltered().url(t.language),
        top_href="" if address.item or not progress.decided else address.moved(sort=RowSort.DISAGREEMENT, item=FIRST).url(t.language),
    )


def _tabs(t: Translator, progress: RunProgress, address: RunAddress) -> tuple[OutcomeTab, ...]:
    everything = OutcomeTab(None, progress.total, address.moved(outcome=None).url(t.language), address.outcome is None)
    return everything, *(
        OutcomeTab(outcome, progress.by_outcome.get(outcome, 0), address.moved(outcome=outcome).url(t.language), address.outcome is outcome)
        for outcome in Outcome
    )


def _row_line(t: Translator, row: RunRow, run: Run, dimension: Dimension, address: RunAddress) -> RowLine:
    decision = row.verdict.decision if row.verdict else None
    return RowLine(
        item=row.item,
        dimension=dimension.name(t.language),
        chips=chips(run.panel, row.judgements, dimension, t.language),
        decision=decision,
        spread=spread(row.judgements, decision, dimension),
        ordinal=dimension.kind is DimensionKind.ORDINAL,
        href=address.moved(item=str(row.item.id)).url(t.language),
        chosen=address.item == str(row.item.id),
    )


def opened(page: RunPage, item: str) -> int | None:
    """Return the id of the row that an address opens: a number, or the first or last of its page; None for none."""
    if item in {FIRST, LAST}:
        return page.rows[0 if item == FIRST else -1].item.id if page.rows else None
    return int(item) if item.isascii() and item.isdigit() and len(item) < 18 else None


def detail(t: Translator, found: RowDetail, page: RunPage, dimension: Dimension, address: RunAddress) -> Detail:
    """Return a row in full; its neighbours are those of the list beside it, else those of the sheet."""
    back, forth = _neighbours(found, page, address)
    return Detail(
        run_id=found.run.id,
        item=found.item,
        dimension=dimension,
        dimension_name=dimension.name(t.language),
        judged=judged(t, found.run, found.item.id, found.judgements, found.verdict, dimension, found.replaced),
        examples=found.examples,
        close_href=address.moved(item="").url(t.language),
        previous_href=back.url(t.language) if back else "",
        next_href=forth.url(t.language) if forth else "",
    )


def _neighbours(found: RowDetail, page: RunPage, address: RunAddress) -> tuple[RunAddress | None, RunAddress | None]:
    ids = [row.item.id for row in page.rows]
    if found.item.id not in ids:
        back, forth = found.previous_id, found.next_id
        return (address.moved(item=str(back)) if back else None, address.moved(item=str(forth)) if forth else None)
    place, here = ids.index(found.item.id), page.page + 1
    pages = -(-page.total // page.page_size)
    before = address.moved(item=str(ids[place - 1])) if place else address.moved(page=here - 1, item=LAST) if here > 1 else None
    last = place == len(ids) - 1
    after = address.moved(item=str(ids[place + 1])) if not last else address.moved(page=here + 1, item=FIRST) if here < pages else None
    return before, after
