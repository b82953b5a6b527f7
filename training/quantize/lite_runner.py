"""Runs lmdeploy's lite on the user's own prompts. This file is run by lmdeploy's interpreter and knows nothing of Pingpan.

    python lite_runner.py PLAN.json

PLAN.json: {"method": "auto_awq" | "smooth_quant", "parent": pid, "calibration": file of [[token id, ...], ...] or "",
"arguments": {what the function of lmdeploy.lite takes}}. lite itself knows only data sets of a hub: its loader is
replaced by one that returns the given windows of tokens, all of one length.
"""

# lmdeploy is in another environment than the one that checks types.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any


def main(path: str) -> None:
    """Do what the plan says."""
    plan = json.loads(Path(path).read_text(encoding="utf-8"))
    _end_with(int(plan["parent"]))
    import lmdeploy.lite.apis.calibrate as calibrate
    import torch

    if plan["calibration"]:
        windows = json.loads(Path(plan["calibration"]).read_text(encoding="utf-8"))
        samples = [torch.tensor([window], dtype=torch.long) for window in windows]

        def own_prompts(*_: Any, **__: Any) -> list[Any]:
            return samples

        calibrate.get_calib_loaders = own_prompts
    if plan["method"] == "auto_awq":
        from lmdeploy.lite.apis.auto_awq import auto_awq as quantize
    else:
        from lmdeploy.lite.apis.smooth_quant import smooth_quant as quantize
    sys.stdout.write(f"Quantizing by lmdeploy.lite {plan['method']}\n")
    quantize(**plan["arguments"])


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone: nobody would take what it makes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(70)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
