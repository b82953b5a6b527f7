"""Which formats there are."""

from __future__ import annotations

from enum import StrEnum

from core.training import Split


class ExportFormat(StrEnum):
    """A format of training files; docs/TRAINING.md shows a record of each."""

    XTUNER = "xtuner"
    TRL = "trl"
    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"


def file_name(split: Split, kind: ExportFormat) -> str:
    """Return what an exported file is called."""
    return f"{split.value}.{kind.value}.{'jsonl' if kind is ExportFormat.TRL else 'json'}"
