"""The run page: live progress, the table of rows, a row in detail, downloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
from markupsafe import Markup

from core.queries import RowSort, RunProgress
from core.types import Dimension, JudgementStatus
from webapp.identity import identify
from webapp.pages.address import RunAddress
from webapp.pages.judged_view import LIVE_STATES
from webapp.pages.render import Renderer
from webapp.pages.run_view import RESUMABLE_STATES, detail, listing, opened, run_head
from webapp.pages.shell import LATEST, READ_QUERY, READ_QUERY_AND, NoticeKind, PageName, Shell, at_edge, build_shell, html, notice_html
from webapp.workbench import Workbench

POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class RunPageParts:
    """The components of the run page."""

    shell: Shell
    head: gr.HTML
    strip: gr.HTML
    stop: gr.Button
    resume: gr.Button
    aggregator: gr.Dropdown
    downloads: gr.HTML
    notice: gr.HTML
    rows: gr.HTML
    detail: gr.HTML
    timer: gr.Timer

    @property
    def outputs(self) -> list[object]:
        """Return the components that every refresh writes, in the order of `Shown.values`."""
        return [self.head, self.strip, self.stop, self.resume, self.aggregator, self.downloads, self.rows, self.detail, self.timer]


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows after an event, in the order of RunPageParts.outputs."""

    head: str
    strip: str
    stoppable: bool
    resumable: bool
    aggregator: str
    downloads: str
    rows: str
    detail: str
    live: bool

    def values(self) -> tuple[object, ...]:
        """Return the updates for Gradio."""
        return (
            self.head,
            self.strip,
            gr.Button(visible=self.stoppable),
            gr.Button(visible=self.resumable),
            gr.Dropdown(value=self.aggregator or None, visible=bool(self.aggregator)),
            self.downloads,
            self.rows,
            self.detail,
            gr.Timer(active=self.live),
        )


def nothing_shown(render: Renderer, notice: str) -> Shown:
    """Return a page that holds a notice and the way to the list of runs."""
    return Shown("", render("run_missing.html", notice=Markup(notice)), False, False, "", "", "", "", False)


def build_run(render: Renderer, workbench: Workbench) -> RunPageParts:
    """Build the run page."""
    t = render.t
    shell = build_shell(render, PageName.RUN)
    with gr.Row(elem_id="run-bar"):
        head = html("run-head", f'<p class="loading">{t("notice.loading")}</p>')
        stop = gr.Button(t("run.stop"), visible=False, size="sm", elem_id="run-stop", min_width=0)
        resume = gr.Button(t("run.resume"), visible=False, size="sm", variant="primary", elem_id="run-resume", min_width=0)
        choices = [(t("run.aggregated_by", name=t.member("aggregator", name)), name) for name in workbench.aggregators()]
        aggregator = gr.Dropdown(
            choices, label=t("run.aggregator"), visible=False, filterable=False, elem_id="run-aggregator", min_width=0, container=False
        )
        downloads = html("run-downloads")
    notice, strip = html("run-notice"), html("run-strip")
    with gr.Row(elem_id="run-work"):
        rows = html("run-rows")
        row_detail = html("run-detail")
    return RunPageParts(
        shell, head, strip, stop, resume, aggregator, downloads, notice, rows, row_detail, gr.Timer(POLL_SECONDS, active=False)
    )


@dataclass(frozen=True, slots=True)
class RunHandlers:
    """The run page's handlers over the workbench."""

    workbench: Workbench
    render: Renderer

    def show(self, query: str, viewer: str = "") -> Shown:
        """Return the whole page for a query string; that `viewer` saw the open row's votes is kept."""
        address = RunAddress.parse(query)
        if not address.run:
            return nothing_shown(self.render, notice_html(self.render, self.render.t("run.missing"), NoticeKind.INFO))
        progress = self.workbench.progress(address.run)
        dimensions = {dimension.id: dimension for dimension in self.workbench.dimensions()}
        head = run_head(self.render.t, progress, dimensions, address)
        rows, row = self._rows(query, address, progress, dimensions, viewer)
        return Shown(
            head=self.render("run_head.html", head=head),
            strip=self.render("run_strip.html", head=head),
            stoppable=progress.state in LIVE_STATES,
            resumable=progress.state in RESUMABLE_STATES,
            aggregator=progress.run.aggregator,
            downloads=self.render("downloads.html", run_id=address.run),
            rows=rows,
            detail=row,
            live=progress.state in LIVE_STATES,
        )

    def _rows(
        self, query: str, address: RunAddress, progress: RunProgress, dimensions: dict[str, Dimension], viewer: str
    ) -> tuple[str, str]:
        """Return the HTML of the table and of the opened row ("" for none)."""
        t = self.render.t
        page = self.workbench.rows(address.run, address.rows())
        item = opened(page, address.item)
        opened_address = address.moved(item=str(item)) if item else address
        row = ""
        if item:
            found = self.workbench.row(address.run, item)
            shown = detail(t, found, page, dimensions[found.item.dimension_id], opened_address)
            row = self.render("run_detail.html", row=shown)
            if viewer and found.judgements:
                self.workbench.review.saw(viewer, item)
        present = [dimension for name, dimension in dimensions.items() if name in progress.by_dimension]
        chosen = [dimension for dimension in present if dimension.id == address.dimension] or present
        table = self.render(
            "run_rows.html",
            listing=listing(t, page, progress, dimensions, opened_address),
            row=bool(row),
            query=query,
            dimensions=present,
            labels=sorted({label for dimension in chosen for label in dimension.labels}),
            statuses=[status for status in JudgementStatus if status is not JudgementStatus.OK],
            sorts=list(RowSort),
        )
        return table, row

    def stop(self, query: str) -> str:
        """Ask the run to stop and return a notice."""
        self.workbench.stop(RunAddress.parse(query).run)
        return self._info("run.stopping")

    def resume(self, query: str) -> str:
        """Queue the run again and return a notice."""
        self.workbench.resume(RunAddress.parse(query).run)
        return self._info("run.resumed")

    def reaggregate(self, query: str, aggregator: str) -> str:
        """Derive every verdict anew and return a notice."""
        self.workbench.reaggregate(RunAddress.parse(query).run, aggregator)
        return self._info("run.reaggregated", aggregator=self.render.t.member("aggregator", aggregator))

    def _info(self, key: str, **values: object) -> str:
        return notice_html(self.render, self.render.t(key, **values), NoticeKind.INFO)


def bind_run(page: RunPageParts, demo: gr.Blocks, workbench: Workbench, render: Renderer) -> None:
    """Restore the page from its URL at load, follow the URL, and poll once a second while the run is live."""
    handlers = RunHandlers(workbench, render)
    query = page.shell.query

    def show(text: str, request: gr.Request) -> tuple[object, ...]:
        return handlers.show(text, identify(request.cookies, request.username).annotator).values()

    refresh = at_edge(render, show, lambda notice: nothing_shown(render, notice).values())
    options = {"js": READ_QUERY, "show_progress": "hidden", "api_visibility": "private"}
    for event in (demo.load, page.timer.tick):
        event(refresh, [query], page.outputs, **options)
    page.shell.header.go(refresh, [query], page.outputs, trigger_mode=LATEST, **options)

    def act(event: Callable[..., gr.events.Dependency], handler: Callable[..., str], *inputs: object) -> None:
        """Run an action, show its notice, then draw the page anew."""
        guarded = at_edge(render, handler, lambda notice: notice)
        asked = event(guarded, [query, *inputs], [page.notice], **(options | {"js": READ_QUERY_AND}))
        asked.then(refresh, [query], page.outputs, **options)

    act(page.stop.click, handlers.stop)
    act(page.resume.click, handlers.resume)
    act(page.aggregator.input, handlers.reaggregate, page.aggregator)
