"""The embedded embedder: unit rows, the same everywhere, and good enough to find the text of a topic."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from core.retrieval.embedders import make_embedder
from core.retrieval.ngram import WIDTH, NgramEmbedder
from core.settings import PROJECT_ROOT
from tests.conftest import real_file
from tests.retrieval.rows import TOPICS, competition_rows, prose

TEXTS = [prose(number) for number in range(80)]


def fitted() -> NgramEmbedder:
    embedder = NgramEmbedder()
    embedder.fit(TEXTS)
    return embedder


def test_ngram_is_the_name_of_the_embedded_embedder() -> None:
    assert make_embedder("ngram").version == "ngram-1-unfitted"


@pytest.mark.parametrize("embedder", [NgramEmbedder(), fitted()], ids=["unfitted", "fitted"])
def test_rows_have_unit_length_and_empty_texts_are_zero(embedder: NgramEmbedder) -> None:
    texts = ["", " \n\t　", "。，！", "春", "A", "hello world", "2024年5月18日", "\ud800坏", "😀😀", *TEXTS]
    vectors = embedder.embed(texts)
    assert vectors.shape == (len(texts), WIDTH)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.all(lengths[:3] == 0)
    assert np.allclose(lengths[3:], 1, atol=1e-6)
    assert embedder.embed([]).shape == (0, WIDTH)


def test_a_text_has_the_same_vector_in_every_batch() -> None:
    embedder = fitted()
    together = embedder.embed(TEXTS)
    assert (together == np.concatenate([embedder.embed([text]) for text in TEXTS])).all()
    assert (together[::-1] == embedder.embed(TEXTS[::-1])).all()
    assert (embedder.embed(TEXTS * 30)[-len(TEXTS) :] == together).all()


def test_another_process_computes_the_same_bits() -> None:
    code = (
        "import hashlib; from tests.retrieval.test_ngram import TEXTS, fitted; e = fitted();"
        "print(e.version, hashlib.sha256(e.embed(TEXTS).tobytes()).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT_ROOT,
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout.strip()
        for seed, threads in (("1", "1"), ("2", "2"))
    }
    embedder = fitted()
    assert outputs == {f"{embedder.version} {hashlib.sha256(embedder.embed(TEXTS).tobytes()).hexdigest()}"}


def test_the_version_follows_the_texts_and_not_their_order() -> None:
    one, two, three = NgramEmbedder(), NgramEmbedder(), NgramEmbedder()
    one.fit(TEXTS)
    two.fit(TEXTS[::-1])
    three.fit(TEXTS[:-1])
    assert one.version == two.version != three.version
    assert (one.embed(TEXTS) == two.embed(TEXTS)).all()


def test_fitting_again_forgets_the_first_library() -> None:
    embedder = NgramEmbedder()
    embedder.fit(["完全不同的文字"] * 50)
    embedder.fit(TEXTS)
    assert (embedder.embed(TEXTS) == fitted().embed(TEXTS)).all()


def test_form_does_not_matter() -> None:
    embedder = fitted()
    one, two = embedder.embed(["２０２４年，ＡＢＣ公司　发布《报告》。", "2024年,abc公司发布报告"])
    assert float(one @ two) > 0.95


def test_words_of_other_scripts_are_whole_tokens() -> None:
    vectors = NgramEmbedder().embed(["railway bridge", "a railway bridge", "three barges drew nigh"])
    same, other = vectors[1:] @ vectors[0]
    assert same > 0.6
    assert other < 0.1


def test_a_topic_finds_its_texts() -> None:
    embedder = fitted()
    topics = embedder.embed([f"请以“{topic}”为主题写一篇文章" for topic in TOPICS])
    nearest = (topics @ embedder.embed(TEXTS).T).argmax(axis=1)
    assert all(topic in TEXTS[place] for topic, place in zip(TOPICS, nearest, strict=True))


@pytest.mark.real_data
@pytest.mark.parametrize("library", ["texts", "train-fluency.csv"])
def test_topics_of_the_competition_find_their_texts(library: str) -> None:
    rows = [row for row in competition_rows(real_file("test-B.xlsx")) if row[0] == "规范性"]
    texts = [text for _, _, text in rows]
    embedder = NgramEmbedder()
    embedder.fit(texts if library == "texts" else [text for _, _, text in competition_rows(real_file(library))])
    similarity = embedder.embed([prompt for _, prompt, _ in rows]) @ embedder.embed(texts).T
    hits = []
    for seed in range(40):
        chosen = np.random.default_rng(seed).choice(len(rows), 200, replace=False)
        hits.append((similarity[np.ix_(chosen, chosen)].argmax(axis=1) == np.arange(200)).mean())
    assert np.mean(hits) >= 0.95
