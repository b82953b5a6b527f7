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
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol

from core.answers import answers_of
from core.errors import DimensionError, JudgeError, JudgeUnavailable, PingpanError, RetrievalError, StoreError
from core.lanes import Answered, Batch, Broken, Event, Finished, Lane, Lanes
from core.ports import Aggregator, Judge, Retriever, RunStore, WorkItem, rows_wanted
from core.types import Dimension, Example, Item, Judgement, JudgeRequest, LocalText, RenderedPrompt, Run, RunState, said

logger = logging.getLogger(__name__)

LOADING, JUDGING, DECIDING = "loading", "judging", "deciding"
IN_TURN = "in_turn"
# Verdicts cost so little that their batches may be larger than those of the judges.
_DECIDE_CHUNK = 1_000
# Prompts kept for the next judge that reads them, some 3 KB each.
_PROMPTS_KEPT = 4_096
# How long the loop waits for an answer before it looks at the clock and at whether it must stop.
_LOOK_SECONDS = 0.1


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


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How a panel's judges share the machine.

    `lanes` names the lane of each judge that may work beside others: those of one lane take turns, lanes work side by
    side, each in a thread; judges without a lane are asked in the loop's own thread. `prefetch` has, for a judge whose
    start is slow, what can be done for it while the judge before it is still at work ("in_turn"); it ends at the event.
    """

    lanes: Mapping[str, str] = field(default_factory=dict)
    prefetch: Mapping[str, Callable[[threading.Event], None]] = field(default_factory=dict)


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
    arrangement: Arrangement | None = None,
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
    loop = _Loop(
        run, store, dict(judges), retriever, prompts, aggregator, dimensions, settings, arrangement or Arrangement(), heartbeat,
        on_progress, clock,
    )  # fmt: skip
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
    arrangement: Arrangement
    heartbeat: Heartbeat
    on_progress: Callable[[], None] | None
    clock: Callable[[], float]
    _judges: dict[str, Judge] = field(default_factory=dict)
    _rendered: OrderedDict[int, RenderedPrompt] = field(default_factory=OrderedDict)
    _prefetched: _Prefetch | None = None
    _stage: str = ""
    _reported: float = -math.inf

    def work(self) -> None:
        """Do everything that is missing."""
        if self.heartbeat.halted:
            raise _Halted
        ids = list(self.makers)
        if self.run.panel.schedule == IN_TURN:
            for place, judge_id in enumerate(ids):
                self._judge_all([judge_id], decide=False, upcoming=ids[place + 1 :])
                self._close_judges()
        else:
            self._judge_all(ids, decide=True)
        self._set_stage(DECIDING)
        after = -1
        while (last := self._decide(after, _DECIDE_CHUNK)) is not None:
            after = last
            self._committed()
        self._report(now=True)

    def close(self) -> None:
        """Close the judges that are open, and end what was being prepared."""
        self._close_judges()
        if self._prefetched is not None:
            self._prefetched.end()

    def _close_judges(self) -> None:
        while self._judges:
            self._judges.popitem()[1].close()

    def _judge_all(self, judge_ids: Sequence[str], *, decide: bool, upcoming: Sequence[str] = ()) -> None:
        lanes = self.arrangement.lanes
        if any(judge_id in lanes for judge_id in judge_ids):
            groups: dict[str, list[str]] = {}
            for judge_id in judge_ids:
                groups.setdefault(lanes.get(judge_id, ""), []).append(judge_id)
            self._judge_side_by_side(groups, decide=decide, upcoming=upcoming)
        else:
            self._judge_rows(judge_ids, decide=decide)

    def _judge_rows(self, judge_ids: Sequence[str], *, decide: bool) -> None:
        """Ask the judges one after the other, batch by batch, in this thread."""
        after = -1
        while batch := self.store.work_items(self.run.id, judge_ids, after, self.options.batch_size):
            # Opened before the examples are looked for, so that a judge that cannot start is known at once.
            judges = [self._open(judge_id) for judge_id in judge_ids if any(judge_id not in work.judged_by for work in batch)]
            self._set_stage(JUDGING)
            for judge, wanted in self._wanted(judges, batch):
                self._ask(judge, wanted)
            if decide:
                self._decide(batch[0].item.position - 1, len(batch))
                self._committed()
            after = batch[-1].item.position

    def _judge_side_by_side(self, groups: Mapping[str, Sequence[str]], *, decide: bool, upcoming: Sequence[str]) -> None:
        """Ask the judges of each lane in a thread of its own; read, prepare and store in this one.

        Each lane goes through the rows at its own pace, at most two batches being asked of it: a slow one holds no other
        back. Models are loaded before the first row is asked, one after the other: transformers loads in one thread only.
        """
        missing = {judge_id for ids in groups.values() for judge_id in ids if self.store.work_items(self.run.id, [judge_id], -1, 1)}
        judges = {judge_id: self._open(judge_id) for ids in groups.values() for judge_id in ids if judge_id in missing}
        if not judges:
            return
        self._prefetch(upcoming)
        self._set_stage(JUDGING)
        lanes = Lanes([(name, wanted) for name, ids in groups.items() if (wanted := [judge_id for judge_id in ids if judge_id in missing])])
        answers = _Unsaved(self.options.commit_seconds, self.clock, self.clock())
        lanes.start()
        try:
            decided = -1
            while not lanes.over:
                hungry = lanes.hungry()
                if hungry is not None:
                    self._feed(hungry, judges)
                for event in lanes.events(0.0 if hungry else _LOOK_SECONDS):
                    self._take(event, answers)
                if answers.due or self.heartbeat.halted:
                    self._commit(answers.judgements)
                    answers.saved()
                if decide and lanes.done > decided:
                    self._decide(decided, lanes.done - decided)
                    decided = lanes.done
        finally:
            answers.judgements += lanes.stop(list(judges.values()))
            if answers.judgements:
                self.store.save_judgements(self.run.id, answers.judgements)
        self._committed()

    def _feed(self, lane: Lane, judges: Mapping[str, Judge]) -> None:
        """Give a lane its next batch: the first is small, so that it soon begins, later ones grow to what its judges like."""
        mine = [judges[judge_id] for judge_id in lane.judge_ids]
        liked = max(self.options.batch_size, *(rows_wanted(judge) for judge in mine))
        lane.size = min(liked, 2 * lane.size) if lane.size else self.options.batch_size
        batch = self.store.work_items(self.run.id, lane.judge_ids, lane.cursor, lane.size)
        if not batch:
            lane.exhausted = True
            return
        asked = tuple((judge, tuple(wanted)) for judge, wanted in self._wanted(mine, batch))
        lane.put(Batch(asked, batch[-1].item.position))

    def _take(self, event: Event, answers: _Unsaved) -> None:
        if isinstance(event, Answered):
            answers.judgements.append(event.judgement)
        elif isinstance(event, Broken):
            raise event.error
        elif isinstance(event, Finished):
            answers.finished = True

    def _prefetch(self, upcoming: Sequence[str]) -> None:
        """Begin to prepare the next judge that has anything to do."""
        following = next((one for one in upcoming if self.store.work_items(self.run.id, [one], -1, 1)), None)
        prepare = self.arrangement.prefetch.get(following or "")
        if prepare is not None:
            if self._prefetched is not None:
                self._prefetched.end()
            self._prefetched = _Prefetch(prepare)

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

    def _wanted(self, judges: Sequence[Judge], batch: Sequence[WorkItem]) -> list[tuple[Judge, list[JudgeRequest]]]:
        """Return what each judge must be asked of a batch."""
        requests = self._requests(batch)
        asked = []
        for judge in judges:
            wanted = [request for work, request in zip(batch, requests, strict=True) if judge.id not in work.judged_by]
            asked.append((judge, self._with_prompts(wanted) if judge.reads_prompts else wanted))
        return asked

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

    def _with_prompts(self, requests: Sequence[JudgeRequest]) -> list[JudgeRequest]:
        if self.prompts is None:
            raise JudgeError(
                "A judge of this panel reads prompts, but none are configured for this run.",
                zh="这个评委组中有评委需要提示词，而本次运行没有配置提示词。",
            )
        rendered = []
        for request in requests:
            prompt = self._rendered.get(request.item.id) or self.prompts.render(request.item, request.examples)
            self._rendered[request.item.id] = prompt
            rendered.append(replace(request, prompt=prompt))
        while len(self._rendered) > _PROMPTS_KEPT:
            self._rendered.popitem(last=False)
        return rendered

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
                zh=f"第 {item.source.row} 行（{item.external_id}）的评判维度 {item.dimension_id!r} 已没有定义文件（现有：{known}）。"
                "请放回该文件，然后继续运行。",
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


@dataclass(slots=True)
class _Unsaved:
    """Answers that are not committed yet; due every `seconds`, and when a batch is finished."""

    seconds: float
    clock: Callable[[], float]
    since: float
    judgements: list[Judgement] = field(default_factory=list)
    finished: bool = False

    @property
    def due(self) -> bool:
        """Return whether to commit now."""
        return bool(self.judgements) and (self.finished or self.clock() - self.since >= self.seconds)

    def saved(self) -> None:
        """Begin the next interval."""
        self.since, self.finished = self.clock(), False


class _Prefetch:
    """Something done ahead in a thread of its own."""

    def __init__(self, prepare: Callable[[threading.Event], None]) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(prepare,), name="prefetch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Tell it to end, and wait until it has."""
        self._over.set()
        self._thread.join()

    def _run(self, prepare: Callable[[threading.Event], None]) -> None:
        try:
            prepare(self._over)
        except Exception:  # the edge of the thread: the judge itself meets the same fault at its start, and says so
            logger.warning("preparing the next judge failed", exc_info=True)
