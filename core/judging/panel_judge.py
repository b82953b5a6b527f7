"""What the embedded judges share: refusals with a reason, answers made into judgements, models that never saw a row."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.judging.vote import chosen_label
from core.types import Dimension, DimensionKind, Item, Judgement, JudgementStatus, JudgeRequest, JudgeSpec, LabelledItem, LocalText

CHOICE = "choice"
LEAST_EXAMPLES = 20
_CHUNK = 256
_CHUNK_CHARACTERS = 400_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A judge's answer before it becomes a judgement; `probabilities` has every label of the dimension and sums to 1.

    `facts` is what the judge saw, without language: numbers, codes and quoted places; it becomes the raw reply.
    """

    probabilities: Mapping[int, float]
    facts: Mapping[str, object]
    rationale: LocalText


@dataclass(frozen=True, slots=True)
class Abstention:
    """Why a judge gives no answer, in one sentence a person can read."""

    reason: LocalText


class PanelJudge(ABC):
    """An embedded judge: subclasses answer rows that can be graded, this class does the rest."""

    reads_prompts = False

    def __init__(self, spec: JudgeSpec) -> None:
        self._spec = spec

    @property
    def id(self) -> str:
        """Return the judge's id."""
        return self._spec.id

    def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
        """Yield one judgement per request, in order; rows are worked on in chunks, so memory does not grow with them."""
        start = characters = 0
        for end, request in enumerate(requests):
            if end > start and (end - start >= _CHUNK or characters + len(request.item.text) > _CHUNK_CHARACTERS):
                yield from self._chunk(requests[start:end])
                start, characters = end, 0
            characters += len(request.item.text)
        if start < len(requests):
            yield from self._chunk(requests[start:])

    def close(self) -> None:
        """Give back what the judge has learned; it may not be used afterwards."""
        spec = self._spec
        self.__dict__.clear()
        self._spec = spec

    @abstractmethod
    def answer(self, requests: Sequence[JudgeRequest]) -> list[Answer | Abstention]:
        """Return one answer per request; each has a text and a dimension that `refusal` let through."""

    def refusal(self, request: JudgeRequest) -> Answer | Abstention | None:
        """Return an answer or abstention that needs no look at the language of the text, or None."""
        if request.dimension.kind is DimensionKind.NOMINAL:
            zh = "选择题与其他无序标签由规则评委读取；本评委只评等级维度。"
            en = "Choice rows and other unordered labels are read by the rule judge; this judge grades ordered labels only."
            return Abstention({"zh": zh, "en": en})
        if not request.item.text.strip():
            zh = "空文本没有可评的文字；按约定给分由规则评委负责。"
            en = "An empty text has nothing to judge; the rule judge gives it the label that was agreed on."
            return Abstention({"zh": zh, "en": en})
        return None

    def _chunk(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
        started = time.perf_counter()
        answers: list[Answer | Abstention | None] = [self.refusal(request) for request in requests]
        open_places = [place for place, answer in enumerate(answers) if answer is None]
        if open_places:
            for place, given in zip(open_places, self.answer([requests[place] for place in open_places]), strict=True):
                answers[place] = given
        share = (time.perf_counter() - started) * 1000.0 / len(requests)
        for request, answer in zip(requests, answers, strict=True):
            yield self._judgement(request, answer, share)

    def _judgement(self, request: JudgeRequest, answer: Answer | Abstention | None, latency_ms: float) -> Judgement:
        if isinstance(answer, Answer):
            label = chosen_label(answer.probabilities, request.dimension.kind)
            return Judgement(
                self.id,
                request.item.id,
                JudgementStatus.OK,
                dict(answer.probabilities),
                label,
                json.dumps(answer.facts, ensure_ascii=False, separators=(",", ":")),
                answer.rationale,
                latency_ms=latency_ms,
            )
        reason = answer.reason if answer else {"zh": "评委没有给出回答。", "en": "The judge gave no answer."}
        return Judgement(self.id, request.item.id, JudgementStatus.ABSTAINED, latency_ms=latency_ms, error=reason)


def distribution(labels: Sequence[int], values: Sequence[float]) -> dict[int, float]:
    """Return a distribution over `labels` that sums to 1 and has none below 1e-6, in ascending order of label."""
    raised = {label: max(float(value), 1e-6) for label, value in sorted(zip(labels, values, strict=True))}
    total = sum(raised.values())
    return {label: value / total for label, value in raised.items()}


def labelled(library: Sequence[LabelledItem], dimension: Dimension) -> list[LabelledItem]:
    """Return the examples of `dimension` with a text and a label on its scale, in an order that the library's does not sway."""
    mine = [item for item in library if item.dimension_id == dimension.id and item.label in dimension.labels and item.text.strip()]
    return sorted(mine, key=lambda item: (item.content_hash, item.label, item.id))


def too_few(examples: Sequence[LabelledItem], dimension: Dimension) -> LocalText | None:
    """Return why these examples are not enough to learn `dimension` from, with the counts, or None."""
    counts = Counter(item.label for item in examples)
    zh, en, number = dimension.name("zh"), dimension.name("en"), len(examples)
    if number < LEAST_EXAMPLES:
        return {
            "zh": f"示例库里「{zh}」只有 {number} 条有效示例，至少需要 {LEAST_EXAMPLES} 条才能学习。",
            "en": f"Usable examples of {en} in the library: {number}; at least {LEAST_EXAMPLES} are needed to learn from.",
        }
    if len(counts) < 2:
        only = next(iter(counts))
        return {
            "zh": f"示例库里「{zh}」的 {number} 条示例都是 {only} 分，没有别的分数可供比较。",
            "en": f"All {number} examples of {en} in the library have the label {only}; there is no other to compare with.",
        }
    return None


def unknown_dimension(dimension: Dimension) -> LocalText:
    """Return the reason of a judge that was made before `dimension` was there."""
    return {
        "zh": f"评委启动时没有「{dimension.name('zh')}」这个维度，无法评判。",
        "en": f"The dimension {dimension.name('en')} was not there when the judge was made.",
    }


def texts_of(items: Sequence[Item]) -> list[str]:
    """Return the texts of `items`."""
    return [item.text for item in items]


def quoted(text: str) -> str:
    """Return a piece of a text on one line."""
    return text.replace("\n", "⏎")
