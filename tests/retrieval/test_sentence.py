"""Sentence-transformers as embedder, with a tiny model made on the spot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.errors import RetrievalError
from core.retrieval.embedders import make_embedder
from core.retrieval.index import ChromaIndex
from core.retrieval.select import ExampleRetriever
from core.settings import PROJECT_ROOT
from tests.retrieval.rows import library
from tests.retrieval.test_select import DIMENSIONS, ROWS, ids

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(chr(0x4E00 + number) for number in range(3000))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised BERT of two layers with mean pooling, saved as sentence-transformers saves one."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    bert, vocabulary = folder / "bert", folder / "vocab.txt"
    vocabulary.write_text("\n".join(VOCABULARY), encoding="utf-8")
    config = BertConfig(vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    BertModel(config).save_pretrained(bert)
    BertTokenizerFast(vocab=str(vocabulary)).save_pretrained(bert)
    transformer = Transformer(str(bert), max_seq_length=128)
    SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu").save(str(folder / "tiny"))
    return folder / "tiny"


def test_a_folder_is_loaded_and_gives_unit_rows(model: Path) -> None:
    embedder = make_embedder(str(model))
    vectors = embedder.embed(["一丁七万丈三上下", "", "不与丐丑", "  "])
    assert vectors.shape == (4, 32)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1, 0], atol=1e-5)
    assert embedder.embed([]).shape == (0, 32)


def test_the_version_follows_the_weights(model: Path, tmp_path: Path) -> None:
    import shutil

    first = make_embedder(str(model)).version
    copied = Path(shutil.copytree(model, tmp_path / "tiny"))
    assert make_embedder(str(copied)).version == first
    weights = next(copied.rglob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert make_embedder(str(copied)).version != first


def test_the_index_and_the_selection_work_with_it(model: Path, tmp_path: Path) -> None:
    rows = library(60)
    index = ChromaIndex(tmp_path, make_embedder(str(model)))
    index.ensure("v1", rows)
    find = ExampleRetriever(index, rows, DIMENSIONS)
    together = find.search(ROWS, 5)
    assert all(len(examples) == 5 for examples in together)
    assert [ids(examples) for examples in together] == [ids(find.search([row], 5)[0]) for row in ROWS]


@pytest.mark.parametrize("name", ["./absent", "/absent/model", "~/absent/model", "..\\model", "three/part/name", "two words"])
def test_a_name_that_can_be_nothing_is_refused_at_once(name: str) -> None:
    with pytest.raises(RetrievalError, match="PINGPAN_EMBEDDER"):
        make_embedder(name)


def test_a_model_that_is_not_there_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RetrievalError, match=r"run\.sh setup models"):
        make_embedder("nobody/no-such-model").embed(["一"])
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RetrievalError, match=r"run\.sh setup models"):
        make_embedder(str(tmp_path)).embed(["一"])


def test_a_missing_package_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['sentence_transformers'] = None\n"
        "from core.retrieval.embedders import make_embedder; from core.errors import RetrievalError\n"
        "try: make_embedder('BAAI/bge-small-zh-v1.5').embed(['一'])\n"
        "except RetrievalError as error: print(error); print(error.messages['zh'])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.count("./run.sh setup models") == 2
    assert "not installed" in result.stdout
