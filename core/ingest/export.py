"""What the exports share: the rows that go out, texts made safe for spreadsheets, and files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.errors import ExportError
from core.types import Dimension

_FORMULA_START = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_PLAIN_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_SURROGATE = re.compile("[\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was written: rows in all, rows without a label, cells that were guarded as text, and texts that were shortened."""

    path: Path
    rows: int
    without_label: int
    guarded: int = 0
    shortened: int = 0


def looks_like_formula(text: str) -> bool:
    """Return whether a spreadsheet could run the text; plain numbers such as -5 are none."""
    return text.startswith(_FORMULA_START) and _PLAIN_NUMBER.fullmatch(text) is None


def guarded(text: str) -> str:
    """Return the text with an apostrophe before it where a spreadsheet would run it as a formula."""
    return "'" + text if looks_like_formula(text) else text


def writable(text: str) -> str:
    """Return the text with U+FFFD for what no file can hold: lone surrogates and noncharacters."""
    return _SURROGATE.sub("\ufffd", text) if _SURROGATE.search(text) else text


def dimension_name(dimensions: Mapping[str, Dimension], dimension_id: str, language: str = "zh") -> str:
    """Return the dimension's name, else its id where its file is gone."""
    dimension = dimensions.get(dimension_id)
    return dimension.name(language) if dimension is not None else dimension_id


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file beside `path` that takes its place when the block ends well.

    Raises ExportError with the path and the remedy for every OSError.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Raise ExportError where no file could be written at `path` as things stand: for whoever would learn it after hours of work."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir():
        raise unwritable(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if not there.is_dir():
        raise unwritable(path, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if not os.access(there, os.W_OK | os.X_OK):
        raise unwritable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def unwritable(path: Path, error: OSError) -> ExportError:
    """Return the error for a file that cannot be written."""
    reason = error.strerror or str(error)
    return ExportError(
        f"{path} cannot be written ({reason}). Close it if it is open in another program, check the folder's permissions and the free "
        "space, or choose another place.",
        zh=f"无法写入 {path}（{reason}）。如果它正在别的程序中打开，请先关闭；检查文件夹权限和磁盘空间，或换一个位置。",
    )
