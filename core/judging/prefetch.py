"""Reads a model's weights into the page cache before it is loaded, while the model before it is still at work.

Loading then waits for no disk. Only memory that is free anyway is used, and the system takes it back whenever it needs
it; where the files do not fit into it nothing is read, for then their beginning would be pushed out by their end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

CHUNK = 16 << 20
# What is left for everything else: loading makes one shard's tensors at a time, and the database has its cache.
SPARE_BYTES = 4 << 30


def available_memory() -> int:
    """Return the bytes of main memory that can be taken without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def read_ahead(folder: Path, over: threading.Event, available: Callable[[], int] = available_memory, spare: int = SPARE_BYTES) -> int:
    """Read the weight files of `folder` until done or `over` is set; return the bytes read, 0 where memory is short."""
    files = sorted(folder.glob("*.safetensors"))
    size = sum(path.stat().st_size for path in files)
    if size + spare > available():
        log.info("%s is not read ahead: %.1f GiB do not fit into free memory", folder, size / 2**30)
        return 0
    begun, read = time.monotonic(), 0
    buffer = bytearray(CHUNK)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while not over.is_set() and (count := file.readinto(buffer)):
                read += count
    log.info("%s: %.1f GiB read ahead in %.1f s", folder, read / 2**30, time.monotonic() - begun)
    return read
