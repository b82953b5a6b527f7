"""Desks of training with invented jobs, curves and candidates: for pages whose state must be held still."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from core.errors import JobError, NotFound
from core.training import (
    Candidate,
    Comparison,
    GateVerdict,
    Job,
    JobKind,
    JobState,
    Promotion,
    Quality,
    Snapshot,
    SnapshotFilter,
    Split,
    Stage,
)
from tests.webapp.fake import SENTENCES
from training.estimate import GIB, Estimate
from webapp.services.training.views import (
    CandidateView,
    Card,
    Curves,
    GateReport,
    JobComparison,
    JobView,
    PanelChange,
    Point,
    RowChange,
    SpecDifference,
    StageDrift,
)
from webapp.workbench import Workbench

NOW = datetime.now(UTC)
STEPS = 400


def job(number: int, kind: JobKind, state: JobState, after: int | None = None, name: str = "LoRA · Qwen2-0.5B", **changes: object) -> Job:
    """Return an invented job."""
    begun = NOW - timedelta(minutes=30 - number) if state is not JobState.WAITING and state is not JobState.QUEUED else None
    spec = json.dumps({"kind": kind.value, "name": name, "rank": 8 * number, "learning_rate": 1e-4})
    ended = NOW if state in {JobState.DONE, JobState.FAILED, JobState.STOPPED} else None
    made = Job(
        number, kind, name, state, spec, Path(f"/home/jobs/{number}"), 1, after, "cuda:0" if begun else "", "", "林", {},
        NOW - timedelta(minutes=40 - number), begun, ended, 1260.0 if begun else 0.0,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def falling(upto: int, seed: int, every: int = 1, start: float = 1.7, end: float = 0.55, noise: float = 0.12) -> tuple[Point, ...]:
    """Return a curve that falls with noise, up to a step."""
    draw = random.Random(seed)
    return tuple(
        Point(step, max(0.01, end + (start - end) * math.exp(-step / 90) + draw.gauss(0, noise) * math.exp(-step / 400)))
        for step in range(every, upto + 1, every)
    )


CARDS = (
    Card("cpu", "cpu", 128.0, 96.0),
    Card("cuda:0", "NVIDIA H100 80GB HBM3", 79.6, 12.4, {"zh": "任务 #3 正在用", "en": "job #3 has it"}),
    Card("cuda:1", "NVIDIA H100 80GB HBM3", 79.6, 79.1),
)


@dataclass
class FakeJobs:
    """The job desk over a list of views; acts are remembered in `acts`."""

    views: list[JobView] = field(default_factory=list)
    acts: list[tuple[Any, ...]] = field(default_factory=list)
    log: str = "2026-11-24 08:12:01 INFO training.process: train 320/400 loss=0.61\n"
    hidden: list[JobView] = field(default_factory=list)
    there: Sequence[Card] = CARDS
    differences: tuple[SpecDifference, ...] = (
        SpecDifference("rank", "8", "24"),
        SpecDifference("loss", "cross_entropy", "expected_squared"),
    )

    def jobs(self, limit: int = 50, *, archived: bool = False) -> Sequence[JobView]:
        return (self.hidden if archived else self.views)[:limit]

    def job(self, job_id: int) -> JobView:
        for view in (*self.views, *self.hidden):
            if view.job.id == job_id:
                return view
        raise NotFound(f"There is no job {job_id}.", zh=f"没有任务 {job_id}。")

    def curves(self, job_id: int) -> Curves:
        step = self.job(job_id).step
        held = falling(step, job_id + 7, 40, 0.9, 0.61, 0.02)
        return Curves(
            {"loss": falling(step, job_id)}, {"mae": held, "loss": falling(step, job_id + 3, 40, 1.6, 0.66, 0.03)} if held else {}
        )

    def log_tail(self, job_id: int, size: int = 8192) -> str:
        return self.log * 12 if self.job(job_id).job.started_at else ""

    def command(self, job_id: int) -> str:
        return f"cd /opt/pingpan && .venv/bin/python -m training run {self.job(job_id).job.folder}"

    def command_of(self, spec: object) -> str:
        return f"cd /opt/pingpan && .venv/bin/python -m training run JOB_DIR  # {type(spec).__name__}"

    def cards(self) -> Sequence[Card]:
        return self.there

    def compare(self, first_id: int, second_id: int) -> JobComparison:
        return JobComparison(self.job(first_id), self.job(second_id), self.differences, self.curves(first_id), self.curves(second_id))

    def train(self, spec: object, author: str, **options: object) -> Sequence[Job]:
        self.acts.append(("train", spec, author, options))
        made = job(len(self.views) + 1, JobKind.FINE_TUNE, JobState.QUEUED)
        self.views.insert(0, JobView(made, place=1))
        return (made,)

    def submit_chain(self, specs: Sequence[object], author: str, **options: object) -> Sequence[Job]:
        self.acts.append(("chain", tuple(specs), author, options))
        return tuple(job(60 + place, spec.kind, JobState.QUEUED) for place, spec in enumerate(specs))  # type: ignore[attr-defined]

    def measure_judge(self, panel_id: str, judge_id: str, snapshot_id: int, author: str) -> Job:
        self.acts.append(("measure-judge", panel_id, judge_id, snapshot_id, author))
        return job(91, JobKind.EVALUATE, JobState.QUEUED)

    def estimate(self, spec: object) -> Estimate:
        """Return the estimate of a model of 7 billion weights."""
        return Estimate("cuda", 14 * GIB, GIB, 5 * GIB, GIB // 100, 2 * GIB, 4, 2048)

    def stop(self, job_id: int) -> JobView:
        return self._becomes(job_id, JobState.STOPPING)

    def resume(self, job_id: int) -> JobView:
        return self._becomes(job_id, JobState.QUEUED)

    def cancel(self, job_id: int) -> Sequence[JobView]:
        return (self._becomes(job_id, JobState.STOPPED),)

    def archive(self, job_id: int) -> JobView:
        view = replace(self.job(job_id), archived=True)
        self.views = [one for one in self.views if one.job.id != job_id]
        self.hidden.append(view)
        return view

    def restore(self, job_id: int) -> JobView:
        view = replace(self.job(job_id), archived=False)
        self.hidden = [one for one in self.hidden if one.job.id != job_id]
        self.views.insert(0, view)
        return view

    def _becomes(self, job_id: int, state: JobState) -> JobView:
        place = next(place for place, view in enumerate(self.views) if view.job.id == job_id)
        self.acts.append((state, job_id))
        self.views[place] = replace(self.views[place], job=replace(self.views[place].job, state=state))
        return self.views[place]


def quality(mae: float, kappa: float = 0.6) -> Quality:
    """Return invented figures of 180 rows."""
    return Quality(180, 2, mae, 1 / (1 + mae), kappa, 0.07, 0.58)


def candidate(number: int, stage: Stage, previous: int | None = None, **changes: object) -> Candidate:
    """Return an invented candidate that was measured."""
    options = {"model": "/models/qwen2", "adapter": "/jobs/1/adapter"}
    size = {Stage.ADAPTER: 35_000_000, Stage.MERGED: 988_000_000, Stage.AWQ: 459_000_000}.get(stage, 630_000_000)
    made = Candidate(
        number, "LoRA · Qwen2-0.5B", stage, "transformers", options, 1, number + 10, previous, 1, size, Path(f"/p/{number}"), NOW
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def change(number: int, gain: float) -> RowChange:
    """Return an invented row whose answer changed."""
    text = SENTENCES[number % len(SENTENCES)]
    return RowChange(f"h{number}", f"TR{number:04d}", "fluency", "", text, 3, 5, 3, 4.6, 3.2, gain)


@dataclass
class FakeCandidates:
    """The candidate desk over a list of views; `gains` are each candidate's gain with its interval's ends."""

    views: list[CandidateView] = field(default_factory=list)
    gains: Mapping[int, tuple[float, float, float]] = field(default_factory=dict)
    acts: list[tuple[Any, ...]] = field(default_factory=list)
    compared: list[int] = field(default_factory=list)

    def candidates(self, snapshot_id: int | None = None) -> Sequence[CandidateView]:
        return self.views

    def candidate(self, candidate_id: int) -> CandidateView:
        for view in self.views:
            if view.candidate.id == candidate_id:
                return view
        raise NotFound(f"There is no candidate {candidate_id}.", zh=f"没有候选 {candidate_id}。")

    def report(self, candidate_id: int, panel_id: str, judge_id: str) -> GateReport:
        if candidate_id not in self.gains:
            raise JobError("The judge «rules» was not measured on these rows; measure it.", zh="评委“规则”尚未在这些行上测量；请先测量它。")
        self.compared.append(candidate_id)
        gain, low, high = self.gains[candidate_id]
        verdict = GateVerdict.BETTER if low > 0 else GateVerdict.WORSE if high < 0 else GateVerdict.UNPROVEN
        one = self.candidate(candidate_id).candidate

        def comparison(dimension: str, by: float) -> Comparison:
            return Comparison(dimension, quality(0.80), quality(0.80 - gain * by), gain * by, low, high, 0.95, 0.031, 0.12, verdict)

        said = {
            "zh": f"MAE 改善 {gain:+.3f}，95% 区间 [{low:+.3f}, {high:+.3f}]。",
            "en": f"Gain {gain:+.3f}, 95% interval [{low:+.3f}, {high:+.3f}].",
        }
        return GateReport(
            one, panel_id, judge_id, {"zh": "规则", "en": "Rules"}, comparison("", 1.0),
            (comparison("fluency", 1.1), comparison("normativity", 0.9)), said,
            tuple(change(number, 1.4) for number in range(3)), tuple(change(number + 3, -1.0) for number in range(2)),
        )  # fmt: skip

    def measure(self, candidate_id: int, author: str) -> Job:
        self.acts.append(("measure", candidate_id, author))
        return job(90, JobKind.EVALUATE, JobState.QUEUED)

    def measure_judge(self, panel_id: str, judge_id: str, snapshot_id: int, author: str) -> Job:
        self.acts.append(("measure-judge", panel_id, judge_id, snapshot_id, author))
        return job(91, JobKind.EVALUATE, JobState.QUEUED)

    def promote(self, candidate_id: int, panel_id: str, judge_id: str, author: str, reason: str = "") -> PanelChange:
        verdict = self.report(candidate_id, panel_id, judge_id or "rules").verdict
        if verdict is not GateVerdict.BETTER and not reason:
            raise JobError("Not proven better; say why it is promoted all the same.", zh="尚未证明更好；请说明为什么仍要上岗。")
        promotion = Promotion(1, candidate_id, f"{panel_id}-2", judge_id, "a", "b", verdict, reason, author, NOW)
        self.acts.append(("promote", candidate_id, panel_id, judge_id, author, reason))
        self.views = [replace(one, promotions=(promotion,)) if one.candidate.id == candidate_id else one for one in self.views]
        return PanelChange(promotion, Path("/home/panels/cpu-2.yaml"), "")

    def roll_back(self, promotion_id: int, author: str) -> Promotion:
        done = Promotion(promotion_id, 1, "cpu-2", "rules", "a", "b", GateVerdict.BETTER, "", author, NOW, NOW)
        self.acts.append(("roll-back", promotion_id, author))
        self.views = [replace(view, promotions=()) for view in self.views]
        return done


def snapshot(number: int = 1, **changes: object) -> Snapshot:
    """Return an invented snapshot."""
    counts = {
        "fluency": {Split.TRAIN: {1: 21, 2: 40, 3: 96, 4: 150, 5: 131}, Split.HELD_OUT: {1: 5, 2: 11, 3: 22, 4: 41, 5: 31}},
        "normativity": {Split.TRAIN: {1: 60, 2: 55, 3: 61, 4: 90, 5: 112}, Split.HELD_OUT: {1: 14, 2: 12, 3: 15, 4: 20, 5: 29}},
    }
    made = Snapshot(
        number, f"十一月 {number}", "main", Path(f"/home/snapshots/{number}"), "5f0c" * 16, "aa11" * 16, 816, 200, 0, 0, SnapshotFilter(),
        counts, "林", NOW - timedelta(hours=number),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def put_desks(workbench: Workbench, jobs: FakeJobs, candidates: FakeCandidates) -> None:
    """Let a workbench use invented jobs and candidates."""
    workbench.__dict__["jobs"], workbench.__dict__["candidates"] = jobs, candidates


def jobs_of(workbench: Workbench) -> FakeJobs:
    """Return the invented job desk of a workbench."""
    found: FakeJobs = workbench.__dict__["jobs"]
    return found


def candidates_of(workbench: Workbench) -> FakeCandidates:
    """Return the invented candidate desk of a workbench."""
    found: FakeCandidates = workbench.__dict__["candidates"]
    return found


def busy_jobs() -> FakeJobs:
    """Return a desk with a running chain, one that is done, one that failed and one that waits for the card."""
    failed = {"zh": "显存不足。请减小每步行数，然后继续。", "en": "The card's memory ran out. Lower the rows a step; then resume."}
    waits = {"zh": "等显卡 cuda:0 空出", "en": "waits for cuda:0"}
    return FakeJobs(
        [
            JobView(job(7, JobKind.FINE_TUNE, JobState.QUEUED, name="QLoRA · GLM-4-9B", author="吴"), place=1, waits_for=waits),
            JobView(job(6, JobKind.FINE_TUNE, JobState.FAILED, name="LoRA · InternLM2.5-1.8B", error=failed), step=31, steps=STEPS),
            JobView(job(4, JobKind.EVALUATE, JobState.WAITING, 3)),
            JobView(job(3, JobKind.FINE_TUNE, JobState.RUNNING), step=262, steps=STEPS, rate=1.42, seconds_left=97, events=300),
            JobView(job(2, JobKind.EVALUATE, JobState.DONE, 1), step=200, steps=200, candidate_id=1),
            JobView(job(1, JobKind.FINE_TUNE, JobState.DONE), step=STEPS, steps=STEPS, candidate_id=1),
        ]
    )


def measured_candidates() -> FakeCandidates:
    """Return a desk with an adapter that is better, its merged and quantized forms, and one that was not measured."""
    drift = {"": StageDrift(1, 0.004, 0.01, 0.001)}
    return FakeCandidates(
        [
            CandidateView(candidate(4, Stage.ADAPTER, predictions=None, evaluation_id=None, name="QLoRA · GLM-4-9B")),
            CandidateView(candidate(3, Stage.AWQ, 2), {"": quality(0.79)}, 988_000_000, {"": StageDrift(2, 0.11, 0.23, 0.09)}),
            CandidateView(candidate(2, Stage.MERGED, 1), {"": quality(0.702)}, 35_000_000, drift),
            CandidateView(candidate(1, Stage.ADAPTER), {"": quality(0.70), "fluency": quality(0.66), "normativity": quality(0.74)}),
        ],
        {1: (0.10, 0.04, 0.17), 2: (0.098, 0.03, 0.16), 3: (0.01, -0.05, 0.07)},
    )
