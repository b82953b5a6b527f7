"""Whatever a judge does, each row gets exactly one answer, in order, and only its being away passes through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.answers import answers_of
from core.errors import JudgeError, JudgeUnavailable
from core.types import Dimension, DimensionKind, Item, Judgement, JudgementStatus, JudgeRequest, RenderedPrompt, SourceRef, said

SCALE = Dimension("fluency", {"zh": "流畅性"}, (1, 2, 3), DimensionKind.ORDINAL, {}, "v1", needs_prompt=False)
SHARES = {1: 0.2, 2: 0.5, 3: 0.3}
OK, FAILED = JudgementStatus.OK, JudgementStatus.FAILED


def request(number: int) -> JudgeRequest:
    item = Item(number, 1, number, str(number), SCALE.id, "", "文", None, "", SourceRef("f", "", number))
    return JudgeRequest(item, SCALE, (), RenderedPrompt("", "文", f"sha-{number}"))


def right(number: int) -> Judgement:
    return Judgement("odd", number, OK, SHARES, 2, f"reply {number}")


@dataclass
class Odd:
    """A judge that does at each row, by its number, what it is told, and only when it is asked together with others unless `stubborn`."""

    deeds: dict[int, str]
    stubborn: bool = False
    id: str = "odd"
    reads_prompts: bool = True
    closed: int = 0
    asked: list[list[int]] = field(default_factory=list)

    def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
        """Answer, raise, leave out, double, swap."""
        self.asked.append([one.item.id for one in requests])
        try:
            for one in requests:
                yield from self._row(one.item.id, alone=len(requests) == 1)
        finally:
            self.closed += 1

    def _row(self, number: int, *, alone: bool) -> Iterator[Judgement]:
        deed = self.deeds.get(number, "") if self.stubborn or not alone else ""
        if deed == "raises":
            raise ZeroDivisionError(f"row {number}")
        if deed == "raises in words":
            raise JudgeError("cannot read it", zh="读不了")
        if deed == "another's":
            yield right(number + 1)
        elif deed == "another judge's":
            yield replace(right(number), judge_id="other")
        elif deed == "twice":
            yield right(number)
            yield right(number)
        elif deed != "nothing":
            yield right(number)

    def close(self) -> None:
        """Keep nothing."""


DEEDS = ("raises", "raises in words", "another's", "another judge's", "twice", "nothing")


@given(st.dictionaries(st.integers(0, 7), st.sampled_from(DEEDS)), st.booleans(), st.integers(0, 8))
def test_each_row_gets_one_answer_in_order_whatever_the_judge_does(deeds: dict[int, str], stubborn: bool, count: int) -> None:
    judge = Odd(deeds, stubborn)
    found = list(answers_of(judge, [request(number) for number in range(count)]))
    assert [one.item_id for one in found] == list(range(count))
    assert {one.judge_id for one in found} <= {"odd"}
    assert judge.closed == len(judge.asked)  # no stream is left open
    for number, one in enumerate(found):
        broken = stubborn and deeds.get(number, "twice") != "twice"
        assert one.status is (FAILED if broken else OK)
        assert one == right(number) if not broken else (one.error and one.prompt_sha256 == f"sha-{number}")
    assert all(len(rows) == 1 for rows in judge.asked[1:])


def test_a_row_that_fails_keeps_the_judges_own_words_in_both_languages() -> None:
    rows = [request(0), request(1)]
    first, second = answers_of(Odd({0: "raises in words", 1: "raises"}, stubborn=True), rows)
    assert first.error == {"en": "cannot read it", "zh": "读不了"}
    assert second.error == {"": "ZeroDivisionError: row 1"}


def test_a_judge_that_is_away_passes_through_after_what_it_gave() -> None:
    class Away(Odd):
        def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
            """Answer one row and go."""
            yield right(0)
            raise JudgeUnavailable("gone", zh="走了")

    stream = answers_of(Away({}), [request(0), request(1), request(2)])
    assert next(stream) == right(0)
    with pytest.raises(JudgeUnavailable, match="gone"):
        next(stream)


@pytest.mark.parametrize(
    ("changes", "en", "zh"),
    [
        ({"probabilities": {1: 0.5, 2: 0.5}}, "gave probabilities for [1, 2], but the scale is [1, 2, 3]", "而量表是 [1, 2, 3]"),
        ({"probabilities": {**SHARES, 4: 0.0}}, "gave probabilities for [1, 2, 3, 4]", "评委给出了 [1, 2, 3, 4] 的概率"),
        ({"probabilities": {1: 0.5, 2: 0.5, 3: 0.5}}, "do not sum to 1", "概率之和不为 1"),
        ({"probabilities": {1: -0.5, 2: 1.0, 3: 0.5}}, "do not sum to 1", "概率之和不为 1"),
        ({"probabilities": {1: float("nan"), 2: 1.0, 3: 0.0}}, "do not sum to 1", "概率之和不为 1"),
        ({"probabilities": {}}, "gave probabilities for []", "评委给出了 [] 的概率"),
        ({"label": None}, "gave the label None, but the scale is [1, 2, 3]", "评委给出了 None 分"),
        ({"label": 4}, "gave the label 4", "评委给出了 4 分"),
    ],
)
def test_an_answer_that_is_no_distribution_is_a_failure_that_keeps_the_reply(changes: dict[str, object], en: str, zh: str) -> None:
    class Wrong(Odd):
        def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
            """Answer wrongly."""
            yield from (replace(right(one.item.id), **changes) for one in requests)  # type: ignore[arg-type]

    (found,) = answers_of(Wrong({}), [request(5)])
    assert (found.status, found.probabilities, found.label, found.raw_reply) == (FAILED, {}, None, "reply 5")
    assert en in said(found.error, "en")
    assert zh in said(found.error, "zh")


@pytest.mark.parametrize("status", [status for status in JudgementStatus if status is not OK])
def test_a_silence_is_taken_as_it_is(status: JudgementStatus) -> None:
    class Silent(Odd):
        def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
            """Give no label."""
            yield from (Judgement("odd", one.item.id, status, error={"": "why"}) for one in requests)

    assert [one.status for one in answers_of(Silent({}), [request(0), request(1)])] == [status, status]


def test_a_little_rounding_is_no_fault() -> None:
    class Rounded(Odd):
        def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
            """Answer with three decimals."""
            yield from (replace(right(one.item.id), probabilities={1: 0.333, 2: 0.333, 3: 0.3334}) for one in requests)

    (found,) = answers_of(Rounded({}), [request(0)])
    assert found.status is OK
