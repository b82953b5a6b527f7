"""Answers to suspected faults on a real database: appended, taken back once, exported, and kept through migrations."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, inspect, text

from core.errors import LabelError, NotFound
from core.faultmarks import MarkKind
from core.faultplaces import AnswerKind, standing
from db.engine import make_engine, reading
from db.fault_answers import NewAnswer
from db.migrate import migrate_to, upgrade
from db.store import SqlStore
from tests.db.build import add_run, add_sheet
from tests.db.test_results import fill


def given(start: int, end: int, answer: AnswerKind = AnswerKind.CONFIRM, author: str = "林", run_id: int | None = None) -> NewAnswer:
    return NewAnswer(start, end, MarkKind.ORDER, answer, author, "rules", run_id)


def test_answers_are_appended_and_taken_back_once(store: SqlStore) -> None:
    run = add_run(store, 3)
    item = store.items(run.sheet_id)[0]
    first = store.add_fault_answer(item.id, given(0, 2, run_id=run.id))
    second = store.add_fault_answer(item.id, given(0, 2, AnswerKind.REJECT))
    assert (first.run_id, first.judge_id, first.kind, first.author) == (run.id, "rules", MarkKind.ORDER, "林")
    with pytest.raises(LabelError, match="no such answer"):
        store.undo_fault_answer(item.id, second.id, "吴")
    undone = store.undo_fault_answer(item.id, second.id, "林")
    assert (undone.answer, undone.retracts) == (AnswerKind.UNDO, second.id)
    for again in (second.id, undone.id, 4711):
        with pytest.raises(LabelError):
            store.undo_fault_answer(item.id, again, "林")
    kept = store.fault_answers(item.id)
    assert [one.id for one in kept] == [first.id, second.id, undone.id]
    assert standing(kept) == (first,)
    assert store.fault_answers(store.items(run.sheet_id)[1].id) == []


def test_an_undo_of_two_tabs_at_once_happens_once(store: SqlStore) -> None:
    item = store.items(add_run(store, 1).sheet_id)[0]
    answer = store.add_fault_answer(item.id, given(0, 2))

    def undo(_: int) -> bool:
        try:
            store.undo_fault_answer(item.id, answer.id, "林")
        except LabelError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(undo, range(4))) == 1
    assert len(store.fault_answers(item.id)) == 2


def test_a_span_must_stand_in_the_text(store: SqlStore) -> None:
    item = store.items(add_run(store, 1).sheet_id)[0]
    store.add_fault_answer(item.id, given(0, len(item.text)))
    for start, end in ((0, len(item.text) + 1), (3, 3), (-1, 2)):
        with pytest.raises(LabelError, match="no place of the text"):
            store.add_fault_answer(item.id, given(start, end))
    with pytest.raises(NotFound):
        store.add_fault_answer(4711, given(0, 1))


def test_equal_texts_of_several_sheets_are_one_in_the_data(store: SqlStore) -> None:
    run = add_run(store, 6)
    twin = add_sheet(store, 2, "cd" * 32)
    items, again = store.items(run.sheet_id), store.items(twin.id)
    store.add_fault_answer(items[3].id, given(0, 1))
    store.add_fault_answer(items[0].id, given(0, 2))
    store.add_fault_answer(again[0].id, given(2, 4, author="吴"))
    found = list(store.answered_texts())
    assert [(one.text, one.dimension_id) for one in found] == [(items[0].text, "fluency"), (items[3].text, "fluency")]
    assert [(one.start, one.author) for one in found[0].answers] == [(0, "林"), (2, "吴")]
    assert found[0].prompt == items[0].prompt


def test_what_stands_is_counted_as_it_is_exported(store: SqlStore) -> None:
    run = add_run(store, 3)
    twin = add_sheet(store, 2, "cd" * 32)
    items, again = store.items(run.sheet_id), store.items(twin.id)
    assert (store.answer_totals().texts, store.answer_totals().total) == (0, 0)
    store.add_fault_answer(items[0].id, given(0, 2))
    store.add_fault_answer(again[0].id, given(0, 2, AnswerKind.REJECT))  # the same text: the last one stands
    store.add_fault_answer(items[0].id, NewAnswer(1, 3, None, AnswerKind.MISSED, "吴"))
    gone = store.add_fault_answer(items[1].id, given(0, 1))
    store.undo_fault_answer(items[1].id, gone.id, "林")
    totals = store.answer_totals()
    assert (totals.texts, totals.total) == (1, 2)
    assert totals.answers == {AnswerKind.REJECT: 1, AnswerKind.MISSED: 1}
    assert totals.kinds == {MarkKind.ORDER: 1, None: 1}


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = make_engine(url)
    yield opened
    opened.dispose()


def test_a_filled_database_of_the_fifth_revision_gets_the_table_and_loses_nothing(engine: Engine) -> None:
    upgrade(engine)
    store = SqlStore(engine)
    run = fill(store, 12, 12, finish=True)
    rows = [store.row(run.id, item.id) for item in store.items(run.sheet_id)]
    migrate_to(engine, "0005")
    with reading(engine) as connection:
        assert "fault_answers" not in inspect(connection).get_table_names()
    upgrade(engine)
    assert [store.row(run.id, item.id) for item in store.items(run.sheet_id)] == rows
    item = rows[0].item
    answer = store.add_fault_answer(item.id, given(0, 2, run_id=run.id))
    store.undo_fault_answer(item.id, answer.id, "林")
    with reading(engine) as connection:
        checks = {constraint["name"] for constraint in inspect(connection).get_check_constraints("fault_answers")}
    assert checks == {"ck_fault_answers_span", "ck_fault_answers_answer"}
    migrate_to(engine, "0005")
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM items")).scalar_one() == len(rows)
    upgrade(engine)
    assert store.fault_answers(item.id) == []
