"""Which judge families there are. A family's module is imported when a panel first names it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from core.errors import JudgeError, PanelError
from core.ports import Explainer, ExplainerFactory, Judge, JudgeContext, JudgeFactory
from core.types import JudgeSpec

_FACTORIES: Mapping[str, tuple[str, str]] = {
    "rules": ("core.judging.rules", "make_rules"),
    "neighbours": ("core.judging.neighbours", "make_neighbours"),
    "ngrams": ("core.judging.ngrams", "make_ngrams"),
    "surprise": ("core.judging.surprise", "make_surprise"),
    "transformers": ("core.judging.transformers", "make_transformers_judge"),
    "ordinal_head": ("core.judging.head", "make_head_judge"),
    "server": ("core.judging.server", "make_server_judge"),
}


# The families whose judges can say why in words of their own, asked for them; the others say it with every answer.
_EXPLAINERS: Mapping[str, tuple[str, str]] = {
    "transformers": ("core.judging.transformers", "make_transformers_judge"),
    "server": ("core.judging.server", "make_server_explainer"),
}


def families() -> tuple[str, ...]:
    """Return the names of all families, in order."""
    return tuple(_FACTORIES)


def make_judge(spec: JudgeSpec, context: JudgeContext) -> Judge:
    """Return the judge that a panel's line describes, ready to answer.

    Raises PanelError for an unknown family, with the valid ones, and JudgeError where the family cannot start.
    """
    if spec.family not in _FACTORIES:
        known = ", ".join(_FACTORIES)
        raise PanelError(
            f"Judge {spec.id!r} names the unknown family {spec.family!r}; write one of: {known}.",
            zh=f"评委 {spec.id!r} 的类别 {spec.family!r} 不存在；可用的有：{known}。",
        )
    module, name = _FACTORIES[spec.family]
    factory = cast("JudgeFactory", getattr(import_module(module), name))
    return factory(spec, context)


def can_explain(spec: JudgeSpec) -> bool:
    """Return whether a judge says why on demand."""
    return spec.family in _EXPLAINERS


def make_explainer(spec: JudgeSpec, context: JudgeContext) -> Explainer:
    """Return what says why a judge gives its labels.

    Raises JudgeError for a family that keeps its reasons with every answer, and where the family cannot start.
    """
    if spec.family not in _EXPLAINERS:
        raise JudgeError(
            f"Judge {spec.id!r} is of the family {spec.family!r}, whose reasons stand beside each answer; there is no model to ask.",
            zh=f"评委 {spec.id!r} 属于 {spec.family!r} 类，理由已随每个评分给出，没有可以追问的模型。",
        )
    module, name = _EXPLAINERS[spec.family]
    factory = cast("ExplainerFactory", getattr(import_module(module), name))
    return factory(spec, context)
