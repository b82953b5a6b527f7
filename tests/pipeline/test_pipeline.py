"""The run loop over a real store: what it asks, stores and leaves behind, whatever the judges do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from core.answers import answers_of
from core.errors import JudgeError, JudgeUnavailable, PingpanError, RetrievalError
from core.pipeline import PipelineOptions, execute
from core.ports import Judge
from core.queries import ExportRow
from core.types import Judgement, JudgementStatus, JudgeRequest, Run, RunState, said
from db.store import SqlStore
from tests.db.build import DIMENSIONS, JUDGES, add_run
from tests.pipeline.judges import Mean, SmallJudge, SmallPrompts, SmallRetriever, answer

ME = "elsewhere|1|1.0"
OPTIONS = PipelineOptions(batch_size=16, examples=3, commit_seconds=60, heartbeat_seconds=0.05)


def work(
    store: SqlStore,
    run: Run,
    judges: Sequence[Judge],
    *,
    retriever: SmallRetriever | None = None,
    prompts: SmallPrompts | None = None,
    aggregator: str = "mean",
    options: PipelineOptions = OPTIONS,
    on_progress: Callable[[], None] | None = None,
) -> RunState:
    """Claim a run and work on it with these judges."""

    def maker(judge: Judge) -> Callable[[], Judge]:
        return lambda: judge

    return execute(
        store.claim(run.id, ME),
        store,
        [(judge.id, maker(judge)) for judge in judges],
        retriever=retriever or SmallRetriever(store.library_items(run.library_id, run.library_version)),
        prompts=prompts,
        aggregator=Mean(aggregator),
        dimensions=DIMENSIONS,
        worker=ME,
        options=options,
        on_progress=on_progress,
    )


def answers(store: SqlStore, run: Run) -> list[ExportRow]:
    return list(store.export_rows(run.id))


@pytest.mark.parametrize("schedule", ["together", "in_turn"])
def test_every_row_is_asked_once_and_gets_its_verdict(store: SqlStore, schedule: str) -> None:
    run = add_run(store, 50, schedule=schedule, aggregator="mean")
    judges = [SmallJudge(name, reads_prompts=name in {"second", "third"}) for name in JUDGES]
    retriever, prompts = SmallRetriever(store.library_items(run.library_id)), SmallPrompts()
    assert work(store, run, judges, retriever=retriever, prompts=prompts) is RunState.DONE
    ids = [item.id for item in store.items(run.sheet_id)]
    for judge in judges:
        assert [item_id for batch in judge.batches for item_id in batch] == ids
        assert [len(batch) for batch in judge.batches] == [16, 16, 16, 2]
        assert judge.closed
    assert retriever.asked == ids
    assert sorted(prompts.rendered) == ids  # once for all judges that read prompts
    for row in answers(store, run):
        assert [kept.judge_id for kept in row.judgements] == list(JUDGES)
        detail = store.row(run.id, row.item.id)
        request = JudgeRequest(row.item, DIMENSIONS[row.item.dimension_id], detail.examples)
        assert row.judgements[0] == answer("first", request)
        assert bool(row.judgements[1].prompt_sha256)
        assert row.verdict is not None
        assert row.verdict.decision == Mean()(row.judgements, request.dimension, "first")
    progress = store.progress(run.id)
    assert (progress.state, progress.stage, progress.decided, progress.seconds_left) == (RunState.DONE, "done", 50, 0.0)


def test_both_schedules_end_the_same(store: SqlStore) -> None:
    results = []
    for schedule in ("together", "in_turn"):
        run = add_run(store, 40, schedule=schedule, aggregator="mean")
        work(store, run, [SmallJudge(name) for name in JUDGES])
        rows = answers(store, run)
        results.append([([replace(kept, item_id=0) for kept in row.judgements], row.verdict and row.verdict.decision) for row in rows])
    assert results[0] == results[1]


def test_in_turn_only_one_judge_is_open_at_a_time(store: SqlStore) -> None:
    run = add_run(store, 20, schedule="in_turn")
    judges = {name: SmallJudge(name) for name in JUDGES}
    made: list[str] = []

    def maker(name: str) -> Callable[[], Judge]:
        def make() -> Judge:
            assert all(judges[before].closed for before in made)
            made.append(name)
            return judges[name]

        return make

    state = execute(
        store.claim(run.id, ME),
        store,
        [(name, maker(name)) for name in JUDGES],
        retriever=None,
        prompts=None,
        aggregator=Mean("majority"),
        dimensions=DIMENSIONS,
        worker=ME,
        options=OPTIONS,
    )
    assert (state, made) == (RunState.DONE, list(JUDGES))


def test_another_aggregator_asks_no_judge_and_makes_none(store: SqlStore) -> None:
    run = add_run(store, 30, aggregator="mean")
    work(store, run, [SmallJudge(name) for name in JUDGES])
    store.set_aggregator(run.id, "middle")

    class Untouchable(SmallJudge):
        def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
            raise AssertionError("asked")

    judges = [Untouchable(name) for name in JUDGES]
    assert work(store, run, judges, aggregator="middle") is RunState.DONE
    assert not any(judge.closed for judge in judges)
    assert {row.verdict and row.verdict.aggregator for row in answers(store, run)} == {"middle"}
    assert {row.verdict and row.verdict.decision.reason for row in answers(store, run)} <= {"middle", "no_votes"}


def test_a_row_that_breaks_a_judge_fails_alone(store: SqlStore) -> None:
    run = add_run(store, 40)
    bad = {item.id for item in store.items(run.sheet_id) if item.position in {0, 7, 8, 39}}

    def stumble(request: JudgeRequest) -> None:
        if request.item.id in bad:
            raise ZeroDivisionError("no signs in the text")

    judges = [SmallJudge("first"), SmallJudge("second", before=stumble), SmallJudge("third"), SmallJudge("fourth")]
    assert work(store, run, judges) is RunState.DONE
    for row in answers(store, run):
        kept = row.judgements[1]
        assert (kept.status is JudgementStatus.FAILED) == (row.item.id in bad)
        if row.item.id in bad:
            assert kept.error == {"": "ZeroDivisionError: no signs in the text"}
        assert row.verdict is not None


class Odd(SmallJudge):
    """A judge whose answers do not fit the questions."""

    way = ""

    def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
        """Answer wrongly."""
        self.batches.append([request.item.id for request in requests])
        good = [answer(self.id, request) for request in requests]
        if self.way == "reversed":
            good.reverse()
        elif self.way == "too few":
            good = good[: len(good) // 2]
        elif self.way == "too many":
            good *= 2
        elif self.way == "as another":
            good = [replace(given, judge_id="third") for given in good]
        elif self.way == "half a distribution":
            good = [replace(given, status=JudgementStatus.OK, probabilities={1: 0.5}, label=1, raw_reply="1") for given in good]
        elif self.way == "not a number":
            labels = requests[0].dimension.labels
            good = [replace(given, status=JudgementStatus.OK, probabilities=dict.fromkeys(labels, float("nan")), label=1) for given in good]
        yield from good


@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("reversed", None),
        ("too few", JudgementStatus.FAILED),
        ("too many", None),
        ("as another", JudgementStatus.FAILED),
        ("half a distribution", JudgementStatus.FAILED),
        ("not a number", JudgementStatus.FAILED),
    ],
)
def test_answers_that_do_not_fit_are_caught(way: str, status: JudgementStatus | None, store: SqlStore) -> None:
    run = add_run(store, 8)
    judge = Odd("first")
    judge.way = way
    requests = [JudgeRequest(item, DIMENSIONS[item.dimension_id]) for item in store.items(run.sheet_id)]
    given = list(answers_of(judge, requests))
    assert [kept.item_id for kept in given] == [request.item.id for request in requests]
    assert {kept.judge_id for kept in given} == {"first"}
    if status is None:  # the answers themselves were right, and asked one by one they are taken
        assert given == [answer("first", request) for request in requests]
    else:
        failed = [kept for kept in given if kept.status is status]
        assert failed
        assert all(kept.error for kept in failed)


def test_a_judge_that_is_away_pauses_the_run_and_nothing_is_lost(store: SqlStore) -> None:
    run = add_run(store, 40)
    third_row = store.items(run.sheet_id)[18].id
    away = True

    def leave(request: JudgeRequest) -> None:
        if away and request.item.id == third_row:
            raise JudgeUnavailable("The server at 127.0.0.1:8000 does not answer; start it and resume the run.")

    def judges() -> list[SmallJudge]:
        return [SmallJudge(name, before=leave if name == "second" else None) for name in JUDGES]

    assert work(store, run, judges()) is RunState.PAUSED
    paused = store.run(run.id)
    assert "does not answer" in said(paused.error, "en")
    assert [judge.done for judge in store.progress(run.id).judges] == [32, 18, 16, 16]
    away = False
    store.resume(run.id)
    second_time = judges()
    assert work(store, run, second_time) is RunState.DONE
    assert [sum(map(len, judge.batches)) for judge in second_time] == [8, 22, 24, 24]
    assert store.run(run.id).error == {}


@pytest.mark.parametrize("error", [JudgeError("The weights are not here; run `./run.sh setup models`."), RetrievalError("old index")])
def test_what_cannot_start_fails_the_run_with_the_reason(store: SqlStore, error: PingpanError) -> None:
    run = add_run(store, 5)
    opened = SmallJudge("first")

    def break_off() -> Judge:
        raise error

    makers: list[tuple[str, Callable[[], Judge]]] = [("first", lambda: opened), ("second", break_off)]
    state = execute(
        store.claim(run.id, ME),
        store,
        makers,
        retriever=None,
        prompts=None,
        aggregator=Mean(),
        dimensions=DIMENSIONS,
        worker=ME,
    )
    assert state is RunState.FAILED
    assert store.run(run.id).error == error.messages
    assert opened.closed


def test_a_dimension_whose_file_is_gone_is_named(store: SqlStore) -> None:
    run = add_run(store, 5)
    makers: list[tuple[str, Callable[[], Judge]]] = [(name, lambda name=name: SmallJudge(name)) for name in JUDGES]  # type: ignore[misc]
    few = {name: found for name, found in DIMENSIONS.items() if name != "choice"}
    state = execute(store.claim(run.id, ME), store, makers, retriever=None, prompts=None, aggregator=Mean(), dimensions=few, worker=ME)
    assert state is RunState.FAILED
    assert "Row 4 (D00002) is of the dimension 'choice'" in said(store.run(run.id).error, "en")
    assert "第 4 行" in said(store.run(run.id).error, "zh")


def test_a_stop_is_obeyed_inside_a_batch_and_keeps_what_was_answered(store: SqlStore) -> None:
    run = add_run(store, 64)
    stop_at = store.items(run.sheet_id)[20].id
    asked: list[int] = []

    def ask_to_stop(request: JudgeRequest) -> None:
        asked.append(request.item.id)
        if request.item.id == stop_at:
            store.request_stop(run.id)
        if len(asked) > 21:
            time.sleep(0.05)  # slower than the heartbeat

    judges = [SmallJudge("first", before=ask_to_stop), *(SmallJudge(name) for name in JUDGES[1:])]
    assert work(store, run, judges) is RunState.STOPPED
    done = store.progress(run.id).judges[0].done
    assert 21 <= done < 32
    store.resume(run.id)
    again = [SmallJudge(name) for name in JUDGES]
    assert work(store, run, again) is RunState.DONE
    assert sum(map(len, again[0].batches)) == 64 - done


def test_answers_are_committed_as_they_come(store: SqlStore) -> None:
    run = add_run(store, 16)
    seen: list[int] = []

    def look(request: JudgeRequest) -> None:
        seen.append(store.progress(run.id).judges[0].done)

    options = replace(OPTIONS, commit_seconds=0.0)
    work(store, run, [SmallJudge("first", before=look), *(SmallJudge(name) for name in JUDGES[1:])], options=options)
    assert seen == list(range(16))


def test_a_worker_that_lost_its_run_leaves_it_alone(store: SqlStore) -> None:
    run = add_run(store, 40)
    taken = threading.Event()

    def lose(request: JudgeRequest) -> None:
        if not taken.is_set():
            taken.set()
            store.request_stop(run.id)
            store.end_work(run.id, ME, RunState.STOPPED)
            store.claim(run.id, "elsewhere|2|2.0")

    judges = [SmallJudge(name, before=lose) for name in JUDGES]
    assert work(store, run, judges) is RunState.RUNNING
    assert store.heartbeat(run.id, "elsewhere|2|2.0")
    assert all(len(judge.batches) <= 1 for judge in judges)


def test_a_slow_judge_does_not_look_dead(store: SqlStore) -> None:
    run = add_run(store, 1)

    def think(request: JudgeRequest) -> None:
        time.sleep(0.4)
        beaten = store.progress(run.id).elapsed_seconds
        assert beaten > 0.3
        assert store.run(run.id).worked_seconds > 0.2  # written while the judge thought

    assert work(store, run, [SmallJudge("first", before=think), *(SmallJudge(name) for name in JUDGES[1:])]) is RunState.DONE
    assert store.row(run.id, store.items(run.sheet_id)[0].id).judgements[0].status is not JudgementStatus.FAILED


def test_progress_is_reported_and_a_run_without_rows_is_done(store: SqlStore) -> None:
    run = add_run(store, 33)
    stages: list[str] = []
    options = replace(OPTIONS, progress_seconds=0.0)
    judges = [SmallJudge(name) for name in JUDGES]
    work(store, run, judges, options=options, on_progress=lambda: stages.append(store.progress(run.id).stage))
    assert list(dict.fromkeys(stages)) == ["loading", "judging", "deciding"]
    assert len(stages) > 12
    empty = add_run(store, 0)
    assert work(store, empty, [SmallJudge(name) for name in JUDGES]) is RunState.DONE
