"""Asks a judge's server, in words, why it gives a label: a streamed chat completion beside the scoring."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
from pydantic import BaseModel, Field, ValidationError

from core.errors import JudgeError
from core.judging.server.client import Failure, RequestFailed, make_client, server_message
from core.judging.server.options import ServerOptions, SystemRole, read_options
from core.judging.server.prompts import MessageCarrier
from core.judging.server.startup import unavailable
from core.judging.server.wire import CHAT, ask_words
from core.judging.why import MOST_TOKENS, question
from core.ports import JudgeContext
from core.types import JudgeRequest, JudgeSpec, RenderedPrompt

DATA, DONE = "data:", "[DONE]"


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta = Field(default_factory=_Delta)


class _Fault(BaseModel):
    message: str = ""


class _Chunk(BaseModel):
    choices: list[_Choice] = Field(default_factory=list)
    error: _Fault | str | None = None


class ServerExplainer:
    """Streams a served model's own words; control tokens inside the judged text are broken up as they are for scoring."""

    def __init__(self, judge_id: str, options: ServerOptions, api_key: str, panel_id: str = "") -> None:
        self._judge_id = judge_id
        self._options = options
        self._panel_id = panel_id
        self._client = make_client(options, api_key)

    def explain(self, request: JudgeRequest, label: int, language: str = "zh") -> Iterator[str]:
        """Yield the pieces of the answer as they come; a reader that stops closes the connection, which ends the generation.

        Raises JudgeUnavailable when no address answers, and JudgeError when the server refuses the request.
        """
        if request.prompt is None:
            raise JudgeError(
                f"Judge {self._judge_id!r} cannot explain a row without a prompt.",
                zh=f"评委 {self._judge_id!r}：该行没有提示词，无法说明理由。",
            )
        carrier = MessageCarrier(self._options)
        asked = question(request.prompt, label, language)
        try:
            yield from self._stream(self._body(carrier, asked))
        except RequestFailed as failed:
            if failed.failure is not Failure.REFUSED or self._options.system_role is not SystemRole.AUTO or carrier.folds_system:
                raise self._told(failed) from failed
            carrier.folds_system = True  # a template without a system role (Gemma)
            try:
                yield from self._stream(self._body(carrier, asked))
            except RequestFailed as again:
                raise self._told(failed) from again

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _body(self, carrier: MessageCarrier, asked: RenderedPrompt) -> str:
        (prepared,) = carrier.prepare([asked])
        return ask_words(self._options.engine, self._options.model, prepared.turns, MOST_TOKENS)

    def _stream(self, body: str) -> Iterator[str]:
        """Yield the pieces that the first address gives that can be reached. Raises RequestFailed."""
        unreachable: RequestFailed | None = None
        for address in self._options.addresses():
            url = f"{address}/{CHAT}"
            try:
                with self._client.stream("POST", url, content=body.encode("utf-8", "replace"), timeout=self._options.timeout) as response:
                    if response.status_code >= httpx.codes.BAD_REQUEST:
                        response.read()
                        raise _refused(response)
                    yield from _pieces(response)
                    return
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                unreachable = RequestFailed(Failure.UNREACHABLE, url, str(error) or "no connection")
            except httpx.TimeoutException as error:
                raise RequestFailed(Failure.TIMEOUT, url, f"no answer within {self._options.timeout:.3g} s") from error
            except httpx.TransportError as error:
                raise RequestFailed(Failure.BROKEN, url, f"the connection broke: {error or type(error).__name__}") from error
        assert unreachable is not None
        raise unreachable

    def _told(self, failed: RequestFailed) -> JudgeError:
        if failed.failure is Failure.REFUSED:
            return JudgeError(
                f"Judge {self._judge_id!r}: the server refuses the question (HTTP {failed.status}: {failed.said}).",
                zh=f"评委 {self._judge_id!r}：服务不接受这个提问（HTTP {failed.status}：{failed.said}）。",
            )
        return unavailable(self._judge_id, self._options, failed, self._panel_id)


def _pieces(response: httpx.Response) -> Iterator[str]:
    for line in response.iter_lines():
        if not line.startswith(DATA):
            continue
        said = line.removeprefix(DATA).strip()
        if said == DONE:
            return
        try:
            chunk = _Chunk.model_validate_json(said)
        except ValidationError:
            continue  # usage and whatever else a service puts between
        if chunk.error is not None:  # vLLM's way to tell that a generation broke off
            fault = chunk.error if isinstance(chunk.error, str) else chunk.error.message
            raise RequestFailed(Failure.SERVER, str(response.request.url), fault or "the answer broke off")
        for choice in chunk.choices:
            if choice.delta.content:
                yield choice.delta.content


_FAILURES = {401: Failure.KEY, 403: Failure.KEY, 404: Failure.MISSING, 405: Failure.MISSING, 429: Failure.BUSY}


def _refused(response: httpx.Response) -> RequestFailed:
    status = response.status_code
    failure = _FAILURES.get(status, Failure.SERVER if status >= httpx.codes.INTERNAL_SERVER_ERROR else Failure.REFUSED)
    return RequestFailed(failure, str(response.request.url), server_message(response), status)


def make_server_explainer(spec: JudgeSpec, context: JudgeContext) -> ServerExplainer:
    """Return what asks the server of a panel's line for words. Raises PanelError for wrong options, JudgeError for a missing key."""
    options = read_options(spec.id, spec.options)
    return ServerExplainer(spec.id, options, options.api_key(spec.id), context.panel_id)
