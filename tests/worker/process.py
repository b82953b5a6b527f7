"""A worker process whose runs are judged by the tests' small judges: `python -m tests.worker.process URL LOG PAUSE [PARENT]`."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from core.pipeline import PipelineOptions, execute
from core.ports import Judge
from core.types import RunState
from db.engine import make_engine
from db.store import SqlStore
from db.workers import current_worker
from tests.db.build import DIMENSIONS
from tests.pipeline.judges import Mean, SmallJudge, write_line
from webapp.worker import Worker


def executor(store: SqlStore, log: Path, pause: float) -> Callable[[int], RunState]:
    """Return what executes a run."""

    def work(run_id: int) -> RunState:
        run = store.claim(run_id, current_worker())
        if run.panel.description.get("en") == "breaks":
            raise RuntimeError("a fault of the program")

        def maker(name: str) -> Callable[[], Judge]:
            return lambda: SmallJudge(name, pause=pause, log=log)

        makers = [(spec.id, maker(spec.id)) for spec in run.panel.judges]
        options = PipelineOptions(batch_size=10, examples=0, commit_seconds=0.05, heartbeat_seconds=0.1)
        return execute(
            run,
            store,
            makers,
            retriever=None,
            prompts=None,
            aggregator=Mean(run.aggregator),
            dimensions=DIMENSIONS,
            worker=current_worker(),
            options=options,
        )

    return work


def main(url: str, log: str, pause: str, parent: str = "") -> None:
    """Work until SIGTERM or the parent's end."""
    logging.basicConfig(level="WARNING")
    store = SqlStore(make_engine(url))
    worker = Worker(store, executor(store, Path(log), float(pause)), parent=parent, poll_seconds=0.05)
    signal.signal(signal.SIGTERM, lambda *_: worker.shut_down())
    write_line(Path(log).with_suffix(".born"), current_worker())
    worker.work()
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
