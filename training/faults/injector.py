"""Puts faults into clean prose: so many per 100 characters, of balanced kinds, each character tagged.

Pure: the same texts, rates, shares and seed give the same faults.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.faultmarks import MARK_KINDS, MarkKind
from training.faults.kinds import MAKERS, SHARES
from training.faults.passage import Edit, Passage, read_passages

APART = 2
TRIES = 40
_SEED_STEP = 1_000_003


@dataclass(frozen=True, slots=True)
class PlacedFault:
    """A fault in the finished text: characters `start` to `end` are tagged with it."""

    start: int
    end: int
    kind: MarkKind


@dataclass(frozen=True, slots=True)
class FaultyText:
    """A text with faults put in.

    `tags` has one class a character: 0 is sound, n + 1 is `MARK_KINDS[n]`. A gap tags the characters on both sides of it.
    """

    text: str
    tags: tuple[int, ...]
    faults: tuple[PlacedFault, ...]

    @property
    def prompt(self) -> str:
        """Return that faults of language are seen without a prompt."""
        return ""

    @property
    def rate(self) -> float:
        """Return the number of faults per 100 characters of the finished text."""
        return 100.0 * len(self.faults) / max(1, len(self.text))


def inject(texts: Sequence[str], rates: Sequence[float], seed: int, shares: Mapping[MarkKind, float] = SHARES) -> list[FaultyText]:
    """Return each text with `rates` faults per 100 of its characters, rounded to a whole number of faults.

    Over the corpus, kinds are as frequent as `shares` says. A text too short for the number of faults gets what it has room for
    (faults stand at least two characters apart).
    """
    passages = read_passages(list(texts))
    made: dict[MarkKind, int] = dict.fromkeys(MARK_KINDS, 0)
    result = []
    for number, (passage, rate) in enumerate(zip(passages, rates, strict=True)):
        draw = random.Random(seed * _SEED_STEP + number)
        edits = _choose(passage, round(rate * len(passage.text) / 100.0), made, shares, draw)
        result.append(apply_edits(passage.text, edits))
    return result


def _choose(passage: Passage, count: int, made: dict[MarkKind, int], shares: Mapping[MarkKind, float], draw: random.Random) -> list[Edit]:
    """Return `count` edits that do not touch, of the kinds that are most behind; `made` counts on."""
    edits: list[Edit] = []
    while len(edits) < count and passage.words:
        # The random part breaks ties, so that no kind is always the first of a text.
        behind = sorted(
            (kind for kind in MARK_KINDS if shares.get(kind)), key=lambda kind: ((made[kind] + 1) / shares[kind], draw.random())
        )
        edit = next((edit for kind in behind if (edit := _one(passage, kind, edits, draw))), None)
        if edit is None:
            break
        edits.append(edit)
        made[edit.kind] += 1
    return sorted(edits, key=lambda edit: edit.start)


def _one(passage: Passage, kind: MarkKind, edits: Sequence[Edit], draw: random.Random) -> Edit | None:
    makers = MAKERS[kind]
    for _ in range(TRIES):
        edit = draw.choice(makers)(passage, draw.randrange(len(passage.words)), draw)
        if edit is not None and _fits(edit, passage.text, edits):
            return edit
    return None


def _fits(edit: Edit, text: str, edits: Sequence[Edit]) -> bool:
    """Return whether an edit touches no other, and leaves a text that it can be marked in."""
    leaves = bool(edit.replacement) or edit.end - edit.start < len(text)
    return leaves and not any(edit.start < other.end + APART and other.start < edit.end + APART for other in edits)


def apply_edits(text: str, edits: Sequence[Edit], kinds: Sequence[MarkKind] = MARK_KINDS) -> FaultyText:
    """Return the text with the edits made, tagged with the classes of `kinds`; `edits` are in order and do not touch."""
    parts: list[str] = []
    places: list[tuple[int, int, MarkKind]] = []
    read = written = 0
    for edit in edits:
        parts += [text[read : edit.start], edit.replacement]
        written += edit.start - read
        places.append((written + edit.marked[0], written + edit.marked[1], edit.kind))
        written += len(edit.replacement)
        read = edit.end
    parts.append(text[read:])
    finished = "".join(parts)
    tags = [0] * len(finished)
    faults = []
    for start, end, kind in places:
        if start == end:
            start, end = max(0, start - 1), min(len(finished), start + 1)
        faults.append(PlacedFault(start, end, kind))
        tags[start:end] = [kinds.index(kind) + 1] * (end - start)
    return FaultyText(finished, tuple(tags), tuple(faults))
