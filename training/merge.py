"""Add an adapter to a reloaded base model and save the sum, checked against base and adapter side by side.

The base is loaded anew in 16 bits, never the 4-bit one of QLoRA. The update is computed in 32 bits and rounded once, into
the saved weights. What was saved is then read from disk and asked the same prompts as base plus adapter.
"""

from __future__ import annotations

import gc
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import JobError
from core.judging.transformers.load import load_weights
from core.judging.transformers.options import Precision
from core.judging.transformers.weights import read_config
from core.judging.weights import weight_bytes
from core.training import EventKind, Stage
from training.base import Base, find_base, load_base, pin_device, plain_options
from training.context import JobContext, Product, Stopped
from training.files import whole_folder
from training.probes import distance, next_tokens, probe_prompts
from training.specs import MergeSpec

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

STEPS = 4
# How far the merged model may be from base plus adapter, as total variation of the next token's distribution. 16-bit sums
# are rounded, so they differ; what differs by more than this was merged wrongly.
TOLERANCE = {Precision.FP32: 0.001, Precision.FP16: 0.1, Precision.BF16: 0.3, Precision.AUTO: 0.3}


def merge(spec: MergeSpec, context: JobContext) -> Product:
    """Do a merge job. Raises JobError for an adapter that does not fit, and when the sum does not answer like its parts."""
    device = pin_device(spec.device)
    adapter = _adapter(spec, context)
    base = load_base(spec.model, spec.revision, device, spec.dtype, context)
    _step(context, 1, f"Loaded {base.folder}.", f"已载入 {base.folder}。")
    model = _with_adapter(base, adapter)
    prompts = probe_prompts()
    before = next_tokens(model, base.tokenizer, prompts)
    _step(context, 2, "Asked base plus adapter.", "已记录基座加适配器的输出。")
    merged = model.merge_and_unload(safe_merge=True)
    target = context.output / "model"
    with whole_folder(target) as folder:
        merged.save_pretrained(folder, max_shard_size=int(spec.shard_gb * 1e9))
        base.tokenizer.save_pretrained(folder)
        _step(context, 3, "Saved the sum.", "已保存合并后的模型。")
        parts = (base.device, base.tokenizer, base.dtype)
        del model, merged, base
        gc.collect()
        drift = _check(folder, spec, parts, before)
    figures = {"drift": drift, "bytes": float(weight_bytes(target))}
    words = {
        "en": f"The merged model answers like base plus adapter (distance {drift:.4f}).",
        "zh": f"合并后的模型与基座加适配器的输出一致（距离 {drift:.4f}）。",
    }
    context.report(EventKind.NOTE, STEPS, STEPS, figures, words)
    return Product(Stage.MERGED, "transformers", {"model": str(target)}, target)


def _step(context: JobContext, step: int, en: str, zh: str) -> None:
    context.report(EventKind.PROGRESS, step, STEPS, message={"en": en, "zh": zh})
    if context.stop_requested():
        raise Stopped


def _adapter(spec: MergeSpec, context: JobContext) -> Path:
    """Return the adapter's folder; one made on InternLM2's own layout is rewritten for the converted base."""
    path = spec.adapter / "adapter_config.json"
    if not path.is_file():
        raise JobError(
            f"{spec.adapter} holds no adapter_config.json, so it is no adapter; name the output folder of a fine-tune.",
            zh=f"{spec.adapter} 中没有 adapter_config.json，不是适配器；请填写微调任务的输出文件夹。",
        )
    modules = json.loads(path.read_text(encoding="utf-8")).get("target_modules") or ()
    if isinstance(modules, str) or "wqkv" not in modules:
        return spec.adapter
    from core.judging.transformers.convert import convert_adapter

    target = context.checkpoints / "converted-adapter"
    if not target.exists():
        # Heads and their width are the same numbers before and after the base's conversion.
        convert_adapter(spec.adapter, target, read_config(find_base(spec.model, spec.revision, context)))
    return target


def _with_adapter(base: Base, adapter: Path) -> Any:
    from peft import PeftConfig, PeftModel

    kind = PeftConfig.from_pretrained(str(adapter)).peft_type
    if kind != "LORA":
        raise JobError(f"{adapter} is a {kind} adapter; only LoRA adapters are merged.", zh=f"{adapter} 是 {kind} 适配器，只支持 LoRA。")
    try:
        return PeftModel.from_pretrained(base.model, str(adapter))
    except (RuntimeError, ValueError) as error:
        raise JobError(
            f"The adapter {adapter} does not fit {base.folder}: {str(error).splitlines()[0]}. Name the base that it was trained on.",
            zh=f"适配器 {adapter} 与基座 {base.folder} 不匹配，请填写训练时所用的基座模型。",
        ) from error


def _check(folder: Path, spec: MergeSpec, parts: tuple[str, Any, Any], before: Tensor) -> float:
    """Return how far the saved model is from base plus adapter. Raises JobError beyond the tolerance."""
    device, tokenizer, dtype = parts
    saved = load_weights(folder, plain_options(str(folder)), device, dtype)
    if saved.config.model_type == "gemma2":
        saved.set_attn_implementation("eager")
    drift = distance(before, next_tokens(saved, tokenizer, probe_prompts()))
    if drift > TOLERANCE[spec.dtype]:
        raise JobError(
            f"The merged model does not answer like base plus adapter (distance {drift:.3f}, at most {TOLERANCE[spec.dtype]} for "
            f"{spec.dtype}). Merge with dtype fp32, and see that the adapter was trained on {spec.model}.",
            zh=f"合并后的模型与基座加适配器的输出不一致（距离 {drift:.3f}）。请用 dtype fp32 合并，并确认适配器的基座是 {spec.model}。",
        )
    return drift
