"""A tiny base model, texts of a made-up language, and head judges trained on them in a second or two."""

from __future__ import annotations

import json
import random
from pathlib import Path

from core.judging.registry import make_judge
from core.ports import Judge
from core.types import JudgeSpec
from tests.judging.panel import context

# The language: words of two signs that follow each other in one fixed order, in clauses of six.
WORDS = ("金木", "水火", "土石", "山川", "日月", "星辰", "风雨", "雷电", "春夏", "秋冬", "东西", "南北")
PLAIN = "金木水火土石山川日月星辰，风雨雷电春夏秋冬东西南北。"


def made_up(count: int, seed: int, clauses: int = 10) -> list[str]:
    """Return sound texts of the language."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        parts = []
        for number in range(clauses):
            start = draw.randrange(len(WORDS))
            parts.append("".join((WORDS + WORDS)[start : start + 6]) + "，；。"[number % 3])
        texts.append("".join(parts)[:-1] + "。")
    return texts


def tiny_base(folder: Path) -> Path:
    """Save a Qwen2 model of two small layers and a tokenizer of single characters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModel, Qwen2Tokenizer

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=6,
        show_progress=False,
    )
    backend.train_from_iterator([PLAIN * 9, "他它她你我们自己这那其的丑"] * 9, trainer)
    spec = json.loads(backend.to_str())["model"]
    merges = [tuple(merge) for merge in spec["merges"]]
    Qwen2Tokenizer(vocab=spec["vocab"], merges=merges, pad_token="<|endoftext|>").save_pretrained(folder)
    config = AutoConfig.for_model(
        "qwen2", vocab_size=900, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3, intermediate_size=96,
        max_position_embeddings=1024, pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def head_judge(head: Path, cache: Path, judge_id: str = "head", **options: object) -> Judge:
    """Return a judge made the ordinary way."""
    spec = JudgeSpec(judge_id, judge_id, "ordinal_head", {"head": str(head), "device": "cpu", **options})
    return make_judge(spec, context(cache, []))
