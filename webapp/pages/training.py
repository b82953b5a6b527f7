"""The training page: what to train on and how, jobs with their curves, candidates with what the gate says of them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import gradio as gr
from markupsafe import Markup

from core.errors import PingpanError
from core.training import JobState, Snapshot
from core.types import Dimension
from webapp.pages.render import Renderer, decimal, duration, moment
from webapp.pages.shell import ATTACH_TRAINING, READ_QUERY, PageName, Shell, at_edge, build_shell, html
from webapp.pages.training_address import CORRECTIONS, DataTab, TrainingAddress
from webapp.pages.training_candidates import Reports, candidate_list, chosen_judge, judge_choices
from webapp.pages.training_data import corrections_in, data_view
from webapp.pages.training_names import AUTO, PROCESSOR, device_words, job_name, job_words, setting_words
from webapp.pages.training_plan import Plan, plan
from webapp.pages.training_plot import Plot
from webapp.pages.training_setup import cards, setup
from webapp.pages.training_view import LIVE, JobPane, chain_lines, goes_on, has_curves, plots, step_chip
from webapp.services.training.views import JobComparison, JobView
from webapp.workbench import Workbench

JOBS_SHOWN = 60
LOG_CHARACTERS = 6000
PARTS = ("jobs", "job", "candidates", "data", "cards", "plan")


@dataclass(frozen=True, slots=True)
class TrainingPage:
    """The components of the training page."""

    shell: Shell
    body: gr.HTML


@dataclass(frozen=True, slots=True)
class Fragments:
    """Parts of the page that differ from what the browser has, by name: their digest and HTML. `live`: ask again soon."""

    live: bool
    parts: Mapping[str, tuple[str, str]]


def build_training(render: Renderer) -> TrainingPage:
    """Build the training page."""
    shell = build_shell(render, PageName.TRAINING, ATTACH_TRAINING)
    return TrainingPage(shell, html("training-body", _hosted(f'<p class="loading">{render.t("notice.loading")}</p>')))


def _hosted(page: str) -> str:
    return f"<div data-training-host>{page}</div>"


@dataclass(frozen=True, slots=True)
class TrainingHandlers:
    """The training page's handlers over the workbench."""

    workbench: Workbench
    render: Renderer
    reports: Reports = field(default_factory=Reports)

    def page(self, query: str) -> str:
        """Return the whole page for a query string, or what went wrong in words."""
        failed = lambda notice: self.render("body_failed.html", notice_html=notice, way="training")  # noqa: E731 a one-line fallback
        return at_edge(self.render, self.show, failed)(query)

    def show(self, query: str) -> str:
        """Return the whole page for a query string."""
        address, views = self._address(query)
        snapshot = self._snapshot(address)
        parts = {name: self._part(name, address, views, snapshot) for name in PARTS}
        notice, notice_href = self._notice(address)
        return self.render(
            "training.html",
            query=query,
            at=time.monotonic_ns(),
            address=address,
            live=_live(views),
            digests=json.dumps([[name, _digest(part)] for name, part in parts.items()]),
            parts={name: Markup(part) for name, part in parts.items()},
            setup=Markup(self._setup(address, snapshot)),
            notice=notice,
            notice_href=notice_href,
            notice_link=self.render.t("training.go_review"),
            archived_href=self._archived_href(address),
            pin=json.dumps({"job": str(address.job or ""), "snapshot": str(snapshot.id) if snapshot else ""}),
        )

    def fragments(self, query: str, known: Mapping[str, str]) -> Fragments:
        """Return those of the parts named in `known` whose digest is another by now."""
        address, views = self._address(query)
        snapshot = self._snapshot(address)
        found = {}
        for name, digest in known.items():
            if name in PARTS:
                part = self._part(name, address, views, snapshot)
                if _digest(part) != digest:
                    found[name] = (_digest(part), part)
        return Fragments(_live(views), found)

    def plan(self, query: str) -> tuple[Plan, Snapshot | None, TrainingAddress]:
        """Return what the settings in an address would start, on which snapshot."""
        address, _ = self._address(query)
        snapshot = self._snapshot(address)
        return plan(self.workbench, self.render.t, address, snapshot, self._dimensions()), snapshot, address

    # -- what the parts are made of

    def _address(self, query: str) -> tuple[TrainingAddress, list[JobView]]:
        """Return the address, with the newest chain's job where it names none, and the jobs."""
        address = TrainingAddress.parse(query)
        views = list(self.workbench.jobs.jobs(JOBS_SHOWN, archived=address.archived))
        if not address.job and views:
            running = next((view for view in views if view.job.state in {JobState.RUNNING, JobState.STOPPING}), None)
            curved = next((view for view in views if has_curves(view.job)), views[0])
            address = replace(address, job=(running or curved).job.id)
        return address, views

    def _snapshot(self, address: TrainingAddress) -> Snapshot | None:
        found = self.workbench.snapshots.snapshots()
        chosen = next((one for one in found if one.id == address.snapshot), None)
        return chosen or (found[0] if found else None)

    def _part(self, name: str, address: TrainingAddress, views: list[JobView], snapshot: Snapshot | None) -> str:
        draw: Mapping[str, Callable[[], str]] = {
            "jobs": lambda: self.render("training_jobs.html", lines=chain_lines(self.render.t, views, address, self._judges())),
            "job": lambda: self.render("training_job.html", pane=self._pane(address, views)),
            "candidates": lambda: self._candidates(address),
            "data": lambda: self._data(address, snapshot),
            "cards": lambda: self.render("training_cards.html", cards=cards(self.workbench, self.render.t, address), default_device=AUTO),
            "plan": lambda: self._plan(address, snapshot),
        }
        return at_edge(self.render, draw[name], lambda notice: notice)()

    def _pane(self, address: TrainingAddress, views: list[JobView]) -> JobPane | None:
        if not address.job:
            return None
        t, jobs = self.render.t, self.workbench.jobs
        view = next((one for one in views if one.job.id == address.job), None) or jobs.job(address.job)
        line = next((one for one in chain_lines(t, views, address) if one.chosen), None)
        judges = self._judges()
        comparison = jobs.compare(view.job.id, address.compare) if address.compare and address.compare != view.job.id else None
        drawn: tuple[Plot, ...] = ()
        if has_curves(view.job):
            drawn = plots(t, jobs.curves(view.job.id), view.steps, comparison.second_curves if comparison else None)
        other = comparison.second.job if comparison else None
        return JobPane(
            view=view,
            name=job_name(t, view.job, judges),
            words=job_words(t, view.job),
            chain=line.steps if line else (step_chip(t, view, address),),
            plots=drawn,
            figures=self._figures(view),
            error=t.pick(view.job.error) if view.job.state is JobState.FAILED else "",
            waits_for=t.pick(view.waits_for),
            log=jobs.log_tail(view.job.id, LOG_CHARACTERS),
            command=jobs.command(view.job.id),
            spec=_indented(view.job.spec),
            snapshot_href=self._snapshot_href(address, view),
            candidate_href=address.moved(candidate=view.candidate_id).url(t.language) if view.candidate_id else "",
            comparison=comparison,
            differences=self._differences(comparison) if comparison else (),
            goes_on=step_chip(t, line.at, address) if line and goes_on(view, line) else None,
            compare_name=f"#{other.id} {job_name(t, other, judges)}" if other else "",
            drop_compare_href=address.moved(compare=0).url(t.language),
        )

    def _differences(self, comparison: JobComparison) -> tuple[tuple[str, str, str], ...]:
        t = self.render.t
        dimensions = {dimension.id: dimension.name(t.language) for dimension in self.workbench.dimensions()}

        def words(field: str, value: str) -> str:
            return setting_words(t, field, value, dimensions)

        return tuple(
            (t.member("training_field", one.field), words(one.field, one.first), words(one.field, one.second))
            for one in comparison.differences
        )

    def _judges(self) -> Mapping[str, str]:
        return {f"{panel}/{judge}": words for panel, judge, words in judge_choices(self.workbench, self.render.t)}

    def _snapshot_href(self, address: TrainingAddress, view: JobView) -> str:
        wanted = view.job.snapshot_id
        return address.moved(snapshot=wanted, tab=DataTab.USE).url(self.render.t.language) if wanted else ""

    def _figures(self, view: JobView) -> tuple[tuple[str, str], ...]:
        t, job = self.render.t, view.job
        found = []
        if view.steps:
            found.append((t("training.figure_step"), f"{view.step:,} / {view.steps:,}"))
        if view.rate is not None and view.job.state is JobState.RUNNING:
            found.append((t("training.figure_rate"), decimal(view.rate, 2)))
        if view.seconds_left is not None and view.job.state is JobState.RUNNING:
            found.append((t("training.figure_left"), duration(t, view.seconds_left)))
        if job.started_at is not None:
            found += [
                (t("training.figure_worked"), duration(t, job.worked_seconds)),
                (t("training.figure_started"), moment(t, job.started_at)),
            ]
        if job.finished_at is not None and job.state not in LIVE:
            found.append((t("training.figure_ended"), moment(t, job.finished_at)))
        if job.started_at is not None:
            found.append((t("training.figure_device"), device_words(t, job.device or PROCESSOR)))
        return tuple(found)

    def _candidates(self, address: TrainingAddress) -> str:
        found = candidate_list(self.workbench, self.render.t, address, self._dimensions(), self.reports)
        chosen = found.chosen
        return self.render(
            "training_candidates.html",
            lines=found.lines,
            opened=found.opened,
            judges=found.judges,
            panels=found.panels,
            chosen_judge=(chosen.panel, chosen.judge) if chosen else None,
            judge_body=json.dumps({"panel": chosen.panel, "judge": chosen.judge} if chosen else {}),
        )

    def _data(self, address: TrainingAddress, snapshot: Snapshot | None) -> str:
        return self.render("training_data.html", **data_view(self.workbench, self.render.t, address, snapshot).values())

    def _setup(self, address: TrainingAddress, snapshot: Snapshot | None) -> str:
        drawn = lambda: self._setup_html(address, snapshot)  # noqa: E731 guarded below
        return at_edge(self.render, drawn, lambda notice: notice)()

    def _setup_html(self, address: TrainingAddress, snapshot: Snapshot | None) -> str:
        found = setup(self.workbench, self.render.t, address, snapshot, self._dimensions())
        return self.render(
            "training_setup.html",
            presets=found.presets,
            model=found.model,
            models=found.models,
            method=found.method,
            revision=found.revision,
            dimension_choices=found.dimension_choices,
            dimension=found.dimension,
            reader=found.reader,
            texts=found.texts,
            made_rows=found.made_rows,
            answers=found.answers,
            form=found.form,
        )

    def _plan(self, address: TrainingAddress, snapshot: Snapshot | None) -> str:
        found = plan(self.workbench, self.render.t, address, snapshot, self._dimensions())
        judge = chosen_judge(self.workbench, address)
        panel = next((one for one in self.workbench.panels() if judge and one.id == judge.panel), None)
        named = next((one.named(self.render.t.language) for one in panel.judges if judge and one.id == judge.judge), "") if panel else ""
        return self.render(
            "training_plan.html",
            faults=found.faults,
            need=found.need,
            command=found.command,
            memory=found.memory,
            memory_missing=found.memory_missing,
            updates=found.updates,
            warning=found.warning,
            spec=found.spec.model_dump_json(indent=2) if found.spec else "",
            before=found.before.model_dump_json(indent=2) if found.before else "",
            start_hint=self.render.t("training.start_hint", judge=named),
        )

    def _notice(self, address: TrainingAddress) -> tuple[str, str]:
        """Return what somebody who came with their corrections reads, and where to go where there are none."""
        if address.source != CORRECTIONS:
            return "", ""
        t = self.render.t
        try:
            count = corrections_in(self.workbench)
        except PingpanError:
            count = 0
        return (t("training.corrections_in", count=f"{count:,}"), "") if count else (t("training.no_corrections"), f"/{t.language}/review")

    def _archived_href(self, address: TrainingAddress) -> str:
        if not address.archived and not self.workbench.jobs.jobs(1, archived=True):
            return ""
        return address.moved(archived=not address.archived, job=0, compare=0).url(self.render.t.language)

    def _dimensions(self) -> Mapping[str, Dimension]:
        return {dimension.id: dimension for dimension in self.workbench.dimensions()}


def _live(views: list[JobView]) -> bool:
    return any(view.job.state in LIVE for view in views)


def _digest(part: str) -> str:
    return hashlib.sha256(part.encode()).hexdigest()[:16]


def _indented(spec: str) -> str:
    try:
        return json.dumps(json.loads(spec), ensure_ascii=False, indent=2)
    except ValueError:
        return spec


def bind_training(page: TrainingPage, demo: gr.Blocks, workbench: Workbench, render: Renderer) -> None:
    """Draw the page from its URL at load. Later the page asks its own routes."""
    handlers = TrainingHandlers(workbench, render)

    def show(query: str) -> str:
        return _hosted(handlers.page(query))

    demo.load(show, [page.shell.query], [page.body], js=READ_QUERY, show_progress="hidden", api_visibility="private")
