"""`jobs …` without a server: a measurement here, the gate's answer as exit status, into a panel and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import JobError, PingpanError
from core.training import JobKind, JobState, Split, Stage
from tests.training.build import judged_rows
from tests.training.runner.conftest import freeze
from training.specs import EvaluateSpec, FineTuneSpec
from webapp.cli.app import app
from webapp.cli.jobs import spec_of
from webapp.workbench import Workbench

OWN = "names: {zh: 我的, en: Mine}\nlead: first\njudges:\n  - {id: first, name: First, family: rules}\n"
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def pingpan(bench: Workbench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process; return its exit status and what it said."""
    monkeypatch.setenv("COLUMNS", "250")

    def run(*arguments: str | int | Path) -> tuple[int, str]:
        try:
            app(["jobs", *map(str, arguments)])
        except SystemExit as end:
            said = capsys.readouterr()
            return int(end.code or 0), said.out + said.err
        except PingpanError as error:
            return 2, str(error)
        raise AssertionError("typer always exits")

    return run


def test_from_a_measurement_to_a_promotion_and_back(bench: Workbench, pingpan: Command) -> None:
    snapshot = freeze(bench, judged_rows(100, Split.TRAIN), judged_rows(60, Split.HELD_OUT))
    bench.panel_desk.save("mine", OWN)
    job = bench.store.add_job(JobKind.HEAD, "learned", "{}", bench.settings.home / "jobs", snapshot_id=snapshot.id)
    bench.store.set_job_state(job.id, JobState.DONE)
    made = bench.store.add_candidate("learned", Stage.HEAD, "neighbours", {}, job_id=job.id, snapshot_id=snapshot.id)

    status, said = pingpan("measure", made.id)
    assert (status, "done → candidate 1" in said, "mae=" in said) == (0, True, True)
    status, said = pingpan("report", made.id, "mine")
    assert status == 2
    assert f"./run.sh jobs measure --panel mine --judge first --snapshot {snapshot.id}" in said
    assert pingpan("measure", "--panel", "mine", "--snapshot", snapshot.id)[0] == 0
    status, said = pingpan("report", made.id, "mine", "--rows", 2)
    assert (status, said.startswith("learned against mine/first\nBetter: MAE ")) == (0, True)
    assert "Better on" in said

    status, said = pingpan("promote", made.id, "mine", "first")
    assert (status, "./run.sh jobs rollback 1" in said) == (0, True)
    assert "mine/first (1)" in pingpan("candidates")[1]
    assert pingpan("rollback", 1)[0] == 0
    assert (bench.settings.home / "panels" / "mine.yaml").read_text(encoding="utf-8") == OWN
    assert "evaluate" in pingpan("list")[1]
    status, said = pingpan("show", 2)
    assert "-m training run" in said
    assert "held out   mae" in said
    assert "60/60" in pingpan("log", 2)[1]


def test_a_job_is_queued_stopped_archived_and_fails_with_its_status(bench: Workbench, pingpan: Command, small, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    spec = {"kind": "evaluate", "name": "m", "judge": {"id": "r", "family": "rulez"}}
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    assert pingpan("run", path, "--snapshot", small.id, "--queue") == (0, "queued: job 1\n")
    assert pingpan("stop", 1) == (0, "job 1: stopped\n")
    assert pingpan("archive", 1) == (0, "job 1: archived\n")
    assert "rulez" not in pingpan("list")[1]
    status, said = pingpan("resume", 1)
    assert status == 1
    assert "names the unknown family 'rulez'" in said
    assert pingpan("show", 9)[0] == 2


def test_a_spec_is_read_from_a_file_or_made_of_settings(tmp_path: Path) -> None:
    spec = spec_of("fine_tune", ["model=/models/a", "rank=8", "loss=labels", "name=mine"], tmp_path)
    assert isinstance(spec, FineTuneSpec)
    assert (spec.model, spec.rank, spec.snapshot, spec.name) == ("/models/a", 8, tmp_path, "mine")
    measured = spec_of("evaluate", ["judge.id=r", "judge.family=rules"], tmp_path)
    assert isinstance(measured, EvaluateSpec)
    assert measured.judge.family == "rules"
    published = spec_of("published", ["model=/models/a"], tmp_path)
    assert isinstance(published, FineTuneSpec)
    assert (published.rank, published.alpha, published.accumulation * published.batch_size) == (8, 32, 16)
    for name, settings, fault in (
        ("no", (), "neither a file, a preset"),
        ("fine_tune", ("rank",), "FIELD=VALUE"),
        ("fine_tune", (), "model"),
    ):
        with pytest.raises(JobError, match=fault):
            spec_of(name, settings, tmp_path)
