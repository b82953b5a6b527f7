"""What pages and exports ask of stored runs, and the rows they get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from core.types import Correction, Example, Item, Judgement, JudgementStatus, LocalText, Outcome, Run, RunState, Verdict


class RowSort(StrEnum):
    """How the rows of a run are ordered; ties are broken by the sheet's order."""

    POSITION = "position"
    DISAGREEMENT = "disagreement"
    LABEL = "label"


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Which rows of a run to show. Empty filters mean all; `page` counts from 0.

    `search` matches inside external id, prompt or text. `status` keeps rows where some judge has that status.
    """

    dimension_id: str = ""
    outcome: Outcome | None = None
    label: int | None = None
    status: JudgementStatus | None = None
    search: str = ""
    sort: RowSort = RowSort.POSITION
    descending: bool = False
    page: int = 0
    page_size: int = 50


@dataclass(frozen=True, slots=True)
class RunRow:
    """A line of a run's table: the item, each judge's answer in the panel's order, and the verdict if there is one."""

    item: Item
    judgements: tuple[Judgement, ...]
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class RunPage:
    """One page of rows and how many match in all."""

    rows: tuple[RunRow, ...]
    total: int
    page: int
    page_size: int


@dataclass(frozen=True, slots=True)
class ReplacedJudgement:
    """An earlier answer of a judge on an item that was no vote, who asked again, and when."""

    judge_id: str
    status: JudgementStatus
    raw_reply: str
    error: LocalText
    created_at: datetime
    author: str
    asked_again_at: datetime


@dataclass(frozen=True, slots=True)
class RowDetail:
    """Everything known of one item in one run; `previous_id` and `next_id` are its neighbours in sheet order.

    `replaced` are answers that were asked for again, oldest first.
    """

    run: Run
    item: Item
    judgements: tuple[Judgement, ...]
    examples: tuple[Example, ...]
    verdict: Verdict | None
    corrections: tuple[Correction, ...]
    previous_id: int | None
    next_id: int | None
    replaced: tuple[ReplacedJudgement, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgeProgress:
    """How far one judge is: judgements by status, and its mean latency per row in milliseconds."""

    judge_id: str
    by_status: Mapping[JudgementStatus, int]
    mean_latency_ms: float

    @property
    def done(self) -> int:
        """Return how many rows this judge has answered, in whatever way."""
        return sum(self.by_status.values())


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is. `rate` is in rows a second over the time worked, `seconds_left` None until it is known.

    `queue_place` counts the runs before this one (0 when it runs or is over). `stage` says what the worker does
    before the first row ("queued", "loading", "learning", "judging", "done", …).
    """

    run: Run
    state: RunState
    stage: str
    total: int
    decided: int
    judges: tuple[JudgeProgress, ...]
    by_outcome: Mapping[Outcome, int]
    by_dimension: Mapping[str, int]
    rate: float | None
    seconds_left: float | None
    queue_place: int
    elapsed_seconds: float = 0.0
    label_counts: Mapping[str, Mapping[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShownExample:
    """What an export says of an example that was shown: the labelled item's external id, its label, the similarity."""

    external_id: str
    label: int
    similarity: float


@dataclass(frozen=True, slots=True)
class ExportRow:
    """One row of a run for exports; `judgements` stand in the panel's order, `correction` is the last one if any.

    The current label of a row is the correction's, else the verdict's.
    """

    item: Item
    judgements: tuple[Judgement, ...]
    verdict: Verdict | None
    examples: tuple[ShownExample, ...] = ()
    correction: Correction | None = None

    @property
    def corrected(self) -> int | None:
        """Return the label of the last correction, None where nobody corrected the row."""
        return None if self.correction is None else self.correction.label

    @property
    def label(self) -> int | None:
        """Return the current label: the last correction, else the verdict, else None."""
        if self.correction is not None:
            return self.correction.label
        return None if self.verdict is None else self.verdict.decision.label
