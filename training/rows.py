"""The rows of a snapshot as jobs read them: train.jsonl and held_out.jsonl, one TrainingRow a line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from core.errors import JobError
from core.training import Split, TrainingRow
from core.types import Dimension, Item, JudgeRequest, LabelledItem, RenderedPrompt, SourceRef

FILES: Mapping[Split, str] = {Split.TRAIN: "train.jsonl", Split.HELD_OUT: "held_out.jsonl"}
_ROW: TypeAdapter[TrainingRow] = TypeAdapter(TrainingRow)


def read_rows(folder: Path, split: Split) -> list[TrainingRow]:
    """Return the rows of one side of a snapshot, in the file's order. Raises JobError with the line that cannot be read."""
    return list(iterate_rows(folder, split))


def iterate_rows(folder: Path, split: Split) -> Iterator[TrainingRow]:
    """Yield the rows of one side of a snapshot without holding them. Raises JobError with the line that cannot be read."""
    path = folder / FILES[split]
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _row(line, path, number)
    except OSError as error:
        raise JobError(
            f"{path} cannot be read ({error.strerror}); name the folder of a snapshot.",
            zh=f"无法读取 {path}（{error.strerror}），请填写训练集文件夹。",
        ) from error


def _row(line: bytes, path: Path, number: int) -> TrainingRow:
    try:
        return _ROW.validate_json(line)
    except ValidationError as error:
        raise JobError(
            f"{path}, line {number} is no row of a snapshot ({error.error_count()} faults); freeze the snapshot again.",
            zh=f"{path} 第 {number} 行不是训练集的行，请重新生成训练集。",
        ) from error


def snapshot_sha256(folder: Path) -> str:
    """Return the sha256 (hex) of both row files together."""
    digest = hashlib.sha256()
    for name in FILES.values():
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def prompt(row: TrainingRow) -> RenderedPrompt:
    """Return the row's prompt as it was frozen."""
    return RenderedPrompt(row.system, row.user, row.prompt_sha256)


def as_request(row: TrainingRow, number: int, dimension: Dimension) -> JudgeRequest:
    """Return the row as judges are asked for it; its label stays unsaid. `number` becomes the item's id."""
    source = SourceRef("snapshot", "", number)
    item = Item(number, 0, number, row.external_id, row.dimension_id, row.item_prompt, row.text, None, row.hash, source)
    return JudgeRequest(item, dimension, (), prompt(row))


def as_library(rows: Sequence[TrainingRow]) -> list[LabelledItem]:
    """Return rows as the labelled items that judges learn from."""
    return [
        LabelledItem(number, row.external_id, row.dimension_id, row.item_prompt, row.text, row.label, row.origin, row.author, row.hash)
        for number, row in enumerate(rows)
    ]


def dimension_of(rows: Sequence[TrainingRow], dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Return the dimensions that the rows are of. Raises JobError when one of them has no file here any more."""
    found = dict.fromkeys(row.dimension_id for row in rows)
    missing = [name for name in found if name not in dimensions]
    if missing:
        known = ", ".join(dimensions)
        raise JobError(
            f"The snapshot has rows of {', '.join(missing)}, but there is no such dimension (known: {known}); put its file back.",
            zh=f"训练集含有维度 {'、'.join(missing)} 的行，但没有该维度的文件（现有：{known}），请恢复该文件。",
        )
    return {name: dimensions[name] for name in found}
