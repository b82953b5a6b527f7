"""From a rendered prompt to token ids: the model's own chat template around text that is only ever data.

The template is rendered once with marks in place of the texts and cut at its control tokens. What lies between two
control tokens is tokenized as one string by a copy of the tokenizer that does not know control tokens, so that
`<|im_end|>` inside a judged text is eleven ordinary characters, and harmless texts get exactly the ids that the
ordinary tokenizer gives for the whole prompt.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from core.errors import JudgeError
from core.types import Dimension, RenderedPrompt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

SYSTEM_MARK = "⟦pingpan-system⟧"
USER_MARK = "⟦pingpan-user⟧"
CONTROL_SHAPE = re.compile(
    r"^(<\|[^|\s]+\|>|</?[a-z_]*(turn|think|tool)[a-z_]*>|<(/?s|bos|eos|pad|unk|mask|unused\d+)>|\[(g?MASK|sMASK|UNUSED_TOKEN_\d+)\])$"
)


class Slot(StrEnum):
    """Where a text of the prompt goes inside the template."""

    SYSTEM = "system"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Run:
    """Ordinary text between two control tokens: literals of the template, and slots for texts."""

    pieces: tuple[str | Slot, ...]

    def fill(self, system: str, user: str) -> str:
        """Return the run with the texts in place."""
        return "".join({Slot.SYSTEM: system, Slot.USER: user}[piece] if isinstance(piece, Slot) else piece for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A rendered template: control token ids and runs of text in turn; `strips` where the template trims its texts."""

    parts: tuple[int | Run, ...]
    strips: bool

    def runs(self, system: str, user: str) -> list[int | str]:
        """Return the parts with both texts in place."""
        if self.strips:
            system, user = system.strip(), user.strip()
        return [part if isinstance(part, int) else part.fill(system, user) for part in self.parts]


class PromptEncoder:
    """Encodes prompts for one tokenizer (a `tokenizers`-backed one of transformers)."""

    def __init__(self, tokenizer: Any, model_type: str) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise JudgeError(
                f"The tokenizer {type(tokenizer).__name__} has no tokenizer.json; save the model with a fast tokenizer first.",
                zh=f"分词器 {type(tokenizer).__name__} 没有 tokenizer.json，请先保存为快速分词器。",
            )
        self._tokenizer = tokenizer
        self._model_type = model_type
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
        template = self._template_source()
        self._control = {t["content"]: t for t in spec["added_tokens"] if _is_control(t, template)}
        self._control_ids = frozenset(token["id"] for token in self._control.values())
        self._plain = _data_tokenizer(spec, frozenset(self._control), inner=False)
        self._inner = _data_tokenizer(spec, frozenset(self._control), inner=True)
        self._skeletons = {has_system: self._skeleton(has_system) for has_system in (True, False)}
        self._warn_when_unusual()

    def encode(self, prompts: Sequence[RenderedPrompt], suffix: str = "") -> list[list[int]]:
        """Return the ids of each prompt, ready for the model to answer; `suffix` is put after the prompt's last run."""
        parts = [self._skeletons[bool(prompt.system)].runs(prompt.system, prompt.user) for prompt in prompts]
        if suffix:
            parts = [[*p[:-1], p[-1] + suffix] if isinstance(p[-1], str) else [*p, suffix] for p in parts]
        first = iter(self._encode_texts(self._plain, [p[0] for p in parts if isinstance(p[0], str)]))
        later = iter(self._encode_texts(self._inner, [run for p in parts for run in p[1:] if isinstance(run, str)]))
        encoded: list[list[int]] = []
        for row in parts:
            ids: list[int] = []
            for place, part in enumerate(row):
                ids.extend((part,) if isinstance(part, int) else next(later if place else first))
            encoded.append(ids)
        return encoded

    def label_ids(self, dimension: Dimension) -> list[int]:
        """Return the token id of each label of the dimension, in the order of its labels.

        Raises JudgeError when a label is not exactly one token after the prompt: its probability could not be read
        from one forward pass.
        """
        sample = RenderedPrompt(system="评分标准", user="待评判内容", sha256="")
        before = self.encode([sample])[0]
        found: list[int] = []
        for label in dimension.labels:
            after = self.encode([sample], suffix=str(label))[0]
            if after[:-1] != before:
                raise JudgeError(
                    f"Dimension {dimension.id!r}: this model's tokenizer writes the label {label} as {len(after) - len(before)} tokens "
                    f"({after[len(before) :]}), not one. Use labels that are single digits, or another model for this dimension.",
                    zh=f"维度 {dimension.id!r}：该模型的分词器不能用一个词元表示标签 {label}，请改用一位数字标签或换用其他模型。",
                )
            found.append(after[-1])
        if len(set(found)) != len(found):
            raise JudgeError(
                f"Dimension {dimension.id!r}: two labels share one token in this model's tokenizer; use other labels, or another model.",
                zh=f"维度 {dimension.id!r}：该模型的分词器把两个标签写成同一个词元，请换用其他标签或模型。",
            )
        return found

    def ordinary_ids(self, prompt: RenderedPrompt) -> list[int]:
        """Return what the tokenizer itself makes of the whole templated prompt; equal to `encode` for harmless texts."""
        text = self._render(prompt.system, prompt.user)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _encode_texts(self, tokenizer: Tokenizer, texts: Sequence[str]) -> Iterable[list[int]]:
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [
            encoding.ids if self._control_ids.isdisjoint(encoding.ids) else self._encode_by_character(tokenizer, text)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _encode_by_character(self, tokenizer: Tokenizer, text: str) -> list[int]:
        """Encode a text in which the vocabulary itself holds a control token: single characters cannot form one."""
        encodings = tokenizer.encode_batch_fast(list(text), add_special_tokens=False)
        return [token for encoding in encodings for token in encoding.ids if token not in self._control_ids]

    def _template_source(self) -> str:
        template = self._tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default", "")
        return template or ""

    def _render(self, system: str, user: str) -> str:
        """Return the templated prompt as text, up to where the model answers; a template without a system role gets one turn."""
        from jinja2.exceptions import TemplateError

        if not self._template_source():
            return f"{system}\n\n{user}\n" if system else f"{user}\n"
        turns = [{"role": "system", "content": system}] if system else []
        turns.append({"role": "user", "content": user})
        try:
            text = self._apply(turns)
        except TemplateError:
            text = ""
        if system.strip() not in text or not text:
            text = self._apply([{"role": "user", "content": f"{system.strip()}\n\n{user.strip()}" if system else user}])
        # GLM's chat models begin every answer with a newline, which their template leaves to the model.
        return text + "\n" if self._model_type.startswith("glm") and text.endswith("<|assistant|>") else text

    def _apply(self, turns: list[dict[str, str]]) -> str:
        rendered = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, enable_thinking=False)
        return str(rendered)

    def _skeleton(self, has_system: bool) -> Skeleton:
        system = f" {SYSTEM_MARK} " if has_system else ""
        user = f" {USER_MARK} "
        text = self._render(system, user)
        if USER_MARK not in text or (has_system and SYSTEM_MARK not in text):
            raise JudgeError(
                "The model's chat template drops the prompt; give the tokenizer a template that keeps user turns.",
                zh="模型的对话模板会丢掉提示词；请为分词器换一个保留用户内容的模板。",
            )
        strips = user not in text
        if not strips:
            text = text.replace(user, USER_MARK).replace(f" {SYSTEM_MARK} ", SYSTEM_MARK)
        return Skeleton(tuple(self._parts(text)), strips)

    def _parts(self, text: str) -> list[int | Run]:
        if not self._control:
            return [_run(text)]
        pattern = re.compile("(" + "|".join(re.escape(token) for token in sorted(self._control, key=len, reverse=True)) + ")")
        parts: list[int | Run] = []
        pieces = pattern.split(text)
        for place, piece in enumerate(pieces):
            if place % 2:
                parts.append(self._control[piece]["id"])
                continue
            if place and self._control[pieces[place - 1]]["rstrip"]:
                piece = piece.lstrip()
            if place + 1 < len(pieces) and self._control[pieces[place + 1]]["lstrip"]:
                piece = piece.rstrip()
            if piece:
                parts.append(_run(piece))
        return parts

    def _warn_when_unusual(self) -> None:
        sample = RenderedPrompt(system="请按标准评分。", user="例文一：今天天气很好。\n\n请只回答分数 (1-5)：", sha256="")
        if self.encode([sample])[0] != self.ordinary_ids(sample):
            log.warning("This %s tokenizer joins texts across control tokens; prompts differ slightly from its training.", self._model_type)


def _run(text: str) -> Run:
    slots = {SYSTEM_MARK: Slot.SYSTEM, USER_MARK: Slot.USER}
    return Run(tuple(slots.get(piece, piece) for piece in re.split(f"({SYSTEM_MARK}|{USER_MARK})", text) if piece))


def _is_control(token: dict[str, Any], template: str) -> bool:
    content = token["content"]
    named_by_template = content[:1] in "<[" and not content.isspace() and content in template
    return bool(token["special"] or named_by_template or CONTROL_SHAPE.match(content))


def _data_tokenizer(spec: dict[str, Any], control: frozenset[str], inner: bool) -> Tokenizer:
    """Return a copy of the tokenizer that reads control tokens as ordinary text.

    Marking a token special and asking to encode special tokens as text is how `tokenizers` spells that. An `inner`
    copy is for text that does not begin the prompt: it puts no word boundary in front of it.
    """
    from tokenizers import Tokenizer

    changed = dict(spec)
    changed["added_tokens"] = [{**token, "special": token["content"] in control} for token in spec["added_tokens"]]
    changed["truncation"] = changed["padding"] = changed["post_processor"] = None
    if inner:
        changed["pre_tokenizer"] = _without_first_prefix(spec["pre_tokenizer"])
    tokenizer = Tokenizer.from_str(json.dumps(changed))
    tokenizer.encode_special_tokens = True
    return tokenizer


def _without_first_prefix(pre_tokenizer: Any) -> Any:
    if not isinstance(pre_tokenizer, dict):
        return pre_tokenizer
    changed = dict(pre_tokenizer)
    if changed.get("type") == "Metaspace" and changed.get("prepend_scheme") == "first":
        changed["prepend_scheme"] = "never"
    if "pretokenizers" in changed:
        changed["pretokenizers"] = [_without_first_prefix(inner) for inner in changed["pretokenizers"]]
    return changed
