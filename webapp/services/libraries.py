"""The library desk: search, add, retire and relabel examples, see who was shown them, and judge those rows again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from core.desks import Candidate, ExampleDetail, ExampleUses, LibraryChange, LibraryFacets, LibraryPage, LibraryQuery, LibraryVersion
from core.errors import LabelError
from core.ports import Embedder
from core.types import Dimension, Run
from db.library_history import LibraryHistoryStore
from db.store import SqlStore
from webapp.services.similar import SimilarExamples


class LibraryDesk:
    """A library as people keep it. Every change makes a new version; nothing is deleted, and every change can be undone."""

    def __init__(self, store: SqlStore, dimensions: Mapping[str, Dimension], index: Path, embedder: Callable[[], Embedder]) -> None:
        self._store = store
        self._dimensions = dimensions
        self._history = LibraryHistoryStore(store.engine)
        self._similar = SimilarExamples(store, index, embedder)

    def items(self, library_id: int, query: LibraryQuery) -> LibraryPage:
        """Return one page of a library: newest first, or by similarity where `query.like` has a text. Raises NotFound."""
        if query.like.strip():
            return self._similar.page(library_id, query)
        return self._store.library_page(library_id, query)

    def facets(self, library_id: int) -> LibraryFacets:
        """Return what there is to filter a library by. Raises NotFound."""
        return self._store.library_facets(library_id)

    def example(self, library_id: int, example_id: int) -> ExampleDetail:
        """Return one example, active or retired, with every label that its content had here. Raises NotFound."""
        return self._history.example_detail(library_id, example_id)

    def versions(self, library_id: int) -> Sequence[LibraryVersion]:
        """Return the latest versions of a library, newest first."""
        return self._history.library_versions(library_id)

    def candidates(self, run_id: int, library_id: int, page: int = 0, page_size: int = 50) -> tuple[Sequence[Candidate], int]:
        """Return one page of the rows that people labelled and the library lacks with that label, and how many there are."""
        return self._store.candidates(run_id, library_id, page, page_size)

    def promote_corrections(self, run_id: int, library_id: int, author: str, item_ids: Sequence[int] | None = None) -> LibraryChange:
        """Add a run's labelled rows (settled or not in conflict; all of them, or `item_ids`) to a library as corrections.

        An example of equal content with another label is retired: what people say now replaces it. Raises NotFound.
        """
        return self._store.promote(run_id, library_id, author, item_ids)

    def retire(self, library_id: int, example_ids: Sequence[int], author: str) -> LibraryChange:
        """Take examples out of retrieval; they stay in every earlier version. Raises NotFound for one that is not active."""
        return self._store.retire_examples(library_id, example_ids, author)

    def relabel(self, library_id: int, example_id: int, label: int, author: str, reason: str = "") -> LibraryChange:
        """Give an example another label, with the reason: retire it and add it anew.

        Raises NotFound, LabelError for a label off the scale.
        """
        item = self._store.library_item(library_id, example_id)
        dimension = self._dimensions.get(item.dimension_id)
        if dimension is not None and label not in dimension.labels:
            scale = ", ".join(map(str, dimension.labels))
            raise LabelError(
                f"{label} is not on the scale of {dimension.name('en')} ({scale}).",
                zh=f"{label} 不在「{dimension.name('zh')}」的标签范围内（{scale}）。",
            )
        change = self._store.relabel_example(library_id, example_id, label, author)
        if reason.strip() and change.added:
            self._history.note_reason(change.added[0], reason.strip())
        return change

    def undo(self, library_id: int, change: LibraryChange, author: str) -> LibraryChange:
        """Take a change back: what it added is retired, what it retired stands again, in a new version."""
        return self._store.undo_change(library_id, change.added, change.retired, author)

    def restore(self, library_id: int, example_ids: Sequence[int], author: str) -> LibraryChange:
        """Put retired examples back. Raises NotFound for one that the library never had."""
        return self._store.undo_change(library_id, (), example_ids, author)

    def uses(self, library_id: int, example_id: int, page: int = 0, page_size: int = 50) -> ExampleUses:
        """Return the rows that were judged with an example in sight, latest run first. Raises NotFound."""
        return self._store.example_uses(library_id, example_id, page, page_size)

    def judge_again(self, run_id: int, item_ids: Sequence[int] | None = None, *, example_id: int | None = None) -> Run:
        """Queue a new run of the same panel and aggregator over some rows of a run, with its library as it is now.

        Which rows: `item_ids`, or those that were shown `example_id`. Asked twice for the same rows, they are one sheet.
        Raises NotFound where no row is left.
        """
        chosen = item_ids if item_ids is not None else self._store.items_shown(run_id, example_id or 0)
        return self._store.judge_again(run_id, chosen)
