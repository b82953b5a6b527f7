"""Servers fail in every way that servers fail, and rows, order and the run survive it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from core.errors import JudgeError, JudgeUnavailable
from core.judging.server import server_is_up
from core.types import Judgement, JudgementStatus, JudgeSpec, said
from tests.judging.server.conftest import Maker, request, requests_of
from tests.judging.server.engines import drop, garbage, serving, slow, status

OK = JudgementStatus.OK


@pytest.mark.parametrize(
    "fault", [status(500), status(502), status(503), status(409), status(429), drop], ids=lambda fault: fault.__qualname__
)
def test_what_passes_is_tried_again(fault: object, judge_of: Maker) -> None:
    with serving("lmdeploy-pytorch") as server:
        judge = judge_of(server)
        server.faults = [fault, fault, fault]  # type: ignore[list-item]
        answers = list(judge.judge(requests_of(9)))
    assert [answer.item_id for answer in answers] == list(range(1, 10))
    assert all(answer.status is OK for answer in answers)


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honoured(date: bool, judge_of: Maker) -> None:
    with serving("openai") as server:
        judge = judge_of(server)
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if date else "1.0"
        server.faults = [status(429, "slow down", Retry_After=value)]
        begun = time.monotonic()
        (answer,) = judge.judge([request("错")])
    assert answer.status is OK
    assert time.monotonic() - begun >= 0.9


def test_a_server_that_goes_on_turning_away_pauses_the_run(judge_of: Maker) -> None:
    with serving("openai") as server:
        judge = judge_of(server, retries=2)
        server.fault_when = lambda body: status(429, "quota")
        with pytest.raises(JudgeUnavailable, match=r"turns requests away \(HTTP 429: quota\)\. Lower `concurrency`"):
            list(judge.judge(requests_of(2)))


def test_a_slow_answer_is_waited_for_only_so_long_and_asked_again(judge_of: Maker) -> None:
    with serving("vllm") as server:
        judge = judge_of(server, timeout=0.5)
        server.faults = [slow(1.5)]
        begun = time.monotonic()
        (answer,) = judge.judge([request("错")])
    assert answer.label == 4
    assert time.monotonic() - begun < 5


def test_a_row_that_the_server_breaks_on_fails_alone(judge_of: Maker) -> None:
    with serving("lmdeploy-pytorch") as server:
        judge = judge_of(server, retries=1)
        server.fault_when = lambda body: status(500, "CUDA error") if "毒" in body else None
        rows = [request("好", 1), request("毒", 2), request("错", 3)]
        answers = list(judge.judge(rows))
    assert [answer.status for answer in answers] == [OK, JudgementStatus.FAILED, OK]
    assert "CUDA error" in said(answers[1].error, "en")
    assert "answers other rows" in said(answers[1].error, "en")


def test_a_row_past_its_deadline_fails_alone(judge_of: Maker) -> None:
    with serving("vllm") as server:
        judge = judge_of(server, timeout=0.4, deadline=1.0, retries=10)
        server.fault_when = lambda body: slow(1.0) if "慢" in body else None
        begun = time.monotonic()
        first, second = judge.judge([request("慢", 1), request("错", 2)])
    assert first.status is JudgementStatus.FAILED
    assert "no answer within" in said(first.error, "en")
    assert second.status is OK
    assert time.monotonic() - begun < 6


def test_a_row_that_is_too_long_fails_with_what_to_change(judge_of: Maker) -> None:
    with serving("lmdeploy-pytorch", context=300) as server:
        short, long, last = judge_of(server).judge([request("好", 1), request("长" * 400, 2), request("错", 3)])
    assert (short.status, long.status, last.status) == (OK, JudgementStatus.FAILED, OK)
    assert "must be smaller than the model context length" in said(long.error, "en")
    assert "session_length" in said(long.error, "zh")


def test_an_answer_that_is_no_json_fails_the_row(judge_of: Maker) -> None:
    with serving("vllm") as server:
        judge = judge_of(server)
        server.faults = [garbage]
        (answer,) = judge.judge([request("错")])
    assert answer.status is JudgementStatus.FAILED
    assert "cannot be read" in said(answer.error, "en")


def test_a_server_that_goes_away_in_the_middle_pauses_and_goes_on_when_it_is_back(judge_of: Maker) -> None:
    rows = requests_of(40)
    with serving("lmdeploy-pytorch", delay=0.01) as server:
        judge = judge_of(server, retries=2, concurrency=2)
        answers: list[Judgement] = []

        def work() -> None:
            for answer in judge.judge(rows):
                answers.append(answer)
                if len(answers) == 5:
                    server.stop()

        with pytest.raises(JudgeUnavailable, match=r"cannot be reached"):
            work()
        assert 5 <= len(answers) < 40
        server.start()
        answers += list(judge.judge(rows[len(answers) :]))
    assert [answer.item_id for answer in answers] == list(range(1, 41))
    assert all(answer.status is OK for answer in answers)


def test_a_short_restart_is_bridged_by_the_retries(judge_of: Maker) -> None:
    with serving("vllm", delay=0.01) as server:
        judge = judge_of(server, retries=12)
        threading.Timer(0.1, server.stop).start()
        threading.Timer(1.0, server.start).start()
        answers = list(judge.judge(requests_of(60)))
    assert len(answers) == 60
    assert all(answer.status is OK for answer in answers)


def test_several_addresses_share_the_rows_and_one_may_go_away(judge_of: Maker) -> None:
    with serving("vllm") as one, serving("vllm") as two:
        judge = judge_of(one, two)
        before = len(one.asked), len(two.asked)
        answers = list(judge.judge(requests_of(20)))
        assert (len(one.asked) - before[0], len(two.asked) - before[1]) == (10, 10)
        two.stop()
        begun = time.monotonic()
        answers += list(judge.judge(requests_of(20)))
    assert all(answer.status is OK for answer in answers)
    assert len(answers) == 40
    assert time.monotonic() - begun < 5  # no back-off while the other one answers


def test_the_concurrency_limit_is_kept_and_used(judge_of: Maker) -> None:
    with serving("vllm", delay=0.02) as server:
        judge = judge_of(server, concurrency=6)
        begun = time.monotonic()
        list(judge.judge(requests_of(60)))
    assert server.most_at_once == 6
    assert time.monotonic() - begun < 60 * 0.02


def test_leaving_early_asks_for_no_more_than_is_in_flight(judge_of: Maker) -> None:
    with serving("vllm", delay=0.02) as server:
        judge = judge_of(server, concurrency=2)
        stream = judge.judge(requests_of(200))
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
        time.sleep(0.3)
        assert len(server.asked) < 20


def test_closing_does_not_wait_for_what_is_in_flight(judge_of: Maker) -> None:
    with serving("vllm") as server:
        judge = judge_of(server, concurrency=2)
        server.fault_when = lambda body: slow(3) if "第1段" not in body else None
        stream = judge.judge(requests_of(4))
        next(iter(stream))
        begun = time.monotonic()
        stream.close()  # type: ignore[attr-defined]
        judge.close()
        assert time.monotonic() - begun < 1


# Before the first row


def test_no_server_at_all_is_unavailable_with_the_address(judge_of: Maker) -> None:
    with serving("vllm") as server:
        pass
    with pytest.raises(
        JudgeUnavailable, match=rf"127\.0\.0\.1:{server.port}/v1 cannot be reached .*Start the server, or correct base_url"
    ) as caught:
        judge_of(server, retries=0)
    assert "连接不上" in caught.value.messages["zh"]


def test_an_unknown_model_is_told_with_those_there_are(judge_of: Maker) -> None:
    said = r"serves no model 'qwen'; it serves: glm-4, glm-fluency"
    with serving("lmdeploy-pytorch", model="glm-4", adapters=("glm-fluency",)) as server, pytest.raises(JudgeError, match=said):
        judge_of(server, model="qwen")


def test_lmdeploy_without_logprobs_mode_is_told_with_the_flag(judge_of: Maker) -> None:
    with serving("lmdeploy-pytorch", logprobs_mode=None) as server, pytest.raises(JudgeError, match=r"--logprobs-mode raw_logprobs"):
        judge_of(server)


def test_a_key_comes_from_the_environment_and_a_wrong_one_is_told(judge_of: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLM_KEY", raising=False)
    with serving("vllm", key="right") as server:
        with pytest.raises(JudgeError, match=r"GLM_KEY is not set"):
            judge_of(server, api_key_env="GLM_KEY")
        monkeypatch.setenv("GLM_KEY", "wrong")
        with pytest.raises(JudgeUnavailable, match=r"does not accept the key .*GLM_KEY"):
            judge_of(server, api_key_env="GLM_KEY")
        monkeypatch.setenv("GLM_KEY", "right")
        (answer,) = judge_of(server, api_key_env="GLM_KEY").judge([request("错")])
    assert answer.label == 4


def test_something_else_at_the_address_is_told(judge_of: Maker) -> None:
    with serving("vllm") as server, pytest.raises(JudgeError, match=r"serves no model|cannot be reached|does not know"):
        judge_of(server, base_url=f"{server.url}/other")


def test_the_server_is_up_only_when_it_is_healthy_and_serves_the_model() -> None:
    def spec(url: str, model: str = "judge", engine: str = "vllm") -> JudgeSpec:
        return JudgeSpec("glm", "GLM", "server", {"base_url": url, "model": model, "engine": engine})

    with serving("vllm") as server:
        assert server_is_up(spec(server.url))
        assert not server_is_up(spec(server.url, "other"))
        server.healthy = False
        assert not server_is_up(spec(server.url))
    assert not server_is_up(spec(server.url))
    assert not server_is_up(JudgeSpec("glm", "GLM", "server", {}))
