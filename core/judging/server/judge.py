"""The judge of the `server` family: asks a model server for one token, the label, with its log-probabilities."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from pydantic import ValidationError

from core.errors import JudgeError
from core.judging.choice.phrases import is_refusal
from core.judging.server.client import Failure, RequestFailed, ServerClient
from core.judging.server.options import ServerOptions, read_options
from core.judging.server.prompts import IdCarrier, MessageCarrier, Prepared, make_carrier
from core.judging.server.scoring import LabelScores, is_blank, score_labels
from core.judging.server.startup import check_servers, probe, unavailable
from core.judging.server.wire import Reply, ask_text, read_reply
from core.judging.serving.options import Engine
from core.judging.vote import chosen_label
from core.judging.weights import models_folder
from core.ports import JudgeContext
from core.types import Dimension, Judgement, JudgementStatus, JudgeRequest, JudgeSpec, LocalText

log = logging.getLogger(__name__)

# Rows that are tokenized and queued ahead of the one whose answer is due, in multiples of the concurrency.
AHEAD = 3
# GLM begins its answers with a line end; no model was seen to begin with more than one blank token.
MOST_TOKENS = 3
WORDS = 32
_NO_PROMPT: LocalText = {"zh": "这一行没有附上提示词。", "en": "The request carries no prompt."}


@dataclass(frozen=True, slots=True)
class _Row:
    request: JudgeRequest
    prepared: Prepared


class ServerJudge:
    """Gives each label the probability that the served model writes it next, among the labels.

    Rows are asked `concurrency` at a time and answered in order. A row that the server will not take is FAILED; a
    server that is away makes JudgeUnavailable, after the retries.
    """

    reads_prompts = True
    gives_up_when_closed = True

    def __init__(
        self,
        judge_id: str,
        options: ServerOptions,
        client: ServerClient,
        carrier: MessageCarrier | IdCarrier,
        tokens: int,
        panel_id: str = "",
    ) -> None:
        self.id = judge_id
        self._options = options
        self._client = client
        self._carrier = carrier
        self._tokens = tokens
        self._panel_id = panel_id
        self._spellings: dict[str, dict[int, str] | JudgeError] = {}
        self._pool = ThreadPoolExecutor(options.concurrency, thread_name_prefix=f"ask-{judge_id}")

    def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
        """Yield one judgement per request, in order. Raises JudgeUnavailable when no server can answer now."""
        waiting: deque[Future[Judgement]] = deque()
        step = self._options.concurrency
        try:
            for start in range(0, len(requests), step):
                waiting.extend(self._submit(requests[start : start + step]))
                while len(waiting) > AHEAD * step:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """Close the connections; requests in flight are given up, not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _submit(self, requests: Sequence[JudgeRequest]) -> Iterator[Future[Judgement]]:
        prepared = iter(self._carrier.prepare([request.prompt for request in requests if request.prompt is not None]))
        for request in requests:
            if request.prompt is None:
                done: Future[Judgement] = Future()
                done.set_result(self._without(request, JudgementStatus.FAILED, _NO_PROMPT))
                yield done
            else:
                yield self._pool.submit(self._answer, _Row(request, next(prepared)))

    def _answer(self, row: _Row) -> Judgement:
        spellings = self._spelled(row.request.dimension)
        if isinstance(spellings, JudgeError):
            return self._without(row.request, JudgementStatus.ABSTAINED, spellings.messages, row.prepared)
        started = time.perf_counter()
        try:
            reply, place = self._ask(row)
        except RequestFailed as failed:
            return self._failed(row, failed)
        except ValidationError as error:
            fault = error.errors()[0]["msg"]
            reason = {"zh": f"无法读取服务的回答：{fault}", "en": f"The server's answer cannot be read: {fault}"}
            return self._without(row.request, JudgementStatus.FAILED, reason, row.prepared)
        latency = 1000 * (time.perf_counter() - started)
        scores = None
        if place < len(reply.positions):
            whole = self._options.engine is not Engine.LMDEPLOY_TURBOMIND
            scores = score_labels(reply.positions[place], spellings, exact=self._carrier.exact, whole=whole)
        if scores is None or reply.refusal:
            return self._off_menu(row, reply, latency)
        return self._judgement(row, scores, latency, reply.prompt_tokens)

    def _ask(self, row: _Row) -> tuple[Reply, int]:
        """Return the server's answer and which of its positions holds the label: the first that is more than a blank."""
        while True:
            tokens = self._tokens
            ask = self._carrier.ask(row.prepared, row.request.dimension, tokens)
            reply = read_reply(ask.path, self._client.ask(ask))
            place = next((i for i, position in enumerate(reply.positions) if not is_blank(position.best)), len(reply.positions))
            # Sampling engines do not go on after the likeliest token, so that only their first position means anything.
            fixed = self._carrier.exact or self._options.engine is Engine.LMDEPLOY_TURBOMIND
            if fixed or place < len(reply.positions) or not reply.positions or tokens >= MOST_TOKENS:
                return reply, 0 if fixed else place
            self._tokens = max(self._tokens, tokens + 1)

    def _spelled(self, dimension: Dimension) -> dict[int, str] | JudgeError:
        """Return the labels' tokens, or why this dimension cannot be judged."""
        if dimension.id not in self._spellings:
            try:
                self._spellings[dimension.id] = self._carrier.spellings(dimension)
            except JudgeError as error:
                log.warning("Judge %s abstains from dimension %s: %s", self.id, dimension.id, error)
                self._spellings[dimension.id] = error
        return self._spellings[dimension.id]

    def _failed(self, row: _Row, failed: RequestFailed) -> Judgement:
        """Return a FAILED judgement for what is the row's fault. Raises JudgeUnavailable where the server's."""
        if failed.failure is Failure.REFUSED:
            return self._without(row.request, JudgementStatus.FAILED, _refused(failed), row.prepared)
        if failed.failure in {Failure.SERVER, Failure.TIMEOUT, Failure.BROKEN} and self._answers_others():
            reason = {
                "zh": f"服务能回答别的行，但不回答这一行：{failed}",
                "en": f"The server answers other rows, but not this one: {failed}",
            }
            return self._without(row.request, JudgementStatus.FAILED, reason, row.prepared)
        raise unavailable(self.id, self._options, failed, self._panel_id) from failed

    def _answers_others(self) -> bool:
        """Return whether a harmless row is answered now."""
        try:
            probe(self._client, self._carrier, quick=True)
        except (RequestFailed, ValidationError):
            return False
        return True

    def _off_menu(self, row: _Row, reply: Reply, latency_ms: float) -> Judgement:
        """Return what a model said instead of a label; it is asked once more, for words, to see whether it refuses."""
        said = reply.refusal or self._in_words(row) or reply.text
        refused = bool(reply.refusal) or reply.finish_reason == "content_filter" or is_refusal(said)
        status = JudgementStatus.REFUSED if refused else JudgementStatus.OFF_MENU
        likeliest = max(reply.positions[-1].tokens.items(), key=lambda pair: pair[1])[0] if reply.positions else ""
        raw = json.dumps({"text": said, "token": likeliest}, ensure_ascii=False)
        why = _REFUSED if refused else _NO_LABEL
        if not reply.positions and not reply.refusal:
            why = _NO_LOGPROBS
        return Judgement(
            self.id,
            row.request.item.id,
            status,
            raw_reply=raw,
            rationale=why,
            prompt_sha256=row.prepared.sha256,
            latency_ms=latency_ms,
            tokens=reply.prompt_tokens,
        )

    def _in_words(self, row: _Row) -> str:
        ask = ask_text(self._options.model, row.prepared.turns, WORDS)
        try:
            return read_reply(ask.path, self._client.ask(ask, retries=1)).text.strip()
        except (RequestFailed, ValidationError):
            return ""

    def _judgement(self, row: _Row, scores: LabelScores, latency_ms: float, tokens: int) -> Judgement:
        labels = row.request.dimension.labels
        probabilities = scores.probabilities(labels)
        return Judgement(
            self.id,
            row.request.item.id,
            JudgementStatus.OK,
            probabilities,
            chosen_label(probabilities, row.request.dimension.kind),
            scores.raw(labels),
            _rationale(scores, row.prepared.broken),
            prompt_sha256=row.prepared.sha256,
            latency_ms=latency_ms,
            tokens=tokens or len(row.prepared.ids),
        )

    def _without(self, request: JudgeRequest, status: JudgementStatus, reason: LocalText, prepared: Prepared | None = None) -> Judgement:
        return Judgement(self.id, request.item.id, status, prompt_sha256=prepared.sha256 if prepared else "", error=reason)


_REFUSED: LocalText = {"zh": "模型拒绝作答。", "en": "The model refuses to answer."}
_NO_LABEL: LocalText = {"zh": "模型的回答不在评分标签之内。", "en": "The model's answer is none of the labels."}
_NO_LOGPROBS: LocalText = {
    "zh": "服务没有返回词元概率（lmdeploy 需以 --logprobs-mode raw_logprobs 启动）。",
    "en": "The server gave no log-probabilities (start lmdeploy with --logprobs-mode raw_logprobs).",
}


def _rationale(scores: LabelScores, broken: int) -> LocalText:
    """Return what a reader should know of how the probabilities came about; empty when there is nothing to say."""
    zh, en = [], []
    if scores.floored:
        labels = [str(label) for label in scores.floored]
        zh.append(f"标签 {'、'.join(labels)} 不在服务返回的词元之中，按下限计。")
        en.append(f"Labels {', '.join(labels)}: not among the tokens that the server gave, so at the floor.")
    if scores.mass < 0.5:
        zh.append(f"评分标签合计只占模型概率的 {scores.mass:.1%}。")
        en.append(f"All labels together have {scores.mass:.1%} of the model's probability.")
    if broken:
        zh.append(f"文本中 {broken} 处形似控制标记的文字已用零宽空格拆开。")
        en.append(f"Places of the text that look like control tokens, broken by a zero-width space: {broken}.")
    return {"zh": "".join(zh), "en": " ".join(en)} if zh else {}


def _refused(failed: RequestFailed) -> LocalText:
    zh = en = ""
    if any(word in failed.said.lower() for word in ("context", "length", "too long", "max_model_len", "tokens")):
        zh = "（请以更长的上下文启动服务：serve 下的 session_length、--session-len、--max-model-len）"
        en = " (start the server with a longer context: `session_length` under `serve`, --session-len, --max-model-len)"
    return {
        "zh": f"服务不接受这一行：HTTP {failed.status}：{failed.said}{zh}",
        "en": f"The server refuses this row: HTTP {failed.status}: {failed.said}{en}",
    }


def make_server_judge(spec: JudgeSpec, context: JudgeContext) -> ServerJudge:
    """Return the judge of a panel's line, its servers asked whether they serve its model and give log-probabilities.

    Raises PanelError for wrong options, JudgeUnavailable while no server answers, and JudgeError for what must be
    changed first: an unknown model, a missing key or tokenizer, a server without log-probabilities.
    """
    options = read_options(spec.id, spec.options)
    carrier = make_carrier(spec.id, options, models_folder(context.cache_dir), context.panel_id)
    client = ServerClient(options, options.api_key(spec.id))
    with ExitStack() as stack:
        stack.callback(client.close)
        tokens = check_servers(spec.id, options, client, carrier, context.panel_id)
        stack.pop_all()
    return ServerJudge(spec.id, options, client, carrier, tokens, context.panel_id)
