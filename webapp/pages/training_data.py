"""The data card of the training page: the chosen snapshot with its balance and rows, or the making of a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime

from core.errors import PingpanError
from core.training import Snapshot, Split, TrainingRow
from training.formats import ExportFormat
from webapp.pages.training_address import BALANCE, EXAMPLES, HELD_OUT, SEED, DataTab, MakeChoices, TrainingAddress
from webapp.pages.translate import Translator
from webapp.services.training.snapshots import SnapshotChoices, SnapshotFacets, SnapshotPreview
from webapp.workbench import Workbench

ROWS_SHOWN = 10
SAMPLES_SHOWN = 4
Counts = Mapping[str, Mapping[Split, Mapping[int, int]]]


@dataclass(frozen=True, slots=True)
class TabLink:
    """A tab, with how much is behind it where that is a number of rows."""

    name: str
    href: str
    chosen: bool
    count: int = 0


@dataclass(frozen=True, slots=True)
class LabelBar:
    """One label of a dimension: heights in percent of the largest bar, and the number of its rows."""

    label: int
    train: float
    held: float
    count: int
    words: str


@dataclass(frozen=True, slots=True)
class DimensionBars:
    """The class balance of one dimension."""

    name: str
    total: int
    bars: tuple[LabelBar, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Option:
    """One value that can be ticked; `count` is the number of its rows where it is known."""

    value: str
    words: str
    on: bool
    count: int | None = None


@dataclass(frozen=True, slots=True)
class OptionList:
    """What rows can be filtered by; `name` is the parameter of the URL."""

    name: str
    title: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class NumberField:
    """A number that a snapshot is made with."""

    name: str
    label: str
    hint: str
    value: str
    default: str


@dataclass(frozen=True, slots=True)
class MakePreview:
    """What freezing would give; `notes` are sentences."""

    train: int
    held: int
    figures: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataView:
    """The whole card, as its template names it."""

    tabs: Sequence[TabLink]
    make: bool
    address: TrainingAddress
    names: Mapping[str, str]
    snapshots: Sequence[Snapshot] = ()
    snapshot: Snapshot | None = None
    balance: Sequence[DimensionBars] = ()
    rows: bool = False
    rows_href: str = ""
    formats: Sequence[tuple[str, str]] = ()
    split_tabs: Sequence[TabLink] = ()
    page_rows: Sequence[TrainingRow] = ()
    row_pages: int = 1
    rows_previous: str = ""
    rows_next: str = ""
    lists: Sequence[OptionList] = ()
    numbers: Sequence[NumberField] = ()
    choices: MakeChoices = field(default_factory=MakeChoices)
    preview: MakePreview | None = None
    problem: str = ""
    name: str = ""
    lineages: Sequence[str] = ()
    dimensions: Sequence[tuple[str, str]] = ()

    def values(self) -> dict[str, object]:
        """Return what the template is given."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def balance_bars(t: Translator, counts: Counts, names: Mapping[str, str], labels: Mapping[str, Sequence[int]]) -> tuple[DimensionBars, ...]:
    """Return the class balance by dimension; held-out bars are drawn on the scale of the training bars."""
    found = []
    for dimension, splits in counts.items():
        train, held = splits.get(Split.TRAIN, {}), splits.get(Split.HELD_OUT, {})
        largest = max([1, *train.values(), *held.values()])
        drawn = []
        for label in sorted({*labels.get(dimension, ()), *train, *held}):
            one, other = train.get(label, 0), held.get(label, 0)
            words = t("training.bar_words", label=label, train=one, held=other)
            drawn.append(LabelBar(label, 100 * one / largest, 100 * other / largest, one + other, words))
        name = names.get(dimension, dimension)
        total = sum(train.values()) + sum(held.values())
        said = t("punctuation.semicolon").join(bar.words for bar in drawn)
        found.append(DimensionBars(name, total, tuple(drawn), f"{name}{t('punctuation.colon')}{said}"))
    return tuple(found)


def data_view(workbench: Workbench, t: Translator, address: TrainingAddress, snapshot: Snapshot | None) -> DataView:
    """Return the card for an address; without a snapshot, or coming with corrections, it opens with the making of one."""
    names = {dimension.id: dimension.name(t.language) for dimension in workbench.dimensions()}
    make = making(address, snapshot)
    tabs = (
        TabLink(t("training.use"), address.moved(tab=DataTab.USE, source="").url(t.language), not make),
        TabLink(t("training.make"), address.moved(tab=DataTab.MAKE, rows=False).url(t.language), make),
    )
    view = DataView(tabs, make, address, names, dimensions=list(names.items()))
    return _make(workbench, t, view) if make else _use(workbench, t, view, snapshot)


def making(address: TrainingAddress, snapshot: Snapshot | None) -> bool:
    """Return whether the card shows the making of a snapshot."""
    return address.tab is DataTab.MAKE or (address.tab is None and (snapshot is None or bool(address.source)))


def _use(workbench: Workbench, t: Translator, view: DataView, snapshot: Snapshot | None) -> DataView:
    address = view.address
    if snapshot is None:
        return view
    here = address.moved(snapshot=snapshot.id, tab=DataTab.USE)
    labels = {dimension.id: dimension.labels for dimension in workbench.dimensions()}
    view = replace(
        view,
        snapshots=workbench.snapshots.snapshots(),
        snapshot=snapshot,
        balance=balance_bars(t, snapshot.counts, view.names, labels),
        rows=address.rows,
        rows_href=here.moved(rows=not address.rows).url(t.language),
        formats=[(one.value, t.member("export", one)) for one in ExportFormat],
    )
    return _with_rows(workbench, t, view, here, snapshot) if address.rows else view


def _with_rows(workbench: Workbench, t: Translator, view: DataView, here: TrainingAddress, snapshot: Snapshot) -> DataView:
    split, page = view.address.split, view.address.page
    sizes = {Split.TRAIN: snapshot.train_rows, Split.HELD_OUT: snapshot.held_out_rows}
    pages = max(1, -(-sizes[split] // ROWS_SHOWN))
    at = min(page, pages)

    def href(number: int) -> str:
        return replace(here, rows=True, split=split, page=number).url(t.language) if 1 <= number <= pages else ""

    return replace(
        view,
        address=replace(view.address, page=at),
        split_tabs=[
            TabLink(t.member("split", one), here.moved(rows=True, split=one).url(t.language), one is split, sizes[one]) for one in Split
        ],
        page_rows=workbench.snapshots.rows(snapshot.id, split, at - 1, ROWS_SHOWN),
        row_pages=pages,
        rows_previous=href(at - 1),
        rows_next=href(at + 1),
    )


def choices_of(make: MakeChoices) -> SnapshotChoices:
    """Return the desk's choices for what stands in the form."""
    return SnapshotChoices(make.filter, make.held_out, make.example_count, make.seed_number, make.lineage)


def corrections_in(workbench: Workbench) -> int:
    """Return how many labelled rows are people's corrections; one that is in a library too counts once."""
    return workbench.review.corrections()


def _make(workbench: Workbench, t: Translator, view: DataView) -> DataView:
    choices = view.address.make
    view = replace(
        view, choices=choices, numbers=_numbers(t, choices), name=t("training.snapshot_default", day=f"{datetime.now():%Y-%m-%d %H:%M}")
    )
    try:
        libraries = {library.id: library.name for library in workbench.libraries()}  # the sample library comes in by this
        facets = workbench.snapshots.facets()
        view = replace(view, lists=_lists(t, choices, facets, view.names, libraries), lineages=facets.lineages)
        found = workbench.snapshots.preview(choices_of(choices), samples=SAMPLES_SHOWN)
    except PingpanError as error:
        return replace(view, problem=t.error(error))
    labels = {dimension.id: dimension.labels for dimension in workbench.dimensions()}
    return replace(
        view,
        preview=MakePreview(found.train_rows, found.held_out_rows, ((t("training.families"), f"{found.families:,}"),), _notes(t, found)),
        balance=balance_bars(t, found.counts, view.names, labels),
        page_rows=found.samples,
    )


def _notes(t: Translator, found: SnapshotPreview) -> tuple[str, ...]:
    held = (t("training.held_as", id=found.lineage_of),) if found.lineage_of is not None else ()
    return held + tuple(t("training.left_out", count=f"{group.count:,}", reason=t.pick(group.reason.words)) for group in found.left_out)


def _lists(
    t: Translator, choices: MakeChoices, facets: SnapshotFacets, names: Mapping[str, str], libraries: Mapping[int, str]
) -> tuple[OptionList, ...]:
    groups: list[tuple[str, str, dict[str, tuple[str, int]], set[str]]] = [
        (
            "library",
            t("training.libraries"),
            {str(key): (libraries.get(key, f"#{key}"), count) for key, count in facets.libraries.items() if key is not None},
            {str(key) for key in choices.libraries},
        ),
        (
            "dimension",
            t("training.dimensions"),
            {key: (names.get(key, key), count) for key, count in facets.dimensions.items()},
            set(choices.dimensions),
        ),
        (
            "origin",
            t("training.origins"),
            {key.value: (t.member("origin", key), count) for key, count in facets.origins.items()},
            {key.value for key in choices.origins},
        ),
        ("author", t("training.authors"), {key: (key, count) for key, count in facets.authors.items() if key}, set(choices.authors)),
    ]
    return tuple(
        OptionList(name, title, tuple(Option(key, words, not on or key in on, count) for key, (words, count) in sorted(options.items())))
        for name, title, options, on in groups
    )


def _numbers(t: Translator, choices: MakeChoices) -> tuple[NumberField, ...]:
    fields_ = (
        ("held", "training.held", "training.held_hint", choices.held, HELD_OUT),
        ("examples", "training.make_examples", "training.make_examples_hint", choices.examples, EXAMPLES),
        ("balance", "training.balance", "training.balance_hint", choices.balance, BALANCE),
        ("seed", "training.seed", "training.seed_hint", choices.seed, SEED),
    )
    return tuple(NumberField(name, t(label), t(hint), value, default) for name, label, hint, value, default in fields_)
