"""Reads the checkpoints that lmdeploy's lite writes, and computes with their very weights in plain PyTorch.

AWQ (4-bit weights in groups): unpacked once into ordinary linear layers, so that the rounding of the weights is there and
nothing else. W8A8 (SmoothQuant): weights stay 8-bit integers, activations are rounded to 8 bits by token, and products are
sums of integers, as in lmdeploy's own kernel. Any device will do; the engines of lmdeploy are faster, and their other
roundings (16-bit sums, fused layers) are not here.

Layouts as lmdeploy 0.18.0 writes them: `qweight` (in, out / 8) int32 holds eight columns an element in the order 0 2 4 6 1 3
5 7, `qzeros` (in / group, out / 8) likewise, `scales` (in / group, out); W8A8 has `weight` (out, in) int8 and `scale`
(out, 1).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import JudgeError
from core.judging.transformers.weights import read_config

if TYPE_CHECKING:
    import torch
    from torch import Tensor

log = logging.getLogger(__name__)

# Where column i of eight stands in an element: lmdeploy packs column ORDER[i] into bits 4 i.
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
LEAST_SCALE = 1e-7


class LiteFormat(StrEnum):
    """What lmdeploy's lite calls its formats in config.json."""

    AWQ = "awq"
    W8A8 = "smooth_quant"


def lite_format(folder: Path) -> LiteFormat | None:
    """Return the format of a folder that lmdeploy's lite wrote, None for any other."""
    method = (read_config(folder).get("quantization_config") or {}).get("quant_method")
    return next((known for known in LiteFormat if known == method), None)


def load_lite(folder: Path, form: LiteFormat, device: str, dtype: torch.dtype) -> Any:
    """Return the model of a quantized folder on `device`; other numbers than the quantized ones are `dtype`.

    Raises JudgeError for other than 4-bit AWQ or 8-bit integers.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    settings = read_config(folder)["quantization_config"]
    _check(folder, form, settings)
    config = AutoConfig.from_pretrained(folder)
    del config.quantization_config
    state = dict(_dequantized(folder, form, dtype))
    model = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].from_pretrained(None, config=config, state_dict=state, dtype=dtype)
    if form is LiteFormat.W8A8:
        _put_integers(model, folder)
    return model.to(device)


def _check(folder: Path, form: LiteFormat, settings: dict[str, Any]) -> None:
    bits, kind = settings.get("bits", 4), settings.get("quant_dtype", "int8")
    if (form is LiteFormat.AWQ and (bits != 4 or settings.get("version", "gemm") != "gemm")) or (
        form is LiteFormat.W8A8 and kind != "int8"
    ):
        raise JudgeError(
            f"{folder}: only AWQ with 4 bits and W8A8 with int8 can be read in this process; serve it with lmdeploy.",
            zh=f"{folder}：本进程只能读取 4 位 AWQ 与 int8 的 W8A8；请用 lmdeploy 提供服务。",
        )


def _tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                yield name, file.get_tensor(name)


def _dequantized(folder: Path, form: LiteFormat, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Yield every parameter as ordinary numbers."""
    import torch

    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _tensors(folder):
        module, _, kind = name.rpartition(".")
        if kind in {"qweight", "qzeros", "scales"}:
            parts.setdefault(module, {})[kind] = tensor
            if len(parts[module]) == 3:
                own = parts.pop(module)
                yield f"{module}.weight", unpack_awq(own["qweight"], own["qzeros"], own["scales"]).to(dtype)
        elif form is LiteFormat.W8A8 and kind == "scale":
            continue
        else:
            yield name, tensor.to(dtype) if tensor.is_floating_point() or tensor.dtype is torch.int8 else tensor


def unpack_awq(qweight: Tensor, qzeros: Tensor, scales: Tensor) -> Tensor:
    """Return the weight (out, in) in float32 that 4-bit numbers, zero points and scales stand for."""
    values, zeros = _nibbles(qweight), _nibbles(qzeros)
    group = values.shape[0] // scales.shape[0]
    weight: Tensor = (values - zeros.repeat_interleave(group, 0)) * scales.float().repeat_interleave(group, 0)
    return weight.t().contiguous()


def _nibbles(packed: Tensor) -> Tensor:
    """Return (rows, 8 n) float32 of (rows, n) int32."""
    import torch

    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    found = (packed[..., None] >> shifts) & 15
    ordered = torch.empty_like(found)
    ordered[..., list(ORDER)] = found
    return ordered.flatten(-2).float()


def _put_integers(model: Any, folder: Path) -> None:
    """Put integer layers in place of the linear layers that the folder holds as integers."""
    import torch

    weights: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _tensors(folder):
        module, _, kind = name.rpartition(".")
        if kind == "scale" or tensor.dtype is torch.int8:
            weights.setdefault(module, {})[kind] = tensor
    layer = integer_linear()
    for name, own in weights.items():
        parent, _, child = name.rpartition(".")
        old = model.get_submodule(name)
        setattr(model.get_submodule(parent), child, layer(own["weight"], own["scale"], old.bias))


def integer_linear() -> Any:
    """Return the class of W8A8's linear layer: made here, since torch is imported only where it is needed."""
    import torch

    class IntegerLinear(torch.nn.Module):
        """y = (x rounded to 8 bits by token) (integer weights)^T, scaled back by token and by output channel."""

        weight: Tensor
        scale: Tensor

        def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
            super().__init__()
            self.out_features, self.in_features = weight.shape
            self.register_buffer("weight", weight.contiguous())
            self.register_buffer("scale", scale.float().reshape(1, -1))
            self.bias = bias

        def forward(self, x: Tensor) -> Tensor:
            rows = x.reshape(-1, self.in_features).float()
            token = rows.abs().amax(-1, keepdim=True).clamp(min=LEAST_SCALE) / 127
            rounded = (rows / token).round().clamp(-128, 127).to(torch.int8)
            out = integer_product(rounded, self.weight).float() * token * self.scale
            if self.bias is not None:
                out = out + self.bias
            return out.to(x.dtype).view(*x.shape[:-1], self.out_features)

    return IntegerLinear


def integer_product(rows: Tensor, weight: Tensor) -> Tensor:
    """Return rows (n, in) int8 times weight (out, in) int8 transposed, in int32 on CUDA, else in float32, to seven digits.

    A CPU without instructions for it takes twenty times as long for sums of integers as for the same in float32. CUDA's
    product wants more than 16 rows, in eights.
    """
    import torch

    if rows.device.type != "cuda":
        return torch.nn.functional.linear(rows.float(), weight.float())
    count = rows.shape[0]
    padded = max(32, -(-count // 8) * 8)
    if padded != count:
        rows = torch.nn.functional.pad(rows, (0, 0, 0, padded - count))
    return torch._int_mm(rows, weight.t())[:count]
