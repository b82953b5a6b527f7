"""Which labelled examples are shown for a row: one per label, then the nearest that differ from what is already chosen.

Similarities are whole numbers. Unit vectors are rounded to a grid of 1/2048 before they are multiplied, so every partial
sum stays below 2^24 and float32 holds it exactly; whatever the batch, the library for linear algebra or the number of
threads, the same rows come out in the same order. Equal similarities are ordered by the examples' content.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from core.cores import one_core
from core.retrieval.families import FamilyIndex, family_groups
from core.retrieval.index import ChromaIndex, example_key, example_text
from core.types import Dimension, DimensionKind, Example, Item, LabelledItem, content_hash

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
GRID = 2048
UNIT = float(GRID * GRID)
BARRED = np.float32(-1 << 23)
POOL = 32
NEAR, APART = 7, 3  # a further example scores 7 x its similarity to the row - 3 x its highest to one already chosen
GRAM_LIMIT = 4096
CELLS = 4_000_000
PASSAGE_LETTERS = 200
GRAPH_CANDIDATES = 24


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The candidates of one dimension, ordered by label and then content: their vectors on the grid and label borders."""

    examples: tuple[LabelledItem, ...]
    families: I64
    vectors: F32
    borders: tuple[int, ...]
    gram: F32 | None

    def between(self, one: I64, many: I64) -> F32:
        """Return the similarity of each of `many` (rows, k) to `one` (rows,), in grid units."""
        if self.gram is not None:
            return self.gram[one[:, None], many]
        likeness: F32 = np.einsum("ij,ikj->ik", self.vectors[one], self.vectors[many])
        return likeness


class ExampleRetriever:
    """Finds examples in a library whose index has been made: `index.ensure(version, examples)` comes first.

    Never shown: the row itself, anything in a family of near-duplicates with it (of any dimension), and `excluded_ids`
    (library ids, such as a held-out split). Examples of unknown dimensions or with labels off the scale are passed over.
    """

    def __init__(
        self,
        index: ChromaIndex,
        examples: Sequence[LabelledItem],
        dimensions: Mapping[str, Dimension],
        *,
        excluded_ids: Collection[int] = frozenset(),
    ) -> None:
        self._index = index
        self._dimensions = dimensions
        self._examples = sorted(examples, key=lambda example: (example.dimension_id, example.label, example_key(example), example.id))
        passages = [passages_of(example.dimension_id, example.prompt, example.text, dimensions) for example in self._examples]
        self._kin = _Kin(passages, [example_key(example).rpartition(".")[0] for example in self._examples])
        barred = frozenset(excluded_ids)
        kept = [place for place, example in enumerate(self._examples) if example.id not in barred and _usable(example, dimensions)]
        self._places: dict[str, list[int]] = {dimension_id: [] for dimension_id in dimensions}
        for place in kept:
            self._places[self._examples[place].dimension_id].append(place)
        self._shelves: dict[str, _Shelf] = {}
        self._by_key = (
            {} if index.exact else {(self._examples[place].dimension_id, example_key(self._examples[place])): place for place in kept}
        )

    @property
    def index_version(self) -> str:
        """Return the version of the index, kept with every example shown."""
        return self._index.version

    def search(self, items: Sequence[Item], limit: int) -> list[tuple[Example, ...]]:
        """Return at most `limit` examples per item, in the order of `items`, each row's nearest first.

        One example per label comes first (the nearest labels where `limit` is below their number), then the nearest
        that are not like those chosen (maximal marginal relevance, Carbonell and Goldstein 1998).
        """
        found: list[tuple[Example, ...]] = [()] * len(items)
        if limit < 1:
            return found
        groups: dict[str, list[int]] = {}
        for place, item in enumerate(items):
            if self._places.get(item.dimension_id):
                groups.setdefault(item.dimension_id, []).append(place)
        for dimension_id, places in groups.items():
            for place, examples in zip(places, self._search(dimension_id, [items[place] for place in places], limit), strict=True):
                found[place] = examples
        return found

    def _search(self, dimension_id: str, rows: Sequence[Item], limit: int) -> list[tuple[Example, ...]]:
        vectors = _on_grid(self._index.embed([example_text(row.prompt, row.text) for row in rows]))
        kin = self._kin.of(
            [passages_of(row.dimension_id, row.prompt, row.text, self._dimensions) for row in rows],
            [row.content_hash or content_hash(row.dimension_id, row.prompt, row.text) for row in rows],
        )
        search = self._search_exact if self._index.exact else self._search_graph
        with one_core():
            return search(dimension_id, vectors, kin, limit)

    def _search_exact(self, dimension_id: str, vectors: F32, kin: Sequence[frozenset[int]], limit: int) -> list[tuple[Example, ...]]:
        shelf = self._shelf(dimension_id)
        step = max(1, CELLS // len(shelf.examples))
        found: list[tuple[Example, ...]] = []
        for start in range(0, len(vectors), step):
            found += self._choose(shelf, vectors[start : start + step], kin[start : start + step], limit)
        return found

    def _search_graph(self, dimension_id: str, vectors: F32, kin: Sequence[frozenset[int]], limit: int) -> list[tuple[Example, ...]]:
        """Let Chroma propose candidates per label, then choose among them exactly as otherwise."""
        candidates: list[dict[int, F32]] = [{} for _ in vectors]
        labels = sorted({self._examples[place].label for place in self._places[dimension_id]})
        for label in labels:
            for row, near in enumerate(self._index.nearest(vectors / np.float32(GRID), dimension_id, label, GRAPH_CANDIDATES)):
                for neighbour in near:
                    place = self._by_key.get((dimension_id, neighbour.key))
                    if place is not None:
                        candidates[row][place] = neighbour.vector
        found: list[tuple[Example, ...]] = []
        for row, near_vectors in enumerate(candidates):
            if near_vectors:
                places = sorted(near_vectors)
                shelf = self._shelve(places, np.stack([near_vectors[place] for place in places]))
                found += self._choose(shelf, vectors[row : row + 1], kin[row : row + 1], limit)
            else:
                found.append(())
        return found

    def _shelf(self, dimension_id: str) -> _Shelf:
        shelf = self._shelves.get(dimension_id)
        if shelf is None:
            places = self._places[dimension_id]
            shelf = self._shelve(places, self._index.vectors([self._examples[place] for place in places]))
            if len(places) <= GRAM_LIMIT:
                shelf = replace(shelf, gram=shelf.vectors @ shelf.vectors.T)
            self._shelves[dimension_id] = shelf
        return shelf

    def _shelve(self, places: Sequence[int], vectors: F32) -> _Shelf:
        examples = tuple(self._examples[place] for place in places)
        labels = np.array([example.label for example in examples])
        starts = np.flatnonzero(np.concatenate(([True], labels[1:] != labels[:-1])))
        return _Shelf(examples, self._kin.families[list(places)], _on_grid(vectors), (*starts.tolist(), len(examples)), None)

    def _choose(self, shelf: _Shelf, vectors: F32, kin: Sequence[frozenset[int]], limit: int) -> list[tuple[Example, ...]]:
        similarity = vectors @ shelf.vectors.T
        for row, families in enumerate(kin):
            if families:
                similarity[row, _members(shelf.families, families)] = BARRED
        columns = _one_per_label(similarity, shelf.borders, limit)
        if columns.shape[1] < limit:
            columns = _and_diverse(similarity, shelf, columns, limit)
        nearness = np.take_along_axis(similarity, np.maximum(columns, 0), axis=1).tolist()
        return [self._shown(shelf, near, chosen) for near, chosen in zip(nearness, columns.tolist(), strict=True)]

    def _shown(self, shelf: _Shelf, nearness: Sequence[float], columns: Sequence[int]) -> tuple[Example, ...]:
        chosen = sorted((-near, column) for near, column in zip(nearness, columns, strict=True) if column >= 0)
        version = self._index.version
        return tuple(
            Example(shelf.examples[column], min(1.0, max(-1.0, -negative / UNIT)), rank, version)
            for rank, (negative, column) in enumerate(chosen)
        )


class _Kin:
    """Families over the passages of a library: of an example's family, nothing is shown for a row of that family."""

    def __init__(self, passages: Sequence[tuple[str, ...]], contents: Sequence[str]) -> None:
        flat, owners = _flat(passages)
        self._index = FamilyIndex(flat)
        self._owners = owners
        self.families = np.array(family_groups(len(passages), self._joined(self._index.matches(flat))), dtype=np.int64)
        self._by_content: dict[str, set[int]] = {}
        for place, content in enumerate(contents):
            self._by_content.setdefault(content, set()).add(int(self.families[place]))

    def _joined(self, matches: Sequence[frozenset[int]]) -> list[tuple[int, int]]:
        return [(owner, self._owners[near]) for owner, found in zip(self._owners, matches, strict=True) for near in found]

    def of(self, passages: Sequence[tuple[str, ...]], contents: Sequence[str]) -> list[frozenset[int]]:
        """Return, for each row, the families it belongs to."""
        flat, owners = _flat(passages)
        found = [set(self._by_content.get(content, ())) for content in contents]
        for owner, near in zip(owners, self._index.matches(flat), strict=True):
            found[owner].update(int(self.families[self._owners[place]]) for place in near)
        return [frozenset(families) for families in found]


def _flat(passages: Sequence[tuple[str, ...]]) -> tuple[list[str], list[int]]:
    return [text for texts in passages for text in texts], [owner for owner, texts in enumerate(passages) for _ in texts]


def passages_of(dimension_id: str, prompt: str, text: str, dimensions: Mapping[str, Dimension]) -> tuple[str, ...]:
    """Return the passages by which a row is known again.

    That is its text; but where a reply to a prompt is sorted into classes, short replies are alike by nature and the
    prompt is what makes the row, with the reply beside it only when it is long enough to be a passage of its own.
    """
    dimension = dimensions.get(dimension_id)
    if dimension is None or not dimension.needs_prompt or dimension.kind is not DimensionKind.NOMINAL or not prompt.strip():
        return (text,)
    return (prompt, text) if len(text) >= PASSAGE_LETTERS else (prompt,)


def _usable(example: LabelledItem, dimensions: Mapping[str, Dimension]) -> bool:
    dimension = dimensions.get(example.dimension_id)
    return dimension is not None and example.label in dimension.labels


def _members(families: I64, wanted: frozenset[int]) -> NDArray[np.bool_]:
    """Return which places belong to one of the `wanted` families: mostly one or two, for which np.isin is slow."""
    found = np.zeros(len(families), dtype=np.bool_)
    for family in wanted:
        found |= families == family
    return found


def _on_grid(vectors: F32) -> F32:
    grid: F32 = np.rint(vectors * np.float32(GRID)).astype(np.float32)
    return grid


def _one_per_label(similarity: F32, borders: Sequence[int], limit: int) -> I64:
    """Return the nearest column of each label, -1 where none may be shown; only the nearest `limit` labels stay."""
    rows = np.arange(len(similarity))
    best = np.stack([similarity[:, low:high].argmax(axis=1) + low for low, high in pairwise(borders)], axis=1)
    nearness = similarity[rows[:, None], best]
    best[nearness == BARRED] = -1
    if best.shape[1] <= limit:
        return best
    order = np.argsort(-nearness, axis=1, kind="stable")[:, :limit]
    return best[rows[:, None], order]


def _and_diverse(similarity: F32, shelf: _Shelf, columns: I64, limit: int) -> I64:
    """Return `columns` with further ones, up to `limit`, from the nearest `POOL` of each row."""
    rows = np.arange(len(similarity))
    rest = similarity.copy()
    for chosen in columns.T:
        rest[rows[chosen >= 0], chosen[chosen >= 0]] = BARRED
    pool = _nearest(rest, max(POOL, 4 * limit))
    nearness = rest[rows[:, None], pool].astype(np.int64)
    likeness = np.full(pool.shape, np.int64(BARRED))
    for chosen in columns.T:
        known = np.where(chosen >= 0, chosen, 0)
        likeness = np.where((chosen >= 0)[:, None], np.maximum(likeness, shelf.between(known, pool).astype(np.int64)), likeness)
    open_ = nearness != np.int64(BARRED)
    while columns.shape[1] < limit and open_.any():
        floor = np.where(likeness == np.int64(BARRED), 0, likeness)
        score = np.where(open_, NEAR * nearness - APART * floor, np.iinfo(np.int64).min)
        place = score.argmax(axis=1)
        chosen = np.where(open_[rows, place], pool[rows, place], -1)
        open_[rows, place] = False
        likeness = np.maximum(likeness, shelf.between(np.maximum(chosen, 0), pool).astype(np.int64))
        columns = np.concatenate((columns, chosen[:, None]), axis=1)
    return columns


def _nearest(similarity: F32, count: int) -> I64:
    """Return the `count` nearest columns of each row, nearest first and equals by column."""
    width = similarity.shape[1]
    keys = similarity.astype(np.int64) * width - np.arange(width)
    if count < width:
        part = np.argpartition(keys, width - count, axis=1)[:, width - count :]
        keys = np.take_along_axis(keys, part, axis=1)
    else:
        part = np.broadcast_to(np.arange(width), keys.shape)
    return np.take_along_axis(part, np.argsort(-keys, axis=1), axis=1)
