"""Where a panel's judges work: models spread over the cards, and which judges can be asked side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from core.types import JudgeSpec, PanelSpec

TOGETHER = "together"
AUTO, CPU, CARD = "auto", "cpu", "cuda"
IN_PROCESS = frozenset({"transformers", "ordinal_head"})
SERVER = "server"
# What a judge is counted as that states no memory.
UNKNOWN_GIB = 8.0


def needs_cards(panel: PanelSpec) -> bool:
    """Return whether the number of cards matters: some judge's model runs in this process."""
    return any(spec.family in IN_PROCESS for spec in panel.judges)


def spread(panel: PanelSpec, cards: int) -> PanelSpec:
    """Return the panel with a card for every model that leaves it open (`device: auto`) and is loaded with the others.

    The largest goes first, each to the card with the least on it, by `memory_gib`; what names its own device keeps it.
    Panels in turn, and machines without a card, are left as they are.
    """
    if panel.schedule != TOGETHER or not cards:
        return panel
    load = dict.fromkeys((f"{CARD}:{number}" for number in range(cards)), 0.0)
    mine = [spec for spec in panel.judges if spec.family in IN_PROCESS]
    for spec in mine:
        device = _named(_device(spec))
        if device in load:
            load[device] += _memory(spec)
    chosen: dict[str, str] = {}
    for spec in sorted((spec for spec in mine if _device(spec) == AUTO), key=lambda spec: (-_memory(spec), spec.id)):
        device = min(load, key=lambda name: (load[name], int(name.partition(":")[2])))
        chosen[spec.id] = device
        load[device] += _memory(spec)
    return replace(panel, judges=tuple(_moved(spec, chosen.get(spec.id)) for spec in panel.judges))


def lanes(panel: PanelSpec, cards: int) -> Mapping[str, str]:
    """Return the lane of every judge that may work beside others: each server, and each device with all its models.

    The embedded judges have none: they share the processor, and are through a row in less than a millisecond.
    """
    found: dict[str, str] = {}
    for spec in panel.judges:
        if spec.family == SERVER:
            found[spec.id] = f"{SERVER}:{spec.id}"
        elif spec.family in IN_PROCESS:
            device = _device(spec)
            found[spec.id] = _named(device) if device != AUTO else f"{CARD}:0" if cards else CPU
    return MappingProxyType(found)


def count_cards() -> int:
    """Return the number of CUDA devices, 0 without PyTorch."""
    try:
        import torch
    except ImportError:
        return 0
    return int(torch.cuda.device_count())


def _device(spec: JudgeSpec) -> str:
    return str(spec.options.get("device") or AUTO)


def _named(device: str) -> str:
    return f"{CARD}:0" if device == CARD else device


def _memory(spec: JudgeSpec) -> float:
    stated = spec.options.get("memory_gib")
    return float(stated) if isinstance(stated, int | float) else UNKNOWN_GIB


def _moved(spec: JudgeSpec, device: str | None) -> JudgeSpec:
    return spec if device is None else replace(spec, options={**spec.options, "device": device})
