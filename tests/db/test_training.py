"""Jobs that wait, run, die and go on; leased cards; held-out rows that stay; what people said as training rows."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import inspect, text, update

from core.errors import JobError, NotFound, StoreError
from core.processes import current_process
from core.review import ReviewState
from core.training import EventKind, GateVerdict, Job, JobEvent, JobKind, JobState, LabelledRow, SnapshotFilter, Split, Stage
from core.types import CorrectionKind, Origin
from db.corrections import Act
from db.engine import reading, writing
from db.migrate import migrate_to, upgrade
from db.models_training import JobRecord
from db.store import SqlStore
from db.training import LabelledKind, NewSnapshot
from tests.db.build import add_library, add_run

JOBS = Path("/somewhere/jobs")
ME = current_process()


def add_job(store: SqlStore, name: str = "train", after: int | None = None, kind: JobKind = JobKind.FINE_TUNE) -> Job:
    return store.add_job(kind, name, '{"kind": "fine_tune"}', JOBS, after=after, author="王")


def new_snapshot(lineage: str = "main", held_out: tuple[str, ...] = ("aa", "bb"), name: str = "first") -> NewSnapshot:
    chosen = SnapshotFilter(library_ids=(3,), origins=(Origin.CORRECTION,), balance=0.5)
    counts = {"fluency": {Split.TRAIN: {1: 4, 5: 6}, Split.HELD_OUT: {1: 1, 5: 1}}}
    families = {content: f"f-{content}" for content in held_out}
    return NewSnapshot(name, lineage, Path("/somewhere/1"), "ab" * 32, "cd" * 32, 10, families, 7, 3, chosen, counts, "王")


@pytest.fixture
def other() -> Iterator[str]:
    """The identity of another living process."""
    code = "import sys; from core.processes import current_process; print(current_process(), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate("")


@pytest.fixture
def dead() -> str:
    """The identity of a process that is over."""
    code = "from core.processes import current_process; print(current_process())"
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def test_a_chain_runs_one_after_the_other_and_a_failed_link_holds_the_rest(store: SqlStore) -> None:
    first = add_job(store)
    second = add_job(store, "merge", after=first.id, kind=JobKind.MERGE)
    third = add_job(store, "quantize", after=second.id, kind=JobKind.QUANTIZE)
    assert [job.state for job in (first, second, third)] == [JobState.QUEUED, JobState.WAITING, JobState.WAITING]
    assert first.folder == JOBS / f"{first.id:05d}"
    claimed = store.claim_next_job(ME)
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.process) == (first.id, JobState.RUNNING, ME)
    assert store.claim_next_job(ME) is None
    store.set_job_state(first.id, JobState.FAILED, {"zh": "内存不足", "en": "out of memory"})
    assert store.job(first.id).error == {"zh": "内存不足", "en": "out of memory"}
    assert store.job(second.id).state is JobState.WAITING
    assert store.requeue_job(first.id).error == {}
    assert store.claim_next_job(ME) is not None
    done = store.set_job_state(first.id, JobState.DONE)
    assert done.finished_at is not None
    assert (done.process, store.job(second.id).state) == ("", JobState.QUEUED)
    assert store.set_job_state(first.id, JobState.FAILED).state is JobState.DONE
    assert [job.id for job in store.jobs_after(second.id)] == [third.id]
    with pytest.raises(NotFound):
        add_job(store, after=99)


def test_jobs_are_taken_in_turn_by_those_who_want_them_and_once_each(store: SqlStore) -> None:
    jobs = [add_job(store, str(number), kind=JobKind.MERGE if number % 2 else JobKind.EVALUATE) for number in range(10)]
    merge = store.claim_next_job(ME, wanted=lambda job: job.kind is JobKind.MERGE)
    assert merge is not None
    assert merge.id == jobs[1].id
    store.archive_job(jobs[0].id)
    assert [job.id for job in store.job_queue()] == [job.id for job in jobs[2:]]
    taken: list[int] = []

    def take() -> None:
        while (job := store.claim_next_job(ME)) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [job.id for job in jobs[2:]]
    assert len(store.jobs(archived=True)) == len(store.jobs()) + 1 == 10
    assert store.jobs(states=[JobState.QUEUED], archived=True)[0].archived_at is not None


def test_a_stop_is_asked_for_and_obeyed_and_the_job_goes_on_later(store: SqlStore, other: str) -> None:
    job = add_job(store)
    store.claim_next_job(ME)
    assert store.set_job_process(job.id, other).process == other
    assert store.beat_job(job.id) is JobState.RUNNING
    assert store.request_job_stop(job.id).state is JobState.STOPPING
    assert store.beat_job(job.id) is JobState.STOPPING
    with pytest.raises(JobError) as caught:
        store.archive_job(job.id)
    assert "停止" in caught.value.messages["zh"]
    assert store.set_job_state(job.id, JobState.STOPPED).state is JobState.STOPPED
    with pytest.raises(JobError):
        store.set_job_process(job.id, other)
    assert store.requeue_job(job.id).state is JobState.QUEUED
    assert store.request_job_stop(job.id).state is JobState.STOPPED
    assert store.set_job_spec(job.id, "{}").spec == "{}"


def test_the_time_of_a_lost_job_ends_with_its_last_sign_of_life(store: SqlStore) -> None:
    job = add_job(store)
    store.claim_next_job(ME)
    begun = datetime.now(UTC) - timedelta(hours=5)
    with writing(store.engine) as connection:
        connection.execute(update(JobRecord).values(running_since=begun, heartbeat_at=begun + timedelta(minutes=1)))
    assert store.job(job.id).worked_seconds == pytest.approx(60)
    store.append_events(job.id, [JobEvent(1, begun + timedelta(minutes=10), EventKind.TRAIN)])
    assert store.set_job_state(job.id, JobState.FAILED).worked_seconds == pytest.approx(600)


def test_events_are_stored_once_and_read_behind_a_number(store: SqlStore) -> None:
    job = add_job(store)
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    kinds = (EventKind.STARTED, EventKind.TRAIN, EventKind.HELD_OUT, EventKind.TRAIN)
    events = [JobEvent(number, moment, kind, number, 9, {"loss": 0.1 + number}, {"zh": "好"}) for number, kind in enumerate(kinds, 1)]
    assert store.append_events(job.id, events[:2]) == 2
    assert store.append_events(job.id, [replace(event, message={"en": "again"}) for event in events]) == 2
    stored = store.job_events(job.id)
    assert stored[:2] == events[:2]
    assert [event.sequence for event in store.job_events(job.id, after_sequence=1, kinds=[EventKind.TRAIN])] == [2, 4]
    assert store.job_events(job.id, limit=1) == events[:1]
    assert store.last_job_event(job.id, [EventKind.HELD_OUT]) == stored[2]
    assert store.last_job_event(add_job(store).id) is None


def test_a_card_has_one_holder_until_it_is_given_back_or_its_process_dies(store: SqlStore, other: str, dead: str) -> None:
    assert store.lease_gpu("cuda:0", "run 1", ME)
    assert store.lease_gpu("cuda:0", "run 1", ME)
    assert not store.lease_gpu("cuda:0", "run 2", ME)
    assert not store.lease_gpu("cuda:0", "job 1", other)
    assert store.lease_gpu("cuda:0", "job 1", "elsewhere|1|2.00")
    assert [lease.holder for lease in store.gpu_leases(ME.split("|")[0])] == ["run 1"]
    store.release_gpu("cuda:0", other)
    assert store.renew_gpu("cuda:0", ME)
    store.release_gpu("cuda:0", ME)
    assert not store.renew_gpu("cuda:0", ME)
    assert store.lease_gpu("cuda:0", "job 1", dead)
    assert [lease.holder for lease in store.gpu_leases()] == ["job 1"]
    assert [lease.host for lease in store.gpu_leases()] == ["elsewhere"]
    assert store.lease_gpu("cuda:0", "job 2", other)
    assert not store.lease_gpu("cuda:0", "run 1", ME)


def test_a_job_takes_its_card_with_it_and_gives_it_back_at_its_end(store: SqlStore, other: str) -> None:
    first, second = add_job(store), add_job(store)
    assert store.claim_next_job(ME, "cuda:0") is not None
    assert store.claim_next_job(ME, "cuda:0") is None
    assert store.job(second.id).state is JobState.QUEUED
    assert store.set_job_process(first.id, other).device == "cuda:0"
    assert [(lease.process, lease.holder) for lease in store.gpu_leases()] == [(other, f"job {first.id}")]
    assert not store.lease_gpu("cuda:0", "run 3", ME)
    store.set_job_state(first.id, JobState.DONE)
    claimed = store.claim_next_job(ME, "cuda:0")
    assert claimed is not None
    assert claimed.id == second.id


def test_a_lineage_keeps_the_held_out_rows_of_its_first_snapshot(store: SqlStore) -> None:
    first = store.add_snapshot(new_snapshot())
    assert store.snapshot(first.id) == first
    assert first.filter == new_snapshot().filter
    assert first.counts == new_snapshot().counts
    second = store.add_snapshot(new_snapshot(name="second"))
    with pytest.raises(StoreError, match="other held-out rows"):
        store.add_snapshot(new_snapshot(held_out=("aa", "cc")))
    store.add_snapshot(new_snapshot("side", held_out=("bb", "dd")))
    assert [snapshot.name for snapshot in store.snapshots(lineage="main")] == [second.name, first.name]
    assert store.held_out("main") == {"aa", "bb"}
    assert store.held_out_families("side") == {"bb": "f-bb", "dd": "f-dd"}
    assert store.all_held_out() == {"aa", "bb", "dd"}
    assert store.held_out("nobody") == frozenset()
    assert store.held_out_count() == 4


def test_candidates_and_promotions_keep_their_history(store: SqlStore) -> None:
    snapshot, job, evaluation = store.add_snapshot(new_snapshot()), add_job(store), add_job(store, kind=JobKind.EVALUATE)
    made = store.add_candidate("a", Stage.ADAPTER, "transformers", {"model": "x"}, job_id=job.id, snapshot_id=snapshot.id, size=2**40)
    again = store.add_candidate("b", Stage.ADAPTER, "transformers", {}, job_id=job.id, snapshot_id=snapshot.id)
    assert again == made
    assert (made.bytes, made.options, made.predictions) == (2**40, {"model": "x"}, None)
    store.set_evaluation(made.id, evaluation.id)
    measured = store.set_predictions(made.id, Path("/somewhere/predictions.jsonl"))
    assert store.trained_candidates(snapshot_id=snapshot.id) == [measured]
    assert store.candidate_of_job(evaluation.id) == store.candidate_of_job(job.id) == measured
    before, after = ("12" * 32, "judges: []\n"), ("34" * 32, "judges: [a]\n")
    facts = {"verdict": GateVerdict.UNPROVEN, "reason": "quicker", "author": "王"}
    promotion = store.add_promotion(made.id, "cpu", "ngram", before=before, after=after, **facts)  # type: ignore[arg-type]
    assert store.panel_texts(promotion.id) == (before[1], after[1])
    assert store.roll_back(promotion.id, "李").rolled_back_at is not None
    assert store.roll_back(promotion.id, "赵").rolled_back_by == "李"
    assert [one.rolled_back_by for one in store.promotions(panel_id="cpu", candidate_id=made.id)] == ["李"]
    assert store.promotions(panel_id="gpu") == []
    with pytest.raises(NotFound):
        store.trained_candidate(99)


def by_id(rows: list[LabelledRow]) -> dict[str, LabelledRow]:
    return {row.item.external_id: row for row in rows if row.library_id is None}


def test_what_people_agreed_on_settled_or_dispute_comes_as_rows_of_corrections(store: SqlStore) -> None:
    run = add_run(store, 6)
    side = add_library(store, 4, "side")
    agreed, settled, disputed, undone, blank, _ = [item.id for item in store.items(run.sheet_id)]
    for item_id, author, label in ((agreed, "王", 2), (agreed, "李", 2), (settled, "王", 1), (settled, "李", 5), (disputed, "王", 0)):
        store.append(run.id, item_id, Act(CorrectionKind.LABEL, author, label))
    store.append(run.id, settled, Act(CorrectionKind.ADJUDICATION, "赵", 4))
    store.append(run.id, disputed, Act(CorrectionKind.LABEL, "李", 1))
    store.append(run.id, undone, Act(CorrectionKind.LABEL, "李", 3))
    store.undo(run.id, "李", undone)
    store.append(run.id, blank, Act(CorrectionKind.SKIP, "李"))
    rows = store.labelled_rows()
    said = by_id(rows)
    assert sum(row.library_id is not None for row in rows) == 34
    assert {key: (row.item.label, row.review, row.item.author, row.item.origin) for key, row in said.items()} == {
        "D00000": (2, ReviewState.LABELLED, "李", Origin.CORRECTION),
        "D00001": (4, ReviewState.SETTLED, "赵", Origin.CORRECTION),
        "D00002": (1, ReviewState.CONFLICT, "李", Origin.CORRECTION),
    }
    assert sum(row.library_id is not None for row in store.labelled_rows([side.id])) == 4
    kinds = Counter(LabelledKind(row.library_id, row.item.dimension_id, row.item.origin, row.item.author) for row in rows)
    assert store.labelled_counts() == kinds
    assert len(by_id(store.labelled_rows([side.id]))) == 3


def test_the_migration_keeps_what_is_stored_and_takes_filled_tables_away_again(store: SqlStore) -> None:
    run = add_run(store, 3)
    migrate_to(store.engine, "0004")
    upgrade(store.engine)
    assert store.run(run.id) == run
    snapshot, job = store.add_snapshot(new_snapshot()), add_job(store)
    add_job(store, after=job.id)
    store.append_events(job.id, [JobEvent(1, datetime.now(UTC), EventKind.STARTED)])
    first = store.add_candidate("a", Stage.ADAPTER, "transformers", {}, job_id=job.id, snapshot_id=snapshot.id)
    merge = add_job(store)
    store.add_candidate("b", Stage.MERGED, "transformers", {}, job_id=merge.id, snapshot_id=snapshot.id, previous=first.id)
    store.add_promotion(first.id, "p", "j", before=("", ""), after=("", ""), verdict=GateVerdict.BETTER, reason="", author="")
    store.lease_gpu("cuda:0", "run 1", ME)
    migrate_to(store.engine, "0004")
    with reading(store.engine) as connection:
        assert {"snapshots", "jobs", "promotions"}.isdisjoint(inspect(connection).get_table_names())
        assert connection.execute(text("SELECT count(*) FROM items")).scalar_one() == 3
    upgrade(store.engine)
    assert (store.run(run.id), store.jobs(), store.snapshots()) == (run, [], [])
