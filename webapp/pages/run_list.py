"""The runs page: every run with what stands of it, and what can be done with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import gradio as gr

from core.desks import RunLine
from core.types import Outcome, RunState
from webapp.pages.address import RunAddress
from webapp.pages.body import Body, BodyPage, bind_body, build_body
from webapp.pages.desk_address import AgreementAddress, CompareAddress, RunsAddress
from webapp.pages.judged_view import LIVE_STATES
from webapp.pages.render import Renderer
from webapp.pages.review_address import ReviewAddress
from webapp.pages.run_view import RESUMABLE_STATES
from webapp.pages.shell import PageName
from webapp.workbench import Workbench

RUNS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class OutcomeShare:
    """How many rows had an outcome, and where they are listed."""

    outcome: Outcome
    count: int
    percent: float
    href: str


@dataclass(frozen=True, slots=True)
class RunCard:
    """One run with its links; `rate` is in rows a second, `compare_href` empty until another run is chosen to compare with."""

    line: RunLine
    state: RunState
    percent: float
    rate: float | None
    seconds_left: float | None
    elapsed_seconds: float
    queue_place: int
    outcomes: Sequence[OutcomeShare]
    href: str
    review_href: str
    agreement_href: str
    compare_href: str
    base_href: str
    base: bool
    stoppable: bool
    resumable: bool
    aggregators: Sequence[str]


@dataclass(frozen=True, slots=True)
class RunListView:
    """The page."""

    address: RunsAddress
    cards: Sequence[RunCard]
    total: int
    deleted_total: int
    pages: int
    previous_href: str
    next_href: str
    active_href: str
    deleted_href: str
    cancel_href: str


@dataclass(frozen=True, slots=True)
class RunListHandlers:
    """The runs page's handlers over the workbench."""

    workbench: Workbench
    render: Renderer

    def show(self, query: str) -> Body:
        """Return the whole page for a query string; it is live while a run is."""
        address = RunsAddress.parse(query)
        language, desk = self.render.t.language, self.workbench.run_desk
        lines = desk.lines(RUNS_SHOWN, (address.page - 1) * RUNS_SHOWN, deleted=address.deleted)
        cards = [self._card(line, address) for line in lines]
        counts = {deleted: desk.total(deleted=deleted) for deleted in (False, True)}
        pages = max(1, -(-counts[address.deleted] // RUNS_SHOWN))
        view = RunListView(
            address=address,
            cards=cards,
            total=counts[False],
            deleted_total=counts[True],
            pages=pages,
            previous_href=replace(address, page=address.page - 1).url(language) if address.page > 1 else "",
            next_href=replace(address, page=address.page + 1).url(language) if address.page < pages else "",
            active_href=RunsAddress().url(language),
            deleted_href=RunsAddress(deleted=True).url(language),
            cancel_href=replace(address, base=0).url(language),
        )
        live = any(card.state in LIVE_STATES for card in cards)
        return Body(self.render("run_list.html", view=view, query=query), live=live)

    def _card(self, line: RunLine, address: RunsAddress) -> RunCard:
        run, language = line.run, self.render.t.language
        unfinished = run.state is not RunState.DONE and not address.deleted
        # Counting a large run again costs tens of milliseconds: a run that is over has all it needs in its own row.
        now = self.workbench.progress(run.id) if unfinished else None
        seconds = now.elapsed_seconds if now else run.worked_seconds
        rate = now.rate if now else line.rate
        decided = line.counts.decided
        compared = bool(address.base) and address.base != run.id
        return RunCard(
            line=line,
            state=now.state if now else run.state,
            percent=100 * decided / run.items if run.items else 0.0,
            rate=rate,
            seconds_left=now.seconds_left if now else None,
            elapsed_seconds=seconds,
            queue_place=now.queue_place if now else 0,
            outcomes=[
                OutcomeShare(outcome, count, 100 * count / run.items, RunAddress(run=run.id, outcome=outcome).url(language))
                for outcome in Outcome
                if (count := line.counts.by_outcome.get(outcome, 0))
            ],
            href=RunAddress(run=run.id).url(language),
            review_href=ReviewAddress(run=run.id).url(language),
            agreement_href=AgreementAddress(run=run.id).url(language),
            compare_href=CompareAddress(min(address.base, run.id), max(address.base, run.id)).url(language) if compared else "",
            base_href=replace(address, base=run.id).url(language),
            base=address.base == run.id,
            stoppable=unfinished and run.state in LIVE_STATES,
            resumable=unfinished and run.state in RESUMABLE_STATES,
            aggregators=[name for name in self.workbench.aggregators() if name != run.aggregator],
        )


def build_run_list(render: Renderer) -> BodyPage:
    """Build the runs page."""
    return build_body(render, PageName.RUNS)


def bind_run_list(page: BodyPage, demo: gr.Blocks, workbench: Workbench, render: Renderer) -> None:
    """Draw the page by its URL."""
    bind_body(page, demo, render, RunListHandlers(workbench, render).show)
