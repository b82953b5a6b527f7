"""The job process as people meet it: the command, its exit status, its folder; stopped, torn, taken, done, failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from core.errors import JobError
from core.processes import current_process
from core.settings import PROJECT_ROOT, load_settings
from core.training import EventKind, Split
from tests.training.build import do, events, judged_rows, snapshot
from training import jobdir
from training.evaluate import PREDICTIONS, read_predictions
from training.events import EventLog, curve
from training.process import ExitStatus
from training.specs import EvaluateSpec, JudgeLine


@pytest.fixture
def spec(tmp_path: Path, home: Path) -> EvaluateSpec:
    rows = snapshot(tmp_path / "snapshot", judged_rows(30, Split.TRAIN), judged_rows(12, Split.HELD_OUT))
    return EvaluateSpec(name="衡量", judge=JudgeLine(id="n", family="neighbours"), snapshot=rows, batch_size=5)


def command(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(jobdir.command(folder), cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_does_the_job_once(tmp_path: Path, spec: EvaluateSpec) -> None:
    folder = tmp_path / "job"
    jobdir.create(folder, spec)
    first = command(folder)
    assert first.returncode == ExitStatus.DONE, first.stderr
    kinds = [event.kind for event in events(folder)]
    assert (kinds[0], kinds[-1]) == (EventKind.STARTED, EventKind.DONE)
    result = jobdir.read_result(folder)
    assert result is not None
    assert result.product is None
    assert result.figures["rows"] == 12
    assert len(read_predictions(folder / jobdir.OUTPUT / PREDICTIONS)) == 12
    assert not jobdir.is_alive(folder)
    assert "held_out" in jobdir.log_tail(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = command(folder)
    assert again.returncode == ExitStatus.DONE
    assert "nothing is changed" in again.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_stopped_job_goes_on_with_the_rows_that_are_left(tmp_path: Path, spec: EvaluateSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, undisturbed = tmp_path / "job", tmp_path / "undisturbed"
    assert do(undisturbed, spec) is ExitStatus.DONE
    jobdir.create(folder, spec)
    jobdir.request_stop(folder)
    assert do(folder, spec) is ExitStatus.STOPPED
    assert not jobdir.stop_requested(folder)
    # Asked to stop as soon as the first batch was told.
    told = EventLog.append

    def stop_then_tell(log: EventLog, kind: EventKind, *rest: object, **others: object) -> object:
        if kind is EventKind.PROGRESS:
            jobdir.request_stop(folder)
        return told(log, kind, *rest, **others)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "append", stop_then_tell)
        assert do(folder, spec) is ExitStatus.STOPPED
    kept = (folder / jobdir.CHECKPOINTS / PREDICTIONS).read_bytes()
    assert kept.count(b"\n") == 5
    # A kill left a torn line behind; it is asked again.
    (folder / jobdir.CHECKPOINTS / PREDICTIONS).write_bytes(kept + b'{"hash": "ab')
    assert do(folder, spec) is ExitStatus.DONE
    steps = [event.step for event in events(folder) if event.kind is EventKind.PROGRESS]
    assert steps == [5, 10, 12]
    one, other = (read_predictions(job / jobdir.OUTPUT / PREDICTIONS) for job in (folder, undisturbed))
    assert one == other


def test_a_folder_has_one_process_at_a_time(tmp_path: Path, spec: EvaluateSpec) -> None:
    folder = tmp_path / "job"
    jobdir.create(folder, spec)
    jobdir.write_process(folder)
    with FileLock(folder / jobdir.LOCK):
        answer = command(folder)
    assert answer.returncode == ExitStatus.TAKEN
    assert current_process() in answer.stderr
    assert events(folder) == []
    assert jobdir.is_alive(folder)


def test_a_process_is_known_by_its_start_and_not_by_its_number(tmp_path: Path) -> None:
    host, pid, started = current_process().split("|")
    for identity, alive in ((f"{host}|{pid}|{started}", True), (f"{host}|{pid}|{float(started) - 60:.2f}", False)):
        (tmp_path / jobdir.PROCESS).write_text(f'{{"identity": "{identity}", "started_at": "2026-11-01T00:00:00Z"}}')
        assert jobdir.is_alive(tmp_path) is alive
    assert psutil.pid_exists(os.getpid())
    (tmp_path / jobdir.PROCESS).write_text(f'{{"identity": "elsewhere|{pid}|{started}", "started_at": "2026-11-01T00:00:00Z"}}')
    assert jobdir.is_alive(tmp_path) is None


def test_a_failure_says_what_and_how_to_mend_it_in_both_languages(tmp_path: Path, spec: EvaluateSpec) -> None:
    folder = tmp_path / "job"
    wrong = spec.model_copy(update={"judge": JudgeLine(id="n", family="oracle")})
    assert do(folder, wrong) is ExitStatus.FAILED
    last = events(folder)[-1]
    assert last.kind is EventKind.FAILED
    assert "'oracle'" in last.message["en"]
    assert "neighbours" in last.message["zh"]
    assert jobdir.read_result(folder) is None


def test_an_unexpected_error_points_to_the_log(tmp_path: Path, spec: EvaluateSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluate.read_rows", lambda *_: 1 / 0)
    assert do(tmp_path / "job", spec) is ExitStatus.FAILED
    last = events(tmp_path / "job")[-1]
    assert "ZeroDivisionError" in last.message["en"]
    assert str(tmp_path / "job" / "log.txt") in last.message["zh"]
    assert "Traceback" in jobdir.log_tail(tmp_path / "job")


def test_wrong_specs_and_folders_are_told_with_their_fields(tmp_path: Path, spec: EvaluateSpec) -> None:
    folder = tmp_path / "job"
    jobdir.create(folder, spec)
    jobdir.create(folder, spec)
    with pytest.raises(JobError, match="another job"):
        jobdir.create(folder, spec.model_copy(update={"batch_size": 6}))
    (folder / jobdir.SPEC).write_text('{"kind": "evaluate", "name": "x", "batch_size": 0}')
    answer = command(folder)
    assert answer.returncode == ExitStatus.FAILED
    for field in ("judge", "snapshot", "batch_size"):
        assert field in answer.stderr
    assert command(tmp_path / "nowhere").returncode == ExitStatus.FAILED


def test_events_go_on_behind_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append(EventKind.TRAIN, 1, 9, {"loss": 3.0, "grad_norm": float("nan")}, {"zh": "一", "en": "one"})
    log.append(EventKind.TRAIN, 2, 9, {"loss": 2.5})
    log.close()
    with path.open("ab") as file:
        file.write('{"sequence": 3, "at": "2026-11-24T08:00:00Z", "kind": "train", "message": {"zh": "半'.encode()[:-1])
    log = EventLog(path)
    log.append(EventKind.TRAIN, 2, 9, {"loss": 2.4})
    log.close()
    found = jobdir.read_events(tmp_path)
    assert [event.sequence for event in found] == [1, 2, 3]
    assert found[0].figures == {"loss": 3.0}
    assert found[0].message == {"zh": "一", "en": "one"}
    assert [event.sequence for event in jobdir.read_events(tmp_path, 2)] == [3]
    assert curve(found, EventKind.TRAIN, "loss") == [(1, 3.0), (2, 2.4)]


def test_the_command_to_copy_says_where_and_with_which_settings(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "a job"
    line = jobdir.shell_command(folder, load_settings())
    assert line.startswith(f"cd {PROJECT_ROOT} && PINGPAN_HOME={home} ")
    assert line.endswith(f"-m training run '{folder}'")
    answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert answer.returncode == ExitStatus.FAILED
    assert "spec.json" in answer.stderr


def test_the_process_and_its_folder_need_no_model_library() -> None:
    code = "import sys, training.process, training.jobdir; print([m for m in ('torch', 'transformers', 'peft', 'pandas', 'sklearn', 'db') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "[]"
