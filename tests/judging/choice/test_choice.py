"""The reader of 选择题 rows: hand-labelled real rows, self-written phrasings, malformed rows, and what must hold for any text."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from core.judging.choice import ChoiceKind, read_choice
from tests.conftest import real_file
from tests.judging.choice.cases import CASES, Case
from tests.judging.choice.questions import BOOKS, CAPITAL, ENGLISH, LAW, MULTI, TRUTH, TWINS

LABELS = Path(__file__).with_name("labels.csv")
CIRCLED = "下列河流最长的是 ①黄河 ②长江 ③珠江 ④淮河"
NUMBERED = "下列河流最长的是（ ）\n1. 黄河\n2. 长江\n3. 珠江\n4. 淮河"


@pytest.mark.parametrize("case", CASES, ids=[f"{place}-{case.reply[:16]}" for place, case in enumerate(CASES)])
def test_reads_the_phrasing(case: Case) -> None:
    reading = read_choice(case.question.prompt, case.text)
    assert reading.label == case.label, (case.reply, sorted(reading.picked), reading.kind)


@pytest.mark.real_data
def test_agrees_with_the_hand_labels_of_the_real_sheet() -> None:
    rows = CalamineWorkbook.from_path(str(real_file("test-B.xlsx"))).get_sheet_by_index(0).to_python()
    texts = {str(row[0]): (str(row[1]), str(row[3])) for row in rows[1:]}
    with LABELS.open(encoding="utf-8", newline="") as handle:
        labelled = list(csv.reader(handle))[1:]
    assert len(labelled) >= 250
    readings = {identifier: read_choice(*texts[identifier]) for identifier, _, _ in labelled}
    wrong_label = [identifier for identifier, label, _ in labelled if readings[identifier].label != int(label)]
    wrong_kind = [identifier for identifier, _, kind in labelled if readings[identifier].kind != kind]
    assert len(wrong_label) <= 0.005 * len(labelled), wrong_label
    assert len(wrong_kind) <= 0.02 * len(labelled), wrong_kind


@pytest.mark.parametrize(
    ("prompt", "text", "label"),
    [
        (CAPITAL.prompt, "正确选项为B\n模型回复为：B", 1),
        (CAPITAL.prompt, "正确选项为B模型回复为B", 1),
        (CAPITAL.prompt, "正确选项：B 模型回复：A", 0),
        (CAPITAL.prompt, "答案：B 模型回复：B", 1),
        (CAPITAL.prompt, "標準答案為B 模型回覆為北京", 1),
        (CAPITAL.prompt, "Correct option: B. Model reply: The answer is B", 1),
        (CAPITAL.prompt, "The correct option is B; the model's reply is: 北京", 1),
        (CAPITAL.prompt, "参考答案是B，模型输出：B、北京", 1),
        (CAPITAL.prompt, "模型回复为B 正确选项为B", 1),
        (CAPITAL.prompt, "模型回复为正确答案是A 正确选项为B", 0),
        (CAPITAL.prompt, "正确选项为B 模型回复为正确选项为A 模型回复为B", 0),
        (CAPITAL.prompt, "正确选项为b 模型回复为B", 1),
        (CAPITAL.prompt, "正确选项为B、北京 模型回复为北京", 1),
        (CAPITAL.prompt, "正确选项为北京 模型回复为B", 1),
        (CAPITAL.prompt, "正确选项为（Ｂ） 模型回复为b", 1),
        (CAPITAL.prompt, "正确选项为AB 模型回复为A", 0),
        (CAPITAL.prompt, "正确选项为ACD 模型回复为A、C、D", 1),
        (CAPITAL.prompt, "正确选项为B 模型回复为", 0),
        (CAPITAL.prompt, "正确选项为B", 0),
        ("题目", "正确选项为B 模型回复为我选B", 1),
        ("题目", "正确选项为B 模型回复为北京", 0),
        ("", "正确选项为B 模型回复为B、北京", 1),
        ("判断题", "正确选项为错误 模型回复为不对", 1),
        ("判断题", "正确选项为√ 模型回复为这句话是正确的", 1),
        ("判断题", "正确选项为√ 模型回复为错", 0),
        ("判断题", "正确选项为是 模型回复为是的", 1),
        ("判断题", "正确选项为正确 模型回复为我无法回答", 0),
        ("填空", "正确选项为北京 模型回复为答案是北京", 1),
        ("填空", "正确选项为北京 模型回复为上海", 0),
        (CIRCLED, "正确选项为② 模型回复为②", 1),
        (CIRCLED, "正确选项为② 模型回复为①黄河", 0),
        (CIRCLED, "正确选项为B 模型回复为答案是②", 1),
        (NUMBERED, "正确选项为2 模型回复为2. 长江", 1),
        (NUMBERED, "正确选项为2 模型回复为选3", 0),
        (NUMBERED, "正确选项为2 模型回复为第二个选项", 1),
    ],
)
def test_reads_other_shapes_of_rows(prompt: str, text: str, label: int) -> None:
    assert read_choice(prompt, text).label == label


@pytest.mark.parametrize("text", ["", "B", "模型回复为B", "正确选项为 模型回复为B", "正确选项为？ 模型回复为B"])
def test_a_row_without_a_correct_option_has_no_label(text: str) -> None:
    reading = read_choice(CAPITAL.prompt, text)
    assert reading.label is None
    assert reading.kind is ChoiceKind.UNREADABLE_ROW
    assert "正确选项" in reading.explanation["zh"]


@pytest.mark.parametrize(
    ("prompt", "reply", "kind"),
    [
        (CAPITAL.prompt, "选B", ChoiceKind.LETTER),
        (CAPITAL.prompt, "正确答案是 北京 ", ChoiceKind.OPTION_TEXT),
        (CAPITAL.prompt, "B(北京)", ChoiceKind.LETTER_AND_TEXT),
        (CAPITAL.prompt, "A、北京", ChoiceKind.CONFLICT),
        (CAPITAL.prompt, "【答案】A。解析：首都是北京，因此答案为B。", ChoiceKind.CONTRADICTED),
        (CAPITAL.prompt, "排除A、C、D", ChoiceKind.ELIMINATION),
        (CAPITAL.prompt, "A或B", ChoiceKind.MULTIPLE),
        (CAPITAL.prompt, "全选", ChoiceKind.ALL_OPTIONS),
        (CAPITAL.prompt, "抱歉，我无法回答。", ChoiceKind.REFUSAL),
        (CAPITAL.prompt, "⚠ No content", ChoiceKind.NO_ANSWER),
    ],
)
def test_says_how_the_reply_answered(prompt: str, reply: str, kind: ChoiceKind) -> None:
    reading = read_choice(prompt, f"正确选项为B 模型回复为{reply}")
    assert reading.kind is kind
    assert set(reading.explanation) == {"zh", "en"}
    assert "B" in reading.explanation["zh"]
    assert "B" in reading.explanation["en"]


def test_the_evidence_is_what_decided() -> None:
    text = "正确选项为B 模型回复为这道题考查地理常识，所以正确答案是B、北京。其余都不是首都。"
    assert "正确答案是B、北京" in read_choice(CAPITAL.prompt, text).evidence


def test_plain_replies_are_surer_than_prose() -> None:
    def confidence(reply: str) -> float:
        return read_choice(BOOKS.prompt, f"正确选项为C 模型回复为{reply}").confidence

    assert min(confidence("C"), confidence("《野草》"), confidence("正确答案是：C")) >= 0.97
    assert confidence("《野草》是散文诗集，《呐喊》是小说集") < 0.9
    assert confidence("C、《呐喊》") < 0.8
    assert confidence("《朝夕花拾》") < 0.95


def test_an_option_that_stands_twice_counts_when_its_text_is_given() -> None:
    assert read_choice(TWINS.prompt, "正确选项为A 模型回复为增大").label == 1
    assert read_choice(TWINS.prompt, "正确选项为C 模型回复为增大").label == 1
    assert read_choice(TWINS.prompt, "正确选项为C 模型回复为A、增大").label == 0


def test_a_very_long_reply_costs_little_time() -> None:
    for piece in ("答案是", "A、", "北京，", "<think>", "\\boxed{", "我认为", " ", "以上选项都", "not A "):
        started = time.process_time()
        read_choice(CAPITAL.prompt, "正确选项为B 模型回复为" + piece * 20_000)
        assert time.process_time() - started < 5


SIGNS = "ABCDabcd、.:：。，（）【】答案正确选项为是不对错模型回复\\$<>*\n"
TEXTS = st.text(alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from(SIGNS)))
PROMPTS = st.one_of(TEXTS, st.sampled_from([CAPITAL.prompt, TRUTH.prompt, ENGLISH.prompt, ""]))


@settings(max_examples=300, deadline=None)
@given(prompt=PROMPTS, text=TEXTS, headed=st.booleans())
def test_any_text_gives_a_label_or_none(prompt: str, text: str, headed: bool) -> None:
    reading = read_choice(prompt, f"正确选项为B 模型回复为{text}" if headed else text)
    assert reading.label in {0, 1, None}
    assert (reading.label is None) == (reading.kind is ChoiceKind.UNREADABLE_ROW)
    assert 0.0 <= reading.confidence <= 1.0
    assert len(reading.evidence) <= 80
    assert reading.label == 0 or reading.label is None or reading.picked == reading.correct


WRAPPINGS = (
    *("{}", "“{}”", "*{}*", "**{}**", "（{}）", "{}。", "{}！", "答案：{}", "正确答案是 {}", "正确答案是：{}", "正确答案是, {}!", "选{}"),
    *("我选择{}。", "选项{}正确", "【答案】{}。解析：略。", "The answer is  {}", "The correct answer is {}.", "Option {}", "I choose ({})"),
    *("故选：{}．", "根据题干中的信息，我们可以推断出 {}", "{}（内容由AI生成）", "好的，这道题应该选{}。", "综上所述，答案为{}。"),
    "<think>先想一想</think>{}",
)


@settings(max_examples=200, deadline=None)
@given(
    letter=st.sampled_from("ABCD"),
    correct=st.sampled_from("ABCD"),
    wrapping=st.sampled_from(WRAPPINGS),
    prompt=st.sampled_from([CAPITAL.prompt, LAW.prompt, BOOKS.prompt, ENGLISH.prompt, MULTI.prompt]),
)
def test_wrapping_a_letter_does_not_change_the_label(letter: str, correct: str, wrapping: str, prompt: str) -> None:
    bare = read_choice(prompt, f"正确选项为{correct} 模型回复为{letter}")
    wrapped = read_choice(prompt, f"正确选项为{correct} 模型回复为{wrapping.format(letter)}")
    assert bare.label == int(letter == correct)
    assert (wrapped.label, wrapped.picked) == (bare.label, bare.picked)
