"""Whether a model's files can be loaded here, what they hold, and whether they fit onto the device."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import JudgeError
from core.judging.transformers.options import Quantization, TransformersOptions
from core.judging.weights import fetch_command, is_hub_id, models_folder, resolve_model

GIB = 1 << 30
# Bytes a weight of a linear layer takes, its scales included; fp8 weights are made on the device from 16-bit ones, layer by layer.
QUANTIZED_BYTES = {Quantization.INT8: 1.05, Quantization.INT4: 0.57}


def find_weights(judge_id: str, options: TransformersOptions, cache_dir: Path, panel_id: str = "") -> Path:
    """Return the local folder of the model: a path, a fetched or converted model, or one in the hub's cache.

    Raises JudgeError with the command to type when the files are not on this machine, are in a format that is not
    allowed, or must be converted first. Nothing is downloaded here.
    """
    kept = models_folder(cache_dir)
    folder = resolve_model(judge_id, options.model, kept, revision=options.revision, allow_pickle=options.allow_pickle, panel_id=panel_id)
    if read_config(folder).get("model_type") == "internlm2":
        raise _unconverted(judge_id, folder, options.model, kept, panel_id)
    return folder


def _unconverted(judge_id: str, folder: Path, model: str, kept: Path, panel_id: str) -> JudgeError:
    target = kept / model if is_hub_id(model) else folder.with_name(f"{folder.name}-llama")
    convert = f"python -m core.judging.transformers.convert '{folder}' '{target}'"
    if is_hub_id(model):
        then, then_zh = (
            f"\n  {fetch_command(panel_id)}\n(which converts it), or by hand:\n  {convert}",
            f"\n  {fetch_command(panel_id)}\n（会自动转换），或手动转换：\n  {convert}",
        )
    else:
        then, then_zh = f"\n  {convert}\nand name that folder in the panel file.", f"\n  {convert}\n并在评委组文件中改写为该文件夹。"
    return JudgeError(
        f"Judge {judge_id!r}: {folder} is an InternLM2 checkpoint, whose own code transformers 5 cannot run. Convert it once:{then}",
        zh=f"评委 {judge_id!r}：{folder} 是 InternLM2 检查点，transformers 5 无法运行其自带代码，需先转换一次：{then_zh}",
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Return the folder's config.json. Raises JudgeError where it holds no JSON object."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _no_config(path, str(error)) from error
    if not isinstance(config, dict):
        raise _no_config(path, type(config).__name__)
    return config


def _no_config(path: Path, said: str) -> JudgeError:
    return JudgeError(
        f"{path} is no configuration of a model ({said}); copy or fetch the folder again.",
        zh=f"{path} 不是模型配置（{said}），请重新复制或下载该文件夹。",
    )


def count_parameters(folder: Path) -> int:
    """Return the number of weights in the folder's safetensors files, read from their headers only; 0 without any.

    Of AWQ's packed weights each element counts as the eight that it becomes.
    """
    from safetensors import safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                total += math.prod(file.get_slice(name).get_shape()) * (8 if name.endswith(".qweight") else 1)
    return total


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that a judge needs on its device: the weights, and one pack on its way through the model."""

    weights: int
    pack: int

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.weights + self.pack


def memory_need(parameters: int, config: Any, element_bytes: int, options: TransformersOptions) -> MemoryNeed:
    """Return the need of a model of `parameters` weights with the shape of the transformers `config`.

    The pack: hidden states, queries, keys and values, and the three arrays of a gated layer, for each of its tokens.
    """
    embedding = config.vocab_size * config.hidden_size
    quantized = QUANTIZED_BYTES.get(options.quantization, element_bytes)
    weights = (parameters - embedding) * quantized + embedding * element_bytes
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = config.num_attention_heads + 2 * (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    per_token = 4 * config.hidden_size + 2 * heads * head + 3 * (getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    return MemoryNeed(int(weights), int(options.token_budget * per_token * element_bytes))


def check_memory(judge_id: str, need: MemoryNeed, free: int, device: str) -> None:
    """Raise JudgeError when `need` is more than the `free` bytes of the device."""
    if need.total <= free:
        return
    raise JudgeError(
        f"Judge {judge_id!r} needs about {need.total / GIB:.1f} GiB on {device} ({need.weights / GIB:.1f} for the weights, "
        f"{need.pack / GIB:.1f} for a pack), but {free / GIB:.1f} GiB are free. Close what else uses the device, lower `token_budget`, "
        "or set `quantization: 8bit` or `4bit`.",
        zh=f"评委 {judge_id!r} 约需 {need.total / GIB:.1f} GiB 显存/内存（{device}），目前可用 {free / GIB:.1f} GiB。"
        "请关闭其他占用程序、减小 token_budget，或设置 quantization: 8bit / 4bit。",
    )
