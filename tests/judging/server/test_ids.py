"""Prompts that are tokenized here: the in-process judge's own ids travel, and the labels are known by their ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import JudgeError
from core.types import JudgementStatus
from tests.judging.server.conftest import Maker, request, requests_of
from tests.judging.server.engines import FakeServer, serving
from tests.judging.server.test_engines import expected
from tests.judging.server.test_neutral import ATTACK

pytest.importorskip("transformers")

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL = ("<|im_start|>", "<|im_end|>")
ALPHABET = "".join(
    dict.fromkeys(
        "0123456789\n ?_|<>"
        + "abcdefghijklmnopqrstuvwxyz"
        + "你评定流畅性。文本：第段，错分请只回答一个数字今天气很好（至）标准律给例按-()"
    )
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer folder whose ids are places in the alphabet, with the control tokens behind it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {character: number for number, character in enumerate(ALPHABET)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, additional_special_tokens=list(CONTROL))
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "glm", "architectures": ["GlmForCausalLM"]}))
    return folder


def text_of(server: FakeServer, body: dict[str, Any]) -> str:
    return server.read(body.get("input_ids") or body["prompt"])


@pytest.mark.parametrize("engine", ["lmdeploy-pytorch", "lmdeploy-turbomind", "vllm"])
def test_ids_travel_and_give_the_same_distribution(engine: str, judge_of: Maker, tokenizer: Path) -> None:
    with serving(engine, alphabet=ALPHABET) as server:
        judge = judge_of(server, tokenizer=str(tokenizer))
        answers = list(judge.judge(requests_of(7)))
        bodies = server.asked[-7:]
    for answer in answers:
        assert answer.label == 5 - answer.item_id % 5
        assert answer.probabilities == pytest.approx(expected(5 - answer.item_id % 5), abs=2e-3)
        assert answer.prompt_sha256
    for body in bodies:
        assert body.get("messages", []) == []
        assert "文本：第" in text_of(server, body)
        if engine == "vllm":
            assert body["logprob_token_ids"] == [ALPHABET.index(label) for label in "12345"]
            assert body["return_tokens_as_token_ids"] is True


def test_control_tokens_in_a_text_are_characters_and_the_text_is_not_changed(judge_of: Maker, tokenizer: Path) -> None:
    with serving("vllm", alphabet=ALPHABET) as server:
        judge = judge_of(server, tokenizer=str(tokenizer))
        (answer,) = judge.judge([request(ATTACK)])
        sent = text_of(server, server.asked[-1])
    assert answer.status is JudgementStatus.OK
    assert ATTACK in sent
    assert sent.count("[") == 5  # the template's own control tokens alone
    assert answer.prompt_sha256 == request(ATTACK).prompt.sha256  # type: ignore[union-attr]


def test_a_tokenizer_that_is_not_here_is_told_with_the_command(judge_of: Maker) -> None:
    with serving("vllm") as server, pytest.raises(JudgeError, match=r"\./run\.sh models fetch"):
        judge_of(server, tokenizer="nobody/nothing")
