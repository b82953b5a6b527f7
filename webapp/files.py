"""Uploads and downloads as plain HTTP: sheets go straight to the workbench, results come with their own names."""

from __future__ import annotations

import logging
import secrets
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from starlette.background import BackgroundTask

from core.errors import ExportError, NotFound, PingpanError, SheetError
from core.settings import Settings
from core.types import Run
from webapp.pages.render import load_renderer
from webapp.pages.translate import Language
from webapp.workbench import Workbench

log = logging.getLogger(__name__)

EXPORTS: Mapping[str, tuple[str, str]] = {
    "result.csv": ("result.csv", "text/csv"),
    "full.xlsx": ("full.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    "results.jsonl": ("jsonl", "application/x-ndjson"),
}
UPLOAD_TYPE = "application/octet-stream"
LONGEST_SUFFIX = 16
ENCODINGS: Mapping[str, str] = {"utf-8-sig": "utf-8", "gb18030": "gb18030"}


@dataclass(frozen=True, slots=True)
class Receiver:
    """Takes uploaded bytes in, up to the limit, and hands the file on."""

    settings: Settings

    async def receive(self, request: Request, suffix: str, handle: Callable[[Path], str]) -> str:
        """Return what `handle` makes of the body, kept in a file for as long as that takes.

        Raises SheetError for an empty body, one above PINGPAN_MAX_UPLOAD_MB, and one that is not declared as bytes: what
        another site's page may send without asking is text or a form.
        """
        t_en, t_zh = load_renderer(Language.EN).t, load_renderer(Language.ZH).t
        if request.headers.get("content-type") != UPLOAD_TYPE:
            raise SheetError(t_en("judge.upload_kind"), t_zh("judge.upload_kind"))
        limit = self.settings.max_upload_mb
        self.settings.home.mkdir(parents=True, exist_ok=True)
        size = 0
        with tempfile.TemporaryDirectory(prefix="incoming-", dir=self.settings.home) as folder:
            path = Path(folder) / f"upload{suffix}"
            with path.open("wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limit * 1024 * 1024:
                        key = "judge.upload_too_big"
                        raise SheetError(t_en(key, megabytes=limit), t_zh(key, megabytes=limit))
                    file.write(chunk)
            if not size:
                raise SheetError(t_en("judge.upload_empty"), t_zh("judge.upload_empty"))
            return await run_in_threadpool(handle, path)


class Exports:
    """Writes exports one at a time and gives each request a file of its own.

    The workbench writes every export of a run to the same path: two people who ask for different encodings at once
    would otherwise get each other's.
    """

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self._lock = threading.Lock()

    def write(self, run_id: int, kind: str, encoding: str) -> Path:
        """Return the path of a file that the caller deletes. Raises NotFound and ExportError."""
        with self._lock:
            path = self._workbench.export(run_id, kind, encoding)
            return path.replace(path.with_name(f"{secrets.token_hex(8)}-{path.name}"))


def file_name(name: str) -> str:
    """Return the last part of a name that a browser sent, whatever system it came from, in one printable line."""
    printable = "".join(character if character.isprintable() else " " for character in name).strip()
    return PureWindowsPath(PurePosixPath(printable).name).name[:200] or "sheet"


def suffix_of(name: str) -> str:
    """Return the ending of a file's name in small letters with its dot, "" where it has none that a file system would take."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if len(suffix) <= LONGEST_SUFFIX else ""


def checked_export(workbench: Workbench, run_id: int, kind: str, encoding: str) -> Run:
    """Return the run of a download. Raises NotFound for a run or a kind that is not there, ExportError for another encoding."""
    if kind not in EXPORTS:
        known = ", ".join(EXPORTS)
        raise NotFound(f"There is no export «{kind}»; choose one of: {known}.", f"没有名为「{kind}」的导出；可选：{known}。")
    if encoding not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise ExportError(
            f"The encoding «{encoding}» is not offered; choose one of: {known}.", f"不提供编码「{encoding}」；可选：{known}。"
        )
    return workbench.run(run_id)


def file_routes(workbench: Workbench, settings: Settings) -> APIRouter:
    """Return the routes under /files."""
    router = APIRouter(prefix="/files", include_in_schema=False)
    receiver, exports = Receiver(settings), Exports(workbench)

    @router.post("/uploads")
    async def upload_sheet(request: Request, name: str, language: Language = Language.ZH) -> JSONResponse:
        shown = file_name(name)
        return await _answer(receiver, request, language, shown, lambda path: workbench.preview(path, shown).token)

    @router.post("/libraries")
    async def upload_library(request: Request, name: str, language: Language = Language.ZH) -> JSONResponse:
        shown = file_name(name)
        return await _answer(receiver, request, language, shown, lambda path: str(workbench.import_library(path, shown).id))

    @router.get("/runs/{run_id}/{kind}")
    def download(run_id: int, kind: str, encoding: Annotated[str, Query()] = "utf-8-sig") -> FileResponse:
        run = checked_export(workbench, run_id, kind, encoding)
        export, media_type = EXPORTS[kind]
        path = exports.write(run_id, export, encoding)
        media = f"{media_type}; charset={ENCODINGS[encoding]}" if media_type == "text/csv" else media_type
        return FileResponse(
            path,
            media_type=media,
            filename=f"{file_name(Path(run.sheet_name).stem)}-run{run_id}-{kind}",
            background=BackgroundTask(path.unlink, missing_ok=True),
        )

    return router


async def _answer(receiver: Receiver, request: Request, language: Language, name: str, handle: Callable[[Path], str]) -> JSONResponse:
    """Return {"value": …}, or {"message": …} in the page's language with a status that says whose fault it is."""
    t = load_renderer(language).t
    try:
        return JSONResponse({"value": await receiver.receive(request, suffix_of(name), handle)})
    except PingpanError as error:
        return JSONResponse({"message": t.error(error)}, status_code=422)
    except Exception as error:  # the edge of the upload: logged, and told in words
        reference = secrets.token_hex(4)
        log.error("Upload error %s", reference, exc_info=error)
        return JSONResponse({"message": t("notice.apology", reference=reference)}, status_code=500)
