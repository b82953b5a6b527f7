"""The identity of a process that works on runs: host, pid and start time, so that a recycled pid is not mistaken."""

from __future__ import annotations

import os
import socket
from functools import lru_cache

import psutil

# A process's start time is kept by the kernel in ticks since boot; converting it may differ by a rounding.
_START_TOLERANCE_S = 1.0


@lru_cache(maxsize=4)
def _identity(pid: int) -> str:
    return f"{socket.gethostname()}|{pid}|{psutil.Process(pid).create_time():.2f}"


def current_worker() -> str:
    """Return the identity of this process, as `runs.worker` keeps it: `host|pid|start time`."""
    return _identity(os.getpid())


def is_alive(worker: str) -> bool | None:
    """Return whether the process `worker` still runs; None where this host cannot tell (another host, another form)."""
    host, _, rest = worker.partition("|")
    pid, _, started = rest.partition("|")
    if host != socket.gethostname() or not pid.isdecimal():
        return None
    try:
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(started)) <= _START_TOLERANCE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except (psutil.AccessDenied, ValueError):
        return None
