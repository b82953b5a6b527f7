"""A workbench with a small frozen snapshot, a runner in a process of its own, and light real jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from core.processes import kill
from core.settings import load_settings
from core.training import JobState, Snapshot, SnapshotFilter, Split, TrainingRow
from db.training import NewSnapshot
from tests.conftest import ROOT
from tests.training.build import judged_rows, snapshot
from training.rows import snapshot_sha256
from training.specs import EvaluateSpec
from webapp.job_runner import Runner
from webapp.workbench import Workbench


@pytest.fixture
def bench(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    workbench = Workbench.open(load_settings(home=home))
    yield workbench
    for job in workbench.store.jobs(100, states={JobState.RUNNING, JobState.STOPPING}):
        kill(job.process)
    workbench.store.close()


def freeze(workbench: Workbench, train: Sequence[TrainingRow], held_out: Sequence[TrainingRow], name: str = "small") -> Snapshot:
    """Write and store a snapshot of these rows."""
    folder = snapshot(workbench.settings.home / "snapshots" / name, train, held_out)
    counts = {
        dimension: {
            split: Counter(row.label for row in rows if row.dimension_id == dimension)
            for split, rows in ((Split.TRAIN, train), (Split.HELD_OUT, held_out))
        }
        for dimension in {row.dimension_id for row in [*train, *held_out]}
    }
    digest = snapshot_sha256(folder)
    families = {row.hash: row.family for row in held_out}
    return workbench.store.add_snapshot(
        NewSnapshot(name, name, folder, digest, digest, len(train), families, 0, 0, SnapshotFilter(), counts, "li")
    )


@pytest.fixture
def small(bench: Workbench) -> Snapshot:
    return freeze(bench, judged_rows(40, Split.TRAIN), judged_rows(60, Split.HELD_OUT))


def measure(snapshot: Snapshot, family: str = "rules", *, slow: bool = False, name: str = "measure", **options: object) -> EvaluateSpec:
    """Return a light real job; a `slow` one tells of every row."""
    judge = {"id": family, "family": family, "options": options}
    batch = 1 if slow else 256
    return EvaluateSpec.model_validate({"name": name, "judge": judge, "snapshot": snapshot.folder, "batch_size": batch})


class RunnerProcess:
    """`python -m webapp.job_runner`, as the server starts it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PINGPAN_HOME": str(self._home)}
        self.process = subprocess.Popen([sys.executable, "-m", "webapp.job_runner"], cwd=ROOT, env=environment)
        return self.process

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def runner(home: Path, bench: Workbench) -> Iterator[RunnerProcess]:
    process = RunnerProcess(home)
    yield process
    process.kill()


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def wait_over(workbench: Workbench, job_id: int, seconds: float = 40.0) -> JobState:
    """Wait until a job is over, and return its state."""
    over = {JobState.DONE, JobState.FAILED, JobState.STOPPED}
    wait_for(lambda: workbench.store.job(job_id).state in over, seconds)
    return workbench.store.job(job_id).state


def drive(runner: Runner, condition: Callable[[], object], seconds: float = 40.0) -> None:
    """Let a runner of this process work until something holds."""

    def reached() -> object:
        runner.step()
        return condition()

    wait_for(reached, seconds)
