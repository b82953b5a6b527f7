"""What a job may use while it runs: its folder, a way to report, and whether it should stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.training import EventKind, Stage
from core.types import LocalText


class JobContext(Protocol):
    """The world of a running job; training/process.py has the one of `python -m training run JOB_DIR`."""

    @property
    def folder(self) -> Path:
        """Return the job's folder."""

    @property
    def output(self) -> Path:
        """Return the folder of what the job makes; written under another name first, and renamed when whole."""

    @property
    def checkpoints(self) -> Path:
        """Return the folder of checkpoints; the last whole one is where a resumed job goes on."""

    def report(
        self, kind: EventKind, step: int = 0, steps: int = 0, figures: Mapping[str, float] | None = None, message: LocalText | None = None
    ) -> None:
        """Append one event to events.jsonl."""

    def stop_requested(self) -> bool:
        """Return whether somebody asked the job to save and stop; the job then raises Stopped after saving."""


class Stopped(Exception):
    """The job saved a checkpoint and ends because it was asked to."""


@dataclass(frozen=True, slots=True)
class Product:
    """A judge that a job made: what a panel's line would say of it. Jobs that make no judge return none."""

    stage: Stage
    family: str
    options: Mapping[str, object]
    path: Path
