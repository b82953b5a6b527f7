"""Panel files: the named judges of a run (assets/panels/*.yaml, see docs/PANELS.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from core.errors import PanelError
from core.types import JudgeSpec, LocalText, PanelSpec, said
from core.yaml_text import read_yaml

_Name = Annotated[str, Field(min_length=1, max_length=80)]


class _JudgeFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    name: _Name | dict[str, _Name]
    family: str = Field(min_length=1)
    options: dict[str, JsonValue] = Field(default_factory=dict)


class _PanelFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    names: dict[str, _Name]
    description: dict[str, str] = Field(default_factory=dict)
    lead: str
    schedule: Literal["together", "in_turn"] = "together"
    judges: list[_JudgeFile] = Field(min_length=1)

    def faults(self) -> Iterator[LocalText]:
        """Yield what pydantic cannot see: doubled ids, an unknown lead, a missing name."""
        ids = [judge.id for judge in self.judges]
        doubled = sorted({judge_id for judge_id in ids if ids.count(judge_id) > 1})
        if doubled:
            yield {
                "en": f"judges: the ids {', '.join(doubled)} stand more than once; give each judge an id of its own",
                "zh": f"judges：编号 {'、'.join(doubled)} 重复，请为每个评委使用不同的编号",
            }
        if self.lead not in ids:
            yield {
                "en": f"lead: «{self.lead}» is no judge of this panel; write one of {', '.join(ids)}",
                "zh": f"lead：评委组中没有「{self.lead}」，请从 {'、'.join(ids)} 中选一个",
            }
        if "zh" not in self.names:
            yield {"en": "names: the Chinese name is missing; add «zh: …»", "zh": "names：缺少中文名称，请补上「zh: …」"}
        for judge in self.judges:
            if isinstance(judge.name, dict) and "zh" not in judge.name:
                yield {
                    "en": f"judges: the Chinese name of {judge.id} is missing; add «zh: …» to its name, or write one name for all languages",
                    "zh": f"judges：{judge.id} 缺少中文名称，请在其 name 中补上「zh: …」，或只写一个各语言通用的名称",
                }


def load_panel(path: Path) -> PanelSpec:
    """Return the panel of a file; its id is the file's name without the ending.

    Raises PanelError with every fault of the file.
    """
    try:
        data = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PanelError(f"{path}: the panel file cannot be read: {error}", zh=f"{path}：评委组文件无法读取：{error}") from error
    try:
        panel = _PanelFile.model_validate(data)
        faults: list[LocalText] = list(panel.faults())
    except ValidationError as error:
        faults = [{"": f"{'.'.join(str(part) for part in e['loc']) or 'file'}: {e['msg']}"} for e in error.errors()]
    if faults:
        en, zh = ("\n  ".join(said(fault, language) for fault in faults) for language in ("en", "zh"))
        raise PanelError(f"{path}: the panel file is wrong:\n  {en}", zh=f"{path}：评委组文件有误：\n  {zh}")
    judges = tuple(_judge(judge) for judge in panel.judges)
    canonical = json.dumps(panel.model_dump(), sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return PanelSpec(path.stem, panel.names, judges, panel.lead, panel.schedule, panel.description, digest)


def _judge(judge: _JudgeFile) -> JudgeSpec:
    if isinstance(judge.name, str):
        return JudgeSpec(judge.id, judge.name, judge.family, judge.options)
    return JudgeSpec(judge.id, judge.name["zh"], judge.family, judge.options, judge.name)


def load_panels(*folders: Path) -> dict[str, PanelSpec]:
    """Return every panel of the folders by id, later folders overriding earlier ones.

    Raises PanelError with the faults of every wrong file at once.
    """
    panels: dict[str, PanelSpec] = {}
    faults = []
    for path in (path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.yaml"))):
        try:
            panels[path.stem] = load_panel(path)
        except PanelError as error:
            faults.append(error.messages)
    if faults:
        raise PanelError("\n".join(fault["en"] for fault in faults), zh="\n".join(fault["zh"] for fault in faults))
    return panels


def get_panel(panels: dict[str, PanelSpec], panel_id: str) -> PanelSpec:
    """Return the panel called `panel_id`. Raises PanelError naming the ones there are."""
    if panel_id not in panels:
        known = ", ".join(panels) or "none"
        raise PanelError(f"There is no panel «{panel_id}»; choose one of: {known}.", zh=f"没有名为「{panel_id}」的评委组；可选：{known}。")
    return panels[panel_id]
