"""The state of the pages Library, Agreement, Compare, Runs and Models as the query string of their URLs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

from core.desks import CompareQuery, LibraryQuery, Standing
from core.types import Origin
from webapp.pages.address import PAGE_SIZE, label_of, make_url, member_of, parse_query, whole_number
from webapp.pages.translate import Language

# What a pasted text may add to a URL; the beginning of a text is enough to find its like.
LIKE_CHARACTERS = 600
_Address = TypeVar("_Address", "LibraryAddress", "AgreementAddress", "CompareAddress", "RunsAddress", "ModelsAddress")


def _write(address: _Address, default: _Address, language: Language, path: str) -> str:
    """Return the URL of an address; what is as by default is left out, and flags are written as 1."""
    changed = (field.name for field in fields(address) if getattr(address, field.name) != getattr(default, field.name))
    texts = {name: getattr(address, name) for name in changed}
    return make_url(language, path, {name: "1" if value is True else str(value) for name, value in texts.items()})


@dataclass(frozen=True, slots=True)
class LibraryAddress:
    """The state of the library page: filters, the opened example, and the run whose corrections may be added."""

    library: int = 0
    q: str = ""
    like: str = ""
    dimension: str = ""
    label: str = ""
    origin: Origin | None = None
    author: str = ""
    standing: Standing = Standing.ACTIVE
    page: int = 1
    item: int = 0
    uses: int = 1
    promote: int = 0

    @classmethod
    def parse(cls, query: str) -> LibraryAddress:
        """Return the address that a query string holds; what cannot be read falls back to its default."""
        given = parse_query(query)
        return cls(
            library=whole_number(given.get("library", "")),
            q=given.get("q", ""),
            like=given.get("like", "")[:LIKE_CHARACTERS],
            dimension=given.get("dimension", ""),
            label=label_of(given.get("label", "")),
            origin=member_of(Origin, given.get("origin", "")),
            author=given.get("author", ""),
            standing=member_of(Standing, given.get("standing", "")) or Standing.ACTIVE,
            page=max(1, whole_number(given.get("page", ""))),
            item=whole_number(given.get("item", "")),
            uses=max(1, whole_number(given.get("uses", ""))),
            promote=whole_number(given.get("promote", "")),
        )

    @property
    def filtered(self) -> bool:
        """Return whether anything narrows the list."""
        return bool(self.q or self.like or self.dimension or self.label or self.origin or self.author)

    def moved(self, **changes: object) -> LibraryAddress:
        """Return the address with other values; a change of what is listed goes back to page 1 and closes the example."""
        listing = set(changes) - {"item", "page", "uses", "promote"}
        fresh: dict[str, object] = {"page": 1, "item": 0} if listing else {}
        if "item" in changes:
            fresh |= {"uses": 1, "promote": 0}
        return replace(self, **(fresh | changes))  # type: ignore[arg-type]

    def rows(self) -> LibraryQuery:
        """Return what to ask the workbench for."""
        return LibraryQuery(
            search=self.q.strip(),
            like=self.like.strip() if self.standing is Standing.ACTIVE else "",
            dimension_id=self.dimension,
            label=int(self.label) if self.label else None,
            origin=self.origin,
            author=self.author,
            standing=self.standing,
            page=self.page - 1,
            page_size=PAGE_SIZE,
        )

    def url(self, language: Language) -> str:
        """Return the page's URL in a language; defaults are left out."""
        return _write(self, LibraryAddress(), language, "library")


@dataclass(frozen=True, slots=True)
class AgreementAddress:
    """The state of the agreement page: the run, the dimension, the pair that is shown in full, and whose labels count.

    `everyone` counts labels that were given with the votes in sight too; by default only blind ones are compared.
    """

    run: int = 0
    dimension: str = ""
    first: str = ""
    second: str = ""
    everyone: bool = False

    @classmethod
    def parse(cls, query: str) -> AgreementAddress:
        """Return the address that a query string holds; what cannot be read falls back to its default."""
        given = parse_query(query)
        texts = {name: given.get(name, "") for name in ("dimension", "first", "second")}
        return cls(run=whole_number(given.get("run", "")), everyone=given.get("everyone", "") == "1", **texts)

    def url(self, language: Language) -> str:
        """Return the page's URL in a language; defaults are left out."""
        return _write(self, AgreementAddress(), language, "agreement")


@dataclass(frozen=True, slots=True)
class CompareAddress:
    """Two runs side by side: `first` and `second` are labels (a cell of the matrix), `all` lists equal verdicts too."""

    a: int = 0
    b: int = 0
    dimension: str = ""
    first: str = ""
    second: str = ""
    all: bool = False
    page: int = 1

    @classmethod
    def parse(cls, query: str) -> CompareAddress:
        """Return the address that a query string holds; what cannot be read falls back to its default."""
        given = parse_query(query)
        return cls(
            a=whole_number(given.get("a", "")),
            b=whole_number(given.get("b", "")),
            dimension=given.get("dimension", ""),
            first=label_of(given.get("first", "")),
            second=label_of(given.get("second", "")),
            all=given.get("all", "") == "1",
            page=max(1, whole_number(given.get("page", ""))),
        )

    def rows(self) -> CompareQuery:
        """Return what to ask the workbench for."""
        cell = bool(self.first and self.second)
        return CompareQuery(
            dimension_id=self.dimension,
            only_different=not self.all and not cell,
            first=int(self.first) if cell else None,
            second=int(self.second) if cell else None,
            page=self.page - 1,
            page_size=PAGE_SIZE,
        )

    def moved(self, **changes: object) -> CompareAddress:
        """Return the address with other values; a change of what is listed goes back to page 1."""
        fresh: dict[str, object] = {} if "page" in changes else {"page": 1}
        return replace(self, **(fresh | changes))  # type: ignore[arg-type]

    def url(self, language: Language) -> str:
        """Return the page's URL in a language; defaults are left out."""
        return _write(self, CompareAddress(), language, "compare")


@dataclass(frozen=True, slots=True)
class RunsAddress:
    """The state of the runs page: the page, the run to compare others with, and whether deleted runs are listed."""

    page: int = 1
    base: int = 0
    deleted: bool = False

    @classmethod
    def parse(cls, query: str) -> RunsAddress:
        """Return the address that a query string holds; what cannot be read falls back to its default."""
        given = parse_query(query)
        page, base = max(1, whole_number(given.get("page", ""))), whole_number(given.get("base", ""))
        return cls(page, base, given.get("deleted", "") == "1")

    def url(self, language: Language) -> str:
        """Return the page's URL in a language; defaults are left out."""
        return _write(self, RunsAddress(), language, "runs")


@dataclass(frozen=True, slots=True)
class ModelsAddress:
    """The state of the models page: the opened panel, and the version whose text is being edited ("" for none)."""

    panel: str = ""
    edit: bool = False
    version: str = ""

    @classmethod
    def parse(cls, query: str) -> ModelsAddress:
        """Return the address that a query string holds; what cannot be read falls back to its default."""
        given = parse_query(query)
        return cls(given.get("panel", ""), given.get("edit", "") == "1", given.get("version", ""))

    def url(self, language: Language) -> str:
        """Return the page's URL in a language; defaults are left out."""
        return _write(self, ModelsAddress(), language, "models")
