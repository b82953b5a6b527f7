"""Rows to learn from: good pairs with a counted number of defects put in, each character tagged.

Pure: the same pairs, recipe and seed give the same rows.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.faultmarks import DEFECT_KINDS, MarkKind
from training.defects.demands import Demand, added, broken_demand, keeps_length, kept_demand, states_demand
from training.defects.makers import MAKERS
from training.defects.material import Pair
from training.defects.outline import Answer, Corpus, read_corpus
from training.faults.injector import APART, PlacedFault, apply_edits
from training.faults.passage import Edit

RATE_PER = 1000
EVEN: Mapping[MarkKind, float] = dict.fromkeys(DEFECT_KINDS, 1.0)
"""Every kind as often as any other: nothing is known of how often each stands in real texts."""

_TRIES = 40
_REDRAWS = 10
_KEPT_DEMANDS = 0.5


@dataclass(frozen=True, slots=True)
class DefectiveText:
    """A pair with defects put in.

    `tags` has one class a character: 0 is sound, n + 1 is `DEFECT_KINDS[n]`. What is left out tags the characters on both sides of
    the place. `rate` is defects per 1,000 characters, at most the recipe's highest. In a `swapped` text, written for another
    prompt, each sentence is a defect.
    """

    prompt: str
    text: str
    tags: tuple[int, ...]
    faults: tuple[PlacedFault, ...]
    rate: float
    swapped: bool = False


@dataclass(frozen=True, slots=True)
class DefectRecipe:
    """How rows are made.

    `sound` is the share of rows without a defect, `swapped` that of texts written for another prompt; the others have from 0 to
    `highest` defects per 1,000 characters, every rate as often as any other.
    """

    count: int
    seed: int
    highest: float = 8.0
    sound: float = 0.1
    swapped: float = 0.05
    shares: Mapping[MarkKind, float] | None = None


@dataclass
class _Making:
    """What was made so far: how often each kind, and the pairs, so that none is made twice."""

    corpus: Corpus
    recipe: DefectRecipe
    draw: random.Random
    made: dict[MarkKind, int] = field(default_factory=lambda: dict.fromkeys(DEFECT_KINDS, 0))
    seen: set[tuple[str, str]] = field(default_factory=set)

    @property
    def shares(self) -> Mapping[MarkKind, float]:
        return EVEN if self.recipe.shares is None else self.recipe.shares


def make_defect_rows(pairs: Sequence[Pair], recipe: DefectRecipe) -> list[DefectiveText]:
    """Return `recipe.count` rows, fewer where the pairs give no more different ones; every pair is used about as often as any other.

    Over the rows, kinds are as frequent as the shares say (swapped texts not counted). A text too short for the number of defects
    gets what it has room for.
    """
    making = _Making(read_corpus(pairs), recipe, random.Random(recipe.seed))
    rows: list[DefectiveText] = []
    while len(rows) < recipe.count:
        order = list(range(len(pairs)))
        making.draw.shuffle(order)
        found = [row for place in order if (row := _row(making, making.corpus.answers[place]))]
        if not found:
            break
        rows += found[: recipe.count - len(rows)]
    return rows


def _row(making: _Making, answer: Answer) -> DefectiveText | None:
    """Return a new row made of a pair, or None where only rows that were there already came of it."""
    draw, recipe = making.draw, making.recipe
    way, rate = draw.random(), draw.uniform(0.0, recipe.highest)
    for _ in range(_REDRAWS):
        before = dict(making.made)
        if recipe.sound <= way < recipe.sound + recipe.swapped:
            row = _swapped(making, answer)
        else:
            row = _spoiled(making, answer, 0 if way < recipe.sound else round(rate * len(answer.text) / RATE_PER))
        if row and (row.prompt, row.text) not in making.seen:
            making.seen.add((row.prompt, row.text))
            return row
        making.made = before
    return None


def _swapped(making: _Making, answer: Answer) -> DefectiveText | None:
    """Return the prompt with the text of another one."""
    other = making.corpus.stranger(answer.place, making.draw)
    if other is None or not other.sentences:
        return None
    prompt = _with_kept_demand(making, answer.pair.prompt, other.text)
    faults = tuple(PlacedFault(span.start, span.end, MarkKind.OFF_TOPIC) for span in other.sentences)
    return _finished(making.recipe, prompt, other.text, faults, [0] * len(other.text), swapped=True)


def _spoiled(making: _Making, answer: Answer, count: int) -> DefectiveText | None:
    """Return the pair with `count` defects; None where they would break a length that the prompt itself states, uncounted."""
    prompt = answer.pair.prompt
    edits, breaks_demand = _choose(making, answer, count)
    spoiled = apply_edits(answer.text, edits, DEFECT_KINDS)
    if keeps_length(prompt, answer.text) and not keeps_length(prompt, spoiled.text):
        return None
    faults, tags = spoiled.faults, list(spoiled.tags)
    if breaks_demand:
        demand = broken_demand(spoiled.text, making.draw)
        prompt = added(prompt, demand)
        faults = (*faults, _placed(demand))
    else:
        prompt = _with_kept_demand(making, prompt, spoiled.text)
    return _finished(making.recipe, prompt, spoiled.text, faults, tags)


def _choose(making: _Making, answer: Answer, count: int) -> tuple[list[Edit], bool]:
    """Return edits that do not touch, of the kinds that are most behind, and whether a demand is to be broken: `count` in all."""
    edits: list[Edit] = []
    breaks_demand = False
    shares, made, draw = making.shares, making.made, making.draw
    while len(edits) + breaks_demand < count:
        behind = sorted(
            (kind for kind in DEFECT_KINDS if shares.get(kind)), key=lambda kind: ((made[kind] + 1) / shares[kind], draw.random())
        )
        for kind in behind:
            if kind is MarkKind.DEMAND:
                if breaks_demand or states_demand(answer.pair.prompt):
                    continue
                breaks_demand = True
            elif (edit := _one(making, answer, kind, edits)) is not None:
                edits.append(edit)
            else:
                continue
            made[kind] += 1
            break
        else:
            break
    return sorted(edits, key=lambda edit: edit.start), breaks_demand


def _one(making: _Making, answer: Answer, kind: MarkKind, edits: Sequence[Edit]) -> Edit | None:
    for _ in range(_TRIES):
        edit = making.draw.choice(MAKERS[kind])(answer, making.corpus, making.draw)
        if edit is not None and not any(edit.start < other.end + APART and other.start < edit.end + APART for other in edits):
            return edit
    return None


def _with_kept_demand(making: _Making, prompt: str, text: str) -> str:
    """Return the prompt, half of the time with a demand that the text keeps: a demand must not tell that it is broken."""
    if states_demand(prompt) or making.draw.random() >= _KEPT_DEMANDS:
        return prompt
    return added(prompt, kept_demand(text, making.draw))


def _placed(demand: Demand) -> PlacedFault:
    return PlacedFault(demand.start, demand.end, MarkKind.DEMAND)


def _finished(
    recipe: DefectRecipe, prompt: str, text: str, faults: tuple[PlacedFault, ...], tags: list[int], *, swapped: bool = False
) -> DefectiveText:
    """Return the row; a character that carries a tag keeps it."""
    for fault in faults:
        for place in range(fault.start, fault.end):
            tags[place] = tags[place] or DEFECT_KINDS.index(fault.kind) + 1
    rate = min(recipe.highest, RATE_PER * len(faults) / max(1, len(text)))
    return DefectiveText(prompt, text, tuple(tags), faults, rate, swapped)
