"""Rules of jobs, cards, snapshots, judges that jobs made, and promotions, in every state and for several people at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from core.errors import JobError, NotFound, StoreError
from core.processes import current_process
from core.training import EventKind, GateVerdict, JobEvent, JobKind, JobState, Stage
from core.types import LocalText, Origin, SheetRow, SourceRef
from db.base import now
from db.engine import writing
from db.models_training import GpuLeaseRecord, JobRecord
from db.store import SqlStore
from db.training_jobs import LEASE_STALE_AFTER
from tests.db.build import add_library, sheet_rows
from tests.db.test_training import JOBS, add_job, new_snapshot

ME = current_process()
ELSEWHERE = "elsewhere|1|2.00"
LOST = "\N{REPLACEMENT CHARACTER}"
OVER = {JobState.DONE, JobState.FAILED, JobState.STOPPED}
WHY = {"zh": "显存不足", "en": "out of memory"}

CALLS: dict[str, Callable[[SqlStore, int], object]] = {
    "claim": lambda store, job_id: store.claim_next_job(ME, wanted=lambda job: job.id == job_id),
    "stop": lambda store, job_id: store.request_job_stop(job_id),
    "stopped": lambda store, job_id: store.set_job_state(job_id, JobState.STOPPED),
    "failed": lambda store, job_id: store.set_job_state(job_id, JobState.FAILED, WHY),
    "requeue": lambda store, job_id: store.requeue_job(job_id),
    "beat": lambda store, job_id: store.beat_job(job_id),
}
RULES = {
    JobState.QUEUED: {"claim": JobState.RUNNING, "stop": JobState.STOPPED},
    JobState.RUNNING: {"stop": JobState.STOPPING},
    JobState.STOPPING: {},
    JobState.STOPPED: {"requeue": JobState.QUEUED},
    JobState.FAILED: {"requeue": JobState.QUEUED},
}
ENDS = {"stopped": JobState.STOPPED, "failed": JobState.FAILED}


def test_every_call_in_every_state_does_what_the_rules_say(file_store: SqlStore) -> None:
    @settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(calls=st.lists(st.sampled_from(sorted(CALLS)), min_size=4, max_size=9))
    def check(calls: list[str]) -> None:
        job, state = add_job(file_store), JobState.QUEUED
        for name in calls:
            CALLS[name](file_store, job.id)
            state = ENDS.get(name) or RULES[state].get(name, state)
            found = file_store.job(job.id)
            assert found.state is state, (calls, name)
            assert bool(found.process) == (state in {JobState.RUNNING, JobState.STOPPING})
            assert found.finished_at is None or state in OVER
            assert (found.error == WHY) == (name == "failed" or (state is JobState.FAILED))
        file_store.archive_job(job.id) if state in OVER else file_store.set_job_state(job.id, JobState.DONE)

    check()


def test_a_spec_is_made_for_the_jobs_own_folder_before_anybody_can_take_the_job(file_store: SqlStore) -> None:
    def spec(folder: Path) -> str:
        return f'{{"data": "{folder}"}}'

    job = file_store.add_job(JobKind.EVALUATE, "名\0", spec, JOBS, author="王\ud800")
    assert (job.spec, job.folder) == (spec(job.folder), JOBS / f"{job.id:05d}")
    assert (job.name, job.author) == (f"名{LOST}", f"王{LOST}")

    def broken(folder: Path) -> str:
        raise JobError(f"nothing to read in {folder}", zh="没有内容")

    with pytest.raises(JobError, match="nothing to read"):
        file_store.add_job(JobKind.EVALUATE, "b", broken, JOBS)
    assert file_store.job_queue() == [job]  # a job that could not be made is none
    file_store.claim_next_job(ME)
    for call in (lambda: file_store.set_job_spec(job.id, "{}"), lambda: file_store.archive_job(job.id)):
        with pytest.raises(JobError, match="stop it first") as caught:
            call()
        assert "请先停止" in caught.value.messages["zh"]
    assert file_store.job(job.id).spec == spec(job.folder)


def test_a_chain_waits_for_what_is_before_it_whatever_is_stopped_or_queued_again(file_store: SqlStore) -> None:
    first = add_job(file_store)
    second, third = add_job(file_store, after=first.id), add_job(file_store, after=first.id)
    assert file_store.request_job_stop(second.id).state is JobState.STOPPED
    assert file_store.requeue_job(second.id).state is JobState.WAITING  # its turn has not come yet
    assert file_store.requeue_job(first.id).state is JobState.QUEUED  # nothing to do
    file_store.request_job_stop(third.id)
    file_store.claim_next_job(ME)
    file_store.set_job_state(first.id, JobState.DONE)
    assert [file_store.job(job.id).state for job in (second, third)] == [JobState.QUEUED, JobState.STOPPED]
    assert file_store.requeue_job(third.id).state is JobState.QUEUED
    assert add_job(file_store, after=first.id).state is JobState.QUEUED
    assert [job.id for job in file_store.job_queue()][:2] == [second.id, third.id]
    assert [job.id for job in file_store.jobs_after(first.id)][:2] == [second.id, third.id]


def test_jobs_are_listed_by_state_newest_first_and_archived_ones_when_asked(file_store: SqlStore) -> None:
    jobs = [add_job(file_store, str(number)) for number in range(4)]
    file_store.request_job_stop(jobs[1].id)
    file_store.archive_job(jobs[1].id)
    assert [job.name for job in file_store.jobs()] == ["3", "2", "0"]
    assert [job.name for job in file_store.jobs(2, archived=True)] == ["3", "2"]
    assert [job.name for job in file_store.jobs(states=[JobState.STOPPED])] == []
    assert [job.name for job in file_store.jobs(states=[JobState.STOPPED, JobState.DONE], archived=True)] == ["1"]
    assert file_store.archive_job(jobs[1].id, archived=False).archived_at is None
    file_store.archive_job(jobs[1].id)
    again = file_store.requeue_job(jobs[1].id)
    assert (again.state, again.archived_at) == (JobState.QUEUED, None)
    assert [job.name for job in file_store.job_queue()] == ["0", "2", "3", "1"]  # at the end


def test_a_card_elsewhere_is_free_when_its_holder_was_silent_for_long(store: SqlStore) -> None:
    assert store.lease_gpu("cuda:0", "run 1\0", ELSEWHERE)
    assert [lease.holder for lease in store.gpu_leases("elsewhere")] == [f"run 1{LOST}"]
    assert not store.lease_gpu("cuda:0", "run 2", "elsewhere|2|3.00")

    def silent(seconds: float) -> None:
        with writing(store.engine) as connection:
            connection.execute(update(GpuLeaseRecord).values(heartbeat_at=now() - LEASE_STALE_AFTER + timedelta(seconds=seconds)))

    silent(30)
    assert not store.lease_gpu("cuda:0", "run 2", "elsewhere|2|3.00")
    silent(-1)
    assert store.gpu_leases() == []
    assert store.lease_gpu("cuda:0", "run 2", "elsewhere|2|3.00")
    assert not store.renew_gpu("cuda:0", ELSEWHERE)
    store.release_gpu("cuda:0", ELSEWHERE)  # not its own any more
    assert [lease.holder for lease in store.gpu_leases()] == ["run 2"]
    assert store.lease_gpu("cuda:1", "run 3", "elsewhere|2|3.00")
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda number: store.lease_gpu("cuda:9", f"run {number}", ME), range(4)))
    assert sum(taken) == 1


def test_a_heartbeat_keeps_the_jobs_card_and_ends_with_the_job(file_store: SqlStore) -> None:
    job = add_job(file_store)
    assert file_store.claim_next_job(ELSEWHERE, "cuda:0") is not None
    long_ago = now() - timedelta(hours=1)
    with writing(file_store.engine) as connection:
        connection.execute(update(GpuLeaseRecord).values(heartbeat_at=long_ago))
    assert file_store.beat_job(job.id) is JobState.RUNNING
    assert [lease.holder for lease in file_store.gpu_leases()] == [f"job {job.id}"]
    done = file_store.set_job_state(job.id, JobState.STOPPED)
    assert file_store.gpu_leases() == []
    assert 0 <= done.worked_seconds < 60
    assert file_store.beat_job(job.id) is JobState.STOPPED
    file_store.requeue_job(job.id)
    file_store.claim_next_job(ME)
    begun = now() - timedelta(seconds=30)
    with writing(file_store.engine) as connection:
        connection.execute(update(JobRecord).values(running_since=begun, heartbeat_at=now()))
    assert file_store.set_job_state(job.id, JobState.DONE).worked_seconds == pytest.approx(done.worked_seconds + 30, abs=5)


def test_events_come_in_any_order_and_pieces_and_are_read_in_theirs(store: SqlStore) -> None:
    job, other = add_job(store), add_job(store)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    events = [JobEvent(number, moment, EventKind.TRAIN, number, 600, {"loss": 1 / number}) for number in range(1, 601)]
    assert store.append_events(job.id, events[300:]) == 300
    assert store.append_events(job.id, events) == 300
    assert store.append_events(job.id, []) == 0
    assert store.job_events(job.id) == events
    assert store.job_events(job.id, after_sequence=598) == events[598:]
    assert store.job_events(job.id, kinds=[EventKind.NOTE]) == store.job_events(other.id) == []
    words: LocalText = {"zh": "坏\0", "en": "bad \ud83d"}
    store.append_events(other.id, [JobEvent(1, moment, EventKind.NOTE, message=words)])
    last = store.last_job_event(other.id)
    assert last is not None
    assert last.message == {"zh": f"坏{LOST}", "en": f"bad {LOST}"}
    with pytest.raises(StoreError):
        store.append_events(other.id, [JobEvent(2, datetime(2026, 1, 1), EventKind.NOTE)])
    with pytest.raises(StoreError):
        store.append_events(4711, events[:1])


def test_of_two_first_snapshots_at_once_one_fixes_the_held_out_rows(store: SqlStore) -> None:
    def add(number: int) -> bool:
        try:
            store.add_snapshot(new_snapshot("new", held_out=(f"a{number}", f"b{number}")))
        except StoreError as error:
            assert "留出行" in error.messages["zh"]
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(add, range(4))) == 1
    assert len(store.held_out("new")) == store.held_out_count() == 2
    assert [snapshot.held_out_rows for snapshot in store.snapshots()] == [2]  # what was refused left nothing
    many = {f"{number:04x}" for number in range(6_000)}
    store.add_snapshot(new_snapshot("large", held_out=tuple(many)))
    assert store.held_out("large") == many
    assert [snapshot.lineage for snapshot in store.snapshots(1)] == ["large"]


def test_a_job_makes_one_judge_also_where_two_report_it_at_once(store: SqlStore) -> None:
    snapshot, job = store.add_snapshot(new_snapshot()), add_job(store)

    def report(number: int) -> int:
        return store.add_candidate(str(number), Stage.ADAPTER, "head", {}, job_id=job.id, snapshot_id=snapshot.id).id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(report, range(4)))) == 1
    assert len(store.trained_candidates()) == 1
    merge = add_job(store)
    second = store.add_candidate(
        "b\0", Stage.MERGED, "head", {"a": [1, None]}, job_id=merge.id, snapshot_id=snapshot.id, previous=report(9)
    )
    assert (second.name, second.options, second.previous) == (f"b{LOST}", {"a": [1, None]}, report(9))
    assert [candidate.id for candidate in store.trained_candidates(1)] == [second.id]
    assert store.trained_candidates(snapshot_id=77) == []
    assert store.candidate_of_job(add_job(store).id) is None


def test_promotions_are_listed_newest_first_and_rolled_back_once(file_store: SqlStore) -> None:
    snapshot = file_store.add_snapshot(new_snapshot())
    made = [file_store.add_candidate("a", Stage.HEAD, "head", {}, job_id=add_job(file_store).id, snapshot_id=snapshot.id) for _ in range(2)]

    def promote(candidate: int, panel_id: str) -> int:
        texts = {"before": ("1" * 64, "a"), "after": ("2" * 64, "b")}
        return file_store.add_promotion(candidate, panel_id, "j", **texts, verdict=GateVerdict.BETTER, reason="好\0", author="王").id

    ids = [promote(made[0].id, "cpu"), promote(made[1].id, "cpu"), promote(made[0].id, "gpu")]
    assert [one.id for one in file_store.promotions()] == ids[::-1]
    assert [one.id for one in file_store.promotions(panel_id="cpu")] == [ids[1], ids[0]]
    assert [one.id for one in file_store.promotions(candidate_id=made[0].id)] == [ids[2], ids[0]]
    kept = file_store.promotion(ids[0])
    assert (kept.reason, kept.rolled_back_at, kept.rolled_back_by) == (f"好{LOST}", None, "")
    file_store.roll_back(ids[0], "李")
    assert [one.rolled_back_by for one in file_store.promotions()] == ["", "", "李"]
    with pytest.raises(NotFound):
        promote(99, "cpu")
    assert len(file_store.promotions()) == 3


def test_what_is_not_there_is_told_in_both_languages(file_store: SqlStore) -> None:
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: file_store.job(7), "jobs` lists them"),
        (lambda: file_store.requeue_job(7), "no job 7"),
        (lambda: file_store.set_job_state(7, JobState.DONE), "no job 7"),
        (lambda: file_store.snapshot(7), "snapshots list` lists them"),
        (lambda: file_store.trained_candidate(7), "no candidate 7"),
        (lambda: file_store.set_evaluation(7, 1), "no candidate 7"),
        (lambda: file_store.set_predictions(7, Path("x")), "no candidate 7"),
        (lambda: file_store.promotion(7), "no promotion 7"),
        (lambda: file_store.panel_texts(7), "no promotion 7"),
        (lambda: file_store.roll_back(7, "王"), "no promotion 7"),
    ]
    for call, words in calls:
        with pytest.raises(NotFound, match=words) as caught:
            call()
        assert caught.value.messages["zh"].startswith("没有编号为 7 的")


def test_rows_to_learn_from_come_in_an_order_that_only_their_content_sets(store: SqlStore) -> None:
    rows = [
        SheetRow(place, name, "fluency", "", name, 3, SourceRef("a", "", place))
        for place, name in enumerate(["b", "B", "ä", "a", "中", "_"])
    ]
    store.save_library("one", rows, Origin.IMPORT, "王")
    store.save_library("two", rows[::-1], Origin.SAMPLE)
    found = store.labelled_rows()
    assert [row.item.external_id for row in found][::2] == ["B", "_", "a", "b", "ä", "中"]  # by code points on every database
    libraries = [library.id for library in store.libraries()]
    assert [row.library_id for row in found] == sorted(libraries) * 6
    assert len(store.labelled_rows(libraries[:1])) == 6
    assert sum(store.labelled_counts().values()) == 12
    retired = add_library(store, 3, "three")
    store.save_library("three", sheet_rows(1, gold=True, prefix="L"), Origin.IMPORT)
    assert len(store.labelled_rows([retired.id])) == 1  # what was retired teaches nothing
