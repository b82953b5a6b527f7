"""The panel desk: panels as files that people copy, edit and take away; every version is kept, and runs keep their own."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from core.errors import NotFound, PanelError, PingpanError
from core.judging.registry import families
from core.panels import load_panel
from core.settings import Settings
from core.types import JudgeSpec, LocalText, PanelSpec

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
VERSIONS = "versions"
LONGEST = 200_000


@dataclass(frozen=True, slots=True)
class PanelVersion:
    """One text that a panel of one's own had: `id` is the beginning of the text's sha256."""

    id: str
    saved_at: datetime
    current: bool


class PanelDesk:
    """Panels as files. Shipped ones are never written to: a change begins with a copy under a name of one's own."""

    def __init__(self, settings: Settings, panels: dict[str, PanelSpec]) -> None:
        self._settings = settings
        self._panels = panels
        self._lock = threading.Lock()
        self._seen = self._stamp()

    @property
    def folder(self) -> Path:
        """Return the folder of one's own panels."""
        return self._settings.home / "panels"

    def refresh(self) -> None:
        """Take in what another process has written to the panels' folder; a file that is wrong changes nothing."""
        stamp = self._stamp()
        if stamp != self._seen:
            with self._lock:
                self._reload()
            self._seen = stamp

    def panel(self, panel_id: str) -> PanelSpec:
        """Return a panel. Raises NotFound naming the ones there are."""
        self.refresh()
        if panel_id not in self._panels:
            known = ", ".join(self._panels)
            raise NotFound(
                f"There is no panel «{panel_id}»; choose one of: {known}.", zh=f"没有名为「{panel_id}」的评委组；可选：{known}。"
            )
        return self._panels[panel_id]

    def panels(self) -> Sequence[PanelSpec]:
        """Return every panel, shipped ones and one's own."""
        self.refresh()
        return list(self._panels.values())

    def is_own(self, panel_id: str) -> bool:
        """Return whether a panel is a file of PINGPAN_HOME and not a shipped one."""
        return NAME.fullmatch(panel_id) is not None and (self.folder / f"{panel_id}.yaml").is_file()

    def text(self, panel_id: str, version: str = "") -> str:
        """Return the text of a panel's file, or of an earlier version. Raises NotFound."""
        self.panel(panel_id)
        own = self.folder / f"{panel_id}.yaml"
        path = own if own.is_file() else self._settings.panels_dir / f"{panel_id}.yaml"
        if version:
            path = self._kept(panel_id) / f"{version}.yaml"
        if (version and not re.fullmatch(r"[0-9a-f]{12}", version)) or not path.is_file():
            raise NotFound(f"The panel {panel_id} has no version {version}.", zh=f"评委组 {panel_id} 没有版本 {version}。")
        return path.read_text(encoding="utf-8")

    def versions(self, panel_id: str) -> Sequence[PanelVersion]:
        """Return the versions that were saved of a panel of one's own, newest first."""
        if not self.is_own(panel_id):
            return ()
        current = _digest((self.folder / f"{panel_id}.yaml").read_text(encoding="utf-8"))
        files = sorted(self._kept(panel_id).glob("*.yaml"), key=lambda path: path.stat().st_mtime, reverse=True)
        return [PanelVersion(path.stem, datetime.fromtimestamp(path.stat().st_mtime, UTC), path.stem == current) for path in files]

    def free_name(self, panel_id: str) -> str:
        """Return a name for a copy that no panel has."""
        names = (f"{panel_id[:56]}-{number}" for number in range(2, 10_000))
        return next(name for name in names if name not in self._panels)

    def faults(self, panel_id: str, text: str) -> Sequence[LocalText]:
        """Return everything that keeps a text from being the panel `panel_id`: the name, the file, each judge's options."""
        return [*self._name_faults(panel_id), *_text_faults(panel_id, text)]

    def save(self, panel_id: str, text: str) -> PanelSpec:
        """Keep `text` as the newest version of the panel `panel_id` of one's own. Raises PanelError with every fault."""
        found = self.faults(panel_id, text)
        if found:
            raise PanelError(*("\n".join(fault[language] for fault in found) for language in ("en", "zh")))
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            own = self.folder / f"{panel_id}.yaml"
            if own.is_file():
                self._keep(panel_id, own.read_text(encoding="utf-8"))
            self._keep(panel_id, text)
            os.utime(self._kept(panel_id) / f"{_digest(text)}.yaml")  # saved again it is the newest
            _write(own, text)
            self._reload()
        return self.panel(panel_id)

    def remove(self, panel_id: str) -> str:
        """Take a panel of one's own out of the list, and return its text. Raises PanelError for a shipped one, NotFound."""
        self.panel(panel_id)
        if not self.is_own(panel_id):
            raise PanelError(
                f"{panel_id} is shipped with Pingpan and cannot be removed; only panels of your own can.",
                zh=f"{panel_id} 是随程序提供的评委组，不能移除；只能移除自己的评委组。",
            )
        with self._lock:
            text = self.text(panel_id)
            self._keep(panel_id, text)
            (self.folder / f"{panel_id}.yaml").unlink()
            self._reload()
        return text

    def _name_faults(self, panel_id: str) -> list[LocalText]:
        if not NAME.fullmatch(panel_id):
            return [
                {
                    "en": "name: write 1 to 64 letters, digits, dots, dashes or underscores, such as my-panel",
                    "zh": "名称：请用 1 至 64 个英文字母、数字、点、连字符或下划线，例如 my-panel",
                }
            ]
        if (self._settings.panels_dir / f"{panel_id}.yaml").is_file():
            return [
                {
                    "en": f"name: {panel_id} is shipped with Pingpan and stays as it is; save under another name",
                    "zh": f"名称：{panel_id} 是随程序提供的评委组，保持不变；请换一个名称保存",
                }
            ]
        return []

    def _kept(self, panel_id: str) -> Path:
        return self.folder / VERSIONS / panel_id

    def _keep(self, panel_id: str, text: str) -> None:
        kept = self._kept(panel_id) / f"{_digest(text)}.yaml"
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not kept.is_file():
            _write(kept, text)

    def _stamp(self) -> tuple[tuple[str, int], ...]:
        """Return what tells whether a file of one's own panels was written since."""
        with suppress(OSError):
            return tuple((path.name, path.stat().st_mtime_ns) for path in sorted(self.folder.glob("*.yaml")))
        return ()

    def _reload(self) -> None:
        """Read every panel anew; one whose file is wrong, as somebody left it, stays what it was and keeps no other back."""
        loaded: dict[str, PanelSpec] = {}
        for path in (path for folder in self._settings.panel_folders() for path in sorted(folder.glob("*.yaml"))):
            try:
                loaded[path.stem] = load_panel(path)
            except PanelError:
                if path.stem in self._panels:
                    loaded[path.stem] = self._panels[path.stem]
        self._panels.clear()
        self._panels.update(loaded)


def _text_faults(panel_id: str, text: str) -> list[LocalText]:
    if len(text) > LONGEST:
        return [{"en": f"file: longer than {LONGEST:,} characters", "zh": f"文件：超过 {LONGEST:,} 个字符"}]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{panel_id if NAME.fullmatch(panel_id) else 'panel'}.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            panel = load_panel(path)
        except PanelError as error:
            return [{name: words.replace(f"{path}: ", "").replace(str(path), "") for name, words in error.messages.items()}]
    return [fault for spec in panel.judges for fault in judge_faults(spec)]


def judge_faults(spec: JudgeSpec) -> list[LocalText]:
    """Return what is wrong with one judge's line: an unknown family, or options that its family does not take."""
    if spec.family not in families():
        known = ", ".join(families())
        return [
            {
                "en": f"judges.{spec.id}.family: {spec.family!r} is unknown; write one of {known}",
                "zh": f"judges.{spec.id}.family：{spec.family!r} 不存在；可用：{known}",
            }
        ]
    try:
        if spec.family == "server":
            from core.judging.server.options import read_options as read_server

            read_server(spec.id, spec.options)
        elif spec.family == "transformers":
            from core.judging.transformers.options import read_options as read_transformers

            read_transformers(spec.id, spec.options)
        elif spec.family == "ordinal_head":
            from core.judging.head.options import read_options as read_head

            read_head(spec.id, spec.options)
    except PingpanError as error:
        return [error.messages]
    return []


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
