"""From what a server says of tokens to a distribution over labels: exact where it says all, floored and told where it does not."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.judging.server.scoring import LabelScores, is_blank, score_labels
from core.judging.server.wire import CHAT, COMPLETIONS, Position, read_reply

LABELS = (1, 2, 3, 4, 5)
SPELLINGS = {label: str(label) for label in LABELS}
WRITTEN = ("{}", "Ġ{}", "▁{}", " {}", "{}Ċ", "{}\n", "<0x20>{}", "{}<0x0A>", "ĉ{}", "{}č")
CHANCES = st.lists(st.floats(1e-6, 1), min_size=5, max_size=5)


def scored(tokens: dict[str, float], **named: Any) -> LabelScores:
    found = score_labels(Position({token: math.log(chance) for token, chance in tokens.items()}), SPELLINGS, **named)
    assert found is not None
    return found


@given(CHANCES, st.floats(0, 1), st.permutations(LABELS))
def test_a_server_that_names_every_label_is_taken_at_its_word(raw: list[float], others: float, order: Sequence[int]) -> None:
    total = sum(raw) + others
    chances = {str(label): raw[label - 1] / total for label in order} | ({"好": others / total} if others else {})
    found = scored(chances)
    assert found.floored == ()
    assert found.mass == pytest.approx(sum(raw) / total)
    assert found.probabilities(LABELS) == pytest.approx({label: raw[label - 1] / sum(raw) for label in LABELS})


@pytest.mark.parametrize("form", WRITTEN)
def test_a_label_with_blanks_around_it_counts_for_it_and_adds_up(form: str) -> None:
    tokens = {"5": 0.3, "4": 0.2, "3": 0.1, "2": 0.1, "1": 0.1} | ({form.format(5): 0.1} if form != "{}" else {})
    found = scored(tokens).probabilities(LABELS)
    wanted = 0.4 if form != "{}" else 0.3
    assert found[5] == pytest.approx(wanted / (wanted + 0.5))
    # A label known by its very token: what else writes it is another token.
    assert scored(tokens, exact=True).probabilities(LABELS)[5] == pytest.approx(0.3 / 0.8)


@pytest.mark.parametrize("token", ["15", "5.", "5分", "五", "５", "-5", "", "Ġ", "5 5"])
def test_what_only_looks_like_a_label_is_none(token: str) -> None:
    found = scored({token: 0.5, "4": 0.1})
    assert 5 in found.floored
    assert found.mass == pytest.approx(0.1)


@given(CHANCES, st.sets(st.sampled_from(LABELS), min_size=1, max_size=4), st.floats(1e-6, 1))
def test_labels_that_were_not_named_stay_below_all_that_were(raw: list[float], named: set[int], other: float) -> None:
    """The server gave its likeliest tokens, so what it left out is no likelier than the least of them, nor than what they leave."""
    total = sum(raw) + other
    tokens = {str(label): raw[label - 1] / total for label in named} | {"好": other / total}
    found = scored(tokens)
    assert found.floored == tuple(label for label in LABELS if label not in named)
    floors = [math.exp(found.log_probabilities[label - 1]) for label in found.floored]
    assert max(floors) < min(tokens.values())
    assert sum(floors) <= max(1 - sum(tokens.values()), 1e-9) * 1.000001 + 1e-12
    assert found.mass == pytest.approx(sum(tokens[str(label)] for label in named))
    shares = found.probabilities(LABELS)
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0 or max(raw) / min(raw) > 1e5


def test_where_sampling_kept_some_tokens_what_they_leave_says_nothing() -> None:
    tokens = {"5": 0.6, "4": 0.4}  # normalized among themselves: they leave nothing
    assert math.exp(scored(tokens, whole=False).log_probabilities[0]) == pytest.approx(0.4 / math.e)
    assert math.exp(scored(tokens, whole=True).log_probabilities[0]) == pytest.approx(1e-9 / 3)


@pytest.mark.parametrize("logit", [-9_999.0, -745.5, 0.0, 1e-6, 30.0, 800.0, 1e9])
def test_values_of_any_size_give_a_distribution(logit: float) -> None:
    """OpenAI writes -9999 for "hardly ever"; a server started with raw_logits gives numbers that are no log-probabilities."""
    found = score_labels(Position({"5": logit, "4": logit - 1.0, "好": logit - 5}), SPELLINGS)
    assert found is not None
    shares = found.probabilities(LABELS)
    assert shares[5] / shares[4] == pytest.approx(math.e)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(math.isfinite(share) for share in shares.values())
    assert 0 <= found.mass <= 1
    json.loads(found.raw(LABELS))


def test_no_label_at_all_is_no_score() -> None:
    assert score_labels(Position({"好": -0.1}), SPELLINGS) is None
    assert score_labels(Position({}), SPELLINGS) is None
    assert score_labels(Position({"Ġ5": -0.1}), SPELLINGS, exact=True) is None


def test_the_raw_reply_tells_floors_and_a_small_mass_only_where_there_are_any() -> None:
    assert set(json.loads(scored(dict.fromkeys(SPELLINGS.values(), 0.2)).raw(LABELS))) == {"logprobs"}
    told = json.loads(scored({"5": 0.2, "好": 0.7}).raw(LABELS))
    assert (told["floored"], told["mass"]) == ([1, 2, 3, 4], 0.2)


@pytest.mark.parametrize(
    ("token", "blank"), [("Ċ", True), ("ĊĊ", True), ("Ġ", True), ("▁", True), ("<0x0A>", True), (" \n", True), ("5", False), ("Ġ5", False)]
)
def test_blanks_are_known_in_every_vocabularys_writing(token: str, blank: bool) -> None:
    assert is_blank(token) is blank


# Replies


def chat(*places: object, **choice: object) -> bytes:
    return json.dumps({"choices": [{"logprobs": {"content": list(places)}, **choice}]}).encode()


def test_a_token_that_is_named_twice_keeps_its_larger_chance_and_what_is_no_number_is_left_out() -> None:
    top = [
        {"token": "5", "logprob": -2.0},
        {"token": "4", "logprob": None},
        {"token": "3", "logprob": -1.0},
        {"token": "", "logprob": -1.0},
    ]
    reply = read_reply(CHAT, chat({"token": "5", "logprob": -0.5, "top_logprobs": top}))
    assert reply.positions == (Position({"5": -0.5, "3": -1.0}),)
    assert reply.positions[0].best == "5"
    assert read_reply(CHAT, chat({"token": "5"}, {"token": "", "logprob": 0.0})).positions == ()
    infinite = b'{"choices": [{"logprobs": {"content": [{"token": "5", "logprob": -1e999}, {"token": "4", "logprob": -1}]}}]}'
    assert read_reply(CHAT, infinite).positions == (Position({"4": -1.0}),)


def test_the_least_that_services_answer_is_read() -> None:
    for body in ('{"choices": [{}]}', '{"choices": [{"message": {"content": null}, "logprobs": null, "finish_reason": null}], "usage": null}',
                 '{"choices": [{"logprobs": {"content": null}}], "usage": {}, "x": 1}'):  # fmt: skip
        reply = read_reply(CHAT, body.encode())
        assert (reply.positions, reply.text, reply.refusal, reply.finish_reason, reply.prompt_tokens) == ((), "", "", "", 0)
    refused = read_reply(
        CHAT, b'{"choices": [{"message": {"refusal": "No."}, "finish_reason": "content_filter"}], "usage": {"prompt_tokens": 7}}'
    )
    assert (refused.refusal, refused.finish_reason, refused.prompt_tokens) == ("No.", "content_filter", 7)


def test_a_completion_is_read_with_and_without_other_tokens() -> None:
    logprobs: dict[str, object] = {"tokens": ["token_id:5"], "token_logprobs": [-0.5]}
    bare = json.dumps({"choices": [{"text": "5", "logprobs": logprobs}]}).encode()
    assert read_reply(COMPLETIONS, bare).positions == (Position({"token_id:5": -0.5}),)
    logprobs["top_logprobs"] = [{"token_id:4": -1.5}]
    full = json.dumps({"choices": [{"logprobs": logprobs, "finish_reason": "length"}], "usage": {"prompt_tokens": 9}}).encode()
    assert read_reply(COMPLETIONS, full).positions == (Position({"token_id:5": -0.5, "token_id:4": -1.5}),)
    assert read_reply(COMPLETIONS, full).prompt_tokens == 9
    assert read_reply(COMPLETIONS, b'{"choices": [{"text": "hm"}]}').positions == ()


NAMES = st.sampled_from(
    ["choices", "logprobs", "content", "token", "logprob", "top_logprobs", "tokens", "token_logprobs", "usage", "message", "text"]
)
JSON = st.recursive(
    st.none() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.sampled_from((CHAT, COMPLETIONS)), st.binary(max_size=3))
def test_any_body_is_read_or_told_as_no_answer(body: object, path: str, tail: bytes) -> None:
    for content in (json.dumps(body).encode() + tail, json.dumps({"choices": [body]}).encode(), tail):
        try:
            reply = read_reply(path, content)
        except ValidationError as error:
            assert error.errors()[0]["msg"]
        else:
            assert all(position.tokens for position in reply.positions)
