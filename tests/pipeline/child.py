"""A worker process that tests kill: claims the next run, works on it, and may die at a chosen moment by its own hand."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from core.pipeline import PipelineOptions, execute
from core.ports import Judge
from db.engine import make_engine
from db.store import SqlStore
from db.workers import current_worker
from tests.db.build import DIMENSIONS
from tests.pipeline.judges import Mean, SmallJudge, SmallPrompts, SmallRetriever


@dataclass(frozen=True)
class Orders:
    """What the child does. `die` is (store method, call number, "before" or "after")."""

    url: str
    log: Path
    pause: float = 0.0
    batch_size: int = 16
    commit_seconds: float = 0.01
    die: tuple[str, int, str] | None = None


class MortalStore(SqlStore):
    """A store whose process dies at a chosen call, with SIGKILL and no farewell."""

    orders: Orders
    calls: Counter[str]

    def _maybe(self, method: str, when: str) -> None:
        if self.orders.die == (method, self.calls[method], when):
            os.kill(os.getpid(), signal.SIGKILL)

    def _mortal(self, method: str, work: Callable[[], Any]) -> Any:
        self.calls[method] += 1
        self._maybe(method, "before")
        result = work()
        self._maybe(method, "after")
        return result

    def save_examples(self, run_id: int, examples: Mapping[int, Any]) -> None:
        self._mortal("save_examples", lambda: super(MortalStore, self).save_examples(run_id, examples))

    def save_judgements(self, run_id: int, judgements: Iterable[Any]) -> None:
        self._mortal("save_judgements", lambda: super(MortalStore, self).save_judgements(run_id, judgements))

    def save_verdicts(self, run_id: int, aggregator: str, decisions: Mapping[int, Any]) -> None:
        self._mortal("save_verdicts", lambda: super(MortalStore, self).save_verdicts(run_id, aggregator, decisions))

    def end_work(self, *values: Any, **named: Any) -> Any:
        return self._mortal("end_work", lambda: super(MortalStore, self).end_work(*values, **named))


def work_until_killed(orders: Orders, parent: Connection) -> None:
    """Claim and execute the next run; tell the parent when it begins ("begun") and how it ended."""
    store = MortalStore(make_engine(orders.url))
    store.orders, store.calls = orders, Counter()
    run = store.claim_next(current_worker())
    if run is None:
        parent.send("nothing to do")
        return
    parent.send("begun")

    def maker(name: str) -> Callable[[], Judge]:
        return lambda: SmallJudge(name, reads_prompts=name == "third", pause=orders.pause, log=orders.log)

    state = execute(
        run,
        store,
        [(spec.id, maker(spec.id)) for spec in run.panel.judges],
        retriever=SmallRetriever(store.library_items(run.library_id, run.library_version)),
        prompts=SmallPrompts(),
        aggregator=Mean(run.aggregator),
        dimensions=DIMENSIONS,
        worker=current_worker(),
        options=PipelineOptions(orders.batch_size, 3, orders.commit_seconds, 0.5),
    )
    store.close()
    parent.send(state.value)
