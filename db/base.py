"""What the parts of the store share: the engine, dialect-true inserts, clean text, chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, Table
from sqlalchemy.dialects import postgresql, sqlite

from core.types import LocalText
from db.models import Base
from db.searches import SearchHits

T = TypeVar("T")
AnyRow: TypeAlias = Row[*tuple[Any, ...]]
AnySelect: TypeAlias = Select[*tuple[Any, ...]]

# Below SQLite's and PostgreSQL's limits on bound values, whatever the statement adds.
IN_CHUNK = 5_000
INSERT_CHUNK = 5_000


class StoreBase:
    """A part of the store: everything happens on `engine`, in transactions of its own; what one part has searched for, no other reads again."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.searches = SearchHits()


def table_of(record: type[Base]) -> Table:
    """Return the table of a record class."""
    table = record.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{record.__name__} is not mapped to a table")
    return table


def dialect_insert(connection: Connection, record: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that knows ON CONFLICT on the connection's database."""
    table = table_of(record)
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def now() -> datetime:
    """Return the present as an aware UTC time."""
    return datetime.now(UTC)


def clean(text: str) -> str:
    """Return `text` without what a database cannot keep: NUL and lone surrogates become U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean_words(text: LocalText) -> LocalText:
    """Return `text` with the words of each language made clean."""
    return {language: clean(words) for language, words in text.items()}


def chunked(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most `size` values, without holding more than one."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def spans(values: Sequence[T], size: int = IN_CHUNK) -> Iterator[Sequence[T]]:
    """Yield slices of at most `size` values."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
