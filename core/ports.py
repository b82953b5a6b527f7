"""The ports: what the run loop needs from judges, aggregators, embedders, retrievers and the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.types import Decision, Dimension, Example, Item, Judgement, JudgeRequest, JudgeSpec, LabelledItem, LocalText, RunState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Embedder(Protocol):
    """Turns texts into unit vectors. `version` changes whenever the vectors of a text could."""

    @property
    def version(self) -> str:
        """Return a short stable string that names the embedder and its parameters."""

    def fit(self, texts: Sequence[str]) -> None:
        """Learn corpus weights from the library's texts; a no-op for pretrained embedders. Changes `version`."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row per text, shape (len(texts), width), float32; an empty text gives a zero row."""


class Retriever(Protocol):
    """Finds the labelled examples that are shown for an item."""

    @property
    def index_version(self) -> str:
        """Return the version of the index, kept with every example shown."""

    def search(self, items: Sequence[Item], limit: int) -> list[tuple[Example, ...]]:
        """Return at most `limit` examples per item, in the order of `items`; deterministic, whatever the batch."""


class Judge(Protocol):
    """Something that gives a probability for every label of the scale, for one item."""

    @property
    def id(self) -> str:
        """Return the judge's id, unique in its panel."""

    @property
    def reads_prompts(self) -> bool:
        """Return whether requests must carry a rendered prompt."""

    def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
        """Yield one judgement per request, in order; the answer does not depend on the batch.

        A row that cannot be judged yields a status, never an exception. Raises JudgeUnavailable when the judge as a
        whole cannot answer now.
        """

    def close(self) -> None:
        """Give back memory, processes and connections; the judge may not be used afterwards."""


def rows_wanted(judge: Judge) -> int:
    """Return the rows that a judge likes to be asked together (`preferred_batch`, when it states one), else 0."""
    return int(getattr(judge, "preferred_batch", 0))


class Explainer(Protocol):
    """Says in words, on demand, why a judge gives a row a label. It never changes a score."""

    def explain(self, request: JudgeRequest, label: int, language: str = "zh") -> Iterator[str]:
        """Yield the words, asked for in `language` (zh or en), piece by piece; a reader that stops ends it.

        Raises JudgeError, or JudgeUnavailable for what may pass.
        """

    def close(self) -> None:
        """Give back memory and connections."""


@dataclass(frozen=True, slots=True)
class JudgeContext:
    """What a judge's factory may use: the library it may learn from, dimensions by id, and a cache folder.

    `panel_id` is for messages that name a command of the panel's; "" where there is no panel.
    """

    library: Sequence[LabelledItem]
    library_version: str
    dimensions: Mapping[str, Dimension]
    cache_dir: Path
    embedder: Embedder
    panel_id: str = ""


class JudgeFactory(Protocol):
    """Makes a judge from its line in a panel file; registered by family name in core/judging/registry.py."""

    def __call__(self, spec: JudgeSpec, context: JudgeContext) -> Judge:
        """Return a judge that is ready to answer. Raises JudgeError with what is missing and how to get it."""


class ExplainerFactory(Protocol):
    """Makes an explainer from a judge's line in a panel file; registered by family name in core/judging/registry.py."""

    def __call__(self, spec: JudgeSpec, context: JudgeContext) -> Explainer:
        """Return an explainer that is ready to be asked. Raises JudgeError with what is missing and how to get it."""


class Aggregator(Protocol):
    """Makes a decision of the judgements of one item: pure, and the same whatever their order."""

    @property
    def id(self) -> str:
        """Return the aggregator's name, as settings and the command line write it."""

    def __call__(self, judgements: Sequence[Judgement], dimension: Dimension, lead: str) -> Decision:
        """Return the decision; `lead` is the id of the panel's lead judge."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """An item of a run with what is already stored for it; `examples` is None when none were retrieved yet."""

    item: Item
    examples: tuple[Example, ...] | None = None
    judged_by: frozenset[str] = field(default_factory=frozenset)


class RunStore(Protocol):
    """What the run loop needs from the database. Every `save_…` is one transaction and may be repeated harmlessly."""

    def work_items(self, run_id: int, judge_ids: Sequence[str], after_position: int, limit: int) -> list[WorkItem]:
        """Return, in sheet order, items at positions above `after_position` not judged by all of `judge_ids`."""

    def save_examples(self, run_id: int, examples: Mapping[int, Sequence[Example]]) -> None:
        """Store what was shown for each item id; an item that has stored examples keeps the first ones."""

    def save_judgements(self, run_id: int, judgements: Iterable[Judgement]) -> None:
        """Store judgements; (run, item, judge) is unique and the first stored one stays."""

    def undecided(self, run_id: int, aggregator: str, after_position: int, limit: int) -> list[tuple[Item, list[Judgement]]]:
        """Return, in sheet order, items with all their judgements that have no verdict of `aggregator` yet."""

    def save_verdicts(self, run_id: int, aggregator: str, decisions: Mapping[int, Decision]) -> None:
        """Store the decision of each item id, replacing an earlier verdict of the item in this run."""

    def heartbeat(self, run_id: int, worker: str) -> bool:
        """Record that `worker` is alive; return False when the run was asked to stop or taken over."""

    def set_stage(self, run_id: int, worker: str, stage: str) -> None:
        """Say what `worker` does now: "loading", "judging", "deciding", or what a service does before them."""

    def end_work(self, run_id: int, worker: str, state: RunState, error: LocalText | None = None) -> RunState:
        """Give the run back in `state` with the reason, and return the state it has: another one when `worker` lost it, or when STOPPED
        was a worker's shutting down (QUEUED)."""
