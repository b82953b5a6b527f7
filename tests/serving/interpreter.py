"""Stands for lmdeploy's own environment: takes the command line of `serve api_server` or `vllm serve` and serves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.judging.server.engines import FakeServer


def value(flag: str) -> str:
    return sys.argv[sys.argv.index(flag) + 1]


def main() -> None:
    behaviour = os.environ.get("FAKE_BEHAVIOUR", "")
    print("loading weights", " ".join(sys.argv[1:]), flush=True)
    print("PYTHONPATH", os.environ.get("PYTHONPATH", "unset"), "devices", os.environ.get("CUDA_VISIBLE_DEVICES", "unset"), flush=True)
    if behaviour == "dies":
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", flush=True)
        sys.exit(3)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(os.environ["FAKE_PIDS"]).write_text(f"{os.getpid()} {child.pid}")
    if behaviour == "hangs":
        time.sleep(600)
    time.sleep(0.3)
    vllm = "vllm.entrypoints.cli.main" in sys.argv
    name = value("--served-model-name" if vllm else "--model-name")
    adapters = tuple(pair.split("=")[0] for pair in sys.argv[sys.argv.index("--adapters") + 1 :]) if "--adapters" in sys.argv else ()
    server = FakeServer("vllm" if vllm else f"lmdeploy-{value('--backend')}", model=name, adapters=adapters)
    server.port = int(value("--port" if vllm else "--server-port"))
    server.start()
    print("ready", flush=True)
    time.sleep(2.0 if behaviour == "dies later" else 600)
    sys.exit(9 if behaviour == "dies later" else 0)


if __name__ == "__main__":
    main()
