"""Engines, and transactions that translate the driver's errors into StoreError.

SQLite: write-ahead log, so that pages read while a run writes; foreign keys on; `synchronous=NORMAL`, which in WAL mode
survives a killed process; and `BEGIN IMMEDIATE` for writers, so that two processes wait for each other instead of meeting
in a deadlock when both turn from reading to writing.
"""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.errors import NotFound, StoreError

BUSY_TIMEOUT_MS = 60_000
CONNECT_TIMEOUT_S = 10
# So much of a SQLite file is read without copying: a search of texts beyond it takes half as long again.
MAPPED_BYTES = 2**30
_WRITES = "pingpan_writes"
_EXAMPLE = "sqlite:////folder/pingpan.db or postgresql+psycopg://user:password@host/database"


def make_engine(url: str) -> Engine:
    """Return an engine for a SQLite file or a PostgreSQL database; no connection is opened yet.

    The folder of a SQLite file is made. Raises StoreError for a URL that cannot be read, an unsupported database, a
    missing driver, an in-memory database (the worker process could not see it) or a folder that cannot be made.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    return _made(parsed, pool_pre_ping=True, pool_size=5, max_overflow=20, connect_args={"connect_timeout": CONNECT_TIMEOUT_S})


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection in a read transaction: on SQLite one snapshot from the first statement on."""
    with translated(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give a connection in a write transaction, committed at the end and rolled back at an exception."""
    with translated(engine), engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turn the database's errors inside the block into StoreError with where and how to mend."""
    try:
        yield
    except IntegrityError as error:
        raise StoreError(
            f"The database refused a row that does not fit the others ({_first_line(error)}). The data it speaks of may have been "
            "removed meanwhile, or an index is older than its library: run `./run.sh reindex` and try again.",
            zh=f"数据库拒绝了与其他数据不一致的记录({_first_line(error)})。请运行 `./run.sh reindex` 后重试。",
        ) from error
    except (DataError, OverflowError, UnicodeEncodeError) as error:
        # PostgreSQL says the one, SQLite's driver the others: of a number without bounds, or of half a character.
        raise NotFound(
            f"The database can hold nothing like it ({_first_line(error)}); check the number or the words that were asked for.",
            zh=f"数据库中不可能有这样的内容（{_first_line(error)}）；请检查所给的编号或文字。",
        ) from error
    except (DBAPIError, PoolTimeout) as error:
        raise _unusable(engine.url, error) from error
    except SQLAlchemyError as error:
        raise StoreError(f"The database {describe(engine.url)} cannot be used: {error}", zh=f"数据库无法使用:{error}") from error


def describe(url: URL) -> str:
    """Return what a message may say of a database: the file, or the URL without its password."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise _bad_url(url.split("@")[-1], str(error)) from error
    if parsed.drivername in {"postgres", "postgresql", "postgresql+psycopg2"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise _bad_url(parsed.render_as_string(hide_password=True), f"{parsed.get_backend_name()} is not supported")
    return parsed


def _made(url: URL, **options: Any) -> Engine:
    try:
        return create_engine(url, json_serializer=_compact_json, **options)
    except (NoSuchModuleError, ModuleNotFoundError, ArgumentError) as error:
        raise _bad_url(url.render_as_string(hide_password=True), str(error)) from error


def _bad_url(url: str, reason: str) -> StoreError:
    return StoreError(
        f"PINGPAN_DATABASE_URL={url!r} cannot be used: {reason.splitlines()[0]}. It may be {_EXAMPLE}.",
        zh=f"PINGPAN_DATABASE_URL={url!r} 无法使用:{reason.splitlines()[0]}。可以写成 {_EXAMPLE}。",
    )


def _sqlite(url: URL) -> Engine:
    if url.database in {None, "", ":memory:"} or "mode=memory" in str(url):
        raise _bad_url(str(url), "an in-memory database is not seen by the worker process; name a file")
    if str(url.database).startswith("~"):
        url = url.set(database=str(Path(str(url.database)).expanduser()))
    folder = Path(str(url.database)).resolve().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The database's folder {folder} cannot be made: {error.strerror}. Choose another with PINGPAN_HOME.",
            zh=f"无法创建数据库所在的文件夹 {folder}:{error.strerror}。请用 PINGPAN_HOME 另选一个。",
        ) from error
    engine = _made(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite alone
    # An engine that nobody disposes of must not leave its files open: Python 3.13 warns of that.
    weakref.finalize(record, connection.close)
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "cache_size=-32768",
        f"mmap_size={MAPPED_BYTES}",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _compact_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def _unusable(url: URL, error: SQLAlchemyError) -> StoreError:
    what, line = describe(url), _first_line(error)
    if "not a database" in line or "malformed" in line:
        hint = "The file is no SQLite database or is damaged; move it away or name another."
        zh = "该文件不是 SQLite 数据库或已损坏,请移走或另选一个。"
    elif "unable to open" in line or "readonly" in line:
        hint, zh = "Check that the file and its folder may be read and written.", "请检查该文件及其文件夹的读写权限。"
    elif "locked" in line:
        hint, zh = "Another program holds it; close that and try again.", "另一个程序正占用它,请关闭后重试。"
    elif "full" in line:
        hint, zh = "Make room on the disk; the run goes on where it stopped.", "磁盘已满,请腾出空间;评判会从停下处继续。"
    elif url.get_backend_name() == "postgresql":
        hint = "Check that the server runs and that PINGPAN_DATABASE_URL is right."
        zh = "请检查服务器是否运行、PINGPAN_DATABASE_URL 是否正确。"
    else:
        hint, zh = "Look at the log for the cause.", "原因请查看日志。"
    return StoreError(f"The database {what} cannot be used: {line}. {hint}", zh=f"数据库 {what} 无法使用:{line}。{zh}")
