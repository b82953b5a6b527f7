"""8-bit linear layers on a CPU: weights once, activations as they come (dynamic quantization)."""

from __future__ import annotations

import warnings
from typing import Any

# What goes into the last layer of a block's feed-forward part has single numbers so large that 8 bits lose the rest.
KEPT = ("down_proj",)


def quantize_linears(model: Any) -> Any:
    """Return the model with the weights of its linear layers in 8 bits, one scale a row; those of `KEPT` stay as they are."""
    import torch
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    if "fbgemm" in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = "fbgemm"
    chosen = {
        name: per_channel_dynamic_qconfig
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and not name.endswith(KEPT)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch announces that it moves to another package
        return quantize_dynamic(model, chosen, dtype=torch.qint8)  # type: ignore[no-untyped-call]
