"""Each engine's own way of giving log-probabilities comes out as the same distribution over the labels."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from core.errors import JudgeError, PanelError
from core.types import JudgementStatus, said
from tests.judging.server.conftest import WIDE, Maker, request, requests_of
from tests.judging.server.engines import serving

ENGINES = ("lmdeploy-pytorch", "lmdeploy-turbomind", "vllm", "openai")


def expected(wanted: int) -> dict[int, float]:
    weights = {label: math.exp(-1.5 * abs(label - wanted)) + 1e-4 * math.exp(-abs(label - wanted)) for label in range(1, 6)}
    total = sum(weights.values())
    return {label: value / total for label, value in weights.items()}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_models_distribution_in_order(engine: str, judge_of: Maker) -> None:
    with serving(engine) as server:
        answers = list(judge_of(server).judge(requests_of(23)))
    assert [answer.item_id for answer in answers] == list(range(1, 24))
    for answer in answers:
        wanted = 5 - answer.item_id % 5
        assert answer.status is JudgementStatus.OK
        assert answer.label == wanted
        assert answer.probabilities == pytest.approx(expected(wanted), abs=2e-3)
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert answer.tokens > 0
        assert answer.latency_ms > 0
        assert answer.rationale == {}


@pytest.mark.parametrize("engine", ENGINES)
def test_one_request_a_row_and_nothing_that_changes_the_distribution(engine: str, judge_of: Maker) -> None:
    with serving(engine) as server:
        judge = judge_of(server)
        before = len(server.asked)
        list(judge.judge(requests_of(6)))
        asked = server.asked[before:]
    assert len(asked) == 6
    for body in asked:
        assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 20)
        assert [turn["role"] for turn in body["messages"]] == ["system", "user"]
        if engine == "lmdeploy-turbomind":
            assert (body["temperature"], body["top_k"], body["top_p"], body["repetition_penalty"]) == (1, 20, 1, 1)
        elif engine == "lmdeploy-pytorch":
            # temperature 0 would write a warning for every row into the server's log
            assert (body["temperature"], body["top_k"], body["ignore_eos"]) == (1, 1, True)
        else:
            assert body["temperature"] == 0
        assert ("chat_template_kwargs" in body) == (engine != "openai")


def test_the_sampled_token_is_taken_from_content_where_lmdeploy_leaves_it_out(judge_of: Maker) -> None:
    """Twenty asked for are nineteen and the sampled one: without it the likeliest label would be lost."""
    with serving("lmdeploy-pytorch") as server:
        (answer,) = judge_of(server).judge([request("一段没有毛病的文字。")])
    assert answer.label == 5
    assert answer.probabilities[5] > 0.7
    assert set(json.loads(answer.raw_reply)["logprobs"]) == {"1", "2", "3", "4", "5"}


@pytest.mark.parametrize("engine", ["lmdeploy-pytorch", "vllm", "openai"])
def test_a_line_end_before_the_answer_is_passed_over(engine: str, judge_of: Maker) -> None:
    with serving(engine, newline_first=True) as server:
        judge = judge_of(server)
        before = len(server.asked)
        answers = list(judge.judge(requests_of(5)))
        assert {body["max_tokens"] for body in server.asked[before:]} == {2}
    assert [answer.label for answer in answers] == [4, 3, 2, 1, 5]
    assert answers[0].probabilities == pytest.approx(expected(4), abs=2e-3)


def test_a_line_end_that_only_some_rows_begin_with_is_asked_over(judge_of: Maker) -> None:
    with serving("vllm") as server:
        judge = judge_of(server)
        server.newline_first = True
        assert [answer.label for answer in judge.judge(requests_of(3))] == [4, 3, 2]


@pytest.mark.parametrize("engine", ["lmdeploy-pytorch", "vllm"])
def test_a_model_without_a_system_role_gets_the_rubric_in_the_users_turn(engine: str, judge_of: Maker) -> None:
    with serving(engine, system_role=False) as server:
        judge = judge_of(server)
        (answer,) = judge.judge([request("错错", system="评分标准如下。")])
        (turn,) = server.asked[-1]["messages"]
    assert answer.label == 3
    assert turn["role"] == "user"
    assert turn["content"].startswith("评分标准如下。\n\n文本：错错")


def test_a_panel_may_say_where_the_rubric_goes(judge_of: Maker) -> None:
    with serving("vllm", system_role=False) as server:
        with pytest.raises(JudgeError, match="System role not supported"):
            judge_of(server, system_role="system")
        judge_of(server, system_role="user")
        assert all(turn["role"] == "user" for turn in server.asked[-1]["messages"])


def test_labels_that_the_server_does_not_name_get_a_floor_and_a_flag(judge_of: Maker) -> None:
    chances = {"5": 0.5, "4": 0.3} | {f"词{number}": 0.2 / 30 for number in range(30)}
    with serving("lmdeploy-pytorch", weights=lambda text: chances) as server:
        (answer,) = judge_of(server).judge([request("文")])
    assert answer.status is JudgementStatus.OK
    assert answer.label == 5
    least = 0.2 / 30
    assert 0 < answer.probabilities[1] == answer.probabilities[2] == answer.probabilities[3] < least / 0.8
    raw = json.loads(answer.raw_reply)
    assert raw["floored"] == [1, 2, 3]
    assert raw["logprobs"]["1"] < math.log(least)
    assert "标签 1、2、3 不在服务返回的词元之中" in said(answer.rationale, "zh")


def test_a_scale_with_little_of_the_probability_is_told(judge_of: Maker) -> None:
    with serving("vllm", weights=lambda text: {"好": 0.9, "5": 0.06, "4": 0.04}) as server:
        (answer,) = judge_of(server).judge([request("文")])
    assert answer.probabilities[5] == pytest.approx(0.6, abs=0.03)
    assert "只占模型概率的 10.0%" in said(answer.rationale, "zh")
    assert "have 10.0%" in said(answer.rationale, "en")


def test_no_label_among_the_tokens_is_off_the_menu_with_what_the_model_says(judge_of: Maker) -> None:
    with serving(
        "lmdeploy-pytorch", weights=lambda text: {"好": 0.7, "的": 0.3} if "怪" in text else {"5": 1.0}, words="这段话写得好"
    ) as server:
        first, second = judge_of(server).judge([request("怪", 1), request("平常", 2)])
    assert first.status is JudgementStatus.OFF_MENU
    assert first.probabilities == {}
    assert first.label is None
    assert json.loads(first.raw_reply) == {"text": "这段话写得好", "token": "好"}
    assert second.status is JudgementStatus.OK


@pytest.mark.parametrize("words", ["抱歉，我无法评价这段内容。", "I'm sorry, but I can't help with that."])
def test_a_refusal_is_told_apart(words: str, judge_of: Maker) -> None:
    with serving("vllm", weights=lambda text: {"好": 1.0} if "怪" in text else {"5": 1.0}, words=words) as server:
        (answer,) = judge_of(server).judge([request("怪")])
    assert answer.status is JudgementStatus.REFUSED
    assert words in json.loads(answer.raw_reply)["text"]


def test_an_answer_that_ends_at_once_is_still_scored_on_lmdeploy(judge_of: Maker) -> None:
    """lmdeploy gives no log-probabilities for a row whose first token ends the answer, unless it ignores the end."""
    with serving("lmdeploy-pytorch") as server:
        judge = judge_of(server)
        server.stops_at_once = True
        (answer,) = judge.judge([request("文")])
    assert answer.status is JudgementStatus.OK
    assert answer.label == 5


@pytest.mark.parametrize("engine", ["lmdeploy-pytorch", "vllm"])
def test_an_adapter_is_asked_for_by_its_name(engine: str, judge_of: Maker) -> None:
    with serving(engine, model="qwen-base", adapters=("qwen-fluency",)) as server:
        (answer,) = judge_of(server, model="qwen-fluency").judge([request("错")])
        assert server.asked[-1]["model"] == "qwen-fluency"
    assert answer.label == 4


def test_labels_of_several_characters_make_the_judge_abstain_with_the_reason(judge_of: Maker) -> None:
    with serving("vllm") as server:
        (answer,) = judge_of(server).judge([request("文", dimension=WIDE)])
    assert answer.status is JudgementStatus.ABSTAINED
    assert "tokenizer" in said(answer.error, "zh")


def test_a_request_without_a_prompt_fails_alone(judge_of: Maker) -> None:
    from dataclasses import replace

    rows = requests_of(3)
    with serving("vllm") as server:
        answers = list(judge_of(server).judge([rows[0], replace(rows[1], prompt=None), rows[2]]))
    assert [answer.status.value for answer in answers] == ["ok", "failed", "ok"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base_url": "127.0.0.1:23333"}, "write http://host:port"),
        ({"engine": "tgi"}, "lmdeploy-pytorch"),
        ({"tokenizer": "Qwen/Qwen2-7B-Instruct"}, "tokenizer needs the engine"),
        ({"concurrency": 0}, "concurrency"),
        ({"modell": "x"}, "modell"),
        ({"base_url": []}, "base_url is missing"),
    ],
)
def test_wrong_options_are_told_together_with_the_known_ones(options: dict[str, Any], said: str, judge_of: Maker) -> None:
    with serving("openai") as server, pytest.raises(PanelError) as caught:
        judge_of(server, **options)
    assert said in str(caught.value)
    assert "known: base_url, model, engine" in str(caught.value)
