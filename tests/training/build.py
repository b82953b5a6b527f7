"""Small snapshots and jobs for the tests of training."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from core.dimensions.loader import load_dimensions
from core.dimensions.prompts import PromptBuilder
from core.settings import ASSETS
from core.training import EventKind, JobEvent, Split, TrainingRow
from core.types import Item, LocalText, Origin, SourceRef, content_hash
from training import jobdir
from training.process import ExitStatus, run
from training.rows import FILES
from training.specs import JobSpec

WORDS = ("看到", "花朵", "散步", "公园", "美丽")


def rows(count: int, split: Split, seed: int = 0, labels: Sequence[int] = (1, 2, 3, 4, 5)) -> list[TrainingRow]:
    """Return rows that follow a made-up rule: one word of five in an otherwise equal text says the label."""
    draw = random.Random(f"{split}-{seed}")
    made = []
    for number in range(count):
        label = draw.choice(list(labels))
        text = f"{number}：今天天气很好，我们{WORDS[label - 1]}。"
        system, user = "请按标准给文本打分，只回答一个数字。", f"待评判内容：{text}评分："
        made.append(
            TrainingRow(
                hash=content_hash("fluency", "", user),
                external_id=str(number),
                dimension_id="fluency",
                item_prompt="",
                text=text,
                label=label,
                family=f"{split}-{number}",
                split=split,
                origin=Origin.CORRECTION,
                author="li",
                system=system,
                user=user,
                prompt_sha256=f"sha-{number}",
            )
        )
    return made


def judged_rows(count: int, split: Split) -> list[TrainingRow]:
    """Return rows with the prompts that judging itself renders."""
    dimensions = load_dimensions(ASSETS / "dimensions")
    builder = PromptBuilder(dimensions, ASSETS / "dimensions")
    made = []
    for row in rows(count, split):
        item = Item(1, 1, 0, row.external_id, "fluency", "", row.text, None, row.hash, SourceRef("", "", 2))
        prompt = builder.render(item, ())
        made.append(TrainingRow(**{**asdict(row), "system": prompt.system, "user": prompt.user, "prompt_sha256": prompt.sha256}))
    return made


def snapshot(folder: Path, train: Sequence[TrainingRow], held_out: Sequence[TrainingRow]) -> Path:
    """Write both row files of a snapshot."""
    folder.mkdir(parents=True)
    for split, content in ((Split.TRAIN, train), (Split.HELD_OUT, held_out)):
        (folder / FILES[split]).write_text("".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in content), encoding="utf-8")
    return folder


def do(folder: Path, spec: JobSpec) -> ExitStatus:
    """Make a job's folder and do the job in this process."""
    jobdir.create(folder, spec)
    return run(folder)


def finish(folder: Path, spec: JobSpec) -> jobdir.Result:
    """Do a job that must succeed, and return its result."""
    status = do(folder, spec)
    assert status is ExitStatus.DONE, [event.message.get("en") for event in events(folder)][-1]
    result = jobdir.read_result(folder)
    assert result is not None
    return result


def events(folder: Path) -> list[JobEvent]:
    return jobdir.read_events(folder)


class Context:
    """A job's context that keeps what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.checkpoints = folder / "checkpoints"
        self.told: list[tuple[EventKind, int, Mapping[str, float], LocalText]] = []

    def report(
        self, kind: EventKind, step: int = 0, steps: int = 0, figures: Mapping[str, float] | None = None, message: LocalText | None = None
    ) -> None:
        """Keep one event."""
        self.told.append((kind, step, figures or {}, message or {}))

    def stop_requested(self) -> bool:
        """Return False: nobody asks."""
        return False
