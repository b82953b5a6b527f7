"""What the library and runs pages ask, and what they get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.review import Interval
from core.types import Item, LabelledItem, Library, Origin, Outcome, Run


class Standing(StrEnum):
    """Which labelled items to list: those that judges are shown now, or those that were retired."""

    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class LibraryQuery:
    """Which items of a library to list. Empty filters mean all; `page` counts from 0.

    `search` matches inside external id, prompt or text; `like` orders by similarity to a text instead (active items only).
    """

    search: str = ""
    like: str = ""
    dimension_id: str = ""
    label: int | None = None
    origin: Origin | None = None
    author: str = ""
    standing: Standing = Standing.ACTIVE
    page: int = 0
    page_size: int = 50


@dataclass(frozen=True, slots=True)
class LibraryRow:
    """A labelled item in a list: since when it stands there, until when it did, in how many rows' prompts it was shown,
    and its cosine similarity to the text asked for (None without one)."""

    item: LabelledItem
    added_at: datetime
    retired_at: datetime | None
    shown: int
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class LibraryPage:
    """One page of a library and how many items match."""

    rows: tuple[LibraryRow, ...]
    total: int
    page: int
    page_size: int


@dataclass(frozen=True, slots=True)
class LibraryFacets:
    """What there is to filter by, with counts of active items: labels by dimension, origins, authors."""

    labels: Mapping[str, Mapping[int, int]]
    origins: Mapping[Origin, int]
    authors: Mapping[str, int]
    retired: int


@dataclass(frozen=True, slots=True)
class LibraryVersion:
    """One state that a library had: its number from 1, its hash, how many items stood, were added and were retired."""

    sequence: int
    version: str
    size: int
    added: int
    retired: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ExampleDetail:
    """One labelled item with every label that its content had in this library, newest first (itself among them); `reasons`
    says why a label was given, by the item's id."""

    row: LibraryRow
    labels: tuple[LibraryRow, ...]
    reasons: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class LibraryChange:
    """What became of a change: the library after it, the ids added and retired (for `undo`), and how many rows were
    there already. `version` and `previous_version` are equal where nothing changed."""

    library: Library
    previous_version: str
    added: tuple[int, ...] = ()
    retired: tuple[int, ...] = ()
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that people labelled and that the library does not hold with that label; `replaces` is the label it has there."""

    item: Item
    label: int
    author: str
    replaces: int | None


@dataclass(frozen=True, slots=True)
class ExampleUse:
    """A row of a run that was judged with a labelled item in sight."""

    run_id: int
    item_id: int
    external_id: str
    dimension_id: str
    rank: int
    similarity: float
    verdict: int | None
    current: int | None


@dataclass(frozen=True, slots=True)
class ExampleUses:
    """One page of the rows that used a labelled item, and how many there are, by run too."""

    uses: tuple[ExampleUse, ...]
    total: int
    by_run: Mapping[int, int]
    page: int
    page_size: int


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What stands of a run: rows decided, by outcome, and what people did (labelled includes conflicts and settled)."""

    decided: int
    by_outcome: Mapping[Outcome, int]
    labelled: int
    conflicts: int
    settled: int
    changed: int


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in the list of runs; `deleted_at` is None for one that is not deleted, `rate` in rows a second as its progress has it."""

    run: Run
    counts: RunCounts
    deleted_at: datetime | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class CompareQuery:
    """Which rows of two runs to list: those whose verdicts differ, widest first, or all of them in sheet order.

    `first` and `second` keep rows with these verdicts (a cell of the matrix). `page` counts from 0.
    """

    dimension_id: str = ""
    only_different: bool = True
    first: int | None = None
    second: int | None = None
    page: int = 0
    page_size: int = 50


@dataclass(frozen=True, slots=True)
class CompareRow:
    """One row in both runs: its item in each, both verdicts, their expected labels, and what people say of it."""

    first_item: Item
    second_item: Item
    first: int | None
    second: int | None
    first_expected: float | None
    second_expected: float | None
    people: int | None

    @property
    def difference(self) -> int | None:
        """Return the second verdict less the first, None where one is missing."""
        return None if self.first is None or self.second is None else self.second - self.first


@dataclass(frozen=True, slots=True)
class RunQuality:
    """How far a run's verdicts are from what is known: people's labels, else the sheet's own; MAE with a bootstrap interval."""

    n: int
    exact: float | None
    mae: Interval | None


@dataclass(frozen=True, slots=True)
class Compared:
    """Two runs side by side on one dimension: `matrix[i][j]` counts rows with labels[i] in the first and labels[j] in the second."""

    dimension_id: str
    labels: tuple[int, ...]
    matrix: tuple[tuple[int, ...], ...]
    n: int
    equal: int
    mean_difference: float | None
    first_quality: RunQuality
    second_quality: RunQuality

    def cell(self, row: int, column: int) -> CompareQuery:
        """Return the query of the rows in `matrix[row][column]`."""
        return CompareQuery(self.dimension_id, only_different=False, first=self.labels[row], second=self.labels[column])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs row by row. Rows are the same by content, id breaking ties, else by id and dimension (their text changed:
    `changed` counts those). `matched` counts both, `only_first` and `only_second` those without a counterpart."""

    first: Run
    second: Run
    matched: int
    changed: int
    only_first: int
    only_second: int
    dimensions: tuple[Compared, ...]
    rows: tuple[CompareRow, ...]
    total: int
    page: int
    page_size: int
