"""The words of training: snapshots, jobs, candidates and promotions (see docs/TRAINING.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from core.review import ReviewState
from core.types import LabelledItem, LocalText, Origin


class Split(StrEnum):
    """Which side of a snapshot a row stands on; held-out rows are neither trained on nor shown as examples."""

    TRAIN = "train"
    HELD_OUT = "held_out"


class JobKind(StrEnum):
    """What a job does."""

    FINE_TUNE = "fine_tune"
    EVALUATE = "evaluate"
    MERGE = "merge"
    QUANTIZE = "quantize"
    FAULT_PRETRAIN = "fault_pretrain"
    HEAD = "head"


class JobState(StrEnum):
    """Where a job stands. STOPPED and FAILED jobs can be resumed; WAITING ones wait for the job before them in a chain."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"


class EventKind(StrEnum):
    """What a job tells: that it began, how far it is, a figure of training or of the held-out rows, a message, the end."""

    STARTED = "started"
    PROGRESS = "progress"
    TRAIN = "train"
    HELD_OUT = "held_out"
    CHECKPOINT = "checkpoint"
    NOTE = "note"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


class Stage(StrEnum):
    """The form of a candidate: what of base, adapter, merged and quantized weights it judges with."""

    ADAPTER = "adapter"
    MERGED = "merged"
    AWQ = "awq"
    W8A8 = "w8a8"
    HEAD = "head"


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One row of a snapshot, with the very prompt that judges are given.

    `hash` is the content hash of the row, `family` names its near-duplicate family, `examples` the content hashes of the
    labelled examples in the prompt, `prompt_sha256` the hash that a judgement with this prompt keeps.
    """

    hash: str
    external_id: str
    dimension_id: str
    item_prompt: str
    text: str
    label: int
    family: str
    split: Split
    origin: Origin
    author: str
    system: str
    user: str
    prompt_sha256: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A labelled row before it enters a snapshot: of a library (`library_id`), or what people said of an item (None).

    `review` says how people stand to the item, OPEN for a library's. `labelled_at` orders labels of the same content.
    """

    item: LabelledItem
    library_id: int | None
    review: ReviewState
    labelled_at: datetime


@dataclass(frozen=True, slots=True)
class SnapshotFilter:
    """Which labelled rows a snapshot takes; an empty tuple means all.

    `agreed_only` leaves out rows whose people differ unless they were settled. `balance` is the largest share of the
    training rows of a dimension that one label may have (1.0: as they come).
    """

    library_ids: tuple[int, ...] = ()
    dimension_ids: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()
    authors: tuple[str, ...] = ()
    agreed_only: bool = True
    balance: float = 1.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A frozen training set: `folder` holds snapshot.json, train.jsonl and held_out.jsonl; `sha256` is over both row files.

    Snapshots of one `lineage` have the same held-out rows (`held_out_sha256`). `examples` is the number of retrieved
    examples in each prompt. `counts` is rows by dimension, split and label.
    """

    id: int
    name: str
    lineage: str
    folder: Path
    sha256: str
    held_out_sha256: str
    train_rows: int
    held_out_rows: int
    seed: int
    examples: int
    filter: SnapshotFilter
    counts: Mapping[str, Mapping[Split, Mapping[int, int]]]
    author: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `spec` is the spec file's JSON, `folder` the job's own, `after` the job before it in a chain.

    `device` is the card that it leased ("" on a CPU), `process` its identity (host, pid, start time; core.processes), ""
    unless RUNNING or STOPPING. `worked_seconds` grows with its heartbeats. A job with `archived_at` stands in no list.
    """

    id: int
    kind: JobKind
    name: str
    state: JobState
    spec: str
    folder: Path
    snapshot_id: int | None
    after: int | None
    device: str
    process: str
    author: str
    error: LocalText
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    worked_seconds: float = 0.0
    archived_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class GpuLease:
    """Who has a card of a host. `process` is the identity of the process that computes on it (core.processes); the lease of a
    dead process is anybody's. `holder` says who that is in words ("job 12", "run 3")."""

    host: str
    device: str
    holder: str
    process: str
    since: datetime
    heartbeat_at: datetime


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One line of a job's event file: `step` of `steps`, numbers by name (loss, mae, rows_per_second, …) and words."""

    sequence: int
    at: datetime
    kind: EventKind
    step: int = 0
    steps: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    message: LocalText = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a judge said of one held-out row: `label` is its vote, None where it gave no answer."""

    hash: str
    dimension_id: str
    gold: int
    label: int | None
    probabilities: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures over answered held-out rows of one dimension; rows without an answer are counted, and judged by the constant median."""

    rows: int
    unanswered: int
    mae: float
    score: float
    kappa: float
    calibration_error: float
    accuracy: float


class GateVerdict(StrEnum):
    """What the gate says: better beyond the noise, worse beyond the noise, or not proven either way."""

    BETTER = "better"
    WORSE = "worse"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Old judge against new on the same held-out rows of one dimension.

    `gain` is old MAE minus new MAE (positive: better), `low` and `high` its paired bootstrap interval at `confidence`,
    resampled by near-duplicate family. `drift` is the mean absolute difference of label probabilities, `shift` that of
    expected scores in label steps.
    """

    dimension_id: str
    old: Quality
    new: Quality
    gain: float
    low: float
    high: float
    confidence: float
    drift: float
    shift: float
    verdict: GateVerdict


@dataclass(frozen=True, slots=True)
class Candidate:
    """A judge that a job produced. `family` and `options` are what a panel's line says of it.

    `predictions` is the evaluate job's output file, None until it was scored; `bytes` the size on disk, `previous` the
    candidate that it was made of (the adapter of a merged model, the merged model of a quantized one).
    """

    id: int
    name: str
    stage: Stage
    family: str
    options: Mapping[str, object]
    job_id: int
    evaluation_id: int | None
    previous: int | None
    snapshot_id: int
    bytes: int
    predictions: Path | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Promotion:
    """A candidate put into a panel: the panel file before and after, by whom, on which verdict, why against it (or "")."""

    id: int
    candidate_id: int
    panel_id: str
    judge_id: str
    before_sha256: str
    after_sha256: str
    verdict: GateVerdict
    reason: str
    author: str
    created_at: datetime
    rolled_back_at: datetime | None = None
    rolled_back_by: str = ""
