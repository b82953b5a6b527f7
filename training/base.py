"""The base model of a job: where it lies, on which device, in which number format."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from core.errors import JobError
from core.judging.transformers.light import import_transformers
from core.judging.transformers.options import Precision, Quantization, TransformersOptions
from core.judging.transformers.weights import find_weights, read_config
from core.judging.weights import models_folder, resolve_model
from core.settings import load_settings
from core.training import EventKind
from training.attention import avoid_broken_backward
from training.context import JobContext

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

JOB = "job"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Base:
    """A loaded base model with its tokenizer; `device` is as torch names it."""

    model: Any
    tokenizer: Any
    folder: Path
    device: str
    dtype: torch.dtype


def find_base(model: str, revision: str | None, context: JobContext | None = None) -> Path:
    """Return the folder of a base model; an InternLM2 checkpoint is converted to Llama's layout first, once.

    Raises JudgeError with the command to type when the files are not on this machine.
    """
    cache = load_settings().judge_cache()
    kept = models_folder(cache)
    folder = resolve_model(JOB, model, kept, revision=revision)
    if read_config(folder).get("model_type") == "internlm2":
        from core.judging.transformers.convert import convert_internlm2

        if context is not None:
            words = {
                "en": f"Converting {folder} from InternLM2 to Llama's layout.",
                "zh": f"正在将 {folder} 从 InternLM2 转换为 Llama 结构。",
            }
            context.report(EventKind.NOTE, message=words)
        target = kept / model.strip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if not target.exists():
                convert_internlm2(folder, target)
    return find_weights(JOB, plain_options(model, revision), cache)


def pin_device(wanted: str) -> str:
    """Return "cpu" or "cuda" after hiding all cards but the wanted one from this process, which then has it as its only card.

    transformers' trainer spreads a model over every card that it sees, and CUDA reads what is visible once, at its first
    call: so this comes before any. Raises JobError for a card that is not there.
    """
    import torch

    if wanted == "cpu":
        return "cpu"
    visible = os.environ.get(VISIBLE)
    number = int(wanted.partition(":")[2] or 0)
    names = visible.split(",") if visible is not None else [str(place) for place in range(number + 1)]
    there = number < len(names) and bool(names[number].strip())
    if there and not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        os.environ[VISIBLE] = names[number].strip()
    if there and torch.cuda.is_available():
        return "cuda"
    if visible is None:
        os.environ.pop(VISIBLE, None)
    else:
        os.environ[VISIBLE] = visible
    if wanted == "auto":
        return "cpu"
    raise JobError(
        f"The job asks for {wanted}, which PyTorch does not see here ({VISIBLE}={visible or ''}); choose auto or cpu, or install a CUDA "
        "build of PyTorch and the driver.",
        zh=f"任务要求设备 {wanted}，但 PyTorch 在本机看不到它（{VISIBLE}={visible or ''}）；请选择 auto 或 cpu，或安装 CUDA 版 PyTorch 及驱动。",
    )


def load_base(
    model: str,
    revision: str | None,
    device: str,
    dtype: Precision,
    context: JobContext,
    *,
    quantized: bool = False,
    widest: bool = False,
) -> Base:
    """Return the base model on "cpu" or "cuda"; `quantized` in 4 bits, `widest` with 32-bit weights whatever `dtype` says.

    Raises JudgeError and JobError when files, device or a library are missing.
    """
    import_transformers()
    import torch
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from core.judging.transformers.load import choose_dtype, load_weights

    disable_progress_bar()
    avoid_broken_backward()
    folder = find_base(model, revision, context)
    refuse_quantized(folder)
    quantization = Quantization.INT4 if quantized else Quantization.NONE
    options = plain_options(model, revision, quantization)
    config = AutoConfig.from_pretrained(folder)
    chosen = choose_dtype(dtype, device, config)
    place = "cpu" if device == "cpu" else f"cuda:{torch.cuda.current_device()}"
    loaded = load_weights(folder, options, place, torch.float32 if widest else chosen)
    if config.model_type == "gemma2":
        # SDPA, which transformers takes by itself, leaves Gemma 2's soft-capping out.
        loaded.set_attn_implementation("eager")
    return Base(loaded, AutoTokenizer.from_pretrained(folder), folder, device, chosen)


def plain_options(model: str, revision: str | None = None, quantization: Quantization = Quantization.NONE) -> TransformersOptions:
    """Return the options of a judge of this model with nothing else said."""
    return TransformersOptions.model_validate({"model": model, "revision": revision, "quantization": quantization})


def refuse_quantized(folder: Path) -> None:
    """Raise JobError when a folder holds quantized weights: nothing is trained on or added to them."""
    method = read_config(folder).get("quantization_config", {}).get("quant_method")
    if method:
        raise JobError(
            f"{folder} holds weights quantized by {method}; name the model that they were made of.",
            zh=f"{folder} 中是 {method} 量化后的权重；请填写量化之前的模型。",
        )
