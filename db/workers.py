"""The process that works on a run, by identity, as `runs.worker` keeps it."""

from __future__ import annotations

from core.processes import current_process as current_worker
from core.processes import is_alive

__all__ = ["current_worker", "is_alive"]
