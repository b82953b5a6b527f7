"""How to train, as it is chosen on the training page: recipe, base model, settings, card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.training import JobKind, JobState, Snapshot
from core.types import Dimension, DimensionKind, LocalText
from training.faults.spec import FaultPretrainSpec
from training.heads.spec import HeadSpec
from training.presets import PRESETS
from training.specs import FineTuneSpec
from webapp.pages.training_address import TrainingAddress
from webapp.pages.training_answers import AnswersOffer, answers_offer
from webapp.pages.training_form import FieldKind, Form, FormField, form, single_field
from webapp.pages.training_names import AUTO, HEAD_NAMES, PROCESSOR, device_words, shown_name
from webapp.pages.translate import Translator
from webapp.services.training.views import Card
from webapp.workbench import Workbench

READERS_OFFERED = 200
# The setting of a pretraining that decides how long it takes.
MADE_ROWS = "rows"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named set of settings: `values` over the defaults of `spec`."""

    id: str
    names: LocalText
    words: LocalText
    spec: type[FineTuneSpec] | type[HeadSpec]
    values: Mapping[str, object]


HEAD = Recipe(
    "head",
    HEAD_NAMES,
    {
        "zh": "读全文的分级头，直接给出各级概率；给出干净文本时先学看病句。一次一个维度。",
        "en": "A grading head over the whole text; given clean texts, it first learns to see faults. One dimension at a time.",
    },
    HeadSpec,
    {},
)
RECIPES = (*(Recipe(preset.id, preset.names, preset.words, FineTuneSpec, preset.values) for preset in PRESETS), HEAD)


def chosen_recipe(address: TrainingAddress) -> Recipe:
    """Return the recipe that an address names, else the default one."""
    return next((recipe for recipe in RECIPES if recipe.id == address.preset), RECIPES[0])


@dataclass(frozen=True, slots=True)
class PresetLink:
    """A recipe that can be chosen."""

    name: str
    words: str
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class CardView:
    """A card as it can be chosen; `holder` says who has it, "" while it is free."""

    device: str
    words: str
    memory: str
    holder: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Setup:
    """The part of the page that is drawn with it and then left to the reader."""

    presets: Sequence[PresetLink]
    model: str
    models: Sequence[tuple[str, str]]
    method: FormField | None
    revision: FormField | None
    dimension_choices: Sequence[tuple[str, str, bool]]
    dimension: FormField | None
    reader: FormField | None
    texts: str
    made_rows: FormField | None
    answers: AnswersOffer | None
    form: Form


def setup(
    workbench: Workbench, t: Translator, address: TrainingAddress, snapshot: Snapshot | None, dimensions: Mapping[str, Dimension]
) -> Setup:
    """Return the settings' part for an address."""
    recipe = chosen_recipe(address)
    head = recipe.spec is HeadSpec
    there = [dimensions[one] for one in (snapshot.counts if snapshot else ()) if one in dimensions]
    wanted = set(lines_of(address.settings.get("dimensions", ""))) or {one.id for one in there}
    return Setup(
        presets=[
            PresetLink(
                t.pick(one.names), t.pick(one.words), address.moved(preset=one.id, settings=_kept(address)).url(t.language), one == recipe
            )
            for one in RECIPES
        ],
        model=base_model(workbench, address),
        models=known_models(workbench, t),
        method=single_field(t, recipe.spec, "method", recipe.values, address.settings),
        revision=single_field(t, recipe.spec, "revision", recipe.values, address.settings),
        dimension_choices=[] if head else [(one.id, one.name(t.language), one.id in wanted) for one in there],
        dimension=_graded(t, address, there) if head else None,
        reader=_reader(workbench, t, address) if head else None,
        texts=address.settings.get("texts", ""),
        made_rows=single_field(t, FaultPretrainSpec, MADE_ROWS, {}, address.settings) if head else None,
        answers=answers_offer(workbench, t, address) if head else None,
        form=form(t, recipe.spec, recipe.values, address.settings),
    )


def graded_dimension(address: TrainingAddress, there: Sequence[Dimension]) -> str:
    """Return the dimension that a head learns: the chosen one, else the first ordered one, else ""."""
    ordered = [one.id for one in there if one.kind is DimensionKind.ORDINAL]
    chosen = address.settings.get("dimension", "")
    return chosen if chosen in ordered else next(iter(ordered), "")


def _graded(t: Translator, address: TrainingAddress, there: Sequence[Dimension]) -> FormField:
    ordered = [one for one in there if one.kind is DimensionKind.ORDINAL]
    found = single_field(t, HeadSpec, "dimension", {}, address.settings)
    options = tuple((one.id, one.name(t.language)) for one in ordered)
    default = graded_dimension(TrainingAddress(), there)
    return replace(found, kind=FieldKind.CHOICE, options=options, value=graded_dimension(address, there), default=default)


def _reader(workbench: Workbench, t: Translator, address: TrainingAddress) -> FormField:
    """Return the choice of a fault pretraining to go on from: none, or one that is done."""
    found = single_field(t, HeadSpec, "reader", {}, address.settings)
    done = [
        view.job
        for view in workbench.jobs.jobs(READERS_OFFERED)
        if view.job.kind is JobKind.FAULT_PRETRAIN and view.job.state is JobState.DONE
    ]
    options = (("", t("training.no_reader")), *((str(job.folder / "output"), f"#{job.id} {shown_name(t, job.name)}") for job in done))
    return replace(found, kind=FieldKind.CHOICE, options=options)


def _kept(address: TrainingAddress) -> Mapping[str, str]:
    """Return the settings that stay when another recipe is chosen: what is trained and where, not how."""
    return {
        name: value
        for name, value in address.settings.items()
        if name in {"model", "revision", "dimensions", "dimension", "device", "name"}
    }


def lines_of(text: str) -> tuple[str, ...]:
    """Return the lines of a text that hold something."""
    return tuple(part for part in text.splitlines() if part.strip())


def known_models(workbench: Workbench, t: Translator) -> list[tuple[str, str]]:
    """Return the base models that the panels' judges are made of, with the judges' names."""
    found: dict[str, list[str]] = {}
    for panel in workbench.panels():
        for judge in panel.judges:
            model = judge.options.get("model")
            if isinstance(model, str) and judge.family == "transformers":
                found.setdefault(model, []).append(judge.named(t.language))
    return [(model, t("punctuation.list").join(dict.fromkeys(judges))) for model, judges in found.items()]


def base_model(workbench: Workbench, address: TrainingAddress) -> str:
    """Return the base model as it was typed, else that of the default panel's first language-model judge, else ""."""
    typed = address.settings.get("model")
    if typed is not None:
        return typed
    panels = list(workbench.panels())
    own = [judge.options.get("model") for judge in (panels[0].judges if panels else ()) if judge.family == "transformers"]
    return str(own[0]) if own and own[0] else ""


def cards(workbench: Workbench, t: Translator, address: TrainingAddress) -> list[CardView]:
    """Return the cards that a job can be put on, with who holds each."""
    chosen = address.settings.get("device", AUTO)
    found = [CardView(AUTO, t("training.card_auto"), t("training.card_auto_words"), "", chosen == AUTO)]
    for card in workbench.jobs.cards():
        words = device_words(t, card.device) if card.device == PROCESSOR else card.name or card.device
        found.append(
            CardView(
                card.device,
                words if card.device == PROCESSOR or card.device in words else f"{card.device} · {words}",
                _card_memory(t, card),
                t.pick(card.holder),
                chosen == card.device,
            )
        )
    return found


def _card_memory(t: Translator, card: Card) -> str:
    if card.total_gib is None:
        return ""
    free = "?" if card.free_gib is None else f"{card.free_gib:.1f}"
    return t("training.card_memory", free=free, total=f"{card.total_gib:.1f}")
