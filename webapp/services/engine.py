"""What executes a run: its library, examples, prompts and judges, each made when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.dimensions import PromptBuilder
from core.judging.aggregation import get_aggregator
from core.judging.placement import IN_PROCESS, count_cards, lanes, needs_cards, spread
from core.judging.registry import make_judge
from core.pipeline import IN_TURN, Arrangement, PipelineOptions, execute
from core.ports import Embedder, Judge, JudgeContext
from core.settings import Settings
from core.types import Dimension, Example, Item, JudgeSpec, LabelledItem, PanelSpec, RenderedPrompt, Run, RunState
from db.store import SqlStore
from db.workers import current_worker

if TYPE_CHECKING:
    from core.retrieval.select import ExampleRetriever


@dataclass(frozen=True, slots=True)
class LibraryState:
    """A library at one version: what judges learn from and examples are taken from."""

    library_id: int
    version: str
    items: tuple[LabelledItem, ...]


class Engine:
    """Executes runs in this process. Libraries and their retrievers are kept for the next run with the same version."""

    def __init__(self, settings: Settings, store: SqlStore, dimensions: Mapping[str, Dimension]) -> None:
        self._settings = settings
        self._store = store
        self._dimensions = dimensions
        self._lock = threading.RLock()
        self._embedder: Embedder | None = None
        self._library: LibraryState | None = None
        self._retriever: ExampleRetriever | None = None
        self._held_out = 0
        self._prompts: PromptBuilder | None = None

    def execute(self, run_id: int, on_progress: Callable[[], None] | None = None) -> RunState:
        """Claim a run and work on it until it is over; return the state it is left in.

        Raises RunTaken while another process works on it. Ctrl-C leaves the run STOPPED, to be resumed.
        """
        worker = current_worker()
        run = self._store.claim(run_id, worker)
        try:
            cards = count_cards() if needs_cards(run.panel) else 0
            panel = spread(run.panel, cards)
            return execute(
                run,
                self._store,
                [(spec.id, self._maker(spec, run)) for spec in panel.judges],
                retriever=_RunRetriever(self, run),
                prompts=_RunPrompts(self),
                aggregator=get_aggregator(run.aggregator),
                dimensions=self._dimensions,
                worker=worker,
                options=PipelineOptions(batch_size=self._settings.batch_size, examples=self._settings.examples),
                arrangement=Arrangement(lanes(panel, cards), self._prefetch(panel)),
                on_progress=on_progress,
            )
        except KeyboardInterrupt:
            self._store.end_work(run_id, worker, RunState.STOPPED)
            raise

    def reindex(self, library_id: int) -> None:
        """Build the vector index of a library's current version again."""
        from core.retrieval.index import ChromaIndex

        version = self._store.library(library_id).version
        items = self._store.library_items(library_id, version)
        with self._lock:
            self._library, self._retriever = None, None
            ChromaIndex(self._settings.home / "index", self.embedder()).rebuild(version, items)

    def embedder(self) -> Embedder:
        """Return the embedder of this process."""
        from core.retrieval.embedders import make_embedder

        with self._lock:
            if self._embedder is None:
                self._embedder = make_embedder(self._settings.embedder)
            return self._embedder

    def library(self, run: Run) -> LibraryState:
        """Return the library of a run at the run's version."""
        with self._lock:
            if self._library is None or (self._library.library_id, self._library.version) != (run.library_id, run.library_version):
                items = tuple(self._store.library_items(run.library_id, run.library_version))
                self._library, self._retriever = LibraryState(run.library_id, run.library_version, items), None
            return self._library

    def retriever(self, run: Run) -> ExampleRetriever:
        """Return the retriever over a run's library, its index built where it was not. Held-out rows are no examples."""
        from core.retrieval.index import ChromaIndex
        from core.retrieval.select import ExampleRetriever

        with self._lock:
            library = self.library(run)
            held_out = self._store.held_out_count()  # they are only ever added: another number means other rows
            if self._retriever is None or held_out != self._held_out:
                barred = self._store.all_held_out() if held_out else frozenset()
                index = ChromaIndex(self._settings.home / "index", self.embedder())
                index.ensure(library.version, library.items)
                excluded = [item.id for item in library.items if item.content_hash in barred]
                self._retriever = ExampleRetriever(index, library.items, self._dimensions, excluded_ids=excluded)
                self._held_out = held_out
            return self._retriever

    def prompts(self) -> PromptBuilder:
        """Return the builder of prompts."""
        with self._lock:
            if self._prompts is None:
                self._prompts = PromptBuilder(self._dimensions, *self._settings.dimension_folders())
            return self._prompts

    def _prefetch(self, panel: PanelSpec) -> dict[str, Callable[[threading.Event], None]]:
        """Return, for the models of a panel in turn, how their weights are read ahead."""
        if panel.schedule != IN_TURN:
            return {}
        return {spec.id: self._reader(spec) for spec in panel.judges if spec.family in IN_PROCESS}

    def _reader(self, spec: JudgeSpec) -> Callable[[threading.Event], None]:
        def read(over: threading.Event) -> None:
            from core.judging.prefetch import read_ahead
            from core.judging.weights import find_model, models_folder

            model, revision = str(spec.options.get("model", "")), spec.options.get("revision")
            folder = find_model(model, models_folder(self._settings.judge_cache()), str(revision) if revision else None)
            if folder is not None:
                read_ahead(folder, over)

        return read

    def _maker(self, spec: JudgeSpec, run: Run) -> Callable[[], Judge]:
        def make() -> Judge:
            library = self.library(run)
            self.retriever(run)  # building the index teaches the embedder, which judges use too
            cache = self._settings.judge_cache()
            context = JudgeContext(library.items, library.version, self._dimensions, cache, self.embedder(), run.panel.id)
            return make_judge(spec, context)

        return make


@dataclass(frozen=True, slots=True)
class _RunRetriever:
    """The retriever of one run, made when the first row is looked up: a run that only decides anew needs none."""

    engine: Engine
    run: Run

    @property
    def index_version(self) -> str:
        """Return the version of the index."""
        return self.engine.retriever(self.run).index_version

    def search(self, items: Sequence[Item], limit: int) -> list[tuple[Example, ...]]:
        """Return the examples of each item."""
        return self.engine.retriever(self.run).search(items, limit)


@dataclass(frozen=True, slots=True)
class _RunPrompts:
    """The prompt builder, made when a judge first reads prompts."""

    engine: Engine

    def render(self, item: Item, examples: Sequence[Example]) -> RenderedPrompt:
        """Return the prompt of an item."""
        return self.engine.prompts().render(item, examples)
