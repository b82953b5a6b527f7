"""Triton kernels: packed attention with a shared prefix, and the small operations between the matrix products.

Imported only on a CUDA device. The attention is FlashAttention's online softmax (Dao et al., 2022), over two sources of
keys: the prefix, which is the same memory for every row, and the row's own tokens. Scores can be capped (Gemma 2) and
windowed. Products accumulate in float32. -1e30 stands for minus infinity, without its NaNs.
"""

# Kernels are Triton's dialect: compile-time arguments in capitals, no Python types; Triton itself comes with CUDA builds of PyTorch only.
# ruff: noqa: N803
# mypy: disable-error-code="import-not-found,untyped-decorator,no-untyped-def"

from __future__ import annotations

import logging
import subprocess
from typing import TYPE_CHECKING, Any

from core.judging.transformers.attention import QUERY_BLOCK, Pack, loop_kernel

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

try:
    import triton
    import triton.language as tl

    jit = triton.jit
except ImportError:  # No CUDA build of PyTorch here: this module can be imported, and `available` says that it is of no use.

    def jit(function: Any) -> Any:
        """Leave a kernel's source as it is."""
        return function


def available() -> bool:
    """Return whether Triton is installed and can build kernels here (it needs a C compiler at the first use)."""
    if "triton" not in globals():
        return False
    import torch

    try:
        one = torch.ones(1, 16, device="cuda", dtype=torch.bfloat16)
        return bool((rms_norm(one, one[0], 0.0, False) == 1).all())
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        log.warning("Triton cannot build kernels here (%s); rows are computed one by one. Installing gcc usually mends it.", error)
        return False


@jit
def _accumulate(
    acc, total, top, query, query_place, k, v, k_step, v_step, first, end, place_offset, scale, softcap, window,
    WIDTH: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr, MASKED: tl.constexpr, WINDOWED: tl.constexpr,
    CAPPED: tl.constexpr,
):  # fmt: skip
    """Fold one block of keys, from index `first`, into the running softmax; a key's place is its index + place_offset."""
    n = first + tl.arange(0, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    inside = (n < end) if MASKED else (n == n)
    if MASKED or WIDTH != BLOCK_D:
        keys = tl.load(k + n[None, :] * k_step + d[:, None], mask=inside[None, :] & (d < WIDTH)[:, None], other=0.0)
        values = tl.load(v + n[:, None] * v_step + d[None, :], mask=inside[:, None] & (d < WIDTH)[None, :], other=0.0)
    else:
        keys = tl.load(k + n[None, :] * k_step + d[:, None])
        values = tl.load(v + n[:, None] * v_step + d[None, :])
    scores = tl.dot(query, keys) * scale
    if CAPPED:
        # tanh(x) = 1 - 2 / (exp(2 x) + 1), which neither overflows nor cancels where scores are large.
        scores = softcap * (1.0 - 2.0 / (tl.exp2(scores * (2.8853900817779268 / softcap)) + 1.0))
    scores *= 1.4426950408889634  # exp2 is what the hardware has
    place = n + place_offset
    if MASKED:
        scores = tl.where(inside[None, :] & (place[None, :] <= query_place[:, None]), scores, -1.0e30)
    if WINDOWED:
        scores = tl.where(place[None, :] > query_place[:, None] - window, scores, -1.0e30)
    higher = tl.maximum(top, tl.max(scores, 1))
    weights = tl.exp2(scores - higher[:, None])
    fade = tl.exp2(top - higher)
    total = total * fade + tl.sum(weights, 1)
    acc = tl.dot(weights.to(values.dtype), values, acc * fade[:, None])
    return acc, total, higher


@jit
def _attention(
    q, k, v, prefix_k, prefix_v, out, starts, blocks, prefix_length, scale, softcap, window,
    q_token, q_head, k_token, k_head, v_token, v_head, pk_token, pk_head, pv_token, pv_head, out_token, out_head,
    GROUP: tl.constexpr, WIDTH: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    HAS_PREFIX: tl.constexpr, WINDOWED: tl.constexpr, CAPPED: tl.constexpr,
):  # fmt: skip
    """Compute one block of queries of one head: program (head, block)."""
    head = tl.program_id(0)
    block = tl.program_id(1)
    row = tl.load(blocks + 2 * block)
    first = tl.load(blocks + 2 * block + 1)
    begin = tl.load(starts + row)
    end = tl.load(starts + row + 1)
    m = first + tl.arange(0, BLOCK_M)
    d = tl.arange(0, BLOCK_D)
    here = (m < end)[:, None] & (d < WIDTH)[None, :]
    query = tl.load(q + m[:, None] * q_token + head * q_head + d[None, :], mask=here, other=0.0)
    offset = prefix_length - begin
    query_place = m + offset
    seen_from = tl.maximum(first + offset - window + 1, 0) if WINDOWED else 0
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    top = tl.full((BLOCK_M,), -1.0e30, dtype=tl.float32)
    kv = head // GROUP
    if HAS_PREFIX:
        whole = prefix_length // BLOCK_N * BLOCK_N
        for n in range(seen_from // BLOCK_N * BLOCK_N, whole, BLOCK_N):
            acc, total, top = _accumulate(
                acc, total, top, query, query_place, prefix_k + kv * pk_head, prefix_v + kv * pv_head, pk_token, pv_token,
                n, prefix_length, 0, scale, softcap, window, WIDTH, BLOCK_D, BLOCK_N, False, WINDOWED, CAPPED)  # fmt: skip
        if whole < prefix_length:
            acc, total, top = _accumulate(
                acc, total, top, query, query_place, prefix_k + kv * pk_head, prefix_v + kv * pv_head, pk_token, pv_token,
                whole, prefix_length, 0, scale, softcap, window, WIDTH, BLOCK_D, BLOCK_N, True, WINDOWED, CAPPED)  # fmt: skip
    own_from = begin + tl.maximum(seen_from - prefix_length, 0) // BLOCK_N * BLOCK_N
    for n in range(own_from, first, BLOCK_N):
        acc, total, top = _accumulate(
            acc, total, top, query, query_place, k + kv * k_head, v + kv * v_head, k_token, v_token,
            n, end, offset, scale, softcap, window, WIDTH, BLOCK_D, BLOCK_N, False, WINDOWED, CAPPED)  # fmt: skip
    for n in range(first, tl.minimum(first + BLOCK_M, end), BLOCK_N):
        acc, total, top = _accumulate(
            acc, total, top, query, query_place, k + kv * k_head, v + kv * v_head, k_token, v_token,
            n, end, offset, scale, softcap, window, WIDTH, BLOCK_D, BLOCK_N, True, WINDOWED, CAPPED)  # fmt: skip
    answer = (acc / total[:, None]).to(out.dtype.element_ty)
    tl.store(out + m[:, None] * out_token + head * out_head + d[None, :], answer, mask=here)


def triton_kernel(query: Tensor, key: Tensor, value: Tensor, layer: int, pack: Pack, scale: float, window: int, softcap: float) -> Tensor:
    """Compute packed attention; see AttentionKernel. The innermost stride of every tensor is 1.

    For 16-bit numbers: matrix units have no full float32, so that is left to the loop over rows.
    """
    import torch

    if query.element_size() != 2:
        return loop_kernel(query, key, value, layer, pack, scale, window, softcap)

    tokens, heads, width = query.shape
    out = torch.empty((tokens, heads, width), dtype=query.dtype, device=query.device)
    prefix_key, prefix_value = pack.prefix.layers[layer] if pack.prefix else (key, value)
    block_d = max(16, triton.next_power_of_2(width))
    block_n = 32 if block_d > 128 else 64
    _attention[(heads, pack.blocks.shape[0])](
        query, key, value, prefix_key, prefix_value, out, pack.starts_on_device, pack.blocks, pack.prefix_length, scale, softcap, window,
        query.stride(0), query.stride(1), key.stride(0), key.stride(1), value.stride(0), value.stride(1),
        prefix_key.stride(0), prefix_key.stride(1), prefix_value.stride(0), prefix_value.stride(1), out.stride(0), out.stride(1),
        GROUP=heads // key.shape[1], WIDTH=width, BLOCK_D=block_d, BLOCK_M=QUERY_BLOCK, BLOCK_N=block_n,
        HAS_PREFIX=pack.prefix_length > 0, WINDOWED=window > 0, CAPPED=softcap > 0,
        num_warps=8, num_stages=3,
    )  # fmt: skip
    return out


@jit
def _rms_norm(x, weight, out, width, eps, x_row, ADD_ONE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    here = column < width
    values = tl.load(x + row * x_row + column, mask=here, other=0.0).to(tl.float32)
    scaled = values * tl.rsqrt(tl.sum(values * values) / width + eps)
    factor = tl.load(weight + column, mask=here, other=0.0).to(tl.float32)
    if ADD_ONE:
        factor += 1.0
    tl.store(out + row * width + column, (scaled * factor).to(out.dtype.element_ty), mask=here)


def rms_norm(x: Tensor, weight: Tensor, eps: float, add_one: bool) -> Tensor:
    """Return x / rms(x) * weight over the last axis (Gemma's norm: * (1 + weight)), computed in float32."""
    import torch

    width = x.shape[-1]
    rows = x.reshape(-1, width)
    out = torch.empty_like(rows)
    block = triton.next_power_of_2(width)
    warps = 4 if block <= 2048 else 8
    _rms_norm[(rows.shape[0],)](rows, weight, out, width, eps, rows.stride(0), ADD_ONE=add_one, BLOCK=block, num_warps=warps)
    return out.view(x.shape)


@jit
def _gated(gate, up, out, width, gate_row, up_row, GELU: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = column < width
    g = tl.load(gate + row * gate_row + column, mask=here, other=0.0).to(tl.float32)
    u = tl.load(up + row * up_row + column, mask=here, other=0.0).to(tl.float32)
    # GELU in its tanh form: 0.5 g (1 + tanh(z)) = g * sigmoid(2 z)
    inner = 1.5957691216057308 * (g + 0.044715 * g * g * g) if GELU else g
    tl.store(out + row * width + column, (g * tl.sigmoid(inner) * u).to(out.dtype.element_ty), mask=here)


def gated(gate: Tensor, up: Tensor, gelu: bool) -> Tensor:
    """Return act(gate) * up for SiLU or tanh-GELU; both (…, width), rows of any one stride."""
    import torch

    width = gate.shape[-1]
    out = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    rows = out.numel() // width
    block = 2048
    _gated[(triton.cdiv(width, block), rows)](gate, up, out, width, gate.stride(-2), up.stride(-2), GELU=gelu, BLOCK=block, num_warps=4)
    return out


@jit
def _rotate(x, cos, sin, heads, x_token, x_head, table_row,
            HALF: tl.constexpr, INTERLEAVED: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_R: tl.constexpr):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    r = tl.arange(0, BLOCK_R)
    h = tl.arange(0, BLOCK_H)
    here = (h < heads)[:, None] & (r < HALF)[None, :]
    c = tl.load(cos + token * table_row + r, mask=r < HALF, other=0.0).to(tl.float32)[None, :]
    s = tl.load(sin + token * table_row + r, mask=r < HALF, other=0.0).to(tl.float32)[None, :]
    base = x + token * x_token + h[:, None] * x_head
    left = base + (2 * r if INTERLEAVED else r)[None, :]
    right = left + (1 if INTERLEAVED else HALF)
    a = tl.load(left, mask=here, other=0.0).to(tl.float32)
    b = tl.load(right, mask=here, other=0.0).to(tl.float32)
    tl.store(left, (a * c - b * s).to(x.dtype.element_ty), mask=here)
    tl.store(right, (b * c + a * s).to(x.dtype.element_ty), mask=here)


def rotate_in_place(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> None:
    """Apply rotary position embedding to x (tokens, heads, width) in place.

    cos and sin are (tokens, rotated width) as transformers makes them: the first half of the columns holds the angles.
    """
    tokens, heads, _ = x.shape
    half = cos.shape[-1] // 2
    _rotate[(tokens,)](
        x, cos, sin, heads, x.stride(0), x.stride(1), cos.stride(0), HALF=half, INTERLEAVED=interleaved,
        BLOCK_H=triton.next_power_of_2(heads), BLOCK_R=triton.next_power_of_2(half), num_warps=4,
    )  # fmt: skip


@jit
def _quantize_rows(x, out, scales, width, x_row, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    here = column < width
    values = tl.load(x + row * x_row + column, mask=here, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(values)), 1.0e-12) / 448.0
    tl.store(scales + row, scale)
    tl.store(out + row * width + column, (values / scale).to(out.dtype.element_ty), mask=here)


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x (rows, width) as float8_e4m3fn and the float32 scale (rows, 1) of each row."""
    import torch

    rows, width = x.shape
    out: Any = torch.empty(x.shape, dtype=torch.float8_e4m3fn, device=x.device)
    scales = torch.empty((rows, 1), dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(width)
    _quantize_rows[(rows,)](x, out, scales, width, x.stride(0), BLOCK=block, num_warps=8 if block > 2048 else 4)
    return out, scales
