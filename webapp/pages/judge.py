"""The judge page: drop a sheet or type one question, see what is wrong with it and what it will cost, start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import gradio as gr

from core.settings import Settings
from core.types import Dimension, Library, PanelSpec, RowProblem, Severity
from webapp.pages.address import MAPPED_FIELDS, JudgeAddress, Mode, RunAddress
from webapp.pages.judged_view import LIVE_STATES
from webapp.pages.render import Renderer, count
from webapp.pages.runs import POLL_SECONDS, RECENT, run_line, runs_html
from webapp.pages.shell import LATEST, READ_QUERY, START, VISIT, PageName, Shell, at_edge, build_shell, explain, html, notice_html
from webapp.workbench import Question, SheetPreview, Workbench

SAMPLE = "sample"
PREVIEW_ROWS = 8
# Of each kind of problem so many are listed; a sheet may have a hundred thousand.
PROBLEMS_SHOWN = 20
STEPS = ("file", "columns", "check", "start")


@dataclass(frozen=True, slots=True)
class ProblemGroup:
    """All problems of one kind: how many, and the first of them."""

    code: str
    severity: Severity
    count: int
    first: tuple[RowProblem, ...]


def problem_groups(problems: Sequence[RowProblem]) -> list[ProblemGroup]:
    """Return the problems by kind: errors first, then the most frequent."""
    kinds: dict[tuple[str, Severity], list[RowProblem]] = {}
    for problem in problems:
        kinds.setdefault((problem.code, problem.severity), []).append(problem)
    groups = [ProblemGroup(code, severity, len(found), tuple(found[:PROBLEMS_SHOWN])) for (code, severity), found in kinds.items()]
    return sorted(groups, key=lambda group: (group.severity is Severity.WARNING, -group.count))


@dataclass(frozen=True, slots=True)
class JudgePage:
    """The components of the judge page."""

    shell: Shell
    tabs: gr.HTML
    sheet: gr.HTML
    question: gr.Column
    dimension: gr.Dropdown
    prompt: gr.Textbox
    text: gr.Textbox
    rubric: gr.HTML
    panel: gr.Dropdown
    library: gr.Dropdown
    library_facts: gr.HTML
    aggregator: gr.Dropdown
    estimate: gr.HTML
    skip: gr.Checkbox
    start: gr.Button
    notice: gr.HTML
    recent: gr.HTML
    go_to: gr.Textbox
    timer: gr.Timer

    @property
    def outputs(self) -> list[object]:
        """Return the components that a change of the URL writes, in the order of `Choices.values`."""
        choices = [self.panel, self.library, self.library_facts, self.aggregator, self.estimate, self.skip]
        return [self.tabs, self.sheet, self.question, *choices, self.start, self.notice]


@dataclass(frozen=True, slots=True)
class Choices:
    """What the page shows for a URL, in the order of JudgePage.outputs."""

    tabs: str
    sheet: str
    asking: bool
    panels: tuple[tuple[str, str], ...]
    panel: str
    libraries: tuple[tuple[str, int], ...]
    library: int | None
    library_facts: str
    aggregator: str
    estimate: str
    skip_label: str
    notice: str

    def values(self) -> tuple[object, ...]:
        """Return the updates for Gradio."""
        return (
            self.tabs,
            self.sheet,
            gr.Column(visible=self.asking),
            gr.Dropdown(choices=list(self.panels), value=self.panel),
            gr.Dropdown(choices=list(self.libraries), value=self.library),
            self.library_facts,
            self.aggregator,
            self.estimate,
            gr.Checkbox(label=self.skip_label, value=False, visible=bool(self.skip_label)),
            gr.Button(interactive=True),
            self.notice,
        )


def build_judge(render: Renderer, workbench: Workbench, settings: Settings) -> JudgePage:
    """Build the judge page."""
    t = render.t
    shell = build_shell(render, PageName.JUDGE)
    tabs = html("judge-tabs", tabs_html(render, JudgeAddress()))
    with gr.Row(elem_id="judge-work", equal_height=False):
        with gr.Column(scale=7, min_width=320, elem_id="judge-main"):
            sheet = html("judge-sheet", f'<p class="loading">{t("notice.loading")}</p>')
            question, dimension, prompt, text, rubric = _build_question(render, workbench)
        with gr.Column(scale=3, min_width=320, elem_id="judge-settings"):
            gr.HTML(f"<h2>{t('judge.settings')}</h2>", js_on_load=None, apply_default_css=False)
            panels = [(t.pick(panel.names), panel.id) for panel in workbench.panels()]
            panel = gr.Dropdown(panels, value=settings.panel, label=t("judge.panel"), filterable=False, elem_id="judge-panel")
            library = gr.Dropdown([], label=t("judge.library"), filterable=False, elem_id="judge-library")
            facts = html("judge-library-facts")
            names = [(t.member("aggregator", name), name) for name in workbench.aggregators()]
            aggregator = gr.Dropdown(
                names, value=settings.aggregator, label=t("judge.aggregator"), filterable=False, elem_id="judge-aggregator"
            )
            estimate = html("judge-estimate")
            skip = gr.Checkbox(False, label=t("judge.skip", count=0), visible=False, elem_id="judge-skip", container=False)
            # Shut until the page stands: a press would start with choices that are not there yet.
            start = gr.Button(t("judge.start"), variant="primary", interactive=False, elem_id="judge-start")
            notice = html("judge-notice")
        recent = html("judge-recent")
    go_to, timer = gr.Textbox(visible=False), gr.Timer(POLL_SECONDS, active=False)
    return JudgePage(
        shell, tabs, sheet, question, dimension, prompt, text, rubric, panel, library, facts, aggregator, estimate, skip, start, notice,
        recent, go_to, timer,
    )  # fmt: skip


def _build_question(render: Renderer, workbench: Workbench) -> tuple[gr.Column, gr.Dropdown, gr.Textbox, gr.Textbox, gr.HTML]:
    t = render.t
    dimensions = workbench.dimensions()
    first = next((d for d in dimensions if not d.needs_prompt), dimensions[0] if dimensions else None)
    with gr.Column(visible=False, elem_id="judge-question") as group:
        dimension = gr.Dropdown(
            [(d.name(t.language), d.id) for d in dimensions],
            value=first.id if first else None,
            label=t("judge.dimension"),
            filterable=False,
            elem_id="question-dimension",
        )
        prompt = gr.Textbox(label=t("judge.prompt"), placeholder=t("judge.prompt_hint"), lines=2, max_lines=8, elem_id="question-prompt")
        text = gr.Textbox(label=t("judge.text"), placeholder=t("judge.text_hint"), lines=8, max_lines=24, elem_id="question-text")
        rubric = html("question-rubric", rubric_html(render, first))
    return group, dimension, prompt, text, rubric


def tabs_html(render: Renderer, address: JudgeAddress, query: str | None = None) -> str:
    """Return the page's title and the choice between a sheet and one question; `query` is what the page was drawn for, if it was."""
    modes = [(mode, replace(address, mode=mode).url(render.t.language)) for mode in Mode]
    return render("judge_tabs.html", modes=modes, chosen=address.mode, query=query)


def rubric_html(render: Renderer, dimension: Dimension | None) -> str:
    """Return the rubric of a dimension."""
    return render("rubric.html", dimension=dimension)


@dataclass(frozen=True, slots=True)
class JudgeHandlers:
    """The judge page's handlers over the workbench."""

    workbench: Workbench
    render: Renderer
    settings: Settings

    def show(self, query: str) -> Choices:
        """Return the whole page for a query string."""
        address = JudgeAddress.parse(query)
        t = self.render.t
        asking = address.mode is Mode.QUESTION
        preview, problem = (None, "") if asking else self._preview(address)
        libraries = self.workbench.libraries()
        library = next((one for one in libraries if one.id == address.library), libraries[0] if libraries else None)
        panel = self._panel(address.panel)
        rows = 1 if asking else preview.judgeable_rows if preview else 0
        bad = preview.error_rows if preview and not preview.fatal and preview.judgeable_rows else 0
        return Choices(
            tabs=tabs_html(self.render, address, query),
            sheet="" if asking else self._sheet(address, preview),
            asking=asking,
            panels=tuple((t.pick(one.names), one.id) for one in self.workbench.panels()),
            panel=panel.id if panel else "",
            libraries=tuple((t("judge.library_choice", name=one.name, size=count(one.size)), one.id) for one in libraries),
            library=library.id if library else None,
            library_facts=self._library(library, preview),
            aggregator=address.aggregator if address.aggregator in self.workbench.aggregators() else self.settings.aggregator,
            estimate=self._estimate(rows, panel),
            skip_label=t("judge.skip", count=count(bad)) if bad else "",
            notice=problem or self._verdict(preview),
        )

    def _preview(self, address: JudgeAddress) -> tuple[SheetPreview | None, str]:
        """Return what the address's sheet holds, or why it cannot be read; the drop zone stays usable then."""
        if not address.sheet:
            return None, ""
        try:
            return self.preview(address), ""
        except Exception as error:  # noqa: BLE001 the page's edge, see at_edge: here the rest of the page still shows
            return None, notice_html(self.render, explain(self.render, error))

    def preview(self, address: JudgeAddress) -> SheetPreview:
        """Return the preview of the address's sheet: the shipped sample or an upload by its token."""
        mapping = {name: header for name, header in address.mapping.items() if header} or None
        if address.sheet == SAMPLE:
            return self.workbench.preview(self.workbench.sample_sheet(), worksheet=address.worksheet, mapping=mapping)
        return self.workbench.preview_again(address.sheet, worksheet=address.worksheet, mapping=mapping)

    def _panel(self, name: str) -> PanelSpec | None:
        panels = self.workbench.panels()
        chosen = (panel for wanted in (name, self.settings.panel) for panel in panels if panel.id == wanted)
        return next(chosen, panels[0] if panels else None)

    def _sheet(self, address: JudgeAddress, preview: SheetPreview | None) -> str:
        names = {dimension.id: dimension.name(self.render.t.language) for dimension in self.workbench.dimensions()}
        problems = preview.problems if preview else ()
        severities = [problem.severity for problem in problems]
        language = self.render.t.language
        return self.render(
            "sheet.html",
            preview=preview,
            fields=MAPPED_FIELDS,
            columns_hint=True,
            max_upload_mb=self.settings.max_upload_mb,
            sample_href=replace(address, sheet=SAMPLE, worksheet="", mapping={}).url(language),
            clear_href=replace(address, sheet="", worksheet="", mapping={}).url(language),
            by_dimension=[(names.get(name, name), rows) for name, rows in preview.by_dimension.items()] if preview else [],
            names=names,
            errors=severities.count(Severity.ERROR),
            warnings=severities.count(Severity.WARNING),
            groups=problem_groups(problems),
            steps=_steps(preview) if preview else (),
            rows=preview.rows[:PREVIEW_ROWS] if preview else (),
        )

    def _library(self, library: Library | None, preview: SheetPreview | None) -> str:
        """Return what the library holds, and for which dimensions of the sheet it has no example."""
        names = {dimension.id: dimension.name(self.render.t.language) for dimension in self.workbench.dimensions()}
        counts = [(names.get(name, name), rows) for name, rows in library.counts.items()] if library else []
        wanted = preview.by_dimension if library and preview else {}
        missing = [names.get(name, name) for name in wanted if library and not library.counts.get(name)]
        return self.render("library.html", library=library, counts=counts, missing=missing)

    def _estimate(self, rows: int, panel: PanelSpec | None) -> str:
        estimate = self.workbench.estimate(rows, panel.id) if rows and panel else None
        return self.render("estimate.html", estimate=estimate, panel=panel)

    def _verdict(self, preview: SheetPreview | None) -> str:
        """Return why the sheet cannot be started as it is, or nothing."""
        if preview is None:
            return ""
        key = "judge.fatal" if preview.fatal else "" if preview.judgeable_rows else "judge.nothing"
        return notice_html(self.render, self.render.t(key)) if key else ""

    def recent(self) -> tuple[object, object]:
        """Return the short list of runs, and whether to look again soon."""
        lines = [run_line(self.workbench, run) for run in self.workbench.runs(RECENT)]
        return runs_html(self.render, lines, heading=True), gr.Timer(active=any(line.state in LIVE_STATES for line in lines))

    def rubric(self, dimension_id: str) -> str:
        """Return the rubric of the chosen dimension."""
        return rubric_html(self.render, next((d for d in self.workbench.dimensions() if d.id == dimension_id), None))

    def start(
        self, query: str, panel: str, library: int | None, aggregator: str, skip: bool, dimension: str, prompt: str, text: str
    ) -> tuple[str, str]:
        """Start a run and return ("", its URL), or (a notice, "") saying what is missing."""
        address = JudgeAddress.parse(query)
        t = self.render.t
        if library is None:
            return self._missing("judge.need_library")
        if address.mode is Mode.QUESTION:
            if not text.strip():
                return self._missing("judge.need_text")
            run = self.workbench.ask(Question(dimension, prompt.strip(), text.strip()), library, panel, aggregator)
            return "", RunAddress(run=run.id, item="first").url(t.language)
        if not address.sheet:
            return self._missing("judge.need_sheet")
        preview = self.preview(address)
        if preview.error_rows and not skip and not preview.fatal:
            return self._missing("judge.skip_needed", count=count(preview.error_rows))
        sheet = self.workbench.store_sheet(
            preview.token, worksheet=preview.worksheet, mapping=dict(preview.mapping), skip_bad_rows=bool(skip)
        )
        run = self.workbench.start_run(sheet.id, library, panel, aggregator)
        return "", RunAddress(run=run.id).url(t.language)

    def _missing(self, key: str, **values: object) -> tuple[str, str]:
        return notice_html(self.render, self.render.t(key, **values)), ""


def _steps(preview: SheetPreview) -> list[tuple[str, str]]:
    """Return the walk from the file to the start, with what is done, where one is, and what comes."""
    here = 1 if preview.fatal else 2 if preview.error_rows or not preview.judgeable_rows else 3
    return [(name, "done" if place < here else "here" if place == here else "later") for place, name in enumerate(STEPS)]


def bind_judge(page: JudgePage, demo: gr.Blocks, workbench: Workbench, render: Renderer, settings: Settings) -> None:
    """Restore the page from its URL, follow the URL, remember choices in it, and start runs."""
    handlers = JudgeHandlers(workbench, render, settings)
    quiet = {"show_progress": "hidden", "api_visibility": "private"}

    def show(query: str) -> tuple[object, ...]:
        return handlers.show(query).values()

    nothing = tuple(gr.skip() for _ in page.outputs[:-1])
    refresh = at_edge(render, show, lambda notice: (*nothing, notice))
    demo.load(refresh, [page.shell.query], page.outputs, js=READ_QUERY, **quiet)
    page.shell.header.go(refresh, [page.shell.query], page.outputs, js=READ_QUERY, trigger_mode=LATEST, **quiet)
    recent = at_edge(render, handlers.recent, lambda notice: (notice, gr.Timer(active=False)))
    for event in (demo.load, page.timer.tick):
        event(recent, [], [page.recent, page.timer], **quiet)
    rubric = at_edge(render, handlers.rubric, lambda notice: notice)
    page.dimension.change(rubric, [page.dimension], [page.rubric], **quiet)
    for name, choice in (("panel", page.panel), ("library", page.library), ("aggregator", page.aggregator)):
        choice.input(None, [choice], js=f"(value) => {{ window.pingpan.set('{name}', value); }}", api_visibility="private")
    _bind_start(page, at_edge(render, handlers.start, lambda notice: (notice, "")), quiet)


def _bind_start(page: JudgePage, start: Callable[..., tuple[str, str]], quiet: Mapping[str, object]) -> None:
    typed = [page.dimension, page.prompt, page.text]
    inputs = [page.shell.query, page.panel, page.library, page.aggregator, page.skip, *typed]
    started = page.start.click(start, inputs, [page.notice, page.go_to], js=START, trigger_mode="once", **quiet)
    started.then(None, [page.go_to], js=VISIT, api_visibility="private")
