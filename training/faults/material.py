"""Clean prose as material: read from files, without what is like held-out texts, cut into pieces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.errors import JobError
from core.retrieval.families import FamilyIndex
from core.types import Dimension

SHORTEST = 60
_SENTENCE = re.compile(r"[^。！？\n]*[。！？\n]+[”’）》]*|[^。！？\n]+$")


def read_texts(paths: Sequence[Path], dimensions: Mapping[str, Dimension], dimension: str = "") -> list[str]:
    """Return the texts of files: each paragraph block of a .txt, the texts of a sheet's rows (of one dimension, when it is named).

    A text that stands twice is returned once. Raises JobError for a file that cannot be read or has no usable text.
    """
    texts: dict[str, None] = {}
    for path in paths:
        found = _plain(path) if path.suffix.lower() == ".txt" else _sheet(path, dimensions, dimension)
        usable = [text.strip() for text in found if len(text.strip()) >= SHORTEST]
        if not usable:
            raise JobError(
                f"{path} has no text of at least {SHORTEST} characters{f' in dimension {dimension}' if dimension else ''}; name another file.",
                zh=f"{path} 中没有{f'维度 {dimension} 的' if dimension else ''}长度不少于 {SHORTEST} 字的文本；请换用其他文件。",
            )
        texts.update(dict.fromkeys(usable))
    return list(texts)


def without_relatives(texts: Sequence[str], held_out: Sequence[str]) -> list[str]:
    """Return the texts that are no near-duplicates of any held-out text."""
    if not held_out:
        return list(texts)
    matches = FamilyIndex(held_out).matches(texts)
    return [text for text, near in zip(texts, matches, strict=True) if not near]


def cut(text: str, longest: int) -> list[str]:
    """Return the text in pieces of whole sentences of at most about `longest` characters; pieces below `SHORTEST` are left out."""
    pieces, piece = [], ""
    for match in _SENTENCE.finditer(text):
        if piece and len(piece) + len(match.group()) > longest:
            pieces.append(piece)
            piece = ""
        piece += match.group()
    pieces.append(piece)
    return [piece.strip("\n") for piece in pieces if len(piece.strip()) >= SHORTEST]


def _plain(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}.", zh=f"无法读取 {path}：{error.strerror}。") from error
    except UnicodeDecodeError as error:
        raise JobError(f"{path} is not UTF-8; save it as UTF-8.", zh=f"{path} 不是 UTF-8 编码；请另存为 UTF-8。") from error
    return re.split(r"\n\s*\n", text.replace("\r\n", "\n"))


def _sheet(path: Path, dimensions: Mapping[str, Dimension], dimension: str) -> list[str]:
    from core.ingest import read_sheet

    rows = read_sheet(path, dimensions=dimensions).rows
    return [row.text for row in rows if not dimension or row.dimension_id == dimension]
