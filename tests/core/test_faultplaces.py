"""Suspected places: read from replies new and old, merged over judges, joined with people's answers."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dimensions import load_dimensions
from core.faultmarks import FAULTS_KEY, MarkKind, SuspectedFault, fault_facts, suspected_faults
from core.faultplaces import AnswerKind, FaultAnswer, Place, Voice, answered, merge, per_hundred, rubric_label, standing, voices
from core.judging.faults import find_faults
from core.settings import ASSETS
from core.types import Judgement, JudgementStatus
from tests.judging.panel import answers, context, dimensions, judge, library, prose, request


def said(judge_id: str, *faults: SuspectedFault) -> Judgement:
    return Judgement(judge_id, 1, JudgementStatus.OK, raw_reply=json.dumps({"per_100": 1.0, FAULTS_KEY: fault_facts(faults)}))


def replied(judge_id: str, **facts: object) -> Judgement:
    return Judgement(judge_id, 1, JudgementStatus.OK, raw_reply=json.dumps(facts))


def answer(id_: int, kind: AnswerKind, start: int, end: int, author: str = "林", retracts: int | None = None) -> FaultAnswer:
    return FaultAnswer(id_, 1, 1, "", start, end, None, kind, author, datetime.now(UTC), retracts)


def spans(places: tuple[Place, ...]) -> list[tuple[int, int]]:
    return [(place.start, place.end) for place in places]


def test_the_embedded_judges_name_exact_places(tmp_path: Path) -> None:
    text = "😀" + prose(random.Random(3), 6) + "\n这是我们的的学校，它他走了，问题的问题的。"
    ready, asked = context(tmp_path, library(60)), [request(1, dimensions()["fluency"], text)]
    found = voices(answers(judge("rules", ready), asked)[0])
    by_hand = sorted((one.position, one.position + len(one.excerpt)) for one in find_faults(text))
    assert [(voice.start, voice.end) for voice in found] == by_hand
    assert {text[voice.start : voice.end] for voice in found if voice.kind is MarkKind.REPEATED} == {"的的", "问题的问题的"}
    assert all(voice.probability is None for voice in found)
    surprised = voices(answers(judge("surprise", ready), asked)[0])
    assert surprised
    assert all(voice.end == voice.start + 1 <= len(text) and 0 < (voice.probability or 0) <= 1 for voice in surprised)


def test_a_long_text_loses_no_fault_that_the_old_limit_of_six_hid(tmp_path: Path) -> None:
    text = "这是我们的的学校。" * 12
    found = voices(answers(judge("rules", context(tmp_path, library(60))), [request(1, dimensions()["fluency"], text)])[0])
    assert len(found) == len(find_faults(text)) > 6


def test_replies_of_before_are_read_and_what_is_no_place_is_passed_over() -> None:
    old = {"fault": "doubled_word", "excerpt": "一二三四五六七八九十甲乙", "at": 4}
    broken = [{"fault": "unheard_of", "at": 1, "excerpt": "a"}, {"at": -1, "chance": 0.5}, {"at": 2, "chance": 7}, {"excerpt": "x"}, 5]
    found = voices(replied("rules", faults=1, places=[old, *broken]))
    assert [(voice.start, voice.end, voice.names["en"]) for voice in found] == [(4, 16, "repetition")]
    for raw in ("", "4 分", '{"places": 3}', '{"places"', "[" * 5000 + '"places"'):
        assert voices(Judgement("x", 1, JudgementStatus.OK, raw_reply=raw)) == ()


def test_overlapping_suspicions_are_one_place_of_the_strongest_judge() -> None:
    strong, weak = (
        said("head", SuspectedFault(3, 6, 0.9, MarkKind.WORD)),
        said("small", SuspectedFault(5, 9, 0.6), SuspectedFault(8, 12, 0.2)),
    )
    rule = replied(
        "rules", places=[{"fault": "quote", "excerpt": "“", "at": 20, "end": 21}, {"fault": "cut", "excerpt": "但", "at": 4, "end": 5}]
    )
    places = merge([weak, rule, strong], 40)
    assert spans(places) == [(3, 6), (8, 12), (20, 21)]
    assert [[voice.judge_id for voice in place.voices] for place in places] == [["head", "small", "rules"], ["small"], ["rules"]]
    assert [place.probability for place in places] == [0.9, 0.2, None]
    assert (places[0].kind, places[0].names["zh"]) == (MarkKind.WORD, "用词不当")
    assert merge([strong, strong], 40) == merge([strong], 40)
    assert merge([strong, weak, rule], 10) == merge(
        [said("head", SuspectedFault(3, 6, 0.9, MarkKind.WORD)), rule, said("small", SuspectedFault(5, 9, 0.6))], 10
    )


def test_the_last_answer_of_each_person_stands_until_it_is_taken_back() -> None:
    log = [
        answer(1, AnswerKind.CONFIRM, 3, 6),
        answer(2, AnswerKind.REJECT, 3, 6),
        answer(3, AnswerKind.CONFIRM, 3, 6, "吴"),
        answer(4, AnswerKind.UNDO, 3, 6, retracts=2),
    ]
    assert [one.id for one in standing(log)] == [1, 3]
    assert [one.id for one in standing(log[:3])] == [2, 3]


def test_answers_go_to_the_places_they_mean() -> None:
    places = merge([said("head", SuspectedFault(3, 6, 0.9), SuspectedFault(10, 12, 0.4))], 40)
    given = [
        answer(1, AnswerKind.REJECT, 4, 7),  # the same place, drawn otherwise in another run
        answer(2, AnswerKind.MISSED, 11, 14),  # marked on its own, though it overlaps
        answer(3, AnswerKind.CONFIRM, 20, 22, "吴"),  # no judge suspects it any more
        answer(4, AnswerKind.REJECT, 30, 31),  # nothing is left to reject
    ]
    found = answered(places, given)
    assert spans(found) == [(3, 6), (10, 12), (11, 14), (20, 22)]
    assert [place.weight("林") for place in found] == [0.0, 0.4, 1.0, 1.0]
    assert found[0].weight("吴") == 0.9
    assert per_hundred(found, 200, "林") == pytest.approx(1.2)


@pytest.mark.parametrize(("rate", "label"), [(0, 5), (0.5, 5), (0.51, 4), (1, 4), (2, 3), (2.5, 2), (2.51, 1), (9, 1)])
def test_a_rate_means_the_rubrics_level(rate: float, label: int) -> None:
    known = load_dimensions(ASSETS / "dimensions")
    assert rubric_label(known["fluency"], rate) == label
    assert rubric_label(known["normativity"], rate) is None
    worst_last = replace(known["fluency"], labels=(0, 1, 2), fault_rates={1: 2.0, 0: 0.5})
    assert rubric_label(worst_last, rate) == (0 if rate <= 0.5 else 1 if rate <= 2 else 2)


SPANS = st.tuples(st.integers(0, 30), st.integers(1, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
FAULTS = st.builds(
    lambda span, chance, kind: SuspectedFault(*span, round(chance, 3), kind),
    SPANS,
    st.floats(0, 1),
    st.none() | st.sampled_from(list(MarkKind)),
)
REPLIES = st.lists(st.lists(FAULTS, max_size=5), max_size=4)


@given(st.lists(FAULTS, max_size=6))
def test_faults_come_back_from_a_reply_as_they_were_told(told: list[SuspectedFault]) -> None:
    assert list(suspected_faults(said("head", *told))) == sorted(told, key=lambda fault: (fault.start, fault.end))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["faults", "places", "at", "end", "chance", "fault", "excerpt"]), inner)
    ),
    max_leaves=14,
)


@settings(max_examples=30)
@given(JSON, st.sampled_from(("faults", "places")))
def test_any_reply_is_read_and_what_is_found_are_places(reply: object, key: str) -> None:
    for raw in (json.dumps(reply), json.dumps({key: reply}), json.dumps({key: [reply]}), f'"{key}"' + json.dumps(reply)):
        for voice in voices(Judgement("x", 1, JudgementStatus.OK, raw_reply=raw)):
            assert 0 <= voice.start < voice.end
            assert voice.probability is None or 0 <= voice.probability <= 1


def test_a_reply_that_is_nested_without_end_has_no_places() -> None:
    for name in ("faults", "places"):
        assert voices(Judgement("x", 1, JudgementStatus.OK, raw_reply="[" * 100_000 + f'"{name}"')) == ()


def key(voice: Voice) -> tuple[object, ...]:
    return voice.judge_id, voice.start, voice.end, voice.probability, voice.kind or ""


@settings(max_examples=30)
@given(REPLIES, st.integers(0, 40), st.randoms())
def test_places_are_apart_in_order_and_every_suspicion_within_the_text_stands_in_one(
    replies: list[list[SuspectedFault]], length: int, draw: random.Random
) -> None:
    judgements = [said(f"j{number}", *told) for number, told in enumerate(replies)]
    places = merge(judgements, length)
    assert all(one.end <= other.start for one, other in pairwise(places))
    assert all(0 <= place.start < place.end <= length for place in places)
    heard = {key(voice) for judgement in judgements for voice in voices(judgement) if voice.end <= length}
    assert sorted(key(voice) for place in places for voice in place.voices) == sorted(heard)
    for place in places:
        assert (place.voices[0].start, place.voices[0].end) == (place.start, place.end)
        assert place.probability == max(voice.probability or 0 for voice in place.voices) == place.voices[0].probability
        assert all(voice.start < place.end and place.start < voice.end for voice in place.voices)
    shuffled = list(judgements)
    draw.shuffle(shuffled)
    assert merge(shuffled, length) == places


ANSWERS = st.lists(st.tuples(st.sampled_from(["林", "吴"]), st.sampled_from(list(AnswerKind)), SPANS), max_size=8)


@settings(max_examples=30)
@given(REPLIES, ANSWERS, st.randoms())
def test_every_standing_answer_stands_on_one_place_and_rejections_make_none(
    replies: list[list[SuspectedFault]], log: list[tuple[str, AnswerKind, tuple[int, int]]], draw: random.Random
) -> None:
    given_ = [
        answer(number, kind, *span, author, retracts=number - 1 if kind is AnswerKind.UNDO else None)
        for number, (author, kind, span) in enumerate(log, 1)
    ]
    stood = standing(given_)
    draw.shuffle(given_)
    assert standing(given_) == stood  # the ids order them
    assert len({(one.author, one.start, one.end) for one in stood}) == len(stood)
    assert not {one.id + 1 for one in stood} & {one.id for one in given_ if one.answer is AnswerKind.UNDO}
    places = merge([said(f"j{number}", *told) for number, told in enumerate(replies)], 40)
    found = answered(places, stood)
    kept = [one.id for place in found for one in place.answers]
    assert len(kept) == len(set(kept))
    lost = {one.id for one in stood} - set(kept)
    assert all(one.answer is AnswerKind.REJECT for one in stood if one.id in lost)
    assert [place.voices for place in found if place.voices] == [place.voices for place in places]
    for place in found:
        for author in ("林", "吴"):
            own = place.answer_of(author)
            assert place.weight(author) == (place.weight() if own is None else float(own.answer is not AnswerKind.REJECT))
    assert per_hundred(found, 50) == pytest.approx(2 * sum(place.weight() for place in found))


def test_a_place_that_people_alone_mark_is_named_as_they_name_it_and_an_empty_text_has_no_rate() -> None:
    (place,) = answered((), [replace(answer(1, AnswerKind.MISSED, 2, 4), kind=MarkKind.TYPO), answer(2, AnswerKind.CONFIRM, 2, 4, "吴")])
    assert (place.kind, place.names["en"], place.probability, place.weight()) == (MarkKind.TYPO, "wrong character", None, 1.0)
    assert answered((), [answer(1, AnswerKind.MISSED, 2, 4)])[0].names == {"zh": "疑似错误", "en": "suspected fault"}
    assert per_hundred((), 0) == 0.0
