"""Faults of any text and seed: what carries no tag is the clean text, so that every kind can be undone or told from what is left."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.faultmarks import DEFECT_KINDS, MARK_KINDS, MarkKind
from tests.judging.panel import prose
from training.faults.injector import APART, FaultyText, PlacedFault, apply_edits, inject
from training.faults.kinds import EVEN
from training.faults.material import SHORTEST, cut
from training.faults.passage import Edit, read_words
from training.faults.rows import Recipe, make_rows

SEEDS = st.integers(0, 2**31)
CLEAN = prose(random.Random(8), 12)


def spoiled(kind: MarkKind, seed: int, rate: float = 3.0) -> tuple[str, FaultyText]:
    text = prose(random.Random(seed), 5) + "三个人坐在“小店”里，他们的声音很大。"
    (made,) = inject([text], [rate], seed, {kind: 1.0})
    assert {fault.kind for fault in made.faults} <= {kind}
    return text, made


def untagged(made: FaultyText) -> str:
    return "".join(character for character, tag in zip(made.text, made.tags, strict=True) if not tag)


def is_within(part: str, whole: str) -> bool:
    """Return whether the characters of `part` stand in `whole` in their order."""
    rest = iter(whole)
    return all(character in rest for character in part)


@settings(max_examples=6)
@given(seed=SEEDS)
def test_taking_out_what_is_written_twice_gives_the_clean_text_back(seed: int) -> None:
    text, made = spoiled(MarkKind.REPEATED, seed)
    assert made.faults
    assert untagged(made) == text
    for fault in made.faults:
        assert made.text[fault.start : fault.end].lstrip("，") in text


@settings(max_examples=6)
@given(kind=st.sampled_from((MarkKind.TYPO, MarkKind.WORD, MarkKind.ORDER)), seed=SEEDS)
def test_a_wrong_character_word_or_order_stands_in_place_of_the_right_one(kind: MarkKind, seed: int) -> None:
    text, made = spoiled(kind, seed)
    assert len(made.text) == len(text)
    for place, tag in enumerate(made.tags):
        assert tag or made.text[place] == text[place]
    for fault in made.faults:
        now, before = made.text[fault.start : fault.end], text[fault.start : fault.end]
        assert now != before
        assert (sorted(now) == sorted(before)) or kind is not MarkKind.ORDER


@settings(max_examples=6)
@given(seed=SEEDS)
def test_what_is_missing_is_less_text_and_all_that_is_left_is_in_order(seed: int) -> None:
    text, made = spoiled(MarkKind.MISSING, seed, 1.5)
    assert made.faults
    assert len(made.text) <= len(text) - len(made.faults)
    assert is_within(made.text, text)


@settings(max_examples=8)
@given(kind=st.sampled_from(MARK_KINDS), seed=SEEDS)
def test_what_carries_no_tag_is_of_the_clean_text_and_faults_stand_apart(kind: MarkKind, seed: int) -> None:
    text, made = spoiled(kind, seed)
    assert is_within(untagged(made), text)
    assert made.text != text or not made.faults
    for one, other in pairwise(made.faults):
        assert one.end <= other.start


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, list[Edit]]:
    """A text with edits in order that do not touch."""
    text = draw(st.text("甲乙丙丁，。", max_size=30))
    found, start = [], 0
    while start <= len(text) and draw(st.booleans()):
        start += draw(st.integers(0, 6))
        end = start + draw(st.integers(0, 4))
        if end > len(text):
            break
        put = draw(st.text("ABC", max_size=4))
        marked = sorted((draw(st.integers(0, len(put))), draw(st.integers(0, len(put)))))
        found.append(Edit(draw(st.sampled_from(MARK_KINDS)), start, end, put, (marked[0], marked[1])))
        start = end + APART
    return text, found


@settings(max_examples=25)
@given(made=edits())
def test_edits_are_made_as_by_hand_and_tag_what_they_mark(made: tuple[str, list[Edit]]) -> None:
    text, wanted = made
    found = apply_edits(text, wanted)
    by_hand = text
    for edit in reversed(wanted):
        by_hand = by_hand[: edit.start] + edit.replacement + by_hand[edit.end :]
    assert found.text == by_hand
    assert len(found.tags) == len(by_hand)
    assert [fault.kind for fault in found.faults] == [edit.kind for edit in wanted]
    grown = 0
    for edit, fault in zip(wanted, found.faults, strict=True):
        first, last = (edit.start + grown + at for at in edit.marked)
        if first == last:
            first, last = max(0, first - 1), min(len(by_hand), first + 1)
        assert (fault.start, fault.end) == (first, last)
        grown += len(edit.replacement) - (edit.end - edit.start)
    covered = {place for fault in found.faults for place in range(fault.start, fault.end)}
    assert {place for place, tag in enumerate(found.tags) if tag} == covered
    assert found.rate == pytest.approx(100 * len(wanted) / max(1, len(by_hand)))


def test_classes_are_numbered_by_the_kinds_that_are_learned() -> None:
    edit = Edit(DEFECT_KINDS[2], 0, 1, "丁", (0, 1))
    assert apply_edits("甲乙", [edit], DEFECT_KINDS) == FaultyText("丁乙", (3, 0), (PlacedFault(0, 1, DEFECT_KINDS[2]),))


@settings(max_examples=25)
@given(text=st.text(max_size=40) | st.text("天气很好的是“”，。 \na1", max_size=30), rate=st.floats(0, 300), seed=SEEDS)
@example(text="天气", rate=50.0, seed=1)
@example(text=" \n\u3000", rate=50.0, seed=1)
@example(text="\x00🙂e\u0301", rate=300.0, seed=1)
def test_no_text_is_too_odd_to_be_spoiled_and_its_words_are_all_of_it(text: str, rate: float, seed: int) -> None:
    words = read_words(text)
    assert "".join(word.text for word in words) == text
    assert all(text[word.start : word.end] == word.text for word in words)
    (made,) = inject([text], [rate], seed, EVEN)
    assert len(made.faults) <= round(rate * len(text) / 100)
    assert len(made.tags) == len(made.text)
    assert all(0 <= fault.start < fault.end <= len(made.text) for fault in made.faults)


def test_a_text_is_spoiled_alike_whatever_stands_behind_it_and_a_corpus_has_one_balance() -> None:
    one, two, three = (prose(random.Random(n), 10) for n in range(3))
    alone = inject([one, two], [4.0, 4.0], 5, {MarkKind.TYPO: 1.0, MarkKind.REPEATED: 1.0})
    longer = inject([one, two, three], [4.0, 4.0, 0.0], 5, {MarkKind.TYPO: 1.0, MarkKind.REPEATED: 1.0})
    assert longer[:2] == alone
    assert longer[2] == FaultyText(three, (0,) * len(three), ())


@settings(max_examples=20)
@given(pieces=st.lists(st.text("甲乙丙", min_size=1, max_size=90), min_size=1, max_size=8), longest=st.integers(2 * SHORTEST, 300))
def test_a_text_is_cut_between_sentences_and_loses_only_pieces_too_short_to_learn_from(pieces: list[str], longest: int) -> None:
    text = "".join(piece + "。" for piece in pieces)
    found = cut(text, longest)
    rest = text
    for piece in found:
        before, _, rest = rest.partition(piece)
        assert len(before) < SHORTEST
        assert piece.endswith("。")
        assert SHORTEST <= len(piece) <= max(longest, max(map(len, pieces)) + 1)
    assert len(rest) < SHORTEST


@settings(max_examples=8)
@given(count=st.integers(0, 25), seed=SEEDS, sound=st.sampled_from((0.0, 0.5, 1.0)))
def test_there_are_as_many_rows_as_asked_for_and_their_pieces_are_used_evenly(count: int, seed: int, sound: float) -> None:
    pieces = cut(CLEAN, 120)
    rows = make_rows([CLEAN], Recipe(count, seed, longest=120, highest=0.0, sound=sound))
    assert len(rows) == count
    often = [sum(row.text == piece for row in rows) for piece in pieces]
    assert sum(often) == count
    assert max(often) - min(often) <= 1
    assert make_rows(["太短。"], Recipe(5, seed)) == []


def test_a_share_of_none_makes_none_of_that_kind() -> None:
    shares = {**EVEN, MarkKind.ORDER: 0.0}
    rows: Sequence[FaultyText] = make_rows([CLEAN], Recipe(12, 3, highest=4.0, sound=0.0, shares=shares))
    kinds = {fault.kind for row in rows for fault in row.faults}
    assert MarkKind.ORDER not in kinds
    assert len(kinds) > 5
