"""Good pairs of prompt and text as material: read from sheets, without what is like held-out rows, parted by families."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import JobError
from core.retrieval.families import FamilyIndex, family_groups, family_ids
from core.types import Dimension
from training.faults.material import SHORTEST

_ENDED = re.compile(r"[。！？!?…][”’」』）》]*\s*$")
_END = re.compile(r"[。！？!?…]+[”’」』）》]*")
_MOST_LOST = 0.3


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and a text that answers it."""

    prompt: str
    text: str


def read_pairs(paths: Sequence[Path], dimensions: Mapping[str, Dimension], dimension: str = "") -> list[Pair]:
    """Return the pairs of sheets' rows (of one dimension, when it is named) that have a prompt, each once.

    A text that breaks off within a sentence ends at its last whole one. Raises JobError for a file without a usable pair.
    """
    from core.ingest import read_sheet

    pairs: dict[Pair, None] = {}
    for path in paths:
        rows = [] if path.suffix.lower() == ".txt" else read_sheet(path, dimensions=dimensions).rows
        kept = [row for row in rows if row.prompt.strip() and (not dimension or row.dimension_id == dimension)]
        usable = [Pair(row.prompt.strip(), whole_sentences(row.text.strip())) for row in kept if len(row.text.strip()) >= SHORTEST]
        if not usable:
            raise JobError(
                f"{path} has no row with a prompt and a text of at least {SHORTEST} characters"
                f"{f' in dimension {dimension}' if dimension else ''}; name a sheet with both columns.",
                zh=f"{path} 中没有{f'维度 {dimension} 的' if dimension else ''}既有创作要求、文本又不少于 {SHORTEST} 字的行；请换用含这两列的表格。",
            )
        pairs.update(dict.fromkeys(usable))
    return list(pairs)


def whole_sentences(text: str) -> str:
    """Return the text without an unfinished last sentence, as it is where most of it would be lost or nothing ends a sentence."""
    if _ENDED.search(text):
        return text
    last = max((match.end() for match in _END.finditer(text)), default=0)
    return text[:last] if last >= max(SHORTEST, (1 - _MOST_LOST) * len(text)) else text


def without_kin(pairs: Sequence[Pair], held_out: Sequence[Pair]) -> list[Pair]:
    """Return the pairs whose text is no near-duplicate of a held-out text, nor their prompt of a held-out prompt."""
    if not held_out:
        return list(pairs)
    by_text = FamilyIndex([pair.text for pair in held_out]).matches([pair.text for pair in pairs])
    by_prompt = FamilyIndex([pair.prompt for pair in held_out]).matches([pair.prompt for pair in pairs])
    return [pair for pair, text, prompt in zip(pairs, by_text, by_prompt, strict=True) if not text and not prompt]


def families(pairs: Sequence[Pair]) -> list[int]:
    """Return the family of each pair: those whose prompts or texts are near-duplicates are of one."""
    links = [*enumerate(family_ids([pair.prompt for pair in pairs])), *enumerate(family_ids([pair.text for pair in pairs]))]
    return family_groups(len(pairs), links)


def parted(pairs: Sequence[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to learn from and about `share` of them to look at; no family is in both."""
    of = families(pairs)
    order = list(dict.fromkeys(of))
    every = max(2, round(1 / share))
    looked_at = set(order[::every]) if len(order) > every else set(order[: max(1, len(order) // 3)])
    return (
        [pair for pair, family in zip(pairs, of, strict=True) if family not in looked_at],
        [pair for pair, family in zip(pairs, of, strict=True) if family in looked_at],
    )
