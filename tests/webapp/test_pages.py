"""The pages' HTML: everything a user wrote is escaped, errors are words in the page's language, states are complete."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from core.errors import PanelError
from core.settings import Settings
from core.types import Library, Run, RunState
from tests.webapp.fake import FakeWorkbench
from webapp.pages.address import Mode, RunAddress
from webapp.pages.judge import JudgeHandlers
from webapp.pages.render import Renderer, count, decimal, duration, load_renderer, moment, size
from webapp.pages.run import RunHandlers
from webapp.pages.runs import run_line, runs_html
from webapp.pages.shell import at_edge
from webapp.pages.translate import Language

ZH, EN = load_renderer(Language.ZH), load_renderer(Language.EN)
SETTINGS = Settings(_env_file=None)  # type: ignore[call-arg]
RENDERERS = pytest.mark.parametrize("render", [ZH, EN], ids=["zh", "en"])


def judge_page(workbench: FakeWorkbench, render: Renderer = EN) -> JudgeHandlers:
    return JudgeHandlers(workbench, render, SETTINGS)


class _Tags(HTMLParser):
    """Collects what a browser would make of the HTML: tags and names of attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


def assert_harmless(html: str) -> None:
    """No tag or attribute came from a text: hostile characters stand there as entities."""
    found = _Tags()
    found.feed(html)
    assert found.tags & {"script", "img"} == set()
    assert [name for name in found.attributes if name.startswith("on")] == []


@RENDERERS
def test_hostile_rows_are_shown_as_text(render: Renderer) -> None:
    workbench = FakeWorkbench(hostile=True)
    run = workbench.add('<img src=x onerror="alert(1)">.xlsx', 6, done=True)
    shown = RunHandlers(workbench, render).show(f"?run={run.id}&item=first&search=<script>")
    listed = RunHandlers(workbench, render).show(f"?run={run.id}&item=first")
    for html in (shown.head, shown.rows, listed.head, listed.rows, listed.detail):
        assert_harmless(html)
    assert "&lt;script&gt;" in listed.detail


def test_judges_speak_the_language_of_the_page() -> None:
    workbench = FakeWorkbench()
    run = replace(workbench.add("评审.xlsx", 40, done=True), error={"zh": "服务没有回应。", "en": "The server does not answer."})
    entry = next(one for one in workbench.runs_ if one.run.id == run.id)
    entry.run = run
    pages = {}
    for render in (ZH, EN):
        handlers = RunHandlers(workbench, render)
        shown = [handlers.show(f"?run={run.id}&item={item.id}") for item in entry.items]
        pages[render.t.language] = [shown[0].strip, shown[0].rows, *(one.detail for one in shown)]
    zh, en = ("".join(pages[language]) for language in (Language.ZH, Language.EN))
    for chinese, english in (
        ("数出 3 处语病", "Faults: 3, that is"),
        ("文本太短，看不出什么。", "The text is too short to see anything."),
        ("服务没有回应。", "The server does not answer."),
        ("叠字 「的的」 第 12 字起", "doubled character “的的” at 12"),
        ("<b>近邻</b>", "<b>Neighbours</b>"),
    ):
        assert (chinese in zh, chinese in en) == (True, False)
        assert (english in en, english in zh) == (True, False)


@RENDERERS
def test_hostile_sheets_and_libraries_are_shown_as_text(render: Renderer) -> None:
    workbench = FakeWorkbench(hostile=True)
    workbench.libraries_ = [Library(1, "<script>", "v", 3, datetime.now(UTC), {"<script>": 3})]
    token = workbench.preview(workbench.sample_sheet(), 'bad"><script>alert(1)</script>.csv').token
    shown = judge_page(workbench, render).show(f"?sheet={token}")
    for html in (shown.sheet, shown.library_facts, shown.estimate):
        assert_harmless(html)
    assert "&lt;b&gt;备注&lt;/b&gt;" in shown.sheet
    workbench.add("<script>", 3)
    assert_harmless(runs_html(render, [run_line(workbench, run) for run in workbench.runs()], heading=True))


@RENDERERS
def test_a_sheet_with_problems_names_row_column_and_remedy_and_asks_for_consent(render: Renderer) -> None:
    workbench = FakeWorkbench()
    token = workbench.preview(workbench.sample_sheet(), "bad.csv").token
    shown = judge_page(workbench, render).show(f"?sheet={token}")
    for problem in workbench.previews[token].problems:
        assert render.t.pick(problem.message) in shown.sheet
    assert "GB18030" in shown.sheet
    assert "3" in shown.skip_label
    notice, url = judge_page(workbench, render).start(f"?sheet={token}", "cpu", 1, "pooled-median", False, "fluency", "", "")
    assert render.t("judge.skip_needed", count=3) in notice
    assert url == ""
    notice, url = judge_page(workbench, render).start(f"?sheet={token}", "cpu", 1, "pooled-median", True, "fluency", "", "")
    assert (notice, url) == ("", f"/{render.t.language}/run?run=1")


def test_what_is_missing_is_said_before_anything_starts() -> None:
    workbench = FakeWorkbench()
    page = judge_page(workbench)
    t = EN.t
    assert t("judge.need_sheet") in page.start("", "cpu", 1, "pooled-median", False, "fluency", "", "")[0]
    assert t("judge.need_library") in page.start("?sheet=sample", "cpu", None, "pooled-median", False, "fluency", "", "")[0]
    assert t("judge.need_text") in page.start("?mode=question", "cpu", 1, "pooled-median", False, "fluency", "", "  ")[0]
    assert workbench.runs() == []
    workbench.libraries_ = []
    assert t("judge.no_library") in page.show("").library_facts


def test_a_library_without_examples_for_the_sheet_is_pointed_out() -> None:
    workbench = FakeWorkbench()
    workbench.libraries_ = [Library(1, "one", "v", 3, datetime.now(UTC), {"fluency": 3})]
    facts = judge_page(workbench).show("?sheet=sample").library_facts
    assert EN.t("judge.library_lacks", names="Normativity, Choice") in facts
    assert "abstain" not in judge_page(FakeWorkbench()).show("?sheet=sample").library_facts


def test_a_typed_question_opens_its_row() -> None:
    workbench = FakeWorkbench()
    shown = judge_page(workbench).show(f"?mode={Mode.QUESTION}")
    assert shown.asking
    assert shown.sheet == ""
    _, url = judge_page(workbench).start("?mode=question", "cpu", 1, "reference-vote", False, "choice", "", "模型回复为：选 B。")
    assert url == "/en/run?run=1&item=first"
    assert "模型回复为：选 B。" in RunHandlers(workbench, EN).show(url.partition("?")[2]).detail


def test_an_upload_that_is_gone_leaves_the_drop_zone_usable() -> None:
    shown = judge_page(FakeWorkbench(), ZH).show("?sheet=gone")
    assert "请重新上传" in shown.notice
    assert 'id="sheet-file"' in shown.sheet


def test_the_choices_of_the_url_stand_on_the_page_and_unknown_ones_fall_back() -> None:
    shown = judge_page(FakeWorkbench()).show("?panel=nobody&library=99&aggregator=reference-vote")
    assert (shown.panel, shown.library, shown.aggregator) == ("cpu", 1, "reference-vote")
    assert judge_page(FakeWorkbench()).show("?aggregator=nobody").aggregator == SETTINGS.aggregator


def test_neighbours_of_a_row_are_those_of_the_list_across_its_pages() -> None:
    workbench = FakeWorkbench()
    run = workbench.add("x.csv", 120, done=True)
    page = RunHandlers(workbench, EN)
    last = workbench.rows(run.id, RunAddress.parse("sort=disagreement").rows()).rows[-1].item.id
    shown = page.show(f"run={run.id}&sort=disagreement&item={last}")
    assert f'data-key="next" href="/en/run?run={run.id}&amp;item=first&amp;sort=disagreement&amp;page=2"' in shown.detail
    first = page.show(f"run={run.id}&sort=disagreement&item=first")
    assert 'data-key="previous"' not in first.detail
    assert 'aria-current="true"' in first.rows


def test_the_verdict_tells_in_one_line_how_it_came_about() -> None:
    workbench = FakeWorkbench()
    run = workbench.add("x.csv", 3, done=True)
    detail = RunHandlers(workbench, EN).show(f"run={run.id}&item=first").detail
    line = " ".join(re.sub(r"<[^>]+>", "", detail).split())
    assert re.search(r"Verdict \d .+ → pooled median \d \(expected \d\.\d\d\); reference vote \d", line)
    assert "similarity 0.83" in line
    assert "Index version ngram-1:5f0c" in line


def test_a_live_run_can_be_stopped_and_a_stopped_one_resumed() -> None:
    workbench = FakeWorkbench(rate=0.01)
    run = workbench.add("x.csv", 30)
    page = RunHandlers(workbench, ZH)
    assert (page.show(f"run={run.id}").stoppable, page.show(f"run={run.id}").live) == (True, True)
    assert ZH.t("run.stopping") in page.stop(f"run={run.id}")
    stopped = page.show(f"run={run.id}")
    assert (stopped.stoppable, stopped.resumable, stopped.live) == (False, True, False)
    assert ZH.t("run.resumed") in page.resume(f"run={run.id}")
    assert ZH.t("aggregator.reference-vote") in page.reaggregate(f"run={run.id}", "reference-vote")
    assert page.show(f"run={run.id}").aggregator == "reference-vote"


@RENDERERS
def test_every_state_of_a_run_has_its_words(render: Renderer) -> None:
    for state in RunState:
        line = run_line(_Still(state), _Still(state).runs()[0])
        assert render.t.member("state", state) in runs_html(render, [line], heading=False)


class _Still(FakeWorkbench):
    """Runs that stay in one state."""

    def __init__(self, state: RunState) -> None:
        super().__init__()
        self.state = state
        self.add("x.csv", 3, done=True)

    def runs(self, limit: int = 50) -> Sequence[Run]:
        return [self.run(1)]

    def run(self, run_id: int) -> Run:
        return replace(super().run(run_id), state=self.state)


def test_empty_pages_say_what_to_do() -> None:
    workbench = FakeWorkbench()
    assert EN.t("runs.none") in runs_html(EN, [], heading=False)
    assert EN.t("run.missing") in RunHandlers(workbench, EN).show("").strip
    run = workbench.add("x.csv", 3, done=True)
    assert EN.t("run.no_match") in RunHandlers(workbench, EN).show(f"run={run.id}&search=nowhere").rows


def test_an_error_a_user_can_mend_is_told_in_the_pages_language() -> None:
    def fail() -> str:
        raise PanelError("mend the panel", "请改评委组")

    assert "请改评委组" in at_edge(ZH, fail, str)()
    assert "mend the panel" in at_edge(EN, fail, str)()


def test_an_unforeseen_error_is_an_apology_with_the_reference_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> str:
        raise ZeroDivisionError("secret detail")

    with caplog.at_level(logging.ERROR):
        told = at_edge(EN, fail, str)()
    assert "secret detail" not in told
    assert "Traceback" not in told
    reference = caplog.records[0].getMessage().split()[-1]
    assert reference in told


def test_numbers_and_times_are_written_for_people() -> None:
    assert (count(2750), decimal(130.44), decimal(3.14159), decimal(1234.5)) == ("2,750", "130", "3.1", "1,234")
    assert (size(900), size(48_200), size(3 * 1024**2)) == ("900 B", "47.1 KiB", "3.0 MiB")
    assert [duration(EN.t, seconds) for seconds in (0.2, 12.4, 200, 7300)] == ["under 1 s", "12 s", "3 min 20 s", "2 h 1 min"]
    assert moment(EN.t, datetime.now(UTC)).startswith("today ")
    assert moment(EN.t, datetime(2020, 2, 3, 12, tzinfo=UTC)).startswith("2020-02-0")
