"""The one exception tree. Every message says what, where (row, setting, file) and how to mend it.

PingpanError
├── SettingsError          a setting is missing or cannot be used
├── DimensionError         a dimension file or its prompt is wrong (one error with every fault)
├── PanelError             a panel file is wrong, or names an unknown judge family
├── SheetError             a file cannot be read as a sheet at all
│   └── BadRowsError       the sheet has rows that cannot be judged and the user has not agreed to skip them
├── LibraryError           a library has no usable examples, or is unknown
├── LabelError             a label cannot be taken (off the scale, without a name, nothing to undo)
├── RetrievalError         the index or the embedder cannot be used
├── JudgeError             a judge cannot start (missing weights, no label tokens, no memory)
│   └── JudgeUnavailable   a judge cannot answer now; the run pauses and can go on later
├── StoreError             the database cannot be used
│   ├── NotFound           no such sheet, run, item or library
│   └── RunTaken           another worker works on this run
├── ExportError            a result cannot be written
└── JobError               a job's specification or process is wrong
    └── CardTaken          another job or run computes on the card
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def clause(words: str) -> str:
    """Return another program's words without the full stop at their end, to be put inside a sentence."""
    return words.rstrip(" \n.。")


class PingpanError(Exception):
    """Anything that a user can mend; `messages` has the text per language ("zh", "en"), str() is English."""

    def __init__(self, message: str, zh: str = "") -> None:
        super().__init__(message)
        self.messages: Mapping[str, str] = {"en": message, "zh": zh or message}


class SettingsError(PingpanError):
    """A setting is missing or cannot be used."""


class DimensionError(PingpanError):
    """A dimension file or its prompt is wrong."""


class PanelError(PingpanError):
    """A panel file is wrong."""


class SheetError(PingpanError):
    """A file cannot be read as a sheet."""


class BadRowsError(SheetError):
    """Rows that cannot be judged; `rows` are their 1-based numbers in the file."""

    def __init__(self, message: str, rows: Sequence[int], zh: str = "") -> None:
        super().__init__(message, zh)
        self.rows = tuple(rows)


class LibraryError(PingpanError):
    """A library has no usable examples, or is unknown."""


class LabelError(PingpanError):
    """A label cannot be taken: off the scale, without a name, nothing to undo."""


class RetrievalError(PingpanError):
    """The index or the embedder cannot be used."""


class JudgeError(PingpanError):
    """A judge cannot start."""


class JudgeUnavailable(JudgeError):
    """A judge cannot answer now; the run pauses and can go on later."""


class StoreError(PingpanError):
    """The database cannot be used."""


class NotFound(StoreError):
    """No such sheet, run, item or library."""


class RunTaken(StoreError):
    """Another worker works on this run."""


class ExportError(PingpanError):
    """A result cannot be written."""


class JobError(PingpanError):
    """A job's specification or process is wrong."""


class CardTaken(JobError):
    """Another job or run computes on the card; wait for it, or stop it."""
