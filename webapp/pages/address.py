"""The state of a page as the query string of its URL, so that a reload, a link or the other language shows the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode

from core.queries import RowQuery, RowSort
from core.types import JudgementStatus, Outcome
from webapp.pages.translate import Language

PAGE_SIZE = 50
MAPPED_FIELDS = ("id", "dimension", "prompt", "text", "label")
MAPPING_PREFIX = "map."
FIRST, LAST = "first", "last"
_Member = TypeVar("_Member", bound=StrEnum)
_LABEL = re.compile(r"-?[0-9]{1,8}")


def parse_query(query: str) -> dict[str, str]:
    """Return the parameters of a query string, with or without its question mark; the last of equals wins."""
    return dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True))


def make_url(language: Language, path: str, parameters: Mapping[str, str]) -> str:
    """Return the URL of a page with its parameters; empty ones are left out."""
    # An empty mapped column is a choice (no column), an empty anything else is a default.
    given = {name: value for name, value in parameters.items() if value or name.startswith(MAPPING_PREFIX)}
    return f"/{language}/{path}" + (f"?{urlencode(given)}" if given else "")


def whole_number(text: str) -> int:
    """Return a non-negative number of at most nine digits, else 0: nobody's hand-made URL may break a page."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def label_of(text: str) -> str:
    """Return a label as it was written where it is a whole number, else ""."""
    return text if _LABEL.fullmatch(text) else ""


def member_of(kind: type[_Member], text: str) -> _Member | None:
    """Return the member whose value is `text`, else None."""
    return kind(text) if text in set(kind) else None


class Mode(StrEnum):
    """What the judge page takes in."""

    SHEET = "sheet"
    QUESTION = "question"


@dataclass(frozen=True, slots=True)
class JudgeAddress:
    """The state of the judge page; `mapping` is field -> column header, empty where the detected one stands."""

    mode: Mode = Mode.SHEET
    sheet: str = ""
    worksheet: str = ""
    mapping: Mapping[str, str] = field(default_factory=dict)
    panel: str = ""
    library: int = 0
    aggregator: str = ""

    @classmethod
    def parse(cls, query: str) -> JudgeAddress:
        """Return the address that a query string holds; what cannot be read falls back to its default."""
        given = parse_query(query)
        mapping = {name: given[MAPPING_PREFIX + name] for name in MAPPED_FIELDS if MAPPING_PREFIX + name in given}
        return cls(
            mode=member_of(Mode, given.get("mode", "")) or Mode.SHEET,
            sheet=given.get("sheet", ""),
            worksheet=given.get("worksheet", ""),
            mapping=mapping,
            panel=given.get("panel", ""),
            library=whole_number(given.get("library", "")),
            aggregator=given.get("aggregator", ""),
        )

    def url(self, language: Language) -> str:
        """Return the page's URL in a language."""
        parameters = {
            "mode": "" if self.mode is Mode.SHEET else self.mode,
            "sheet": self.sheet,
            "worksheet": self.worksheet,
            "panel": self.panel,
            "library": str(self.library or ""),
            "aggregator": self.aggregator,
        }
        return make_url(language, "", parameters | {MAPPING_PREFIX + name: header for name, header in self.mapping.items()})


@dataclass(frozen=True, slots=True)
class RunAddress:
    """The state of the run page. `page` counts from 1 as people do; `item` is an id, or first or last of the page."""

    run: int = 0
    item: str = ""
    dimension: str = ""
    outcome: Outcome | None = None
    status: JudgementStatus | None = None
    label: str = ""
    search: str = ""
    sort: RowSort = RowSort.POSITION
    page: int = 1

    @classmethod
    def parse(cls, query: str) -> RunAddress:
        """Return the address that a query string holds; what cannot be read falls back to its default."""
        given = parse_query(query)
        return cls(
            run=whole_number(given.get("run", "")),
            item=given.get("item", ""),
            dimension=given.get("dimension", ""),
            outcome=member_of(Outcome, given.get("outcome", "")),
            status=member_of(JudgementStatus, given.get("status", "")),
            label=label_of(given.get("label", "")),
            search=given.get("search", ""),
            sort=member_of(RowSort, given.get("sort", "")) or RowSort.POSITION,
            page=max(1, whole_number(given.get("page", ""))),
        )

    @property
    def filtered(self) -> bool:
        """Return whether any filter narrows the rows."""
        return bool(self.dimension or self.outcome or self.status or self.label or self.search)

    def moved(self, **changes: object) -> RunAddress:
        """Return the address with other values; a change of what is listed goes back to page 1 and closes the row."""
        listing = set(changes) - {"item", "page"}
        fresh: dict[str, object] = {"page": 1, "item": ""} if listing else {}
        return replace(self, **(fresh | changes))  # type: ignore[arg-type]

    def unfiltered(self) -> RunAddress:
        """Return the address of the same run, in the same order, with no filter."""
        return RunAddress(run=self.run, sort=self.sort)

    def rows(self) -> RowQuery:
        """Return what to ask the workbench for; disagreement comes widest first."""
        return RowQuery(
            dimension_id=self.dimension,
            outcome=self.outcome,
            label=int(self.label) if self.label else None,
            status=self.status,
            search=self.search.strip(),
            sort=self.sort,
            descending=self.sort is RowSort.DISAGREEMENT,
            page=self.page - 1,
            page_size=PAGE_SIZE,
        )

    def url(self, language: Language) -> str:
        """Return the page's URL in a language; defaults are left out."""
        default = RunAddress()
        parameters = {f.name: str(getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != getattr(default, f.name)}
        return make_url(language, "run", parameters)
