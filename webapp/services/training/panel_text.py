"""Puts a judge into a panel file's text; every other character of the file stays as its author wrote it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import yaml

from core.errors import PanelError
from core.types import JudgeSpec, LocalText


def replace_judge(text: str, judge_id: str, judge: JudgeSpec) -> str:
    """Return the text with another line for the judge `judge_id`. Raises PanelError when the panel has no such judge."""
    entries = _judges(text)
    for entry in entries.value:
        if any(key.value == "id" and str(value.value) == judge_id for key, value in entry.value):
            return text[: entry.start_mark.index] + _written(judge) + text[_end(entry) :]
    known = ", ".join(str(value.value) for entry in entries.value for key, value in entry.value if key.value == "id")
    raise PanelError(f"The panel has no judge «{judge_id}»; choose one of: {known}.", zh=f"评委组中没有评委「{judge_id}」；可选：{known}。")


def add_judge(text: str, judge: JudgeSpec) -> str:
    """Return the text with one more judge at the end of its list."""
    entries = _judges(text)
    last = entries.value[-1]
    end = _end(last)
    if entries.flow_style:
        return f"{text[:end]}, {_written(judge)}{text[end:]}"
    dash = text.rindex("-", 0, last.start_mark.index)
    indent = dash - (text.rfind("\n", 0, dash) + 1)
    return f"{text[:end]}\n{' ' * indent}- {_written(judge)}{text[end:]}"


def rename(text: str, names: LocalText) -> str:
    """Return the text with other names for the panel."""
    value = _field(text, "names", yaml.MappingNode)
    end = _end(value)
    return text[: value.start_mark.index] + _flow(dict(names)) + text[end:]


def digest(text: str) -> str:
    """Return the sha256 (hex) of a panel file's text; its first 12 digits name the version in PINGPAN_HOME/panels/versions."""
    return hashlib.sha256(text.encode()).hexdigest()


def _judges(text: str) -> yaml.SequenceNode:
    found = _field(text, "judges", yaml.SequenceNode)
    if not isinstance(found, yaml.SequenceNode) or not found.value:
        raise PanelError("The panel file has no judges.", zh="评委组文件中没有评委。")
    return found


def _field(text: str, name: str, kind: type[yaml.Node]) -> yaml.Node:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            if key.value == name and isinstance(value, kind):
                return value
    raise PanelError(f"The panel file has no {name}.", zh=f"评委组文件中没有 {name}。")


def _end(node: yaml.Node) -> int:
    """Return where a node's own text ends: a block's mark lies behind the comments that follow it."""
    return max(mark for mark in _ends(node))


def _ends(node: yaml.Node) -> Iterator[int]:
    flow = getattr(node, "flow_style", True)
    if flow or not node.value:
        yield node.end_mark.index
        return
    for part in node.value:
        for inner in part if isinstance(part, tuple) else (part,):
            yield from _ends(inner)


def _written(judge: JudgeSpec) -> str:
    """Return a judge as one flow mapping, which may stand in a block or a flow list."""
    name: object = dict(judge.names) if judge.names else judge.name
    return _flow({"id": judge.id, "name": name, "family": judge.family, "options": dict(judge.options)})


class _Dumper(yaml.SafeDumper):
    """Writes line breaks and other control characters as escapes: the text stays on one line, and comes back as it was."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')


_Dumper.add_representer(str, _text)


def _flow(value: object) -> str:
    written: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, sort_keys=False, width=2**30)
    return written.strip()
