"""Which kinds of job there are. A kind's module is imported when a job of it runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

from core.errors import JobError
from core.training import JobKind
from training.context import JobContext, Product
from training.specs import JobSpec

_FUNCTIONS: Mapping[JobKind, tuple[str, str]] = {
    JobKind.FINE_TUNE: ("training.finetune.job", "fine_tune"),
    JobKind.EVALUATE: ("training.evaluate", "evaluate"),
    JobKind.MERGE: ("training.merge", "merge"),
    JobKind.QUANTIZE: ("training.quantize.job", "quantize"),
    JobKind.FAULT_PRETRAIN: ("training.faults.job", "fault_pretrain"),
    JobKind.HEAD: ("training.heads.job", "train_head_judge"),
}


class JobFunction(Protocol):
    """Does a job of one kind: goes on from its last whole checkpoint, and returns the judge that it made, if it makes one.

    Raises Stopped after saving when it was asked to, and PingpanError where the user can mend what is wrong.
    """

    def __call__(self, spec: JobSpec, context: JobContext) -> Product | None:
        """Do the job."""


def kinds() -> tuple[JobKind, ...]:
    """Return the kinds of job that can run."""
    return tuple(_FUNCTIONS)


def job_function(kind: JobKind) -> JobFunction:
    """Return the function that does jobs of a kind. Raises JobError, with the valid ones, for a kind that has none."""
    if kind not in _FUNCTIONS:
        known = ", ".join(_FUNCTIONS)
        raise JobError(f"Jobs of kind {kind} cannot run here; known are {known}.", zh=f"无法运行 {kind} 类任务；可用的有：{known}。")
    module, name = _FUNCTIONS[kind]
    return cast("JobFunction", getattr(import_module(module), name))
