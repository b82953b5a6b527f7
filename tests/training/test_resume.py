"""A fine-tune that was stopped, or killed, ends where an undisturbed one does: same losses, same adapter."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from core.settings import PROJECT_ROOT
from core.training import EventKind, JobEvent, Split
from tests.judging.transformers.build import tiny_folder
from tests.training.build import do, events, finish, rows, snapshot
from training import jobdir
from training.events import EventLog, curve
from training.process import ExitStatus
from training.specs import FineTuneSpec

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

STEPS = 24


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> FineTuneSpec:
    place = tmp_path_factory.mktemp("resume")
    data = snapshot(place / "snapshot", rows(60, Split.TRAIN), rows(8, Split.HELD_OUT))
    model = tiny_folder(place / "model", "qwen2")
    # Dropout makes the random state count; 6 batches an epoch make the stop fall into a later epoch.
    settings = {
        "name": "t", "model": str(model), "snapshot": data, "dropout": 0.2, "learning_rate": 3e-3, "epochs": 99, "max_steps": STEPS,
        "batch_size": 5, "accumulation": 2, "evaluate_every": 6, "patience": 99, "checkpoint_every": 5, "device": "cpu",
    }  # fmt: skip
    return FineTuneSpec.model_validate(settings)


@pytest.fixture(scope="module")
def undisturbed(spec: FineTuneSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PINGPAN_HOME", str(tmp_path_factory.mktemp("home")))
        folder = tmp_path_factory.mktemp("job") / "job"
        finish(folder, spec)
    return folder


def same(folder: Path, undisturbed: Path) -> None:
    """Both jobs told the same losses and looks, and made the same adapter."""
    from safetensors.torch import load_file

    for kind, figure in (
        (EventKind.TRAIN, "loss"),
        (EventKind.HELD_OUT, "loss"),
        (EventKind.HELD_OUT, "mae"),
        (EventKind.TRAIN, "learning_rate"),
    ):
        mine, theirs = (curve(events(job), kind, figure) for job in (folder, undisturbed))
        assert [step for step, _ in mine] == [step for step, _ in theirs]
        assert [value for _, value in mine] == pytest.approx([value for _, value in theirs], rel=1e-4, abs=1e-5)
    one, other = (load_file(job / jobdir.OUTPUT / "adapter" / "adapter_model.safetensors") for job in (folder, undisturbed))
    assert one.keys() == other.keys()
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-5


def test_stopped_between_checkpoints(
    spec: FineTuneSpec, undisturbed: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "job"
    told = EventLog.append

    def stop_at_13(log: EventLog, kind: EventKind, step: int = 0, *rest: object, **others: object) -> JobEvent:
        if kind is EventKind.TRAIN and step == 13:
            jobdir.request_stop(folder)
        return told(log, kind, step, *rest, **others)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "append", stop_at_13)
        assert do(folder, spec) is ExitStatus.STOPPED
    last = curve(events(folder), EventKind.TRAIN, "loss")[-1][0]
    assert last == 14
    assert events(folder)[-1].kind is EventKind.STOPPED
    assert jobdir.read_result(folder) is None
    finish(folder, spec)
    assert "checkpoint-14" in " ".join(event.message.get("en", "") for event in events(folder))
    same(folder, undisturbed)


def test_told_to_end_by_a_signal_then_killed_then_left_with_half_a_checkpoint(
    spec: FineTuneSpec, undisturbed: Path, tmp_path: Path, home: Path
) -> None:
    folder = tmp_path / "job"
    jobdir.create(folder, spec)
    first = _start(folder)
    _wait(folder, 2)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == ExitStatus.STOPPED
    reached = curve(events(folder), EventKind.TRAIN, "loss")[-1][0]
    assert (folder / jobdir.CHECKPOINTS / f"checkpoint-{reached}" / "whole").exists()
    second = _start(folder)
    _wait(folder, min(reached + 3, STEPS - 1))
    second.kill()
    second.wait()
    assert not jobdir.is_alive(folder)
    whole = max((folder / jobdir.CHECKPOINTS).glob("checkpoint-*/whole"), key=lambda path: int(path.read_text())).parent
    torn = shutil.copytree(whole, whole.with_name("checkpoint-99"))
    (torn / "whole").unlink()
    (torn / "adapter_model.safetensors").write_bytes(b"torn")
    finish(folder, spec)
    assert not torn.exists()
    same(folder, undisturbed)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.DEVNULL
    return subprocess.Popen(jobdir.command(folder), cwd=PROJECT_ROOT, env=environment, stdout=output, stderr=output)


def _wait(folder: Path, step: int) -> None:
    """Wait until the job has told of a step."""
    end = time.monotonic() + 100
    while time.monotonic() < end:
        if any(event.kind is EventKind.TRAIN and event.step >= step for event in events(folder)):
            return
        time.sleep(0.02)
    raise AssertionError(jobdir.log_tail(folder))
