"""How much memory a fine-tune will need, from the model's config.json alone: before anything is loaded, without torch.

Counted are weights, what is trained of them with gradients and AdamW's two moments, the numbers that a forward pass keeps
for the backward one (per token and layer, as transformers' layers and peft's LoRA layers keep them), and the last
position's logits. `OVERHEAD` covers what cannot be counted: the CUDA context, the allocator's gaps, temporary copies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import JobError
from core.judging.transformers.options import Precision
from core.judging.weights import models_folder, resolve_model
from core.settings import load_settings
from core.types import LocalText
from training.specs import FineTuneSpec, Method

GIB = 1 << 30
# bitsandbytes' nf4 with its scales, bytes a weight.
NF4_BYTES = 0.57
OVERHEAD_SHARE = 0.1
OVERHEAD = {"cuda": 0.8 * GIB, "cpu": 0.7 * GIB}
EAGER_BYTES = 8


class _Config(BaseModel):
    """What counts of a config.json."""

    model_config = ConfigDict(extra="ignore")

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    tie_word_embeddings: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder: `width` of the residual stream, `inner` of the gated layer, `queries` and `keys` of all heads together."""

    family: str
    layers: int
    width: int
    inner: int
    queries: int
    keys: int
    heads: int
    vocabulary: int
    tied: bool

    def linears(self) -> dict[str, tuple[int, int]]:
        """Return (in, out) of one layer's linear layers by name; biases and norms are too small to count."""
        attention = {
            "q_proj": (self.width, self.queries),
            "k_proj": (self.width, self.keys),
            "v_proj": (self.width, self.keys),
            "o_proj": (self.queries, self.width),
        }
        if self.family.startswith("glm"):
            return {**attention, "gate_up_proj": (self.width, 2 * self.inner), "down_proj": (self.inner, self.width)}
        gated = {"gate_proj": (self.width, self.inner), "up_proj": (self.width, self.inner), "down_proj": (self.inner, self.width)}
        return {**attention, **gated}

    @property
    def linear_weights(self) -> int:
        """Return the weights of all linear layers but the output layer."""
        return self.layers * sum(into * out for into, out in self.linears().values())

    @property
    def embeddings(self) -> int:
        """Return the weights of the embedding and of an output layer of its own."""
        return self.vocabulary * self.width * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """Return all weights."""
        return self.linear_weights + self.embeddings


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes that a fine-tune needs, by what they are for; `device` is "cpu" or "cuda", `rows` and `tokens` the batch that was counted."""

    device: str
    weights: int
    trained: int
    activations: int
    logits: int
    overhead: int
    rows: int
    tokens: int
    method: Method = Method.LORA

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.weights + self.trained + self.activations + self.logits + self.overhead

    def parts(self) -> Mapping[str, int]:
        """Return the parts by name, the largest first."""
        found = {
            "weights": self.weights,
            "trained": self.trained,
            "activations": self.activations,
            "logits": self.logits,
            "overhead": self.overhead,
        }
        return dict(sorted(found.items(), key=lambda part: -part[1]))

    def advice(self, available: int) -> LocalText:
        """Return what to change where the job does not fit into `available` bytes; empty where it does."""
        if self.total <= available:
            return {}
        largest = next(iter(self.parts()))
        en, zh = _ADVICE[self._advised(largest)]
        need, have = f"{self.total / GIB:.1f} GiB", f"{available / GIB:.1f} GiB"
        return {
            "en": f"About {need} are needed and {have} are there, most of it for {largest}: {en}.",
            "zh": f"约需 {need}，可用 {have}，主要用于{_NAMES[largest]}：{zh}。",
        }

    def _advised(self, largest: str) -> str:
        """Return the advice's name; a 4-bit base needs a card, and is no way out where it is chosen already."""
        if largest == "weights" and (self.device == "cpu" or self.method is Method.QLORA):
            return "size"
        return "activations" if largest == "logits" else largest


_NAMES = {"weights": "模型权重", "trained": "被训练的权重及优化器", "activations": "激活值", "logits": "输出", "overhead": "固定开销"}
_ADVICE = {
    "weights": ("choose method qlora, or a smaller model", "请改用 qlora 方法，或更小的模型"),
    "size": ("choose a smaller model", "请改用更小的模型"),
    "trained": ("choose method lora, or a lower rank", "请改用 lora 方法，或减小 rank"),
    "activations": (
        "lower batch_size (raise accumulation as much) or max_length, or switch gradient_checkpointing on",
        "请减小 batch_size（同时增大 accumulation）或 max_length，或打开 gradient_checkpointing",
    ),
    "overhead": ("use another device", "请换用其他设备"),
}


def read_shape(folder: Path) -> Shape:
    """Return the shape that a folder's config.json says. Raises JobError when it cannot be read."""
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        config = _Config.model_validate((isinstance(raw, dict) and raw.get("text_config")) or raw)
    except (OSError, ValueError, ValidationError) as error:
        raise JobError(f"{path} does not tell the model's size: {error}", zh=f"无法从 {path} 得知模型大小：{error}") from error
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    return Shape(
        family=config.model_type,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        inner=config.intermediate_size,
        queries=config.num_attention_heads * head,
        keys=(config.num_key_value_heads or config.num_attention_heads) * head,
        heads=config.num_attention_heads,
        vocabulary=config.vocab_size,
        tied=config.tie_word_embeddings,
    )


def estimate(spec: FineTuneSpec, longest: int | None = None, device: str = "") -> Estimate:
    """Return the memory that a fine-tune needs with rows of `longest` tokens (its max_length when not given).

    `device` decides what "auto" means ("cpu" or "cuda"); not given, "auto" counts as a card. Raises JudgeError when the
    model is not on this machine, JobError when its config.json cannot be read.
    """
    folder = resolve_model("job", spec.model, models_folder(load_settings().judge_cache()), revision=spec.revision, tokenizer_only=True)
    kind = "cpu" if (device or spec.device) == "cpu" else "cuda"
    return estimate_shape(read_shape(folder), spec, kind, longest or spec.max_length)


def estimate_shape(shape: Shape, spec: FineTuneSpec, device: str, longest: int) -> Estimate:
    """Return the estimate for a model of `shape`."""
    element = _element(spec, device)
    tokens = spec.batch_size * longest
    trained = adapter_weights(shape, spec)
    if spec.method is Method.FULL:
        weights, update = 4 * shape.parameters, 12 * shape.parameters + (element * shape.linear_weights if element == 2 else 0)
    elif spec.method is Method.QLORA:
        weights, update = int(NF4_BYTES * shape.linear_weights) + element * shape.embeddings, 16 * trained
    else:
        weights, update = element * shape.parameters, 16 * trained
    layer = _kept_by_layer(shape, spec, element, tokens, longest)
    kept = shape.layers * layer
    if spec.gradient_checkpointing:
        kept = shape.layers * element * shape.width * tokens + layer
    logits = 12 * spec.batch_size * shape.vocabulary
    counted = weights + update + kept + logits
    overhead = int(OVERHEAD[device] + OVERHEAD_SHARE * counted)
    return Estimate(device, weights, update, kept, logits, overhead, spec.batch_size, longest, spec.method)


def adapter_weights(shape: Shape, spec: FineTuneSpec) -> int:
    """Return the weights of the LoRA adapter; 0 where the whole model is trained."""
    if spec.method is Method.FULL:
        return 0
    names = {name.strip() for name in spec.target_modules.split(",")}
    chosen = [size for name, size in shape.linears().items() if "all-linear" in names or name in names]
    return shape.layers * spec.rank * sum(into + out for into, out in chosen)


def _element(spec: FineTuneSpec, device: str) -> int:
    """Return the bytes of a number in the products."""
    if spec.dtype is Precision.AUTO:
        return 2 if device == "cuda" else 4
    return 4 if spec.dtype is Precision.FP32 else 2


def _kept_by_layer(shape: Shape, spec: FineTuneSpec, element: int, tokens: int, longest: int) -> int:
    """Return the bytes that one layer keeps for the backward pass of a batch of `tokens` tokens in all.

    Two norms keep their input in 32 bits and their output; attention its queries, keys and values before and after the
    rotation and its result; the gated layer both halves, the activation and the product. Where LoRA drops out, each of
    its layers keeps its own thinned input and a mask of one byte.
    """
    per_token = 2 * (8 + element) * shape.width
    per_token += 2 * element * (shape.queries + 2 * shape.keys) + element * shape.queries
    per_token += 4 * element * shape.inner
    if spec.method is not Method.FULL and spec.dropout > 0:
        per_token += (element + 1) * sum(into for into, _ in shape.linears().values())
    eager = EAGER_BYTES * shape.heads * tokens * longest if shape.family == "gemma2" else 0
    return per_token * tokens + eager
