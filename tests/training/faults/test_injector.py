"""The injector: exact counts, balanced kinds, tags where the faults are, the same seed the same faults."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.faultmarks import MARK_KINDS, MarkKind
from tests.judging.panel import prose
from training.faults.injector import FaultyText, inject
from training.faults.kinds import EVEN, MAKERS, SHARES
from training.faults.passage import read_passages
from training.faults.rows import Recipe, make_rows

TEXT = (
    "中国人民银行各省级分行按照因城施策原则，指导各省级市场利率定价自律机制。“我们已经做好了准备”，负责人李明在会上说，三名代表参加了讨论。\n"
    "为了提高充电桩的使用率，目前正在加快研究制定管理办法；如果条件允许，下个月就能开始实施，并且逐步推广到其他城市。"
)


def texts(count: int, sentences: int = 10, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [prose(draw, sentences) for _ in range(count)]


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0.0, 4.6), seed=st.integers(0, 2**31), sentences=st.integers(3, 20))
def test_a_text_gets_exactly_the_faults_that_were_asked_for(rate: float, seed: int, sentences: int) -> None:
    (text,) = texts(1, sentences, seed)
    (made,) = inject([text], [rate], seed)
    assert len(made.faults) == round(rate * len(text) / 100)
    assert len(made.tags) == len(made.text)
    check_tags(made)


def check_tags(made: FaultyText) -> None:
    """Each fault's characters carry its kind, and no other character is tagged."""
    tagged: dict[int, set[int]] = {}
    for fault in made.faults:
        assert 0 <= fault.start < fault.end <= len(made.text)
        for place in range(fault.start, fault.end):
            tagged.setdefault(place, set()).add(MARK_KINDS.index(fault.kind) + 1)
    assert {place for place, tag in enumerate(made.tags) if tag} == set(tagged)
    assert all(made.tags[place] in kinds for place, kinds in tagged.items())


def test_a_text_without_faults_is_left_as_it_is() -> None:
    (made,) = inject([TEXT], [0.0], 1)
    assert made.text == TEXT
    assert not any(made.tags)
    assert made.rate == 0.0


def test_the_same_seed_gives_the_same_faults_and_another_seed_others() -> None:
    corpus = texts(5)
    rates = [3.0] * 5
    assert inject(corpus, rates, 7) == inject(corpus, rates, 7)
    assert inject(corpus, rates, 7) != inject(corpus, rates, 8)


@pytest.mark.parametrize("shares", [SHARES, EVEN], ids=["as told", "even"])
def test_kinds_are_as_frequent_over_a_corpus_as_their_shares_say(shares: dict[MarkKind, float]) -> None:
    corpus = texts(20, 20)
    counts = Counter(fault.kind for made in inject(corpus, [4.0] * 20, 3, shares) for fault in made.faults)
    number, total = sum(counts.values()), sum(shares.values())
    assert number > 200
    for kind in MARK_KINDS:
        assert abs(counts[kind] - number * shares[kind] / total) <= 3, kind


def test_a_text_too_short_for_its_faults_gets_what_it_has_room_for() -> None:
    (made,) = inject(["今天天气很好。"], [400.0], 1)
    assert 1 <= len(made.faults) < 28
    assert inject(["", "。"], [4.6, 4.6], 1) == [FaultyText("", (), ()), FaultyText("。", (0,), ())]


@pytest.mark.parametrize("kind", MARK_KINDS)
def test_every_maker_of_a_kind_changes_the_text_and_marks_what_it_changed(kind: MarkKind) -> None:
    (passage,) = read_passages([TEXT])
    draw = random.Random(5)
    for maker in MAKERS[kind]:
        edits = [edit for _ in range(60) for place in range(len(passage.words)) if (edit := maker(passage, place, draw))]
        assert edits, maker.__name__
        for edit in edits:
            assert edit.kind is kind
            assert edit.replacement != TEXT[edit.start : edit.end], maker.__name__
            assert 0 <= edit.marked[0] <= edit.marked[1] <= len(edit.replacement)


def test_a_reordered_place_keeps_its_characters_and_a_gap_marks_both_sides() -> None:
    (made,) = inject([TEXT], [2.0], 2, {MarkKind.ORDER: 1.0})
    assert sorted(made.text) == sorted(TEXT)
    assert made.text != TEXT
    (gap,) = inject([TEXT], [0.9], 2, {MarkKind.MISSING: 1.0})
    assert len(gap.text) < len(TEXT)
    (fault,) = gap.faults
    assert fault.end - fault.start == 2
    assert TEXT.startswith(gap.text[: fault.start + 1])
    assert TEXT.endswith(gap.text[fault.end - 1 :])


def test_rows_use_every_piece_and_hold_rates_from_sound_to_the_highest() -> None:
    rows = make_rows(texts(6, 30), Recipe(200, 4, longest=200, highest=4.0, sound=0.2))
    assert len(rows) == 200
    sound = sum(not row.faults for row in rows)
    assert 25 <= sound <= 80
    assert max(row.rate for row in rows) > 3.3
    assert all(60 <= len(row.text) <= 320 for row in rows)
    assert rows == make_rows(texts(6, 30), Recipe(200, 4, longest=200, highest=4.0, sound=0.2))
