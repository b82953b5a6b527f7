"""The job desk: jobs from submission to end, as pages and the command line use them. The runner (webapp/job_runner.py) does them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from core import processes
from core.errors import JobError
from core.settings import Settings
from core.training import EventKind, Job, JobEvent, JobKind, JobState, Snapshot, Stage
from core.types import LocalText, PanelSpec
from db.store import SqlStore
from training import jobdir
from training.specs import EvaluateSpec, FineTuneSpec, JobSpec, JudgeLine, Method, QuantizeMethod
from webapp.services.training import answers, cards, chains, launch, products
from webapp.services.training.chains import Forms, Link
from webapp.services.training.leases import CardLeases, said_holder, waits_for_card
from webapp.services.training.views import Card, Curves, JobComparison, JobView, Point, SpecDifference

if TYPE_CHECKING:
    from training.estimate import Estimate

LIVE = frozenset({JobState.RUNNING, JobState.STOPPING})
PENDING = LIVE | {JobState.QUEUED, JobState.WAITING}
# The rate is that of the last minute, or of so many events where they come faster.
RATE_SECONDS, RATE_EVENTS = 60.0, 200
MAKES_A_JUDGE = frozenset({JobKind.FINE_TUNE, JobKind.MERGE, JobKind.QUANTIZE, JobKind.HEAD})
SAID = (EventKind.STARTED, EventKind.NOTE, EventKind.DONE, EventKind.STOPPED, EventKind.FAILED)
LOG_SIZE = 8_192


class JobDesk:
    """Submits, watches, stops and resumes jobs. Every method raises a PingpanError for what a user can mend."""

    def __init__(
        self, store: SqlStore, settings: Settings, panel: Callable[[str], PanelSpec], there: Callable[[], Sequence[Card]] = cards.cards
    ) -> None:
        self._store = store
        self._settings = settings
        self._panel = panel
        self._there = there
        self._leases = CardLeases(store, there)

    # Submitting

    def submit(self, spec: JobSpec, author: str, *, snapshot_id: int | None = None, after: int | None = None) -> Job:
        """Queue a job, or let it wait for the job `after`, whose product then fills the spec. Raises NotFound, JobError."""
        return self._add([Link(spec, None)], author, snapshot_id, first_after=after)[0]

    def submit_chain(self, specs: Sequence[JobSpec], author: str, *, snapshot_id: int | None = None) -> Sequence[Job]:
        """Queue jobs that come one after the other; each takes the last product before it."""
        return self._add([Link(spec, place - 1 if place else None) for place, spec in enumerate(specs)], author, snapshot_id)

    def train(
        self,
        spec: JobSpec,
        author: str,
        *,
        snapshot_id: int,
        forms: Forms | None = None,
        panel_id: str = "",
        judge_id: str = "",
    ) -> Sequence[Job]:
        """Queue "train and measure": the job, the measurement of what it makes, and the further forms that were asked for.

        With a panel's judge that one is measured on the same rows too, unless it was. Raises NotFound, JobError, PanelError.
        """
        snapshot = self._store.snapshot(snapshot_id)
        forms = forms or Forms()
        if spec.kind not in MAKES_A_JUDGE:
            forms = replace(forms, measure=False)
        whole = isinstance(spec, FineTuneSpec) and spec.method is Method.FULL
        if (forms.merge or forms.quantize) and spec.kind is not JobKind.FINE_TUNE:
            raise JobError(
                f"{spec.name}: only what a fine-tune makes can be merged and quantized.",
                zh=f"{spec.name}：只有微调得到的模型可以合并与量化。",
            )
        incumbent = self.measure_judge(panel_id, judge_id, snapshot_id, author) if panel_id and judge_id else None
        links = chains.plan(spec, snapshot.folder, forms, self._settings.lmdeploy_python, whole=whole)
        made = self._add(links, author, snapshot_id)
        return [*made, incumbent] if incumbent is not None and incumbent.state in PENDING else made

    def derive(
        self, candidate_id: int, author: str, *, merge: bool = False, quantize: Sequence[QuantizeMethod] = (), device: str = "auto"
    ) -> Sequence[Job]:
        """Queue further forms of a candidate: an adapter merged, then quantized; a merged model quantized. Each is measured."""
        candidate = self._store.trained_candidate(candidate_id)
        snapshot = self._store.snapshot(candidate.snapshot_id)
        job = self._store.job(candidate.job_id)
        result = jobdir.read_result(job.folder)
        if result is None or result.product is None:
            raise JobError(f"What job {job.id} made is gone from {job.folder}.", zh=f"任务 {job.id} 的产物已不在 {job.folder}。")
        forms = Forms(True, merge, quantize, device)
        whole = result.product.stage is not Stage.ADAPTER
        links = chains.further(candidate.name, snapshot.folder, forms, self._settings.lmdeploy_python, whole=whole and not merge)
        if not links:
            raise JobError("Choose merging or a way of quantizing.", zh="请选择合并或一种量化方式。")
        chains.fill(links[0].spec, result.product)  # what does not fit is told now
        return self._add(links, author, snapshot.id, first_after=job.id)

    def measure_judge(self, panel_id: str, judge_id: str, snapshot_id: int, author: str) -> Job:
        """Return the evaluate job of a panel's judge on a snapshot's held-out rows: done, under way, else queued now.

        Raises NotFound, PanelError for a judge that is not there.
        """
        from webapp.services.serving import judge_of

        judge = judge_of(self._panel(panel_id), judge_id)
        line = JudgeLine(id=judge.id, family=judge.family, options=dict(judge.options))
        snapshot = self._store.snapshot(snapshot_id)
        found = self.measurement(line, snapshot)
        if found is not None and found.state in {*PENDING, JobState.DONE}:
            return found
        return self.submit(chains.measurement(f"{panel_id}/{judge_id}", snapshot.folder, line), author, snapshot_id=snapshot_id)

    def measurement(self, line: JudgeLine, snapshot: Snapshot) -> Job | None:
        """Return the best evaluate job of a judge on a snapshot's held-out rows: a done one, else the latest; None without any."""
        found = None
        for job in self._store.jobs(10_000, archived=True):
            if job.kind is not JobKind.EVALUATE or job.snapshot_id != snapshot.id:
                continue
            spec = products.spec_of(job)
            if isinstance(spec, EvaluateSpec) and products.same_judge(line.family, line.options, spec.judge):
                if job.state is JobState.DONE and products.predictions_of(job) is not None:
                    return job
                found = found or job
        return None if found is not None and found.state is JobState.DONE else found

    def _add(self, links: Sequence[Link], author: str, snapshot_id: int | None, first_after: int | None = None) -> list[Job]:
        if snapshot_id is not None:
            self._store.snapshot(snapshot_id)
        folder, made = self._settings.home / "jobs", list[Job]()
        for link in links:
            after = first_after if link.after is None else made[link.after].id
            spec = link.spec
            if after is None and chains.needs_product(spec):
                raise JobError(f"{spec.name}: name the job whose product this one takes.", zh=f"{spec.name}：请指明使用哪个任务的产物。")
            made.append(
                self._store.add_job(
                    spec.kind, spec.name, answers.freeze(spec, self._store), folder, snapshot_id=snapshot_id, after=after, author=author
                )
            )
        return made

    # Looking

    def jobs(self, limit: int = 50, *, archived: bool = False) -> Sequence[JobView]:
        """Return jobs with what stands of them, newest first; archived ones only when asked for, and then they alone."""
        found = self._store.jobs(limit if not archived else 10_000, archived=archived)
        chosen = [job for job in found if (job.archived_at is not None) == archived][:limit]
        places = {job.id: place for place, job in enumerate(self._store.job_queue(), 1)}
        busy = self._busy() if places else {}
        return [self._view(job, places.get(job.id), busy) for job in chosen]

    def job(self, job_id: int) -> JobView:
        """Return one job with what stands of it. Raises NotFound."""
        job = self._store.job(job_id)
        places = {queued.id: place for place, queued in enumerate(self._store.job_queue(), 1)}
        return self._view(job, places.get(job.id), self._busy() if job.state is JobState.QUEUED else {})

    def events(self, job_id: int, after: int = 0) -> Sequence[JobEvent]:
        """Return the events behind the number `after`, in order. Raises NotFound."""
        self._store.job(job_id)
        return self._store.job_events(job_id, after)

    def curves(self, job_id: int) -> Curves:
        """Return the figures of training and of the held-out looks by step; of a step that was done again the last value counts."""
        self._store.job(job_id)
        series: dict[EventKind, dict[str, dict[int, float]]] = {kind: defaultdict(dict) for kind in (EventKind.TRAIN, EventKind.HELD_OUT)}
        for event in self._store.job_events(job_id, kinds=tuple(series)):
            for name, value in event.figures.items():
                series[event.kind][name][event.step] = value
        return Curves(*({name: _points(values) for name, values in figures.items()} for figures in series.values()))

    def log_tail(self, job_id: int, size: int = LOG_SIZE) -> str:
        """Return the last `size` characters of the job's log. Raises NotFound."""
        return jobdir.log_tail(self._store.job(job_id).folder, size)

    def command(self, job_id: int) -> str:
        """Return the line that does a job by hand, in any shell. Raises NotFound."""
        job = self._store.job(job_id)
        return launch.shell_command(job, products.spec_of(job), self._settings)

    def command_of(self, spec: JobSpec) -> str:  # noqa: ARG002
        """Return what the line will look like for a job that is not yet queued; its folder gets the job's number."""
        return jobdir.shell_command(self._settings.home / "jobs" / "NNNNN", self._settings)

    def estimate(self, spec: JobSpec) -> Estimate:
        """Return what a job will need against what the card has (training.estimate). Raises JobError where that cannot be said."""
        from training.estimate import estimate

        if not isinstance(spec, FineTuneSpec):
            raise JobError(f"{spec.name}: memory is estimated for fine-tuning only.", zh=f"{spec.name}：仅能估计微调所需的显存。")
        return estimate(spec)

    def cards(self) -> Sequence[Card]:
        """Return the processor and the cards, with who computes on them now."""
        held = self._leases.holders()
        on_processor = next((f"job {job.id}" for job in self._store.jobs(10_000, states=LIVE, archived=True) if not job.device), "")
        processor = Card(cards.CPU, cards.CPU, holder=said_holder(on_processor) if on_processor else {})
        return [processor, *(replace(card, holder=said_holder(held[card.device]) if card.device in held else {}) for card in self._there())]

    def compare(self, first_id: int, second_id: int) -> JobComparison:
        """Return two jobs side by side: the fields in which their specs differ, and their curves. Raises NotFound."""
        first, second = self.job(first_id), self.job(second_id)
        return JobComparison(first, second, _differences(first.job, second.job), self.curves(first_id), self.curves(second_id))

    # Acting

    def stop(self, job_id: int, *, kill: bool = False) -> JobView:
        """Ask a job to save and stop; one that waits is stopped at once. `kill` ends its process without saving. Raises NotFound."""
        job = self._store.request_job_stop(job_id)
        if job.state is JobState.STOPPING:
            with suppress(OSError):
                jobdir.request_stop(job.folder)
            if kill:
                processes.kill(job.process)
        return self.job(job_id)

    def resume(self, job_id: int) -> JobView:
        """Queue a stopped or failed job again; it goes on from its last checkpoint. Others stay as they are. Raises NotFound."""
        self._store.requeue_job(job_id)
        return self.job(job_id)

    def cancel(self, job_id: int) -> Sequence[JobView]:
        """Stop a job and everything that waits for it. Raises NotFound."""
        for follower in self._followers(job_id):
            if follower.state is JobState.WAITING:
                self._store.request_job_stop(follower.id)
        return [self.stop(job_id), *(self.job(follower.id) for follower in self._followers(job_id))]

    def archive(self, job_id: int) -> JobView:
        """Take a job out of the list; its folder stays. Raises NotFound, and JobError for one at work."""
        if self._store.job(job_id).state in {JobState.QUEUED, JobState.WAITING}:
            self._store.request_job_stop(job_id)
        self._store.archive_job(job_id)
        return self.job(job_id)

    def restore(self, job_id: int) -> JobView:
        """Bring an archived job back into the list. Raises NotFound."""
        self._store.archive_job(job_id, archived=False)
        return self.job(job_id)

    def _followers(self, job_id: int) -> list[Job]:
        found: list[Job] = []
        for follower in self._store.jobs_after(job_id):
            found += [follower, *self._followers(follower.id)]
        return found

    # Views

    def _busy(self) -> Mapping[str, str]:
        held = dict(self._leases.holders())
        for job in self._store.jobs(10_000, states=LIVE, archived=True):
            if not job.device:
                held.setdefault(cards.CPU, f"job {job.id}")
        return held

    def _view(self, job: Job, place: int | None, busy: Mapping[str, str]) -> JobView:
        last = self._store.last_job_event(job.id)
        said = self._store.last_job_event(job.id, SAID)
        candidate = self._store.candidate_of_job(job.id)
        stepped = self._store.last_job_event(job.id, _STEPPING)
        rate = self._rate(job.id, last) if job.state in LIVE and last is not None else None
        step, steps = (stepped.step, stepped.steps) if stepped is not None else (0, 0)
        return JobView(
            job=job,
            place=place,
            waits_for=self._waits_for(job, busy),
            step=step,
            steps=steps,
            rate=rate,
            seconds_left=(steps - step) / rate if rate and steps else None,
            events=last.sequence if last is not None else 0,
            last=said.message if said is not None else {},
            candidate_id=None if candidate is None else candidate.id,
            archived=job.archived_at is not None,
        )

    def _rate(self, job_id: int, last: JobEvent) -> float | None:
        recent = self._store.job_events(job_id, last.sequence - RATE_EVENTS)
        begun = max((place for place, event in enumerate(recent) if event.kind is EventKind.STARTED), default=0)
        steps = [event for event in recent[begun:] if event.kind in _STEPPING and event.step > 0]
        steps = [event for event in steps if (steps[-1].at - event.at).total_seconds() <= RATE_SECONDS]
        if len(steps) < 2 or steps[-1].step <= steps[0].step:
            return None
        seconds = (steps[-1].at - steps[0].at).total_seconds()
        return (steps[-1].step - steps[0].step) / seconds if seconds > 0 else None

    def _waits_for(self, job: Job, busy: Mapping[str, str]) -> LocalText:
        if job.state is JobState.WAITING and job.after is not None:
            before = self._store.job(job.after)
            return {"zh": f"等待任务 {before.id}（{before.name}）完成。", "en": f"Waits for job {before.id} ({before.name}) to be done."}
        if job.state is not JobState.QUEUED or not busy:
            return {}
        there = self._leases.devices()
        wanted = cards.wanted_by_job(products.spec_of(job))
        if wanted in {cards.AUTO, cards.CUDA} and there:
            return {} if any(device not in busy for device in there) else waits_for_card(there[0], busy[there[0]])
        device = cards.resolved(wanted, there)
        if device == cards.CPU and cards.CPU in busy:
            who = said_holder(busy[cards.CPU])
            return {
                "zh": f"等待{who['zh']}：处理器上的任务一次运行一个。",
                "en": f"Waits for {who['en']}: jobs on the processor run one at a time.",
            }
        return waits_for_card(device, busy[device]) if device in busy else {}


_STEPPING = (EventKind.PROGRESS, EventKind.TRAIN, EventKind.HELD_OUT, EventKind.CHECKPOINT)


def _points(values: Mapping[int, float]) -> list[Point]:
    return [Point(step, values[step]) for step in sorted(values)]


def _differences(first: Job, second: Job) -> list[SpecDifference]:
    one, other = (dict(_flat(json.loads(job.spec))) for job in (first, second))
    names = [name for name in dict.fromkeys([*one, *other]) if name != "name" and one.get(name, "") != other.get(name, "")]
    return [SpecDifference(name, one.get(name, ""), other.get(name, "")) for name in names]


def _flat(value: object, prefix: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _flat(part, f"{prefix}.{name}" if prefix else str(name))
    elif value is not None:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
