"""Know Pingpan's own prompts again, and read from them what was judged.

Every dimension's template is rendered for a probe, which shows the words around prompt and text. Judged texts stand between
lines with a mark that occurs nowhere in them (core/dimensions/prompts.py), so what stands between the marks is the text,
whatever it holds, and whatever examples come before it. The mark is a hash of prompt and text: it also tells whether both
were read as they were.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.dimensions import PromptBuilder
from core.dimensions.prompts import MARK_LENGTH, boundary_mark
from core.types import Dimension, Item, SourceRef

# Private-use characters, which no prompt file holds.
_PROMPT, _TEXT = "\ue000prompt\ue001", "\ue000text\ue001"
_MARK = re.compile(f"[0-9a-f]{{{MARK_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class OwnPrompt:
    """What a prompt of Pingpan's asks about. Not `exact`: its mark does not fit (the prompt is not shown, or was edited)."""

    dimension_id: str
    prompt: str
    text: str
    exact: bool


@dataclass(frozen=True, slots=True)
class _Form:
    """A dimension's user turn, cut at its marks; pieces may hold _PROMPT or _TEXT."""

    dimension: Dimension
    system: str
    pieces: tuple[str, ...]


class PromptReader:
    """Reads prompts of these dimensions as `prompts` renders them now."""

    def __init__(self, dimensions: Mapping[str, Dimension], prompts: PromptBuilder) -> None:
        self._forms = [form for dimension in dimensions.values() for form in _forms(dimension, prompts)]

    def read(self, system: str, user: str) -> Sequence[OwnPrompt]:
        """Return what a prompt may ask about: one reading, several where templates of dimensions are alike, none for foreign ones.

        `system` may be empty, or stand at the beginning of `user`.
        """
        named = {form.dimension.id for form in self._forms if system.strip() == form.system or user.startswith(form.system)}
        found: dict[str, OwnPrompt] = {}
        for form in self._forms:
            own = _fit(form, user) if not named or form.dimension.id in named else None
            if own is not None and (own.exact or own.dimension_id not in found):
                found[own.dimension_id] = own
        return [own for own in found.values() if own.exact] or list(found.values())


def _forms(dimension: Dimension, prompts: PromptBuilder) -> list[_Form]:
    """Return the forms that the user turn can have: a template may write something else where prompt or text is empty."""
    found: dict[tuple[str, ...], _Form] = {}
    for prompt in (_PROMPT, ""):
        for text in (_TEXT, ""):
            item = Item(0, 0, 0, "", dimension.id, prompt, text, None, "", SourceRef("", "", 0))
            rendered = prompts.render(item, ())
            pieces = tuple(rendered.user.split(boundary_mark(prompt, text)))
            if len(pieces) > 2:  # a template that marks nothing cannot be read safely
                found.setdefault(pieces, _Form(dimension, rendered.system, pieces))
    return list(found.values())


def _fit(form: _Form, user: str) -> OwnPrompt | None:
    head, *middle, tail = form.pieces
    end = len(user) - len(tail)
    if not user.endswith(tail) or end < MARK_LENGTH:
        return None
    mark = user[end - MARK_LENGTH : end]
    if _MARK.fullmatch(mark) is None:
        return None
    parts = user.rsplit(mark, len(form.pieces) - 1)
    if len(parts) != len(form.pieces) or not parts[0].endswith(head):
        return None
    values = {_PROMPT: "", _TEXT: ""}
    for piece, part in zip(middle, parts[1:-1], strict=True):
        probe = next((name for name in values if name in piece), None)
        if probe is None:
            if piece != part:
                return None
            continue
        before, _, after = piece.partition(probe)
        if len(part) < len(before) + len(after) or not part.startswith(before) or not part.endswith(after):
            return None
        values[probe] = part[len(before) : len(part) - len(after)]
    prompt, text = values[_PROMPT], values[_TEXT]
    return OwnPrompt(form.dimension.id, prompt, text, boundary_mark(prompt, text) == mark)
