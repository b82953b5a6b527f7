"""A served model's own words: streamed from a real HTTP server that behaves as the engines do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from core.errors import JudgeError, JudgeUnavailable
from core.judging.registry import make_explainer
from core.judging.server import ServerExplainer
from core.ports import JudgeContext
from core.types import JudgeSpec
from tests.judging.server.conftest import request
from tests.judging.server.engines import FakeServer, serving

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
