"""Migrations on filled tables, by several processes at once, and databases of the future."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, Table, insert, inspect, select, text

from core.errors import StoreError
from core.queries import RowQuery
from core.review import QueueQuery, QueueScope
from core.types import CorrectionKind, JudgementStatus
from db.base import table_of
from db.corrections import Act
from db.engine import make_engine, reading, writing
from db.migrate import FRESH, current_revision, head_revision, migrate_to, revisions, schema, upgrade
from db.models import Base, JudgementRecord, TallyRecord, VerdictRecord
from db.store import SqlStore
from tests.db.build import add_run
from tests.db.test_results import fill


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    opened = make_engine(empty_url)
    yield opened
    opened.dispose()


def contents(engine: Engine, table: Table, without: tuple[str, ...] = ()) -> list[tuple[object, ...]]:
    columns = [column for column in table.columns if column.name not in without]
    with reading(engine) as connection:
        return sorted((tuple(map(str, row)) for row in connection.execute(select(*columns))), key=str)


def test_migrations_make_exactly_the_tables_of_the_models(engine: Engine) -> None:
    upgrade(engine)
    with reading(engine) as connection:
        assert current_revision(connection) == head_revision()
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        for table in inspect(connection).get_table_names():
            for constraint in inspect(connection).get_check_constraints(table) + inspect(connection).get_foreign_keys(table):
                assert constraint["name"], f"a constraint of {table} has no name"


def clauses(statements: str) -> list[list[str]]:
    """Return each statement's parts without an order: Alembic writes a table's constraints in any."""
    return [sorted(part.rstrip(" );") for part in line.split(", CONSTRAINT ")) for line in statements.splitlines()]


def test_a_new_file_gets_what_the_migrations_make_and_nothing_more(tmp_path: Path) -> None:
    migrated, fresh = (make_engine(f"sqlite:///{tmp_path / name}.db") for name in ("migrated", "fresh"))
    migrate_to(migrated, "head")
    shipped = FRESH.read_text(encoding="utf-8")
    assert clauses(shipped) == clauses(schema(migrated)), "write it anew: python -m db.migrations"
    assert revisions()[-1] == head_revision()
    upgrade(fresh)
    assert schema(fresh) == shipped
    for engine in (migrated, fresh):
        assert [contents(engine, table) for table in Base.metadata.sorted_tables if contents(engine, table)] == []
        engine.dispose()


def test_a_file_that_holds_other_tables_is_migrated_beside_them(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'pingpan.db'}")
    with writing(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE notes (words TEXT)")
    upgrade(engine)
    assert "notes" in schema(engine)
    assert SqlStore(engine).sheets() == []
    engine.dispose()


def test_a_filled_database_goes_down_to_every_revision_and_up_again_unchanged(engine: Engine) -> None:
    upgrade(engine)
    store = SqlStore(engine)
    run = fill(store, 40, 50, finish=False)
    tables = [table for table in Base.metadata.sorted_tables if table.name != "judgement_tallies"]
    before = {table.name: contents(engine, table) for table in tables}
    tallies = contents(engine, table_of(TallyRecord), ("latency_ms",))
    assert len(tallies) > 4
    page = store.rows(run.id, RowQuery(status=JudgementStatus.FAILED))
    assert page.total > 3
    for revision in reversed(revisions()[:-1]):
        migrate_to(engine, revision)
        with reading(engine) as connection:
            assert current_revision(connection) == revision
        upgrade(engine)
        assert {table.name: contents(engine, table) for table in tables} == before
        assert contents(engine, table_of(TallyRecord), ("latency_ms",)) == tallies
        assert store.rows(run.id, RowQuery(status=JudgementStatus.FAILED)) == page


def test_a_run_of_the_first_revision_goes_on_after_the_upgrade(engine: Engine) -> None:
    upgrade(engine)
    store = SqlStore(engine)
    run = add_run(store, 3)
    items = store.items(run.sheet_id)
    migrate_to(engine, revisions()[0])
    row = {"run_id": run.id, "status": JudgementStatus.OK, "probabilities": {1: 1.0}, "raw_reply": "", "rationale": "", "prompt_sha256": ""}
    rest = {"label": 1, "latency_ms": 4.0, "tokens": 0, "error": "", "created_at": run.created_at}
    with writing(engine) as connection:
        judges = ("first", "second")
        values = [{**row, **rest, "item_id": item.id, "judge_id": judge} for item in items for judge in judges]
        connection.execute(insert(table_of(JudgementRecord)), values)
        connection.execute(
            text(
                "INSERT INTO verdicts (run_id, item_id, position, dimension_id, aggregator, outcome, label, disagreement, "
                "probabilities, reason, created_at) VALUES (:run, :item, 0, 'fluency', 'majority', 'majority', 1, 0, '{}', '', :at)"
            ),
            {"run": run.id, "item": items[0].id, "at": run.created_at if engine.dialect.name == "postgresql" else "2026-01-01 00:00:00"},
        )
    upgrade(engine)
    progress = store.progress(run.id)
    assert [judge.done for judge in progress.judges] == [3, 3, 0, 0]
    assert progress.judges[0].mean_latency_ms == 4.0
    assert progress.decided == 1
    assert store.rows(run.id, RowQuery(status=JudgementStatus.OK, outcome=None)).total == 3
    with reading(engine) as connection:
        assert connection.execute(select(VerdictRecord.statuses)).scalar_one() == 1


def test_verdicts_and_corrections_of_the_second_revision_get_their_place_in_the_queue(engine: Engine) -> None:
    upgrade(engine)
    store = SqlStore(engine)
    run = fill(store, 40, 40, finish=True)
    ids = [item.id for item in store.items(run.sheet_id)][:3]
    for item_id, author, label in ((ids[0], "王", 2), (ids[0], "王", 4), (ids[1], "王", 3), (ids[1], "李", 5), (ids[2], "李", 1)):
        store.add_correction(item_id, label, author, run_id=run.id)
    everything = QueueQuery(scope=QueueScope.ANY, page_size=100)
    before = store.queue(run.id, everything)
    states = [store.item_state(item_id) for item_id in ids]
    migrate_to(engine, "0002")
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM corrections")).scalar_one() == 5
    upgrade(engine)
    assert store.queue(run.id, everything) == before
    assert [store.item_state(item_id) for item_id in ids] == states
    assert [state.label for state in states] == [4, None, 1]
    exported = {row.item.id: row.corrected for row in store.export_rows(run.id)}
    assert [exported[item_id] for item_id in ids] == [4, None, 1]
    assert store.undo(run.id, "李").current != 1


def test_skips_undos_and_what_they_took_back_cannot_go_down(engine: Engine) -> None:
    upgrade(engine)
    store = SqlStore(engine)
    run = fill(store, 5, 5, finish=True)
    item_id = store.items(run.sheet_id)[0].id
    store.append(run.id, item_id, Act(CorrectionKind.LABEL, "王", 2))
    store.append(run.id, item_id, Act(CorrectionKind.LABEL, "王", 3))
    store.undo(run.id, "王")
    store.append(run.id, item_id, Act(CorrectionKind.SKIP, "李"))
    migrate_to(engine, "0002")
    upgrade(engine)
    assert [(event.kind, event.label) for event in store.events(item_id)] == [(CorrectionKind.LABEL, 2)]


def test_down_to_nothing_and_up_again(engine: Engine) -> None:
    upgrade(engine)
    migrate_to(engine, "base")
    with reading(engine) as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    upgrade(engine)
    assert SqlStore(engine).sheets() == []


def test_processes_that_start_at_once_migrate_once(empty_url: str) -> None:
    code = "import sys; from db.engine import *; from db.migrate import *; e = make_engine(sys.argv[1]); upgrade(e); e.dispose()"
    command = [sys.executable, "-W", "error", "-c", code, empty_url]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    results = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    assert results == [("", 0)] * 4


def test_a_database_of_a_newer_version_is_not_touched(engine: Engine) -> None:
    upgrade(engine)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"newer Pingpan \(revision 9999\)") as caught:
        upgrade(engine)
    assert "更新版本" in caught.value.messages["zh"]
    with pytest.raises(StoreError, match="newer Pingpan"):
        migrate_to(engine, "head")
