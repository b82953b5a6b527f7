"""Attention over packs: several rows in one sequence, each seeing a shared prefix and its own past, nothing else.

Registered with transformers' AttentionInterface, so that the library's own model classes run unchanged. The layout of
a pack travels as the keyword `pack` through the model's forward. Two kernels compute the same function: a Triton
kernel on CUDA (see kernels.py), and a loop over rows in plain PyTorch elsewhere. Grouped heads are never expanded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKED_ATTENTION = "pingpan_packed"
QUERY_BLOCK = 128


class AttentionKernel(Protocol):
    """Computes causal attention inside every row of a pack, over the pack's prefix and the row itself."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, layer: int, pack: Pack, scale: float, window: int, softcap: float
    ) -> Tensor:
        """Return (tokens, heads, width); query likewise, key and value (tokens, key-value heads, width), any strides.

        `window` 0 means that every earlier token is seen, `softcap` 0 that scores are not capped.
        """


@dataclass(slots=True)
class Prefix:
    """A computed beginning: per layer its keys and values, each (length, key-value heads, width)."""

    ids: tuple[int, ...]
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass(slots=True)
class Pack:
    """Rows laid end to end. `starts` has one more entry than rows; `blocks` are (row, first token) of each block of queries.

    Where `record` is set, every layer leaves the keys and values of the pack's single row there.
    """

    kernel: AttentionKernel
    starts: list[int]
    starts_on_device: Tensor
    blocks: Tensor
    prefix: Prefix | None = None
    record: Prefix | None = None

    @property
    def prefix_length(self) -> int:
        """Return how many tokens stand before each row."""
        return len(self.prefix.ids) if self.prefix else 0

    @property
    def longest(self) -> int:
        """Return the length of the longest row, its prefix included."""
        return self.prefix_length + max(end - start for start, end in zip(self.starts, self.starts[1:], strict=False))


@dataclass(slots=True)
class PackInputs:
    """A pack as the model takes it: ids and positions (1, tokens), and the index of every row's last token."""

    ids: Tensor
    positions: Tensor
    last: Tensor
    pack: Pack


def build_pack(rows: Sequence[Sequence[int]], prefix: Prefix | None, kernel: AttentionKernel, device: Any) -> PackInputs:
    """Return the inputs of one forward pass over `rows`, their prefix cut off."""
    import numpy as np
    import torch

    offset = len(prefix.ids) if prefix else 0
    own = [np.asarray(row[offset:], dtype=np.int64) for row in rows]
    lengths = np.array([len(row) for row in own])
    starts = np.concatenate(([0], np.cumsum(lengths)))
    positions = np.concatenate([np.arange(offset, offset + length) for length in lengths])
    blocks = [(row, begin) for row in range(len(own)) for begin in range(int(starts[row]), int(starts[row + 1]), QUERY_BLOCK)]
    blocks.sort(key=lambda block: int(starts[block[0]]) - block[1])  # the longest-running blocks first

    def on_device(array: Any, dtype: Any) -> Tensor:
        return torch.as_tensor(array, dtype=dtype).to(device, non_blocking=True)

    pack = Pack(kernel, starts.tolist(), on_device(starts, torch.int32), on_device(np.array(blocks), torch.int32), prefix)
    ids, places = on_device(np.concatenate(own)[None], torch.long), on_device(positions[None], torch.long)
    return PackInputs(ids, places, on_device(starts[1:] - 1, torch.long), pack)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 (transformers passes it; the pack says what is seen)
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    pack: Pack | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Compute attention for transformers: query (1, heads, tokens, width) in, (1, tokens, heads, width) out.

    Without a pack (generation) the queries are the last of one row whose keys came so far.
    """
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    if pack is None:
        out = _attend_row(query, key, value, scaling or query.shape[-1] ** -0.5, sliding_window or 0, softcap or 0.0)
    else:
        out = attend(module, query, key, value, pack, scaling, sliding_window, softcap)
    return out.unsqueeze(0), None


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, pack: Pack, scaling: float | None, window: int | None, softcap: float | None
) -> Tensor:
    """Record keys and values where the pack asks for it, and compute the attention of one layer."""
    layer = int(module.layer_idx)
    if pack.record is not None:
        pack.record.layers[layer] = (key.clone(), value.clone())
    # A window that no row fills hides nothing: the kernel is then spared its checks.
    needed = window if window is not None and window < pack.longest else 0
    return pack.kernel(query, key, value, layer, pack, scaling or query.shape[-1] ** -0.5, needed, softcap or 0.0)


def loop_kernel(query: Tensor, key: Tensor, value: Tensor, layer: int, pack: Pack, scale: float, window: int, softcap: float) -> Tensor:
    """Compute each row by itself in plain PyTorch: no padding, any device, and the reference for the Triton kernel."""
    import torch

    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    before = pack.prefix.layers[layer] if pack.prefix else None
    for start, end in zip(pack.starts, pack.starts[1:], strict=False):
        own = slice(start, end)
        keys = torch.cat((before[0], key[own])) if before else key[own]
        values = torch.cat((before[1], value[own])) if before else value[own]
        out[own] = _attend_row(query[own], keys, values, scale, window, softcap)
    return out


def _attend_row(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int, softcap: float) -> Tensor:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    length, seen = query.shape[0], key.shape[0]
    visible = None
    if window or length != seen or softcap:
        query_place = torch.arange(seen - length, seen, device=query.device)[:, None]
        key_place = torch.arange(seen, device=query.device)[None]
        visible = (key_place <= query_place) & (key_place > query_place - (window or seen + 1))
    if softcap:
        return _capped(query, key, value, visible, scale, softcap)
    q, k, v = (tensor.transpose(0, 1)[None] for tensor in (query, key, value))
    out = scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=visible is None, scale=scale, enable_gqa=True)
    return out[0].transpose(0, 1)


def _capped(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, scale: float, softcap: float) -> Tensor:
    """Attention whose scores are squeezed into (-softcap, softcap) by tanh before the mask, as Gemma 2 was trained."""
    length, heads, width = query.shape
    kv_heads = key.shape[1]
    grouped = query.view(length, kv_heads, heads // kv_heads, width).permute(1, 2, 0, 3)
    scores = (grouped @ key.permute(1, 2, 0)[:, None]).float() * scale
    scores = (scores / softcap).tanh() * softcap
    if visible is not None:
        scores = scores.masked_fill(~visible, -math.inf)
    out = scores.softmax(-1).to(value.dtype) @ value.transpose(0, 1)[:, None]
    return out.permute(2, 0, 1, 3).reshape(length, heads, width)


def register() -> None:
    """Make `PACKED_ATTENTION` known to transformers; harmless when repeated."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED_ATTENTION, packed_attention)


def choose_kernel(device_type: str, capability: tuple[int, int] | None) -> AttentionKernel:
    """Return the Triton kernel on NVIDIA cards from Ampere on, else the loop over rows."""
    from core.judging.transformers import kernels

    if device_type == "cuda" and capability is not None and capability >= (8, 0) and kernels.available():
        return kernels.triton_kernel
    return loop_kernel
