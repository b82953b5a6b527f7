"""The row page: one item in all runs, and everything that people ever said of it."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from core.review import ItemHistory, ItemState, ReviewState
from core.types import Decision, Dimension, Item, Run
from webapp.identity import identify
from webapp.pages.figures import Chip, Spread, chips, spread
from webapp.pages.render import Renderer
from webapp.pages.review import failed_html
from webapp.pages.review_address import ReviewAddress, RowAddress
from webapp.pages.review_view import HistoryLine, history_line
from webapp.pages.shell import LATEST, READ_QUERY, NoticeKind, PageName, Shell, at_edge, build_shell, html, notice_html
from webapp.pages.translate import Translator
from webapp.pages.why import WhyAsk, why_asks
from webapp.workbench import Workbench


@dataclass(frozen=True, slots=True)
class RowPage:
    """The components of the row page."""

    shell: Shell
    body: gr.HTML


@dataclass(frozen=True, slots=True)
class Appearance:
    """The row in one run."""

    run: Run
    chips: tuple[Chip, ...]
    spread: Spread | None
    decision: Decision | None
    run_href: str
    review_href: str
    asks: tuple[WhyAsk, ...] = ()


@dataclass(frozen=True, slots=True)
class RowShown:
    """The row page's view: the label now is people's, else the newest verdict's (`by_people` tells which)."""

    item: Item
    dimension: Dimension
    dimension_name: str
    state: ItemState
    current: int | None
    by_people: bool
    appearances: tuple[Appearance, ...]
    history: tuple[HistoryLine, ...]


def build_row(render: Renderer) -> RowPage:
    """Build the row page."""
    shell = build_shell(render, PageName.ROW)
    return RowPage(shell, html("row-body", f'<p class="loading">{render.t("notice.loading")}</p>'))


def row_shown(t: Translator, found: ItemHistory, dimension: Dimension) -> RowShown:
    """Return what the row page shows; runs stand newest first, acts oldest first."""
    newest_first = sorted(found.appearances, key=lambda one: -one.run.id)
    appearances = tuple(
        Appearance(
            run=one.run,
            chips=chips(one.run.panel, one.judgements, dimension, t.language),
            spread=spread(one.judgements, one.verdict.decision if one.verdict else None, dimension),
            decision=one.verdict.decision if one.verdict else None,
            run_href=f"/{t.language}/run?run={one.run.id}&item={one.item_id}",
            review_href=ReviewAddress(run=one.run.id, item=one.item_id).url(t.language),
            asks=why_asks(one.run, one.judgements, t.language),
        )
        for one in newest_first
    )
    by_people = found.state.state in {ReviewState.LABELLED, ReviewState.SETTLED}
    verdict = next((one.decision.label for one in appearances if one.decision), None)
    return RowShown(
        item=found.item,
        dimension=dimension,
        dimension_name=dimension.name(t.language),
        state=found.state,
        current=found.state.label if by_people else verdict,
        by_people=by_people,
        appearances=appearances,
        history=tuple(history_line(t, event, "") for event in found.events),
    )


@dataclass(frozen=True, slots=True)
class RowHandlers:
    """The row page's handler over the workbench."""

    workbench: Workbench
    render: Renderer

    def show(self, query: str, viewer: str = "") -> str:
        """Return the whole page for a query string; that `viewer` saw the row's votes is kept."""
        address = RowAddress.parse(query)
        if not address.item:
            return failed_html(self.render, notice_html(self.render, self.render.t("row.missing"), NoticeKind.INFO))
        found = self.workbench.review.history(address.item)
        dimension = next(one for one in self.workbench.dimensions() if one.id == found.item.dimension_id)
        for one in found.appearances if viewer else ():
            if one.judgements:
                self.workbench.review.saw(viewer, one.item_id)
        return self.render("row.html", row=row_shown(self.render.t, found, dimension), query=query)


def bind_row(page: RowPage, demo: gr.Blocks, workbench: Workbench, render: Renderer) -> None:
    """Draw the page from its URL at load and whenever the URL changes."""
    handlers = RowHandlers(workbench, render)

    def show(query: str, request: gr.Request) -> str:
        return handlers.show(query, identify(request.cookies, request.username).annotator)

    draw = at_edge(render, show, lambda notice: failed_html(render, notice))
    options = {"js": READ_QUERY, "show_progress": "hidden", "api_visibility": "private"}
    demo.load(draw, [page.shell.query], [page.body], **options)
    page.shell.header.go(draw, [page.shell.query], [page.body], trigger_mode=LATEST, **options)
