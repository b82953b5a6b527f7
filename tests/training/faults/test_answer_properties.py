"""People's answers of any shape: the order in which they stand decides nothing, and each character is what the rule says."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import JobError
from core.faultmarks import MARK_KINDS
from tests.training.faults.test_answers import CONFIRM, KNOWN, MISSED, REJECT, TEXT
from training.faults.answers import AnsweredText, Say, answered_rows, read_answers, seen_as_often
from training.faults.pretrain import ANY_FAULT, UNTAGGED, TaggedRow

SPANS = st.tuples(st.integers(0, 9), st.integers(1, 6)).map(lambda span: (span[0], min(len(TEXT), span[0] + span[1])))
SAYS = st.builds(
    lambda span, kind, answer, author: Say(*span, kind, answer, author),
    SPANS, st.sampled_from((None, "order", "typo", "word")), st.sampled_from((CONFIRM, REJECT, MISSED)), st.sampled_from("林吴张"),
)  # fmt: skip


def classes(says: Sequence[Say]) -> list[int]:
    made, counts = answered_rows([AnsweredText(TEXT, "fluency", "", tuple(says))], MARK_KINDS, KNOWN, [])
    assert counts.confirmed + counts.rejected + counts.missed + counts.outvoted == len(says)
    return list(made[0].tags) if made else [UNTAGGED] * len(TEXT)


def by_rule(says: Sequence[Say], place: int) -> int:
    """Return the class of a character as docs/FAULTS.md puts it."""
    about = [say for say in says if say.start <= place < say.end]
    faulty, sound = [], 0
    for author in {say.author for say in about}:
        own = [say for say in about if say.author == author]
        shortest = [say for say in own if say.end - say.start == min(say.end - say.start for say in own)]
        verdicts = {say.answer is REJECT for say in shortest}
        if verdicts == {True}:
            sound += 1
        elif verdicts == {False}:
            kinds = {say.kind for say in shortest} - {None}
            faulty.append(kinds.pop() if len(kinds) == 1 else None)
    if len(faulty) == sound:
        return UNTAGGED
    if len(faulty) < sound:
        return 0
    named = Counter(kind for kind in faulty if kind is not None)
    most = [kind for kind, count in named.items() if count == max(named.values())]
    return MARK_KINDS.index(most[0]) + 1 if len(most) == 1 else ANY_FAULT  # type: ignore[arg-type]


@settings(max_examples=80)
@given(says=st.lists(SAYS, max_size=7), seed=st.integers(0, 99))
@example(says=[Say(0, 2, "order", CONFIRM, "林"), Say(1, 3, "typo", CONFIRM, "林")], seed=1)
def test_each_character_is_what_the_rule_says_in_whatever_order_people_answered(says: list[Say], seed: int) -> None:
    found = classes(says)
    assert found == [by_rule(says, place) for place in range(len(TEXT))]
    shuffled = random.Random(seed).sample(says, len(says))
    assert classes(shuffled) == found


@settings(max_examples=25)
@given(says=st.lists(SAYS, min_size=1, max_size=5), cut=st.integers(0, 5), seed=st.integers(0, 9))
def test_answers_on_one_text_come_together_wherever_they_stand_in_the_file(says: list[Say], cut: int, seed: int) -> None:
    whole = [AnsweredText(TEXT, "fluency", "", tuple(says))]
    parts = [AnsweredText(TEXT, "fluency", prompt, tuple(part)) for prompt, part in (("甲", says[:cut]), ("乙", says[cut:]))]
    random.Random(seed).shuffle(parts)
    rows, counts = answered_rows(whole, MARK_KINDS, KNOWN, [])
    assert answered_rows(parts, MARK_KINDS, KNOWN, []) == (rows, counts)
    apart, _ = answered_rows(parts, MARK_KINDS, KNOWN, [], with_prompts=True)
    assert {row.prompt for row in apart} <= {"甲", "乙"}
    assert all(row.rate is None for row in (*rows, *apart))


@given(weight=st.floats(0, 5), rows=st.integers(0, 9), seed=st.integers(0, 9))
def test_a_weight_is_how_often_rows_are_seen_on_the_whole_and_none_twice_more_than_another(weight: float, rows: int, seed: int) -> None:
    made = [TaggedRow((), (), float(number)) for number in range(rows)]
    found = seen_as_often(made, weight, seed)
    assert found == seen_as_often(made, weight, seed)
    assert abs(len(found) - weight * rows) <= 0.5
    often = Counter(row.rate for row in found)
    assert not often or max(often.values()) - min(often[row.rate] for row in made) <= 1


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers") / "answers.jsonl"


LINE = {"text": TEXT, "dimension": "fluency", "faults": [[0, 2, None, "missed", "林"]]}


@given(
    text=st.text("甲乙 \n", min_size=1, max_size=9), prompt=st.text(max_size=5), author=st.text(max_size=4), data=st.data(),
)  # fmt: skip
def test_a_file_of_answers_comes_back_as_it_was_written(path: Path, text: str, prompt: str, author: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    kind, answer = data.draw(st.sampled_from((None, "order", "later"))), data.draw(st.sampled_from((CONFIRM, REJECT, MISSED)))
    line = {"text": text, "dimension": "fluency", "prompt": prompt, "faults": [[start, end, kind, answer, author]], "later": 1}
    content = (json.dumps(line, ensure_ascii=False) + "\n\n").encode() * 2
    path.write_bytes(content)
    wanted = AnsweredText(text, "fluency", prompt, (Say(start, end, kind, answer, author),))
    assert read_answers(path, hashlib.sha256(content).hexdigest()) == [wanted, wanted]


WRONG: list[Callable[[], object]] = [
    lambda: {**LINE, "faults": [[0, 0, None, "missed", "林"]]},
    lambda: {**LINE, "faults": [[-1, 2, None, "missed", "林"]]},
    lambda: {**LINE, "faults": [[0, 2, None, "missed"]]},
    lambda: {**LINE, "text": 7},
    lambda: {"text": TEXT, "faults": []},
    lambda: [],
    lambda: "text",
]


@pytest.mark.parametrize("wrong", [json.dumps(make()).encode() for make in WRONG] + [b"{", b"\xff\xfe{}", b"[" * 99_999])
def test_a_wrong_line_is_named_in_both_languages(wrong: bytes, path: Path) -> None:
    path.write_bytes(json.dumps(LINE).encode() + b"\n" + wrong + b"\n")
    with pytest.raises(JobError, match=r"answers\.jsonl, line 2 is no text with answers") as caught:
        read_answers(path)
    assert "第 2 行" in caught.value.messages["zh"]
    assert "重新导出" in caught.value.messages["zh"]


def test_without_answers_there_is_nothing_to_learn_and_the_sentence_says_so() -> None:
    rows, counts = answered_rows([], MARK_KINDS, KNOWN, [])
    assert rows == []
    assert set(counts.figures().values()) == {0.0}
    assert "0 on 0 texts" in counts.words()["en"]
    assert "0 篇文本上的 0 条" in counts.words()["zh"]
