"""The addresses of the review page and of the row page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from urllib.parse import quote, unquote

from core.review import QueueQuery, QueueScope, QueueView, Vote
from core.types import Outcome
from webapp.pages.address import PAGE_SIZE, label_of, make_url, member_of, parse_query, whole_number
from webapp.pages.translate import Language

MOST_VOTES = 8
_JUDGE, _BLIND, _PERSON = "j", "b", "p"
_NARROWING = ("dimension", "label", "outcome", "search", "votes")


@dataclass(frozen=True, slots=True)
class ReviewAddress:
    """The state of the review page. `page` counts from 1; `item` is 0 for the first one that is free; `people` is how many
    people each row is wanted from. `votes` are the conditions of an agreement table's cell."""

    run: int = 0
    view: QueueView = QueueView.ALL
    scope: QueueScope = QueueScope.OPEN
    item: int = 0
    dimension: str = ""
    label: str = ""
    outcome: Outcome | None = None
    search: str = ""
    votes: tuple[Vote, ...] = ()
    people: int = 1
    page: int = 1

    @classmethod
    def parse(cls, query: str) -> ReviewAddress:
        """Return the address that a query string holds; what cannot be read falls back to its default."""
        given = parse_query(query)
        return cls(
            run=whole_number(given.get("run", "")),
            view=member_of(QueueView, given.get("view", "")) or QueueView.ALL,
            scope=member_of(QueueScope, given.get("scope", "")) or QueueScope.OPEN,
            item=whole_number(given.get("item", "")),
            dimension=given.get("dimension", ""),
            label=label_of(given.get("label", "")),
            outcome=member_of(Outcome, given.get("outcome", "")),
            search=given.get("search", ""),
            votes=_read_votes(given.get("votes", "")),
            people=min(99, max(1, whole_number(given.get("people", "")))),
            page=max(1, whole_number(given.get("page", ""))),
        )

    @classmethod
    def of(cls, run: int, query: QueueQuery) -> ReviewAddress:
        """Return the address of a queue, as an agreement table's cell names it."""
        return cls(
            run=run,
            view=query.view,
            scope=query.scope,
            dimension=query.dimension_id,
            label="" if query.label is None else str(query.label),
            outcome=query.outcome,
            search=query.search,
            votes=query.votes,
            people=query.people,
            page=query.page + 1,
        )

    @property
    def filtered(self) -> bool:
        """Return whether anything beside the view narrows the queue."""
        return any(getattr(self, name) for name in _NARROWING)

    def moved(self, **changes: object) -> ReviewAddress:
        """Return the address with other values; a change of what is listed goes back to page 1 and its first free item."""
        listing = set(changes) - {"item", "page"}
        fresh: dict[str, object] = {"page": 1, "item": 0} if listing else {}
        return replace(self, **(fresh | changes))  # type: ignore[arg-type]

    def unfiltered(self) -> ReviewAddress:
        """Return the address of the same view of the same run with no filter."""
        return ReviewAddress(run=self.run, view=self.view, people=self.people)

    def queue(self) -> QueueQuery:
        """Return what to ask the desk for."""
        return QueueQuery(
            view=self.view,
            scope=self.scope,
            dimension_id=self.dimension,
            label=int(self.label) if self.label else None,
            outcome=self.outcome,
            search=self.search.strip(),
            votes=self.votes,
            people=self.people,
            page=self.page - 1,
            page_size=PAGE_SIZE,
        )

    def url(self, language: Language) -> str:
        """Return the page's URL in a language; defaults are left out."""
        default = ReviewAddress()
        changed = [f.name for f in fields(self) if getattr(self, f.name) != getattr(default, f.name)]
        texts = {name: write_votes(self.votes) if name == "votes" else str(getattr(self, name)) for name in changed}
        return make_url(language, "review", texts)


@dataclass(frozen=True, slots=True)
class RowAddress:
    """The state of the row page: an item's id."""

    item: int = 0

    @classmethod
    def parse(cls, query: str) -> RowAddress:
        """Return the address that a query string holds."""
        return cls(whole_number(parse_query(query).get("item", "")))

    def url(self, language: Language) -> str:
        """Return the page's URL in a language."""
        return make_url(language, "row", {"item": str(self.item)})


def write_votes(votes: Iterable[Vote]) -> str:
    """Return the conditions of a cell as one parameter: kind, rater and label of each."""
    kinds = ((_PERSON, _JUDGE), (_BLIND, _JUDGE))
    return ",".join(f"{kinds[vote.blind][not vote.person]}:{quote(vote.rater, safe='')}:{vote.label}" for vote in votes)


def _read_votes(text: str) -> tuple[Vote, ...]:
    return tuple(vote for part in text.split(",")[:MOST_VOTES] if (vote := _read_vote(part)))


def _read_vote(text: str) -> Vote | None:
    kind, _, rest = text.partition(":")
    name, _, label = rest.partition(":")
    readable = kind in {_JUDGE, _BLIND, _PERSON} and name and label_of(label)
    return Vote(unquote(name), int(label), person=kind != _JUDGE, blind=kind != _PERSON) if readable else None
