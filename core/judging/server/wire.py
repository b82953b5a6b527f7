"""What goes over the wire: one request for one row, and the reply, in each engine's own form.

Read in lmdeploy 0.18.0 and vLLM 0.32.0 (docs/SERVERS.md says where). What differs:

- lmdeploy's PyTorch engine gives log-probabilities over the whole vocabulary when it was started with
  `--logprobs-mode raw_logprobs`, whatever the sampling. Asked for 20 it gives 20 tokens, but the sampled one stands in
  `content[0]` only. `token` is the vocabulary's raw string. A row whose first token ends the answer comes without any
  log-probabilities, so `ignore_eos` is sent. Its /v1/completions gives no log-probabilities at all.
- TurboMind gives those of the tokens that sampling kept: with temperature 1 and top_k 20 the same 20 tokens,
  normalized among themselves; greedy, one token.
- vLLM puts the sampled token among `top_logprobs`, decoded. Given token ids in `logprob_token_ids` it answers for
  exactly those, and with `return_tokens_as_token_ids` names them `token_id:N`.
- Both take a prompt as token ids: lmdeploy as `input_ids` beside empty messages, vLLM as /v1/completions' `prompt`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from core.judging.serving.options import Engine

TOP = 20
CHAT, COMPLETIONS, MODELS = "chat/completions", "completions", "models"


class _Request(BaseModel):
    """A request's body; fields that are None are not sent."""

    model: str
    max_tokens: int
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    ignore_eos: bool | None = None
    logprob_token_ids: list[int] | None = None
    return_tokens_as_token_ids: bool | None = None
    stream: bool | None = None

    def body(self) -> str:
        """Return the body as JSON."""
        return self.model_dump_json(exclude_none=True)


class Turn(BaseModel):
    """One turn of a conversation."""

    role: str
    content: str


class _TemplateArguments(BaseModel):
    enable_thinking: bool = False


class ChatRequest(_Request):
    """POST /v1/chat/completions."""

    messages: list[Turn] = Field(default_factory=list)
    input_ids: list[int] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    chat_template_kwargs: _TemplateArguments | None = None


class CompletionRequest(_Request):
    """POST /v1/completions."""

    prompt: list[int]
    logprobs: int


class _Token(BaseModel):
    model_config = ConfigDict(extra="ignore")

    token: str
    logprob: float | None = None


class _Position(_Token):
    top_logprobs: list[_Token] | None = None


class _ChatLogprobs(BaseModel):
    content: list[_Position] | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _ChatChoice(BaseModel):
    message: _Message = Field(default_factory=_Message)
    logprobs: _ChatLogprobs | None = None
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None


class ChatReply(BaseModel):
    """The answer to a ChatRequest."""

    choices: list[_ChatChoice] = Field(min_length=1)
    usage: _Usage | None = None


class _CompletionLogprobs(BaseModel):
    tokens: list[str] = Field(default_factory=list)
    token_logprobs: list[float | None] = Field(default_factory=list)
    top_logprobs: list[dict[str, float] | None] | None = None


class _CompletionChoice(BaseModel):
    text: str = ""
    logprobs: _CompletionLogprobs | None = None
    finish_reason: str | None = None


class CompletionReply(BaseModel):
    """The answer to a CompletionRequest."""

    choices: list[_CompletionChoice] = Field(min_length=1)
    usage: _Usage | None = None


class _ModelCard(BaseModel):
    id: str


class ModelList(BaseModel):
    """The answer to GET /v1/models."""

    data: list[_ModelCard] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Position:
    """The tokens that could stand at one place of the answer, the sampled one among them, with their log-probabilities."""

    tokens: Mapping[str, float]

    @property
    def best(self) -> str:
        """Return the likeliest token."""
        return max(self.tokens, key=lambda token: self.tokens[token])


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer: its positions (none where it gave no log-probabilities), its text, and how it ended."""

    positions: tuple[Position, ...]
    text: str
    refusal: str
    finish_reason: str
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Ask:
    """A request ready to be sent: path below the API's root, and body."""

    path: str
    body: str


def sampling(engine: Engine, request: _Request) -> None:
    """Set what makes `engine` give the plain distribution of the next token, whatever defaults the model's files bring."""
    if engine is Engine.LMDEPLOY_TURBOMIND:
        request.temperature, request.top_k, request.seed = 1.0, TOP, 0
    elif engine is Engine.LMDEPLOY_PYTORCH:
        request.temperature, request.top_k = 1.0, 1
    else:
        request.temperature = 0.0
    if engine.is_lmdeploy:
        request.top_p, request.min_p, request.repetition_penalty, request.ignore_eos = 1.0, 0.0, 1.0, True
    elif engine is Engine.VLLM:
        request.repetition_penalty = 1.0


def ask_messages(engine: Engine, model: str, turns: Sequence[Turn], max_tokens: int) -> Ask:
    """Return the request for the distribution of the next `max_tokens` tokens after a conversation."""
    request = ChatRequest(model=model, max_tokens=max_tokens, messages=list(turns), logprobs=True, top_logprobs=TOP)
    sampling(engine, request)
    if engine is not Engine.OPENAI:
        request.chat_template_kwargs = _TemplateArguments()
    return Ask(CHAT, request.body())


def ask_ids(engine: Engine, model: str, ids: Sequence[int], label_ids: Sequence[int]) -> Ask:
    """Return the request for the distribution of the next token after a prompt of token ids (lmdeploy and vLLM)."""
    request: _Request
    if engine is Engine.VLLM:
        request = CompletionRequest(model=model, max_tokens=1, prompt=list(ids), logprobs=len(label_ids))
        request.logprob_token_ids, request.return_tokens_as_token_ids = list(label_ids), True
        sampling(engine, request)
        return Ask(COMPLETIONS, request.body())
    request = ChatRequest(model=model, max_tokens=1, input_ids=list(ids), logprobs=True, top_logprobs=TOP)
    sampling(engine, request)
    return Ask(CHAT, request.body())


def ask_text(model: str, turns: Sequence[Turn], max_tokens: int) -> Ask:
    """Return the request for a short answer in words, to see what a model says instead of a label."""
    return Ask(CHAT, ChatRequest(model=model, max_tokens=max_tokens, messages=list(turns), temperature=0.0).body())


def ask_words(engine: Engine, model: str, turns: Sequence[Turn], max_tokens: int) -> str:
    """Return the body of a chat completion in words that is streamed as it is written."""
    request = ChatRequest(model=model, max_tokens=max_tokens, messages=list(turns), temperature=0.0, stream=True)
    if engine.is_lmdeploy:
        request.top_k = 1  # lmdeploy takes temperature 0 for "not given"
    if engine is not Engine.OPENAI:
        request.chat_template_kwargs = _TemplateArguments()
    return request.body()


def read_reply(path: str, content: bytes) -> Reply:
    """Return the answer to an Ask of `path`. Raises pydantic.ValidationError for what is no answer to it."""
    if path == COMPLETIONS:
        return _completion(CompletionReply.model_validate_json(content))
    reply = ChatReply.model_validate_json(content)
    choice = reply.choices[0]
    given = choice.logprobs.content if choice.logprobs and choice.logprobs.content else []
    positions = tuple(_position([place, *(place.top_logprobs or [])]) for place in given)
    usage = reply.usage.prompt_tokens if reply.usage else 0
    message = choice.message
    return Reply(_whole(positions), message.content or "", message.refusal or "", choice.finish_reason or "", usage or 0)


def _completion(reply: CompletionReply) -> Reply:
    choice = reply.choices[0]
    positions: list[Position] = []
    if choice.logprobs is not None:
        tops = choice.logprobs.top_logprobs or [None] * len(choice.logprobs.tokens)
        for token, value, top in zip(choice.logprobs.tokens, choice.logprobs.token_logprobs, tops, strict=False):
            named = [_Token(token=other, logprob=logprob) for other, logprob in (top or {}).items()]
            positions.append(_position([_Token(token=token, logprob=value), *named]))
    usage = reply.usage.prompt_tokens if reply.usage else 0
    return Reply(_whole(tuple(positions)), choice.text, "", choice.finish_reason or "", usage or 0)


def _position(tokens: Sequence[_Token]) -> Position:
    """Return the tokens with their finite log-probabilities; a token named twice (two spellings of one string) keeps the larger."""
    kept: dict[str, float] = {}
    for token in tokens:
        if token.logprob is not None and math.isfinite(token.logprob) and token.token:
            kept[token.token] = max(kept.get(token.token, -math.inf), token.logprob)
    return Position(kept)


def _whole(positions: tuple[Position, ...]) -> tuple[Position, ...]:
    return tuple(position for position in positions if position.tokens)
