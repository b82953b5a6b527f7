"""Fixtures of everything that needs a database: the same tests on a SQLite file and on a PostgreSQL server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from db.engine import make_engine
from db.migrate import upgrade
from db.store import SqlStore
from tests.db.postgres import new_database, running_server

# Migrating a PostgreSQL database takes half a second, copying it next to nothing.
MIGRATED = "migrated"


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """A running PostgreSQL server with the database `MIGRATED`, or a skip with the reason."""
    with running_server() as folder:
        engine = make_engine(new_database(folder, MIGRATED))
        upgrade(engine)
        engine.dispose()
        yield folder


DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'pingpan.db'}"
    return new_database(request.getfixturevalue("postgres_folder"), f"test_{uuid.uuid4().hex}")


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database for a store: an empty SQLite file, or a copy of what the migrations made."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'pingpan.db'}"
    return new_database(request.getfixturevalue("postgres_folder"), f"test_{uuid.uuid4().hex}", template=MIGRATED)


@contextmanager
def opened_store(url: str) -> Iterator[SqlStore]:
    """Give a store over a database with all tables."""
    engine = make_engine(url)
    upgrade(engine)
    opened = SqlStore(engine)
    yield opened
    opened.close()


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    """A store over a database with all tables and no rows."""
    with opened_store(url) as opened:
        yield opened


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[SqlStore]:
    """A store over an empty SQLite file alone, for what no server can do otherwise."""
    with opened_store(f"sqlite:///{tmp_path / 'pingpan.db'}") as opened:
        yield opened
