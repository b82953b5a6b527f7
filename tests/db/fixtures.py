"""Fixtures of everything that needs a database: the same tests on a SQLite file and on a PostgreSQL server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.engine import make_engine
from db.migrate import upgrade
from db.store import SqlStore
from tests.db.postgres import new_database, running_server


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """A running PostgreSQL server, or a skip with the reason."""
    with running_server() as folder:
        yield folder


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'pingpan.db'}"
    return new_database(request.getfixturevalue("postgres_folder"), f"test_{uuid.uuid4().hex}")


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    """A store over an empty database with all tables."""
    engine = make_engine(url)
    upgrade(engine)
    opened = SqlStore(engine)
    yield opened
    opened.close()
