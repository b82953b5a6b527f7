"""The rule judge: which faults it sees, what it says of them, and what it does without examples."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from core.judging.faults import FAULT_NAMES, FaultKind, find_faults
from core.judging.profile import profile
from core.ports import Judge
from core.types import JudgementStatus, said
from tests.judging.panel import answers, context, dimensions, judge, library, prose, request

_HAN = re.compile("[一-鿿]")


@pytest.fixture
def untaught(tmp_path: Path) -> Judge:
    """A rule judge with an empty library."""
    return judge("rules", context(tmp_path, []))


@pytest.mark.parametrize(
    ("text", "kind", "position"),
    [
        ("这是我们的的学校。", FaultKind.DOUBLED_CHAR, 4),
        ("组织了文艺演出文艺演出活动。", FaultKind.DOUBLED_WORD, 3),
        ("他说：你好。”然后走了。", FaultKind.QUOTE, 6),
        ("他说：“你好。\n第二段没有引号。", FaultKind.QUOTE, 3),
        ("这本《红楼梦很好看。\n下一段。", FaultKind.BRACKET, 2),
        ("今天下雨,我们没有出门。", FaultKind.MIXED, 4),
        ("天黑了，。我们回家。", FaultKind.PUNCTUATION, 3),
        ("他走进来问道：你是谁？”", FaultKind.OPENING, 6),
        ("大家都很，于是散了。", FaultKind.CUT, 3),
        ("资质已经。项目完成了。", FaultKind.CUT, 2),
        ("他讲了一个有趣的，大家笑了。", FaultKind.DANGLING, 7),
        ("原因是因为下雨，比赛取消。", FaultKind.CONNECTIVE, 0),
        ("那时候它她皱了皱眉头。", FaultKind.PRONOUN_PAIR, 3),
        ("社区居民他，心里高兴。", FaultKind.PRONOUN, 4),
        ("事情办完了的，大家放心。", FaultKind.PARTICLE, 4),
        ("。他停下了脚步。", FaultKind.START, 0),
        ("请提供更多信息，以便修改。", FaultKind.META, 0),
        ("完成了任务的任务。", FaultKind.REDUNDANT, 3),
    ],
)
def test_a_fault_is_found_where_it_stands(text: str, kind: FaultKind, position: int) -> None:
    assert (kind, position) in [(fault.kind, fault.position) for fault in find_faults(text)]


@pytest.mark.parametrize(
    "text",
    [
        "他说：“我们明天再去。”大家都同意了。",
        "《红楼梦》（前八十回）是曹雪芹写的。",
        "工作的目的是改善居民的生活，提高效率。",
        "孩子们高高兴兴地走了，老人慢慢地跟在后面。",
        "1)准备材料；2)填写表格。",
        "我把书给了她。她看了看，对我笑了。",
        "我们一直面对，从不回头，这是方向。",
        "Hello, world! It's (really) fine.",
        "他了解情况以后，的确松了一口气。",
    ],
)
def test_sound_prose_has_no_faults(text: str) -> None:
    assert find_faults(text) == []


def test_a_quote_left_open_by_the_end_of_a_cut_text_is_no_fault() -> None:
    assert find_faults("他想了很久才说：“这件事我早就知道") == []


def test_a_caption_repeated_is_one_fault_in_the_density() -> None:
    once = profile("图为当日它他在参观。\n")
    many = profile("图为当日它他在参观。\n" * 5)
    assert once.distinct == many.distinct == 1
    assert many.repeated_lines == pytest.approx(0.8)


def test_the_prompt_is_covered_by_what_the_text_says_of_it() -> None:
    prompt = "请以“2024年黄河流域生态保护”为主题写一篇文章"
    near = profile("黄河流域的生态保护在2024年有了进展。", prompt).fit
    far = profile("今天的足球比赛十分精彩。", prompt).fit
    assert near.coverage > 0.7
    assert near.numbers == 1.0
    assert far.coverage == 0.0
    assert far.numbers == 0.0
    assert not profile("没有要求。").fit.present


def test_without_examples_both_shipped_graded_dimensions_get_an_answer(untaught: Judge) -> None:
    known, rng = dimensions(), random.Random(1)
    rows = [request(number, known["normativity"], prose(rng, 3), "请以“志愿者”为主题写一篇文章") for number in range(5)]
    rows += [request(number, known["fluency"], prose(rng, 3)) for number in range(5)]
    found = answers(untaught, rows)
    assert all(one.status is JudgementStatus.OK for one in found)
    assert all("经验" in said(one.rationale, "zh") and "by experience" in said(one.rationale, "en") for one in found)
    assert all(sum(one.probabilities.values()) == pytest.approx(1.0) for one in found)


def test_without_examples_worse_texts_are_expected_to_be_worse(untaught: Judge) -> None:
    known = dimensions()

    def expected(dimension_id: str, text: str, prompt: str = "") -> float:
        found = answers(untaught, [request(1, known[dimension_id], text, prompt)])[0]
        return sum(label * share for label, share in found.probabilities.items())

    sound = prose(random.Random(2), 5)
    assert expected("fluency", sound) > expected("fluency", sound.replace("，", "，。的的"))
    prompt = f"请以“{sound[:60]}”为主题写一篇文章"
    assert expected("normativity", sound, prompt) > expected("normativity", "今天天气不错。" * 20, prompt)


def test_an_empty_text_gets_the_label_that_was_agreed_or_a_reason(untaught: Judge) -> None:
    known = dimensions()
    agreed, none = answers(untaught, [request(1, known["normativity"], " \n", "写一篇文章"), request(2, known["fluency"], "")])
    assert agreed.label == 5
    assert agreed.probabilities[5] > 0.9
    assert none.status is JudgementStatus.ABSTAINED
    assert "空" in said(none.error, "zh")
    assert "empty" in said(none.error, "en")


def test_the_reply_names_the_faults_with_their_places(tmp_path: Path) -> None:
    one = judge("rules", context(tmp_path, library(60)))
    text = prose(random.Random(4), 3) + "这是我们的的学校。"
    found = answers(one, [request(1, dimensions()["fluency"], text)])[0]
    reply = json.loads(found.raw_reply)
    assert {"fault": "doubled_char", "excerpt": "的的", "at": text.index("的的"), "end": text.index("的的") + 2} in reply["places"]
    assert reply["characters"] == len(text)
    assert "叠字 1" in said(found.rationale, "zh")
    assert "doubled character 1" in said(found.rationale, "en")
    assert not _HAN.search(said(found.rationale, "en"))


def test_every_kind_of_fault_has_a_name_of_its_own_in_both_languages() -> None:
    assert set(FAULT_NAMES) == set(FaultKind)
    for language in ("zh", "en"):
        assert len({names[language] for names in FAULT_NAMES.values()}) == len(FaultKind)


def test_choice_rows_are_read_and_never_lose_their_vote_to_a_low_confidence(untaught: Judge) -> None:
    known = dimensions()["choice"]
    prompt = "下列哪个是水果？A. 桌子 B. 苹果 C. 石头 D. 汽车"
    rows = [
        request(1, known, "正确选项为B 模型回复为B", prompt),
        request(2, known, "正确选项为B 模型回复为A", prompt),
        request(3, known, "没有写明任何东西", prompt),
    ]
    right, wrong, unreadable = answers(untaught, rows)
    assert (right.label, wrong.label) == (1, 0)
    assert right.probabilities[1] > 0.9
    assert set(right.rationale) == {"zh", "en"}
    assert unreadable.status is JudgementStatus.ABSTAINED
    assert unreadable.error
