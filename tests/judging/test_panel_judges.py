"""What holds for each of the four embedded judges."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import PanelError
from core.judging import cache
from core.judging.cache import LearnedCache
from core.judging.registry import families, make_judge
from core.ports import JudgeContext
from core.types import DimensionKind, Judgement, JudgementStatus, JudgeRequest, JudgeSpec, said
from tests.judging.panel import (
    FAMILIES,
    answers,
    context,
    dimension,
    dimensions,
    example,
    judge,
    library,
    prose,
    request,
    spoiled,
)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> JudgeContext:
    """A library of fluency, its models cached for the tests of this file."""
    return context(tmp_path_factory.mktemp("learned"), library())


@pytest.fixture(scope="module")
def rows() -> list[JudgeRequest]:
    """Rows of all dimensions, the odd ones among them."""
    known, rng = dimensions(), random.Random(7)
    made = [request(number, known["fluency"], spoiled(prose(rng, 2 + number % 5), number % 4, rng)) for number in range(10)]
    made += [
        request(10, known["fluency"], "短。"),
        request(11, known["fluency"], "  \n "),
        request(12, known["fluency"], "ASCII only, 12345 \U0001f600\U00020000!"),
        request(13, known["fluency"], "（" * 50 + "“" * 50),
        request(14, known["normativity"], prose(rng, 4), "请以“图书馆的志愿者”为主题写一篇文章"),
        request(15, known["normativity"], "", "请以“图书馆”为主题写一篇文章"),
        request(16, known["choice"], "模型回复为B", "正确选项为B"),
        request(17, dimension("custom", (0, 1)), prose(rng, 2)),
    ]
    return made


def ok(judgements: list[Judgement]) -> list[Judgement]:
    """The judgements that are answers."""
    return [one for one in judgements if one.status is JudgementStatus.OK]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_row_gets_one_judgement_in_order_with_a_full_distribution_or_a_reason(
    family: str, learned: JudgeContext, rows: list[JudgeRequest]
) -> None:
    found = answers(judge(family, learned), rows)
    assert [one.item_id for one in found] == [row.item.id for row in rows]
    for one, row in zip(found, rows, strict=True):
        assert one.judge_id == f"{family}-judge"
        if one.status is JudgementStatus.OK:
            assert sorted(one.probabilities) == sorted(row.dimension.labels)
            assert sum(one.probabilities.values()) == pytest.approx(1.0)
            assert min(one.probabilities.values()) > 0
            assert one.label in row.dimension.labels
            assert one.raw_reply
            assert set(one.rationale) == {"zh", "en"}
            assert not one.error
        else:
            assert one.status is JudgementStatus.ABSTAINED
            assert one.label is None
            assert not one.probabilities
            assert one.error
    assert all(one.status is JudgementStatus.OK for one in found[:10])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_vote_is_the_median_of_the_distribution(family: str, learned: JudgeContext, rows: list[JudgeRequest]) -> None:
    for one in ok(answers(judge(family, learned), rows[:10])):
        assert one.label is not None
        below = sum(share for label, share in one.probabilities.items() if label < one.label)
        assert below < 0.5 <= below + one.probabilities[one.label] + 1e-9


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_is_bit_equal_alone_in_any_batch_and_in_any_order(family: str, learned: JudgeContext, rows: list[JudgeRequest]) -> None:
    one = judge(family, learned)
    together = answers(one, rows)
    assert [answers(one, [row])[0] for row in rows] == together
    assert answers(one, rows[::-1])[::-1] == together
    assert answers(one, rows[3:11]) == together[3:11]
    assert answers(one, rows * 20) == together * 20
    long = request(90, rows[0].dimension, "春天来了，花开了。" * 60_000)
    assert answers(one, [rows[0], long, rows[1]])[::2] == together[:2]
    assert answers(one, []) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_more_faults_lower_the_expected_label(family: str, learned: JudgeContext) -> None:
    known, rng = dimensions()["fluency"], random.Random(99)
    sound, faulty = [], []
    for number in range(12):
        text = prose(rng, 6)
        sound.append(request(number, known, text))
        faulty.append(request(number, known, spoiled(text, 12, rng)))
    one = judge(family, learned)

    def mean(requests: list[JudgeRequest]) -> float:
        found = ok(answers(one, requests))
        return sum(label * share for each in found for label, share in each.probabilities.items()) / len(found)

    assert mean(sound) > mean(faulty) + 0.7


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_learned_is_read_from_the_cache_and_answers_alike(family: str, tmp_path: Path, rows: list[JudgeRequest]) -> None:
    given = context(tmp_path, library(60))
    first = answers(judge(family, given), rows)
    kept = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.glob(f"{family}-*")}
    assert len(kept) == 1
    assert answers(judge(family, given), rows) == first
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.glob(f"{family}-*")} == kept
    judge(family, context(tmp_path, library(60, seed=2), version="v2"))
    assert len(list(tmp_path.glob(f"{family}-*"))) == 2


@pytest.mark.parametrize("damage", [b"", b"not a model", None])
def test_a_damaged_cache_is_learned_again(damage: bytes | None, tmp_path: Path, rows: list[JudgeRequest]) -> None:
    given = context(tmp_path, library(60))
    first = answers(judge("surprise", given), rows)
    path = next(tmp_path.glob("surprise-*"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert answers(judge("surprise", given), rows) == first
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_time_but_no_answer(tmp_path: Path, rows: list[JudgeRequest]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert ok(answers(judge("rules", context(blocked, library(60))), rows))


def test_a_cache_keeps_what_it_learned_by_name_options_and_library(tmp_path: Path) -> None:
    asked = []

    def learn() -> dict[str, int]:
        asked.append(1)
        return {"n": len(asked)}

    assert LearnedCache(tmp_path, "a").get("model", learn, "x") == {"n": 1}
    assert LearnedCache(tmp_path, "a").get("model", learn, "x") == {"n": 1}
    assert LearnedCache(tmp_path, "a").get("model", learn, "y") == {"n": 2}
    assert LearnedCache(tmp_path, "b").get("model", learn, "x") == {"n": 3}
    assert not list(tmp_path.glob("*.part"))


def test_a_change_of_any_source_of_the_judges_makes_them_learn_again() -> None:
    """The list of sources is complete: every module that the judges import, near and far, stands in it."""
    folder = Path(cache.__file__).parent
    known, waiting = set(), [*FAMILIES]
    while waiting:
        name = waiting.pop()
        if name not in known and (folder / f"{name}.py").exists():
            known.add(name)
            waiting += re.findall(r"from core\.judging\.(\w+) import", (folder / f"{name}.py").read_text(encoding="utf-8"))
    assert known == set(cache.SOURCES)


@pytest.mark.parametrize("family", ["neighbours", "ngrams", "surprise"])
def test_too_few_examples_or_one_label_are_reasons_with_the_counts(family: str, tmp_path: Path, rows: list[JudgeRequest]) -> None:
    few = answers(judge(family, context(tmp_path, library(19))), rows[:1])[0]
    assert few.status is JudgementStatus.ABSTAINED
    assert "19" in said(few.error, "zh")
    assert "20" in said(few.error, "en")
    alike = [example(number, "fluency", prose(random.Random(number), 3), 4) for number in range(30)]
    one_label = answers(judge(family, context(tmp_path, alike, version="alike")), rows[:1])[0]
    assert "30" in said(one_label.error, "en")
    assert "4 分" in said(one_label.error, "zh")
    nothing = answers(judge(family, context(tmp_path, [], version="empty")), rows[:1])[0]
    assert "0 条" in said(nothing.error, "zh")


@pytest.mark.parametrize("family", ["neighbours", "ngrams", "surprise"])
def test_choice_rows_are_left_to_the_exact_reader(family: str, learned: JudgeContext, rows: list[JudgeRequest]) -> None:
    found = answers(judge(family, learned), [rows[16]])[0]
    assert found.status is JudgementStatus.ABSTAINED
    assert "选择题" in said(found.error, "zh")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dimension_of_the_user_is_learned_on_its_own_scale(family: str, tmp_path: Path) -> None:
    mine = dimension("style", (0, 1, 2, 3))
    known = {**dimensions(), "style": mine}
    given = context(tmp_path, library(80, "style", (0, 1, 2, 3)), known)
    row = request(1, mine, prose(random.Random(5), 5))
    found = answers(judge(family, given), [row])[0]
    assert found.status is JudgementStatus.OK
    assert list(found.probabilities) == [0, 1, 2, 3]
    without = answers(judge(family, context(tmp_path, library(40), known, "no-style")), [row])[0]
    assert without.status is JudgementStatus.ABSTAINED
    assert "文采" in said(without.error, "zh")
    assert "Style" in said(without.error, "en")


def test_a_nominal_dimension_of_the_user_is_voted_on_by_neighbours_alone(tmp_path: Path) -> None:
    mine = dimension("genre", (0, 1), DimensionKind.NOMINAL)
    texts = [("今天的比赛里球队进了三个球，球迷们欢呼不已", 0), ("这道汤要先放盐，再加葱花和姜片慢慢地煮", 1)]
    items = [example(number, "genre", f"{texts[number % 2][0]}，第{number}次。", texts[number % 2][1]) for number in range(40)]
    given = context(tmp_path, items, {**dimensions(), "genre": mine})
    row = request(1, mine, "厨师往汤里加了盐和葱花。")
    assert answers(judge("neighbours", given), [row])[0].status is JudgementStatus.OK
    for family in ("rules", "ngrams", "surprise"):
        assert answers(judge(family, given), [row])[0].status is JudgementStatus.ABSTAINED


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_of_the_library_is_judged_as_if_it_had_never_been_seen(family: str, tmp_path: Path) -> None:
    """A copied row must not find its own label: with every label given by chance, it is no likelier than the others."""
    rng = random.Random(3)
    letters = "".join(chr(0x4E00 + number) for number in range(300))

    def babble() -> str:
        return "。".join("".join(rng.choice(letters) for _ in range(12)) for _ in range(8)) + "。"

    items = [example(number, "fluency", babble(), rng.choice((1, 5))) for number in range(120)]
    one = judge(family, context(tmp_path, items))
    known = dimensions()["fluency"]
    found = answers(one, [request(item.id, known, item.text) for item in items])
    own = [judgement.probabilities[item.label] for judgement, item in zip(found, items, strict=True)]
    assert sum(own) / len(own) < 0.55


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", ["短句。", "同一段话被抄了很多遍，只有编号不同，所以全是一家人，第{}遍。"])
def test_libraries_of_tiny_or_copied_texts_are_no_trouble(family: str, text: str, tmp_path: Path, rows: list[JudgeRequest]) -> None:
    items = [example(number, "fluency", text.format(number) + "好" * (number % 3), 1 + number % 5) for number in range(40)]
    found = answers(judge(family, context(tmp_path, items)), [*rows[:3], request(9, dimensions()["fluency"], items[0].text)])
    assert all(one.status is JudgementStatus.OK for one in found)


def test_answers_are_the_same_in_another_process(tmp_path: Path, rows: list[JudgeRequest]) -> None:
    given = context(tmp_path / "here", library(40))
    here = [judge(family, given) for family in FAMILIES]
    mine = repr([[one.probabilities for one in answers(each, rows[:10])] for each in here])
    program = (
        "import random, sys; from pathlib import Path; from tests.judging.panel import *\n"
        "rng = random.Random(7); known = dimensions()['fluency']\n"
        "rows = [request(n, known, spoiled(prose(rng, 2 + n % 5), n % 4, rng)) for n in range(10)]\n"
        "given = context(Path(sys.argv[1]), library(40))\n"
        "sys.stdout.write(repr([[one.probabilities for one in answers(judge(name, given), rows)] for name in FAMILIES]))"
    )
    root = Path(__file__).resolve().parents[2]
    other = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "there")], capture_output=True, text=True, cwd=root, timeout=120, check=True
    )
    assert other.stdout == mine


def test_an_unknown_family_is_answered_with_the_known_ones(learned: JudgeContext) -> None:
    with pytest.raises(PanelError, match="rules, neighbours, ngrams, surprise") as caught:
        make_judge(JudgeSpec("x", "X", "oracle"), learned)
    assert "oracle" in caught.value.messages["zh"]
    assert set(FAMILIES) <= set(families())
