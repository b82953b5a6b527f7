"""Which attention kernels a training may use."""

from __future__ import annotations


def avoid_broken_backward() -> None:
    """Leave cuDNN's attention out for the rest of this process.

    On Hopper cards its backward pass gives NaN for masked batches whose width is 64 more than a multiple of 128, where scores are very
    low, as Qwen2's are (github.com/pytorch/pytorch/issues/196678; torch 2.11). One such batch would turn all weights into NaN.
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)
