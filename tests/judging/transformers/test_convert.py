"""InternLM2's layout and Llama's are the same function: weights, adapters and tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import JudgeError
from core.judging.transformers.chat import PromptEncoder
from core.judging.transformers.convert import convert_adapter, convert_internlm2, main
from tests.judging.transformers.build import TEMPLATES, answersheet, dimension, tiny_tokenizer

torch = pytest.importorskip("torch")

HEADS, KV_HEADS, WIDTH, HIDDEN, INNER, LAYERS, VOCABULARY = 6, 2, 16, 96, 80, 2, 400
CONFIG: dict[str, Any] = {
    "model_type": "internlm2", "architectures": ["InternLM2ForCausalLM"], "auto_map": {"AutoModelForCausalLM": "modeling_internlm2.X"},
    "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS, "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 50000.0,
    "rope_scaling": {"type": "dynamic", "factor": 2.5}, "bias": False, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 2, "torch_dtype": "float32",
}  # fmt: skip


def internlm_weights(bias: bool = False) -> dict[str, Any]:
    torch.manual_seed(0)

    def draw(*shape: int) -> Any:
        return torch.randn(*shape) * 0.15

    weights = {"model.tok_embeddings.weight": draw(VOCABULARY, HIDDEN), "output.weight": draw(VOCABULARY, HIDDEN)}
    weights["model.norm.weight"] = 1 + draw(HIDDEN)
    for layer in range(LAYERS):
        base = f"model.layers.{layer}."
        weights[base + "attention.wqkv.weight"] = draw((HEADS + 2 * KV_HEADS) * WIDTH, HIDDEN)
        weights[base + "attention.wo.weight"] = draw(HIDDEN, HEADS * WIDTH)
        weights[base + "feed_forward.w1.weight"] = draw(INNER, HIDDEN)
        weights[base + "feed_forward.w3.weight"] = draw(INNER, HIDDEN)
        weights[base + "feed_forward.w2.weight"] = draw(HIDDEN, INNER)
        weights[base + "attention_norm.weight"] = 1 + draw(HIDDEN)
        weights[base + "ffn_norm.weight"] = 1 + draw(HIDDEN)
        if bias:
            weights[base + "attention.wqkv.bias"] = draw((HEADS + 2 * KV_HEADS) * WIDTH)
            weights[base + "attention.wo.bias"] = draw(HIDDEN)
    return weights


def internlm_logits(w: dict[str, Any], ids: list[int]) -> Any:
    """InternLM2's forward pass as its paper and configuration describe it, written out plainly."""
    from torch.nn.functional import linear, silu

    def norm(x: Any, weight: Any) -> Any:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + CONFIG["rms_norm_eps"]) * weight

    length = len(ids)
    angles = torch.arange(length)[:, None] / CONFIG["rope_theta"] ** (torch.arange(0, WIDTH, 2) / WIDTH)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]

    def rotate(x: Any) -> Any:
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    hidden = w["model.tok_embeddings.weight"][ids]
    for layer in range(LAYERS):
        base = f"model.layers.{layer}."
        x = norm(hidden, w[base + "attention_norm.weight"])
        fused = linear(x, w[base + "attention.wqkv.weight"], w.get(base + "attention.wqkv.bias"))
        fused = fused.view(length, KV_HEADS, HEADS // KV_HEADS + 2, WIDTH)
        out = torch.empty(length, HEADS, WIDTH)
        for head in range(HEADS):
            group, place = divmod(head, HEADS // KV_HEADS)
            query, key, value = rotate(fused[:, group, place : place + 1])[:, 0], rotate(fused[:, group, -2:-1])[:, 0], fused[:, group, -1]
            scores = (query @ key.T / WIDTH**0.5).masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
            out[:, head] = scores.softmax(-1) @ value
        hidden = hidden + linear(out.reshape(length, -1), w[base + "attention.wo.weight"], w.get(base + "attention.wo.bias"))
        x = norm(hidden, w[base + "ffn_norm.weight"])
        gate, up = linear(x, w[base + "feed_forward.w1.weight"]), linear(x, w[base + "feed_forward.w3.weight"])
        hidden = hidden + linear(silu(gate) * up, w[base + "feed_forward.w2.weight"])
    return linear(norm(hidden, w["model.norm.weight"]), w["output.weight"])


def checkpoint(folder: Path, weights: dict[str, Any], **changes: Any) -> Path:
    """Save an InternLM2 checkpoint of two shards, as the published ones are."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}), encoding="utf-8")
    names = sorted(weights)
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        save_file({name: weights[name] for name in part}, folder / f"model-{number:05d}-of-00002.safetensors")
    tiny_tokenizer("llama").backend_tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"chat_template": TEMPLATES["llama"], "bos_token": "<s>", "unk_token": {"content": "<unk>"}, "auto_map": {}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.mark.parametrize("bias", [False, True])
def test_logits_are_equal(bias: bool, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    weights = internlm_weights(bias)
    source = checkpoint(tmp_path / "source", weights, bias=bias)
    seen: list[tuple[int, int]] = []
    convert_internlm2(source, tmp_path / "target", lambda done, total: seen.append((done, total)), shard_bytes=100_000)
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path / "target", output_loading_info=True)
    assert {name: found for name, found in report.items() if found} == {}
    assert model.config.model_type == "llama"
    assert model.config.rope_parameters["rope_type"] == "dynamic"
    ids = torch.randint(0, VOCABULARY, (60,)).tolist()
    with torch.inference_mode():
        found = model(torch.tensor([ids])).logits[0]
    assert (found - internlm_logits(weights, ids)).abs().max() < 5e-5
    assert seen[-1] == (len(weights), len(weights))


def test_shards_stay_small_and_are_named_by_an_index(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source", internlm_weights())
    convert_internlm2(source, tmp_path / "target", shard_bytes=200_000)
    shards = sorted((tmp_path / "target").glob("model-*.safetensors"))
    assert len(shards) > 3
    assert all(shard.stat().st_size < 210_000 for shard in shards)
    index = json.loads((tmp_path / "target" / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert set(index["weight_map"].values()) == {shard.name for shard in shards}
    assert not (tmp_path / "target.partial").exists()


def test_the_converted_folder_judges(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source", internlm_weights() | larger_vocabulary(), vocab_size=700)
    convert_internlm2(source, tmp_path / "target")
    assert all(abs(sum(row) - 1) < 1e-6 for row in answersheet(tmp_path / "target", tmp_path))


def larger_vocabulary() -> dict[str, Any]:
    return {"model.tok_embeddings.weight": torch.randn(700, HIDDEN), "output.weight": torch.randn(700, HIDDEN)}


def test_an_adapter_of_internlm2_answers_on_the_converted_model_as_on_the_original(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    weights = internlm_weights()
    convert_internlm2(checkpoint(tmp_path / "source", weights), tmp_path / "target")
    rank, alpha = 4, 8
    lora: dict[str, Any] = {}
    merged = dict(weights)
    for name, weight in weights.items():
        if ".layers." in name and weight.ndim == 2:
            a, b = torch.randn(rank, weight.shape[1]) * 0.1, torch.randn(weight.shape[0], rank) * 0.1
            stem = "base_model.model." + name.removesuffix(".weight")
            lora |= {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}
            merged[name] = weight + alpha / rank * b @ a
    (tmp_path / "adapter").mkdir()
    save_file(lora, tmp_path / "adapter" / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": ["wqkv", "wo", "w1", "w2", "w3"]}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    convert_adapter(tmp_path / "adapter", tmp_path / "converted", CONFIG)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "target")
    adapted = peft.PeftModel.from_pretrained(model, str(tmp_path / "converted")).eval()
    ids = torch.randint(0, VOCABULARY, (40,)).tolist()
    with torch.inference_mode():
        found = adapted(input_ids=torch.tensor([ids])).logits[0]
    assert (found - internlm_logits(merged, ids)).abs().max() < 1e-4


def sentencepiece_model(path: Path) -> None:
    """Write a small SentencePiece BPE model with the published tokenizer's habits: dummy prefix, byte fallback, reserved pieces."""
    pytest.importorskip("google.protobuf")
    from transformers.convert_slow_tokenizer import import_protobuf

    proto = import_protobuf().ModelProto()
    proto.trainer_spec.model_type = 2
    proto.trainer_spec.byte_fallback = True
    proto.normalizer_spec.add_dummy_prefix = True
    pieces = [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("[UNUSED_TOKEN_1]", 4), ("[UNUSED_TOKEN_2]", 4)]
    pieces += [(f"<0x{value:02X}>", 6) for value in range(256)]
    pieces += [(piece, 1) for piece in ("ab", "abc", "▁abc", "评分", "▁", *"abc评分：12345su")]
    for rank, (piece, kind) in enumerate(pieces):
        entry = proto.pieces.add()
        entry.piece, entry.type, entry.score = piece, kind, -float(rank)
    path.write_bytes(proto.SerializeToString())


def test_a_sentencepiece_tokenizer_is_converted_with_its_renamed_control_tokens(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    source = checkpoint(tmp_path / "source", internlm_weights())
    (source / "tokenizer.json").unlink()
    sentencepiece_model(source / "tokenizer.model")
    names = {"3": {"content": "<|im_start|>"}, "4": {"content": "<|im_end|>"}}
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"chat_template": TEMPLATES["llama"], "added_tokens_decoder": names, **special}
    (source / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    convert_internlm2(source, tmp_path / "target")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "target")

    def pieces(text: str) -> list[str]:
        return list(tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"]))

    assert pieces("abc评分") == ["▁abc", "评分"]
    assert pieces("<|im_start|>ab") == ["<|im_start|>", "▁", "ab"]
    assert pieces("好") == ["▁", "<0xE5>", "<0xA5>", "<0xBD>"]
    assert "[UNUSED_TOKEN_1]" not in tokenizer.get_vocab()
    made = PromptEncoder(tokenizer, "llama")
    assert len(made.label_ids(dimension())) == 5
    assert tokenizer.decode(tokenizer("abc评分 12")["input_ids"]) == "abc评分 12"


def test_what_cannot_be_converted_is_told(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source", internlm_weights())
    (tmp_path / "exists").mkdir()
    with pytest.raises(JudgeError, match="exists already"):
        convert_internlm2(source, tmp_path / "exists")
    (source / "tokenizer.json").unlink()
    with pytest.raises(JudgeError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        convert_internlm2(source, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    (source / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    with pytest.raises(JudgeError, match="no InternLM2 checkpoint"):
        convert_internlm2(source, tmp_path / "target")


def test_the_command_says_what_went_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main([str(tmp_path / "none"), str(tmp_path / "target")]) == 1
    assert "config.json is missing" in capsys.readouterr().err
    source = checkpoint(tmp_path / "source", internlm_weights())
    assert main([str(source), str(tmp_path / "target")]) == 0
    assert (tmp_path / "target" / "config.json").is_file()
