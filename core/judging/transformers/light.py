"""Import transformers and peft without the libraries that they look for and no judge uses: some two seconds of processor time less."""

from __future__ import annotations

import sys


def import_transformers() -> None:
    """Import transformers so that its models and peft come without what they take along where they find it installed.

    scikit-learn and scipy are for assisted generation, benchmarks and images, and take pandas along. bitsandbytes, which
    peft imports, needs a CUDA card: without one it stays out, and whoever looks for it finds none. Call it before anything
    else imports models or peft; called later, it changes nothing.
    """
    import torch
    from transformers import utils

    utils.is_sklearn_available = utils.is_scipy_available = _unavailable
    if not torch.cuda.is_available():
        sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]


def _unavailable() -> bool:
    return False
