"""What the training page shows of jobs and candidates: pure functions from domain objects to view objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.training import GateVerdict, Job, JobKind, JobState, Promotion, Quality, Stage
from core.types import Dimension
from webapp.pages.training_address import TrainingAddress
from webapp.pages.training_names import job_name, job_words
from webapp.pages.training_plot import Curve, Line, Pair, Plot, plot
from webapp.pages.translate import Translator
from webapp.services.training.views import CandidateView, Curves, GateReport, JobComparison, JobView, RowChange, StageDrift

LIVE = frozenset({JobState.WAITING, JobState.QUEUED, JobState.RUNNING, JobState.STOPPING})
STOPPABLE = frozenset({JobState.WAITING, JobState.QUEUED, JobState.RUNNING})
# Of a chain the first step in such a state is the one to look at.
_ATTENTION = (JobState.RUNNING, JobState.STOPPING, JobState.FAILED, JobState.STOPPED, JobState.QUEUED, JobState.WAITING)
SYMBOLS: Mapping[JobState, str] = {
    JobState.WAITING: "○", JobState.QUEUED: "○", JobState.RUNNING: "●", JobState.STOPPING: "◐",
    JobState.STOPPED: "‖", JobState.DONE: "✓", JobState.FAILED: "✕",
}  # fmt: skip
# A gain bar's scale never gets finer than this, in label steps: noise should look like noise.
FINEST_SCALE = 0.05
ROWS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class StepChip:
    """One job of a chain."""

    view: JobView
    words: str
    symbol: str
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class ChainLine:
    """A chain of jobs in the list: its steps, and the one that it stands or stood at."""

    name: str
    number: int
    author: str
    created_at: datetime
    steps: tuple[StepChip, ...]
    at: JobView
    href: str
    compare_href: str
    chosen: bool
    compared: bool

    @property
    def percent(self) -> float:
        """Return how far the step in question is, in percent."""
        return percent(self.at)

    @property
    def stoppable(self) -> bool:
        """Return whether the step in question can be stopped."""
        return self.at.job.state in STOPPABLE


def percent(view: JobView) -> float:
    """Return how far a job is, in percent."""
    if view.job.state is JobState.DONE:
        return 100.0
    return min(100.0, 100 * view.step / view.steps) if view.steps else 0.0


def chain_lines(
    t: Translator, views: Sequence[JobView], address: TrainingAddress, judges: Mapping[str, str] | None = None
) -> tuple[ChainLine, ...]:
    """Return the jobs as chains, the newest first; a job whose predecessor is not in the list begins a line.

    `judges` are the words for "panel/judge".
    """
    by_id = {view.job.id: view for view in views}
    chains: dict[int, list[JobView]] = {}
    for view in sorted(views, key=lambda one: one.job.id):
        chains.setdefault(_root(view, by_id), []).append(view)
    return tuple(_chain_line(t, chain, address, judges or {}) for _, chain in sorted(chains.items(), reverse=True))


def _root(view: JobView, by_id: Mapping[int, JobView]) -> int:
    seen = {view.job.id}
    while (before := by_id.get(view.job.after or 0)) is not None and before.job.id not in seen:
        seen.add(before.job.id)
        view = before
    return view.job.id


def _chain_line(t: Translator, chain: Sequence[JobView], address: TrainingAddress, judges: Mapping[str, str]) -> ChainLine:
    first = chain[0]
    at = next((view for state in _ATTENTION for view in chain if view.job.state is state), chain[-1])
    curved = next((view for view in chain if has_curves(view.job)), first)
    ids = {view.job.id for view in chain}
    other = address.job and address.job not in ids and has_curves(curved.job)
    opened = at if at.job.state is not JobState.DONE else curved
    return ChainLine(
        name=job_name(t, first.job, judges),
        number=first.job.id,
        author=first.job.author,
        created_at=first.job.created_at,
        steps=tuple(step_chip(t, view, address) for view in chain),
        at=at,
        href=address.moved(job=opened.job.id, compare=0 if address.compare in ids else address.compare).url(t.language),
        compare_href=address.moved(compare=0 if address.compare in ids else curved.job.id).url(t.language) if other else "",
        chosen=address.job in ids,
        compared=address.compare in ids,
    )


def step_chip(t: Translator, view: JobView, address: TrainingAddress) -> StepChip:
    """Return a job as a step of its chain."""
    href = address.moved(job=view.job.id).url(t.language)
    return StepChip(view, job_words(t, view.job), SYMBOLS[view.job.state], href, view.job.id == address.job)


def goes_on(view: JobView, line: ChainLine) -> bool:
    """Return whether a job is done and a later one of its chain is under way or wants attention."""
    return view.job.state is JobState.DONE and line.at.job.id > view.job.id and line.at.job.state is not JobState.DONE


def has_curves(job: Job) -> bool:
    """Return whether a job trains."""
    return job.kind not in {JobKind.EVALUATE, JobKind.MERGE, JobKind.QUANTIZE}


@dataclass(frozen=True, slots=True)
class JobPane:
    """One job in full; `words` say what it does, `differences` are a setting's name and its value here and in the other job.

    `goes_on` is the step where the job's chain stands by now, where that is a later one.
    """

    view: JobView
    name: str
    words: str
    chain: tuple[StepChip, ...]
    plots: tuple[Plot, ...]
    figures: tuple[tuple[str, str], ...]
    error: str
    waits_for: str
    log: str
    command: str
    spec: str
    snapshot_href: str
    candidate_href: str
    comparison: JobComparison | None
    differences: tuple[tuple[str, str, str], ...]
    goes_on: StepChip | None
    compare_name: str
    drop_compare_href: str

    @property
    def percent(self) -> float:
        """Return how far the job is, in percent."""
        return percent(self.view)

    @property
    def live(self) -> bool:
        """Return whether it is going to change by itself."""
        return self.view.job.state in LIVE

    @property
    def stoppable(self) -> bool:
        """Return whether it can be stopped."""
        return self.view.job.state in STOPPABLE


def plots(t: Translator, curves: Curves, steps: int, other: Curves | None = None) -> tuple[Plot, ...]:
    """Return the plots of a job, with those of another job under them: the loss, and the held-out error."""
    pairs = [(curves, False)] + ([(other, True)] if other is not None else [])
    loss = [curve for one, under in pairs for curve in _curves(t, one, "loss", under)]
    error = [curve for one, under in pairs for curve in _curves(t, one, "mae", under)]
    drawn = (
        plot("loss", t("training.plot_loss"), loss, steps, from_zero=True, best_of=None, best_text=""),
        plot("mae", t("training.plot_mae"), error, steps, from_zero=False, best_of=Line.HELD_OUT, best_text=t.table["training.best"]),
    )
    return tuple(one for one in drawn if one is not None)


def _curves(t: Translator, curves: Curves, figure: str, other: bool) -> list[Curve]:
    found = []
    for name, line, series in (
        ("training.series_train", Line.TRAIN, curves.train),
        ("training.series_held", Line.HELD_OUT, curves.held_out),
    ):
        points: tuple[Pair, ...] = tuple((float(point.step), point.value) for point in series.get(figure, ()))
        words = t("training.series_other", name=t(name)) if other else t(name)
        found.append(Curve(words, line.other if other else line, points))
    return found


@dataclass(frozen=True, slots=True)
class GainBar:
    """A gain with its interval beside zero, in percent of the bar's length."""

    left: float
    width: float
    mark: float


def gain_bar(gain: float, low: float, high: float, scale: float) -> GainBar:
    """Return the bar of a gain; `scale` is the gain at the bar's right end, minus it that at the left one."""
    left, right, mark = (min(100.0, max(0.0, 50 + 50 * value / scale)) for value in (low, high, gain))
    return GainBar(left, right - left, mark)


def gain_scale(reports: Sequence[GateReport]) -> float:
    """Return the scale that all shown gains share."""
    ends = [abs(end) for report in reports for one in (report.overall, *report.dimensions) for end in (one.low, one.high)]
    return 1.1 * max([FINEST_SCALE, *ends])


@dataclass(frozen=True, slots=True)
class Promoted:
    """A promotion of the candidate that still stands: where it judges."""

    promotion: Promotion
    panel: str
    href: str


@dataclass(frozen=True, slots=True)
class StepOffer:
    """A further form that can be made of a candidate; `hindrance` says why not, in words, "" where it can."""

    key: str
    hindrance: str

    @property
    def path(self) -> str:
        """Return the last part of the URL that makes it."""
        return self.key if self.key == "merge" else f"quantize/{self.key}"


@dataclass(frozen=True, slots=True)
class CandidateLine:
    """A candidate in the list; `quality` is over all its rows, `missing` says why there is no comparison."""

    view: CandidateView
    name: str
    quality: Quality | None
    report: GateReport | None
    missing: str
    bar: GainBar | None
    drift: StageDrift | None
    promoted: tuple[Promoted, ...]
    offers: tuple[StepOffer, ...]
    job_href: str
    href: str
    chosen: bool

    @property
    def verdict(self) -> GateVerdict | None:
        """Return what the gate says."""
        return self.report.verdict if self.report else None

    @property
    def share(self) -> float | None:
        """Return the size as a share of that of the stage before, in percent."""
        before = self.view.previous_bytes
        return 100 * self.view.candidate.bytes / before if before else None


@dataclass(frozen=True, slots=True)
class DimensionLine:
    """One dimension of an opened candidate's comparison."""

    name: str
    old: Quality
    new: Quality
    gain: float
    low: float
    high: float
    verdict: GateVerdict
    bar: GainBar


@dataclass(frozen=True, slots=True)
class OpenedCandidate:
    """An opened candidate: by dimension, and the rows where it changed most."""

    line: CandidateLine
    report: GateReport
    dimensions: tuple[DimensionLine, ...]
    better: tuple[tuple[RowChange, str], ...]
    worse: tuple[tuple[RowChange, str], ...]
    close_href: str


def overall_quality(view: CandidateView, report: GateReport | None) -> Quality | None:
    """Return a candidate's figures over all dimensions, None where they were not measured or are one figure a dimension."""
    if report is not None:
        return report.overall.new
    return view.quality.get("") or (next(iter(view.quality.values())) if len(view.quality) == 1 else None)


def overall_drift(view: CandidateView) -> StageDrift | None:
    """Return the drift over all dimensions, else the largest of one."""
    return view.drift.get("") or max(view.drift.values(), key=lambda one: one.drift, default=None)


def opened_candidate(
    t: Translator, line: CandidateLine, dimensions: Mapping[str, Dimension], address: TrainingAddress, scale: float
) -> OpenedCandidate | None:
    """Return the details of a candidate that was compared, None without a comparison."""
    report = line.report
    if report is None:
        return None

    def name(dimension_id: str) -> str:
        return dimensions[dimension_id].name(t.language) if dimension_id in dimensions else dimension_id

    return OpenedCandidate(
        line,
        report,
        tuple(
            DimensionLine(
                name(one.dimension_id), one.old, one.new, one.gain, one.low, one.high, one.verdict,
                gain_bar(one.gain, one.low, one.high, scale),
            )
            for one in report.dimensions
        ),
        tuple((row, name(row.dimension_id)) for row in report.better[:ROWS_SHOWN]),
        tuple((row, name(row.dimension_id)) for row in report.worse[:ROWS_SHOWN]),
        address.moved(candidate=0).url(t.language),
    )  # fmt: skip


def stage_order(stage: Stage) -> int:
    """Return the place of a stage in the way that a judge goes: adapter, merged, quantized."""
    return list(Stage).index(stage)
