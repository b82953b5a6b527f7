"""Uploaded bytes, kept under PINGPAN_HOME/uploads by their sha256, and what was read from them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import NotFound, SheetError
from core.ingest import Limits, ParsedSheet, read_sheet
from core.ingest.cells import readable_name
from core.types import Dimension

TOKEN = re.compile(r"[0-9a-f]{64}")
KEPT_IN_MEMORY = 2
COPY_BYTES = 2**20
NAME_FILE = "name.txt"
CONTENT_FILE = "content"


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that were kept: `token` is their sha256, `name` what the user called the file last."""

    token: str
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a file is read: worksheet ("" for the first that is not empty), field -> header, and whether labels must be there."""

    worksheet: str = ""
    mapping: tuple[tuple[str, str], ...] = ()
    require_labels: bool = False


def read_options(worksheet: str, mapping: Mapping[str, str] | None, *, require_labels: bool = False) -> ReadOptions:
    """Return the options as a value that can be compared."""
    return ReadOptions(worksheet, tuple(sorted((mapping or {}).items())), require_labels)


class Uploads:
    """Keeps files by content and reads them as sheets, remembering the last ones read."""

    def __init__(self, folder: Path, limits: Limits, dimensions: Callable[[], Mapping[str, Dimension]]) -> None:
        self._folder = folder
        self._limits = limits
        self._dimensions = dimensions
        self._read: OrderedDict[tuple[str, ReadOptions], ParsedSheet] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, path: Path, name: str = "") -> Upload:
        """Copy a file into the store and return it. Raises SheetError for a missing, unreadable or too large file."""
        shown = readable_name(name or path.name)
        try:
            size = path.stat().st_size
            digest = _sha256(path)
            if size > self._limits.max_bytes:
                limit = self._limits.max_bytes // 2**20
                raise SheetError(
                    f"{shown} has {size / 2**20:.0f} MiB; sheets may have {limit}. Split it, or set PINGPAN_MAX_UPLOAD_MB.",
                    zh=f"{shown} 有 {size / 2**20:.0f} MiB，上限为 {limit} MiB。请拆分，或设置 PINGPAN_MAX_UPLOAD_MB。",
                )
            target = self._folder / digest
            target.mkdir(parents=True, exist_ok=True)
            if not (target / CONTENT_FILE).exists():
                partial = target / f"{CONTENT_FILE}.{os.getpid()}.{threading.get_ident()}"
                shutil.copyfile(path, partial)
                partial.replace(target / CONTENT_FILE)
            (target / NAME_FILE).write_text(shown, encoding="utf-8")
        except OSError as error:
            reason, place = error.strerror or str(error), readable_name(str(path))
            raise SheetError(
                f"{place} cannot be read: {reason}. Check the path and its rights.", zh=f"无法读取 {place}：{reason}。请检查路径和权限。"
            ) from error
        return Upload(digest, shown, target / CONTENT_FILE)

    def get(self, token: str) -> Upload:
        """Return what was kept under `token`. Raises NotFound."""
        folder = self._folder / token
        if not TOKEN.fullmatch(token) or not (folder / CONTENT_FILE).is_file():
            raise NotFound("This upload is no longer there; drop the file again.", zh="该上传文件已不在，请重新拖入。")
        return Upload(token, (folder / NAME_FILE).read_text(encoding="utf-8"), folder / CONTENT_FILE)

    def read(self, upload: Upload, options: ReadOptions) -> ParsedSheet:
        """Return what a kept file holds. Raises SheetError where it is no sheet at all."""
        key = (upload.token, options)
        with self._lock:
            if key in self._read:
                self._read.move_to_end(key)
                return self._read[key]
        parsed = read_sheet(
            upload.path,
            name=upload.name,
            worksheet=options.worksheet,
            mapping=dict(options.mapping) or None,
            dimensions=self._dimensions(),
            limits=self._limits,
            require_labels=options.require_labels,
        )
        # Whoever stores what a preview showed names the worksheet and the columns that were found; that is the same reading.
        found = read_options(parsed.worksheet, parsed.mapping, require_labels=options.require_labels)
        with self._lock:
            self._read[upload.token, found] = replace(parsed, mapping=dict(found.mapping))
            self._read[key] = parsed
            while len({id(kept.rows) for kept in self._read.values()}) > KEPT_IN_MEMORY:
                self._read.popitem(last=False)
        return parsed

    def forget(self, token: str) -> None:
        """Give back the memory of what was read from an upload; the bytes stay."""
        with self._lock:
            for key in [key for key in self._read if key[0] == token]:
                del self._read[key]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(COPY_BYTES):
            digest.update(block)
    return digest.hexdigest()
