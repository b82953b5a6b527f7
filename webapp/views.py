"""What pages and the command line get to see beside the types of the domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.types import RowProblem, SheetRow


@dataclass(frozen=True, slots=True)
class SheetPreview:
    """What a file holds, before anything is stored.

    `token` names the uploaded bytes. `mapping` is field -> column header (fields: id, prompt, dimension, text, label).
    `rows` are those that can be judged; `fatal` says that nothing can.
    """

    token: str
    name: str
    sha256: str
    size_bytes: int
    format: str
    encoding: str
    worksheets: tuple[str, ...]
    worksheet: str
    columns: tuple[str, ...]
    mapping: Mapping[str, str]
    rows: tuple[SheetRow, ...]
    total_rows: int
    judgeable_rows: int
    by_dimension: Mapping[str, int]
    problems: tuple[RowProblem, ...]
    error_rows: int
    fatal: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would cost: judge calls = rows x judges; `seconds` by the panel's measured rate, None before any run."""

    rows: int
    judge_calls: int
    rows_per_second: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Question:
    """One question typed by hand."""

    dimension_id: str
    prompt: str
    text: str


@dataclass(frozen=True, slots=True)
class ExportTargets:
    """Where results are written: the labels, everything, and the folder of JSON lines; `encoding` is of the labels."""

    result: Path
    full: Path
    jsonl: Path
    encoding: str = "utf-8-sig"
