"""What the settings of the training page would start: the specs, the command, the memory they need, or what is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from core.errors import PingpanError
from core.training import Snapshot, Split
from core.types import Dimension
from training.faults.spec import FaultPretrainSpec, Made
from training.heads.spec import HeadSpec
from training.specs import FineTuneSpec
from webapp.pages.training_address import TrainingAddress
from webapp.pages.training_answers import ANSWER_WEIGHT
from webapp.pages.training_form import Fault, read_form, text_of
from webapp.pages.training_names import AUTO, device_words
from webapp.pages.training_setup import MADE_ROWS, READERS_OFFERED, Recipe, base_model, chosen_recipe, graded_dimension, lines_of
from webapp.pages.translate import Translator
from webapp.services.training.chains import PRODUCT
from webapp.services.training.views import Card
from webapp.workbench import Workbench

GIB = 1 << 30
# What a pretraining that comes before a head takes over from its settings.
SHARED = ("model", "revision", "attention", "rank", "alpha", "dropout", "dtype", "device", "seed")
PARTS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Memory:
    """The estimate against the card; `over` says what to do where it does not fit, "" where it does."""

    needed: str
    against: str
    percent: float
    parts: str
    over: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be started: the spec (None while something is wrong), a pretraining before it, the command, and what it needs.

    `warning` says what does not keep it from being started and may spoil what is measured of it, "" for nothing.
    """

    spec: FineTuneSpec | HeadSpec | None = None
    before: FaultPretrainSpec | None = None
    faults: tuple[Fault, ...] = ()
    command: str = ""
    memory: Memory | None = None
    memory_missing: str = ""
    updates: str = ""
    need: str = ""
    warning: str = ""


def plan(
    workbench: Workbench, t: Translator, address: TrainingAddress, snapshot: Snapshot | None, dimensions: Mapping[str, Dimension]
) -> Plan:
    """Return what the page's settings would start, or what is wrong with them."""
    if snapshot is None:
        return Plan(need=t("training.need_snapshot"))
    recipe = chosen_recipe(address)
    model = base_model(workbench, address).strip()
    if not model and "model" not in address.settings:
        return Plan(need=t("training.need_model"))
    texts = lines_of(address.settings.get("texts", "")) if recipe.spec is HeadSpec else ()
    reader = address.settings.get("reader", "")
    placed: dict[str, object] = {
        "model": model,
        "snapshot": snapshot.folder,
        "dimensions": lines_of(address.settings.get("dimensions", "")),
        "dimension": graded_dimension(address, [dimensions[one] for one in snapshot.counts if one in dimensions]),
        "reader": PRODUCT if texts else reader or None,
        "name": address.settings.get("name", "").strip() or _auto_name(t, recipe, address, model),
    }
    spec, faults = read_form(t, recipe.spec, recipe.values, address.settings, placed)
    if spec is None:
        return Plan(faults=faults)
    before: FaultPretrainSpec | None = None
    if isinstance(spec, HeadSpec) and texts:
        before, faults = _pretraining(t, spec, texts, address, dimensions.get(spec.dimension))
        if before is None:
            return Plan(faults=faults)
    memory, missing = _memory_or_why(workbench, t, spec)
    updates = _updates(t, spec, snapshot) if isinstance(spec, FineTuneSpec) else ""
    warning = _stranger(workbench, t, spec, snapshot) if isinstance(spec, HeadSpec) and spec.reader else ""
    return Plan(spec, before, (), workbench.jobs.command_of(before or spec), memory, missing, updates, warning=warning)


def _stranger(workbench: Workbench, t: Translator, spec: HeadSpec, snapshot: Snapshot) -> str:
    """Return a warning where a head's reader kept other rows held out than the head's snapshot: it may have read those of it."""
    job = next((view.job for view in workbench.jobs.jobs(READERS_OFFERED) if view.job.folder / "output" == spec.reader), None)
    own = next((one for one in workbench.snapshots.snapshots() if job and one.id == job.snapshot_id), None)
    if job is None or own is None or own.lineage == snapshot.lineage:
        return ""
    return t("training.reader_stranger", job=job.id, theirs=own.lineage, own=snapshot.lineage)


def _auto_name(t: Translator, recipe: Recipe, address: TrainingAddress, model: str) -> str:
    method = address.settings.get("method", text_of(recipe.values.get("method", "lora")))
    words = t.pick(recipe.names) if recipe.spec is HeadSpec else t.member("training_option", method)
    short = PurePosixPath(Path(model).name or model).name or "?"
    return t("training.auto_name", method=words, model=short)[:120]


def _pretraining(
    t: Translator, spec: HeadSpec, texts: tuple[str, ...], address: TrainingAddress, dimension: Dimension | None
) -> tuple[FaultPretrainSpec | None, tuple[Fault, ...]]:
    """Return the pretraining on clean texts that a head goes on from, or what is wrong; the snapshot's held-out rows stay unseen.

    Where the dimension has prompts, it learns defects of pairs: of the sheets' rows of that dimension.
    """
    values = {name: getattr(spec, name) for name in SHARED}
    if dimension is not None and dimension.needs_prompt:
        values |= {"makes": Made.DEFECTS, "dimension": dimension.id}
    given = {name: text for name, text in address.settings.items() if name in {MADE_ROWS, ANSWER_WEIGHT}}
    return read_form(t, FaultPretrainSpec, {}, given, {**values, "name": spec.name, "texts": texts, "snapshot": spec.snapshot})


def _updates(t: Translator, spec: FineTuneSpec, snapshot: Snapshot) -> str:
    rows = sum(
        number
        for dimension, splits in snapshot.counts.items()
        if not spec.dimensions or dimension in spec.dimensions
        for number in splits.get(Split.TRAIN, {}).values()
    )
    batch = spec.batch_size * spec.accumulation
    steps = math.ceil(rows * (1 - spec.validation) / batch) * spec.epochs
    return t("training.updates", batch=batch, steps=f"{min(math.ceil(steps), spec.max_steps or math.inf):,}")


def _memory_or_why(workbench: Workbench, t: Translator, spec: FineTuneSpec | HeadSpec) -> tuple[Memory | None, str]:
    if not isinstance(spec, FineTuneSpec):
        return None, ""
    card, available = _card(workbench, spec.device)
    # The processor counts in 32 bits where a card counts in 16: "auto" is what it will become here.
    asked = spec if card.device != "cpu" else spec.model_copy(update={"device": "cpu"})
    try:
        found = workbench.jobs.estimate(asked)
    except PingpanError as error:
        return None, t.error(error)
    parts = [
        t("training.part", name=t.member("training_part", name), gib=f"{size / GIB:.1f}")
        for name, size in list(found.parts().items())[:PARTS_SHOWN]
        if size >= GIB / 20
    ]
    return Memory(
        needed=t("training.needs", gib=f"{found.total / GIB:.1f}"),
        against=t("training.of_card", gib=f"{available / GIB:.1f}", device=device_words(t, card.device)),
        percent=min(100.0, 100 * found.total / available) if available else 100.0,
        parts=" · ".join(parts),
        over=t.pick(found.advice(available)),
    ), ""


def _card(workbench: Workbench, device: str) -> tuple[Card, int]:
    """Return the card that a job will get, and its memory in bytes: the whole of it, since a job waits until the card is free."""
    there = list(workbench.jobs.cards())
    found = next((card for card in there if card.device == device), None)
    if found is None:
        on_cards = [card for card in there if card.device != "cpu"]
        found = max(on_cards, key=lambda card: card.total_gib or 0.0, default=None) if device in {AUTO, "cuda"} else None
    found = found or next((card for card in there if card.device == "cpu"), Card("cpu", "cpu"))
    if found.total_gib is not None:
        return found, int(found.total_gib * GIB)
    return found, psutil.virtual_memory().total if found.device == "cpu" else 0
