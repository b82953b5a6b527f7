"""Bring a database to this version's tables; safe when several processes start at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from core.errors import StoreError
from db.engine import describe, reading, writing

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
# Any number that no other program takes a lock on in the same database.
_LOCK = 0x50494E47


def upgrade(engine: Engine) -> None:
    """Run the migrations that the database lacks, in one transaction, one process at a time.

    A database that is up to date is only looked at. Raises StoreError for a database of a newer Pingpan, and for one
    that cannot be used.
    """
    with reading(engine) as connection:
        revision = current_revision(connection)
    _check_known(engine, revision)
    if revision != head_revision():
        migrate_to(engine, "head")


def migrate_to(engine: Engine, revision: str) -> None:
    """Migrate up or down to `revision` ("head", "base" or an identifier), holding the migration lock."""
    with _migrating(engine) as connection:
        present = current_revision(connection)
        _check_known(engine, present)  # another process, maybe a newer Pingpan, may have been faster
        config = _config(connection)
        if _is_older(revision, present):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)


def current_revision(connection: Connection) -> str | None:
    """Return the revision that the database is at, None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str:
    """Return the newest revision of this program."""
    return str(_scripts().get_current_head())


def revisions() -> tuple[str, ...]:
    """Return every revision, oldest first."""
    return tuple(script.revision for script in reversed(list(_scripts().walk_revisions())))


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        yield connection
        if engine.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
            where = describe(engine.url)
            raise StoreError(f"After the migration the database {where} would have rows without their parents; nothing was changed.")


def _is_older(revision: str, present: str | None) -> bool:
    if revision == "head" or present is None:
        return False
    order = ("base", *revisions())
    return order.index(revision) < order.index(present)


def _check_known(engine: Engine, revision: str | None) -> None:
    if revision is not None and revision not in revisions():
        where = describe(engine.url)
        raise StoreError(
            f"The database {where} is of a newer Pingpan (revision {revision}); start that one, or name another database.",
            zh=f"数据库 {where} 来自更新版本的评判台(版本 {revision});请使用新版本,或另选一个数据库。",
        )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
