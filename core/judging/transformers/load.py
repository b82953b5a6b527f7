"""Loads a causal language model with its tokenizer, adapter and quantization."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import JudgeError
from core.judging.transformers.light import import_transformers
from core.judging.transformers.lite import lite_format, load_lite
from core.judging.transformers.options import Precision, Quantization, TransformersOptions
from core.judging.transformers.weights import MemoryNeed, check_memory, count_parameters, find_weights, memory_need
from core.judging.weights import loading

if TYPE_CHECKING:
    import torch

FP8_CAPABILITY = (8, 9)
MEMORY_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on its device, ready to score."""

    model: Any
    tokenizer: Any
    device: str
    max_length: int


def load_model(judge_id: str, options: TransformersOptions, cache_dir: Path, panel_id: str = "") -> LoadedModel:
    """Return the judge's model.

    Raises JudgeError, before any weight is read, when files, device, memory or a needed library are missing.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = find_weights(judge_id, options, cache_dir, panel_id)
    device = choose_device(judge_id, options.device)
    _check_quantization(judge_id, options, device)
    _check_lite(judge_id, options, folder)
    _check_adapter(judge_id, options)
    with loading(judge_id, folder, panel_id):
        config = AutoConfig.from_pretrained(folder)
        dtype = choose_dtype(options.dtype, device, config)
        if options.check_memory:
            need = memory_need(count_parameters(folder), config.get_text_config(), dtype.itemsize, options)
            wait_for_memory(need, device)
            check_memory(judge_id, need, free_memory(device), device)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = load_weights(folder, options, device, dtype)
    if options.adapter is not None:
        with loading(judge_id, options.adapter, panel_id):
            model = _load_adapter(judge_id, model, options)
    if options.quantization is Quantization.FP8:
        from core.judging.transformers.fp8 import quantize_linears

        quantize_linears(model)
    model.eval()
    model.requires_grad_(False)
    limit = int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 32_768)
    return LoadedModel(model, tokenizer, device, min(options.max_length or limit, limit))


def choose_device(judge_id: str, wanted: str) -> str:
    """Return the torch device that `wanted` ("auto", "cpu", "cuda", "cuda:N") means here."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise JudgeError(
            f"Judge {judge_id!r}: there is no device {wanted!r}; write auto, cpu, cuda or cuda:N.",
            zh=f"评委 {judge_id!r}：没有名为 {wanted!r} 的设备；请写 auto、cpu、cuda 或 cuda:N。",
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise JudgeError(
            f"Judge {judge_id!r} asks for {wanted}, but PyTorch sees {torch.cuda.device_count()} CUDA devices here. "
            "Set `device: auto` or install a CUDA build of PyTorch and the driver.",
            zh=f"评委 {judge_id!r} 要求设备 {wanted}，但本机只有 {torch.cuda.device_count()} 个 CUDA 设备，请设置 device: auto。",
        )
    return wanted


def choose_dtype(wanted: Precision, device: str, config: Any) -> torch.dtype:
    """Return the number format; AUTO is fp32 on a CPU, and on a GPU the checkpoint's own, 16 bits wide where it was wider."""
    import torch

    named = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16, Precision.FP32: torch.float32}
    if wanted is not Precision.AUTO:
        return named[wanted]
    if not device.startswith("cuda"):
        return torch.float32
    own = getattr(config, "dtype", None)
    if torch.cuda.get_device_capability(device) < (8, 0):
        return torch.float16 if own is torch.float16 else torch.float32
    return torch.float16 if own is torch.float16 else torch.bfloat16


def wait_for_memory(need: MemoryNeed, device: str, seconds: float = MEMORY_PATIENCE_S) -> None:
    """Wait until `need` is free, at most `seconds`: another process may just be giving its model's memory back."""
    end = time.monotonic() + seconds
    while free_memory(device) < need.total <= total_memory(device) and time.monotonic() < end:
        time.sleep(0.2)


def total_memory(device: str) -> int:
    """Return the bytes that the device has in all."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[1])
    import psutil

    return int(psutil.virtual_memory().total)


def free_memory(device: str) -> int:
    """Return the free bytes of the device."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def _check_quantization(judge_id: str, options: TransformersOptions, device: str) -> None:
    import torch

    chosen = options.quantization
    if chosen is Quantization.NONE:
        return
    if chosen is Quantization.FP8:
        if not device.startswith("cuda") or torch.cuda.get_device_capability(device) < FP8_CAPABILITY:
            raise JudgeError(
                f"Judge {judge_id!r}: `quantization: fp8` needs a Hopper or Ada card (compute capability 8.9 or more); set it to none.",
                zh=f"评委 {judge_id!r}：fp8 需要 Hopper 或 Ada 显卡（计算能力 8.9 以上），请改为 none。",
            )
        return
    if importlib.util.find_spec("bitsandbytes") is None or not device.startswith("cuda"):
        raise JudgeError(
            f"Judge {judge_id!r}: `quantization: {chosen}` needs the package bitsandbytes and a CUDA card; here the device is {device}. "
            "Install it: ./run.sh setup models; or set `quantization: none`.",
            zh=f"评委 {judge_id!r}：{chosen} 量化需要 bitsandbytes 和 CUDA 显卡（当前设备 {device}）。请运行 ./run.sh setup models，或改为 none。",
        )


def _check_adapter(judge_id: str, options: TransformersOptions) -> None:
    adapter = options.adapter
    if adapter is not None and not (adapter / "adapter_config.json").is_file():
        raise JudgeError(
            f"Judge {judge_id!r}: {adapter} holds no adapter_config.json, so it is no peft adapter. Correct `adapter` in the panel file.",
            zh=f"评委 {judge_id!r}：{adapter} 中没有 adapter_config.json，不是 peft 适配器，请修改评委组文件中的 adapter。",
        )
    weights = ("adapter_model.safetensors", *(("adapter_model.bin",) if options.allow_pickle else ()))
    if adapter is not None and not any((adapter / name).is_file() for name in weights):
        # peft would look for them on the hub, and open a pickle.
        raise JudgeError(
            f"Judge {judge_id!r}: {adapter} has no {weights[0]}. Copy the adapter again; if its weights are adapter_model.bin, a file "
            "that can run code, and you trust it, set `allow_pickle: true` in the panel file.",
            zh=f"评委 {judge_id!r}：{adapter} 中没有 {weights[0]}，请重新复制该适配器；若其权重为 adapter_model.bin（可能执行代码）"
            "且可信任，请在评委组文件中设置 allow_pickle: true。",
        )
    if adapter is not None and options.merge_adapter and options.quantization in (Quantization.INT8, Quantization.INT4):
        raise JudgeError(
            f"Judge {judge_id!r}: an adapter merged into {options.quantization} weights loses precision; set `merge_adapter: false`.",
            zh=f"评委 {judge_id!r}：不应把适配器合并进 {options.quantization} 权重，请设置 merge_adapter: false。",
        )
    if adapter is not None and not options.merge_adapter and options.quantization is Quantization.FP8:
        raise JudgeError(
            f"Judge {judge_id!r}: fp8 layers take no separate adapter; set `merge_adapter: true`.",
            zh=f"评委 {judge_id!r}：fp8 层不支持未合并的适配器，请设置 merge_adapter: true。",
        )


def _check_lite(judge_id: str, options: TransformersOptions, folder: Path) -> None:
    form = lite_format(folder)
    if form is not None and (options.quantization is not Quantization.NONE or options.adapter is not None):
        raise JudgeError(
            f"Judge {judge_id!r}: {folder} holds weights quantized by lmdeploy ({form}); it takes no `quantization` and no `adapter`.",
            zh=f"评委 {judge_id!r}：{folder} 是 lmdeploy 量化后的权重（{form}），不能再设置 quantization 或 adapter。",
        )


def load_weights(folder: Path, options: TransformersOptions, device: str, dtype: torch.dtype) -> Any:
    """Return the model of `folder`, quantized as the options say, or as lmdeploy's lite left it, on `device`."""
    import_transformers()
    from transformers import AutoModelForCausalLM

    form = lite_format(folder)
    if form is not None:
        return load_lite(folder, form, device, dtype)
    arguments: dict[str, Any] = {}
    if options.quantization in (Quantization.INT8, Quantization.INT4):
        from transformers import BitsAndBytesConfig

        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=options.quantization is Quantization.INT8,
            load_in_4bit=options.quantization is Quantization.INT4,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
        )
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, device_map={"": device}, use_safetensors=None if options.allow_pickle else True, **arguments
    )


def _load_adapter(judge_id: str, model: Any, options: TransformersOptions) -> Any:
    from peft import PeftConfig, PeftModel

    adapter = options.adapter
    kind = PeftConfig.from_pretrained(str(adapter)).peft_type.value
    if kind != "LORA":
        raise JudgeError(
            f"Judge {judge_id!r}: {adapter} is a {kind} adapter, and only LoRA adapters are supported. Correct `adapter` in the panel file.",
            zh=f"评委 {judge_id!r}：{adapter} 是 {kind} 适配器，目前只支持 LoRA；请修改评委组文件中的 adapter。",
        )
    with_adapter = PeftModel.from_pretrained(model, str(adapter))
    return with_adapter.merge_and_unload() if options.merge_adapter else with_adapter.get_base_model()
