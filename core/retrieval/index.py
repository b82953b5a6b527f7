"""The vector index: a persistent Chroma folder that can be thrown away and built again at any time.

Each collection holds one version of one library and carries that version in its metadata. A collection is marked as
incomplete before it is changed and as complete afterwards, so whatever a crash leaves behind is recognised and built
again. Chroma keeps its clients per path for the life of a process; a folder that turns out damaged is therefore left
for a fresh one beside it (`store-1`, `store-2`, …) and deleted.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.errors import RetrievalError
from core.ports import Embedder
from core.types import LabelledItem, content_hash

if TYPE_CHECKING:
    from chromadb import Collection
    from chromadb.api import ClientAPI

F32 = NDArray[np.float32]
CODE_VERSION = "index-1"
EXACT_LIMIT = 50_000
PAGE = 1_000
KEPT_COLLECTIONS = 6
LOCK_SECONDS = 900.0
# Chroma's graph is searched only above the exact limit; below it, the lightest one keeps building and opening quick.
LIGHT, FULL = "light", "full"
GRAPHS: Mapping[str, Mapping[str, str | int]] = {
    LIGHT: {"space": "ip", "ef_construction": 8, "max_neighbors": 4, "sync_threshold": 500},
    FULL: {"space": "ip", "ef_construction": 64, "max_neighbors": 12, "ef_search": 200, "sync_threshold": 2_000},
}

log = logging.getLogger(__name__)


class _Damaged(Exception):
    """The folder cannot be read, or holds other vectors than it should."""


@dataclass(frozen=True, slots=True)
class _State:
    """What a collection says of itself."""

    index_version: str
    embedder_version: str
    graph: str
    complete: bool
    used: float

    def metadata(self) -> dict[str, str | float | bool]:
        """Return the state as Chroma keeps it."""
        return {
            "code": CODE_VERSION,
            "index": self.index_version,
            "embedder": self.embedder_version,
            "graph": self.graph,
            "complete": self.complete,
            "used": self.used,
        }


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One labelled item that Chroma found near a query; `key` is `example_key` of the item."""

    key: str
    vector: F32


def example_text(prompt: str, text: str) -> str:
    """Return what is embedded of a row: its text, below its prompt where it has one."""
    return f"{prompt}\n{text}" if prompt else text


def example_key(example: LabelledItem) -> str:
    """Return what identifies a labelled item in the index: its content and label, not its database id."""
    digest = example.content_hash or content_hash(example.dimension_id, example.prompt, example.text)
    return f"{digest}.{example.label}"


class ChromaIndex:
    """The index of a library in `folder`, made by `embedder`; several processes may share the folder.

    `ensure` must come first; it fits `embedder` to the library and keeps a copy as it is then, so that another library's
    fit does not disturb this index. Up to `exact_limit` examples the vectors are read once and searched exactly by one
    matrix product; above it `nearest` asks Chroma. docs/RETRIEVAL.md has the measurements behind that.
    """

    def __init__(self, folder: Path, embedder: Embedder, *, exact_limit: int = EXACT_LIMIT) -> None:
        self._folder = folder
        self._shared = embedder
        self._embedder = embedder
        self._exact_limit = exact_limit
        self._version = ""
        self._graph = LIGHT
        self._places: dict[str, int] = {}
        self._vectors: F32 | None = None
        self._collection: Collection | None = None

    @property
    def version(self) -> str:
        """Return the version of the index: a hash of library, embedder and code. Empty before `ensure`."""
        return self._version

    @property
    def exact(self) -> bool:
        """Return whether the vectors are at hand, so that the nearest are found exactly."""
        return self._vectors is not None

    def ensure(self, library_version: str, examples: Sequence[LabelledItem]) -> str:
        """Make the index hold exactly `examples`, reusing what is there, and return its version.

        Raises RetrievalError when the folder cannot be used at all, or when another process keeps it locked.
        """
        return self._make(library_version, examples, afresh=False)

    def rebuild(self, library_version: str, examples: Sequence[LabelledItem]) -> str:
        """Throw the whole folder's index away, build that of `examples` and return its version."""
        return self._make(library_version, examples, afresh=True)

    def embed(self, texts: Sequence[str]) -> F32:
        """Return the unit vectors of `texts` by the embedder as this index has it."""
        return self._embedder.embed(texts)

    def vectors(self, examples: Sequence[LabelledItem]) -> F32:
        """Return the stored vectors of `examples`, one row each. Raises RetrievalError for one that is not in the index."""
        if self._vectors is None:
            raise RetrievalError("The vectors are not in memory: call `ensure` first, or `nearest` for a library above the exact limit.")
        try:
            return self._vectors[[self._places[example_key(example)] for example in examples]]
        except KeyError as error:
            raise RetrievalError(
                f"The index does not hold the example {error}; run `./run.sh reindex`.",
                zh=f"索引中没有样例 {error}，请运行 ./run.sh reindex。",
            ) from error

    def nearest(self, queries: F32, dimension_id: str, label: int, count: int) -> list[list[Neighbour]]:
        """Return, per query, about the `count` nearest examples of a dimension and label, as Chroma's graph finds them."""
        if self._collection is None:
            raise RetrievalError("The index is not open: call `ensure` first.")
        from chromadb.errors import ChromaError

        try:
            found = self._collection.query(
                query_embeddings=queries,
                n_results=count,
                where={"$and": [{"dimension": dimension_id}, {"label": label}]},
                include=["embeddings"],
            )
        except ChromaError as error:
            raise RetrievalError(
                f"The index cannot be searched ({error}); run `./run.sh reindex`.", zh=f"无法检索索引（{error}），请运行 ./run.sh reindex。"
            ) from error
        vectors = found.get("embeddings") or []
        return [
            [Neighbour(key, np.asarray(vector, dtype=np.float32)) for key, vector in zip(keys, row, strict=True)]
            for keys, row in zip(found.get("ids") or [], vectors, strict=True)
        ]

    def _make(self, library_version: str, examples: Sequence[LabelledItem], *, afresh: bool) -> str:
        distinct = {example_key(example): example for example in examples}
        self._shared.fit([example_text(example.prompt, example.text) for example in examples])
        self._embedder = copy.copy(self._shared)
        parts = "\n".join((library_version, self._embedder.version, CODE_VERSION))
        self._version = hashlib.sha256(parts.encode()).hexdigest()[:16]
        self._graph = FULL if len(distinct) > self._exact_limit else LIGHT
        with self._locked():
            if afresh:
                self._next_store()
            try:
                self._fill(distinct)
            except _Damaged as error:
                log.warning("The index in %s is damaged and is built again: %s", self._folder, error)
                self._next_store()
                try:
                    self._fill(distinct)
                except _Damaged as again:
                    raise RetrievalError(
                        f"The index cannot be built in {self._folder} ({again}). Check the free space and the permissions of that folder.",
                        zh=f"无法在 {self._folder} 建立索引（{again}）。请检查该目录的剩余空间与权限。",
                    ) from again
        return self._version

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / "index.lock", timeout=LOCK_SECONDS):
                yield
        except Timeout as error:
            raise RetrievalError(
                f"Another process has kept the index in {self._folder} locked for {LOCK_SECONDS:.0f} s; stop it or wait, then try again.",
                zh=f"另一进程占用索引 {self._folder} 已超过 {LOCK_SECONDS:.0f} 秒，请停止该进程或稍后再试。",
            ) from error
        except OSError as error:
            raise RetrievalError(
                f"The index folder {self._folder} cannot be used ({error.strerror or error}); check PINGPAN_HOME and its permissions.",
                zh=f"无法使用索引目录 {self._folder}（{error.strerror or error}），请检查 PINGPAN_HOME 及其权限。",
            ) from error

    def _stores(self) -> list[Path]:
        """Return the store folders there are, the current one last."""
        numbers = sorted(int(path.name.removeprefix("store-")) for path in self._folder.glob("store-*") if path.name[6:].isdecimal())
        return [self._folder / f"store-{number}" for number in numbers]

    def _next_store(self) -> None:
        """Begin a new store and delete the old ones; what cannot be deleted now goes with the next one."""
        old = self._stores()
        number = int(old[-1].name.removeprefix("store-")) + 1 if old else 1
        (self._folder / f"store-{number}").mkdir()
        for path in old:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _fill(self, examples: Mapping[str, LabelledItem]) -> None:
        """Open the current store, bring a collection up to date and read it. Raises _Damaged for whatever is wrong in it."""
        from chromadb.errors import ChromaError

        stores = self._stores() or [self._folder / "store-1"]
        client = None
        # Chroma gives a damaged file as any of these, AttributeError where a first failure left its client half made.
        try:
            client = _open(stores[-1])
            collection = self._collection_for(client, examples)
            self._read(collection, examples)
        except (ChromaError, sqlite3.Error, AttributeError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise _Damaged(str(error)) from error
        finally:
            if client is not None and self._vectors is not None:
                client.close()

    def _collection_for(self, client: ClientAPI, examples: Mapping[str, LabelledItem]) -> Collection:
        states = {collection.name: _state(collection) for collection in client.list_collections()}
        for name in _worthless(states, self._version):
            client.delete_collection(name)
            del states[name]
        name = next(
            (name for name, state in states.items() if state and state.index_version == self._version and state.graph == self._graph), ""
        )
        keys = set(examples)
        if name:
            collection = client.get_collection(name, embedding_function=None)
            if collection.count() != len(keys):
                raise _Damaged(f"it holds {collection.count()} vectors and should hold {len(keys)}")
        else:
            collection = self._related(client, states, keys) or self._new(client)
            self._update(collection, examples)
        collection.modify(metadata=self._now(complete=True).metadata())
        return collection

    def _related(self, client: ClientAPI, states: Mapping[str, _State | None], keys: set[str]) -> Collection | None:
        """Return the collection of the same embedder that shares most with `keys`, if that is at least half of them."""
        best, shared = None, len(keys) / 2
        for name, state in states.items():
            if state and state.embedder_version == self._embedder.version and state.graph == self._graph:
                collection = client.get_collection(name, embedding_function=None)
                common = len(keys & set(collection.get(include=[])["ids"]))
                if common >= max(1, shared):
                    best, shared = collection, common
        return best

    def _new(self, client: ClientAPI) -> Collection:
        return client.create_collection(
            f"library-{self._version}-{self._graph}",
            embedding_function=None,
            configuration={"hnsw": GRAPHS[self._graph]},
            metadata=self._now(complete=False).metadata(),
        )

    def _now(self, *, complete: bool) -> _State:
        return _State(self._version, self._embedder.version, self._graph, complete, time.time())

    def _update(self, collection: Collection, examples: Mapping[str, LabelledItem]) -> None:
        """Add what is missing and delete what is too much, inside the incomplete mark."""
        collection.modify(metadata=self._now(complete=False).metadata())
        stored = set(collection.get(include=[])["ids"])
        surplus = sorted(stored - set(examples))
        missing = sorted(set(examples) - stored)
        for start in range(0, len(surplus), PAGE):
            collection.delete(ids=surplus[start : start + PAGE])
        for start in range(0, len(missing), PAGE):
            keys = missing[start : start + PAGE]
            rows = [examples[key] for key in keys]
            vectors = self._embedder.embed([example_text(row.prompt, row.text) for row in rows])
            if not np.isfinite(vectors).all():
                raise RetrievalError(
                    f"The embedder {self._embedder.version} gives vectors that are not numbers; choose another model.",
                    zh=f"嵌入器 {self._embedder.version} 给出了非数值向量，请更换模型。",
                )
            collection.upsert(ids=keys, embeddings=vectors, metadatas=[{"dimension": row.dimension_id, "label": row.label} for row in rows])

    def _read(self, collection: Collection, examples: Mapping[str, LabelledItem]) -> None:
        self._collection, self._vectors, self._places = collection, None, {}
        if len(examples) > self._exact_limit:
            return
        pages: list[F32] = [self._embedder.embed([])]
        for start in range(0, len(examples), PAGE * 2):
            page = collection.get(limit=PAGE * 2, offset=start, include=["embeddings"])
            self._places.update((key, start + place) for place, key in enumerate(page["ids"]))
            pages.append(np.asarray(page["embeddings"], dtype=np.float32).reshape(len(page["ids"]), -1))
        if self._places.keys() != examples.keys():
            raise _Damaged("it holds other rows than its version says")
        self._vectors = np.concatenate(pages)
        lengths = np.einsum("ij,ij->i", self._vectors, self._vectors)
        if not np.all((np.abs(lengths - 1.0) < 1e-2) | (lengths == 0.0)):
            self._vectors = None
            raise _Damaged("it holds vectors that are not of unit length")
        self._collection = None


def _open(path: Path) -> ClientAPI:
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(str(path), settings=Settings(anonymized_telemetry=False))


def _state(collection: Collection) -> _State | None:
    """Return the state of a collection, or None when another version of the code wrote it."""
    kept: Mapping[str, object] = collection.metadata or {}
    code, index, embedder, graph, complete, used = (kept.get(key) for key in ("code", "index", "embedder", "graph", "complete", "used"))
    if code != CODE_VERSION or not isinstance(used, float):
        return None
    return _State(str(index), str(embedder), str(graph), complete is True, used)


def _worthless(states: Mapping[str, _State | None], wanted: str) -> list[str]:
    """Return the collections to delete: unreadable, half built, or beyond the most recently used few."""
    sound = {name: state for name, state in states.items() if state is not None and state.complete}
    recent = sorted(sound, key=lambda name: (sound[name].index_version == wanted, sound[name].used), reverse=True)
    return [
        name for name in states if name not in sound or (name in recent[KEPT_COLLECTIONS - 1 :] and sound[name].index_version != wanted)
    ]
