"""Which examples a row is shown: its dimension, every label, never its own kin, and the same ones every time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core.dimensions import load_dimensions
from core.retrieval.embedders import make_embedder
from core.retrieval.index import EXACT_LIMIT, ChromaIndex
from core.retrieval.select import ExampleRetriever
from core.settings import ASSETS, PROJECT_ROOT
from core.types import Example, LabelledItem
from tests.retrieval.rows import item, labelled, library, prose, shown, spoiled

DIMENSIONS = load_dimensions(ASSETS / "dimensions")
LIBRARY = library(120)
ROWS = (
    [item(prose(1000 + number), number=number) for number in range(12)]
    + [item(prose(2000 + number), "normativity", "请以“高铁的故事”为主题写一篇文章", number=12 + number) for number in range(6)]
    + [item("正确选项为B 模型回复为B", "choice", prose(3000 + number, sentences=2), number=18 + number) for number in range(6)]
)


def retriever(
    folder: Path, rows: Sequence[LabelledItem] = LIBRARY, excluded: frozenset[int] = frozenset(), limit: int = EXACT_LIMIT
) -> ExampleRetriever:
    index = ChromaIndex(folder, make_embedder("ngram"), exact_limit=limit)
    index.ensure("v1", rows)
    return ExampleRetriever(index, rows, DIMENSIONS, excluded_ids=excluded)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ExampleRetriever:
    return retriever(tmp_path_factory.mktemp("index"))


def ids(examples: Sequence[Example]) -> list[int]:
    return [example.item.id for example in examples]


def test_examples_are_of_the_rows_dimension_one_per_label(whole: ExampleRetriever) -> None:
    for row, examples in zip(ROWS, whole.search(ROWS, 5), strict=True):
        assert {example.item.dimension_id for example in examples} == {row.dimension_id}
        assert {example.item.label for example in examples} == set(DIMENSIONS[row.dimension_id].labels)
        assert len(set(ids(examples))) == 5


def test_examples_carry_rank_similarity_and_version(whole: ExampleRetriever) -> None:
    for examples in whole.search(ROWS, 7):
        assert [example.rank for example in examples] == list(range(7))
        similarities = [example.similarity for example in examples]
        assert similarities == sorted(similarities, reverse=True)
        assert all(-1 <= similarity <= 1 for similarity in similarities)
        assert {example.index_version for example in examples} == {whole.index_version}


def test_with_fewer_places_than_labels_the_nearest_labels_come(whole: ExampleRetriever) -> None:
    for few, many in zip(whole.search(ROWS[:12], 2), whole.search(ROWS[:12], 5), strict=True):
        assert ids(few) == ids(many)[:2]
    assert whole.search(ROWS, 0) == [()] * len(ROWS)
    assert shown(whole.search(ROWS, 1)) == [1] * len(ROWS)


def test_the_nearest_of_each_label_is_taken(tmp_path: Path) -> None:
    rows = [
        labelled(number, prose(number, topic), label)
        for label in (1, 5)
        for number, topic in ((label * 10, "茶园"), (label * 10 + 1, "航天"), (label * 10 + 2, "足球"))
    ]
    found = retriever(tmp_path, rows).search([item(prose(99, "航天"))], 2)[0]
    assert sorted(ids(found)) == [11, 51]


def test_further_examples_are_near_and_unlike_each_other(tmp_path: Path) -> None:
    twins = prose(7, "茶园")
    rows = [
        labelled(1, twins, 3),
        labelled(2, spoiled(twins, 1, 12), 3),
        labelled(3, prose(8, "茶园"), 3),
        labelled(4, prose(9, "航天"), 3),
    ]
    found = retriever(tmp_path, rows).search([item(prose(50, "茶园") + twins[:26])], 2)[0]
    assert len({1, 2} & set(ids(found))) == 1
    assert 3 in ids(found)


def test_a_row_never_sees_itself_or_its_kin_of_any_dimension(tmp_path: Path) -> None:
    text = prose(4242)
    kin = [
        labelled(900, text, 3),
        labelled(901, spoiled(text, 1), 2),
        labelled(902, "前言。" + text, 4),
        labelled(903, spoiled(text, 2), 1, "normativity", "请以“茶园”为主题写一篇文章"),
        labelled(904, spoiled(spoiled(text, 1), 3, 25), 5),
    ]
    find = retriever(tmp_path, [*LIBRARY, *kin])
    for row in (item(text), item(spoiled(text, 5)), item(text, "normativity", "另一个题目")):
        examples = find.search([row], 20)[0]
        assert len(examples) == 20
        assert not {900, 901, 902, 903, 904} & set(ids(examples))


def test_kin_of_kin_is_kin(tmp_path: Path) -> None:
    first, last = prose(1), prose(2)
    bridge = first[len(first) // 2 :] + last[: len(last) // 2]
    find = retriever(tmp_path, [*LIBRARY, labelled(900, bridge, 3), labelled(901, last[-120:] + last, 3)])
    assert not {900, 901} & set(ids(find.search([item(first)], 40)[0]))


def test_a_short_reply_is_kin_by_its_question_and_not_by_its_words(tmp_path: Path) -> None:
    find = retriever(tmp_path)
    row = next(row for row in LIBRARY if row.dimension_id == "choice")
    other_reply = item("正确选项为A 模型回复为我不确定", "choice", row.prompt)
    assert row.id not in ids(find.search([other_reply], 40)[0])
    same_words = item(row.text, "choice", prose(5000, sentences=2))
    assert row.text in {example.item.text for example in find.search([same_words], 5)[0]}


def test_held_out_items_are_never_shown(tmp_path: Path, whole: ExampleRetriever) -> None:
    held_out = frozenset(number for number in range(120) if number % 4 == 0)
    found = retriever(tmp_path, excluded=held_out).search(ROWS, 40)
    assert not held_out & {example.item.id for examples in found for example in examples}
    assert held_out & {example.item.id for examples in whole.search(ROWS, 40) for example in examples}


def test_a_library_without_the_dimension_gives_nothing(tmp_path: Path) -> None:
    only = [row for row in LIBRARY if row.dimension_id == "fluency"]
    find = retriever(tmp_path, [*only, labelled(900, prose(900), 9), labelled(901, prose(901), 1, "unknown")])
    found = find.search([*ROWS, item(prose(1), "unknown")], 50)
    assert shown(found) == [len(only) if row.dimension_id == "fluency" else 0 for row in [*ROWS, item("", "unknown")]]
    assert retriever(tmp_path / "empty", []).search(ROWS, 5) == [()] * len(ROWS)


def test_rows_without_text_still_get_examples(whole: ExampleRetriever) -> None:
    assert shown(whole.search([item(""), item("", "normativity", ""), item("。")], 5)) == [5, 5, 5]


@pytest.mark.parametrize("limit", [1, 3, 5, 9])
def test_neither_batch_nor_order_matters(whole: ExampleRetriever, limit: int) -> None:
    together = whole.search(ROWS, limit)
    assert together == [whole.search([row], limit)[0] for row in ROWS]
    assert together[::-1] == whole.search(ROWS[::-1], limit)
    assert together == whole.search(ROWS * 40, limit)[-len(ROWS) :]


def test_the_order_of_the_library_does_not_matter(tmp_path: Path, whole: ExampleRetriever) -> None:
    shuffled = [LIBRARY[place] for place in np.random.default_rng(1).permutation(len(LIBRARY))]
    assert retriever(tmp_path, shuffled).search(ROWS, 8) == whole.search(ROWS, 8)


def test_equal_similarities_are_ordered_by_content(tmp_path: Path) -> None:
    rows = [labelled(number, prose(number), 3) for number in range(20)]
    found = retriever(tmp_path, rows).search([item("")], 5)[0]
    assert {example.similarity for example in found} == {0.0}
    assert retriever(tmp_path, rows[::-1]).search([item("")], 5)[0] == found


def test_another_process_finds_the_same(tmp_path: Path, whole: ExampleRetriever) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.retrieval.test_select import ROWS, ids, retriever;"
        "print([[(e.item.id, e.similarity) for e in found] for found in retriever(Path(sys.argv[1])).search(ROWS, 6)])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=PROJECT_ROOT,
        env={"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    expected = [[(example.item.id, example.similarity) for example in found] for found in whole.search(ROWS, 6)]
    assert result.stdout.strip() == str(expected)


def test_above_the_exact_limit_chroma_finds_nearly_the_same(tmp_path: Path, whole: ExampleRetriever) -> None:
    by_graph = retriever(tmp_path, limit=10).search(ROWS, 5)
    exact = whole.search(ROWS, 5)
    shared = [len(set(ids(one)) & set(ids(two))) for one, two in zip(by_graph, exact, strict=True)]
    assert sum(shared) >= 0.95 * sum(shown(exact))
    assert shown(by_graph) == shown(exact)
