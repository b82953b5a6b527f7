"""Databases that cannot be used say so in words that help, and those that can are set up for several processes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from core.errors import StoreError
from db.engine import make_engine, reading, writing
from db.migrate import upgrade
from db.store import SqlStore
from tests.db.build import add_run, add_sheet


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "sqlite:////folder"),
        ("not a url", "postgresql"),
        ("mysql://me:secret@host/db", "mysql is not supported"),
        ("oracle+cx://x", "oracle is not supported"),
        ("sqlite://", "in-memory"),
        ("sqlite:///:memory:", "in-memory"),
    ],
)
def test_a_wrong_url_names_the_setting_and_the_right_forms(url: str, says: str) -> None:
    with pytest.raises(StoreError, match="PINGPAN_DATABASE_URL") as caught:
        make_engine(url)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "PINGPAN_DATABASE_URL" in caught.value.messages["zh"]


def test_no_server_is_told_without_the_password() -> None:
    engine = make_engine("postgresql://me:secret@127.0.0.1:1/db")
    with pytest.raises(StoreError, match="Check that the server runs") as caught:
        upgrade(engine)
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)


def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "pingpan.db"
    file.write_text("数据编号,评判维度\n" * 200, encoding="utf-8")
    engine = make_engine(f"sqlite:///{file}")
    with pytest.raises(StoreError, match=r"pingpan\.db cannot be used.*no SQLite database"):
        upgrade(engine)
    assert file.read_text(encoding="utf-8").startswith("数据编号")


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="PINGPAN_HOME"):
        make_engine(f"sqlite:///{tmp_path / 'file' / 'sub' / 'pingpan.db'}")
    (tmp_path / "pingpan.db").mkdir()
    engine = make_engine(f"sqlite:///{tmp_path / 'pingpan.db'}")
    with pytest.raises(StoreError, match="may be read and written"):
        upgrade(engine)


def test_sqlite_is_set_up_for_readers_beside_a_writer(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'new' / 'pingpan.db'}")
    with reading(engine) as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 60_000, "synchronous": 1}
    engine.dispose()


def test_a_reader_sees_one_moment_and_never_waits_for_a_writer(store: SqlStore) -> None:
    add_sheet(store, 3)
    with writing(store.engine) as connection:
        connection.execute(text("UPDATE sheets SET name = 'half'"))
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.append(store.sheets()[0].name))
        reader.start()
        reader.join(10)
        assert seen == ["作文.xlsx"]
    assert store.sheets()[0].name == "half"


def test_an_exception_takes_everything_back(store: SqlStore) -> None:
    add_sheet(store, 3)

    def break_off() -> None:
        with writing(store.engine) as connection:
            connection.execute(text("UPDATE sheets SET name = 'wrong'"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert store.sheets()[0].name == "作文.xlsx"


def test_what_is_referred_to_cannot_go(store: SqlStore) -> None:
    run = add_run(store, 2)
    with pytest.raises(StoreError, match="does not fit"), writing(store.engine) as connection:
        connection.execute(text("DELETE FROM sheets WHERE id = :id"), {"id": run.sheet_id})
    with pytest.raises(StoreError), writing(store.engine) as connection:
        connection.execute(text("UPDATE runs SET state = 'asleep'"))
