"""Judges side by side: each lane is a thread that asks its judges, one after the other; all answers come out of one queue.

Judges that share a resource (one card, the processor) stand in one lane. A lane knows nothing of the store: the run loop
gives it batches and takes its events, both in the loop's own thread.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.answers import answers_of
from core.ports import Judge
from core.types import Judgement, JudgeRequest

logger = logging.getLogger(__name__)

# One batch is judged while the next one waits, so that a lane never waits for the run loop.
WAITING = 2
# A lane that is told to stop gets this long to hand over the answers in flight, before its judges are closed under it.
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What a lane is asked: each judge with its requests; `last` is the position of the batch's last row."""

    asked: tuple[tuple[Judge, tuple[JudgeRequest, ...]], ...]
    last: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A judge's answer to one row."""

    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Finished:
    """A lane is through with a batch."""

    lane: Lane
    batch: Batch


@dataclass(frozen=True, slots=True)
class Broken:
    """A lane ended with an error; its judges cannot answer now."""

    error: Exception


Event = Answered | Finished | Broken


class Lane:
    """One thread with its judges.

    `cursor` is the position up to which it was asked, `done` up to which it has answered, `size` the rows of its last batch.
    """

    def __init__(self, name: str, judge_ids: Sequence[str], events: queue.SimpleQueue[Event]) -> None:
        self.name = name
        self.judge_ids = tuple(judge_ids)
        self.cursor = self.done = -1
        self.exhausted = False
        self.waiting = self.size = 0
        self._events = events
        self._inbox: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"lane-{name}", daemon=True)

    @property
    def hungry(self) -> bool:
        """Return whether the lane should get another batch."""
        return not self.exhausted and self.waiting < WAITING

    @property
    def over(self) -> bool:
        """Return whether every row was asked and answered."""
        return self.exhausted and not self.waiting

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Give the lane a batch."""
        self.waiting += 1
        self.cursor = batch.last
        self._inbox.put(batch)

    def tell_to_stop(self) -> None:
        """Ask the thread to end after the answer that is being made."""
        self._stop.set()
        self._inbox.put(None)

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the thread; return whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            while (batch := self._inbox.get()) is not None and not self._stop.is_set():
                for judge, requests in batch.asked:
                    self._ask(judge, requests)
                    if self._stop.is_set():
                        return
                self._events.put(Finished(self, batch))
        except Exception as error:  # noqa: BLE001 (the edge of the thread: the run loop raises it)
            self._events.put(Broken(error))

    def _ask(self, judge: Judge, requests: Sequence[JudgeRequest]) -> None:
        with contextlib.closing(answers_of(judge, requests)) as stream:
            for answer in stream:
                self._events.put(Answered(answer))
                if self._stop.is_set():
                    return


class Lanes:
    """The lanes of a run. Used by one thread, which owns the store."""

    def __init__(self, groups: Sequence[tuple[str, Sequence[str]]]) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.all = tuple(Lane(name, judge_ids, self._events) for name, judge_ids in groups)

    def start(self) -> None:
        """Start every lane."""
        for lane in self.all:
            lane.start()

    @property
    def over(self) -> bool:
        """Return whether every lane has answered all its rows."""
        return all(lane.over for lane in self.all)

    @property
    def done(self) -> int:
        """Return the position up to which all unfinished lanes have answered; that of the furthest when all are over."""
        open_lanes = [lane.done for lane in self.all if not lane.over]
        return min(open_lanes) if open_lanes else max((lane.done for lane in self.all), default=-1)

    def hungry(self) -> Lane | None:
        """Return the lane that should get the next batch: one with nothing to do first."""
        waiting = [lane for lane in self.all if lane.hungry]
        return min(waiting, key=lambda lane: (lane.waiting, lane.cursor)) if waiting else None

    def events(self, seconds: float) -> Iterator[Event]:
        """Yield what has happened; wait up to `seconds` for the first event."""
        with contextlib.suppress(queue.Empty):
            yield self._noted(self._events.get(timeout=seconds) if seconds else self._events.get_nowait())
            while True:
                yield self._noted(self._events.get_nowait())

    def stop(self, judges: Sequence[Judge]) -> list[Judgement]:
        """End every lane and return the answers that were not taken yet.

        `judges` are closed when a lane does not end in time: a server's request may hang for minutes.
        """
        for lane in self.all:
            lane.tell_to_stop()
        slow = [lane for lane in self.all if not lane.join(PATIENCE_S / max(1, len(self.all)))]
        for judge in judges:
            if any(judge.id in lane.judge_ids for lane in slow) and getattr(judge, "gives_up_when_closed", False):
                logger.info("judge %s is closed with requests in flight", judge.id)
                judge.close()
        for lane in slow:
            lane.join()
        return [event.judgement for event in self.events(0) if isinstance(event, Answered)]

    def _noted(self, event: Event) -> Event:
        if isinstance(event, Finished):
            event.lane.waiting -= 1
            event.lane.done = event.batch.last
        return event
