"""Which judge families there are. A family's module is imported when a panel first names it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from core.errors import PanelError
from core.ports import Judge, JudgeContext, JudgeFactory
from core.types import JudgeSpec

_FACTORIES: Mapping[str, tuple[str, str]] = {
    "rules": ("core.judging.rules", "make_rules"),
    "neighbours": ("core.judging.neighbours", "make_neighbours"),
    "ngrams": ("core.judging.ngrams", "make_ngrams"),
    "surprise": ("core.judging.surprise", "make_surprise"),
    "transformers": ("core.judging.transformers", "make_transformers_judge"),
    "server": ("core.judging.server", "make_server_judge"),
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
