"""The desk: what a chain does when its first job is done, stopped or cancelled; two jobs side by side; jobs put away."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import JobError, NotFound
from core.training import EventKind, Job, JobEvent, JobKind, JobState, Snapshot, Stage
from core.types import said
from tests.training.runner.conftest import measure
from training import jobdir
from training.context import Product
from training.specs import EvaluateSpec, FineTuneSpec, MergeSpec, QuantizeMethod, QuantizeSpec
from webapp.job_runner import Runner
from webapp.services.training.chains import Forms
from webapp.services.training.products import spec_of
from webapp.workbench import Workbench

# A process that there never was: no system counts so far.
GONE = f"{socket.gethostname()}|{2**30}|0.00"


def tune(snapshot: Snapshot, **fields: object) -> FineTuneSpec:
    return FineTuneSpec.model_validate({"name": "tune", "model": "/models/base", "snapshot": snapshot.folder, **fields})


def finish(bench: Workbench, job_id: int, stage: Stage, family: str, options: Mapping[str, object], size: int) -> Job:
    """Leave a job as its process leaves it when it is done, and let a runner find it so."""
    job = bench.store.claim_next_job(GONE, wanted=lambda queued: queued.id == job_id)
    assert job is not None
    jobdir.create(job.folder, spec_of(job))
    path = job.folder / "output" / ("adapter" if stage is Stage.ADAPTER else "model")
    path.mkdir(parents=True)
    (path / "weights").write_bytes(b"w" * size)
    (job.folder / jobdir.LOG).touch()
    jobdir.write_result(job.folder, Product(stage, family, {**options, "path": str(path)}, path), {})
    Runner(bench.store, bench.settings, lost_after=0).follow()
    return bench.store.job(job_id)


def fill(bench: Workbench) -> None:
    """Let a runner that starts nothing put products into specs."""
    Runner(bench.store, bench.settings)._queued()


def test_a_chain_hands_products_on_and_candidates_know_what_they_were_made_of(bench: Workbench, small: Snapshot) -> None:
    forms = Forms(merge=True, quantize=[QuantizeMethod.AWQ])
    jobs = bench.jobs.train(tune(small), "li", snapshot_id=small.id, forms=forms)
    states = [job.state for job in jobs]
    assert states == [JobState.QUEUED] + [JobState.WAITING] * 5
    assert said(bench.jobs.job(jobs[1].id).waits_for, "en") == f"Waits for job {jobs[0].id} (tune) to be done."

    assert finish(bench, jobs[0].id, Stage.ADAPTER, "transformers", {"model": "/models/base"}, 100).state is JobState.DONE
    fill(bench)
    measured, merge = spec_of(bench.store.job(jobs[1].id)), spec_of(bench.store.job(jobs[2].id))
    assert isinstance(measured, EvaluateSpec)
    assert measured.judge.family == "transformers"
    assert isinstance(merge, MergeSpec)
    assert (merge.model, merge.adapter.name) == ("/models/base", "adapter")

    finish(bench, jobs[2].id, Stage.MERGED, "transformers", {"model": "/merged"}, 9_000)
    fill(bench)
    quantize = spec_of(bench.store.job(jobs[4].id))
    assert isinstance(quantize, QuantizeSpec)
    assert quantize.model == bench.store.job(jobs[2].id).folder / "output" / "model"
    finish(bench, jobs[4].id, Stage.AWQ, "server", {"serve": {"model": "/awq"}}, 3_000)

    awq, merged, adapter = bench.candidates.candidates()
    assert [(one.candidate.stage, one.candidate.bytes, one.previous_bytes) for one in (adapter, merged, awq)] == [
        (Stage.ADAPTER, 100, None),
        (Stage.MERGED, 9_000, 100),
        (Stage.AWQ, 3_000, 9_000),
    ]
    assert [one.measuring for one in (adapter, merged, awq)] == [jobs[1].id, jobs[3].id, jobs[5].id]
    with pytest.raises(JobError, match="only an adapter can be merged"):
        bench.jobs.derive(merged.candidate.id, "li", merge=True)
    again = bench.jobs.derive(merged.candidate.id, "li", quantize=[QuantizeMethod.W8A8])
    assert [(job.kind, job.after) for job in again] == [(JobKind.QUANTIZE, jobs[2].id), (JobKind.EVALUATE, again[0].id)]


def test_what_does_not_fit_fails_with_a_reason_and_a_chain_can_be_cancelled(bench: Workbench, small: Snapshot) -> None:
    tuned, merged, measured = bench.jobs.submit_chain(
        [
            tune(small),
            MergeSpec.model_validate({"name": "merge", "model": "@product", "adapter": "@product"}),
            measure(small).model_copy(update={"judge": measure(small, "@product").judge}),
        ],
        "li",
        snapshot_id=small.id,
    )
    finish(bench, tuned.id, Stage.HEAD, "ordinal_head", {}, 1)
    fill(bench)
    failed = bench.jobs.job(merged.id)
    assert failed.job.state is JobState.FAILED
    assert "only an adapter can be merged, not head" in said(failed.job.error, "en")
    assert bench.jobs.job(measured.id).job.state is JobState.WAITING  # it goes on when the merge is resumed
    assert [view.job.state for view in bench.jobs.cancel(merged.id)] == [JobState.FAILED, JobState.STOPPED]
    assert bench.jobs.resume(measured.id).job.state is JobState.WAITING
    with pytest.raises(JobError, match="name the job whose product"):
        bench.jobs.submit(measure(small, "@product"), "li", snapshot_id=small.id)
    with pytest.raises(NotFound):
        bench.jobs.train(tune(small), "li", snapshot_id=99)
    with pytest.raises(JobError, match="only what a fine-tune makes"):
        bench.jobs.train(measure(small), "li", snapshot_id=small.id, forms=Forms(merge=True))


def test_two_jobs_are_compared_by_spec_and_curves_and_a_job_is_put_away(bench: Workbench, small: Snapshot) -> None:
    first, second = (bench.jobs.submit(tune(small, rank=rank), "li", snapshot_id=small.id) for rank in (8, 16))
    begun = datetime(2026, 1, 1, tzinfo=UTC)

    def told(sequence: int, kind: EventKind, step: int, **figures: float) -> JobEvent:
        return JobEvent(sequence, begun + timedelta(seconds=2 * sequence), kind, step, 100, figures)

    bench.store.claim_next_job(GONE)
    bench.store.append_events(
        first.id,
        [
            told(1, EventKind.STARTED, 0),
            told(2, EventKind.TRAIN, 10, loss=2.0),
            told(3, EventKind.TRAIN, 20, loss=1.5),
            told(4, EventKind.STARTED, 0),
            told(5, EventKind.TRAIN, 20, loss=1.4),
            told(6, EventKind.HELD_OUT, 20, mae=0.7),
            told(7, EventKind.TRAIN, 30, loss=1.2),
        ],
    )
    view = bench.jobs.job(first.id)
    assert (view.step, view.steps, view.events) == (30, 100, 7)
    assert view.rate == pytest.approx(10 / 4)  # of the process at work, not of the one before it
    assert view.seconds_left == pytest.approx(70 / 2.5)
    compared = bench.jobs.compare(first.id, second.id)
    assert [(one.field, one.first, one.second) for one in compared.differences] == [("rank", "8", "16")]
    assert [(point.step, point.value) for point in compared.first_curves.train["loss"]] == [(10, 2.0), (20, 1.4), (30, 1.2)]
    assert [event.sequence for event in bench.jobs.events(first.id, after=5)] == [6, 7]

    with pytest.raises(JobError, match="at work"):
        bench.jobs.archive(first.id)
    assert bench.jobs.archive(second.id).job.state is JobState.STOPPED
    assert [one.job.id for one in bench.jobs.jobs()] == [first.id]
    assert [one.job.id for one in bench.jobs.jobs(archived=True)] == [second.id]
    assert not bench.jobs.restore(second.id).archived
    assert Path(bench.jobs.command_of(tune(small)).split()[-1]).name == "NNNNN"
