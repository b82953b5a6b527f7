"""A job's folder, as its process and everybody who looks on use it.

JOB_DIR/
  spec.json       what to do (training/specs.py); never changes
  events.jsonl    what happened, a JSON object a line (training/events.py)
  answers.jsonl   people's answers on suspected faults, frozen when the job was queued (fault_pretrain alone)
  log.txt         the process's log
  process.json    who works on it: identity (host|pid|start time) and when it began
  lock            held by the process that works on it
  stop            asks the process to save and end; the process takes it away when it obeys
  checkpoints/    where a resumed job goes on
  output/         what the job made
  result.json     there when the job is done: the judge that it made, or none
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core import processes
from core.errors import JobError
from core.settings import PROJECT_ROOT, Settings
from core.training import JobEvent, Stage
from training import events
from training.context import Product
from training.files import write_whole
from training.specs import JobSpec, read_spec

SPEC, EVENTS, LOG, PROCESS, LOCK, STOP, RESULT = "spec.json", "events.jsonl", "log.txt", "process.json", "lock", "stop", "result.json"
CHECKPOINTS, OUTPUT, ANSWERS = "checkpoints", "output", "answers.jsonl"
# The settings that a job reads; a command that is typed elsewhere must say them.
_SETTINGS = ("home", "dimensions_dir", "log_level")


@dataclass(frozen=True, slots=True)
class Result:
    """What a done job made: a judge (None where it makes none), and the last figures that it told of what it made."""

    product: Product | None
    finished_at: datetime
    figures: Mapping[str, float] = field(default_factory=dict)


class _Process(BaseModel):
    identity: str
    started_at: datetime


class _Product(BaseModel):
    stage: Stage
    family: str
    options: dict[str, object]
    path: Path


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid")

    product: _Product | None = None
    finished_at: datetime
    figures: dict[str, float] = Field(default_factory=dict)


def create(folder: Path, spec: JobSpec) -> None:
    """Make a job's folder with its spec; repeated with the same spec it changes nothing.

    Raises JobError when the folder belongs to another job.
    """
    path = folder / SPEC
    if path.exists():
        if load_spec(folder) == spec:
            return
        raise JobError(f"{folder} belongs to another job; choose another folder.", zh=f"{folder} 属于另一个任务，请换一个文件夹。")
    (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    write_whole(path, spec.model_dump_json(indent=2) + "\n")


def load_spec(folder: Path) -> JobSpec:
    """Return the spec of a job's folder. Raises JobError when there is none or it is wrong."""
    path = folder / SPEC
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(
            f"{path} cannot be read ({error}); name the folder of a job.", zh=f"无法读取 {path}（{error}），请填写任务文件夹。"
        ) from error
    return read_spec(text, str(path))


def command(folder: Path) -> list[str]:
    """Return the command that works on the job; it is to be started in the project's folder."""
    return [sys.executable, "-m", "training", "run", str(folder)]


def shell_command(folder: Path, settings: Settings) -> str:
    """Return the command as a line that can be pasted into any shell, with the settings that differ from their defaults."""
    fields = Settings.model_fields
    told = [
        f"PINGPAN_{name.upper()}={shlex.quote(str(getattr(settings, name)))}"
        for name in _SETTINGS
        if getattr(settings, name) != fields[name].default
    ]
    return " ".join(["cd", shlex.quote(str(PROJECT_ROOT)), "&&", *told, shlex.join(command(folder))])


def read_events(folder: Path, after_sequence: int = 0) -> list[JobEvent]:
    """Return the job's events after `after_sequence`, in order."""
    return events.read_events(folder / EVENTS, after_sequence)


def read_process(folder: Path) -> str:
    """Return the identity of the process that worked on the job last, "" where none did."""
    try:
        return _Process.model_validate_json((folder / PROCESS).read_bytes()).identity
    except (OSError, ValidationError):
        return ""


def write_process(folder: Path) -> None:
    """Record this process as the one that works on the job."""
    record = _Process(identity=processes.current_process(), started_at=datetime.now(UTC))
    write_whole(folder / PROCESS, record.model_dump_json(indent=2) + "\n")


def is_alive(folder: Path) -> bool | None:
    """Return whether the job's process still runs; None where this host cannot tell."""
    identity = read_process(folder)
    return processes.is_alive(identity) if identity else False


def request_stop(folder: Path) -> None:
    """Ask the job to save and end."""
    (folder / STOP).touch()


def clear_stop(folder: Path) -> None:
    """Take back a request to stop: before a stopped job is started again."""
    (folder / STOP).unlink(missing_ok=True)


def stop_requested(folder: Path) -> bool:
    """Return whether somebody asked the job to stop."""
    return (folder / STOP).exists()


def write_result(folder: Path, product: Product | None, figures: Mapping[str, float]) -> None:
    """Record that the job is done, and what it made."""
    made = None
    if product is not None:
        made = _Product(stage=product.stage, family=product.family, options=dict(product.options), path=product.path)
    record = _Result(product=made, finished_at=datetime.now(UTC), figures=dict(figures))
    write_whole(folder / RESULT, record.model_dump_json(indent=2) + "\n")


def read_result(folder: Path) -> Result | None:
    """Return what the job made, None while it is not done. Raises JobError when result.json is damaged."""
    path = folder / RESULT
    if not path.exists():
        return None
    try:
        read = _Result.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise JobError(
            f"{path} is damaged ({error.error_count()} faults); delete it and run the job again.",
            zh=f"{path} 已损坏，请删除后重新运行任务。",
        ) from error
    made = read.product
    product = None if made is None else Product(made.stage, made.family, made.options, made.path)
    return Result(product, read.finished_at, read.figures)


def log_tail(folder: Path, characters: int = 8000) -> str:
    """Return the end of the job's log."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4 * characters))
            return file.read().decode("utf-8", "replace")[-characters:]
    except FileNotFoundError:
        return ""
