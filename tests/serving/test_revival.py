"""A run whose model server goes away pauses, and goes on by itself when the server is back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.settings import load_settings
from core.types import JudgementStatus, JudgeSpec, PanelSpec, Run, RunState, said
from tests.judging.server.engines import serving
from webapp.services.revival import FIRST_WAIT_S, LOOK_SECONDS, PausedRuns
from webapp.workbench import Workbench
from webapp.worker import Worker

PANEL = """
names: {{zh: 服务, en: Server}}
lead: glm
judges:
  - id: glm
    name: GLM
    family: server
    options: {{base_url: "{url}", model: judge, engine: lmdeploy-pytorch, retries: 1, concurrency: 2, timeout: 5, deadline: 10}}
"""


def test_a_paused_run_goes_on_when_its_server_is_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGPAN_EXAMPLES", "0")
    monkeypatch.setattr("webapp.services.revival.LOOK_SECONDS", 0.1)
    with serving("lmdeploy-pytorch", delay=0.02) as server:
        panels = home / "panels"
        panels.mkdir(parents=True)
        (panels / "remote.yaml").write_text(PANEL.format(url=server.url), encoding="utf-8")
        workbench = Workbench.open(load_settings())
        preview = workbench.preview(workbench.sample_sheet())
        sheet = workbench.store_sheet(preview.token, skip_bad_rows=True)
        library = workbench.libraries()[0]
        worker = Worker(workbench.store, workbench.execute, poll_seconds=0.05, when_idle=PausedRuns(workbench.store).revive)
        thread = threading.Thread(target=worker.work)
        thread.start()
        try:
            run = workbench.start_run(sheet.id, library.id, "remote", "pooled-median")
            wait_for(lambda: len(server.asked) > 10)
            server.stop()
            wait_for(lambda: workbench.run(run.id).state is RunState.PAUSED)
            assert "cannot be reached" in said(workbench.run(run.id).error, "en")
            time.sleep(0.5)
            assert workbench.run(run.id).state is RunState.PAUSED
            server.start()
            wait_for(lambda: workbench.run(run.id).state is RunState.DONE)
        finally:
            worker.shut_down()
            thread.join()
        rows = list(workbench.export_rows(run.id))
        workbench.store.close()
    assert len(rows) == sheet.rows - sheet.skipped or len(rows) == sheet.rows
    statuses = Counter(judgement.status for row in rows for judgement in row.judgements)
    assert set(statuses) == {JudgementStatus.OK}
    assert statuses.total() == len(rows)


def wait_for(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


# How often, and which runs


def run_of(
    number: int, schedule: str = "together", state: RunState = RunState.PAUSED, families: tuple[str, ...] = ("server", "rules")
) -> Run:
    judges = tuple(JudgeSpec(f"{family}-{place}", family, family) for place, family in enumerate(families))
    panel = PanelSpec("p", {"zh": "p"}, judges, judges[0].id, schedule)
    now = datetime.now(UTC)
    return Run(number, 1, "s", 1, "v", panel, "pooled-median", state, "", 3, now, now, None)


class Shelf:
    """Runs in memory."""

    def __init__(self, *runs: Run) -> None:
        self.kept = {run.id: run for run in runs}
        self.looks = 0

    def runs(self, limit: int = 50) -> list[Run]:
        self.looks += 1
        return list(self.kept.values())

    def resume(self, run_id: int) -> Run:
        self.kept[run_id] = replace(self.kept[run_id], state=RunState.QUEUED)
        return self.kept[run_id]


def test_only_paused_runs_with_servers_are_revived_and_only_when_all_answer() -> None:
    shelf = Shelf(
        run_of(1), run_of(2, state=RunState.STOPPED), run_of(3, families=("rules",)), run_of(4, families=("server", "server")),
        run_of(5, "in_turn", families=("server", "server")),
    )  # fmt: skip
    revived = PausedRuns(shelf, lambda spec: spec.id == "server-0", clock=lambda: 100.0).revive()
    assert revived == [1, 5]


def test_a_run_that_pauses_again_at_once_is_tried_ever_more_rarely() -> None:
    shelf, moment = Shelf(run_of(1)), [1000.0]
    paused = PausedRuns(shelf, lambda spec: True, clock=lambda: moment[0])
    tried = []
    for _ in range(int(200 / LOOK_SECONDS)):
        if paused.revive():
            tried.append(moment[0] - 1000)
            shelf.kept[1] = run_of(1)
        moment[0] += LOOK_SECONDS
    assert tried == [0, FIRST_WAIT_S, 3 * FIRST_WAIT_S, 7 * FIRST_WAIT_S, 15 * FIRST_WAIT_S]


def test_looking_often_costs_the_database_little() -> None:
    shelf, moment = Shelf(), [0.0]
    paused = PausedRuns(shelf, lambda spec: True, clock=lambda: moment[0])
    for _ in range(100):
        moment[0] += 0.5
        paused.revive()
    assert shelf.looks <= 50 / LOOK_SECONDS + 1
