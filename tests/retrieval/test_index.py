"""The Chroma index as a cache: versions, reuse, crashes, damage, and two processes at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import RetrievalError
from core.retrieval.embedders import make_embedder
from core.retrieval.index import ChromaIndex, example_key, example_text
from core.settings import PROJECT_ROOT
from core.types import LabelledItem
from tests.retrieval.rows import library

LIBRARY = library(60)


class FixedEmbedder:
    """A pretrained embedder of the plainest kind, which counts the texts that it embeds."""

    version = "fixed-1"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def fit(self, texts: Sequence[str]) -> None:
        """Do nothing."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a unit vector that depends on the text alone."""
        self.seen += texts
        vectors = np.array([[len(text), *(text.count(sign) for sign in "，。的园山水人")] for text in texts], dtype=np.float32).reshape(
            -1, 8
        )
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def opened(folder: Path, rows: Sequence[LabelledItem] = LIBRARY, version: str = "v1") -> ChromaIndex:
    index = ChromaIndex(folder, make_embedder("ngram"))
    index.ensure(version, rows)
    return index


def expected(index: ChromaIndex, rows: Sequence[LabelledItem] = LIBRARY) -> NDArray[np.float32]:
    return index.embed([example_text(row.prompt, row.text) for row in rows])


def test_the_index_gives_back_the_vectors_of_its_examples(tmp_path: Path) -> None:
    index = opened(tmp_path)
    assert index.exact
    assert (index.vectors(LIBRARY) == expected(index)).all()
    assert (index.vectors(LIBRARY[::-2]) == expected(index)[::-2]).all()


def test_the_version_follows_library_embedder_and_nothing_else(tmp_path: Path) -> None:
    first = opened(tmp_path).version
    assert opened(tmp_path / "elsewhere").version == first
    assert opened(tmp_path, version="v2").version != first
    other = ChromaIndex(tmp_path, FixedEmbedder())
    assert other.ensure("v1", LIBRARY) not in {"", first}
    assert opened(tmp_path).version == first


def test_a_second_opening_embeds_nothing(tmp_path: Path) -> None:
    ChromaIndex(tmp_path, FixedEmbedder()).ensure("v1", LIBRARY)
    embedder = FixedEmbedder()
    index = ChromaIndex(tmp_path, embedder)
    index.ensure("v1", LIBRARY)
    assert embedder.seen == []
    assert (index.vectors(LIBRARY) == expected(index)).all()


def test_a_changed_library_embeds_only_what_is_new(tmp_path: Path) -> None:
    ChromaIndex(tmp_path, FixedEmbedder()).ensure("v1", LIBRARY[:50])
    embedder = FixedEmbedder()
    index = ChromaIndex(tmp_path, embedder)
    index.ensure("v2", LIBRARY[5:])
    assert sorted(embedder.seen) == sorted(example_text(row.prompt, row.text) for row in LIBRARY[50:])
    assert (index.vectors(LIBRARY[5:]) == expected(index, LIBRARY[5:])).all()
    with pytest.raises(RetrievalError, match=r"reindex"):
        index.vectors(LIBRARY[:1])


def test_two_libraries_do_not_disturb_each_other(tmp_path: Path) -> None:
    embedder = make_embedder("ngram")
    one, two = ChromaIndex(tmp_path, embedder), ChromaIndex(tmp_path, embedder)
    one.ensure("a", LIBRARY[:30])
    before = one.embed(["茶园里的春天"])
    two.ensure("b", LIBRARY[30:])
    assert (one.embed(["茶园里的春天"]) == before).all()
    assert (one.vectors(LIBRARY[:30]) == expected(one, LIBRARY[:30])).all()
    assert (two.vectors(LIBRARY[30:]) == expected(two, LIBRARY[30:])).all()


def test_a_row_that_stands_twice_or_with_two_labels_is_no_trouble(tmp_path: Path) -> None:
    row = LIBRARY[0]
    twice = LabelledItem(900, "x", row.dimension_id, row.prompt, row.text, row.label, row.origin, "", row.content_hash)
    other = LabelledItem(901, "y", row.dimension_id, row.prompt, row.text, row.label % 5 + 1, row.origin, "", row.content_hash)
    index = opened(tmp_path, [*LIBRARY, twice, other])
    assert example_key(twice) == example_key(row) != example_key(other)
    assert np.ptp(index.vectors([row, twice, other]), axis=0).max() == 0


def test_an_empty_library_has_an_empty_index(tmp_path: Path) -> None:
    index = opened(tmp_path, [])
    assert index.vectors([]).shape[0] == 0


def test_rebuilding_starts_from_nothing(tmp_path: Path) -> None:
    ChromaIndex(tmp_path, FixedEmbedder()).ensure("v1", LIBRARY)
    embedder = FixedEmbedder()
    index = ChromaIndex(tmp_path, embedder)
    index.rebuild("v1", LIBRARY)
    assert len(embedder.seen) == len(LIBRARY)
    assert len(list(tmp_path.glob("store-*"))) == 1
    assert (index.vectors(LIBRARY) == expected(index)).all()


def damage_database(folder: Path) -> None:
    for path in folder.rglob("chroma.sqlite3"):
        path.write_bytes(b"not a database at all" * 400)


def truncate_database(folder: Path) -> None:
    for path in folder.rglob("chroma.sqlite3"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_database(folder: Path) -> None:
    for path in folder.rglob("chroma.sqlite3"):
        path.write_bytes(b"")


def put_a_file_there(folder: Path) -> None:
    import shutil

    for path in folder.glob("store-*"):
        shutil.rmtree(path)
        path.write_text("a file", encoding="utf-8")


def damage_vectors(folder: Path) -> None:
    assert list(folder.rglob("*.bin"))
    for path in folder.rglob("*.bin"):
        path.write_bytes(b"x")


@pytest.mark.parametrize("damage", [damage_database, truncate_database, empty_database, put_a_file_there, damage_vectors])
def test_a_damaged_folder_is_built_again(tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture) -> None:
    rows = library(700)  # enough for Chroma to write its vectors into files of their own
    version = opened(tmp_path, rows).version
    damage(tmp_path)
    index = opened(tmp_path, rows)
    assert index.version == version
    assert (index.vectors(rows) == expected(index, rows)).all()
    assert "damaged" in caplog.text or damage is empty_database


def test_a_folder_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file", encoding="utf-8")
    with pytest.raises(RetrievalError, match="PINGPAN_HOME"):
        opened(tmp_path / "index")


SLOW_BUILD = """
import sys, time
from pathlib import Path
from core.retrieval import index as module
from tests.retrieval.test_index import FixedEmbedder, LIBRARY
module.PAGE = 5
class Slow(FixedEmbedder):
    def embed(self, texts):
        if texts:
            print("page", flush=True)
            time.sleep(float(sys.argv[2]))
        return super().embed(texts)
index = module.ChromaIndex(Path(sys.argv[1]), Slow())
index.ensure("v1", LIBRARY)
print("done", len(index.vectors(LIBRARY)), flush=True)
"""


def start(folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW_BUILD, str(folder), str(seconds)]
    return subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize("pages", [1, 4, 9])
def test_a_build_that_is_killed_is_done_again(tmp_path: Path, pages: int) -> None:
    process = start(tmp_path, 0.05)
    assert process.stdout is not None
    for _ in range(pages):
        assert process.stdout.readline().strip() == "page"
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    index = ChromaIndex(tmp_path, FixedEmbedder())
    index.ensure("v1", LIBRARY)
    assert (index.vectors(LIBRARY) == expected(index)).all()


def test_two_processes_at_once_build_it_once(tmp_path: Path) -> None:
    both = [start(tmp_path, 0.02) for _ in range(2)]
    time.sleep(0.1)
    outputs = [process.communicate(timeout=120)[0].split("\n") for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(output[-2] == f"done {len(LIBRARY)}" for output in outputs)
    assert sorted(output.count("page") for output in outputs) == [0, len(LIBRARY) // 5]


def test_only_the_latest_few_libraries_are_kept(tmp_path: Path) -> None:
    for number in range(9):
        opened(tmp_path, library(9)[number:] + library(30)[20:], f"v{number}")
    from core.retrieval.index import KEPT_COLLECTIONS, _open

    client = _open(next(tmp_path.glob("store-*")))
    assert len(client.list_collections()) == KEPT_COLLECTIONS
    client.close()


def test_chroma_neither_calls_home_nor_loads_a_model(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.retrieval.test_index import opened;"
        "opened(Path(sys.argv[1])); print([name for name in ('onnxruntime', 'posthog', 'torch') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.strip() == "[]"
