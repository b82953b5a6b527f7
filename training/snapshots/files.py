"""A snapshot as files: snapshot.json with everything about it, train.jsonl and held_out.jsonl with a row a line.

The bytes of the row files depend on the rows alone: the same plan and prompts give the same sha256. Nothing appears under
its name before it is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import JobError
from core.training import SnapshotFilter, Split, TrainingRow
from training.files import whole_folder
from training.rows import FILES, read_rows

INFO = "snapshot.json"
FORMAT = 1


class SnapshotInfo(BaseModel):
    """What snapshot.json says. `prompts` are hashes by dimension that change with the dimension's prompt, `left_out` counts by reason."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = FORMAT
    name: str
    lineage: str
    sha256: str = Field(description="Of train.jsonl and then held_out.jsonl.")
    held_out_sha256: str
    train_rows: int
    held_out_rows: int
    seed: int
    held_out_share: float
    examples: int
    filter: SnapshotFilter
    counts: dict[str, dict[Split, dict[int, int]]]
    families: int
    left_out: dict[str, int]
    libraries: dict[str, str] = Field(description="Version by name of the library.")
    prompts: dict[str, str]
    prompt_versions: dict[str, str]
    index_version: str = Field("", description="Of the index of examples; empty where prompts have none.")
    author: str
    created_at: datetime


def freeze(folder: Path, info: SnapshotInfo, train: Iterable[TrainingRow], held_out: Iterable[TrainingRow] | Path) -> SnapshotInfo:
    """Write a snapshot into a new folder and return its info with hashes and row numbers filled in.

    `held_out` may be the held_out.jsonl of an earlier snapshot of the lineage, which is copied byte by byte.
    """
    digest = hashlib.sha256()
    with whole_folder(folder) as partial:
        with (partial / FILES[Split.TRAIN]).open("wb") as file:
            train_rows = _write(file, train, digest)
        alone = hashlib.sha256()
        with (partial / FILES[Split.HELD_OUT]).open("wb") as file:
            if isinstance(held_out, Path):
                content = held_out.read_bytes()
                file.write(content)
                digest.update(content)
                alone.update(content)
                held_out_rows = content.count(b"\n")
            else:
                held_out_rows = _write(file, held_out, digest, alone)
        changes = {
            "sha256": digest.hexdigest(),
            "held_out_sha256": alone.hexdigest(),
            "train_rows": train_rows,
            "held_out_rows": held_out_rows,
        }
        done = info.model_copy(update=changes)
        (partial / INFO).write_text(done.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return done


def read_info(folder: Path) -> SnapshotInfo:
    """Return what snapshot.json says. Raises JobError where it is missing or cannot be read."""
    path = folder / INFO
    try:
        return SnapshotInfo.model_validate_json(path.read_bytes())
    except OSError as error:
        raise JobError(
            f"{path} cannot be read ({error.strerror}); the folder is no snapshot, or it was moved.",
            zh=f"无法读取 {path}（{error.strerror}）；该文件夹不是训练集，或已被移动。",
        ) from error
    except ValidationError as error:
        raise JobError(
            f"{path} was changed and cannot be understood ({error.error_count()} faults); freeze the snapshot again.",
            zh=f"{path} 已被改动，无法识别；请重新生成训练集。",
        ) from error


def read_snapshot(folder: Path) -> tuple[SnapshotInfo, Mapping[Split, list[TrainingRow]]]:
    """Return a snapshot's info and rows, after checking both files. Raises JobError naming the file that was changed."""
    info = read_info(folder)
    verify(folder, info)
    return info, {split: read_rows(folder, split) for split in FILES}


def verify(folder: Path, info: SnapshotInfo) -> None:
    """Raise JobError, naming the file, where a row file is missing or not the one that was frozen."""
    verify_held_out(folder, info)
    both = hashlib.sha256()
    for name in FILES.values():
        _digest(folder / name, both)
    if both.hexdigest() != info.sha256:
        raise _changed(folder / FILES[Split.TRAIN])


def verify_held_out(folder: Path, info: SnapshotInfo) -> None:
    """Raise JobError where the file of held-out rows is missing or not the one that was frozen."""
    alone = hashlib.sha256()
    _digest(folder / FILES[Split.HELD_OUT], alone)
    if alone.hexdigest() != info.held_out_sha256:
        raise _changed(folder / FILES[Split.HELD_OUT])


def _digest(path: Path, digest: hashlib._Hash) -> None:
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise JobError(
            f"{path} cannot be read ({error.strerror}); restore it from a backup, or freeze the snapshot again.",
            zh=f"无法读取 {path}（{error.strerror}）；请从备份恢复，或重新生成训练集。",
        ) from error


def _changed(path: Path) -> JobError:
    return JobError(
        f"{path} was changed after the snapshot was frozen (its sha256 differs); restore it from a backup, or freeze the snapshot again.",
        zh=f"{path} 在训练集冻结之后被改动（sha256 不符）；请从备份恢复，或重新生成训练集。",
    )


def _write(file: IO[bytes], rows: Iterable[TrainingRow], *digests: hashlib._Hash) -> int:
    count = 0
    for row in rows:
        line = row_line(row)
        file.write(line)
        for digest in digests:
            digest.update(line)
        count += 1
    return count


def row_line(row: TrainingRow) -> bytes:
    """Return a row as a line of its file, with its end."""
    fields = {name: getattr(row, name) for name in TrainingRow.__dataclass_fields__}
    return (json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
