"""Defects put into good pairs: exact counts, balanced kinds, tags where they stand, the same seed the same rows, no pair twice."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest

from core.faultmarks import DEFECT_KINDS, MarkKind
from tests.training.defects.build import TOPICS, made_up_pairs
from training.defects.demands import keeps_length, length_of, numbered_lines
from training.defects.makers import MAKERS
from training.defects.material import Pair
from training.defects.outline import read_corpus
from training.defects.rows import DefectiveText, DefectRecipe, make_defect_rows

PAIRS = made_up_pairs(40, 1)
ORIGINALS = {pair.text for pair in PAIRS}
LISTED = Pair(
    "请写一份停车整治的方案",
    "停车难问题的整治方案\n为规范停车秩序，现提出以下三点意见。\n一、开展专项整治工作\n各区加大巡查力度，及时处理群众的举报。处罚结果每月公布一次。\n"
    "二、强化部门之间的协作\n公安、交通、城管联合执法，信息每周共享一次。重点路段由专人看管。\n三、加强宣传和曝光\n"
    "通过多种形式宣传停车法规，引导市民自觉遵守。一是走进社区，二是走进学校，三是走进企业。\n以上意见请各单位认真落实，按时报告。",
)


def rows_of(kind: MarkKind, count: int = 60, highest: float = 30.0) -> list[DefectiveText]:
    """Rows of one kind of defect with up to four of them in a text of 112 characters."""
    return make_defect_rows(PAIRS, DefectRecipe(count, 3, highest, 0.1, 0.0, {kind: 1.0}))


def sentences(text: str) -> list[str]:
    return [part for part in text.split("。") if part]


def foreign(row: DefectiveText, at: int) -> bool:
    """Return whether the character is of another topic's words than the prompt's."""
    own = next("".join(words) for words in TOPICS if words[0] == row.prompt[:2])
    return row.text[at] not in own + "，。"


def test_every_sentence_put_in_is_counted_and_tagged_and_nothing_else_is() -> None:
    counts = Counter()
    for row in rows_of(MarkKind.OFF_TOPIC):
        assert len(row.faults) == sum(foreign(row, row.text.index(one)) for one in sentences(row.text))
        assert [bool(tag) for tag in row.tags] == [_in_fault(row, at) for at in range(len(row.text))]
        assert all(_in_fault(row, at) for at in range(len(row.text)) if foreign(row, at))
        rest = "".join(character for character, tag in zip(row.text, row.tags, strict=True) if not tag)
        assert rest in ORIGINALS
        counts[len(row.faults)] += 1
    assert set(counts) >= {0, 1, 2, 3}


def _in_fault(row: DefectiveText, at: int) -> bool:
    return any(fault.start <= at < fault.end for fault in row.faults)


def test_every_point_left_out_is_one_sentence_less_and_tags_both_sides_of_the_place() -> None:
    seen = 0
    for row in rows_of(MarkKind.LEFT_OUT):
        original = next(text for text in ORIGINALS if set(sentences(row.text)) <= set(sentences(text)) and text[:7] == row.text[:7])
        assert len(sentences(original)) - len(sentences(row.text)) == len(row.faults)
        assert sentences(row.text)[-1] == sentences(original)[-1]
        for fault in row.faults:
            assert (fault.end - fault.start, row.text[fault.start]) == (2, "。")
            before, after = sentences(row.text[: fault.start])[-1], sentences(row.text[fault.start + 1 :])[0]
            assert f"{before}。{after}。" not in original
            seen += 1
    assert seen > 20


def test_a_misplaced_sentence_is_marked_and_nothing_is_lost() -> None:
    for row in rows_of(MarkKind.MISPLACED, highest=9.0):
        original = next(text for text in ORIGINALS if sorted(sentences(text)) == sorted(sentences(row.text)))
        assert (row.text == original) is not bool(row.faults)
        for fault in row.faults:
            moved = row.text[fault.start : fault.end]
            assert moved in original
            assert original.replace(moved, "", 1) == row.text[: fault.start] + row.text[fault.end :]


def test_a_broken_line_stands_at_its_mark() -> None:
    rows = rows_of(MarkKind.LAYOUT)
    assert sum(len(row.faults) for row in rows) > 50
    for row in rows:
        assert row.text.count("\n") == len(row.faults)
        assert row.text.replace("\n", "") in ORIGINALS
        assert all(row.text[fault.start : fault.end][1] == "\n" and fault.end - fault.start == 3 for fault in row.faults)


def test_beginnings_and_ends_are_cut_off_and_what_is_left_of_the_sentence_is_marked() -> None:
    both = 0
    for row in rows_of(MarkKind.CUT_OFF):
        original = next(text for text in ORIGINALS if row.text in text)
        assert len(row.faults) == (not original.startswith(row.text)) + (not original.endswith(row.text))
        for fault in row.faults:
            assert fault.start == 0 or fault.end == len(row.text)
            assert row.text[fault.start : fault.end].strip("。") in sentences(row.text)
        both += len(row.faults) == 2
    assert both


def test_a_broken_demand_is_broken_and_a_kept_one_is_kept() -> None:
    told = Counter()
    for row in rows_of(MarkKind.DEMAND, highest=15.0):
        assert row.text in ORIGINALS
        assert keeps_length(row.prompt, row.text) is not bool(row.faults)
        if row.faults and "不超过" in row.prompt:
            most = int(re.findall(r"\d+", row.prompt)[0])
            assert length_of(row.text[: row.faults[0].start]) == most
            assert row.faults[0].end == len(row.text)
        told["broken" if row.faults else "kept" if "全文" in row.prompt else "none"] += 1
    assert min(told.values()) > 5


def test_numbers_of_points_are_demanded_where_points_are_numbered() -> None:
    assert len(numbered_lines(LISTED.text)) == 3
    pairs = [LISTED, *made_up_pairs(4, 1)]
    made = [row for row in make_defect_rows(pairs, DefectRecipe(200, 1, 8.0, 0.3, 0.0, {MarkKind.DEMAND: 1.0})) if "点来写" in row.prompt]
    kept = [row for row in made if not row.faults]
    assert kept
    assert all("分三点" in row.prompt for row in kept)
    assert len(kept) < len(made)
    assert all("分三点" not in row.prompt for row in made if row.faults)
    two = next(row for row in made if "分二点" in row.prompt)
    assert two.text[two.faults[0].start :].startswith("三、加强宣传")


def test_kinds_are_balanced_no_pair_stands_twice_and_the_seed_decides_everything() -> None:
    recipe = DefectRecipe(400, 7, 40.0)
    rows = make_defect_rows(PAIRS, recipe)
    counts = Counter(fault.kind for row in rows if not row.swapped for fault in row.faults)
    assert set(counts) == set(DEFECT_KINDS)
    assert sum(counts.values()) > 500
    assert max(counts.values()) - min(counts.values()) <= 3
    assert len({(row.prompt, row.text) for row in rows}) == 400
    assert rows == make_defect_rows(PAIRS, recipe)
    assert rows != make_defect_rows(PAIRS, DefectRecipe(400, 8, 40.0))


def test_a_swapped_text_answers_another_prompt_and_each_sentence_is_a_defect() -> None:
    swapped = [row for row in make_defect_rows(PAIRS, DefectRecipe(100, 1, 8.0, 0.2, 0.5)) if row.swapped]
    assert 30 < len(swapped) < 70
    for row in swapped:
        assert row.text in ORIGINALS
        assert len(row.faults) == 8
        assert all(row.tags)
        assert foreign(row, 0)
        assert row.rate == 8.0  # told no higher than the recipe's highest


def test_texts_of_near_duplicate_prompts_are_never_off_topic() -> None:
    prompt = "请以秋天的收获为题，写一篇记叙文，写清楚人物、时间、地点和你心里的感受"
    kin = [Pair(prompt + end, pair.text) for end, pair in zip("。！", made_up_pairs(2, 5), strict=True)]
    alone = make_defect_rows(kin, DefectRecipe(30, 1, 40.0))
    assert len(alone) == 30
    assert MarkKind.OFF_TOPIC not in {fault.kind for row in alone for fault in row.faults}
    other = Pair("写一封感谢信", made_up_pairs(3, 6)[2].text)
    for row in make_defect_rows([*kin, other], DefectRecipe(60, 1, 40.0, 0.0, 0.3)):
        for fault in row.faults:
            if fault.kind is MarkKind.OFF_TOPIC:
                source = [other.text] if row.prompt.startswith(prompt) else [pair.text for pair in kin]
                assert any(row.text[fault.start : fault.end] in text for text in source)


def test_a_length_that_the_prompt_states_is_neither_doubled_nor_broken_without_being_counted() -> None:
    stated = [Pair(f"{pair.prompt}，不少于100字", pair.text) for pair in PAIRS]
    for row in make_defect_rows(stated, DefectRecipe(80, 1, 40.0, swapped=0.0)):
        assert row.prompt in {pair.prompt for pair in stated}
        assert length_of(row.text) >= 100
        assert MarkKind.DEMAND not in {fault.kind for fault in row.faults}


@pytest.mark.parametrize("kind", list(MAKERS))
def test_every_maker_changes_the_text_and_marks_what_it_changed(kind: MarkKind) -> None:
    corpus, draw = read_corpus([LISTED, *PAIRS[:4]]), Random(1)
    for maker in MAKERS[kind]:
        made = [(answer.text, maker(answer, corpus, draw)) for answer in corpus.answers for _ in range(80)]
        edits = [(text, edit) for text, edit in made if edit]
        assert edits, maker.__name__
        for text, edit in edits:
            assert edit.kind is kind
            assert edit.replacement != text[edit.start : edit.end], maker.__name__
            assert 0 <= edit.marked[0] <= edit.marked[1] <= len(edit.replacement)


def test_few_pairs_give_no_more_rows_than_there_are_different_ones() -> None:
    rows = make_defect_rows(made_up_pairs(1, 1), DefectRecipe(50, 1, sound=1.0))
    assert 1 <= len(rows) == len({row.prompt for row in rows})
    assert make_defect_rows([], DefectRecipe(5, 1)) == []
