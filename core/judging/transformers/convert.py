"""Turns an InternLM2 or InternLM2.5 checkpoint (and LoRA adapters made on one) into Llama's layout, which is the same function.

InternLM2 keeps queries, keys and values in one matrix, grouped by key-value head, under its own names, and needs code
of its own to run, which current transformers versions break. Weights are streamed: at most one output shard is in
memory. `python -m core.judging.transformers.convert SOURCE TARGET`.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import JudgeError, PingpanError

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

SHARD_BYTES = 4 << 30
NAMES = (
    (re.compile(r"\btok_embeddings\b"), "embed_tokens"),
    (re.compile(r"^output\b"), "lm_head"),
    (re.compile(r"\battention\.wo\b"), "self_attn.o_proj"),
    (re.compile(r"\battention_norm\b"), "input_layernorm"),
    (re.compile(r"\bffn_norm\b"), "post_attention_layernorm"),
    (re.compile(r"\bfeed_forward\.w1\b"), "mlp.gate_proj"),
    (re.compile(r"\bfeed_forward\.w3\b"), "mlp.up_proj"),
    (re.compile(r"\bfeed_forward\.w2\b"), "mlp.down_proj"),
)
FUSED = "attention.wqkv"
MODULES = {
    "wqkv": ("q_proj", "k_proj", "v_proj"), "wo": ("o_proj",), "w1": ("gate_proj",), "w3": ("up_proj",), "w2": ("down_proj",),
    "output": ("lm_head",),
}  # fmt: skip
KEPT_SETTINGS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_act",
    "max_position_embeddings", "initializer_range", "rms_norm_eps", "rope_theta", "rope_scaling", "tie_word_embeddings",
    "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HeadShape:
    """How the rows of the fused matrix are grouped."""

    heads: int
    kv_heads: int
    width: int

    def split(self, fused: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value rows of a fused weight (rows, …) or bias (rows,)."""
        rest = fused.shape[1:]
        group = self.heads // self.kv_heads
        grouped = fused.reshape(self.kv_heads, group + 2, self.width, *rest)
        query, key, value = grouped[:, :group], grouped[:, -2], grouped[:, -1]
        return tuple(part.reshape(-1, *rest).contiguous() for part in (query, key, value))  # type: ignore[return-value]


def convert_internlm2(
    source: Path, target: Path, progress: Callable[[int, int], None] | None = None, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write `source`, an InternLM2ForCausalLM folder of safetensors, to `target` as a LlamaForCausalLM folder.

    `progress` is called with (tensors written, tensors in all). The folder appears under its name only when it is
    complete. Raises JudgeError when the source is no such checkpoint or the target exists.
    """
    config = _read_json(source / "config.json")
    if config.get("model_type") != "internlm2":
        raise JudgeError(
            f"{source} is no InternLM2 checkpoint: its config.json says model_type {config.get('model_type')!r}.",
            zh=f"{source} 不是 InternLM2 检查点：其 config.json 中的 model_type 是 {config.get('model_type')!r}。",
        )
    shards = sorted(source.glob("*.safetensors"))
    if not shards:
        raise JudgeError(
            f"{source} has no *.safetensors weights; other formats are not converted, because opening them can run code.",
            zh=f"{source} 中没有 safetensors 权重；其他格式打开时可能执行代码，不予转换。",
        )
    if target.exists():
        raise JudgeError(f"{target} exists already; delete it or name another folder.", zh=f"{target} 已存在；请删除或另写一个文件夹。")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    shape = HeadShape(config["num_attention_heads"], config["num_key_value_heads"], config["hidden_size"] // config["num_attention_heads"])
    _write_shards(_converted(shards, shape, progress), partial, shard_bytes)
    _write_json(partial / "config.json", _llama_config(config))
    if (source / "generation_config.json").is_file():
        shutil.copy(source / "generation_config.json", partial)
    _convert_tokenizer(source, partial)
    partial.rename(target)


def convert_adapter(source: Path, target: Path, base_config: Mapping[str, Any]) -> None:
    """Write a peft LoRA adapter made on InternLM2 to `target`, for the converted model; `base_config` is InternLM2's config.json.

    The fused layer's one A stands under query, key and value; its B is split by rows as the weight is.
    """
    from safetensors.torch import load_file, save_file

    shape = HeadShape(
        base_config["num_attention_heads"],
        base_config["num_key_value_heads"],
        base_config["hidden_size"] // base_config["num_attention_heads"],
    )
    settings = _read_json(source / "adapter_config.json")
    modules = settings["target_modules"]
    if not isinstance(modules, str):
        settings["target_modules"] = sorted(new for old in modules for new in MODULES.get(old, (old,)))
    weights: dict[str, Tensor] = {}
    for name, tensor in load_file(source / "adapter_model.safetensors").items():
        if FUSED in name:
            parts = shape.split(tensor) if "lora_B" in name else (tensor, tensor.clone(), tensor.clone())
            weights.update(zip(_split_names(_renamed(name)), parts, strict=True))
        else:
            weights[_renamed(name)] = tensor
    target.mkdir(parents=True)
    save_file(weights, target / "adapter_model.safetensors", metadata={"format": "pt"})
    _write_json(target / "adapter_config.json", settings)


def _converted(shards: list[Path], shape: HeadShape, progress: Callable[[int, int], None] | None) -> Iterator[tuple[str, Tensor]]:
    from safetensors import safe_open

    total = 0
    for path in shards:
        with safe_open(path, framework="pt") as file:
            total += len(file.keys())
    done = 0
    for path in shards:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                tensor = file.get_tensor(name)
                if FUSED in name:
                    yield from zip(_split_names(_renamed(name)), shape.split(tensor), strict=True)
                else:
                    yield _renamed(name), tensor
                done += 1
                if progress is not None:
                    progress(done, total)


def _renamed(name: str) -> str:
    for pattern, new in NAMES:
        name = pattern.sub(new, name)
    return name


def _split_names(name: str) -> tuple[str, str, str]:
    query, key, value = (name.replace(FUSED, f"self_attn.{part}_proj") for part in "qkv")
    return query, key, value


def _write_shards(tensors: Iterator[tuple[str, Tensor]], folder: Path, shard_bytes: int) -> None:
    """Write tensors into files of at most `shard_bytes`, and the index that names them."""
    from safetensors.torch import save_file

    waiting: dict[str, Tensor] = {}
    written: list[list[str]] = []
    size = total = 0

    def flush() -> None:
        save_file(waiting, folder / f"shard-{len(written)}", metadata={"format": "pt"})
        written.append(list(waiting))
        waiting.clear()

    for name, tensor in tensors:
        if waiting and size + tensor.nbytes > shard_bytes:
            flush()
            size = 0
        waiting[name] = tensor
        size, total = size + tensor.nbytes, total + tensor.nbytes
    flush()
    places: dict[str, str] = {}
    for number, names in enumerate(written):
        final = f"model-{number + 1:05d}-of-{len(written):05d}.safetensors"
        (folder / f"shard-{number}").rename(folder / final)
        places.update(dict.fromkeys(names, final))
    _write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places})


def _llama_config(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: config[name] for name in KEPT_SETTINGS if name in config}
    bias = bool(config.get("bias", False))
    dtype = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": bias, "mlp_bias": False, "dtype": dtype, **kept}


def _convert_tokenizer(source: Path, target: Path) -> None:
    """Write a fast tokenizer that needs no code of the checkpoint: its own tokenizer.json, or one made of tokenizer.model."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    settings = _read_json(source / "tokenizer_config.json") if (source / "tokenizer_config.json").is_file() else {}
    if (source / "tokenizer.json").is_file():
        backend = Tokenizer.from_file(str(source / "tokenizer.json"))
    elif (source / "tokenizer.model").is_file():
        from core.judging.transformers.sentencepiece import read_sentencepiece

        added = {int(number): str(token["content"]) for number, token in settings.get("added_tokens_decoder", {}).items()}
        backend = read_sentencepiece(source / "tokenizer.model", added)
    else:
        raise JudgeError(
            f"{source} has neither tokenizer.json nor tokenizer.model; copy the tokenizer's files beside the weights.",
            zh=f"{source} 中既没有 tokenizer.json 也没有 tokenizer.model；请把分词器文件复制到权重旁。",
        )
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    special = {name: _token_text(settings[name]) for name in names if settings.get(name)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)
    tokenizer.chat_template = settings.get("chat_template")
    tokenizer.save_pretrained(target)


def _token_text(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise JudgeError(f"{path} is missing; copy the whole checkpoint folder.", zh=f"缺少 {path}；请复制完整的检查点文件夹。")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Convert a checkpoint folder, or with a third argument (the converted base's source) an adapter; return the exit status."""
    if len(arguments) not in (2, 3):
        sys.stderr.write("usage: python -m core.judging.transformers.convert SOURCE TARGET [BASE]\n"
                         "with BASE, the InternLM2 folder that it was trained on, SOURCE is a LoRA adapter\n")  # fmt: skip
        return 2
    source, target = Path(arguments[0]), Path(arguments[1])
    try:
        if len(arguments) == 3:
            convert_adapter(source, target, _read_json(Path(arguments[2]) / "config.json"))
        else:
            convert_internlm2(source, target, _show)
    except PingpanError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _show(done: int, total: int) -> None:
    sys.stderr.write(f"\r{done}/{total} tensors" + ("\n" if done == total else ""))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
