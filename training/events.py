"""The event file of a job: one JSON object a line, appended and flushed line by line.

A process that is killed while it writes leaves a torn last line: readers pass over it, and the next writer begins a new one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.training import EventKind, JobEvent
from core.types import LocalText


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")

    sequence: int
    at: datetime
    kind: EventKind
    step: int = 0
    steps: int = 0
    figures: dict[str, float] = Field(default_factory=dict)
    message: dict[str, str] = Field(default_factory=dict)


class EventLog:
    """Appends to an event file; sequences go on where an earlier process left them."""

    def __init__(self, path: Path) -> None:
        known = read_events(path)
        self._sequence = known[-1].sequence if known else 0
        torn = path.exists() and not _ends_whole(path)
        self._file: IO[str] = path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def append(
        self,
        kind: EventKind,
        step: int = 0,
        steps: int = 0,
        figures: Mapping[str, float] | None = None,
        message: LocalText | None = None,
    ) -> JobEvent:
        """Write one event and return it; figures that are no numbers (NaN, infinity) are left out."""
        self._sequence += 1
        finite = {name: float(value) for name, value in (figures or {}).items() if math.isfinite(value)}
        event = JobEvent(self._sequence, datetime.now(UTC), kind, step, steps, finite, dict(message or {}))
        line = _Line(
            sequence=event.sequence, at=event.at, kind=kind, step=step, steps=steps, figures=finite, message=dict(message or {})
        ).model_dump(mode="json", exclude_defaults=True)
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()
        return event

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_events(path: Path, after_sequence: int = 0) -> list[JobEvent]:
    """Return the events of a file after `after_sequence`, in order; lines that are torn are passed over, a missing file has none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return [event for event in _events(content) if event.sequence > after_sequence]


def tail(path: Path, offset: int) -> tuple[list[JobEvent], int]:
    """Return the events in the whole lines from a byte on, and the byte behind them: where the next call goes on."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except FileNotFoundError:
        return [], offset
    end = content.rfind(b"\n") + 1
    return list(_events(content[:end])), offset + end


def _events(content: bytes) -> Iterator[JobEvent]:
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        try:
            read = _Line.model_validate_json(line)
        except ValidationError:
            continue
        yield JobEvent(read.sequence, read.at, read.kind, read.step, read.steps, read.figures, read.message)


def curve(events: Iterable[JobEvent], kind: EventKind, figure: str) -> list[tuple[int, float]]:
    """Return (step, value) of one figure by step; of a step that was done again after a resume the last value counts."""
    points = {event.step: event.figures[figure] for event in events if event.kind is kind and figure in event.figures}
    return sorted(points.items())


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() == 0:
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"
