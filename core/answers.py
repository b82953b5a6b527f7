"""One judge's answers to a batch, made safe: exactly one per request, in order, whatever the judge does."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator, Sequence

from core.errors import JudgeUnavailable, PingpanError
from core.ports import Judge
from core.types import Dimension, Judgement, JudgementStatus, JudgeRequest, LocalText, one_language

logger = logging.getLogger(__name__)

_SUM_TOLERANCE = 1e-3


def answers_of(judge: Judge, requests: Sequence[JudgeRequest]) -> Generator[Judgement, None, None]:
    """Yield exactly one judgement per request, in order, whatever the judge does; only JudgeUnavailable passes through.

    When the judge raises, or answers for another row than the next one, the rows still without an answer are asked one
    by one; a row that fails alone is FAILED with the reason. An OK answer without a full distribution is FAILED too.
    """
    done = 0
    try:
        for judgement in _checked(judge, requests):
            yield judgement
            done += 1
    except JudgeUnavailable:
        raise
    except Exception as error:
        logger.warning("judge %s on %d rows: %s", judge.id, len(requests), error, exc_info=not isinstance(error, _WrongAnswer))
        if len(requests) == 1:
            reason = error.messages if isinstance(error, PingpanError) else one_language(f"{type(error).__name__}: {error}")
            yield _failed(judge, requests[0], reason)
            return
    for request in requests[done:]:
        yield from answers_of(judge, [request])


class _WrongAnswer(Exception):
    """A judge's answers do not belong to its questions."""


def _checked(judge: Judge, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
    done = 0
    stream = judge.judge(requests)
    try:
        for judgement in stream:
            if done == len(requests):
                logger.warning("judge %s gave more answers than the %d it was asked for; the rest is dropped", judge.id, done)
                return
            request = requests[done]
            if judgement.item_id != request.item.id or judgement.judge_id != judge.id:
                raise _WrongAnswer(
                    f"asked for item {request.item.id}, judge {judge.id} answered item {judgement.item_id} as {judgement.judge_id}"
                )
            fault = _fault(judgement, request.dimension)
            yield _failed(judge, request, fault, judgement.raw_reply) if fault else judgement
            done += 1
    finally:
        if isinstance(stream, Generator):
            stream.close()
    if done < len(requests):
        raise _WrongAnswer(f"judge {judge.id} gave {done} answers to {len(requests)} rows")


def _fault(judgement: Judgement, dimension: Dimension) -> LocalText:
    """Return what is wrong with an answer, empty for nothing."""
    if judgement.status is not JudgementStatus.OK:
        return {}
    shares = judgement.probabilities
    if set(shares) != set(dimension.labels):
        given, scale = sorted(shares), list(dimension.labels)
        return {
            "zh": f"评委给出了 {given} 的概率，而量表是 {scale}。",
            "en": f"The judge gave probabilities for {given}, but the scale is {scale}.",
        }
    if not all(math.isfinite(share) and share >= 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > _SUM_TOLERANCE:
        return {"zh": f"评委给出的概率之和不为 1：{dict(shares)}。", "en": f"The judge's probabilities do not sum to 1: {dict(shares)}."}
    if judgement.label not in dimension.labels:
        label, scale = judgement.label, list(dimension.labels)
        return {"zh": f"评委给出了 {label} 分，而量表是 {scale}。", "en": f"The judge gave the label {label}, but the scale is {scale}."}
    return {}


def _failed(judge: Judge, request: JudgeRequest, error: LocalText, raw_reply: str = "") -> Judgement:
    prompt = "" if request.prompt is None else request.prompt.sha256
    return Judgement(judge.id, request.item.id, JudgementStatus.FAILED, raw_reply=raw_reply, prompt_sha256=prompt, error=error)
