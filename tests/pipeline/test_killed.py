"""A run that is killed again and again, at random and at every chosen moment, ends as one that nobody disturbed."""

from __future__ import annotations

import multiprocessing
import random
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from sqlalchemy import select

from core.types import Run, RunState
from db.engine import make_engine, reading
from db.migrate import upgrade
from db.models import JudgementRecord, ShownRecord
from db.store import SqlStore
from tests.db.build import JUDGES, add_run
from tests.pipeline.child import Orders, work_until_killed

ROWS = 400


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that begin in milliseconds, for there are many of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pipeline.child"])
    return context


def outcome(store: SqlStore, run: Run) -> list[object]:
    """Return all that a run left behind, without ids, times and the order of storing."""
    return [
        (
            row.item.external_id,
            [replace(kept, item_id=0) for kept in row.judgements],
            row.examples,
            row.verdict and (row.verdict.aggregator, row.verdict.decision),
        )
        for row in store.export_rows(run.id)
    ]


def stored(store: SqlStore, run: Run) -> dict[tuple[int, str], datetime]:
    """Return when each judgement of a run was stored."""
    record = JudgementRecord
    with reading(store.engine) as connection:
        query = select(record.item_id, record.judge_id, record.created_at).where(record.run_id == run.id)
        return {(item_id, judge_id): created for item_id, judge_id, created in connection.execute(query)}


class Patient:
    """A run and the processes that die over it."""

    def __init__(self, processes: ForkServerContext, store: SqlStore, orders: Orders, run: Run) -> None:
        self.processes, self.store, self.orders, self.run = processes, store, orders, run
        self.kills = 0
        self.kept: dict[tuple[int, str], datetime] = {}

    def live(self, seconds: float | None = None, die: tuple[str, int, str] | None = None) -> str:
        """Work in a process of its own, killed after `seconds`; return how it ended ("killed", or the run's state)."""
        here, there = self.processes.Pipe(duplex=False)
        child = self.processes.Process(target=work_until_killed, args=(replace(self.orders, die=die), there))
        child.start()
        there.close()
        said: list[str] = []
        try:
            said.append(here.recv())
            if here.poll(seconds if seconds is not None else 50):
                said.append(here.recv())
        except EOFError:
            pass
        if seconds is not None:
            child.kill()
        child.join(30)
        here.close()
        killed = child.exitcode == -signal.SIGKILL and len(said) < 2
        child.close()
        self.check_nothing_changed()
        self.kills += killed
        return "killed" if killed else said[-1]

    def check_nothing_changed(self) -> None:
        """Check that what was stored before the last death is stored still, untouched."""
        now = stored(self.store, self.run)
        assert {key: now.get(key) for key in self.kept} == self.kept
        self.kept = now

    def check_asked(self) -> None:
        """Check that only answers in flight at a death were ever asked again, and none after it was stored."""
        asked = Counter(tuple(line.split()) for line in self.orders.log.read_text().splitlines())
        assert len(asked) == len(self.kept) == self.run.items * len(JUDGES)
        assert sum(asked.values()) - len(asked) <= self.kills * self.orders.batch_size


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[SqlStore]:
    engine = make_engine(f"sqlite:///{tmp_path / 'pingpan.db'}")
    upgrade(engine)
    store = SqlStore(engine)
    yield store
    store.close()


def undisturbed(processes: ForkServerContext, store: SqlStore, orders: Orders, rows: int, schedule: str) -> list[object]:
    run = add_run(store, rows, schedule=schedule, aggregator="mean")
    quiet = replace(orders, pause=0.0, commit_seconds=1.0, log=orders.log.with_suffix(".quiet"))
    assert Patient(processes, store, quiet, run).live() == RunState.DONE
    return outcome(store, run)


@pytest.mark.parametrize(("schedule", "seed"), [("together", 11), ("together", 23), ("in_turn", 37)])
def test_killed_at_random_moments(processes: ForkServerContext, opened: SqlStore, tmp_path: Path, schedule: str, seed: int) -> None:
    orders = Orders(str(opened.engine.url), tmp_path / "asked.log", pause=0.0004)
    wanted = undisturbed(processes, opened, orders, ROWS, schedule)
    patient = Patient(processes, opened, orders, add_run(opened, ROWS, schedule=schedule, aggregator="mean"))
    rng = random.Random(seed)
    ended = ""
    for _ in range(6):
        ended = patient.live(rng.uniform(0.01, 0.4))
        if ended != "killed":
            break
    if ended != RunState.DONE:
        ended = patient.live()
    assert ended == RunState.DONE
    assert patient.kills >= 3
    assert outcome(opened, patient.run) == wanted
    patient.check_asked()


@pytest.mark.parametrize("schedule", ["together", "in_turn"])
def test_killed_at_every_kind_of_moment(processes: ForkServerContext, store: SqlStore, url: str, tmp_path: Path, schedule: str) -> None:
    """Before and after each commit: of examples, of each judge's answers (so between judges), of verdicts, of the end."""
    opened, orders = store, Orders(url, tmp_path / "asked.log", batch_size=20, commit_seconds=60)
    wanted = undisturbed(processes, opened, orders, 60, schedule)
    patient = Patient(processes, opened, orders, add_run(opened, 60, schedule=schedule, aggregator="mean"))
    moments = [("save_examples", 1, "before"), ("save_examples", 1, "after")]
    moments += [("save_judgements", number, when) for number in (1, 2, 3) for when in ("before", "after")]
    moments += [("save_verdicts", 1, "before"), ("save_verdicts", 1, "after"), ("end_work", 1, "before")]
    # Among those that come first for this schedule; the others still come, at the end.
    ends = [patient.live(die=moment) for moment in moments]
    assert ends.count("killed") >= 8
    if RunState.DONE not in ends:
        assert patient.live() == RunState.DONE
    assert outcome(opened, patient.run) == wanted
    patient.check_asked()


def test_killed_while_another_aggregator_decides(processes: ForkServerContext, opened: SqlStore, tmp_path: Path) -> None:
    rows = 2_100  # verdicts are stored a thousand at a time
    orders = Orders(str(opened.engine.url), tmp_path / "asked.log", batch_size=500, commit_seconds=60)
    fresh = add_run(opened, rows, aggregator="middle")
    assert Patient(processes, opened, orders, fresh).live() == RunState.DONE
    patient = Patient(processes, opened, orders, add_run(opened, rows, aggregator="mean"))
    assert patient.live() == RunState.DONE
    opened.set_aggregator(patient.run.id, "middle")
    asked = orders.log.stat().st_size
    decided = []
    first, second = ("save_verdicts", 1), ("save_verdicts", 2)
    for moment in [(*second, "before"), (*first, "before"), (*first, "after"), ("end_work", 1, "before")]:
        assert patient.live(die=moment) == "killed"
        decided.append(opened.progress(patient.run.id).decided)
    assert decided == [1_000, 1_000, 2_000, 2_100]
    assert patient.live() == RunState.DONE
    assert outcome(opened, patient.run) == outcome(opened, fresh)
    assert orders.log.stat().st_size == asked  # no judge was asked


def test_examples_are_looked_for_once(processes: ForkServerContext, opened: SqlStore, tmp_path: Path) -> None:
    orders = Orders(str(opened.engine.url), tmp_path / "asked.log", batch_size=20, commit_seconds=60)
    run = add_run(opened, 20, aggregator="mean")
    patient = Patient(processes, opened, orders, run)
    assert patient.live(die=("save_judgements", 1, "before")) == "killed"
    with reading(opened.engine) as connection:
        before = connection.execute(select(ShownRecord.item_id, ShownRecord.library_item_id).where(ShownRecord.run_id == run.id)).all()
    assert len(before) == 60
    assert patient.live() == RunState.DONE
    with reading(opened.engine) as connection:
        after = connection.execute(select(ShownRecord.item_id, ShownRecord.library_item_id).where(ShownRecord.run_id == run.id)).all()
    assert sorted(after) == sorted(before)
