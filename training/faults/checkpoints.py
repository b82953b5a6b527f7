"""Where a training stands, in one folder: weights that learn, the optimizer's own state, the step, the best so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.faults.learning import Learner
from training.files import whole_folder

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FOLDER = "last"


@dataclass
class Standing:
    """Where a training stands: the next step, the best figure of the validation rows with its weights, and looks since."""

    step: int = 0
    best: float | None = None
    best_state: Mapping[str, Tensor] | None = None
    stale: int = 0


def save(checkpoints: Path, learner: Learner, optimizer: torch.optim.Optimizer, standing: Standing) -> None:
    """Write the folder whole, or leave the older one."""
    import torch
    from safetensors.torch import save_file

    checkpoints.mkdir(parents=True, exist_ok=True)
    with whole_folder(checkpoints / FOLDER) as folder:
        save_file({name: weight.contiguous() for name, weight in learner.state().items()}, folder / "weights.safetensors")
        if standing.best_state is not None:
            save_file({name: weight.contiguous() for name, weight in standing.best_state.items()}, folder / "best.safetensors")
        moments = {
            f"{number}.{name}": value.detach().cpu().contiguous() if isinstance(value, torch.Tensor) else torch.tensor(value)
            for number, state in optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        save_file(moments, folder / "optimizer.safetensors")
        save_file({"cpu": torch.get_rng_state()}, folder / "random.safetensors")
        facts = {"step": standing.step, "best": standing.best, "stale": standing.stale}
        (folder / "standing.json").write_text(json.dumps(facts), encoding="utf-8")


def load(checkpoints: Path, learner: Learner, optimizer: torch.optim.Optimizer) -> Standing:
    """Restore what `save` wrote and return where it stood; a fresh standing where there is nothing."""
    import torch
    from safetensors.torch import load_file

    folder = checkpoints / FOLDER
    if not (folder / "standing.json").is_file():
        return Standing()
    learner.restore(load_file(folder / "weights.safetensors"))
    states: dict[int, dict[str, Any]] = {}
    for name, value in load_file(folder / "optimizer.safetensors").items():
        number, _, key = name.partition(".")
        states.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    torch.set_rng_state(load_file(folder / "random.safetensors")["cpu"])
    facts = json.loads((folder / "standing.json").read_text(encoding="utf-8"))
    best = folder / "best.safetensors"
    return Standing(facts["step"], facts["best"], load_file(best) if best.is_file() else None, facts["stale"])
