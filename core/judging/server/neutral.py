"""Keeps judged texts data on servers that read control tokens inside a message's content.

lmdeploy and vLLM render messages through the model's chat template into one string and tokenize that string with the
control tokens switched on: `<|im_end|>` inside a judged text would end the turn. Messages that Pingpan sends therefore
have a zero-width space (U+200B) after the first character of whatever looks like a control token. People and models
read the same text; a tokenizer does not find the token. Where the panel names the model's `tokenizer`, nothing is
changed: the prompt then travels as token ids, in which a text cannot form a control token at all.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from core.types import RenderedPrompt

BREAK = "\u200b"
# The families' tokens (ChatML, GLM, Llama, Gemma, InternLM, Mistral, DeepSeek with its full-width bar), and any shaped like them.
CONTROL = re.compile(
    r"<[|｜][^<>|｜\n]{1,60}[|｜]>"
    r"|</?(?:s|bos|eos|pad|unk|mask|unused\d+|cls|sep|sop|eop)>"
    r"|</?[a-z_]*(?:turn|think|tool|image|video|audio)[a-z_]*>"
    r"|<</?SYS>>"
    r"|\[/?(?:g?MASK|sMASK|INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_[A-Z]+|UNUSED_TOKEN_\d+|BOS|EOS|PAD|UNK|SEP|CLS)\]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class SentPrompt:
    """A prompt as it is sent; `broken` counts the look-alikes that were broken up."""

    system: str
    user: str
    sha256: str
    broken: int = 0


def neutralise(text: str) -> tuple[str, int]:
    """Return `text` with every look-alike of a control token broken up, and how many there were."""
    return CONTROL.subn(lambda found: found.group()[0] + BREAK + found.group()[1:], text)


def sendable(prompt: RenderedPrompt) -> SentPrompt:
    """Return the prompt as messages carry it; the hash is that of what is really sent."""
    system, in_system = neutralise(prompt.system)
    user, in_user = neutralise(prompt.user)
    broken = in_system + in_user
    if not broken:
        return SentPrompt(prompt.system, prompt.user, prompt.sha256)
    digest = hashlib.sha256((system + user).encode("utf-8", "surrogatepass")).hexdigest()
    return SentPrompt(system, user, digest, broken)
