"""The cards of this machine, and which of them a job or a panel wants."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from core.judging.placement import spread
from core.types import JudgeSpec, PanelSpec
from training.specs import EvaluateSpec, JobSpec
from webapp.services.training.views import Card

CPU, AUTO, CUDA = "cpu", "auto", "cuda"
# Families whose judges load a model in process; the others compute on the processor or ask a server.
ON_A_CARD = ("transformers", "ordinal_head")
_QUERY = "--query-gpu=index,uuid,name,memory.total,memory.free"


def cards() -> Sequence[Card]:
    """Return the cards that nvidia-smi tells of and CUDA_VISIBLE_DEVICES allows, in the order that torch counts them.

    A card's device is its number for nvidia-smi; the variable may name it by that or by (the beginning of) its UUID. Without that
    program there are none, nor are parts of cards (MIG).
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        command = [tool, _QUERY, "--format=csv,noheader,nounits"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        lines = [[part.strip() for part in line.split(",")] for line in answer.splitlines() if line.strip()]
        found = {
            (index, uuid): Card(f"{CUDA}:{index}", name, float(total) / 1024, float(free) / 1024)
            for index, uuid, name, total, free in lines
        }
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(found.values())
    named = [name.strip() for name in visible.split(",")]
    return tuple(
        card for name in named for (index, uuid), card in found.items() if name == index or (name[:4] == "GPU-" and uuid.startswith(name))
    )


def wanted_by_job(spec: JobSpec) -> str:
    """Return where a job computes: cpu, auto (a card where there is one), cuda (any card) or cuda:N."""
    if isinstance(spec, EvaluateSpec):
        return wanted_by_judge(JudgeSpec(spec.judge.id, spec.judge.id, spec.judge.family, spec.judge.options), measured=True)
    return str(getattr(spec, "device", CPU))


def wanted_by_judge(judge: JudgeSpec, *, measured: bool = False) -> str:
    """Return where a judge computes; `measured`: by an evaluate job, which loads the weights of a server that does not run."""
    if judge.family in ON_A_CARD:
        return str(judge.options.get("device", AUTO))
    if measured and judge.family == "server":
        serve = judge.options.get("serve")
        if isinstance(serve, dict) and Path(str(serve.get("model", ""))).is_dir():
            return AUTO
    return CPU


def wanted_by_panel(panel: PanelSpec, there: Sequence[str]) -> tuple[str, ...]:
    """Return the devices among `there` that the judges of a panel would compute on, spread as a run spreads them."""
    wanted = {resolved(wanted_by_judge(judge), there) for judge in spread(panel, len(there)).judges}
    return tuple(device for device in there if device in wanted)


def resolved(wanted: str, there: Sequence[str]) -> str:
    """Return the device that a wish ends up on: torch takes the first card for `auto` and `cuda`, the N-th for cuda:N."""
    if wanted == AUTO and not there:
        return CPU
    if wanted in {AUTO, CUDA}:
        return there[0] if there else wanted
    number = wanted.removeprefix(f"{CUDA}:")
    return there[int(number)] if number.isdecimal() and int(number) < len(there) else wanted


def served_devices(judges: Sequence[JudgeSpec]) -> tuple[str, ...]:
    """Return the cards that the judges' own model servers are started on, as their `serve` options name them."""
    found: dict[str, None] = {}
    for judge in judges:
        serve = judge.options.get("serve")
        if judge.family == "server" and isinstance(serve, dict):
            named = [part.strip() for part in str(serve.get("devices", "")).split(",") if part.strip()]
            found.update(dict.fromkeys(f"{CUDA}:{part}" for part in named or ["0"]))
    return tuple(found)
