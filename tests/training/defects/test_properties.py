"""Defects of any pairs and recipe: counted and tagged exactly, nothing touched elsewhere, demands broken or kept as they are told."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.faultmarks import DEFECT_KINDS, MarkKind
from tests.training.defects.build import made_up_pairs
from tests.training.defects.test_rows import LISTED
from training.defects.demands import Demand, added, broken_demand, keeps_length, kept_demand, length_of, numbered_lines, states_demand
from training.defects.material import Pair, families, parted, whole_sentences
from training.defects.outline import NUMERALS, Answer, read_corpus, read_markers
from training.defects.rows import RATE_PER, DefectiveText, DefectRecipe, make_defect_rows

PAIRS = [LISTED, *made_up_pairs(11, 3)]
SEEDS = st.integers(0, 2**31)
RECIPES = st.builds(
    DefectRecipe, st.integers(1, 20), SEEDS, highest=st.sampled_from((8.0, 40.0)), sound=st.sampled_from((0.0, 0.4)),
    swapped=st.sampled_from((0.0, 0.3)), shares=st.none() | st.sampled_from(DEFECT_KINDS).map(lambda kind: {kind: 1.0}),
)  # fmt: skip
# Prose with lines, lists and blanks, at least as long as material is.
LINES = st.sampled_from(
    ["一、开展整治。", "二、加强宣传。", "三、严格执法。", "\n", "今天天气很好，我们去公园。", "  ", "（一）", "1.走进社区。", "！"]
)
TEXTS = st.lists(LINES, min_size=1, max_size=40).map("".join).filter(lambda text: length_of(text) >= 60)


@settings(max_examples=8)
@given(recipe=RECIPES)
def test_rows_are_counted_tagged_and_rated_by_their_defects(recipe: DefectRecipe) -> None:
    rows = make_defect_rows(PAIRS, recipe)
    assert len(rows) <= recipe.count
    assert len({(row.prompt, row.text) for row in rows}) == len(rows)
    assert make_defect_rows(PAIRS, recipe) == rows
    for row in rows:
        assert len(row.tags) == len(row.text)
        assert all(0 <= fault.start < fault.end <= len(row.text) for fault in row.faults)
        # A broken demand comes last: it marks only characters that nothing else does.
        covered = {place: fault.kind for fault in reversed(row.faults) for place in range(fault.start, fault.end)}
        assert {place: DEFECT_KINDS[tag - 1] for place, tag in enumerate(row.tags) if tag} == covered
        assert row.rate == pytest.approx(min(recipe.highest, RATE_PER * len(row.faults) / len(row.text)))
        assert sum(fault.kind is MarkKind.DEMAND for fault in row.faults) <= 1
        if recipe.shares and not row.swapped:
            assert {fault.kind for fault in row.faults} <= set(recipe.shares)
        if not row.faults:
            assert row.text in {pair.text for pair in PAIRS}


@settings(max_examples=8)
@given(recipe=RECIPES)
def test_a_prompt_stays_but_for_one_demand_at_its_end_and_a_sound_row_keeps_it(recipe: DefectRecipe) -> None:
    for row in make_defect_rows(PAIRS, recipe):
        base = next(pair.prompt for pair in PAIRS if row.prompt.startswith(pair.prompt))
        assert re.fullmatch(r"(，(全文不(少于|超过)\d+字|分[一-十]点来写)。)?", row.prompt.removeprefix(base))
        broken = any(fault.kind is MarkKind.DEMAND for fault in row.faults)
        assert keeps(row) is not broken


def keeps(row: DefectiveText) -> bool:
    """Return whether a row keeps what its prompt demands."""
    points = re.search(f"分([{NUMERALS}])点来写", row.prompt)
    if points is not None:
        return len(numbered_lines(row.text)) == NUMERALS.index(points[1]) + 1
    return keeps_length(row.prompt, row.text)


@settings(max_examples=30)
@given(text=TEXTS, seed=SEEDS)
@example(text=LISTED.text, seed=3)
def test_a_demand_is_kept_or_broken_by_a_clear_margin_and_what_is_too_much_is_marked(text: str, seed: int) -> None:
    draw = random.Random(seed)
    kept, broken = kept_demand(text, draw), broken_demand(text, draw)
    assert fulfilled(text, kept)
    assert not fulfilled(text, broken)
    assert (kept.start, kept.end) == (0, 0)
    assert 0 <= broken.start < broken.end == len(text.rstrip())
    most = re.search(r"不超过(\d+)字", broken.words)
    if most is not None:
        assert length_of(text[: broken.start]) == int(most[1])
    for demand in (kept, broken):
        stated = re.search(r"(\d+)字", demand.words)
        if stated is not None:  # never so near that a reader would have to count
            assert abs(int(stated[1]) / length_of(text) - 1) > 0.08
        assert states_demand(demand.words)
        assert added("写一篇文章。", demand) == f"写一篇文章，{demand.words}。"


def fulfilled(text: str, demand: Demand) -> bool:
    points = re.search(f"分([{NUMERALS}])点来写", demand.words)
    if points is not None:
        return len(numbered_lines(text)) == NUMERALS.index(points[1]) + 1
    return keeps_length(demand.words, text)


@pytest.mark.parametrize(
    ("prompt", "length", "kept"),
    [
        ("写一篇作文，不少于 800 字", 800, True), ("写一篇作文，不少于800字", 799, False), ("字数：至少600字", 599, False),
        ("300字以内", 300, True), ("不超过300字", 301, False), ("200字以上，300字以下", 250, True), ("200字以上，300字以下", 199, False),
        ("200字以上，300字以下", 301, False), ("约800字", 5, True), ("写一篇作文", 0, True),
    ],
)  # fmt: skip
def test_a_length_in_a_prompt_is_read_as_people_write_it(prompt: str, length: int, kept: bool) -> None:
    assert keeps_length(prompt, "字" * length) is kept
    assert keeps_length(prompt, " 字\n" * length) is kept  # blanks are not counted


@pytest.mark.parametrize(
    ("prompt", "states"),
    [
        ("写800余字", True),
        ("从三个方面谈", True),
        ("分五点", True),
        ("写三条建议", True),
        ("谈谈你的看法", False),
        ("写给十年后的自己", False),
    ],
)
def test_a_prompt_that_demands_a_number_gets_no_second_one(prompt: str, states: bool) -> None:
    assert states_demand(prompt) is states


@settings(max_examples=20)
@given(text=st.lists(LINES, max_size=12).map("".join) | st.text(max_size=30))
def test_lines_sentences_and_numbers_are_places_of_the_text_in_order(text: str) -> None:
    answer = Answer(Pair("写一份关于整治和宣传的方案", text), 0)
    assert [text[line.start : line.end] for line in answer.lines] == [line for line in re.split("\n", text) if line.strip()]
    for spans in (answer.lines, answer.sentences):
        assert all(one.start < one.end <= other.start for one, other in pairwise(spans))
    for span in answer.sentences:
        sentence = text[span.start : span.end]
        assert "\n" not in sentence
        assert re.search("[。！？!?]", sentence)
        assert sentence == sentence.strip()
    for marker in read_markers(text):
        number = text[marker.number.start : marker.number.end]
        assert marker.value == (NUMERALS.index(number) + 1 if number in NUMERALS else int(number))
        assert marker.whole.start <= marker.number.start < marker.number.end <= marker.whole.end
    inner = {*answer.sentences, *answer.lines}
    assert set(answer.points) <= inner
    assert all(point.start for point in answer.points)


def test_a_point_is_what_holds_the_prompts_words_and_stands_nowhere_else() -> None:
    text = "先说明情况如下吧各位同志好。社区宣传要常抓不懈地开展下去。这里的内容没有谁会在意的啊。另外一些话也没有多大用处了。以上请各位同志认真执行到底。"
    answer = Answer(Pair("谈谈社区宣传怎样开展", text), 0)
    assert [text[span.start : span.end] for span in answer.points] == ["社区宣传要常抓不懈地开展下去。"]
    assert Answer(Pair("谈谈", "只有一句话没有第二句了吧。"), 0).points == ()


@settings(max_examples=15)
@given(
    sizes=st.lists(st.sampled_from((1, 1, 2, 5)), min_size=2, max_size=9), share=st.sampled_from((0.04, 0.2, 0.45)), seed=st.integers(0, 99)
)
def test_pairs_are_parted_by_whole_families_and_both_parts_have_some(sizes: list[int], share: float, seed: int) -> None:
    draw = random.Random(seed)
    pairs: list[Pair] = []
    for number, size in enumerate(sizes):
        prompt = "".join(chr(draw.randint(0x4E00, 0x9FA5)) for _ in range(60))
        pairs += [Pair(prompt, f"{number}-{copy}" + "".join(chr(draw.randint(0x4E00, 0x9FA5)) for _ in range(60))) for copy in range(size)]
    learned, looked_at = parted(pairs, share)
    assert learned
    assert looked_at
    assert sorted([*learned, *looked_at], key=pairs.index) == pairs
    assert {pair.prompt for pair in learned}.isdisjoint(pair.prompt for pair in looked_at)
    assert len(set(families(pairs))) == len(sizes)


@given(
    text=st.lists(st.sampled_from(["这是一句完整的话，写得很长很长。", "“他说：好！”", "没有写完的半句", "…", "\n"]), max_size=14).map(
        "".join
    )
)
def test_a_text_is_cut_back_to_a_whole_sentence_or_left_alone(text: str) -> None:
    found = whole_sentences(text)
    assert text.startswith(found)
    assert found == text or re.search("[。！？!?…][”’」』）》]*$", found)
    assert len(found) >= 0.7 * len(text) - 1
    assert whole_sentences(found) == found


def test_no_stranger_is_of_the_own_family() -> None:
    kin = [Pair(LISTED.prompt, pair.text) for pair in made_up_pairs(3, 9)]
    corpus = read_corpus([*kin, *made_up_pairs(3, 10)])
    draw = random.Random(1)
    found = [corpus.stranger(0, draw) for _ in range(60)]
    assert {one.place for one in found if one is not None} == {3, 4, 5}
    assert read_corpus(kin).stranger(1, draw) is None


def test_an_empty_corpus_and_an_empty_recipe_give_nothing() -> None:
    rows: Sequence[DefectiveText] = make_defect_rows(PAIRS, DefectRecipe(0, 1))
    assert rows == make_defect_rows([], DefectRecipe(9, 1)) == []
