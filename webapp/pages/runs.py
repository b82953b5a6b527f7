"""The runs page, and the short list of recent runs on the judge page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from core.types import Run, RunState
from webapp.pages.render import Renderer
from webapp.pages.run_view import LIVE_STATES
from webapp.pages.shell import READ_QUERY, PageName, Shell, at_edge, build_shell, html
from webapp.workbench import Workbench

POLL_SECONDS = 2.0
LIMIT = 50
RECENT = 6


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run in a list; `rate` is in rows a second over the time worked."""

    run: Run
    state: RunState
    decided: int
    total: int
    rate: float | None
    seconds_left: float | None
    elapsed_seconds: float
    queue_place: int

    @property
    def percent(self) -> float:
        """Return how much of the run is decided, in percent."""
        return 100 * self.decided / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class RunsPage:
    """The components of the runs page."""

    shell: Shell
    body: gr.HTML
    timer: gr.Timer


def run_line(workbench: Workbench, run: Run) -> RunLine:
    """Return a run's line."""
    now = workbench.progress(run.id)
    return RunLine(run, now.state, now.decided, now.total, now.rate, now.seconds_left, now.elapsed_seconds, now.queue_place)


def runs_html(render: Renderer, lines: Sequence[RunLine], heading: bool) -> str:
    """Return the list of runs; with a heading it is the short one of the judge page."""
    return render("runs.html", runs=lines, heading=heading)


def build_runs(render: Renderer) -> RunsPage:
    """Build the runs page."""
    t = render.t
    shell = build_shell(render, PageName.RUNS)
    head = render("runs_head.html")
    html("runs-head", head)
    return RunsPage(shell, html("runs-body", f'<p class="loading">{t("notice.loading")}</p>'), gr.Timer(POLL_SECONDS, active=True))


def bind_runs(page: RunsPage, demo: gr.Blocks, workbench: Workbench, render: Renderer) -> None:
    """Show the runs at load, and again while one is at work."""

    def show(_query: str) -> tuple[object, object]:
        lines = [run_line(workbench, run) for run in workbench.runs(LIMIT)]
        live = any(line.state in LIVE_STATES for line in lines)
        return runs_html(render, lines, heading=False), gr.Timer(active=live)

    handler = at_edge(render, show, lambda notice: (notice, gr.Timer(active=False)))
    outputs = [page.body, page.timer]
    for event in (demo.load, page.timer.tick):
        event(handler, [page.shell.query], outputs, js=READ_QUERY, show_progress="hidden", api_visibility="private")
