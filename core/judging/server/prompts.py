"""How a prompt travels: as messages that the server puts into its template, or as token ids made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from core.errors import JudgeError
from core.judging.server.neutral import sendable
from core.judging.server.options import ServerOptions, SystemRole
from core.judging.server.wire import Ask, Turn, ask_ids, ask_messages
from core.judging.serving.options import Engine
from core.types import Dimension, RenderedPrompt

if TYPE_CHECKING:
    from pathlib import Path

    from core.judging.transformers.chat import PromptEncoder


@dataclass(frozen=True, slots=True)
class Prepared:
    """A row's prompt as it is sent; `turns` say the same as messages, for an answer in words."""

    sha256: str
    broken: int
    turns: tuple[Turn, ...]
    ids: tuple[int, ...] = ()


class Carrier(Protocol):
    """Makes requests of prompts."""

    exact: bool

    def prepare(self, prompts: Sequence[RenderedPrompt]) -> list[Prepared]:
        """Return each prompt as it is sent."""

    def ask(self, prepared: Prepared, dimension: Dimension, max_tokens: int) -> Ask:
        """Return the request for the distribution after a prompt."""

    def spellings(self, dimension: Dimension) -> dict[int, str]:
        """Return the token that means each label. Raises JudgeError when a label is no single token."""


class MessageCarrier:
    """Sends messages; texts that look like control tokens are broken up (see neutral.py)."""

    exact = False

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self.folds_system = options.system_role is SystemRole.USER

    def prepare(self, prompts: Sequence[RenderedPrompt]) -> list[Prepared]:
        """Return each prompt as messages."""
        prepared = []
        for prompt in prompts:
            sent = sendable(prompt)
            prepared.append(Prepared(sent.sha256, sent.broken, self.turns(sent.system, sent.user)))
        return prepared

    def turns(self, system: str, user: str) -> tuple[Turn, ...]:
        """Return the conversation; a model without a system role gets the system text in front of the user's."""
        if not system:
            return (Turn(role="user", content=user),)
        if self.folds_system:
            return (Turn(role="user", content=f"{system.strip()}\n\n{user.strip()}"),)
        return Turn(role="system", content=system), Turn(role="user", content=user)

    def ask(self, prepared: Prepared, dimension: Dimension, max_tokens: int) -> Ask:
        """Return the request for the distribution of the next tokens."""
        del dimension
        return ask_messages(self._options.engine, self._options.model, prepared.turns, max_tokens)

    def spellings(self, dimension: Dimension) -> dict[int, str]:
        """Return each label's digit. Raises JudgeError for labels of several characters, whose first token may be shared."""
        long = [label for label in dimension.labels if len(str(label)) != 1]
        if long:
            raise JudgeError(
                f"Dimension {dimension.id!r}: the labels {long} have several characters; whether they are one token each cannot be seen "
                "from "
                "here. Name the model's `tokenizer` in the panel file, or use labels that are single digits.",
                zh=f"维度 {dimension.id!r}：标签 {long} 不止一个字符，无法确定各为一个词元；请在评委组文件中写明 tokenizer，"
                "或改用一位数字标签。",
            )
        return {label: str(label) for label in dimension.labels}


class IdCarrier:
    """Sends token ids: the same prompt as the in-process judge's, in which no text can form a control token."""

    exact = True

    def __init__(self, options: ServerOptions, encoder: PromptEncoder, names: dict[int, str]) -> None:
        self._options = options
        self._encoder = encoder
        self._names = names
        self._labels: dict[str, list[int]] = {}
        self._messages = MessageCarrier(options)

    def prepare(self, prompts: Sequence[RenderedPrompt]) -> list[Prepared]:
        """Return each prompt as token ids."""
        encoded = self._encoder.encode(prompts)
        words = self._messages.prepare(prompts)
        return [Prepared(prompt.sha256, 0, said.turns, tuple(ids)) for prompt, said, ids in zip(prompts, words, encoded, strict=True)]

    def ask(self, prepared: Prepared, dimension: Dimension, max_tokens: int) -> Ask:
        """Return the request for the distribution of the next token; GLM's newline is already behind the prompt."""
        del max_tokens
        return ask_ids(self._options.engine, self._options.model, prepared.ids, self._label_ids(dimension))

    def spellings(self, dimension: Dimension) -> dict[int, str]:
        """Return each label's token as the engine names it."""
        ids = self._label_ids(dimension)
        if self._options.engine is Engine.VLLM:
            return {label: f"token_id:{token}" for label, token in zip(dimension.labels, ids, strict=True)}
        return {label: self._names[token] for label, token in zip(dimension.labels, ids, strict=True)}

    def _label_ids(self, dimension: Dimension) -> list[int]:
        if dimension.id not in self._labels:
            self._labels[dimension.id] = self._encoder.label_ids(dimension)
        return self._labels[dimension.id]


def make_carrier(judge_id: str, options: ServerOptions, models_folder: Path, panel_id: str = "") -> MessageCarrier | IdCarrier:
    """Return how the judge's prompts travel. Raises JudgeError when the tokenizer that the panel names is not here."""
    if not options.tokenizer:
        return MessageCarrier(options)
    from core.judging.weights import resolve_model

    folder = resolve_model(judge_id, options.tokenizer, models_folder, tokenizer_only=True, panel_id=panel_id)
    try:
        from transformers import AutoConfig, AutoTokenizer

        from core.judging.transformers.chat import PromptEncoder
    except ImportError as error:
        raise JudgeError(
            f"Judge {judge_id!r}: the option `tokenizer` needs the package transformers; install it: ./run.sh setup models",
            zh=f"评委 {judge_id!r}：选项 tokenizer 需要 transformers，请运行 ./run.sh setup models。",
        ) from error
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = PromptEncoder(tokenizer, AutoConfig.from_pretrained(folder).model_type)
    names = {number: token for token, number in tokenizer.get_vocab().items()}
    return IdCarrier(options, encoder, names)
