"""Bring a database to this version's tables; safe when several processes start at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from core.errors import StoreError
from db.engine import describe, reading, writing

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
# What the migrations make of an empty SQLite file, statement by statement: a first start need not go through all of them.
FRESH = MIGRATIONS / "fresh.sql"
# Any number that no other program takes a lock on in the same database.
_LOCK = 0x50494E47


def upgrade(engine: Engine) -> None:
    """Run the migrations that the database lacks, in one transaction, one process at a time.

    A database that is up to date is only looked at, without loading Alembic, and an empty SQLite file is filled from
    `fresh.sql`. Raises StoreError for a database of a newer Pingpan, and for one that cannot be used.
    """
    with reading(engine) as connection:
        revision = current_revision(connection)
    if revision == head_revision():
        return
    _check_known(engine, revision)
    if not (engine.dialect.name == "sqlite" and revision is None and _fill(engine)):
        migrate_to(engine, "head")


def _fill(engine: Engine) -> bool:
    """Make all tables of an empty SQLite file; False where it is not empty, any more."""
    with writing(engine) as connection:
        if connection.exec_driver_sql("SELECT 1 FROM sqlite_master").first() is not None:
            return False
        for statement in FRESH.read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    return True


def schema(engine: Engine) -> str:
    """Return the statements that make a SQLite file's tables and indices, and its revision: what `fresh.sql` holds."""
    with reading(engine) as connection:
        made = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid").scalars()
        statements = [" ".join(str(sql).split()) for sql in made]
        revision = current_revision(connection)
    return "".join(f"{statement};\n" for statement in (*statements, f"INSERT INTO alembic_version VALUES ('{revision}')"))


def migrate_to(engine: Engine, revision: str) -> None:
    """Migrate up or down to `revision` ("head", "base" or an identifier), holding the migration lock."""
    with _migrating(engine) as connection:
        present = current_revision(connection)
        _check_known(engine, present)  # another process, maybe a newer Pingpan, may have been faster
        from alembic import command

        config = _config(connection)
        if _is_older(revision, present):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)


def current_revision(connection: Connection) -> str | None:
    """Return the revision that the database is at, None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def head_revision() -> str:
    """Return the newest revision of this program, as the name of its file begins: `v0007_….py`."""
    newest = max(path.name for path in (MIGRATIONS / "versions").glob("v[0-9]*.py"))
    return newest[1:].partition("_")[0]


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
            raise StoreError(
                f"After the migration the database {where} would have rows without their parents; nothing was changed. "
                "Bring back its latest backup.",
                zh=f"迁移后数据库 {where} 中会有找不到上级记录的行；未做任何更改。请恢复最近的备份。",
            )


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
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(MIGRATIONS))


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
