"""The language model, the injected faults, and the detector that learns from them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from core.judging.detector import fault_profile, fit_detector, probabilities
from core.judging.fault_injection import injure
from core.judging.honest import fit_honest
from core.judging.injury_sample import learn_detectors
from core.judging.kinship import Kinship
from core.judging.language_model import Reader, learn_language
from core.judging.ordinal import fit_ordinal, forest_shares
from core.judging.places import place_features
from core.judging.text_arrays import PAD, TextArrays, encode
from tests.judging.panel import prose

TEXTS = ["春天来了，花开了。", "春天来了，鸟也来了。", "冬天走了。"]


def _pair(arrays: TextArrays, reader: Reader, excluded: list[list[str]]) -> int:
    """The bin of the pair 春天 in the first text."""
    return int(reader.counts(arrays, excluded).library[2][PAD + 1])


def test_counts_leave_out_the_excluded_texts_of_each_row() -> None:
    reader = Reader(learn_language(TEXTS))
    arrays = encode([TEXTS[0], TEXTS[0]])
    counts = reader.counts(arrays, [[], [TEXTS[0]]])
    second = arrays.place(1, 1)
    assert counts.library[2][PAD + 1] == 2  # two occurrences
    assert counts.library[2][second] == 1  # one is left without the text itself
    assert _pair(encode(TEXTS[:1]), reader, [[TEXTS[0], TEXTS[1]]]) == 0


def test_counts_of_a_text_do_not_depend_on_the_texts_beside_it() -> None:
    reader = Reader(learn_language(TEXTS))
    alone = reader.counts(encode(TEXTS[:1]), [[TEXTS[0]]])
    beside = reader.counts(encode(TEXTS), [[TEXTS[0]], [], [TEXTS[1]]])
    length = len(TEXTS[0])
    for order in (1, 2, 3, 4):
        assert np.array_equal(alone.library[order][PAD : PAD + length], beside.library[order][PAD : PAD + length])
    assert np.array_equal(alone.gaps[1].pair[PAD : PAD + length - 1], beside.gaps[1].pair[PAD : PAD + length - 1])


def test_a_text_that_repeats_itself_counts_its_own_repetitions() -> None:
    reader = Reader(learn_language(TEXTS))
    own = reader.counts(encode(["甲乙丙，甲乙丙，甲乙丙。"]), [[]]).own
    assert own[3][PAD + 2] == 2  # two more occurrences of 甲乙丙
    assert own[3][PAD + 3] == 1  # one more of 乙丙，


def test_injected_faults_are_the_same_for_the_same_seed_and_near_the_rate() -> None:
    rng = random.Random(0)
    texts = [prose(rng, 20) for _ in range(20)]
    first, again, other = injure(texts, 2.0, 1), injure(texts, 2.0, 1), injure(texts, 2.0, 2)
    assert first == again
    assert first != other
    places = sum(len(one.places) for one in first)
    assert 0.01 < places / sum(map(len, texts)) < 0.06
    assert all(0 <= place <= len(one.text) for one in first for place in one.places)
    assert injure(["太短。"], 2.0, 1)[0].text == "太短。"


def test_a_detector_finds_faults_it_has_not_seen() -> None:
    rng = random.Random(5)
    kin = Kinship([prose(rng, 8) for _ in range(60)])
    language = learn_language(kin.texts)
    reader = Reader(language)

    def features(arrays: TextArrays, relatives: object) -> list[np.ndarray[tuple[int], np.dtype[np.int32]]]:
        return place_features(arrays, reader.counts(arrays, [[] for _ in arrays.lengths]))[0]

    width = place_features(encode(["字"]), reader.counts(encode(["字"]), [[]]))[1]
    detectors = learn_detectors(kin, features, width, per_hundred=2.0, strength=0.1, sample=20_000)
    new = injure([prose(rng, 8) for _ in range(20)], 2.0, 9)
    arrays = encode([one.text for one in new])
    logits = detectors.logits(features(arrays, None), arrays.doc, np.full(len(new), -1))
    chance = probabilities(logits)
    faulty = np.zeros(len(chance), dtype=bool)
    for number, one in enumerate(new):
        faulty[[arrays.place(number, place) for place in one.places]] = True
    assert chance[faulty].mean() > 5 * chance[~faulty & arrays.real].mean()
    clean = encode([prose(rng, 8)])
    quiet = probabilities(detectors.logits(features(clean, None), clean.doc, np.array([-1])))
    assert fault_profile(arrays, chance)[:, 0].mean() > fault_profile(clean, quiet)[0, 0]


def test_a_detector_without_faults_to_learn_from_finds_every_place_sound() -> None:
    detector = fit_detector([np.zeros(9, np.int32)], np.zeros(9, bool), 3, strength=1.0, rounds=5, sample=10, seed=0)
    assert np.all(probabilities(detector.logits([np.zeros(4, np.int32)])) < 0.05)


def test_an_ordinal_model_knows_the_order_and_every_label() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 4))
    labels = np.clip(np.rint(2 + features[:, 0] * 1.5), 0, 3).astype(np.int64)
    model = fit_ordinal(features, labels, (3, 1, 0, 2, 7))
    found = model.predict(np.array([[-3.0, 0, 0, 0], [0.0, 0, 0, 0], [3.0, 0, 0, 0]]))
    assert model.labels == (0, 1, 2, 3, 7)
    assert found.sum(axis=1) == pytest.approx(1.0)
    assert np.all(found > 0)
    means = found @ np.array(model.labels)
    assert means[0] < means[1] < means[2]


def test_a_forests_shares_are_those_of_its_own_prediction_bit_for_bit() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(120, 5))
    model = fit_ordinal(features, np.where(features[:, 0] > 0, 2, 4).astype(np.int64), (1, 2, 4), trees=7)
    rows = rng.normal(size=(40, 5))
    found = forest_shares(model.forest, rows)
    assert np.array_equal(found, model.forest.predict_proba(rows))
    assert np.array_equal(found[7:8], forest_shares(model.forest, rows[7:8]))


def test_a_row_of_a_half_is_graded_by_the_model_that_did_not_see_it() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3))
    halves = np.arange(200) % 2
    # In half 0 a high value means a high label, in half 1 the contrary.
    labels = np.where((features[:, 0] > 0) == (halves == 0), 5, 1)
    model = fit_honest(features, labels, halves, (1, 5))
    high = np.array([[2.0, 0.0, 0.0]] * 3)
    seen_in_first, seen_in_second, in_both = model.predict(high, [0, 1, 2])
    assert seen_in_first[1] < 0.4  # judged by what half 1 says
    assert seen_in_second[1] > 0.6
    assert in_both == pytest.approx(model.full.prior)


def test_families_are_not_split_between_the_halves() -> None:
    rng = random.Random(2)
    originals = ["".join(chr(0x4E00 + rng.randrange(2000)) for _ in range(120)) for _ in range(30)]
    copies = [text[:60] + "改" + text[60:] for text in originals]
    kin = Kinship([*originals, *copies])
    for original, copy in zip(originals, copies, strict=True):
        assert kin.halves[kin.place[original]] == kin.halves[kin.place[copy]]
        assert set(kin.of([original + "。"])[0]) == {kin.place[original], kin.place[copy]}
    assert abs(int(kin.halves.sum()) - 30) <= 2
    assert kin.half(kin.of(["全新的一句话，和谁都不像。"])[0]) == -1
