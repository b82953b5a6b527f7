"""A row as tokens: windows of the prompt and text, with the characters that each token stands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PROMPT_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens that are read at once. `spans` has, for each of the last len(spans) tokens, the characters of the text it stands on.

    What comes before (`lead` tokens: the prompt) is read but neither tagged nor pooled.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def lead(self) -> int:
        """Return the number of tokens before the text."""
        return len(self.ids) - len(self.spans)


def read_windows(tokenizer: Any, texts: Sequence[str], max_length: int, prompts: Sequence[str] | None = None) -> list[list[Window]]:
    """Return the windows of each text, one for most; a text of no tokens gets none.

    A text of more than `max_length` tokens is cut into equal parts, each behind the prompt where there are `prompts`. A prompt of more
    than `PROMPT_SHARE` of them loses its end, but not the blank line that parts it from the text.
    """
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False)
    leads: list[tuple[int, ...]] = [()] * len(texts)
    if prompts is not None:
        limit = int(max_length * PROMPT_SHARE)
        *framed, parting = tokenizer([*(f"{prompt}\n\n" for prompt in prompts), "\n\n"], add_special_tokens=False)["input_ids"]
        leads = [tuple(ids if len(ids) <= limit else [*ids[: limit - len(parting)], *parting]) for ids in framed]
    start = (tokenizer.bos_token_id,) if tokenizer.bos_token_id is not None else ()
    rows = []
    for ids, spans, lead in zip(encoded["input_ids"], encoded["offset_mapping"], leads, strict=True):
        rows.append(_cut(tuple(ids), tuple((int(a), int(b)) for a, b in spans), (*start, *lead), max_length))
    return rows


def _cut(ids: tuple[int, ...], spans: tuple[tuple[int, int], ...], lead: tuple[int, ...], max_length: int) -> list[Window]:
    room = max(1, max_length - len(lead))
    parts = -(-len(ids) // room)
    size = -(-len(ids) // parts) if parts else 0
    return [Window((*lead, *ids[at : at + size]), spans[at : at + size]) for at in range(0, len(ids), size or 1)]
