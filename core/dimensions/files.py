"""The form of a dimension file, and the faults that one can have."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from core.dimensions.standins import with_stand_ins
from core.types import Dimension, DimensionKind
from core.yaml_text import read_yaml

Sentence = Annotated[StrictStr, Field(min_length=1)]
IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]{0,39}")
TEMPLATE_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a dimension file: where it stands, and what it is and how to mend it in both languages."""

    file: str
    key: str
    en: str
    zh: str

    def line(self, language: str) -> str:
        """Return the fault as one line of a message in `language`."""
        place = f"{self.file} · {self.key}" if self.key else self.file
        return f"{place}: {self.zh if language == 'zh' else self.en}"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bilingual(_Strict):
    """A text in Chinese and in English."""

    zh: Sentence
    en: Sentence

    def mapping(self) -> dict[str, str]:
        """Return the texts by language code."""
        return {"zh": self.zh, "en": self.en}


class PromptReference(_Strict):
    """Which prompt template a dimension uses: `prompts/<file>.v<version>.jinja`."""

    file: Sentence
    version: Annotated[StrictInt, Field(ge=1)]

    @property
    def name(self) -> str:
        """Return the name that judgements keep, such as `fluency.v1`."""
        return f"{self.file}.v{self.version}"


class DimensionFile(_Strict):
    """A dimension as its YAML file writes it."""

    id: Sentence
    kind: DimensionKind
    names: Bilingual
    aliases: tuple[Sentence, ...] = ()
    description: Bilingual
    labels: Annotated[tuple[StrictInt, ...], Field(min_length=2)]
    levels: dict[StrictInt, Bilingual]
    needs_prompt: StrictBool
    marks: dict[StrictInt, Bilingual] = {}
    measure: Bilingual | None = None
    fault_rates: dict[StrictInt, Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]] = {}
    empty_text_label: StrictInt | None = None
    prompt: PromptReference

    def dimension(self) -> Dimension:
        """Return the dimension of the domain."""
        return Dimension(
            id=self.id,
            names=self.names.mapping(),
            labels=self.labels,
            kind=self.kind,
            levels={label: self.levels[label].mapping() for label in self.labels},
            prompt_version=self.prompt.name,
            needs_prompt=self.needs_prompt,
            aliases=self.aliases,
            description=self.description.mapping(),
            empty_text_label=self.empty_text_label,
            marks={label: self.marks[label].mapping() for label in self.labels if label in self.marks},
            measure=self.measure.mapping() if self.measure else {},
            fault_rates=dict(self.fault_rates),
        )

    def called(self) -> tuple[str, ...]:
        """Return every word that a sheet may write for this dimension."""
        return (self.id, self.names.zh, self.names.en, *self.aliases)


def read_dimension_file(path: Path, label: str) -> tuple[DimensionFile | None, list[Fault]]:
    """Read one file; return its model (None when it has none) and every fault found. `label` names it in messages.

    A model beside faults of form has stand-ins for what they concern, among them `label` as the prompt's file.
    """
    try:
        document = read_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return None, [Fault(label, "", "is not UTF-8; save it as UTF-8.", "不是 UTF-8 编码，请另存为 UTF-8。")]
    except OSError as error:
        return None, [
            Fault(label, "", f"cannot be read ({error.strerror}); check its permissions.", f"无法读取（{error.strerror}），请检查权限。")
        ]
    except yaml.YAMLError as error:
        return None, [_yaml_fault(label, error)]
    if not isinstance(document, dict):
        known = ", ".join(DimensionFile.model_fields)
        return None, [Fault(label, "", f"holds no keys; write these: {known}.", f"没有任何键，请写出：{known}。")]
    try:
        model = DimensionFile.model_validate(document)
    except ValidationError as error:
        return _in_part(document, label, error)
    return model, _sense_faults(label, model)


def _in_part(document: Mapping[object, object], label: str, error: ValidationError) -> tuple[DimensionFile | None, list[Fault]]:
    """Return what can be checked of a file with faults of form, so that its other faults come in the same message."""
    faults = [_model_fault(label, part["loc"], part["type"], part["msg"], part["input"]) for part in error.errors()]
    filled, unsure = with_stand_ins(document, label, error.errors())
    try:
        model = DimensionFile.model_validate(filled)
    except ValidationError:
        return None, faults
    return model, faults + [fault for fault in _sense_faults(label, model) if fault.key.split(".")[0] not in unsure]


def _yaml_fault(label: str, error: yaml.YAMLError) -> Fault:
    mark = getattr(error, "problem_mark", None)
    line = f"line {mark.line + 1}" if mark is not None else ""
    what = getattr(error, "problem", None) or str(error)
    return Fault(label, line, f"is not readable YAML: {what}; mend that line.", f"不是可读的 YAML：{what}，请修正这一行。")


def _model_fault(label: str, location: Sequence[int | str], kind: str, message: str, value: object) -> Fault:
    path = [str(part) for part in location if part != "[key]"]
    key = ".".join(path)
    if kind == "extra_forbidden":
        known = ", ".join(DimensionFile.model_fields) if len(path) == 1 else "zh, en" if path[0] != "prompt" else "file, version"
        return Fault(
            label,
            key,
            f"is no known key; remove it or correct its spelling (known: {known}).",
            f"未知的键，请删除或改正拼写（可用：{known}）。",
        )
    if kind == "missing":
        return Fault(label, key, "is missing; add it.", "缺失，请补上。")
    return Fault(label, key, f"holds {value!r}: {message}; correct it.", f"的值为 {value!r}，不符合要求（{message}），请改正。")


def _sense_faults(label: str, model: DimensionFile) -> list[Fault]:
    """Return what is wrong although every key has the right form."""
    labels, empty, template = list(model.labels), model.empty_text_label, model.prompt.file
    missing = [value for value in labels if value not in model.levels]
    surplus = [value for value in model.levels if value not in labels]
    stray = [value for value in model.marks if value not in labels]
    checks = (
        (
            IDENTIFIER.fullmatch(model.id) is None,
            "id",
            f"{model.id!r} must be lower-case letters, digits, - or _, beginning with a letter, at most 40.",
            f"{model.id!r} 只能由小写字母、数字、- 和 _ 组成，以字母开头，最长 40 个字符。",
        ),
        (
            labels != sorted(set(labels)),
            "labels",
            f"{labels} must rise and name each label once.",
            f"{labels} 必须从小到大排列且不重复。",
        ),
        (
            bool(missing),
            "levels",
            f"has no text for label {missing}; describe every label.",
            f"缺少标签 {missing} 的说明，请为每个标签写说明。",
        ),
        (
            bool(surplus),
            "levels",
            f"describes {surplus}, which `labels` does not have; remove or add it.",
            f"说明了 labels 中没有的 {surplus}，请删除或补进 labels。",
        ),
        (
            bool(stray),
            "marks",
            f"marks {stray}, which `labels` does not have; remove or add it.",
            f"标注了 labels 中没有的 {stray}，请删除或补进 labels。",
        ),
        (
            empty is not None and empty not in labels,
            "empty_text_label",
            f"{empty} is none of {labels}; choose one of them or remove the key.",
            f"{empty} 不在 {labels} 之中，请选用其一或删除此键。",
        ),
        (
            TEMPLATE_STEM.fullmatch(template) is None,
            "prompt.file",
            f"{template!r} must be letters, digits, - or _ (no folder, no ending).",
            f"{template!r} 只能由字母、数字、- 和 _ 组成（不含目录和扩展名）。",
        ),
    )
    return [Fault(label, key, en, zh) for wrong, key, en, zh in checks if wrong] + _rate_faults(label, model)


def _rate_faults(label: str, model: DimensionFile) -> list[Fault]:
    """Return what is wrong with the rates of faults: each label but the worst has one, and they rise from the best label on."""
    rates, labels = model.fault_rates, list(model.labels)
    if not rates:
        return []
    if model.kind is not DimensionKind.ORDINAL:
        return [
            Fault(
                label,
                "fault_rates",
                "says what rates of faults mean, but these labels have no order; remove the key.",
                "说明了错误率与标签的关系，但这些标签没有顺序，请删除此键。",
            )
        ]
    rising = sorted(rates, key=lambda value: rates[value])
    if len(set(rates.values())) == len(rates) and rising in (labels[:-1], labels[:0:-1]):
        return []
    return [
        Fault(
            label,
            "fault_rates",
            f"{rates} must give every label of {labels} but the worst, which has what is above, a rate that rises from the best label on.",
            f"{rates} 必须为 {labels} 中除最差一档（超出者归入该档）以外的每个标签各给出一个错误率，并从最好的一档起递增。",
        )
    ]


def same_word(word: str) -> str:
    """Return `word` as it is compared with what sheets write: NFKC, case folded, without blanks."""
    return "".join(unicodedata.normalize("NFKC", word).casefold().split())
