"""The review page: the queue, one item with what the judges said, the label form; and what its quick requests answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import gradio as gr
from markupsafe import Markup

from core.review import Flag, Outcomes, QueuePage, QueueQuery, QueueScope, QueueView
from core.types import Dimension, Run
from webapp.identity import Identity, identify
from webapp.pages.judged_view import LIVE_STATES
from webapp.pages.render import Renderer
from webapp.pages.review_address import ReviewAddress
from webapp.pages.review_view import Queue, ReviewHead, ReviewItem, family_lines, queue, review_head, review_item
from webapp.pages.runs import run_line
from webapp.pages.shell import ATTACH_REVIEW, READ_QUERY, PageName, Shell, at_edge, build_shell, html
from webapp.services.review import ReviewDesk
from webapp.workbench import Workbench

RUNS_OFFERED = 30
# How many rows that others have are passed over before the queue is asked from its beginning.
STEPS_OVER_LEASED = 25


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """The components of the review page."""

    shell: Shell
    body: gr.HTML


@dataclass(frozen=True, slots=True)
class Panes:
    """One item ready to be shown: `search` is the query string of its URL; `item` is 0 where the queue is empty."""

    item: int
    search: str
    middle: str
    form: str


@dataclass(frozen=True, slots=True)
class Pulse:
    """What changes while others work: progress, the views' counts, and who has which row of the shown page."""

    progress: str
    tabs: str
    leases: dict[int, str]


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of an act: its item, the label that the item has now ("" for none) and a sentence for the person."""

    item: int
    current: str
    told: str
    pulse: Pulse


def build_review(render: Renderer) -> ReviewPage:
    """Build the review page."""
    shell = build_shell(render, PageName.REVIEW, ATTACH_REVIEW)
    return ReviewPage(shell, html("review-body", _hosted(f'<p class="loading">{render.t("notice.loading")}</p>')))


def _hosted(page: str) -> str:
    return f"<div data-review-host>{page}</div>"


@dataclass(frozen=True, slots=True)
class ReviewHandlers:
    """The review page's handlers over the workbench."""

    workbench: Workbench
    render: Renderer

    @property
    def desk(self) -> ReviewDesk:
        """Return the review desk."""
        return self.workbench.review

    def show(self, query: str, who: Identity) -> str:
        """Return the whole page for a query string."""
        address = ReviewAddress.parse(query)
        if not address.run:
            return self._choose()
        run = self.workbench.run(address.run)
        blind = self._blind(address, who)
        address, page = self._page(address, who)
        item = self._take(address, page, who)
        address = replace(address, item=item)
        left, head = self._left(run, address, page, who, blind)
        present = self._dimensions_of(run)
        return self.render(
            "review.html",
            head=head,
            queue=left,
            dimensions=present,
            labels=_labels(present, address),
            scopes=tuple(QueueScope),
            row=self._shown(address, who, blind) if item else None,
            query=query,
            search=_search(address.url(self.render.t.language)),
            who=who,
            live=run.state in LIVE_STATES,
            at=time.monotonic_ns(),
            empty=self._empty(address),
        )

    def _page(self, address: ReviewAddress, who: Identity) -> tuple[ReviewAddress, QueuePage]:
        """Return a page of the queue: the one that holds the address's item, where it names an item and no page."""
        asked = address.queue()
        if address.item and address.page == 1:
            place = self.desk.neighbours(address.run, asked, address.item, who.annotator).index
            if place is not None and place >= asked.page_size:
                address = replace(address, page=place // asked.page_size + 1)
        return address, self.desk.queue(address.run, address.queue(), who.annotator)

    def _take(self, address: ReviewAddress, page: QueuePage, who: Identity) -> int:
        """Return the item to show, leased to the annotator where nobody else has it; 0 when there is none."""
        if not who.annotator:
            return address.item or (page.rows[0].item_id if page.rows else 0)
        if address.item:
            self.desk.lease(address.run, address.item, who.annotator)
            return address.item
        if address.page > 1:
            for row in page.rows:
                if self.desk.lease(address.run, row.item_id, who.annotator).held:
                    return row.item_id
            return 0
        lease = self.desk.next_item(address.run, address.queue(), who.annotator)
        return lease.item_id if lease else 0

    def _left(self, run: Run, address: ReviewAddress, page: QueuePage, who: Identity, blind: bool) -> tuple[Queue, ReviewHead]:
        dimensions = self._dimensions()
        counts = self.desk.counts(run.id, who.annotator, address.queue())
        audit = self.desk.audit(run.id)
        corrections = self.desk.corrections()
        head = review_head(self.render.t, run, counts, audit, dimensions, address, who.annotator, blind, corrections)
        return queue(self.render.t, page, counts, run, dimensions, address, who.annotator, blind), head

    def _item(self, address: ReviewAddress, who: Identity, blind: bool) -> ReviewItem:
        found = self.desk.item(address.run, address.item, who.annotator, blind=blind)
        dimensions = self._dimensions()
        family = family_lines(self.render.t, self.desk.family(address.run, address.item), dimensions, address)
        return review_item(self.render.t, found, dimensions[found.item.dimension_id], address, who.annotator, blind, family)

    def _shown(self, address: ReviewAddress, who: Identity, blind: bool) -> ReviewItem:
        """Return an item that is put before the annotator's eyes now, which is kept where its votes are in sight."""
        row = self._item(address, who, blind)
        if not row.hidden:
            self.desk.saw(who.annotator, address.item)
        return row

    def _choose(self) -> str:
        runs = [run for run in self.workbench.runs(RUNS_OFFERED) if run.items]
        return self.render("review_choose.html", runs=[run_line(self.workbench, run) for run in runs])

    def _empty(self, address: ReviewAddress) -> str:
        """Return what to say when the queue has no row for the annotator."""
        key = "review.empty_filtered" if address.filtered else f"review.empty_{address.view}"
        return self.render.t(key)

    def _blind(self, address: ReviewAddress, who: Identity) -> bool:
        # Whoever settles what others differ on must see what they said.
        return who.blind and address.view is not QueueView.ADJUDICATION

    def _dimensions(self) -> dict[str, Dimension]:
        return {dimension.id: dimension for dimension in self.workbench.dimensions()}

    def _dimensions_of(self, run: Run) -> list[Dimension]:
        present = self.workbench.run_dimensions(run)
        return [dimension for dimension in self.workbench.dimensions() if dimension.id in present]

    # The quick requests

    def page(self, query: str, who: Identity) -> str:
        """Return the whole page, or what went wrong in words."""
        return at_edge(self.render, self.show, lambda notice: failed_html(self.render, notice))(query, who)

    def panes(self, query: str, who: Identity) -> Panes:
        """Return the panes of the address's item, leased where it is free."""
        address = ReviewAddress.parse(query)
        if address.item and who.annotator:
            self.desk.lease(address.run, address.item, who.annotator)
        panes = self._panes(address, who)
        if address.item and not self._blind(address, who):
            self.desk.saw(who.annotator, address.item)
        return panes

    def next(self, query: str, who: Identity, after: int, passed: Sequence[int]) -> Panes:
        """Lease the row that comes after `after` in the queue, none of `passed`, and return its panes.

        At the queue's end it begins anew; the panes of item 0 say that nothing is left.
        """
        address = ReviewAddress.parse(query)
        asked, avoid = address.queue(), {after, *passed}
        if after and not self._blind(address, who):
            self.desk.saw(who.annotator, after)  # it is on the page; what is fetched ahead may never be
        found = self._after(address.run, asked, who.annotator, after, avoid) or self._first(address.run, asked, who.annotator, avoid)
        return self._panes(replace(address, item=found, page=1), who)

    def _after(self, run: int, asked: QueueQuery, annotator: str, after: int, avoid: set[int]) -> int:
        here: int | None = after
        for _ in range(STEPS_OVER_LEASED):
            here = self.desk.neighbours(run, asked, here, annotator).next_id if here else None
            if here is None:
                return 0
            if here not in avoid and self.desk.lease(run, here, annotator).held:
                return here
        return 0

    def _first(self, run: int, asked: QueueQuery, annotator: str, avoid: set[int]) -> int:
        """Return the first free row of the queue, leased, or 0; only as far as the first page reaches."""
        for row in self.desk.queue(run, replace(asked, page=0, page_size=asked.page_size + len(avoid)), annotator).rows:
            if row.item_id not in avoid and row.leased_by in {"", annotator} and self.desk.lease(run, row.item_id, annotator).held:
                return row.item_id
        return 0

    def _panes(self, address: ReviewAddress, who: Identity) -> Panes:
        search = _search(address.url(self.render.t.language))
        if not address.item:
            return Panes(0, search, self.render("review_empty.html", empty=self._empty(address), queue=None), "")
        row = self._item(address, who, self._blind(address, who))
        return Panes(address.item, search, self.render("review_item.html", row=row), self.render("review_form.html", row=row))

    def queue_html(self, query: str, who: Identity) -> str:
        """Return the left pane anew."""
        address = ReviewAddress.parse(query)
        run = self.workbench.run(address.run)
        address, page = self._page(address, who)
        left, _ = self._left(run, address, page, who, self._blind(address, who))
        present = self._dimensions_of(run)
        return self.render(
            "review_queue.html",
            queue=left,
            dimensions=present,
            labels=_labels(present, address),
            scopes=tuple(QueueScope),
        )

    def pulse(self, query: str, who: Identity) -> Pulse:
        """Return progress, counts and leases anew, and renew the lease of the address's item."""
        address = ReviewAddress.parse(query)
        if address.item and who.annotator:
            self.desk.lease(address.run, address.item, who.annotator)
        return self._pulse(address, who)

    def _pulse(self, address: ReviewAddress, who: Identity) -> Pulse:
        run = self.workbench.run(address.run)
        address, page = self._page(address, who)
        left, head = self._left(run, address, page, who, self._blind(address, who))
        leases = {line.row.item_id: line.leased_by for line in left.lines if line.leased_by}
        return Pulse(self.render("review_progress.html", head=head), self.render("review_tabs.html", queue=left), leases)

    def label(
        self, query: str, who: Identity, item: int, label: int, note: str, flags: Sequence[Flag], *, blind: bool, adjudicate: bool
    ) -> Saved:
        """Append a label, or the label that settles what others differ on. Raises LabelError, NotFound."""
        address = ReviewAddress.parse(query)
        if adjudicate:
            done = self.desk.adjudicate(address.run, item, label, who.annotator, note=note)
        else:
            done = self.desk.label(address.run, item, label, who.annotator, "", note, flags, blind=blind, view=address.view)
        return self._saved(query, who, done, "review.told_settled" if adjudicate else "review.told_saved")

    def skip(self, query: str, who: Identity, item: int, note: str, flags: Sequence[Flag]) -> Saved:
        """Pass over a row."""
        done = self.desk.skip(ReviewAddress.parse(query).run, item, who.annotator, note, flags)
        return self._saved(query, who, done, "review.told_skipped")

    def undo(self, query: str, who: Identity) -> Saved:
        """Take back the annotator's latest act in the run. Raises LabelError when there is none."""
        done = self.desk.undo(ReviewAddress.parse(query).run, who.annotator)
        return self._saved(query, who, done, "review.told_undone")

    def _saved(self, query: str, who: Identity, done: Outcomes, key: str) -> Saved:
        item = self.workbench.row(ReviewAddress.parse(query).run, done.event.item_id).item
        label = "" if done.event.label is None else str(done.event.label)
        told = self.render.t(key, id=item.external_id, label=label)
        # The row is let go of with its label: only the page's own pulse renews a lease.
        return Saved(item.id, "" if done.current is None else str(done.current), told, self._pulse(ReviewAddress.parse(query), who))

    def release(self, query: str, who: Identity, items: Sequence[int]) -> None:
        """Give rows back that the annotator has and does not look at any more."""
        for item in items:
            self.desk.release(ReviewAddress.parse(query).run, who.annotator, item)


def _labels(present: Sequence[Dimension], address: ReviewAddress) -> list[int]:
    chosen = [dimension for dimension in present if dimension.id == address.dimension] or present
    return sorted({label for dimension in chosen for label in dimension.labels})


def _search(url: str) -> str:
    return "?" + url.partition("?")[2]


def bind_review(page: ReviewPage, demo: gr.Blocks, workbench: Workbench, render: Renderer) -> None:
    """Draw the page from its URL at load; who asks is told by the request. Later the page asks its own routes."""
    handlers = ReviewHandlers(workbench, render)

    def show(query: str, request: gr.Request) -> str:
        return _hosted(handlers.page(query, identify(request.cookies, request.username)))

    demo.load(show, [page.shell.query], [page.body], js=READ_QUERY, show_progress="hidden", api_visibility="private")


def failed_html(render: Renderer, notice: str) -> str:
    """Return a page that holds a notice and the way to the runs."""
    return render("run_missing.html", notice=Markup(notice))
