"""Judges side by side: what waits for what is told by events and barriers, never by the clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

import core.lanes
from core.errors import JudgeUnavailable, StoreError
from core.lanes import Answered, Batch, Broken, Lanes
from core.pipeline import Arrangement, PipelineOptions, execute
from core.ports import Judge, WorkItem
from core.types import Item, Judgement, JudgementStatus, JudgeRequest, Run, RunState, SourceRef, said
from db.store import SqlStore
from tests.db.build import DIMENSIONS, JUDGES, add_run
from tests.pipeline.judges import Mean, SmallJudge, SmallPrompts, SmallRetriever, answer

ME = "elsewhere|1|1.0"
OPTIONS = PipelineOptions(batch_size=8, examples=3, commit_seconds=60, heartbeat_seconds=0.05)
PATIENCE = 30.0
EACH = {name: f"server:{name}" for name in JUDGES}


def work(store: SqlStore, run: Run, judges: Sequence[Judge], lanes: Mapping[str, str] = EACH, **named: Any) -> RunState:
    """Claim a run and work on it with these judges in these lanes."""

    def maker(judge: Judge) -> Callable[[], Judge]:
        return lambda: judge

    options = {"prompts": SmallPrompts(), "options": OPTIONS, "arrangement": Arrangement(lanes), **named}
    return execute(
        store.claim(run.id, ME),
        store,
        [(judge.id, maker(judge)) for judge in judges],
        retriever=SmallRetriever(store.library_items(run.library_id, run.library_version)),
        aggregator=Mean(),
        dimensions=DIMENSIONS,
        worker=ME,
        **options,
    )


def plain(*but: Judge) -> list[Judge]:
    """Return a judge for each name, those of `but` in place of ordinary ones."""
    special = {judge.id: judge for judge in but}
    return [special.get(name) or SmallJudge(name) for name in JUDGES]


def outcome(store: SqlStore, run: Run) -> list[object]:
    return [
        ([replace(kept, item_id=0) for kept in row.judgements], row.verdict and row.verdict.decision) for row in store.export_rows(run.id)
    ]


def asked(judge: Judge) -> list[int]:
    assert isinstance(judge, SmallJudge)
    return [item_id for batch in judge.batches for item_id in batch]


def test_judges_of_different_lanes_are_in_flight_at_the_same_time(store: SqlStore) -> None:
    run = add_run(store, 30)
    meeting = threading.Barrier(len(JUDGES))

    def meet(_request: JudgeRequest) -> None:
        meeting.wait(PATIENCE)  # broken, and the row FAILED, unless all four judges come here

    judges = [SmallJudge(name, before=meet, reads_prompts=name == "third") for name in JUDGES]
    assert work(store, run, judges) is RunState.DONE
    assert not any(kept.status is JudgementStatus.FAILED for row in store.export_rows(run.id) for kept in row.judgements)
    ids = [item.id for item in store.items(run.sheet_id)]
    assert [asked(judge) for judge in judges] == [ids] * len(JUDGES)
    assert all(judge.closed for judge in judges)
    alone = add_run(store, 30)
    work(store, alone, [SmallJudge(name, reads_prompts=name == "third") for name in JUDGES], {})
    assert outcome(store, run) == outcome(store, alone)


def test_a_judge_that_hangs_holds_no_other_lane_back(store: SqlStore) -> None:
    run = add_run(store, 80)
    last = store.items(run.sheet_id)[-1].id
    others_through = {name: threading.Event() for name in JUDGES[1:]}

    def hang(_request: JudgeRequest) -> None:
        assert all(through.wait(PATIENCE) for through in others_through.values())

    def through(name: str) -> Callable[[JudgeRequest], None]:
        return lambda request: others_through[name].set() if request.item.id == last else None

    judges = [SmallJudge(JUDGES[0], before=hang), *(SmallJudge(name, before=through(name)) for name in JUDGES[1:])]
    assert work(store, run, judges) is RunState.DONE
    assert not any(row.judgements[0].status is JudgementStatus.FAILED for row in store.export_rows(run.id))


def test_judges_of_one_lane_take_turns(store: SqlStore) -> None:
    run = add_run(store, 30)
    card = threading.Lock()

    @dataclass
    class Greedy(SmallJudge):
        def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
            assert card.acquire(blocking=False)
            try:
                yield from super().judge(requests)
            finally:
                card.release()

    lanes = dict.fromkeys(JUDGES, "cuda:0")
    assert work(store, run, [Greedy(name) for name in JUDGES], lanes) is RunState.DONE
    assert not any(kept.status is JudgementStatus.FAILED for row in store.export_rows(run.id) for kept in row.judgements)


def test_a_judge_gets_batches_as_large_as_it_likes(store: SqlStore) -> None:
    run = add_run(store, 50)
    hungry = SmallJudge(JUDGES[0])
    hungry.preferred_batch = 32  # type: ignore[attr-defined]
    modest = SmallJudge(JUDGES[1])
    assert work(store, run, plain(hungry, modest)) is RunState.DONE
    assert [len(batch) for batch in hungry.batches] == [8, 16, 26]  # up to 32, and small at first
    assert [len(batch) for batch in modest.batches] == [8] * 6 + [2]


def test_a_judge_that_is_away_pauses_the_run_and_the_others_answers_are_kept(store: SqlStore) -> None:
    run = add_run(store, 40)
    place = store.items(run.sheet_id)[20].id
    away, others = True, threading.Event()

    def leave(request: JudgeRequest) -> None:
        if away and request.item.id == place:
            assert others.wait(PATIENCE)
            raise JudgeUnavailable("The server does not answer; start it and resume the run.")

    def tell(request: JudgeRequest) -> None:
        if request.item.id == place:
            others.set()

    first = plain(SmallJudge("second", before=leave), SmallJudge("third", before=tell))
    assert work(store, run, first) is RunState.PAUSED
    assert "does not answer" in said(store.run(run.id).error, "en")
    done = {judge.judge_id: judge.done for judge in store.progress(run.id).judges}
    assert done["second"] == 20
    assert done["third"] >= 20
    away = False
    store.resume(run.id)
    again = plain()
    assert work(store, run, again) is RunState.DONE
    for judge in again:
        assert len(asked(judge)) == 40 - done[judge.id]  # what is stored is not asked again
    undisturbed = add_run(store, 40)
    work(store, undisturbed, plain(), {})
    assert outcome(store, run) == outcome(store, undisturbed)


def test_a_row_that_breaks_a_judge_fails_alone_in_its_lane(store: SqlStore) -> None:
    run = add_run(store, 20)
    bad = store.items(run.sheet_id)[9].id

    def stumble(request: JudgeRequest) -> None:
        if request.item.id == bad:
            raise ZeroDivisionError("no signs")

    assert work(store, run, plain(SmallJudge("second", before=stumble))) is RunState.DONE
    failed = [row.item.id for row in store.export_rows(run.id) if row.judgements[1].status is JudgementStatus.FAILED]
    assert failed == [bad]


@dataclass
class Hanging(SmallJudge):
    """A judge whose server never answers, until its connections are closed."""

    gives_up_when_closed: bool = True
    asked: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)

    def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
        """Answer one row and hang."""
        yield answer(self.id, requests[0])
        self.asked.set()
        assert self.gone.wait(PATIENCE)
        raise JudgeUnavailable("closed")

    def close(self) -> None:
        """Let the request go."""
        self.gone.set()


def test_a_stop_does_not_wait_for_a_server_that_hangs(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.lanes, "PATIENCE_S", 0.2)
    run = add_run(store, 20)
    hanging = Hanging("second")

    def stop(_request: JudgeRequest) -> None:
        assert hanging.asked.wait(PATIENCE)
        store.request_stop(run.id)

    assert work(store, run, plain(SmallJudge("first", before=stop), hanging)) is RunState.STOPPED
    assert {judge.judge_id: judge.done for judge in store.progress(run.id).judges}["second"] == 1


class WatchedStore(SqlStore):
    """A store that notes which threads use it for more than a heartbeat, and may break."""

    threads: set[str]
    breaks_at = -1
    saves = 0

    def work_items(self, run_id: int, judge_ids: Sequence[str], after_position: int, limit: int) -> list[WorkItem]:
        self.threads.add(threading.current_thread().name)
        return super().work_items(run_id, judge_ids, after_position, limit)

    def save_judgements(self, run_id: int, judgements: Iterable[Judgement]) -> None:
        self.threads.add(threading.current_thread().name)
        self.saves += 1
        if self.saves == self.breaks_at:
            raise StoreError("the disk is full")
        super().save_judgements(run_id, judgements)


def test_one_thread_uses_the_store_and_its_errors_end_every_lane(store: SqlStore) -> None:
    run = add_run(store, 60, aggregator="mean")
    watched = WatchedStore(store.engine)
    watched.threads, watched.breaks_at = set(), 3
    with pytest.raises(StoreError, match="disk"):
        work(watched, run, plain())
    assert watched.threads == {threading.current_thread().name}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane-")]
    store.end_work(run.id, ME, RunState.STOPPED)
    store.resume(run.id)
    assert work(store, run, plain()) is RunState.DONE
    assert store.progress(run.id).decided == 60


def test_in_turn_the_next_judge_is_prepared_while_the_one_before_it_judges(store: SqlStore) -> None:
    run = add_run(store, 20, schedule="in_turn")
    begun = {name: threading.Event() for name in JUDGES}
    ended: list[str] = []
    order: list[str] = []

    def prepare(name: str) -> Callable[[threading.Event], None]:
        def run_ahead(over: threading.Event) -> None:
            order.append(name)
            begun[name].set()
            assert over.wait(PATIENCE)
            ended.append(name)

        return run_ahead

    def before(name: str, following: str | None) -> Callable[[JudgeRequest], None]:
        def look(_request: JudgeRequest) -> None:
            assert following is None or begun[following].wait(PATIENCE)

        return look

    judges = [SmallJudge(name, before=before(name, later)) for name, later in zip(JUDGES, [*JUDGES[1:], None], strict=True)]
    arrangement = Arrangement(dict.fromkeys(JUDGES, "cuda:0"), {name: prepare(name) for name in JUDGES})
    assert work(store, run, judges, arrangement=arrangement) is RunState.DONE
    assert order == ended == list(JUDGES[1:])
    assert not any(kept.status is JudgementStatus.FAILED for row in store.export_rows(run.id) for kept in row.judgements)


# The lanes themselves, without a store


def lanes_of(*groups: tuple[str, list[str]]) -> Lanes:
    lanes = Lanes(groups)
    lanes.start()
    return lanes


def batch_for(judge: Judge, first: int, last: int) -> Batch:
    requests = tuple(
        JudgeRequest(Item(number, 1, number, str(number), "fluency", "", "文", None, "", SourceRef("f", "", number)), DIMENSIONS["fluency"])
        for number in range(first, last + 1)
    )
    return Batch(((judge, requests),), last)


def test_the_lane_with_least_to_do_is_fed_first_and_never_more_than_two_batches() -> None:
    gate = threading.Event()
    slow, quick = SmallJudge("slow", before=lambda request: gate.wait(PATIENCE)), SmallJudge("quick")
    lanes = lanes_of(("a", ["slow"]), ("b", ["quick"]))
    one, other = lanes.all
    try:
        one.put(batch_for(slow, 0, 4))
        assert lanes.hungry() is other  # nothing waits there
        other.put(batch_for(quick, 0, 9))
        assert lanes.hungry() is one  # as much waits, and it is less far
        while other.done != 9:
            list(lanes.events(1))
        assert lanes.hungry() is other  # nothing waits there again, though it is further
        one.put(batch_for(slow, 5, 9))
        other.exhausted = True
        assert lanes.hungry() is None
        assert (lanes.over, lanes.done) == (False, -1)  # the slow one has answered nothing
    finally:
        gate.set()
        left = lanes.stop([slow, quick])
    assert [found.item_id for found in left] == list(range(len(left)))
    assert all(lane.join(0) for lane in lanes.all)


def test_a_stop_ends_after_the_answer_in_the_making_and_gives_what_nobody_took_once() -> None:
    reached, gate = threading.Event(), threading.Event()

    def hold(request: JudgeRequest) -> None:
        if request.item.id == 3:
            reached.set()
            assert gate.wait(PATIENCE)

    judge = SmallJudge("only", before=hold)
    lanes = lanes_of(("a", ["only"]))
    lanes.all[0].put(batch_for(judge, 0, 5))
    assert reached.wait(PATIENCE)
    lanes.all[0].tell_to_stop()
    gate.set()
    assert [found.item_id for found in lanes.stop([judge])] == [0, 1, 2, 3]
    assert lanes.stop([judge]) == []


def test_an_error_inside_a_lane_comes_out_as_an_event_and_ends_that_lane_alone() -> None:
    def away(request: JudgeRequest) -> None:
        raise JudgeUnavailable("gone")

    broken, sound = SmallJudge("broken", before=away), SmallJudge("sound")
    lanes = lanes_of(("a", ["broken"]), ("b", ["sound"]))
    lanes.all[0].put(batch_for(broken, 0, 3))
    lanes.all[1].put(batch_for(sound, 0, 3))
    found: list[object] = []
    while not (any(isinstance(event, Broken) for event in found) and lanes.all[1].done == 3):
        found += lanes.events(1)
    (error,) = [event.error for event in found if isinstance(event, Broken)]
    assert isinstance(error, JudgeUnavailable)
    assert lanes.all[0].join(PATIENCE)
    assert [event.judgement.judge_id for event in found if isinstance(event, Answered)] == ["sound"] * 4
    lanes.stop([broken, sound])


def test_no_lanes_are_over_before_they_begin() -> None:
    lanes = Lanes([])
    assert (lanes.over, lanes.done, lanes.hungry(), list(lanes.events(0))) == (True, -1, None, [])
    idle = Lanes([("a", ["x"])])
    assert idle.all[0].join(0)  # never started
