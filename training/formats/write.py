"""Write rows as a training file, one record after the other: nothing but the row at hand is in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from core.errors import ExportError
from core.training import TrainingRow
from training.formats.kinds import ExportFormat


def write_training_file(path: Path, rows: Iterable[TrainingRow], kind: ExportFormat) -> int:
    """Write rows in a format and return how many; the file appears when it is whole. Raises ExportError."""
    make = _RECORDS[kind]
    partial = path.with_name(path.name + ".partial")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            listed = kind is not ExportFormat.TRL
            file.write("[" if listed else "")
            for row in rows:
                before = ("," if count else "") + "\n" if listed else ""
                file.write(before + json.dumps(make(row), ensure_ascii=False) + ("" if listed else "\n"))
                count += 1
            file.write("\n]\n" if listed else "")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise ExportError(
            f"{path} cannot be written ({error.strerror or error}); check the free space and the folder's permissions.",
            zh=f"无法写入 {path}（{error.strerror or error}）；请检查磁盘空间与文件夹权限。",
        ) from error
    return count


def _xtuner(row: TrainingRow) -> dict[str, Any]:
    return {"conversation": [{"system": row.system, "input": row.user, "output": str(row.label)}]}


def _trl(row: TrainingRow) -> dict[str, Any]:
    asked = [{"role": "system", "content": row.system}, {"role": "user", "content": row.user}]
    return {"prompt": asked, "completion": [{"role": "assistant", "content": str(row.label)}]}


def _alpaca(row: TrainingRow) -> dict[str, Any]:
    return {"instruction": row.user, "input": "", "output": str(row.label), "system": row.system}


def _sharegpt(row: TrainingRow) -> dict[str, Any]:
    said = [{"from": "human", "value": row.user}, {"from": "gpt", "value": str(row.label)}]
    return {"conversations": said, "system": row.system}


_RECORDS: Mapping[ExportFormat, Callable[[TrainingRow], dict[str, Any]]] = {
    ExportFormat.XTUNER: _xtuner,
    ExportFormat.TRL: _trl,
    ExportFormat.ALPACA: _alpaca,
    ExportFormat.SHAREGPT: _sharegpt,
}
