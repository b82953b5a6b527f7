"""Read the records of a training file, whatever its format: system words, what was asked, what was answered.

A file is a JSON list or JSON lines, of any of the formats; what the first record looks like decides. A record that cannot
be read is told with its number (from 1) and how to mend it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import SheetError
from core.types import LocalText, Severity
from training.formats.kinds import ExportFormat

ROLES: Mapping[str, str] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class RecordProblem:
    """What is wrong with a record (an ERROR keeps it out), or worth knowing; `record` counts from 1, 0 is the whole file."""

    record: int
    severity: Severity
    message: LocalText


@dataclass(frozen=True, slots=True)
class Exchange:
    """One record: words of the system ("" for none), the prompt, the answer."""

    record: int
    system: str
    asked: str
    answer: str


class Unreadable(Exception):
    """Why a record is no exchange, in both languages."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.words: LocalText = {"zh": zh, "en": en}


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """A file as it was read; `total` counts the records, readable or not."""

    kind: ExportFormat
    total: int
    exchanges: tuple[Exchange, ...]
    problems: tuple[RecordProblem, ...]


def read_exchanges(path: Path, kind: ExportFormat | None = None) -> TrainingFile:
    """Return the records of a file; `kind` None: as its first record looks. Raises SheetError where it is no such file at all."""
    records = list(_records(_text(path), path.name))
    if not records:
        raise SheetError(f"{path.name} holds no record.", zh=f"{path.name} 中没有任何记录。")
    found = kind or detect(next((record for _, record in records if not isinstance(record, Unreadable)), None), path.name)
    exchanges: list[Exchange] = []
    problems: list[RecordProblem] = []
    for number, record in records:
        try:
            if isinstance(record, Unreadable):
                raise record
            exchanges.append(Exchange(number, *_READERS[found](_mapping(record))))
        except Unreadable as wrong:
            problems.append(RecordProblem(number, Severity.ERROR, wrong.words))
    return TrainingFile(found, len(records), tuple(exchanges), tuple(problems))


def detect(record: object, name: str) -> ExportFormat:
    """Return the format that a record is of. Raises SheetError naming what is known."""
    keys = set(record) if isinstance(record, Mapping) else set()
    for kind, needed in _KEYS.items():
        if needed <= keys:
            return kind
    known = "; ".join(f"{kind.value}: {', '.join(sorted(needed))}" for kind, needed in _KEYS.items())
    raise SheetError(
        f"{name} is of no known training format (its first record has the keys {', '.join(sorted(map(str, keys))) or 'none'}); known: {known}.",
        zh=f"{name} 不是已知的训练数据格式（首条记录的键：{'、'.join(sorted(map(str, keys))) or '无'}）；可识别的格式及其键：{known}。",
    )


_KEYS: Mapping[ExportFormat, frozenset[str]] = {
    ExportFormat.XTUNER: frozenset({"conversation"}),
    ExportFormat.SHAREGPT: frozenset({"conversations"}),
    ExportFormat.ALPACA: frozenset({"instruction", "output"}),
    ExportFormat.TRL: frozenset({"prompt", "completion"}),
}


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SheetError(f"{path} cannot be read ({error.strerror}).", zh=f"无法读取 {path}（{error.strerror}）。") from error
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise SheetError(
        f"{path.name} is neither UTF-8 nor GB18030 text; save it as UTF-8.",
        zh=f"{path.name} 既不是 UTF-8 也不是 GB18030 文本，请另存为 UTF-8。",
    )


def _records(text: str, name: str) -> Iterator[tuple[int, Any]]:
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(_parsed(text), 1)
        except RecursionError as error:
            raise SheetError(f"{name} nests too deeply to be read.", zh=f"{name} 嵌套过深，无法读取。") from error
        except json.JSONDecodeError as error:
            raise SheetError(
                f"{name} is no JSON: {error.msg} in line {error.lineno}, column {error.colno}; mend it there.",
                zh=f"{name} 不是有效的 JSON：第 {error.lineno} 行第 {error.colno} 列（{error.msg}），请修正。",
            ) from error
        return
    number = 0
    for line_number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            number += 1
            try:
                yield number, _parsed(line)
            except RecursionError:
                yield number, Unreadable(f"line {line_number} nests too deeply to be read.", f"第 {line_number} 行嵌套过深，无法读取。")
            except json.JSONDecodeError as error:
                yield (
                    number,
                    Unreadable(
                        f"line {line_number} is no JSON: {error.msg} in column {error.colno}; mend the line.",
                        f"第 {line_number} 行不是有效的 JSON：第 {error.colno} 列（{error.msg}），请修正该行。",
                    ),
                )


def _parsed(text: str) -> Any:
    """Return what a JSON text says; whole numbers stay text, however long."""
    return json.loads(text, parse_int=str)


def _mapping(record: object) -> Mapping[str, Any]:
    if isinstance(record, Mapping):
        return record
    raise Unreadable("is no JSON object; write {…}.", "不是 JSON 对象，请写成 {…}。")


def _string(record: Mapping[str, Any], key: str, *, optional: bool = False) -> str:
    value = record.get(key)
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)  # half a character can be neither stored nor hashed
    if optional and value is None:
        return ""
    raise Unreadable(f"has no text under `{key}`; write a string there.", f"的 `{key}` 不是文本，请填写字符串。")


def _xtuner(record: Mapping[str, Any]) -> tuple[str, str, str]:
    turns = record.get("conversation")
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise Unreadable("has no list under `conversation`.", "的 `conversation` 不是列表。")
    if len(turns) != 1:
        raise _turns(len(turns))
    turn = _mapping(turns[0])
    return _string(turn, "system", optional=True), _string(turn, "input"), _string(turn, "output")


def _alpaca(record: Mapping[str, Any]) -> tuple[str, str, str]:
    history = record.get("history") or []
    if not isinstance(history, list):
        raise Unreadable("has no list under `history`.", "的 `history` 不是列表。")
    if history:
        raise _turns(len(history) + 1)
    asked, more = _string(record, "instruction"), _string(record, "input", optional=True)
    return _string(record, "system", optional=True), f"{asked}\n{more}" if more else asked, _string(record, "output")


def _sharegpt(record: Mapping[str, Any]) -> tuple[str, str, str]:
    system, asked, answer = _messages(record.get("conversations"), "conversations", "from", "value")
    return system or _string(record, "system", optional=True), asked, answer


def _trl(record: Mapping[str, Any]) -> tuple[str, str, str]:
    if isinstance(record.get("prompt"), str):
        return "", _string(record, "prompt"), _string(record, "completion")
    messages = [*_list(record, "prompt"), *_list(record, "completion")]
    return _messages(messages, "prompt", "role", "content")


def _list(record: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = record.get(key)
    if isinstance(value, list):
        return value
    raise Unreadable(f"has neither text nor messages under `{key}`.", f"的 `{key}` 既不是文本也不是消息列表。")


def _messages(messages: object, key: str, role_key: str, words_key: str) -> tuple[str, str, str]:
    if not isinstance(messages, list):
        raise Unreadable(f"has no list under `{key}`.", f"的 `{key}` 不是列表。")
    said: dict[str, list[str]] = {"system": [], "user": [], "assistant": []}
    for message in map(_mapping, messages):
        role = ROLES.get(str(message.get(role_key)))
        if role is None:
            raise Unreadable(
                f"has a message of the unknown role {message.get(role_key)!r}; known: {', '.join(ROLES)}.",
                f"含有未知角色 {message.get(role_key)!r} 的消息；可用：{'、'.join(ROLES)}。",
            )
        said[role].append(_string(message, words_key))
    if not said["user"] or not said["assistant"]:
        raise Unreadable(
            "has no question or no answer; a labelled row is one of each: add it, or leave the record out.",
            "缺少提问或回答；一条标注应为一问一答，请补全或删去。",
        )
    if len(said["user"]) != 1 or len(said["assistant"]) != 1 or len(said["system"]) > 1:
        raise _turns(max(len(said["user"]), len(said["assistant"])))
    return "".join(said["system"]), said["user"][0], said["assistant"][0]


def _turns(count: int) -> Unreadable:
    return Unreadable(
        f"has {count} turns; a labelled row is one question and one answer: split it, or leave it out.",
        f"有 {count} 轮对话；一条标注应为一问一答，请拆分或删去。",
    )


_READERS: Mapping[ExportFormat, Callable[[Mapping[str, Any]], tuple[str, str, str]]] = {
    ExportFormat.XTUNER: _xtuner,
    ExportFormat.TRL: _trl,
    ExportFormat.ALPACA: _alpaca,
    ExportFormat.SHAREGPT: _sharegpt,
}
