"""The settings of a job as form fields, drawn from its spec's own fields, and back from what was typed to a spec."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from core.training import JobKind
from webapp.pages.translate import Translator

# The eight that decide most of what becomes of a job; they are always in sight.
BASIC: Mapping[JobKind, tuple[str, ...]] = {
    JobKind.FINE_TUNE: ("learning_rate", "epochs", "batch_size", "accumulation", "rank", "alpha", "max_length", "loss"),
    JobKind.HEAD: ("learning_rate", "head_rate", "epochs", "tokens_per_step", "rank", "alpha", "max_length", "loss"),
}
# These have places of their own on the page.
PLACED = ("kind", "name", "model", "revision", "snapshot", "dimensions", "dimension", "method", "device", "reader")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "adapter": ("attention", "dropout", "target_modules"),
    "schedule": ("max_steps", "warmup", "weight_decay"),
    "stopping": ("validation", "evaluate_every", "patience", "checkpoint_every", "calibration"),
    "memory": ("gradient_checkpointing", "group_by_length", "dtype"),
}
OTHER_GROUP = "other"
_Spec = TypeVar("_Spec", bound=BaseModel)


class FieldKind(StrEnum):
    """How a field is filled in."""

    TEXT = "text"
    NUMBER = "number"
    CHOICE = "choice"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class FormField:
    """One setting: `value` as it is typed, `default` what the preset says, `options` value and words of a choice."""

    name: str
    kind: FieldKind
    label: str
    hint: str
    value: str
    default: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def changed(self) -> bool:
        """Return whether it differs from the preset."""
        return self.value != self.default


@dataclass(frozen=True, slots=True)
class FieldGroup:
    """Folded settings under one heading."""

    key: str
    fields: tuple[FormField, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """The settings that are in sight, and the folded ones; `changed` counts those of the folded that differ from the preset."""

    basic: tuple[FormField, ...]
    groups: tuple[FieldGroup, ...]

    @property
    def folded(self) -> int:
        """Return how many settings are folded away."""
        return sum(len(group.fields) for group in self.groups)

    @property
    def changed(self) -> int:
        """Return how many of the folded settings differ from the preset."""
        return sum(field.changed for group in self.groups for field in group.fields)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a field, in words of the page's language."""

    field: str
    text: str


def text_of(value: object) -> str:
    """Return a setting's value as it is typed into the form."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "\n".join(map(text_of, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def form(t: Translator, spec: type[BaseModel], preset: Mapping[str, object], given: Mapping[str, str]) -> Form:
    """Return the form of a kind of spec: its fields with the preset's values, then those that were given."""
    names = [name for name in spec.model_fields if name not in PLACED]
    fields = {name: _field(t, name, spec.model_fields[name], preset, given) for name in names}
    grouped = {key: tuple(fields[name] for name in members if name in fields) for key, members in GROUPS.items()}
    basic = BASIC.get(spec.model_fields["kind"].default, ())
    placed = {*basic, *(name for members in GROUPS.values() for name in members)}
    grouped[OTHER_GROUP] = tuple(fields[name] for name in names if name not in placed)
    groups = tuple(FieldGroup(key, members) for key, members in grouped.items() if members)
    return Form(tuple(fields[name] for name in basic if name in fields), groups)


def single_field(t: Translator, spec: type[BaseModel], name: str, preset: Mapping[str, object], given: Mapping[str, str]) -> FormField:
    """Return one field that has a place of its own on the page."""
    return _field(t, name, spec.model_fields[name], preset, given)


def _field(t: Translator, name: str, info: FieldInfo, preset: Mapping[str, object], given: Mapping[str, str]) -> FormField:
    default = text_of(preset[name]) if name in preset else text_of(info.get_default(call_default_factory=True))
    default = "" if info.is_required() and name not in preset else default
    kind, choices = _kind(info)
    hint = t.table.get(f"training_hint.{name}") or info.description or ""
    return FormField(
        name=name,
        kind=kind,
        label=t.member("training_field", name),
        hint=hint,
        value=given.get(name, default),
        default=default,
        options=tuple((choice, t.member("training_option", choice)) for choice in choices),
    )


def _kind(info: FieldInfo) -> tuple[FieldKind, tuple[str, ...]]:
    annotation = _without_none(info.annotation)
    if annotation is bool:
        return FieldKind.FLAG, ("true", "false")
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return FieldKind.CHOICE, tuple(annotation)
    return (FieldKind.NUMBER if annotation in {int, float} else FieldKind.TEXT), ()


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in {Union, types.UnionType}:
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return parts[0] if len(parts) == 1 else annotation
    return annotation


def read_form(
    t: Translator, spec: type[_Spec], preset: Mapping[str, object], given: Mapping[str, str], placed: Mapping[str, object]
) -> tuple[_Spec | None, tuple[Fault, ...]]:
    """Return the spec that a filled-in form says, or what is wrong with it by field.

    `placed` are values of the fields that have places of their own; what is no field of the spec is passed over.
    """
    values: dict[str, object] = {name: value for name, value in preset.items() if name in spec.model_fields}
    for name, text in given.items():
        info = spec.model_fields.get(name)
        if info is None or name in placed:
            continue
        values[name] = None if not text.strip() and _takes_none(info) else text.strip()
    values |= {name: value for name, value in placed.items() if name in spec.model_fields}
    values.pop("kind", None)
    try:
        return spec.model_validate(values), ()
    except ValidationError as error:
        faults = {str(one["loc"][0]) if one["loc"] else "": one["msg"] for one in error.errors()}
        return None, tuple(Fault(name, _fault(t, spec, name, message, values.get(name))) for name, message in faults.items())


def _takes_none(info: FieldInfo) -> bool:
    return type(None) in get_args(info.annotation)


def _fault(t: Translator, spec: type[BaseModel], name: str, message: str, value: object) -> str:
    label = t.member("training_field", name)
    if value is None or value == "":
        return t("training.fault_empty", field=label)
    annotation = _without_none(spec.model_fields[name].annotation) if name in spec.model_fields else None
    if annotation in {int, float}:
        key = "training.fault_whole" if annotation is int else "training.fault_number"
        return t(key, field=label, range=_range(t, spec.model_fields[name].metadata), value=text_of(value))
    return t("training.fault_other", field=label, reason=message)


def _range(t: Translator, metadata: Sequence[object]) -> str:
    """Return the words for the bounds of a number: from 1 to 512, above 0, …"""
    low = high = ""
    for bound in metadata:
        match bound:
            case annotated_types.Ge(ge=value):
                low = t("training.from", value=text_of(value))
            case annotated_types.Gt(gt=value):
                low = t("training.above", value=text_of(value))
            case annotated_types.Le(le=value):
                high = t("training.up_to", value=text_of(value))
            case annotated_types.Lt(lt=value):
                high = t("training.below", value=text_of(value))
            case _:
                pass
    return t("training.range", low=low, high=high).strip()
