"""The words of the domain as frozen dataclasses (see docs/ARCHITECTURE.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

LocalText: TypeAlias = Mapping[str, str]
"""Words for people by language ("zh", "en"). Words that exist in one language only, as a model's own or an operating
system's, stand under ""; nothing to say is an empty mapping."""


class DimensionKind(StrEnum):
    """How the labels of a dimension relate to each other."""

    ORDINAL = "ordinal"
    NOMINAL = "nominal"


class Origin(StrEnum):
    """Where a labelled item of the library came from."""

    SAMPLE = "sample"
    IMPORT = "import"
    CORRECTION = "correction"


class JudgementStatus(StrEnum):
    """What became of one judge's answer on one item."""

    OK = "ok"
    ABSTAINED = "abstained"
    OFF_MENU = "off_menu"
    REFUSED = "refused"
    FAILED = "failed"


class Outcome(StrEnum):
    """How the votes of the judges came together."""

    UNANIMOUS = "unanimous"
    MAJORITY = "majority"
    SINGLE = "single"
    TIE = "tie"
    NO_QUORUM = "no_quorum"


class RunState(StrEnum):
    """Where a run stands; only QUEUED and RUNNING runs are worked on."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"


class CorrectionKind(StrEnum):
    """What a person did: gave a label, passed over the row, took an act back, or settled what others differ on."""

    LABEL = "label"
    SKIP = "skip"
    UNDO = "undo"
    ADJUDICATION = "adjudication"


class Severity(StrEnum):
    """Whether a problem keeps its row (or, without a row, its sheet) from being judged."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Dimension:
    """What is judged: a scale, a rubric and a versioned prompt.

    `names` and each value of `levels` map a language ("zh", "en") to text; `names["zh"]` is what sheets write.
    `empty_text_label` is the label that an empty text has by convention, or None where an empty text is an error.
    `marks` are `levels` in a word or two, for buttons, and `measure` says what they count; both may be empty. `fault_rates` are
    the faults per 100 characters up to and with which a text has a label; empty where faults say nothing about labels.
    """

    id: str
    names: Mapping[str, str]
    labels: tuple[int, ...]
    kind: DimensionKind
    levels: Mapping[int, Mapping[str, str]]
    prompt_version: str
    needs_prompt: bool
    aliases: tuple[str, ...] = ()
    description: Mapping[str, str] = field(default_factory=dict)
    empty_text_label: int | None = None
    marks: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    measure: Mapping[str, str] = field(default_factory=dict)
    fault_rates: Mapping[int, float] = field(default_factory=dict)

    def name(self, language: str) -> str:
        """Return the name in `language`, else the Chinese one."""
        return self.names.get(language, self.names["zh"])


@dataclass(frozen=True, slots=True)
class SourceRef:
    """Where a row stands: file name, worksheet (empty for text files) and 1-based row number as the user sees it."""

    file: str
    worksheet: str
    row: int


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One thing wrong in a sheet: what, where and how to mend it, in both languages.

    `row` is the 1-based row in the file (the header is row 1) or None for the whole sheet; `column` is the header
    as the file writes it, or "". `code` is a stable identifier such as "label_off_scale", listed in docs/DATA.md.
    """

    code: str
    severity: Severity
    row: int | None
    column: str
    value: str
    message: Mapping[str, str]
    external_id: str = ""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One readable row of a sheet before it is stored; `extra` keeps the columns that Pingpan has no use for."""

    position: int
    external_id: str
    dimension_id: str
    prompt: str
    text: str
    gold: int | None
    source: SourceRef
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """Return `content_hash` of the row."""
        return content_hash(self.dimension_id, self.prompt, self.text)


@dataclass(frozen=True, slots=True)
class Item:
    """One stored row to judge; `position` is its 0-based place in the sheet."""

    id: int
    sheet_id: int
    position: int
    external_id: str
    dimension_id: str
    prompt: str
    text: str
    gold: int | None
    content_hash: str
    source: SourceRef
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A stored sheet; `sha256` is of the file's bytes, `encoding` is "" for binary formats."""

    id: int
    name: str
    sha256: str
    format: str
    encoding: str
    worksheet: str
    columns: tuple[str, ...]
    mapping: Mapping[str, str]
    rows: int
    skipped: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """One labelled item of the library: what judges are shown and learn from."""

    id: int
    external_id: str
    dimension_id: str
    prompt: str
    text: str
    label: int
    origin: Origin
    author: str
    content_hash: str


@dataclass(frozen=True, slots=True)
class Library:
    """A named set of labelled items; `version` is a hash of its active items and changes with them."""

    id: int
    name: str
    version: str
    size: int
    created_at: datetime
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled item as it was shown for one item: cosine similarity in [-1, 1], rank from 0, index version."""

    item: LabelledItem
    similarity: float
    rank: int
    index_version: str


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt as sent; `system` is folded into the user turn by judges whose template has no system role."""

    system: str
    user: str
    sha256: str


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """One item as a judge gets it; `prompt` is None where no judge of the panel reads prompts."""

    item: Item
    dimension: Dimension
    examples: tuple[Example, ...] = ()
    prompt: RenderedPrompt | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """One judge's answer on one item.

    `probabilities` has every label of the dimension and sums to 1 when `status` is OK, and is empty otherwise.
    `raw_reply` is what the judge said in its own form: a JSON object of facts without language where that is no prose.
    `rationale` is why in a sentence a person can read, `error` the reason of an abstention or failure; `said` picks the
    language. `label` is the judge's own vote, None unless OK.
    """

    judge_id: str
    item_id: int
    status: JudgementStatus
    probabilities: Mapping[int, float] = field(default_factory=dict)
    label: int | None = None
    raw_reply: str = ""
    rationale: LocalText = field(default_factory=dict)
    prompt_sha256: str = ""
    latency_ms: float = 0.0
    tokens: int = 0
    error: LocalText = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What an aggregator makes of the judgements of one item; `label` is None exactly at NO_QUORUM.

    `probabilities` is the pooled distribution, `expected` its mean, `disagreement` the generalised Jensen-Shannon
    divergence of the judges' distributions in [0, 1]. `reason` is a stable code (see core/judging/aggregation.py).
    `expected_error` is the mean error of `label` under the pooled distribution (core.review.expected_error); None: not
    told, and derived as for an ordinal dimension where it is stored.
    """

    label: int | None
    expected: float | None
    probabilities: Mapping[int, float]
    outcome: Outcome
    disagreement: float
    reason: str
    expected_error: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A stored decision."""

    item_id: int
    aggregator: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Correction:
    """A person's label for an item, or the one that settled what people differ on; appended, never overwritten."""

    item_id: int
    label: int
    previous_label: int | None
    author: str
    reason: str
    created_at: datetime
    kind: CorrectionKind = CorrectionKind.LABEL
    blind: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """One judge of a panel file: `family` names the factory, `options` are the factory's own.

    `name` is the name in every language that `names` does not have.
    """

    id: str
    name: str
    family: str
    options: Mapping[str, object] = field(default_factory=dict)
    names: LocalText = field(default_factory=dict)

    def named(self, language: str) -> str:
        """Return the name in `language`."""
        return self.names.get(language) or self.name


@dataclass(frozen=True, slots=True)
class PanelSpec:
    """The named judges of a run, one of them the lead; `schedule` is "together" or "in_turn" (one model on the card)."""

    id: str
    names: Mapping[str, str]
    judges: tuple[JudgeSpec, ...]
    lead: str
    schedule: str = "together"
    description: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A panel at work on a sheet; `panel` is frozen with the run, `error` is why it paused or failed."""

    id: int
    sheet_id: int
    sheet_name: str
    library_id: int
    library_version: str
    panel: PanelSpec
    aggregator: str
    state: RunState
    error: LocalText
    items: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    worked_seconds: float = 0.0
    deleted_at: datetime | None = None


def said(text: LocalText, language: str) -> str:
    """Return the words in `language`, else those of one language only, else those of any other; "" for nothing."""
    return text.get(language) or text.get("") or next((words for words in text.values() if words), "")


def one_language(words: str) -> LocalText:
    """Return words that exist in no other language as a LocalText."""
    return {"": words} if words else {}


def content_hash(dimension_id: str, prompt: str, text: str) -> str:
    """Return the sha256 (hex) that is equal exactly for equal dimension, prompt and text."""
    parts = (dimension_id, prompt, text)
    return hashlib.sha256(b"".join(f"{len(part)}:{part}".encode() for part in parts)).hexdigest()
