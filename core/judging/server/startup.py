"""What is asked of a judge's servers before the first row, so that a wrong setting is told once and not on every row."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pydantic import ValidationError

from core.errors import JudgeError, JudgeUnavailable
from core.judging.server.client import Failure, RequestFailed, ServerClient
from core.judging.server.options import ServerOptions, SystemRole
from core.judging.server.prompts import IdCarrier, MessageCarrier
from core.judging.server.scoring import is_blank
from core.judging.server.wire import Reply, read_reply
from core.judging.serving.options import Engine
from core.types import Dimension, DimensionKind, RenderedPrompt

log = logging.getLogger(__name__)

PROBE = RenderedPrompt("请只回答一个数字。", "文本：今天天气很好。\n评分（1 至 5）：", "")
PROBE_SECONDS = 30.0
_SCALE = Dimension("probe", {"zh": "试问"}, (1, 2, 3, 4, 5), DimensionKind.ORDINAL, {}, "", needs_prompt=False)


def check_servers(
    judge_id: str, options: ServerOptions, client: ServerClient, carrier: MessageCarrier | IdCarrier, panel_id: str = ""
) -> int:
    """Ask every server for its models and one of them for a harmless row; return how many tokens a row must ask for.

    Raises JudgeUnavailable when none can be reached, and JudgeError with what to change.
    """
    failures = []
    for url in client.urls:
        try:
            _check_model(judge_id, options, url, client.models(url))
        except ValidationError as error:
            raise _no_api(judge_id, url, error.errors()[0]["msg"]) from error
        except RequestFailed as failed:
            if failed.failure is Failure.MISSING and options.engine is Engine.OPENAI:
                continue  # not every service lists its models
            failures.append(failed)
            log.warning("Judge %s: %s", judge_id, failed)
    if len(failures) == len(client.urls):
        raise unavailable(judge_id, options, failures[0], panel_id) from failures[0]
    return _probe_server(judge_id, options, client, carrier, panel_id)


def probe(client: ServerClient, carrier: MessageCarrier | IdCarrier, *, quick: bool = False) -> Reply:
    """Return a server's answer to a harmless row. Raises RequestFailed or pydantic.ValidationError."""
    ask = carrier.ask(carrier.prepare([PROBE])[0], _SCALE, 1)
    return read_reply(ask.path, client.ask(ask, deadline=PROBE_SECONDS if quick else None, retries=0 if quick else None))


def unavailable(judge_id: str, options: ServerOptions, failed: RequestFailed, panel_id: str = "") -> JudgeUnavailable:
    """Return the reason why a judge cannot answer now, with what to do."""
    where = " and ".join(options.addresses())
    command = " ".join(f"./run.sh serve-judge {panel_id} {judge_id}".split())
    start = f" Start it: {command}" if options.serve else " Start the server, or correct base_url in the panel file."
    start_zh = f"请启动：{command}" if options.serve else "请启动服务，或修改评委组文件中的 base_url。"
    advice = {
        Failure.UNREACHABLE: (f"cannot be reached ({failed.said}).{start}", f"连接不上（{failed.said}）。{start_zh}"),
        Failure.BUSY: (
            f"turns requests away (HTTP {failed.status}: {failed.said}). Lower `concurrency` in the panel file, or wait.",
            f"拒绝请求（HTTP {failed.status}：{failed.said}）。请减小评委组文件中的 concurrency，或稍后再试。",
        ),
        Failure.KEY: (
            f"does not accept the key (HTTP {failed.status}: {failed.said}). Put the right one into the environment variable "
            f"{options.api_key_env or 'that `api_key_env` in the panel file names'}.",
            f"不接受密钥（HTTP {failed.status}：{failed.said}）。请检查环境变量 {options.api_key_env or 'api_key_env'}。",
        ),
        Failure.MISSING: (
            f"does not know {failed.url} or the model {options.model!r} (HTTP {failed.status}: {failed.said}). Correct `model` or "
            "`base_url`.",
            f"不认识 {failed.url} 或模型 {options.model!r}（HTTP {failed.status}：{failed.said}）。请修改 model 或 base_url。",
        ),
    }
    en, zh = advice.get(failed.failure, (f"does not answer ({failed}).{start}", f"没有应答（{failed}）。{start_zh}"))
    return JudgeUnavailable(f"Judge {judge_id!r}: the server at {where} {en}", zh=f"评委 {judge_id!r}：服务 {where} {zh}")


def _check_model(judge_id: str, options: ServerOptions, url: str, names: Sequence[str]) -> None:
    if options.model not in names:
        there = ", ".join(names) or "none"
        raise JudgeError(
            f"Judge {judge_id!r}: the server at {url} serves no model {options.model!r}; it serves: {there}. Write one of these as "
            "`model` in the "
            "panel file, or start the server with the right --model-name (lmdeploy), --served-model-name (vLLM) or adapter.",
            zh=f"评委 {judge_id!r}：服务 {url} 没有模型 {options.model!r}，现有：{there}。请修改评委组文件中的 model，"
            "或以正确的模型名启动服务。",
        )


def _probe_server(judge_id: str, options: ServerOptions, client: ServerClient, carrier: MessageCarrier | IdCarrier, panel_id: str) -> int:
    try:
        reply = _probe_roles(options, client, carrier)
    except RequestFailed as failed:
        if failed.failure is Failure.REFUSED:
            raise _cannot_score(judge_id, options, f"HTTP {failed.status}: {failed.said}") from failed
        raise unavailable(judge_id, options, failed, panel_id) from failed
    except ValidationError as error:
        raise _no_api(judge_id, options.addresses()[0], error.errors()[0]["msg"]) from error
    if not reply.positions:
        raise _cannot_score(judge_id, options, "its answer has no log-probabilities", "回答中没有词元概率")
    leads = not carrier.exact and options.engine is not Engine.LMDEPLOY_TURBOMIND and is_blank(reply.positions[0].best)
    if leads:
        log.info("Judge %s: the model begins its answers with a line end; the token after it is scored.", judge_id)
    return 2 if leads else 1


def _probe_roles(options: ServerOptions, client: ServerClient, carrier: MessageCarrier | IdCarrier) -> Reply:
    """Ask with a system turn; where the server refuses and the panel leaves it open, ask again without one and keep to it."""
    try:
        return probe(client, carrier)
    except RequestFailed as failed:
        if failed.failure is not Failure.REFUSED or carrier.exact or options.system_role is not SystemRole.AUTO:
            raise
        assert isinstance(carrier, MessageCarrier)
        carrier.folds_system = True
        try:
            return probe(client, carrier)
        except RequestFailed as again:
            carrier.folds_system = False
            raise failed from again


def _cannot_score(judge_id: str, options: ServerOptions, said: str, said_zh: str = "") -> JudgeError:
    hints = {
        Engine.LMDEPLOY_PYTORCH: ("Start it with --backend pytorch --logprobs-mode raw_logprobs.", "请以 --backend pytorch --logprobs-mode raw_logprobs 启动。"),
        Engine.LMDEPLOY_TURBOMIND: ("Is it the TurboMind engine (--backend turbomind)? Otherwise write `engine: lmdeploy-pytorch`.",
                                    "请确认是 TurboMind 引擎（--backend turbomind），否则请写 engine: lmdeploy-pytorch。"),
        Engine.VLLM: ("Start it with --max-logprobs 20 or more.", "请以 --max-logprobs 20 或更大值启动。"),
        Engine.OPENAI: ("The service must support logprobs and top_logprobs in chat completions.", "该服务必须支持 chat completions 的 logprobs 与 top_logprobs。"),
    }  # fmt: skip
    en, zh = hints[options.engine]
    return JudgeError(
        f"Judge {judge_id!r}: the server at {options.addresses()[0]} gives no probabilities of tokens ({said}). {en}",
        zh=f"评委 {judge_id!r}：服务 {options.addresses()[0]} 不返回词元概率（{said_zh or said}）。{zh}",
    )


def _no_api(judge_id: str, url: str, said: str) -> JudgeError:
    return JudgeError(
        f"Judge {judge_id!r}: what answers at {url} does not speak the OpenAI API ({said}). Correct base_url in the panel file.",
        zh=f"评委 {judge_id!r}：{url} 处的服务不是 OpenAI 接口（{said}），请修改评委组文件中的 base_url。",
    )
