"""The prompts of a snapshot's rows: the very ones that judges are given, with or without retrieved examples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.dimensions import PromptBuilder
from core.training import Split, TrainingRow
from core.types import Dimension, Example, Item, LabelledItem, Origin, SourceRef, content_hash
from training.snapshots.build import PlannedRow

if TYPE_CHECKING:
    from core.retrieval.index import ChromaIndex
    from core.retrieval.select import ExampleRetriever

BATCH = 256
_PROBE = ("题目", "正文")


@dataclass(frozen=True, slots=True)
class ExampleShelf:
    """Where the examples of prompts come from: `limit` of the training rows each, never a row's own family."""

    retriever: ExampleRetriever
    limit: int

    @classmethod
    def over(cls, rows: Sequence[PlannedRow], dimensions: Mapping[str, Dimension], index: ChromaIndex, limit: int) -> ExampleShelf:
        """Return the shelf of a plan's training rows; builds the index, which takes a while for many rows."""
        from core.retrieval.select import ExampleRetriever

        examples = [
            LabelledItem(
                number, one.external_id, one.dimension_id, one.prompt, one.text, one.label, one.origin, one.author, one.content_hash
            )
            for number, one in enumerate(row.item for row in rows if row.split is Split.TRAIN)
        ]
        version = hashlib.sha256("".join(f"{one.content_hash}:{one.label}\n" for one in examples).encode()).hexdigest()
        index.ensure(f"snapshot-{version}", examples)
        return cls(ExampleRetriever(index, examples, dimensions), limit)


def prompted_rows(rows: Sequence[PlannedRow], prompts: PromptBuilder, shelf: ExampleShelf | None = None) -> Iterator[TrainingRow]:
    """Yield the rows with their prompts, in their order, a batch at a time so that not all prompts are in memory."""
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        items = [_asked(row.item, start + place) for place, row in enumerate(part)]
        shown: Sequence[tuple[Example, ...]] = [()] * len(items) if shelf is None else shelf.retriever.search(items, shelf.limit)
        for row, item, examples in zip(part, items, shown, strict=True):
            yield _prompted(row, item, examples, prompts)


def prompt_marks(dimensions: Mapping[str, Dimension], prompts: PromptBuilder) -> dict[str, str]:
    """Return, by dimension, a hash that changes whenever its prompts do: that of a made-up row with a made-up example."""
    found = {}
    for dimension in dimensions.values():
        digest = content_hash(dimension.id, *_PROBE)
        example = LabelledItem(0, "", dimension.id, *_PROBE, dimension.labels[0], Origin.SAMPLE, "", digest)
        found[dimension.id] = prompts.render(_asked(example, 0), (Example(example, 0.0, 0, ""),)).sha256
    return found


def _asked(item: LabelledItem, position: int) -> Item:
    """Return the row as a judge is asked for it: without its label."""
    source = SourceRef("snapshot", "", position + 1)
    return Item(position, 0, position, item.external_id, item.dimension_id, item.prompt, item.text, None, item.content_hash, source)


def _prompted(row: PlannedRow, item: Item, examples: Sequence[Example], prompts: PromptBuilder) -> TrainingRow:
    prompt = prompts.render(item, examples)
    return TrainingRow(
        hash=row.item.content_hash,
        external_id=row.item.external_id,
        dimension_id=row.item.dimension_id,
        item_prompt=row.item.prompt,
        text=row.item.text,
        label=row.item.label,
        family=row.family,
        split=row.split,
        origin=row.item.origin,
        author=row.item.author,
        system=prompt.system,
        user=prompt.user,
        prompt_sha256=prompt.sha256,
        examples=tuple(example.item.content_hash for example in examples),
    )
