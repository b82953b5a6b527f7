"""The resumable run loop: examples, judges, verdicts; what is stored is never asked for again.

A run may be killed at any moment. Every answer is committed as it comes (`commit_seconds`), unique per run, item and
judge, and the loop asks the store what is missing; so a run that goes on ends as an undisturbed one would, given judges
whose answers do not depend on the batch.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol

from core.errors import DimensionError, JudgeError, JudgeUnavailable, PingpanError, RetrievalError, StoreError
from core.ports import Aggregator, Judge, Retriever, RunStore, WorkItem
from core.types import (
    Dimension,
    Example,
    Item,
    Judgement,
    JudgementStatus,
    JudgeRequest,
    LocalText,
    RenderedPrompt,
    Run,
    RunState,
    one_language,
    said,
)

logger = logging.getLogger(__name__)

LOADING, JUDGING, DECIDING = "loading", "judging", "deciding"
IN_TURN = "in_turn"
# Verdicts cost so little that their batches may be larger than those of the judges.
_DECIDE_CHUNK = 1_000
_SUM_TOLERANCE = 1e-3


class PromptRenderer(Protocol):
    """Makes the prompt that judges read."""

    def render(self, item: Item, examples: Sequence[Example]) -> RenderedPrompt:
        """Return the prompt of an item with the examples shown for it."""


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """How a run is worked: rows in a batch, examples per row, and seconds between commits, heartbeats and reports."""

    batch_size: int = 128
    examples: int = 5
    commit_seconds: float = 1.0
    heartbeat_seconds: float = 2.0
    progress_seconds: float = 0.25


class _Halted(Exception):
    """Leaves the loop after the answers in flight are stored."""


def execute(
    run: Run,
    store: RunStore,
    judges: Sequence[tuple[str, Callable[[], Judge]]],
    *,
    retriever: Retriever | None,
    prompts: PromptRenderer | None,
    aggregator: Aggregator,
    dimensions: Mapping[str, Dimension],
    worker: str,
    options: PipelineOptions | None = None,
    on_progress: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> RunState:
    """Work on a run that `worker` has claimed until it is done, stopped or cannot go on; return the state it is left in.

    `judges` are ids and makers: a judge is made when it has something to do, and closed at the end ("together") or
    before the next is made ("in_turn": one model on the card). A row on which a judge raises is asked again alone, and
    is FAILED only if that raises too. JudgeUnavailable leaves the run PAUSED, any other PingpanError FAILED, both with
    the reason; StoreError and errors of the program itself are raised, and the run stays claimable.
    """
    settings = options or PipelineOptions()
    heartbeat = Heartbeat(store, run.id, worker, settings.heartbeat_seconds)
    loop = _Loop(run, store, dict(judges), retriever, prompts, aggregator, dimensions, settings, heartbeat, on_progress, clock)
    state = RunState.DONE
    error: LocalText = {}
    with heartbeat:
        try:
            loop.work()
        except _Halted:
            state = RunState.STOPPED
        except JudgeUnavailable as unavailable:
            state, error = RunState.PAUSED, unavailable.messages
        except StoreError:
            raise
        except PingpanError as failure:
            state, error = RunState.FAILED, failure.messages
        finally:
            loop.close()
    left = store.end_work(run.id, worker, state, error)
    logger.info("run %d is %s%s", run.id, left.value, f": {said(error, 'en')}" if error else "")
    return left


class Heartbeat:
    """Tells the store from a thread of its own that the worker lives, however long a judge takes for an answer.

    A service that prepares long before `execute` (learns, loads) may hold one around everything; two do no harm.
    """

    def __init__(self, store: RunStore, run_id: int, worker: str, seconds: float = 2.0) -> None:
        self._store, self._run_id, self._worker, self._seconds = store, run_id, worker, seconds
        self._over = threading.Event()
        self._halted = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{run_id}", daemon=True)

    def __enter__(self) -> Heartbeat:
        self.check()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def stage(self, stage: str) -> None:
        """Say what the worker does now."""
        self._store.set_stage(self._run_id, self._worker, stage)

    def check(self) -> None:
        """Beat now. Sets `halted` when the run must be left."""
        if not self._store.heartbeat(self._run_id, self._worker):
            self._halted.set()

    @property
    def halted(self) -> bool:
        """Return whether the run was asked to stop or is another worker's."""
        return self._halted.is_set()

    def _beat(self) -> None:
        while not self._over.wait(self._seconds):
            try:
                self.check()
            except StoreError as error:  # the loop meets the same error at its next commit, and raises it
                logger.warning("heartbeat of run %d: %s", self._run_id, error)


@dataclass(slots=True)
class _Loop:
    """One run at work."""

    run: Run
    store: RunStore
    makers: Mapping[str, Callable[[], Judge]]
    retriever: Retriever | None
    prompts: PromptRenderer | None
    aggregator: Aggregator
    dimensions: Mapping[str, Dimension]
    options: PipelineOptions
    heartbeat: Heartbeat
    on_progress: Callable[[], None] | None
    clock: Callable[[], float]
    _judges: dict[str, Judge] = field(default_factory=dict)
    _stage: str = ""
    _reported: float = -math.inf

    def work(self) -> None:
        """Do everything that is missing."""
        if self.heartbeat.halted:
            raise _Halted
        if self.run.panel.schedule == IN_TURN:
            for judge_id in self.makers:
                self._judge_rows([judge_id], decide=False)
                self.close()
        else:
            self._judge_rows(list(self.makers), decide=True)
        self._set_stage(DECIDING)
        after = -1
        while (last := self._decide(after, _DECIDE_CHUNK)) is not None:
            after = last
            self._committed()
        self._report(now=True)

    def close(self) -> None:
        """Close the judges that are open."""
        while self._judges:
            self._judges.popitem()[1].close()

    def _judge_rows(self, judge_ids: Sequence[str], *, decide: bool) -> None:
        after = -1
        while batch := self.store.work_items(self.run.id, judge_ids, after, self.options.batch_size):
            # Opened before the examples are looked for, so that a judge that cannot start is known at once.
            judges = [self._open(judge_id) for judge_id in judge_ids if any(judge_id not in work.judged_by for work in batch)]
            self._set_stage(JUDGING)
            requests = self._requests(batch)
            rendered: dict[int, RenderedPrompt] = {}
            for judge in judges:
                wanted = [request for work, request in zip(batch, requests, strict=True) if judge.id not in work.judged_by]
                self._ask(judge, self._with_prompts(wanted, rendered) if judge.reads_prompts else wanted)
            if decide:
                self._decide(batch[0].item.position - 1, len(batch))
                self._committed()
            after = batch[-1].item.position

    def _open(self, judge_id: str) -> Judge:
        judge = self._judges.get(judge_id)
        if judge is None:
            self._set_stage(LOADING)
            judge = self.makers[judge_id]()
            if judge.id != judge_id:
                judge.close()
                raise JudgeError(
                    f"The judge made for {judge_id!r} calls itself {judge.id!r}; its factory must keep the id of the panel.",
                    zh=f"为 {judge_id!r} 建立的评委自称 {judge.id!r}；其工厂函数必须沿用评委组中的编号。",
                )
            self._judges[judge_id] = judge
        return judge

    def _requests(self, batch: Sequence[WorkItem]) -> list[JudgeRequest]:
        shown = self._examples(batch)
        requests = []
        for work in batch:
            dimension = self._dimension(work.item)
            requests.append(JudgeRequest(work.item, dimension, shown.get(work.item.id, ())))
        return requests

    def _examples(self, batch: Sequence[WorkItem]) -> dict[int, tuple[Example, ...]]:
        """Return what is shown for each item: what is stored already, else what is found now, stored first."""
        shown = {work.item.id: work.examples for work in batch if work.examples is not None}
        wanting = [work.item for work in batch if work.examples is None]
        if self.retriever is None or self.options.examples == 0 or not wanting:
            return shown
        found = self.retriever.search(wanting, self.options.examples)
        if len(found) != len(wanting):
            raise RetrievalError(
                f"The index gave examples for {len(found)} rows and was asked for {len(wanting)}; run `./run.sh reindex`.",
                zh=f"索引只给出了 {len(found)} 行的示例，而需要 {len(wanting)} 行；请运行 `./run.sh reindex`。",
            )
        new = {item.id: examples for item, examples in zip(wanting, found, strict=True)}
        self.store.save_examples(self.run.id, new)
        return shown | new

    def _with_prompts(self, requests: Sequence[JudgeRequest], rendered: dict[int, RenderedPrompt]) -> list[JudgeRequest]:
        if self.prompts is None:
            raise JudgeError(
                "A judge of this panel reads prompts, but none are configured for this run.",
                zh="这个评委组中有评委需要提示词，而本次运行没有配置提示词。",
            )
        for request in requests:
            if request.item.id not in rendered:
                rendered[request.item.id] = self.prompts.render(request.item, request.examples)
        return [replace(request, prompt=rendered[request.item.id]) for request in requests]

    def _ask(self, judge: Judge, requests: Sequence[JudgeRequest]) -> None:
        """Ask one judge and commit its answers as they come; what it gave before it broke off is kept."""
        answers: list[Judgement] = []
        since = self.clock()
        stream = answers_of(judge, requests)
        try:
            for answer in stream:
                answers.append(answer)
                if self.clock() - since >= self.options.commit_seconds or self.heartbeat.halted:
                    self._commit(answers)
                    since = self.clock()
        finally:
            stream.close()
            if answers:
                self.store.save_judgements(self.run.id, answers)
        self._committed()

    def _commit(self, answers: list[Judgement]) -> None:
        self.store.save_judgements(self.run.id, answers)
        answers.clear()
        self._committed()

    def _committed(self) -> None:
        self.heartbeat.check()
        self._report()
        if self.heartbeat.halted:
            raise _Halted

    def _decide(self, after: int, limit: int) -> int | None:
        """Store the verdicts of up to `limit` judged items above `after`; return the last position, None when there are none."""
        ready = self.store.undecided(self.run.id, self.aggregator.id, after, limit)
        if not ready:
            return None
        lead = self.run.panel.lead
        decisions = {item.id: self.aggregator(judgements, self._dimension(item), lead) for item, judgements in ready}
        self.store.save_verdicts(self.run.id, self.aggregator.id, decisions)
        return ready[-1][0].position

    def _dimension(self, item: Item) -> Dimension:
        dimension = self.dimensions.get(item.dimension_id)
        if dimension is None:
            known = ", ".join(sorted(self.dimensions))
            raise DimensionError(
                f"Row {item.source.row} ({item.external_id}) is of the dimension {item.dimension_id!r}, which has no file any more "
                f"(there are: {known}). Put its file back, then resume the run.",
                zh=f"第 {item.source.row} 行({item.external_id})的评判维度 {item.dimension_id!r} 已没有定义文件(现有:{known})。",
            )
        return dimension

    def _set_stage(self, stage: str) -> None:
        if stage != self._stage:
            self._stage = stage
            self.heartbeat.stage(stage)
            self._report(now=True)

    def _report(self, *, now: bool = False) -> None:
        moment = self.clock()
        if self.on_progress is not None and (now or moment - self._reported >= self.options.progress_seconds):
            self._reported = moment
            self.on_progress()


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
