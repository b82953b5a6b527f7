"""What cannot be worked on fails with the reason in both languages, and nothing that was answered is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import StoreError
from core.pipeline import Arrangement, Heartbeat, execute
from core.ports import Judge
from core.types import Decision, Dimension, Example, Item, Judgement, Run, RunState
from db.store import SqlStore
from tests.db.build import DIMENSIONS, JUDGES, add_run
from tests.pipeline.judges import Mean, SmallJudge, SmallRetriever
from tests.pipeline.test_pipeline import ME, OPTIONS, work


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A SQLite file alone: these rules do not depend on the database."""
    return f"sqlite:///{tmp_path / 'pingpan.db'}"


def fail(store: SqlStore, run: Run, makers: Sequence[tuple[str, Callable[[], Judge]]], **named: Any) -> tuple[str, str]:
    """Return what is said of a run that fails, in English and in Chinese."""
    options: dict[str, Any] = {"retriever": None, "prompts": None, "aggregator": Mean(), "dimensions": DIMENSIONS, "worker": ME, **named}
    assert execute(store.claim(run.id, ME), store, makers, **options) is RunState.FAILED
    error = store.run(run.id).error
    assert error["en"] != error["zh"]
    return error["en"], error["zh"]


def makers_of(*judges: Judge) -> list[tuple[str, Callable[[], Judge]]]:
    return [(name, lambda judge=judge: judge) for name, judge in zip(JUDGES, judges, strict=False)]  # type: ignore[misc]


def test_a_judge_that_calls_itself_otherwise_is_told_and_closed(store: SqlStore) -> None:
    stranger = SmallJudge("stranger")
    en, zh = fail(store, add_run(store, 3), makers_of(SmallJudge("first"), stranger))
    assert "The judge made for 'second' calls itself 'stranger'" in en
    assert "为 'second' 建立的评委自称 'stranger'" in zh
    assert stranger.closed


def test_a_judge_that_reads_prompts_needs_them(store: SqlStore) -> None:
    en, zh = fail(store, add_run(store, 3), makers_of(SmallJudge("first", reads_prompts=True)))
    assert "reads prompts, but none are configured" in en
    assert "需要提示词" in zh


def test_an_index_that_answers_for_too_few_rows_is_told_with_the_command(store: SqlStore) -> None:
    class Short(SmallRetriever):
        def search(self, items: Sequence[Item], limit: int) -> list[tuple[Example, ...]]:
            return super().search(items, limit)[:-1]

    run = add_run(store, 5)
    retriever = Short(store.library_items(run.library_id, run.library_version))
    en, zh = fail(store, run, makers_of(SmallJudge("first")), retriever=retriever)
    for text in (en, zh):
        assert "`./run.sh reindex`" in text
    assert all(not store.row(run.id, item.id).examples for item in store.items(run.sheet_id))
    store.resume(run.id)
    assert work(store, run, [SmallJudge(name) for name in JUDGES]) is RunState.DONE


def test_a_dimension_that_comes_back_lets_the_run_go_on(store: SqlStore) -> None:
    run = add_run(store, 6)
    few = {name: found for name, found in DIMENSIONS.items() if name != "choice"}
    en, zh = fail(store, run, makers_of(SmallJudge("first")), dimensions=few)
    assert "Put its file back, then resume the run." in en
    assert "请放回该文件，然后继续运行。" in zh
    store.resume(run.id)
    assert work(store, run, [SmallJudge(name) for name in JUDGES]) is RunState.DONE


@pytest.mark.parametrize("lanes", [{}, dict.fromkeys(JUDGES, "a")])
def test_an_error_of_the_program_itself_is_raised_and_what_was_answered_is_kept(store: SqlStore, lanes: dict[str, str]) -> None:
    run = add_run(store, 20)
    opened = SmallJudge("first")

    class Broken(Mean):
        def __call__(self, judgements: Sequence[Judgement], dimension: Dimension, lead: str) -> Decision:
            raise ZeroDivisionError("a fault of the program")

    with pytest.raises(ZeroDivisionError, match="a fault of the program"):
        execute(
            store.claim(run.id, ME), store, makers_of(opened, *map(SmallJudge, JUDGES[1:])), retriever=None, prompts=None, aggregator=Broken(),
            dimensions=DIMENSIONS, worker=ME, options=OPTIONS, arrangement=Arrangement(lanes),
        )  # fmt: skip
    assert opened.closed
    assert store.progress(run.id).judges[0].done >= 16
    assert store.run(run.id).state is RunState.RUNNING  # claimable again once its worker is known to be gone
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("lane-", "heartbeat-"))]


def test_what_is_prepared_ahead_may_fail_and_the_judge_starts_all_the_same(store: SqlStore, caplog: pytest.LogCaptureFixture) -> None:
    run = add_run(store, 4, schedule="in_turn")

    def unprepared(over: threading.Event) -> None:
        raise OSError("no such file")

    arrangement = Arrangement(dict.fromkeys(JUDGES, "cuda:0"), dict.fromkeys(JUDGES, unprepared))
    judges = [SmallJudge(name) for name in JUDGES]
    state = execute(
        store.claim(run.id, ME), store, makers_of(*judges), retriever=None, prompts=None, aggregator=Mean(), dimensions=DIMENSIONS,
        worker=ME, options=OPTIONS, arrangement=arrangement,
    )  # fmt: skip
    assert state is RunState.DONE
    assert caplog.messages.count("preparing the next judge failed") == 3
    assert [sum(map(len, judge.batches)) for judge in judges] == [4] * 4


def test_a_heartbeat_that_the_store_refuses_is_noted_and_the_next_one_tried(caplog: pytest.LogCaptureFixture) -> None:
    beats: list[int] = []
    enough = threading.Event()

    class Refusing(SqlStore):
        def heartbeat(self, run_id: int, worker: str) -> bool:
            beats.append(run_id)
            if len(beats) == 2:
                raise StoreError("database is locked")
            if len(beats) == 4:
                enough.set()
            return True

    with Heartbeat(Refusing.__new__(Refusing), 7, ME, seconds=0.01) as heart:
        assert enough.wait(10)
        assert not heart.halted
    assert any("heartbeat of run 7: database is locked" in line for line in caplog.messages)
