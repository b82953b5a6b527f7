"""`jobs list`, `show`, `log`, `run`, `stop`, `resume`: training jobs on the command line, over the same database as the page."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from core.errors import JobError
from core.processes import is_alive
from core.settings import load_settings
from core.training import EventKind, Job, JobKind, JobState
from core.types import said
from training.faults.spec import FaultPretrainSpec
from training.presets import PRESETS
from training.process import ExitStatus
from training.specs import JobSpec, QuantizeMethod, read_spec
from webapp.cli.console import plain_console
from webapp.job_runner import Runner
from webapp.services.training import products
from webapp.services.training.chains import Forms
from webapp.services.training.views import JobView
from webapp.workbench import Workbench

POLL_SECONDS = 0.3
LOUD = frozenset({EventKind.NOTE, EventKind.HELD_OUT, EventKind.CHECKPOINT, EventKind.STARTED, *(EventKind.DONE, EventKind.FAILED)})


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says of a job to run."""

    spec: str
    snapshot: int
    settings: Sequence[str]
    measure: bool
    merge: bool
    quantize: Sequence[str]
    panel: str
    judge: str
    queue: bool
    author: str
    answers: bool = True


def open_workbench() -> Workbench:
    """Return the workbench, with what jobs told since anybody looked written down."""
    workbench = Workbench.open(load_settings())
    Runner(workbench.store, workbench.settings).follow()
    return workbench


def author_or_user(author: str) -> str:
    """Return the author that was given, else the user's name on this machine."""
    if author.strip():
        return author.strip()
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return "cli"


def list_jobs(*, archived: bool, limit: int) -> None:
    """Print the jobs, newest first."""
    table = Table("job", "kind", "name", "state", "progress", "left", "device", "candidate", "author", box=None)
    for view in open_workbench().jobs.jobs(limit, archived=archived):
        job = view.job
        state = f"{job.state.value} ({view.place})" if view.place else job.state.value
        made = str(view.candidate_id or "")
        table.add_row(str(job.id), job.kind.value, job.name, state, _progress(view), _left(view), _device(job), made, job.author)
    plain_console().print(table)


def show_job(job_id: int) -> None:
    """Print everything of one job."""
    desk = open_workbench().jobs
    view = desk.job(job_id)
    job, console = view.job, plain_console()
    lines = {
        "job": f"{job.id}  {job.kind.value}  {job.name}",
        "state": job.state.value + (f", place {view.place} in the queue" if view.place else ""),
        "waits": said(view.waits_for, "en"),
        "progress": " ".join(part for part in (_progress(view), _left(view) and f"{_left(view)} left") if part),
        "error": said(job.error, "en"),
        "last": said(view.last, "en"),
        "after": f"job {job.after}" if job.after else "",
        "snapshot": str(job.snapshot_id or ""),
        "candidate": str(view.candidate_id or ""),
        "device": _device(job),
        "worked": f"{job.worked_seconds:.0f} s" if job.worked_seconds else "",
        "folder": str(job.folder),
        "by hand": desk.command(job_id),
    }
    for name, value in lines.items():
        if value:
            console.print(f"{name:10} {value}", soft_wrap=True, highlight=False)
    figures = {name: points[-1].value for name, points in desk.curves(job_id).held_out.items()}
    if figures:
        console.print("held out   " + "  ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    console.print(json.dumps(json.loads(job.spec), ensure_ascii=False, indent=2), soft_wrap=True)


def print_log(job_id: int, size: int) -> None:
    """Print the end of a job's log."""
    sys.stdout.write(open_workbench().jobs.log_tail(job_id, size))


def run_job(options: RunOptions) -> int:
    """Queue a job with what was asked for beside it, follow it here unless it is left to the runner, and return the exit status."""
    workbench = open_workbench()
    snapshot = workbench.store.snapshot(options.snapshot) if options.snapshot else None
    spec = spec_of(options.spec, options.settings, snapshot.folder if snapshot else None)
    if not options.answers:
        spec = _without_answers(spec)
    author = author_or_user(options.author)
    if snapshot is None or spec.kind is JobKind.EVALUATE:
        if options.merge or options.quantize or options.panel:
            raise JobError("--merge, --quantize and --panel need --snapshot, and a job that makes a judge.")
        jobs: Sequence[Job] = [workbench.jobs.submit(spec, author, snapshot_id=snapshot.id if snapshot else None)]
    else:
        judge = options.judge or (workbench.panel_desk.panel(options.panel).lead if options.panel else "")
        forms = Forms(options.measure, options.merge, [_method(name) for name in options.quantize])
        jobs = workbench.jobs.train(spec, author, snapshot_id=snapshot.id, forms=forms, panel_id=options.panel, judge_id=judge)
    _say_answers(workbench, jobs)
    return leave_or_follow(workbench, [job.id for job in jobs], queue=options.queue)


def _without_answers(spec: JobSpec) -> JobSpec:
    if not isinstance(spec, FaultPretrainSpec):
        raise JobError(f"--no-answers: only a {JobKind.FAULT_PRETRAIN.value} job learns from people's answers.")
    return spec.model_copy(update={"answer_weight": 0.0})


def _say_answers(workbench: Workbench, jobs: Sequence[Job]) -> None:
    """Say how many of people's answers a pretraining learns from, and why it learns from none where there are some."""
    for job in jobs:
        spec = products.spec_of(job)
        if not isinstance(spec, FaultPretrainSpec) or not spec.answer_weight:
            continue
        if spec.answers is not None:
            words = (
                f"job {job.id} learns from {spec.answers_count} answers on suspected faults, too: {spec.answers} (--no-answers: without)"
            )
        elif (count := workbench.fault_answers.totals().total) and spec.snapshot is None:
            words = f"job {job.id} leaves {count} answers on suspected faults out: name a --snapshot, whose held-out rows then stay unseen"
        else:
            continue
        plain_console(stderr=True).print(words, soft_wrap=True)


def spec_of(name: str, settings: Sequence[str], snapshot: Path | None) -> JobSpec:
    """Return the spec of a file or a kind of job, with fields set. Raises JobError for what it cannot be."""
    fields = _fields(name)
    for setting in settings:
        field, equals, value = setting.partition("=")
        if not equals:
            raise JobError(f"--set {setting}: write FIELD=VALUE, such as --set rank=8.")
        _set(fields, field.split("."), _value(value))
    if snapshot is not None:
        fields.setdefault("snapshot", str(snapshot))
    fields.setdefault("name", Path(name).stem)
    return read_spec(json.dumps(fields, default=str), name)


def _fields(name: str) -> dict[str, object]:
    path = Path(name)
    if path.is_file():
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise JobError(f"{path}: this is no spec file: {error}") from error
        if not isinstance(read, dict):
            raise JobError(f"{path}: a spec file holds a JSON object.")
        return read
    if name in set(JobKind):
        return {"kind": name}
    for preset in PRESETS:
        if preset.id == name:
            return {"kind": JobKind.FINE_TUNE.value, **preset.values}
    known, kinds = ", ".join(preset.id for preset in PRESETS), ", ".join(JobKind)
    raise JobError(f"«{name}» is neither a file, a preset ({known}) nor a kind of job ({kinds}).")


def _set(fields: dict[str, object], path: Sequence[str], value: object) -> None:
    for part in path[:-1]:
        inner = fields.setdefault(part, {})
        if not isinstance(inner, dict):
            raise JobError(f"--set {'.'.join(path)}: {part} holds no fields.")
        fields = inner
    fields[path[-1]] = value


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _method(name: str) -> QuantizeMethod:
    if name not in set(QuantizeMethod):
        raise JobError(f"--quantize {name}: write one of {', '.join(QuantizeMethod)}.")
    return QuantizeMethod(name)


def stop_job(job_id: int, *, kill: bool, chain: bool) -> None:
    """Stop a job, with what waits for it if asked, and print what became of them."""
    desk = open_workbench().jobs
    views = [*(desk.cancel(job_id) if chain else ()), desk.stop(job_id, kill=kill)]
    for view in {view.job.id: view for view in views}.values():
        plain_console().print(f"job {view.job.id}: {view.job.state.value}")


def resume_job(job_id: int, *, queue: bool) -> int:
    """Queue a job again, follow it here unless it is left to the runner, and return the exit status."""
    workbench = open_workbench()
    workbench.jobs.resume(job_id)
    return leave_or_follow(workbench, [job_id], queue=queue)


def archive_job(job_id: int, *, restore: bool) -> None:
    """Take a job out of the list, or bring it back."""
    desk = open_workbench().jobs
    view = desk.restore(job_id) if restore else desk.archive(job_id)
    plain_console().print(f"job {view.job.id}: {'archived' if view.archived else view.job.state.value}")


def leave_or_follow(workbench: Workbench, job_ids: Sequence[int], *, queue: bool) -> int:
    """Follow jobs in this process to their end and return the exit status; with `queue` only name them."""
    if queue:
        plain_console().print("queued: " + ", ".join(f"job {job_id}" for job_id in job_ids))
        return 0
    console, told = plain_console(stderr=True), dict.fromkeys(job_ids, 0)
    runner = Runner(workbench.store, workbench.settings, only=frozenset(job_ids))
    while True:
        try:
            runner.step()
            _tell(console, workbench, told)
            if not _under_way(workbench, job_ids):
                return _status(console, workbench, job_ids)
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            if not any(workbench.store.job(job_id).state is JobState.RUNNING for job_id in job_ids):
                for job_id in job_ids:
                    workbench.jobs.stop(job_id)
                raise
            console.print("Saving and stopping; once more Ctrl-C leaves the job to itself.")
            for job_id in job_ids:
                workbench.jobs.stop(job_id)


def _under_way(workbench: Workbench, job_ids: Sequence[int]) -> bool:
    """Return whether a job still works, or will: one that waits for a job that ended badly will not."""
    states = {job_id: workbench.store.job(job_id) for job_id in job_ids}
    if any(job.state in {JobState.QUEUED, JobState.RUNNING, JobState.STOPPING} for job in states.values()):
        return True
    return any(
        job.state is JobState.WAITING and job.after not in states and _works_elsewhere(workbench.store.job(job.after or 0))
        for job in states.values()
    )


def _works_elsewhere(job: Job) -> bool:
    return job.state is JobState.RUNNING and is_alive(job.process) is not False


def _status(console: Console, workbench: Workbench, job_ids: Sequence[int]) -> int:
    states = []
    for job_id in job_ids:
        view = workbench.jobs.job(job_id)
        states.append(view.job.state)
        made = f" → candidate {view.candidate_id}" if view.candidate_id and view.job.state is JobState.DONE else ""
        console.print(f"job {job_id} {view.job.name}: {view.job.state.value}{made}", soft_wrap=True)
        if view.job.state is JobState.FAILED:
            console.print(said(view.job.error, "en"), soft_wrap=True, style="red")
    if JobState.FAILED in states:
        return int(ExitStatus.FAILED)
    return int(ExitStatus.DONE if set(states) == {JobState.DONE} else ExitStatus.STOPPED)


def _tell(console: Console, workbench: Workbench, told: dict[int, int]) -> None:
    for job_id, after in told.items():
        for event in workbench.store.job_events(job_id, after):
            told[job_id] = event.sequence
            if event.kind in LOUD or (event.kind is EventKind.TRAIN and event.step % 10 == 0):
                place = f" {event.step}/{event.steps}" if event.steps else ""
                words = " ".join(part for part in (_figures(event.figures), said(event.message, "en")) if part)
                console.print(f"job {job_id} {event.kind.value}{place} {words}", soft_wrap=True, highlight=False)


def _figures(figures: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in figures.items())


def _progress(view: JobView) -> str:
    return f"{view.step}/{view.steps}" if view.steps else ""


def _left(view: JobView) -> str:
    if view.seconds_left is None:
        return ""
    minutes, seconds = divmod(round(view.seconds_left), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _device(job: Job) -> str:
    return job.device or ("cpu" if job.started_at else "")
