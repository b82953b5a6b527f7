"""Puts a LoRA adapter on a base model, and takes the last logits out of the whole."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from core.errors import JobError
from training.specs import FineTuneSpec, Method

if TYPE_CHECKING:
    from torch import Tensor


def check_method(spec: FineTuneSpec, device: str) -> None:
    """Raise JobError where QLoRA cannot run: it needs a CUDA card and bitsandbytes."""
    if spec.method is not Method.QLORA:
        return
    if device != "cuda" or importlib.util.find_spec("bitsandbytes") is None:
        raise JobError(
            f"method qlora needs a CUDA card and the package bitsandbytes; here the device is {device}. "
            "Choose lora, or run `pip install bitsandbytes` in the project's environment on a machine with a card.",
            zh=f"qlora 方法需要 CUDA 显卡和 bitsandbytes（当前设备 {device}）。请改用 lora，或在有显卡的机器上安装 bitsandbytes。",
        )


def trainable(model: Any, spec: FineTuneSpec) -> Any:
    """Return the model with what the method trains set to be trained.

    Raises JobError when target_modules names no layer of the model.
    """
    if spec.method is Method.FULL:
        model.requires_grad_(True)
        return model
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if spec.method is Method.QLORA:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=spec.gradient_checkpointing)
    names = [name.strip() for name in spec.target_modules.split(",") if name.strip()]
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules="all-linear" if names == ["all-linear"] else names,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise JobError(
            f"target_modules {spec.target_modules!r} cannot be used on this model: {error}. Write all-linear, or names of its linear layers.",
            zh=f"target_modules {spec.target_modules!r} 不适用于该模型：{error}。请写 all-linear 或其线性层的名字。",
        ) from error


def last_logits(model: Any, ids: Tensor, lengths: Tensor) -> Tensor:
    """Return the logits after each row's last token, (B, vocabulary); no others are computed.

    Rows are padded at the right, and no mask is given: a causal model's real tokens see no padding, and attention
    without a mask has the fastest kernels.
    """
    import torch

    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = causal.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    last = hidden[torch.arange(len(ids), device=ids.device), lengths - 1]
    logits: Tensor = causal.get_output_embeddings()(last)
    cap = getattr(causal.config, "final_logit_softcapping", None)
    return logits if not cap else (logits / cap).tanh() * cap
