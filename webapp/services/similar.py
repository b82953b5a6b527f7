"""Examples of a library by similarity to a text, over the index that runs use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.desks import LibraryPage, LibraryQuery, Standing
from core.ports import Embedder
from core.types import LabelledItem
from db.store import SqlStore

if TYPE_CHECKING:
    from core.retrieval.index import ChromaIndex

# Of a library whose vectors are not all at hand, so many are looked at for each dimension and label.
NEAREST = 50


@dataclass(frozen=True, slots=True)
class _Opened:
    """The index of one version of a library."""

    library_id: int
    version: str
    index: ChromaIndex
    items: tuple[LabelledItem, ...]


class SimilarExamples:
    """Orders examples by the cosine similarity of prompt and text to a text; keeps the index of the library asked last."""

    def __init__(self, store: SqlStore, folder: Path, embedder: Callable[[], Embedder]) -> None:
        self._store = store
        self._folder = folder
        self._embedder = embedder
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    def page(self, library_id: int, query: LibraryQuery) -> LibraryPage:
        """Return one page of the active examples that match the other filters, the most similar first.

        Raises NotFound, and RetrievalError where the index cannot be used.
        """
        size = max(1, query.page_size)
        allowed = set() if query.standing is Standing.RETIRED else set(self._store.matching_examples(library_id, query))
        ranked = self._ranked(library_id, query.like, allowed)
        start = max(0, query.page) * size
        part = ranked[start : start + size]
        rows = self._store.library_rows([example_id for example_id, _ in part], dict(part))
        return LibraryPage(tuple(rows), len(ranked), query.page, size)

    def _ranked(self, library_id: int, text: str, allowed: set[int]) -> list[tuple[int, float]]:
        with self._lock:
            opened = self._open(library_id)
            items = [item for item in opened.items if item.id in allowed]
            if not items:
                return []
            vector = opened.index.embed([text])
            if opened.index.exact:
                likeness = (opened.index.vectors(items) @ vector[0]).tolist()
                found = {item.id: similarity for item, similarity in zip(items, likeness, strict=True)}
            else:
                found = _by_graph(opened.index, vector, items)
        return sorted(((example_id, float(similarity)) for example_id, similarity in found.items()), key=lambda pair: (-pair[1], pair[0]))

    def _open(self, library_id: int) -> _Opened:
        from core.retrieval.index import ChromaIndex

        version = self._store.library(library_id).version
        if self._opened is None or (self._opened.library_id, self._opened.version) != (library_id, version):
            items = tuple(self._store.library_items(library_id, version))
            index = ChromaIndex(self._folder, self._embedder())
            index.ensure(version, items)
            self._opened = _Opened(library_id, version, index, items)
        return self._opened


def _by_graph(index: ChromaIndex, vector: object, items: list[LabelledItem]) -> dict[int, float]:
    import numpy as np

    from core.retrieval.index import example_key

    query = np.asarray(vector, dtype=np.float32)
    places = {(item.dimension_id, example_key(item)): item.id for item in items}
    found: dict[int, float] = {}
    for dimension_id, label in sorted({(item.dimension_id, item.label) for item in items}):
        for neighbour in index.nearest(query, dimension_id, label, NEAREST)[0]:
            example_id = places.get((dimension_id, neighbour.key))
            if example_id is not None:
                found[example_id] = float(neighbour.vector @ query[0])
    return found
