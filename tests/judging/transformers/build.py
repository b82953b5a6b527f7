"""Tiny models of the four architectures with random weights, and tokenizers with each family's own control tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.ports import JudgeContext
from core.retrieval.ngram import NgramEmbedder
from core.types import Dimension, DimensionKind, Item, JudgeRequest, JudgeSpec, RenderedPrompt, SourceRef

FAMILIES = ("glm", "qwen2", "gemma2", "llama")
CORPUS = [
    "今天天气很好，我们一起去公园散步，看到了许多美丽的花。请按标准给文本打分，只回答一个数字。",
    "The quick brown fox jumps over the lazy dog. 正确选项为B 模型回复为：B。 1 2 3 4 5 0",
    "system user assistant model 评分： 待评判内容 评分标准\n\n",
]
CONTROL: Mapping[str, tuple[str, ...]] = {
    "glm": ("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>"),
    "qwen2": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "gemma2": ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    "llama": ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"),
}
TEMPLATES: Mapping[str, str] = {
    "glm": "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "qwen2": "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' }}",
    "gemma2": "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}{{ '<start_of_turn>model\n' }}",
    "llama": "{{ bos_token }}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' }}",
}
SIZES: Mapping[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 96, "vocab_size": 700, "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip


def tiny_tokenizer(family: str) -> Any:
    """Return a fast tokenizer trained on a few sentences: byte-level BPE, or for Gemma and Llama one with ▁ and byte fallback."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    control = CONTROL[family]
    if family in ("glm", "qwen2"):
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=list(control), initial_alphabet=alphabet, show_progress=False)
    else:
        backend = Tokenizer(models.BPE(unk_token=control[0], fuse_unk=True, byte_fallback=True))
        steps = [normalizers.Prepend("▁")] if family == "llama" else []
        backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        bytes_ = [f"<0x{value:02X}>" for value in range(256)]
        reserved = [*control, *bytes_]
        trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=reserved, initial_alphabet=list("0123456789"), show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    if family in ("gemma2", "llama"):
        backend = _plain_bytes(backend)
    names = {"bos_token": {"gemma2": "<bos>", "llama": "<s>"}.get(family), "pad_token": control[0]}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **{name: token for name, token in names.items() if token})
    tokenizer.chat_template = TEMPLATES[family]
    return tokenizer


def _plain_bytes(backend: Any) -> Any:
    """Make byte pieces ordinary vocabulary: the trainer can only reserve them as special tokens."""
    import json

    from tokenizers import Tokenizer

    spec = json.loads(backend.to_str())
    spec["added_tokens"] = [token for token in spec["added_tokens"] if not token["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(spec))


def tiny_model(family: str, seed: int = 0, **changes: Any) -> Any:
    """Return a model whose weights are large enough that labels get very different probabilities."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {**SIZES, **({"sliding_window": 24, "query_pre_attn_scalar": 16} if family == "gemma2" else {}), **changes}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.15)
    # transformers would take SDPA for Gemma 2, which leaves its soft-capping out.
    model.set_attn_implementation("eager")
    return model


def tiny_folder(folder: Path, family: str, **changes: Any) -> Path:
    """Save a tiny model and its tokenizer to `folder` as a checkpoint."""
    tiny_model(family, **changes).save_pretrained(folder)
    tiny_tokenizer(family).save_pretrained(folder)
    return folder


def dimension(labels: Sequence[int] = (1, 2, 3, 4, 5), name: str = "fluency") -> Dimension:
    return Dimension(name, {"zh": name}, tuple(labels), DimensionKind.ORDINAL, {}, "v1", needs_prompt=False)


def context(cache: Path, *dimensions: Dimension) -> JudgeContext:
    return JudgeContext((), "", {d.id: d for d in dimensions or (dimension(),)}, cache, NgramEmbedder())


def spec(folder: Path, **options: object) -> JudgeSpec:
    return JudgeSpec("tiny", "tiny", "transformers", {"model": str(folder), "check_memory": False, **options})


def request(number: int, text: str, of: Dimension | None = None, system: str = "请按标准给文本打分，只回答一个数字。") -> JudgeRequest:
    of = of or dimension()
    item = Item(number, 1, number, str(number), of.id, "", text, None, "", SourceRef("sheet.csv", "", number + 2))
    return JudgeRequest(item, of, (), RenderedPrompt(system, f"待评判内容：{text}\n评分：", f"sha-{number}"))


def rows_with_prefix(lengths: Sequence[int], prefix: int = 40, vocabulary: int = 700, seed: int = 1) -> list[tuple[int, ...]]:
    import random

    draw = random.Random(seed)
    shared = [draw.randrange(5, vocabulary) for _ in range(prefix)]
    return [tuple(shared + [draw.randrange(5, vocabulary) for _ in range(length)]) for length in lengths]


def answersheet(folder: Path, cache: Path, **options: object) -> list[list[float]]:
    """Return the probabilities that a judge made of `folder` gives for four rows."""
    from core.judging.transformers import make_transformers_judge

    judge = make_transformers_judge(spec(folder, **options), context(cache))
    found = [list(answer.probabilities.values()) for answer in judge.judge([request(n, f"第{n}篇，今天天气很好。") for n in range(4)])]
    judge.close()
    return found
