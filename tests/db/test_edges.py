"""The edges of what a database can hold, find and be: any text, any number, files that are full, held, damaged or half migrated."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, inspect, select, text

from core.desks import LibraryQuery
from core.errors import NotFound, StoreError
from core.faultplaces import AnswerKind
from core.queries import RowQuery
from core.review import Flag, QueueQuery, QueueScope
from core.training import EventKind, GateVerdict, JobEvent, Stage
from core.types import CorrectionKind, Example, Run, RunState, SheetRow, SourceRef, content_hash, one_language
from db.base import clean
from db.corrections import Act
from db.engine import make_engine, reading, writing
from db.fault_answers import NewAnswer
from db.migrate import current_revision, migrate_to, upgrade
from db.models import Base
from db.store import SqlStore
from tests.db.build import add_library, add_run, panel
from tests.db.test_results import fill
from tests.db.test_training import add_job, new_snapshot

FACTS = {"name": "a.csv", "format": "csv", "encoding": "", "worksheet": "", "columns": (), "mapping": {}}
ODD = st.text(st.characters(codec=None) | st.sampled_from("aA%_\\'\"中文éÉſK\0\ud800\n"), max_size=12)
ODDEST = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


def add_texts(store: SqlStore, texts: list[str], number: int) -> int:
    rows = [SheetRow(place, f"D{place}", "fluency", "", words, None, SourceRef("a.csv", "", place)) for place, words in enumerate(texts)]
    return store.add_sheet(rows=rows, sha256=f"{number:064x}", **FACTS).id  # type: ignore[arg-type]


def test_any_text_comes_back_as_far_as_it_can_be_kept_and_any_part_of_it_is_found(store: SqlStore) -> None:
    library = add_library(store, 3)
    numbers = iter(range(10**6))

    @ODDEST
    @given(texts=st.lists(ODD, min_size=2, max_size=5), data=st.data())
    def check(texts: list[str], data: st.DataObject) -> None:
        sheet = add_texts(store, texts, next(numbers))
        items = store.items(sheet)
        assert [item.text for item in items] == [clean(words) for words in texts]
        assert [item.content_hash for item in items] == [content_hash("fluency", "", item.text) for item in items]
        run = store.create_run(sheet, library.id, panel(), "majority")
        wanted = data.draw(
            st.sampled_from(texts).flatmap(lambda words: st.integers(0, len(words)).map(lambda start: words[start : start + 3]))
        )
        found = {row.item.position for row in store.rows(run.id, RowQuery(search=wanted)).rows}
        assert found >= {place for place, words in enumerate(texts) if wanted in words}
        small = clean(wanted).lower()
        assert found <= {item.position for item in items if small in item.text.lower() or small in item.external_id.lower()}

    check()


def test_a_number_that_no_database_holds_is_of_nothing(store: SqlStore) -> None:
    run = add_run(store, 1)
    for number in (2**31, 2**63, -(10**30)):
        check_number(store, run, number)


def check_number(store: SqlStore, run: Run, number: int) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.run(number),
        lambda: store.row(run.id, number),
        lambda: store.sheet(number),
        lambda: store.library(number),
        lambda: store.job(number),
        lambda: store.item_history(number),
        lambda: store.append(run.id, number, Act(CorrectionKind.LABEL, "王", 1)),
        lambda: store.retire_examples(number, [1], "王"),
    ]
    for call in calls:
        with pytest.raises(NotFound) as caught:
            call()
        assert caught.value.messages["zh"] != str(caught.value)


def test_a_page_beyond_all_numbers_and_a_filter_no_row_can_have_are_told_as_such(store: SqlStore) -> None:
    run = add_run(store, 2)
    for query in (RowQuery(page=10**30), RowQuery(label=10**30)):
        with pytest.raises(NotFound, match="check the number") as caught:
            store.rows(run.id, query)
        assert "编号或文字" in caught.value.messages["zh"]
    assert store.rows(run.id, RowQuery(page=10**6)).rows == ()
    assert store.queue(run.id, QueueQuery(search="\0\ud800")).total == 0
    assert store.library_page(run.library_id, LibraryQuery(search="\0")).total == 0


def test_times_are_one_moment_in_every_zone_and_old_words_are_still_read(store: SqlStore) -> None:
    job, run = add_job(store), add_run(store, 1)
    local = datetime(2026, 5, 4, 8, 30, 0, 123_456, tzinfo=timezone(timedelta(hours=8)))
    store.append_events(job.id, [JobEvent(1, local, EventKind.NOTE)])
    last = store.last_job_event(job.id)
    assert last is not None
    assert (last.at, last.at.tzinfo) == (local, UTC)
    with writing(store.engine) as connection:
        connection.execute(text("UPDATE runs SET error = 'stored long ago'"))
    assert store.run(run.id).error == one_language("stored long ago")
    store.close()
    assert store.run(run.id).state is RunState.QUEUED  # a closed store opens again when it is used


@pytest.mark.parametrize("url", ["sqlite+nodriver:////tmp/x.db", "postgresql+nodriver://me:secret@host/db"])
def test_a_driver_that_is_not_there_is_told_as_a_wrong_setting(url: str) -> None:
    with pytest.raises(StoreError, match=r"PINGPAN_DATABASE_URL.*nodriver") as caught:
        make_engine(url)
    assert "secret" not in str(caught.value)
    assert "可以写成" in caught.value.messages["zh"]


def test_a_database_at_home_lies_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    engine = make_engine("sqlite:///~/new/pingpan.db")
    upgrade(engine)
    engine.dispose()
    assert (tmp_path / "home" / "new" / "pingpan.db").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_full_a_held_and_a_damaged_database_are_told_with_a_way_out(file_store: SqlStore, tmp_path: Path) -> None:
    file = tmp_path / "pingpan.db"
    add_texts(file_store, ["一"], 1)
    with reading(file_store.engine) as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1")
    with pytest.raises(StoreError, match="Make room") as full:
        add_texts(file_store, ["长" * 4_000] * 60, 2)
    assert "磁盘已满" in full.value.messages["zh"]
    assert len(file_store.sheets()) == 1  # and nothing of it is there
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with reading(file_store.engine) as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=1")
    with pytest.raises(StoreError, match="Another program holds it") as held:
        add_texts(file_store, ["二"], 3)
    assert "请关闭后重试" in held.value.messages["zh"]
    assert len(file_store.sheets()) == 1  # readers need not wait
    holder.execute("ROLLBACK")
    holder.close()
    file_store.close()
    whole = file.read_bytes()
    file.write_bytes(whole[:4_096] + b"\xff" * (len(whole) - 4_096))
    with pytest.raises(StoreError, match="is damaged") as damaged:
        file_store.sheets()
    assert "已损坏" in damaged.value.messages["zh"]


def test_a_migration_that_would_leave_orphans_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "pingpan.db"
    engine = make_engine(f"sqlite:///{file}")
    migrate_to(engine, "0004")
    with sqlite3.connect(file) as raw:  # written by a tool that checks no foreign keys
        raw.execute("INSERT INTO judgement_tallies VALUES (77, 'first', 'ok', 1, 1.0)")
    raw.close()
    with pytest.raises(StoreError, match="nothing was changed") as caught:
        upgrade(engine)
    assert "备份" in caught.value.messages["zh"]
    with reading(engine) as connection:
        assert current_revision(connection) == "0004"
        assert "jobs" not in inspect(connection).get_table_names()
    engine.dispose()


def fill_everything(store: SqlStore) -> Run:
    """Put something into every table."""
    run = fill(store, 20, 20, finish=True)
    items, labelled = store.items(run.sheet_id), store.library_items(run.library_id)
    store.save_examples(run.id, {items[0].id: [Example(labelled[0], 0.5, 0, "v")]})
    for author, kind, label in (("王", CorrectionKind.LABEL, 2), ("李", CorrectionKind.SKIP, None), ("李", CorrectionKind.ADJUDICATION, 4)):
        store.append(run.id, items[0].id, Act(kind, author, label, "理由", "备注", (Flag.HARD,), blind=True))
    store.undo(run.id, "李")
    store.saw("王", items[1].id)
    store.lease(run.id, items[2].id, "王")
    store.mark_families(run.id)
    store.add_fault_answer(items[0].id, NewAnswer(0, 2, None, AnswerKind.MISSED, "王"))
    gone = store.retire_examples(run.library_id, [labelled[1].id], "王")
    store.undo_change(run.library_id, gone.added, gone.retired, "王")
    store.judge_again(run.id, [items[3].id])
    snapshot, job = store.add_snapshot(new_snapshot()), add_job(store)
    store.append_events(job.id, [JobEvent(1, datetime.now(UTC), EventKind.STARTED)])
    made = store.add_candidate("a", Stage.ADAPTER, "head", {}, job_id=job.id, snapshot_id=snapshot.id)
    store.add_promotion(made.id, "p", "j", before=("", "a"), after=("", "b"), verdict=GateVerdict.BETTER, reason="", author="")
    store.lease_gpu("cuda:0", "run 1", "elsewhere|1|1.0")
    assert store.ask_again(run.id, "王", judge_id="second") > 0
    store.delete_run(store.create_run(run.sheet_id, run.library_id, panel(), "majority").id)
    return run


Rows = list[dict[str, str]]


def contents(engine: Engine) -> dict[str, Rows]:
    """Return every row of every table, each value as text, by column."""
    with reading(engine) as connection:
        found = {table.name: connection.execute(select(table)).mappings().all() for table in Base.metadata.sorted_tables}
    return {name: sorted(({key: str(value) for key, value in row.items()} for row in rows), key=str) for name, rows in found.items()}


def of_columns(tables: dict[str, Rows], known: dict[str, set[str]]) -> dict[str, Rows]:
    """Return the rows with these columns alone, in an order of theirs."""
    return {name: sorted(({key: row[key] for key in row if key in known[name]} for row in tables[name]), key=str) for name in known}


def test_what_an_older_version_could_hold_is_unchanged_after_the_way_down_and_up(empty_url: str) -> None:
    engine = make_engine(empty_url)
    upgrade(engine)
    store = SqlStore(engine)
    run = fill_everything(store)
    before = contents(engine)
    assert {name for name, rows in before.items() if not rows} <= {"row_problems", "item_families"}
    for revision in ("0006", "0003"):
        migrate_to(engine, revision)
        with reading(engine) as connection:
            found = inspect(connection)
            known = {name: {column["name"] for column in found.get_columns(name)} for name in found.get_table_names() if name in before}
        assert len(known) < len(before)
        upgrade(engine)
        assert of_columns(contents(engine), known) == of_columns(before, known), revision
    assert store.queue(run.id, QueueQuery(scope=QueueScope.ANY)).total == 20
    engine.dispose()
