"""The short list of recent runs on the judge page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.types import Run, RunState
from webapp.pages.render import Renderer
from webapp.workbench import Workbench

POLL_SECONDS = 2.0
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


def run_line(workbench: Workbench, run: Run) -> RunLine:
    """Return a run's line."""
    now = workbench.progress(run.id)
    return RunLine(run, now.state, now.decided, now.total, now.rate, now.seconds_left, now.elapsed_seconds, now.queue_place)


def runs_html(render: Renderer, lines: Sequence[RunLine], heading: bool) -> str:
    """Return the list of runs; with a heading it is the short one of the judge page."""
    return render("runs.html", runs=lines, heading=heading)
