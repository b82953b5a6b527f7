"""The identity of a process: host, pid and start time, so that a recycled pid is not mistaken; and how it collects garbage."""

from __future__ import annotations

import gc
import os
import signal
import socket
from functools import lru_cache

import psutil

# A process's start time is kept by the kernel in ticks since boot; converting it may differ by a rounding.
_START_TOLERANCE_S = 1.0


# Python's own 700 makes every import of a large library walk through all that was imported before it, again and again.
_OBJECTS_BETWEEN_COLLECTIONS = 10_000


def collect_rarely() -> None:
    """Look for cycles of garbage less often: a fifth of a start's time went into looking through modules, which stay."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 10, 10)


def identity_of(pid: int) -> str:
    """Return the identity of a process of this host, one that ends just now too; "" where there is none."""
    try:
        return f"{socket.gethostname()}|{pid}|{psutil.Process(pid).create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""


@lru_cache(maxsize=4)
def _identity(pid: int) -> str:
    return identity_of(pid)


def current_process() -> str:
    """Return the identity of this process: `host|pid|start time`."""
    return _identity(os.getpid())


def is_alive(identity: str) -> bool | None:
    """Return whether the process `identity` still runs; None where this host cannot tell (another host, another form)."""
    host, _, rest = identity.partition("|")
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


def pid_of(identity: str) -> int | None:
    """Return the number of a process of this host, None for one of another host or another form, and for the first one."""
    host, _, rest = identity.partition("|")
    pid = rest.partition("|")[0]
    # To signal the group 1 is to signal every process there is.
    return int(pid) if host == socket.gethostname() and pid.isdecimal() and int(pid) > 1 else None


def kill(identity: str) -> bool:
    """Kill a process of this host at once, with its group where it leads one; False where it does not run."""
    pid = pid_of(identity)
    if pid is None or not is_alive(identity):
        return False
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def started_at(identity: str) -> float | None:
    """Return when a process began, in seconds since 1970, None where the identity does not say."""
    try:
        return float(identity.rpartition("|")[2])
    except ValueError:
        return None
