"""What is made of a server's status, headers and address, before any judgement depends on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import JudgeError, JudgeUnavailable, PanelError
from core.judging.server.client import make_client, retry_after, server_message
from core.judging.server.options import api_address, read_options
from core.judging.server.wire import Turn, ask_ids, ask_messages, ask_words
from core.judging.serving.options import Engine
from core.types import JudgementStatus, said
from tests.judging.server.conftest import Maker, request, requests_of
from tests.judging.server.engines import FakeServer, Fault, Handler, garbage, serving, status

OPTIONS = {"model": "m", "base_url": "http://127.0.0.1:1"}


def answer(code: int, content: bytes = b"", **headers: str) -> httpx.Response:
    return httpx.Response(code, content=content, headers=headers, request=httpx.Request("POST", "http://h/v1"))


# Addresses


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://127.0.0.1:23333", "http://127.0.0.1:23333/v1"),
        (" http://127.0.0.1:23333/ ", "http://127.0.0.1:23333/v1"),
        ("https://host/v1/", "https://host/v1"),
        ("https://host/api/paas/v4?key=x#top", "https://host/api/paas/v4"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ("http://评判.example", "http://评判.example/v1"),
    ],
)
def test_an_address_is_the_apis_root_however_it_is_written(written: str, meant: str) -> None:
    assert api_address(written) == api_address(meant) == meant


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://h",
        "http://",
        "http://:80",
        "http://h:port",
        "http://h:70000",
        "http://[::1",
        "http://h:0",
        "http://a..b",
        "http://h\x00",
    ],
)
def test_what_no_server_can_stand_at_is_told_with_the_option(url: str) -> None:
    with pytest.raises(PanelError, match=r"base_url: Value error") as caught:
        read_options("glm", {**OPTIONS, "base_url": url})
    assert "请在评委组文件中改正" in caught.value.messages["zh"]


@given(st.text(max_size=20).map("http://{}".format) | st.text(max_size=12))
def test_an_address_that_is_taken_can_be_asked(url: str) -> None:
    try:
        address = api_address(url)
    except ValueError:
        return
    assert httpx.URL(f"{address}/models").host
    assert api_address(address) == address


def test_a_server_of_ones_own_is_asked_where_it_is_told_to_listen() -> None:
    for host, address in (("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("10.0.0.5", "10.0.0.5")):
        options = read_options("glm", {"model": "m", "engine": "vllm", "serve": {"model": "m", "host": host, "port": 8001}})
        assert options.addresses() == (f"http://{address}:8001/v1",)
    both = read_options("glm", {**OPTIONS, "engine": "vllm", "serve": {"model": "m"}})
    assert both.addresses() == ("http://127.0.0.1:1/v1",)
    with pytest.raises(PanelError, match="serve needs the engine"):
        read_options("glm", {**OPTIONS, "serve": {"model": "m"}})


@pytest.mark.parametrize(("url", "through"), [("http://192.168.1.7", False), ("https://example.org", True)])
def test_a_proxy_of_the_environment_is_for_addresses_elsewhere(url: str, through: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    key = "key" if through else ""
    with make_client(read_options("glm", {**OPTIONS, "base_url": url}), key) as client:
        assert client.trust_env is through
        assert client.headers.get("authorization", "") == ("Bearer key" if key else "")


# Headers and messages


@pytest.mark.parametrize(
    ("value", "seconds"), [("3", 3), ("0.5", 0.5), ("-4", 0), ("nan", 0), ("soon", None), ("", None), ("Wed, 99 Foo", None)]
)
def test_the_wait_that_a_server_asks_for(value: str, seconds: float | None) -> None:
    assert retry_after(answer(429, **{"retry-after": value})) == seconds
    assert retry_after(answer(429)) is None


def test_a_wait_until_a_date_is_what_is_left_of_it() -> None:
    now = datetime.now(UTC)
    left = retry_after(answer(503, **{"retry-after": format_datetime(now + timedelta(minutes=1), usegmt=True)}))
    assert left == pytest.approx(60, abs=5)
    assert retry_after(answer(503, **{"retry-after": format_datetime(now - timedelta(hours=1), usegmt=True)})) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"error": {"message": "too long", "code": 400}}', "too long"),
        (b'{"error": "no model"}', "no model"),
        (b'{"object": "error", "message": "lmdeploy says so"}', "lmdeploy says so"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"detail": [{"loc": ["body"], "msg": "field required"}]}', "field required"),
        (b"<html>\n  <h1>502   Bad</h1></html>", "<html> <h1>502 Bad</h1></html>"),
        (b"", "Bad Gateway"),
        (b"{}", "Bad Gateway"),
        (b'{"error": null}', "Bad Gateway"),
        (b"\xff\xfe" * 3, "�"),
    ],
)
def test_a_servers_own_words_are_found_in_every_form(content: bytes, message: str) -> None:
    assert message in server_message(answer(502, content))


@given(st.binary(max_size=60), st.integers(400, 599))
def test_any_error_has_words_of_bounded_length(content: bytes, code: int) -> None:
    assert len(server_message(answer(code, content * 20))) <= 400


# Requests


@pytest.mark.parametrize("engine", list(Engine))
def test_a_question_in_words_is_streamed_greedily_and_asks_for_no_probabilities(engine: Engine) -> None:
    body = httpx.Response(200, content=ask_words(engine, "m", [Turn(role="user", content="为什么？")], 64)).json()
    assert (body["stream"], body["max_tokens"], body["temperature"]) == (True, 64, 0.0)
    assert not {"logprobs", "top_logprobs", "ignore_eos"} & set(body)
    assert ("chat_template_kwargs" in body) == (engine is not Engine.OPENAI)


def test_nothing_is_sent_that_an_engine_does_not_know() -> None:
    """A strict service refuses unknown fields; a field that is None must not be sent as null."""
    turns = [Turn(role="user", content="好")]
    plain = httpx.Response(200, content=ask_messages(Engine.OPENAI, "m", turns, 1).body).json()
    assert set(plain) == {"model", "messages", "max_tokens", "temperature", "logprobs", "top_logprobs"}
    for engine in Engine:
        assert "null" not in ask_messages(engine, "m", turns, 1).body
    assert ask_ids(Engine.VLLM, "m", [1, 2], [7]).path == "completions"
    assert ask_ids(Engine.LMDEPLOY_PYTORCH, "m", [1, 2], [7]).path == "chat/completions"


# Before the first row, and in the middle


def odd(body: str, code: int = 200) -> Fault:
    def fault(handler: Handler) -> bool:
        content = body.encode()
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        return True

    return fault


@pytest.mark.parametrize(
    ("engine", "en", "zh"),
    [
        ("lmdeploy-pytorch", "--backend pytorch --logprobs-mode raw_logprobs", "请以 --backend pytorch"),
        ("lmdeploy-turbomind", "Is it the TurboMind engine", "请确认是 TurboMind 引擎"),
        ("vllm", "--max-logprobs 20", "--max-logprobs 20"),
        ("openai", "must support logprobs and top_logprobs", "必须支持 chat completions 的 logprobs"),
    ],
)
def test_a_server_without_probabilities_is_told_with_what_to_change_for_its_engine(engine: str, en: str, zh: str, judge_of: Maker) -> None:
    with serving(engine) as server:
        for fault, words, words_zh in (
            (odd('{"choices": [{"message": {"content": "5"}}]}'), "its answer has no log-probabilities", "回答中没有词元概率"),
            (status(400, "logprobs unsupported"), "HTTP 400: logprobs unsupported", "HTTP 400: logprobs unsupported"),
        ):
            server.faults = [fault] * 2
            with pytest.raises(JudgeError) as caught:
                judge_of(server)
            assert not isinstance(caught.value, JudgeUnavailable)
            assert en in caught.value.messages["en"]
            assert zh in caught.value.messages["zh"]
            assert f"({words})" in caught.value.messages["en"]
            assert f"（{words_zh}）" in caught.value.messages["zh"]


@pytest.mark.parametrize("body", ["<html>hello</html>", "[]", '{"choices": []}', '{"choices": null}'])
def test_a_page_that_is_no_api_is_told_and_not_tried_again(body: str, judge_of: Maker) -> None:
    with serving("vllm") as server:
        server.faults = [odd(body)]
        with pytest.raises(JudgeError, match="does not speak the OpenAI API") as caught:
            judge_of(server)
        assert len(server.asked) == 1
    assert "不是 OpenAI 接口" in caught.value.messages["zh"]


def test_a_service_that_lists_no_models_is_used_and_an_engine_that_lists_none_is_not(
    judge_of: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "do_GET", lambda handler: handler.error(404, "Not Found"))
    with serving("openai") as server:
        (found,) = judge_of(server).judge([request("错")])
        assert found.label == 4
    with serving("vllm") as server, pytest.raises(JudgeUnavailable, match="does not know") as caught:
        judge_of(server)
    assert "请修改 model 或 base_url" in caught.value.messages["zh"]


def test_one_of_two_addresses_is_enough_to_start_and_a_wrong_model_on_either_is_not(judge_of: Maker) -> None:
    with serving("vllm") as one, serving("vllm") as gone:
        gone.stop()
        answers = list(judge_of(one, gone).judge(requests_of(6)))
        assert [found.label for found in answers] == [4, 3, 2, 1, 5, 4]
        with serving("vllm", model="other") as other, pytest.raises(JudgeError, match="serves no model 'judge'; it serves: other"):
            judge_of(one, other)


@pytest.mark.parametrize(
    ("fault", "en", "zh"),
    [
        (status(401, "bad key"), r"does not accept the key \(HTTP 401: bad key\)", "不接受密钥"),
        (status(404, "gone"), r"does not know .* \(HTTP 404: gone\)", "不认识"),
        (status(429, "busy"), r"turns requests away", "拒绝请求"),
    ],
)
def test_what_ends_in_the_middle_pauses_the_run_with_what_to_do(fault: Fault, en: str, zh: str, judge_of: Maker) -> None:
    with serving("openai") as server:
        judge = judge_of(server, retries=0)
        server.fault_when = lambda body: fault
        with pytest.raises(JudgeUnavailable, match=en) as caught:
            list(judge.judge(requests_of(2)))
    assert zh in caught.value.messages["zh"]


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_row_that_is_refused_is_asked_once_and_says_why(code: int, judge_of: Maker) -> None:
    with serving("openai") as server:
        judge = judge_of(server)
        before = len(server.asked)
        server.fault_when = lambda body: status(code, "bad <words>") if "坏" in body else None
        first, second = judge.judge([request("坏", 1), request("错", 2)])
        assert len(server.asked) == before + 2
    assert first.status is JudgementStatus.FAILED
    assert said(first.error, "en") == f"The server refuses this row: HTTP {code}: bad <words>"
    assert said(first.error, "zh") == f"服务不接受这一行：HTTP {code}：bad <words>"
    assert second.label == 4


def refusing(server: FakeServer, message: dict[str, str], reason: str) -> None:
    import json

    body = json.dumps({"choices": [{"message": message, "finish_reason": reason}]})
    server.fault_when = lambda asked: odd(body) if '"logprobs":true' in asked.replace(" ", "") else None


@pytest.mark.parametrize(("message", "reason"), [({"refusal": "不便评价"}, "stop"), ({"content": ""}, "content_filter")])
def test_a_refusal_that_the_service_itself_tells_needs_no_words(message: dict[str, str], reason: str, judge_of: Maker) -> None:
    with serving("openai", words="这段文字写得不错") as server:
        judge = judge_of(server)
        refusing(server, message, reason)
        (found,) = judge.judge([request("错")])
    assert (found.status, found.label, found.probabilities) == (JudgementStatus.REFUSED, None, {})
    assert (message.get("refusal") or "这段文字写得不错") in found.raw_reply


def test_probabilities_that_stop_coming_are_told_with_the_flag(judge_of: Maker) -> None:
    with serving("lmdeploy-pytorch", words="五分") as server:
        judge = judge_of(server)
        refusing(server, {"content": "5"}, "length")
        (found,) = judge.judge([request("错")])
    assert found.status is JudgementStatus.OFF_MENU
    assert "--logprobs-mode raw_logprobs" in said(found.rationale, "en")
    assert "没有返回词元概率" in said(found.rationale, "zh")


def test_a_model_that_cannot_even_be_asked_for_words_is_off_the_menu_all_the_same(judge_of: Maker) -> None:
    with serving("vllm", weights=lambda text: {"好": 1.0} if "怪" in text else {"5": 1.0}) as server:
        judge = judge_of(server)
        server.fault_when = lambda body: garbage if '"logprobs"' not in body else None
        (found,) = judge.judge([request("怪")])
    assert found.status is JudgementStatus.OFF_MENU
    assert '"token": "好"' in found.raw_reply


def test_a_judge_that_is_closed_says_that_it_is_away(judge_of: Maker) -> None:
    with serving("vllm") as server:
        judge = judge_of(server)
        judge.close()
        judge.close()
        with pytest.raises(RuntimeError):
            list(judge.judge(requests_of(1)))
