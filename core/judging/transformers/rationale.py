"""Why a label: a second, generating call for one row that never decides the score."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from core.judging.transformers.scoring import current_device
from core.judging.why import MOST_TOKENS


class Narrator:
    """Generates text with a judge's model, piece by piece, greedily; runs beside scoring without disturbing it."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def stream(self, ids: Sequence[int]) -> Iterator[str]:
        """Yield the pieces of the continuation of `ids` as they come; a reader that stops ends the generation."""
        import torch
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        left = threading.Event()
        failures: list[RuntimeError] = []

        def stop(input_ids: Any, _scores: Any, **_: Any) -> Any:
            return torch.full((input_ids.shape[0],), left.is_set(), dtype=torch.bool, device=input_ids.device)

        def generate() -> None:
            device = next(self._model.parameters()).device
            inputs = torch.tensor([list(ids)], device=device)
            try:
                with current_device(device), torch.inference_mode():
                    self._model.generate(
                        inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=MOST_TOKENS, do_sample=False, temperature=None,
                        top_p=None, top_k=None, streamer=streamer, stopping_criteria=StoppingCriteriaList([stop]),
                        pad_token_id=self._tokenizer.pad_token_id or 0,
                    )  # fmt: skip
            except RuntimeError as error:  # no memory, or the device is lost
                failures.append(error)
                streamer.end()

        worker = threading.Thread(target=generate, name="rationale", daemon=True)
        worker.start()
        try:
            yield from (piece for piece in streamer if piece)
        finally:
            left.set()
            worker.join()
        if failures:
            raise failures[0]
