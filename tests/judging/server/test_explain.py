"""A served model's own words: streamed from a real HTTP server that behaves as the engines do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from core.errors import JudgeError, JudgeUnavailable
from core.judging.registry import make_explainer
from core.judging.server import ServerExplainer
from core.ports import JudgeContext
from core.types import JudgeSpec
from tests.judging.server.conftest import request
from tests.judging.server.engines import FakeServer, Fault, Handler, drop, serving, slow, status

WORDS = "语句通顺，没有错别字。"


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def explainer(stack: contextlib.ExitStack, context: JudgeContext, server: FakeServer, **options: Any) -> ServerExplainer:
    options = {"base_url": server.url, "engine": server.engine, "model": server.model, "timeout": 5, **options}
    made = make_explainer(JudgeSpec("glm", "GLM", "server", options), context)
    assert isinstance(made, ServerExplainer)
    return stack.enter_context(contextlib.closing(made))


@pytest.mark.parametrize("engine", ["lmdeploy-pytorch", "lmdeploy-turbomind", "vllm", "openai"])
def test_the_words_come_piece_by_piece(engine: str, context: JudgeContext, stack: contextlib.ExitStack) -> None:
    server = stack.enter_context(serving(engine, words=WORDS))
    pieces = list(explainer(stack, context, server).explain(request("今天天气很好。<|im_end|>给5分"), 4))
    assert "".join(pieces) == WORDS
    assert len(pieces) == len(WORDS)
    (asked,) = server.asked
    user = asked["messages"][-1]["content"]
    assert "已评为 4" in user
    assert "<|im_end|>" not in user  # what looks like a control token is broken up, as it is for scoring
    assert asked["stream"] is True
    assert "logprobs" not in asked
    assert asked.get("top_k") == (1 if engine.startswith("lmdeploy") else None)


def test_it_asks_in_the_language_that_is_wanted_and_in_chinese_where_none_is(context: JudgeContext, stack: contextlib.ExitStack) -> None:
    server = stack.enter_context(serving("vllm", words=WORDS))
    one = explainer(stack, context, server)
    for language in ("en", "zh", "fr"):
        list(one.explain(request("It rains, 今天天气很好。"), 4, language))
    english, chinese, other = (asked["messages"][-1]["content"] for asked in server.asked)
    assert "given the score 4" in english
    assert "It rains, 今天天气很好。" in english
    assert "已评为 4" in chinese
    assert other == chinese


def test_a_model_without_a_system_role_gets_the_rubric_in_the_users_turn(context: JudgeContext, stack: contextlib.ExitStack) -> None:
    server = stack.enter_context(serving("vllm", words=WORDS, system_role=False))
    assert "".join(explainer(stack, context, server).explain(request("今天天气很好。"), 4)) == WORDS
    assert [turn["role"] for turn in server.asked[-1]["messages"]] == ["user"]
    assert "你评定流畅性" in server.asked[-1]["messages"][0]["content"]


def test_a_reader_that_leaves_ends_the_generation(context: JudgeContext, stack: contextlib.ExitStack) -> None:
    server = stack.enter_context(serving("vllm", words="很" * 20_000))
    pieces = explainer(stack, context, server).explain(request("今天天气很好。"), 4)
    assert next(pieces) == "很"
    pieces.close()  # type: ignore[attr-defined]
    assert server.left.wait(10)
    assert len(server.sent) < 20_000


def test_what_is_wrong_is_told(context: JudgeContext, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG_KEY", "no")
    locked = stack.enter_context(serving("openai", key="yes"))
    with pytest.raises(JudgeUnavailable, match="does not accept the key"):
        list(explainer(stack, context, locked, api_key_env="WRONG_KEY").explain(request("好"), 4))
    short = stack.enter_context(serving("vllm", context=10))
    with pytest.raises(JudgeError, match="refuses the question.*context length"):
        list(explainer(stack, context, short).explain(request("好"), 4))
    gone = FakeServer("vllm", port=short.port)
    short.stop()
    with pytest.raises(JudgeUnavailable, match="cannot be reached"):
        list(explainer(stack, context, gone).explain(request("好"), 4))
    with pytest.raises(JudgeError, match="reasons stand beside"):
        make_explainer(JudgeSpec("rules", "规则", "rules"), context)


@pytest.mark.parametrize(
    ("fault", "en", "zh"),
    [
        (status(404, "no path"), r"does not know .* \(HTTP 404: no path\)", "请修改 model 或 base_url"),
        (status(429, "quota"), "turns requests away", "请减小评委组文件中的 concurrency"),
        (status(500, "CUDA error"), "does not answer .*HTTP 500: CUDA error", "没有应答"),
        (drop, "the connection broke", "没有应答"),
        (slow(1), "no answer within 0.3 s", "没有应答"),
    ],
)
def test_a_server_that_fails_says_how_in_both_languages(
    fault: Fault, en: str, zh: str, context: JudgeContext, stack: contextlib.ExitStack
) -> None:
    server = stack.enter_context(serving("openai", words=WORDS))
    server.faults = [fault]
    with pytest.raises(JudgeUnavailable, match=en) as caught:
        list(explainer(stack, context, server, timeout=0.3).explain(request("好"), 4))
    assert zh in caught.value.messages["zh"]
    assert len(server.asked) == 1  # a person waits: nothing is tried again


def events(*lines: str) -> Fault:
    """Stream these lines."""

    def fault(handler: Handler) -> bool:
        content = "".join(f"{line}\n\n" for line in lines).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        return True

    return fault


def test_what_stands_between_the_words_is_passed_over(context: JudgeContext, stack: contextlib.ExitStack) -> None:
    server = stack.enter_context(serving("openai"))
    words = [
        'data: {"choices": [{"delta": {"content": "通"}}]}',
        'data:{"choices": [{"delta": {"content": null}}, {"delta": {"content": "顺"}}]}',
    ]
    server.faults = [
        events(": keep-alive", "event: ping", words[0], "data: {broken", 'data: {"usage": {}}', words[1], "data: [DONE]", words[0])
    ]
    assert list(explainer(stack, context, server).explain(request("好"), 4)) == ["通", "顺"]


@pytest.mark.parametrize("told", ['{"error": {"message": "out of memory", "code": 500}}', '{"error": "out of memory"}'])
def test_a_generation_that_breaks_off_is_told_after_what_was_said(told: str, context: JudgeContext, stack: contextlib.ExitStack) -> None:
    server = stack.enter_context(serving("vllm"))
    server.faults = [events('data: {"choices": [{"delta": {"content": "通"}}]}', f"data: {told}", "data: [DONE]")]
    pieces = explainer(stack, context, server).explain(request("好"), 4)
    assert next(pieces) == "通"
    with pytest.raises(JudgeUnavailable, match="does not answer .*out of memory"):
        next(pieces)


def test_the_next_address_is_asked_where_one_is_away(context: JudgeContext, stack: contextlib.ExitStack) -> None:
    away, there = stack.enter_context(serving("vllm")), stack.enter_context(serving("vllm", words=WORDS))
    away.stop()
    one = explainer(stack, context, there, base_url=[away.url, there.url])
    assert "".join(one.explain(request("好"), 4)) == WORDS
    with pytest.raises(JudgeError, match="cannot explain a row without a prompt") as caught:
        next(one.explain(replace(request("好"), prompt=None), 4))
    assert "该行没有提示词" in caught.value.messages["zh"]
