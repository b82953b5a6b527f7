"""What the training tab and `jobs` show of jobs, candidates and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.training import Candidate, Comparison, GateVerdict, Job, Promotion, Quality
from core.types import LocalText


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with what stands of it.

    `place` is its place in the queue from 1, None unless QUEUED; `waits_for` why it does not run yet (for the job before
    it in a chain, for a card that a run or another job holds), empty when there is nothing to say. `rate` is in steps a
    second over the last minute, `seconds_left` an estimate by it; None where nothing can be said. `events` is the number
    of the last event, `last` the last message. `candidate_id` is what it produced, or measured.
    """

    job: Job
    place: int | None = None
    waits_for: LocalText = field(default_factory=dict)
    step: int = 0
    steps: int = 0
    rate: float | None = None
    seconds_left: float | None = None
    events: int = 0
    last: LocalText = field(default_factory=dict)
    candidate_id: int | None = None
    archived: bool = False

    @property
    def resumable(self) -> bool:
        """Return whether `resume` would queue it again."""
        return self.job.state in {"stopped", "failed"}


@dataclass(frozen=True, slots=True)
class Point:
    """One figure at one step."""

    step: int
    value: float


@dataclass(frozen=True, slots=True)
class Curves:
    """Series by figure's name (loss, mae, learning_rate, rows_per_second, …): of training, and of the held-out looks."""

    train: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    held_out: Mapping[str, Sequence[Point]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpecDifference:
    """A field of the spec in which two jobs differ; "" where one has no such field."""

    field: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class JobComparison:
    """Two jobs side by side."""

    first: JobView
    second: JobView
    differences: Sequence[SpecDifference]
    first_curves: Curves
    second_curves: Curves


@dataclass(frozen=True, slots=True)
class Card:
    """A card (`cuda:0`) or the processor (`cpu`); memory in GiB, None where it is not known; `holder` says who has it, empty: free."""

    device: str
    name: str
    total_gib: float | None = None
    free_gib: float | None = None
    holder: LocalText = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageDrift:
    """How far a candidate's answers moved from the stage before it: label probabilities, and expected scores in label steps."""

    previous_id: int
    drift: float
    shift: float
    mae_change: float


@dataclass(frozen=True, slots=True)
class CandidateView:
    """A candidate with its figures on the held-out rows by dimension (empty until it was measured).

    `previous_bytes` is the size of the candidate it was made of; `drift` by dimension against that one, where both were
    measured. `measuring` is the evaluate job under way, `promotions` where it judges now. `serve_command` starts its
    server, "" for judges in process. `problem` says why it has no figures.
    """

    candidate: Candidate
    quality: Mapping[str, Quality] = field(default_factory=dict)
    previous_bytes: int | None = None
    drift: Mapping[str, StageDrift] = field(default_factory=dict)
    measuring: int | None = None
    promotions: Sequence[Promotion] = ()
    serve_command: str = ""
    problem: LocalText = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowChange:
    """One held-out row on which old and new judge differ: their labels and expected scores (None: no answer)."""

    hash: str
    external_id: str
    dimension_id: str
    item_prompt: str
    text: str
    gold: int
    old: int | None
    new: int | None
    old_expected: float | None
    new_expected: float | None
    gain: float


@dataclass(frozen=True, slots=True)
class GateReport:
    """Candidate against a panel's judge on the frozen held-out rows.

    `overall` has the dimension "" (core.gate.compare_all); `reason` says the verdict with its interval in words. `better`
    are the rows where the new judge gains most, `worse` those where it loses most.
    """

    candidate: Candidate
    panel_id: str
    judge_id: str
    judge_name: LocalText
    overall: Comparison
    dimensions: Sequence[Comparison]
    reason: LocalText
    better: Sequence[RowChange]
    worse: Sequence[RowChange]

    @property
    def verdict(self) -> GateVerdict:
        """Return the overall verdict; anything but BETTER needs a reason to promote."""
        return self.overall.verdict


@dataclass(frozen=True, slots=True)
class PanelChange:
    """What promoting did or would do: the panel file's text before and after, where it lies, and the command of its server ("")."""

    promotion: Promotion
    panel_file: Path
    serve_command: str
