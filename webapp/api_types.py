"""What the API takes and gives beside the types of the domain, and how it speaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from core.errors import LabelError
from core.review import Flag
from core.types import Dimension, Library, PanelSpec, RowProblem, Severity
from webapp.identity import clean_name, identity_of
from webapp.pages.render import load_renderer
from webapp.pages.translate import Language, preferred_language
from webapp.views import SheetPreview

PROBLEMS_SENT = 200
ROWS_SENT = 20


class Given(BaseModel):
    """The body of a request: unknown fields are refused, so that a misspelt one is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reading(Given):
    """How a kept sheet is read: worksheet, and field -> column header."""

    worksheet: str = ""
    mapping: dict[str, str] = Field(default_factory=dict)


class Start(Reading):
    """A run to start: the sheet's token and the library's id; panel and aggregator have the settings' defaults."""

    sheet: str
    library: int
    panel: str = ""
    aggregator: str = ""
    skip_bad_rows: bool = False


class Ask(Given):
    """One question to judge."""

    dimension: str
    text: str
    prompt: str = ""
    library: int
    panel: str = ""
    aggregator: str = ""


class Aggregate(Given):
    """Another aggregator."""

    aggregator: str


class Signed(Given):
    """A change that needs a name: the one given here, else the one that the browser's cookie holds."""

    author: str = Field("", max_length=200)


class GiveLabel(Signed):
    """A person's label for a row."""

    label: int
    reason: str = Field("", max_length=4_000)
    note: str = Field("", max_length=4_000)
    flags: tuple[Flag, ...] = ()
    blind: bool = False


class Relabel(Signed):
    """Another label for an example, and why."""

    label: int
    reason: str = Field("", max_length=4_000)


class Examples(Signed):
    """Examples of a library."""

    examples: tuple[int, ...] = Field(max_length=10_000)


class TakeBack(Signed):
    """A change of a library to take back: what it added, and what it retired."""

    added: tuple[int, ...] = Field((), max_length=100_000)
    retired: tuple[int, ...] = Field((), max_length=100_000)


class Promote(Signed):
    """Corrections of a run to add to a library: all of them, or `items`."""

    run: int
    items: tuple[int, ...] | None = Field(None, max_length=100_000)


class JudgeAgain(Given):
    """Rows of a run to judge again: `items`, or those that were shown `example`."""

    items: tuple[int, ...] | None = Field(None, max_length=100_000)
    example: int | None = None


class AskAgain(Signed):
    """Answers of a run to ask for again: all that are no votes, or those of one row and one judge."""

    item: int | None = None
    judge: str = Field("", max_length=200)


class PanelText(Given):
    """A panel as its file has it: the id it is kept under and the YAML."""

    id: str = Field("", max_length=80)
    text: str = Field("", max_length=200_000)


@dataclass(frozen=True, slots=True)
class Offer:
    """What there is to choose from."""

    dimensions: Sequence[Dimension]
    panels: Sequence[PanelSpec]
    aggregators: Sequence[str]
    libraries: Sequence[Library]


@dataclass(frozen=True, slots=True)
class Started:
    """A run that was queued, and its page."""

    run: int
    url: str


@dataclass(frozen=True, slots=True)
class Undo:
    """How an act is taken back: what to post where."""

    url: str
    body: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a sheet holds: its token, counts, columns, and its problems: all of them by code, the first of them in full."""

    sheet: str
    name: str
    format: str
    encoding: str
    worksheets: tuple[str, ...]
    worksheet: str
    columns: tuple[str, ...]
    mapping: Mapping[str, str]
    total_rows: int
    judgeable_rows: int
    error_rows: int
    fatal: bool
    by_dimension: Mapping[str, int]
    problem_counts: Mapping[str, int]
    problems: tuple[RowProblem, ...]


def parsed_of(seen: SheetPreview) -> Parsed:
    """Return a preview as the API gives it: whatever the size of the sheet, a few problems and no rows."""
    problems = sorted(seen.problems, key=lambda problem: problem.severity is Severity.WARNING)
    return Parsed(
        seen.token,
        seen.name,
        seen.format,
        seen.encoding,
        seen.worksheets,
        seen.worksheet,
        seen.columns,
        seen.mapping,
        seen.total_rows,
        seen.judgeable_rows,
        seen.error_rows,
        seen.fatal,
        dict(seen.by_dimension),
        dict(Counter(problem.code for problem in seen.problems)),
        tuple(problems[:PROBLEMS_SENT]),
    )


def language_of(request: Request) -> Language:
    """Return the language that a caller reads: of its Accept-Language (the pages send their own)."""
    return preferred_language("", request.headers.get("accept-language", ""))


def author_of(request: Request, given: Signed, *, needed: bool = True) -> str:
    """Return who signs a change: the login's name where there is one. Raises LabelError where nobody does."""
    who = identity_of(request)
    name = who.annotator if who.login else clean_name(given.author) or who.annotator
    if not name and needed:
        texts = {language: load_renderer(language).t("shell.need_name") for language in Language}
        raise LabelError(texts[Language.EN], texts[Language.ZH])
    return name


def told(request: Request, key: str, *, undo: Undo | None = None, url: str = "", ok: bool = True, **values: object) -> JSONResponse:
    """Return what an act says: `notice` in the caller's language, `undo` where there is a way back, `url` where to go."""
    t = load_renderer(language_of(request)).t
    back = {"url": undo.url, "body": dict(undo.body), "label": t("shell.undo")} if undo else None
    return JSONResponse({"notice": t(key, **values), "ok": ok, "undo": back, "url": url})
