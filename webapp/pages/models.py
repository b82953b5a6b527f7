"""The models page: panels and their judges, what each needs and has, and a place to edit a panel of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from core.training import Candidate
from core.types import PanelSpec
from db.judge_facts import JudgeFacts
from webapp.pages.address import JudgeAddress, Mode, RunAddress
from webapp.pages.body import Body, BodyPage, bind_body, build_body
from webapp.pages.desk_address import ModelsAddress
from webapp.pages.render import Renderer
from webapp.pages.shell import PageName
from webapp.pages.training_address import TrainingAddress
from webapp.pages.training_names import device_words
from webapp.services.model_states import JudgeState, Place, Readiness
from webapp.services.panel_desk import PanelVersion
from webapp.workbench import Workbench


@dataclass(frozen=True, slots=True)
class PanelLink:
    """A panel in the list: how many runs it had, and whether it is a file of one's own."""

    panel: PanelSpec
    runs: int
    own: bool
    chosen: bool
    href: str


@dataclass(frozen=True, slots=True)
class JudgeView:
    """One judge of the opened panel."""

    name: str
    lead: bool
    state: JudgeState
    where: str
    options: Sequence[tuple[str, str]]
    facts: JudgeFacts | None
    error: str
    error_href: str
    job: int
    job_href: str


@dataclass(frozen=True, slots=True)
class EditorView:
    """The editor: the name under which the text will be kept, the text, and earlier versions."""

    name: str
    text: str
    fixed_name: bool
    versions: Sequence[tuple[PanelVersion, str]]


@dataclass(frozen=True, slots=True)
class PanelView:
    """The opened panel."""

    panel: PanelSpec
    own: bool
    judges: Sequence[JudgeView]
    ready: int
    try_href: str
    edit_href: str
    close_href: str
    editor: EditorView | None


@dataclass(frozen=True, slots=True)
class ModelsHandlers:
    """The models page's handlers over the workbench."""

    workbench: Workbench
    render: Renderer

    def show(self, query: str) -> Body:
        """Return the whole page for a query string; it is live while a judge is being looked at."""
        address = ModelsAddress.parse(query)
        panels = self.workbench.panels()
        chosen = self.workbench.panel_desk.panel(address.panel) if address.panel else panels[0]
        opened = self._panel(chosen, address)
        runs = self.workbench.judge_facts.panel_runs()
        links = [self._link(panel, runs.get(panel.id, 0), panel.id == chosen.id) for panel in panels]
        checking = any(judge.state.readiness is Readiness.CHECKING for judge in opened.judges)
        return Body(self.render("models.html", links=links, opened=opened, query=query), live=checking and not address.edit)

    def _link(self, panel: PanelSpec, runs: int, chosen: bool) -> PanelLink:
        href = ModelsAddress(panel.id).url(self.render.t.language)
        return PanelLink(panel, runs, self.workbench.panel_desk.is_own(panel.id), chosen, href)

    def _panel(self, panel: PanelSpec, address: ModelsAddress) -> PanelView:
        language = self.render.t.language
        facts = self.workbench.judge_facts.judge_facts(panel.id)
        made = self.workbench.candidates.origins(panel)
        judges = [
            self._judge(panel, state, facts.get(state.spec.id), made.get(state.spec.id))
            for state in self.workbench.model_states.states(panel)
        ]
        return PanelView(
            panel=panel,
            own=self.workbench.panel_desk.is_own(panel.id),
            judges=judges,
            ready=sum(judge.state.readiness is Readiness.READY for judge in judges),
            try_href=JudgeAddress(mode=Mode.QUESTION, panel=panel.id).url(language),
            edit_href=ModelsAddress(panel.id, edit=True).url(language),
            close_href=ModelsAddress(panel.id).url(language),
            editor=self._editor(panel, address) if address.edit else None,
        )

    def _judge(self, panel: PanelSpec, state: JudgeState, facts: JudgeFacts | None, made: Candidate | None) -> JudgeView:
        t = self.render.t
        last = facts.last_error if facts else None
        return JudgeView(
            name=state.spec.named(t.language),
            lead=state.spec.id == panel.lead,
            state=state,
            where=device_words(t, state.where) if state.place is Place.PROCESS else state.where,
            options=[(name, _shown(value)) for name, value in state.spec.options.items()],
            facts=facts,
            error=t.pick(last.words) if last else "",
            error_href=RunAddress(run=last.run_id, item=str(last.item_id)).url(t.language) if last else "",
            job=made.job_id if made else 0,
            job_href=TrainingAddress(job=made.job_id, candidate=made.id).url(t.language) if made else "",
        )

    def _editor(self, panel: PanelSpec, address: ModelsAddress) -> EditorView:
        desk, language = self.workbench.panel_desk, self.render.t.language
        own = desk.is_own(panel.id)
        versions = [(version, ModelsAddress(panel.id, edit=True, version=version.id).url(language)) for version in desk.versions(panel.id)]
        name = panel.id if own else desk.free_name(panel.id)
        return EditorView(name, desk.text(panel.id, address.version), own, versions)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(part)}" for name, part in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def build_models(render: Renderer) -> BodyPage:
    """Build the models page."""
    return build_body(render, PageName.MODELS, 1.0)


def bind_models(page: BodyPage, demo: gr.Blocks, workbench: Workbench, render: Renderer) -> None:
    """Draw the page by its URL."""
    bind_body(page, demo, render, ModelsHandlers(workbench, render).show)
