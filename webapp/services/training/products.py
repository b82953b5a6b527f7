"""What becomes of finished jobs: a product becomes a candidate, a measurement its figures, both with what they were made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from core.errors import JobError, NotFound, PingpanError
from core.training import Candidate, Job, JobKind, Snapshot, Split
from db.store import SqlStore
from training import jobdir
from training.context import Product
from training.evaluate import PREDICTIONS
from training.files import folder_bytes
from training.specs import EvaluateSpec, JobSpec, JudgeLine, MergeSpec, QuantizeSpec, read_spec
from webapp.services.training import chains


def spec_of(job: Job) -> JobSpec:
    """Return a job's spec. Raises JobError where it cannot be read."""
    return read_spec(job.spec, f"job {job.id}")


def product_before(store: SqlStore, job: Job) -> Product | None:
    """Return the last product of the jobs before a job in its chain, None where there is none."""
    before = job.after
    while before is not None:
        earlier = store.job(before)
        result = jobdir.read_result(earlier.folder)
        if result is not None and result.product is not None:
            return result.product
        before = earlier.after
    return None


def fill(store: SqlStore, job: Job) -> Job:
    """Put the product before a job into its spec, where it needs one, and return the job. Raises JobError."""
    spec = spec_of(job)
    if not chains.needs_product(spec):
        return job
    output = store.job(job.after).folder / jobdir.OUTPUT if job.after is not None else None
    return store.set_job_spec(job.id, chains.fill(spec, product_before(store, job), output).model_dump_json())


def record(store: SqlStore, job: Job) -> Candidate | None:
    """Store what a finished job made or measured, and return the candidate; repeated it changes nothing.

    None where the job made no judge, or no snapshot is known that its judge could be measured on.
    """
    result = jobdir.read_result(job.folder)
    if result is not None and result.product is not None:
        return _record_product(store, job, result.product)
    if job.kind is JobKind.EVALUATE:
        return _record_measurement(store, job)
    return None


def _record_product(store: SqlStore, job: Job, product: Product) -> Candidate | None:
    spec = spec_of(job)
    previous = _candidate_before(store, job, spec)
    snapshot_id = job.snapshot_id or (previous.snapshot_id if previous else None) or _snapshot_in(store, getattr(spec, "snapshot", None))
    if snapshot_id is None:
        return None
    candidate = store.add_candidate(
        job.name,
        product.stage,
        product.family,
        json.loads(json.dumps(dict(product.options), default=str)),
        job_id=job.id,
        snapshot_id=snapshot_id,
        previous=previous.id if previous else None,
        size=folder_bytes(product.path) if product.path.is_dir() else product.path.stat().st_size,
    )
    for after in store.jobs_after(job.id):
        if after.kind is JobKind.EVALUATE and candidate.evaluation_id is None:
            candidate = store.set_evaluation(candidate.id, after.id)
    return candidate


def _record_measurement(store: SqlStore, job: Job) -> Candidate | None:
    spec = spec_of(job)
    predictions = predictions_of(job)
    if not isinstance(spec, EvaluateSpec) or spec.split is not Split.HELD_OUT or predictions is None:
        return None
    candidate = measured_candidate(store, job, spec)
    if candidate is None:
        return None
    store.set_evaluation(candidate.id, job.id)
    return store.set_predictions(candidate.id, predictions)


def measured_candidate(store: SqlStore, job: Job, spec: EvaluateSpec) -> Candidate | None:
    """Return the candidate that an evaluate job measures on the candidate's own snapshot, None where it measures another judge."""
    for candidate in store.trained_candidates(limit=10_000, snapshot_id=job.snapshot_id):
        if same_judge(candidate.family, candidate.options, spec.judge):
            return candidate
    return None


def same_judge(family: str, options: Mapping[str, object], line: JudgeLine) -> bool:
    """Return whether a judge's family and options are those of a line, whatever its id and the port that it is served at."""
    return family == line.family and _plain(options) == _plain(line.options)


def predictions_of(job: Job) -> Path | None:
    """Return the predictions of a finished evaluate job, None where they are not there."""
    path = job.folder / jobdir.OUTPUT / PREDICTIONS
    return path if path.is_file() else None


def snapshot_of(store: SqlStore, job: Job) -> Snapshot | None:
    """Return the snapshot that a job belongs to."""
    try:
        return None if job.snapshot_id is None else store.snapshot(job.snapshot_id)
    except NotFound:
        return None


def _candidate_before(store: SqlStore, job: Job, spec: JobSpec) -> Candidate | None:
    """Return the candidate that a product is made of: of the job before it, else the one whose folder the spec names."""
    before = job.after
    while before is not None:
        candidate = store.candidate_of_job(before)
        if candidate is not None and candidate.job_id == before:
            return candidate
        before = store.job(before).after
    named = spec.adapter if isinstance(spec, MergeSpec) else spec.model if isinstance(spec, QuantizeSpec) else None
    if named is None:
        return None
    for candidate in store.trained_candidates(limit=10_000):
        try:
            result = jobdir.read_result(store.job(candidate.job_id).folder)
        except (JobError, PingpanError):
            continue
        if result is not None and result.product is not None and result.product.path == named:
            return candidate
    return None


def _snapshot_in(store: SqlStore, folder: Path | None) -> int | None:
    if folder is None:
        return None
    return next((snapshot.id for snapshot in store.snapshots(limit=10_000) if snapshot.folder == folder), None)


def _plain(options: Mapping[str, object]) -> object:
    kept = dict(options)
    serve = kept.get("serve")
    if isinstance(serve, dict):
        kept["serve"] = {name: value for name, value in serve.items() if name != "port"}
    return json.loads(json.dumps(kept, default=str))
