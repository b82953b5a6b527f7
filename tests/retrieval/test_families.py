"""Near-duplicates: copies, badly written copies and excerpts are kin; forms and short phrases are not."""

from __future__ import annotations

import pytest

from core.retrieval.families import COMMON_LIMIT, FamilyIndex, family_ids
from tests.retrieval.rows import prose, spoiled

LIBRARY = [prose(number) for number in range(40)]
INDEX = FamilyIndex(LIBRARY)


def kin(text: str) -> set[int]:
    return set(INDEX.matches([text])[0])


def test_a_text_is_its_own_kin_and_strangers_are_not() -> None:
    assert INDEX.matches(LIBRARY) == [frozenset({place}) for place in range(len(LIBRARY))]
    assert kin(prose(999)) == set()


@pytest.mark.parametrize("every", [25, 40, 100])
def test_a_spoiled_copy_is_kin(every: int) -> None:
    assert all(kin(spoiled(text, place, every)) == {place} for place, text in enumerate(LIBRARY))


def test_blanks_punctuation_width_and_case_do_not_matter() -> None:
    index = FamilyIndex(["《ABC报》今天（5月8日）出版。"])
    assert index.matches(["ＡＢＣ报 今天5月8日\n出版"]) == [frozenset({0})]


def test_an_excerpt_and_a_longer_text_around_it_are_kin() -> None:
    excerpt = LIBRARY[3][100:220]
    assert kin(excerpt) == {3}
    assert kin(prose(500) + LIBRARY[4][:35] + prose(501)) == set()
    assert kin(prose(500, sentences=3) + LIBRARY[4]) == {4}


def test_a_short_phrase_inside_a_long_text_is_not_kin() -> None:
    assert kin(LIBRARY[5][30:50]) == set()


def test_short_texts_are_kin_when_they_are_equal_or_nearly() -> None:
    question = "下列关于光合作用的说法中正确的一项是哪一个选项请作答甲乙丙丁"
    index = FamilyIndex(["正确选项为A", question])
    assert index.matches(["正确选项为A", "正确选项为B", question.replace("甲乙", "甲己"), ""]) == [
        frozenset({0}),
        frozenset(),
        frozenset({1}),
        frozenset(),
    ]


def test_texts_without_letters_match_nothing() -> None:
    index = FamilyIndex(["", "。。", "甲"])
    assert index.matches(["", "！", "甲"]) == [frozenset(), frozenset(), frozenset({2})]
    assert FamilyIndex([]).matches(["甲"]) == [frozenset()]


def test_equal_texts_are_all_named() -> None:
    assert FamilyIndex(["甲乙丙", "丁", "甲乙丙"]).matches(["甲乙丙"]) == [frozenset({0, 2})]


def test_the_answer_does_not_depend_on_the_batch() -> None:
    queries = [spoiled(text, 7) for text in LIBRARY] + [prose(number) for number in range(100, 140)]
    together = INDEX.matches(queries)
    assert together == [INDEX.matches([query])[0] for query in queries]
    assert together[::-1] == INDEX.matches(queries[::-1])


def test_a_form_that_hundreds_of_texts_share_makes_no_kin() -> None:
    form = "请仔细阅读下面的材料，结合所学知识，从四个选项中选出最符合题意的一项，并写出理由。"
    texts = [form + prose(number, sentences=2) for number in range(COMMON_LIMIT + 20)]
    assert [len(near) for near in FamilyIndex(texts).matches(texts)] == [1] * len(texts)


def test_families_are_connected_groups_named_after_their_first_text() -> None:
    first = prose(1)
    texts = [prose(0), first, spoiled(first, 1), prose(2), spoiled(spoiled(first, 1), 2), ""]
    assert family_ids(texts) == [0, 1, 1, 3, 1, 5]
