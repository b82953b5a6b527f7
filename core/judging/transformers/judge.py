"""The judge of the `transformers` family: a local causal language model that is asked for one token, the label."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from core.errors import JudgeError, JudgeUnavailable
from core.judging.transformers.chat import PromptEncoder
from core.judging.transformers.options import TransformersOptions, read_options
from core.judging.transformers.packing import Ids
from core.judging.transformers.rationale import Narrator
from core.judging.transformers.scoring import RowScore, Scorer
from core.judging.vote import chosen_label
from core.judging.why import question
from core.ports import JudgeContext
from core.types import Dimension, Judgement, JudgementStatus, JudgeRequest, JudgeSpec, LocalText, said

log = logging.getLogger(__name__)

# Rows that are tokenized and scored together. On a card the first windows are small, so that it soon has something to do
# while the next, larger one is tokenized; a processor is slow, and shows after few rows how far it is.
CARD_WINDOWS = (64, 192, 512)
CPU_WINDOWS = (16,)
CARD_BATCH = 2_048
_NO_PROMPT: LocalText = {"zh": "这一行没有附上提示词。", "en": "The request carries no prompt."}


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request with its token ids, or with the judgement that it gets unasked."""

    request: JudgeRequest
    ids: Ids = ()
    answer: Judgement | None = None


class TransformersJudge:
    """Gives each label the probability that the model writes it next, among the labels."""

    reads_prompts = True

    def __init__(
        self,
        judge_id: str,
        scorer: Scorer,
        narrator: Narrator,
        encoder: PromptEncoder,
        dimensions: Sequence[Dimension],
        max_length: int,
        *,
        on_card: bool = False,
    ) -> None:
        self.id = judge_id
        self.preferred_batch = CARD_BATCH if on_card else 0
        self._windows = CARD_WINDOWS if on_card else CPU_WINDOWS
        self._narrator: Narrator | None = narrator
        self._scorer: Scorer | None = scorer
        self._encoder = encoder
        self._max_length = max_length
        self._label_ids: dict[str, list[int]] = {}
        self._unfit: dict[str, LocalText] = {}
        for dimension in dimensions:
            self._learn_labels(dimension)
        if self._unfit and not self._label_ids:
            raise JudgeError(
                f"Judge {judge_id!r} cannot judge any dimension. " + " ".join(said(why, "en") for why in self._unfit.values()),
                zh=f"评委 {judge_id!r} 无法评判任何维度。" + "".join(said(why, "zh") for why in self._unfit.values()),
            )

    def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
        """Yield one judgement per request, in order; while one window is on the device, the next is tokenized."""
        if self._scorer is None:
            raise JudgeError(f"Judge {self.id!r} is closed.", zh=f"评委 {self.id!r} 已关闭。")
        windows = list(cut(requests, self._windows))
        with ThreadPoolExecutor(1, thread_name_prefix=f"tokenize-{self.id}") as pool:
            coming = pool.submit(self._prepare, windows[0]) if windows else None
            for number in range(len(windows)):
                assert coming is not None
                prepared = coming.result()
                if number + 1 < len(windows):
                    coming = pool.submit(self._prepare, windows[number + 1])
                yield from self._answer(prepared)

    def explain(self, request: JudgeRequest, label: int, language: str = "zh") -> Iterator[str]:
        """Yield, piece by piece, the model's own words on why `label` fits; they never change a score.

        Raises JudgeUnavailable when the device fails meanwhile.
        """
        if self._narrator is None or request.prompt is None:
            raise JudgeError(
                f"Judge {self.id!r} cannot explain: it is closed, or the row has no prompt.",
                zh=f"评委 {self.id!r} 无法说明理由：评委已关闭，或该行没有提示词。",
            )
        (ids,) = self._encoder.encode([question(request.prompt, label, language)])
        try:
            yield from self._narrator.stream(ids)
        except RuntimeError as error:
            raise JudgeUnavailable(
                f"Judge {self.id!r} could not finish its rationale: {error}", zh=f"评委 {self.id!r} 未能说完理由：{error}"
            ) from error

    def close(self) -> None:
        """Free the model's memory."""
        if self._scorer is not None:
            from core.judging.transformers.scoring import free_cached_memory

            self._scorer.close()
            self._scorer = self._narrator = None
            free_cached_memory()

    def _learn_labels(self, dimension: Dimension) -> None:
        try:
            self._label_ids[dimension.id] = self._encoder.label_ids(dimension)
        except JudgeError as error:
            log.warning("Judge %s abstains from dimension %s: %s", self.id, dimension.id, error)
            self._unfit[dimension.id] = error.messages

    def _prepare(self, requests: Sequence[JudgeRequest]) -> list[_Prepared]:
        encoded = iter(self._encoder.encode([request.prompt for request in requests if request.prompt is not None]))
        prepared: list[_Prepared] = []
        for request in requests:
            if request.prompt is None:
                answer = self._without_answer(request, JudgementStatus.FAILED, _NO_PROMPT)
                prepared.append(_Prepared(request, answer=answer))
            else:
                prepared.append(self._checked(request, tuple(next(encoded))))
        return prepared

    def _checked(self, request: JudgeRequest, ids: Ids) -> _Prepared:
        dimension = request.dimension
        if dimension.id not in self._label_ids and dimension.id not in self._unfit:
            self._learn_labels(dimension)
        if dimension.id in self._unfit:
            answer = self._without_answer(request, JudgementStatus.ABSTAINED, self._unfit[dimension.id], len(ids))
            return _Prepared(request, answer=answer)
        if len(ids) > self._max_length:
            reason = {
                "zh": f"提示词有 {len(ids)} 个词元，本评委的上限是 {self._max_length}（评委组文件中的 max_length）。",
                "en": f"The prompt has {len(ids)} tokens, the limit of this judge is {self._max_length} (max_length in the panel file).",
            }
            return _Prepared(request, answer=self._without_answer(request, JudgementStatus.FAILED, reason, len(ids)))
        return _Prepared(request, ids)

    def _answer(self, prepared: Sequence[_Prepared]) -> Iterator[Judgement]:
        started = time.perf_counter()
        by_dimension: dict[str, list[int]] = {}
        for place, row in enumerate(prepared):
            if row.answer is None:
                by_dimension.setdefault(row.request.dimension.id, []).append(place)
        scores: dict[int, RowScore] = {}
        for dimension_id, places in by_dimension.items():
            results = self._score([prepared[place].ids for place in places], self._label_ids[dimension_id])
            scores.update(zip(places, results, strict=True))
        latency = 1000 * (time.perf_counter() - started) / max(1, len(scores))
        for place, row in enumerate(prepared):
            yield row.answer or self._judgement(row, scores[place], latency)

    def _score(self, rows: Sequence[Ids], label_ids: Sequence[int]) -> list[RowScore]:
        import torch

        assert self._scorer is not None
        try:
            return self._scorer.score(rows, label_ids)
        except torch.AcceleratorError as error:
            raise JudgeUnavailable(
                f"Judge {self.id!r}: the device failed ({error}). Restart Pingpan; the run goes on where it was.",
                zh=f"评委 {self.id!r}：设备出错（{error}）。请重启 Pingpan，任务会从中断处继续。",
            ) from error

    def _judgement(self, row: _Prepared, score: RowScore, latency_ms: float) -> Judgement:
        request = row.request
        if score.error:
            return self._without_answer(request, JudgementStatus.FAILED, score.error, len(row.ids))
        highest = max(score.log_probabilities)
        weights = [math.exp(value - highest) for value in score.log_probabilities]
        if not all(math.isfinite(weight) for weight in weights):
            reason = {"zh": "模型的输出不是数字；请换用别的 dtype。", "en": "The model's output is not a number; use another dtype."}
            return self._without_answer(request, JudgementStatus.FAILED, reason, len(row.ids))
        total = sum(weights)
        probabilities = {label: weight / total for label, weight in zip(request.dimension.labels, weights, strict=True)}
        return Judgement(
            judge_id=self.id,
            item_id=request.item.id,
            status=JudgementStatus.OK,
            probabilities=probabilities,
            label=chosen_label(probabilities, request.dimension.kind),
            raw_reply=_raw_reply(request.dimension, score),
            prompt_sha256=request.prompt.sha256 if request.prompt else "",
            latency_ms=latency_ms,
            tokens=len(row.ids),
        )

    def _without_answer(self, request: JudgeRequest, status: JudgementStatus, reason: LocalText, tokens: int = 0) -> Judgement:
        sha256 = request.prompt.sha256 if request.prompt else ""
        return Judgement(self.id, request.item.id, status, prompt_sha256=sha256, tokens=tokens, error=reason)


def cut(requests: Sequence[JudgeRequest], sizes: Sequence[int]) -> Iterator[Sequence[JudgeRequest]]:
    """Yield the requests in windows of these sizes, the last size again and again."""
    start = number = 0
    while start < len(requests):
        size = sizes[min(number, len(sizes) - 1)]
        yield requests[start : start + size]
        start, number = start + size, number + 1


def _raw_reply(dimension: Dimension, score: RowScore) -> str:
    """Return the model's own log-probabilities of the labels (over its whole vocabulary) as JSON."""
    labels = (str(label) for label in dimension.labels)
    return json.dumps({"logprobs": {label: round(value, 4) for label, value in zip(labels, score.log_probabilities, strict=True)}})


def make_transformers_judge(spec: JudgeSpec, context: JudgeContext) -> TransformersJudge:
    """Return the judge of a panel's line, its model loaded; see TransformersOptions for what the line may say.

    Raises PanelError for wrong options, and JudgeError with what is missing: weights, memory, a device, a library, or
    a tokenizer that writes each label as one token.
    """
    from core.judging.transformers.load import load_model
    from core.judging.transformers.scoring import current_device, make_scorer

    options: TransformersOptions = read_options(spec.id, spec.options)
    loaded = load_model(spec.id, options, context.cache_dir, context.panel_id)
    encoder = PromptEncoder(loaded.tokenizer, loaded.model.config.model_type)
    pad_id = loaded.tokenizer.pad_token_id if loaded.tokenizer.pad_token_id is not None else 0
    with current_device(loaded.device):
        scorer = make_scorer(loaded.model, options.token_budget, options.share_prefix, pad_id)
    narrator = Narrator(loaded.model, loaded.tokenizer)
    dimensions = list(context.dimensions.values())
    on_card = loaded.device.startswith("cuda")
    return TransformersJudge(spec.id, scorer, narrator, encoder, dimensions, loaded.max_length, on_card=on_card)
