"""Puts runs that were paused because a model server was away back into the queue when the server is there again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.pipeline import IN_TURN
from core.types import JudgeSpec, PanelSpec, Run, RunState

logger = logging.getLogger(__name__)

FAMILY = "server"
LOOK_SECONDS = 5.0
# A server may be healthy and still turn every row away: each attempt that ends in another pause doubles the wait.
FIRST_WAIT_S, LONGEST_WAIT_S = 10.0, 900.0
LATEST = 200


class RunShelf(Protocol):
    """What is needed from the store."""

    def runs(self, limit: int = 50) -> Sequence[Run]:
        """Return the latest runs, newest first."""

    def resume(self, run_id: int) -> Run:
        """Put a paused run back into the queue."""


@dataclass(slots=True)
class _Wait:
    until: float
    seconds: float


def server_answers(spec: JudgeSpec) -> bool:
    """Return whether a judge's server is up (imported late: a worker without such panels needs no HTTP client)."""
    from core.judging.server import server_is_up

    return server_is_up(spec)


class PausedRuns:
    """Looks at paused runs now and then; a worker calls `revive` while it has nothing else to do."""

    def __init__(
        self, store: RunShelf, is_up: Callable[[JudgeSpec], bool] = server_answers, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._is_up = is_up
        self._clock = clock
        self._next_look = 0.0
        self._waits: dict[int, _Wait] = {}

    def revive(self) -> list[int]:
        """Queue the paused runs whose servers answer again; return their ids. Cheap when called often.

        Only runs whose panel has judges of the family `server` are looked at. A panel whose judges work in turn needs
        one server that answers, any other panel all of them.
        """
        now = self._clock()
        if now < self._next_look:
            return []
        self._next_look = now + LOOK_SECONDS
        paused = [run for run in self._store.runs(LATEST) if run.state is RunState.PAUSED and list(_served(run.panel))]
        return [run.id for run in paused if self._try(run, now)]

    def _try(self, run: Run, now: float) -> bool:
        wait = self._waits.setdefault(run.id, _Wait(now, FIRST_WAIT_S))
        if now < wait.until:
            return False
        up = (self._is_up(spec) for spec in _served(run.panel))
        if not (any(up) if run.panel.schedule == IN_TURN else all(up)):
            return False
        wait.until, wait.seconds = now + wait.seconds, min(2 * wait.seconds, LONGEST_WAIT_S)
        self._store.resume(run.id)
        logger.info("run %d: its model servers answer again; it goes on", run.id)
        return True


def _served(panel: PanelSpec) -> Iterator[JudgeSpec]:
    return (spec for spec in panel.judges if spec.family == FAMILY)
