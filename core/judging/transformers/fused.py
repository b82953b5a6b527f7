"""Fewer passes over memory between the matrix products, for the model classes that are known.

At packs of many tokens a third of the time of transformers' plain code goes into norms, rotary embeddings and gated
activations, each written as several passes over memory. Here each becomes one Triton kernel; the matrix products and
the models' structure stay transformers' own, and so do LoRA layers and quantized layers in place of a Linear.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from core.judging.transformers.attention import Pack, attend

if TYPE_CHECKING:
    from torch import Tensor

FUSED_MODELS = frozenset({"qwen2", "llama", "mistral", "gemma2", "glm"})
ACTIVATIONS = {"silu": False, "gelu_pytorch_tanh": True}


def fuse(model: Any) -> bool:
    """Give the model's norms, gated layers and attention their fused forms; return False when its class is not known."""
    config = model.config
    activation = getattr(config, "hidden_act", None) or getattr(config, "hidden_activation", None)
    if config.model_type not in FUSED_MODELS or activation not in ACTIVATIONS:
        return False
    for module in model.modules():
        name = type(module).__name__
        if name.endswith("RMSNorm"):
            module.eps_ = getattr(module, "variance_epsilon", None) or module.eps
            module.add_one_ = config.model_type == "gemma2"
            module.forward = MethodType(_norm, module)
        elif name.endswith("MLP"):
            module.gelu_ = ACTIVATIONS[activation]
            module.forward = MethodType(_fused_gate_mlp if hasattr(module, "gate_up_proj") else _mlp, module)
        elif name.endswith("Attention") and hasattr(module, "q_proj"):
            module.interleaved_ = config.model_type == "glm"
            module.forward = MethodType(_attention, module)
    return True


def _norm(self: Any, hidden_states: Tensor) -> Tensor:
    from core.judging.transformers.kernels import rms_norm

    return rms_norm(hidden_states, self.weight, self.eps_, self.add_one_)


def _mlp(self: Any, x: Tensor) -> Tensor:
    from core.judging.transformers.kernels import gated

    down: Tensor = self.down_proj(gated(self.gate_proj(x), self.up_proj(x), self.gelu_))
    return down


def _fused_gate_mlp(self: Any, hidden_states: Tensor) -> Tensor:
    from core.judging.transformers.kernels import gated

    gate, up = self.gate_up_proj(hidden_states).chunk(2, dim=-1)
    down: Tensor = self.down_proj(gated(gate, up, self.gelu_))
    return down


def _attention(
    self: Any,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    pack: Pack | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """Compute a layer's attention over a pack (batch of one) without transposing; rotary embedding in place.

    Without a pack (generation) the class's own forward answers, through attention.packed_attention.
    """
    from core.judging.transformers.kernels import rotate_in_place

    if pack is None:
        plain: tuple[Tensor, Tensor | None] = type(self).forward(
            self, hidden_states, position_embeddings, attention_mask, past_key_values=past_key_values, **others
        )
        return plain
    tokens = hidden_states.shape[1]
    query, key, value = (
        projection(hidden_states).view(tokens, -1, self.head_dim) for projection in (self.q_proj, self.k_proj, self.v_proj)
    )
    cos, sin = position_embeddings[0][0], position_embeddings[1][0]
    rotate_in_place(query, cos, sin, self.interleaved_)
    rotate_in_place(key, cos, sin, self.interleaved_)
    window, softcap = getattr(self, "sliding_window", None), getattr(self, "attn_logit_softcapping", None)
    out = attend(self, query, key, value, pack, self.scaling, window, softcap)
    return self.o_proj(out.view(1, tokens, -1)), None
