"""The state of the training page as the query string of its URL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import urlencode

from core.training import SnapshotFilter, Split
from core.types import Origin
from webapp.pages.address import member_of, parse_query, whole_number
from webapp.pages.translate import Language

SETTING_PREFIX = "set."
CORRECTIONS = "corrections"
HELD_OUT, SEED, EXAMPLES, BALANCE, LINEAGE = "0.2", "0", "0", "1.0", "main"
MOST_LISTED = 60
LONGEST_SETTING = 400


class DataTab(StrEnum):
    """What the data card shows: a snapshot to train on, or the making of one."""

    USE = "use"
    MAKE = "make"


@dataclass(frozen=True, slots=True)
class MakeChoices:
    """What a new snapshot is made of, as it stands in the form; numbers stay text until they are used."""

    libraries: tuple[int, ...] = ()
    dimensions: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()
    authors: tuple[str, ...] = ()
    differing: bool = False
    held: str = HELD_OUT
    examples: str = EXAMPLES
    balance: str = BALANCE
    seed: str = SEED
    lineage: str = LINEAGE

    @property
    def filter(self) -> SnapshotFilter:
        """Return which rows these choices take."""
        balance = _number(self.balance, 1.0)
        return SnapshotFilter(
            self.libraries, self.dimensions, self.origins, self.authors, not self.differing, balance if 0 < balance <= 1 else 1.0
        )

    @property
    def held_out(self) -> float:
        """Return the share of the held-out rows."""
        return min(max(_number(self.held, float(HELD_OUT)), 0.0), 0.9)

    @property
    def example_count(self) -> int:
        """Return the number of examples in each prompt."""
        return min(50, whole_number(self.examples))

    @property
    def seed_number(self) -> int:
        """Return the seed of the split."""
        return whole_number(self.seed)


def _number(text: str, otherwise: float) -> float:
    try:
        found = float(text)
    except ValueError:
        return otherwise
    return found if found == found and abs(found) < 1e9 else otherwise


@dataclass(frozen=True, slots=True)
class TrainingAddress:
    """The state of the page.

    `job` is the one in full, `compare` the one whose curves lie under it, `candidate` the opened one, measured against
    the judge `judge` of `panel`. `settings` are the job's settings that differ from the preset's. `split` and `page` are of
    the shown rows, `archived` lists put-away jobs.
    """

    job: int = 0
    compare: int = 0
    snapshot: int = 0
    candidate: int = 0
    tab: DataTab | None = None
    source: str = ""
    preset: str = ""
    panel: str = ""
    judge: str = ""
    rows: bool = False
    split: Split = Split.TRAIN
    page: int = 1
    archived: bool = False
    make: MakeChoices = field(default_factory=MakeChoices)
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, query: str) -> TrainingAddress:
        """Return the address that a query string holds; what cannot be read falls back to its default."""
        given = parse_query(query)
        source = given.get("from", "")
        return cls(
            job=whole_number(given.get("job", "")),
            compare=whole_number(given.get("compare", "")),
            snapshot=whole_number(given.get("snapshot", "")),
            candidate=whole_number(given.get("candidate", "")),
            tab=member_of(DataTab, given.get("tab", "")),
            source=source if source == CORRECTIONS else "",
            preset=given.get("preset", ""),
            panel=given.get("panel", ""),
            judge=given.get("judge", ""),
            rows=given.get("rows", "") == "1",
            split=member_of(Split, given.get("split", "")) or Split.TRAIN,
            page=max(1, whole_number(given.get("page", ""))),
            archived=given.get("archived", "") == "1",
            make=_read_make(given),
            settings={
                name.removeprefix(SETTING_PREFIX): value[:LONGEST_SETTING]
                for name, value in given.items()
                if name.startswith(SETTING_PREFIX)
            },
        )

    def moved(self, **changes: object) -> TrainingAddress:
        """Return the address with other values; a change of what is listed goes back to page 1."""
        fresh: dict[str, object] = {"page": 1} if {"snapshot", "split", "tab", "make"} & set(changes) else {}
        return replace(self, **(fresh | changes))  # type: ignore[arg-type]

    def url(self, language: Language) -> str:
        """Return the page's URL in a language; defaults are left out. An empty setting is kept: it may differ from the preset's."""
        make = self.make
        parameters = {
            "job": str(self.job or ""),
            "compare": str(self.compare or ""),
            "snapshot": str(self.snapshot or ""),
            "candidate": str(self.candidate or ""),
            "tab": self.tab or "",
            "from": self.source,
            "preset": self.preset,
            "panel": self.panel,
            "judge": self.judge,
            "rows": "1" if self.rows else "",
            "split": "" if self.split is Split.TRAIN else self.split,
            "page": "" if self.page == 1 else str(self.page),
            "archived": "1" if self.archived else "",
            "library": _listed(map(str, make.libraries)),
            "dimension": _listed(make.dimensions),
            "origin": _listed(make.origins),
            "author": _listed(make.authors),
            "differing": "1" if make.differing else "",
            "held": "" if make.held == HELD_OUT else make.held,
            "examples": "" if make.examples == EXAMPLES else make.examples,
            "balance": "" if make.balance == BALANCE else make.balance,
            "seed": "" if make.seed == SEED else make.seed,
            "lineage": "" if make.lineage == LINEAGE else make.lineage,
        }
        given = {name: value for name, value in parameters.items() if value}
        given |= {SETTING_PREFIX + name: value for name, value in self.settings.items()}
        return f"/{language}/training" + (f"?{urlencode(given)}" if given else "")


def _read_make(given: Mapping[str, str]) -> MakeChoices:
    default = MakeChoices()
    origins = [member_of(Origin, text) for text in _parts(given.get("origin", ""))]
    return MakeChoices(
        libraries=tuple(number for number in map(whole_number, _parts(given.get("library", ""))) if number),
        dimensions=_parts(given.get("dimension", "")),
        origins=tuple(origin for origin in origins if origin),
        authors=_parts(given.get("author", "")),
        differing=given.get("differing", "") == "1",
        held=given.get("held", "")[:20] or default.held,
        examples=given.get("examples", "")[:20] or default.examples,
        balance=given.get("balance", "")[:20] or default.balance,
        seed=given.get("seed", "")[:20] or default.seed,
        lineage=given.get("lineage", "").strip()[:60] or default.lineage,
    )


def _parts(text: str) -> tuple[str, ...]:
    """Return the parts of a list in a URL: separated by line feeds, which no name holds."""
    return tuple(dict.fromkeys(part for part in text.split("\n") if part))[:MOST_LISTED]


def _listed(parts: Iterable[str]) -> str:
    return "\n".join(parts)
