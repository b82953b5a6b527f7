"""The desk pages' handlers over the real workbench: what they show, where their links lead, what they never break on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from core.desks import LibraryQuery
from core.errors import NotFound
from core.queries import RowQuery
from core.settings import Settings
from core.training import JobKind, Stage
from core.types import Library, Origin, Run, SheetRow, SourceRef
from tests.webapp.fake import HOSTILE
from tests.webapp.judged import judged_workbench
from tests.webapp.test_pages import assert_harmless
from webapp.pages.agreement import AgreementHandlers
from webapp.pages.body import Body
from webapp.pages.compare import CompareHandlers
from webapp.pages.library import LibraryHandlers
from webapp.pages.models import ModelsHandlers
from webapp.pages.render import Renderer, decimal, load_renderer
from webapp.pages.review_address import ReviewAddress
from webapp.pages.run import RunHandlers
from webapp.pages.run_list import RunListHandlers
from webapp.pages.translate import Language
from webapp.services.training.snapshots import SnapshotChoices
from webapp.workbench import Workbench

ZH, EN = load_renderer(Language.ZH), load_renderer(Language.EN)
RENDERERS = pytest.mark.parametrize("render", [ZH, EN], ids=["zh", "en"])
PAGE_BYTES = 300_000


@dataclass(frozen=True)
class Desk:
    """The workbench with its two runs of the sample sheet."""

    workbench: Workbench
    settings: Settings
    library: Library
    first: Run
    second: Run

    def library_page(self, query: str, render: Renderer = EN) -> str:
        return LibraryHandlers(self.workbench, render, self.settings).show(query).html


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    workbench, settings, library, runs = judged_workbench(tmp_path_factory.mktemp("home"), 2)
    yield Desk(workbench, settings, library, *runs)
    workbench.store.close()


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hrefs += [value or "" for name, value in attrs if name == "href"]


def links(html: str, part: str) -> list[str]:
    found = _Links()
    found.feed(html)
    return [href for href in found.hrefs if part in href]


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


# The library


@RENDERERS
def test_the_library_lists_its_examples_with_counts_that_filter(desk: Desk, render: Renderer) -> None:
    html = desk.library_page("", render)
    assert html.count("data-row") == 50
    assert f"/ {-(-desk.library.size // 50)}" in words(html)
    cell = links(html, "label=5")[0].replace("&amp;", "&")
    narrowed = desk.library_page(cell.partition("?")[2], render)
    facets = desk.workbench.library_desk.facets(desk.library.id)
    dimension = cell.partition("dimension=")[2].partition("&")[0]
    assert str(facets.labels[dimension][5]) in words(narrowed).split(render.t("run.page_next"))[0]


def test_a_pasted_text_finds_its_like(desk: Desk) -> None:
    example = [one for one in desk.workbench.store.library_items(desk.library.id) if one.dimension_id == "fluency"][3]
    html = desk.library_page(f"library={desk.library.id}&like={example.text[:200]}")
    first = re.search(r"data-row[^>]*>([^<]+)<", html)
    assert first is not None
    assert first.group(1) == example.external_id
    assert re.search(r'c-fig">(0\.\d\d|1\.00)<', html)


def test_an_example_tells_who_was_shown_it_and_what_labels_it_had(desk: Desk) -> None:
    shown = max(desk.workbench.library_desk.items(desk.library.id, _everything()).rows, key=lambda row: row.shown)
    html = desk.library_page(f"item={shown.item.id}")
    assert shown.shown > 0
    assert links(html, f"/en/run?run={desk.first.id}&item=")
    assert f"/api/runs/{desk.first.id}/judge-again" in html
    assert EN.t("library.labels_so_far") in html


def test_what_was_retired_is_listed_apart_and_can_be_put_back(desk: Desk) -> None:
    item = desk.workbench.store.library_items(desk.library.id)[0]
    change = desk.workbench.library_desk.retire(desk.library.id, [item.id], "Lin")
    html = desk.library_page("standing=retired")
    assert item.external_id in html
    assert f"/api/libraries/{desk.library.id}/restore" in desk.library_page(f"standing=retired&item={item.id}")
    desk.workbench.library_desk.undo(desk.library.id, change, "Lin")
    assert EN.t("library.none_retired") in desk.library_page("standing=retired")


def test_labels_of_a_run_are_offered_for_the_library(desk: Desk) -> None:
    assert EN.t("library.no_candidates") in desk.library_page(f"promote={desk.first.id}")
    row = desk.workbench.rows(desk.first.id, _rows()).rows[0]
    desk.workbench.review.label(desk.first.id, row.item.id, 1, "Lin")
    html = desk.library_page(f"promote={desk.first.id}")
    assert row.item.external_id in html
    assert "Lin" in html


def test_hostile_examples_are_shown_as_text(tmp_path: Path) -> None:
    workbench = Workbench.open(Settings(home=tmp_path, _env_file=None))  # type: ignore[call-arg]
    rows = [SheetRow(n, f"{HOSTILE}{n}", "fluency", HOSTILE, f"{HOSTILE}{n}", 3, SourceRef("x", "", n + 2)) for n in range(3)]
    library = workbench.store.save_library(HOSTILE, rows, Origin.IMPORT, HOSTILE)
    page = LibraryHandlers(workbench, EN, workbench.settings)
    item = workbench.store.library_items(library.id)[0]
    for query in (f"library={library.id}", f"library={library.id}&item={item.id}&q=<script>", f"library={library.id}&author={HOSTILE}"):
        assert_harmless(page.show(query).html)
    workbench.store.close()


def test_the_library_leads_to_training_on_its_labels_and_on_corrections_where_there_are_some(desk: Desk) -> None:
    review, said = desk.workbench.review, desk.library_page("")
    before = review.corrections()
    if not before:
        assert links(said, f"/en/training?tab=make&library={desk.library.id}")
        assert f"Train on labels ({desk.library.size})" in said
    item = desk.workbench.rows(desk.first.id, _rows("fluency")).rows[0].item.id
    review.skip(desk.first.id, item, "someone who trains")  # no label, no correction
    assert review.corrections() == before
    review.label(desk.first.id, item, 2, "someone who trains")
    assert links(desk.library_page(""), "/en/training?from=corrections")
    assert f"Train on corrections ({review.corrections()})" in desk.library_page("")
    review.undo(desk.first.id, "someone who trains")
    assert review.corrections() == before


def test_an_example_or_library_that_is_not_there_is_told(desk: Desk) -> None:
    for query in ("item=99999999", "library=4711"):
        with pytest.raises(NotFound):
            desk.library_page(query)


# Agreement


@RENDERERS
def test_every_cell_of_a_confusion_matrix_opens_exactly_its_rows(desk: Desk, render: Renderer) -> None:
    html = AgreementHandlers(desk.workbench, render).show(f"run={desk.first.id}&dimension=fluency").html
    found = desk.workbench.agreement.agreement(desk.first.id)
    assert len(html.encode()) < PAGE_BYTES
    cells = links(html, "votes=")
    assert cells
    for href in cells[:12]:
        address = ReviewAddress.parse(href.partition("?")[2])
        page = desk.workbench.review.queue(address.run, address.queue())
        title = re.search(r'href="' + re.escape(href.replace("&", "&amp;")) + r'"[^>]*><title>[^<]*?([\d,]+) ?(?:行|rows)', html)
        assert title is not None
        assert page.total == int(title.group(1).replace(",", ""))
    assert render.t("agreement.kappa_title") in html
    assert all(f"{pair.kappa:.3f}" in html for pair in found.pairs if pair.kappa is not None and pair.n and pair.dimension_id == "fluency")


def test_a_pair_is_chosen_by_its_link(desk: Desk) -> None:
    page = AgreementHandlers(desk.workbench, EN)
    chosen = links(page.show(f"run={desk.first.id}").html, "first=rules")[0]
    html = page.show(chosen.partition("?")[2]).html
    assert html.count('aria-current="true"') >= 2
    assert "×" in html.split(EN.t("agreement.confusion"))[1][:200]


def test_blind_labels_of_people_stand_beside_the_judges(desk: Desk) -> None:
    for row in desk.workbench.rows(desk.first.id, _rows("fluency")).rows[:6]:
        desk.workbench.review.label(desk.first.id, row.item.id, 3, "盲评人", blind=True)
    assert "盲评人" in AgreementHandlers(desk.workbench, EN).show(f"run={desk.first.id}&dimension=fluency").html


# Runs, compared and listed


def test_the_rate_of_a_run_is_the_same_on_both_of_its_pages(desk: Desk) -> None:
    rate = desk.workbench.progress(desk.first.id).rate
    assert rate is not None
    line = next(line for line in desk.workbench.run_desk.lines() if line.run.id == desk.first.id)
    assert line.rate == pytest.approx(rate)
    words = EN.t("run.rate", rate=decimal(rate))
    assert words in RunListHandlers(desk.workbench, EN).show("").html
    assert words in RunHandlers(desk.workbench, EN).show(f"?run={desk.first.id}").head


@RENDERERS
def test_two_runs_are_compared_with_links_to_both(desk: Desk, render: Renderer) -> None:
    html = CompareHandlers(desk.workbench, render).show(f"a={desk.first.id}&b={desk.second.id}&all=1").html
    assert links(html, f"/run?run={desk.first.id}&item=")
    assert links(html, f"/run?run={desk.second.id}&item=")
    found = desk.workbench.run_desk.compare(desk.first.id, desk.second.id)
    assert found.matched == desk.first.items
    assert render.t("compare.only", id=desk.second.id) in html
    cell = links(html, "first=")[0]
    assert "first=" in cell
    narrowed = CompareHandlers(desk.workbench, render).show(cell.partition("?")[2]).html
    assert f"#{desk.first.id}: " in narrowed


@RENDERERS
def test_the_runs_page_lists_counts_that_lead_to_rows_and_offers_a_second_run(desk: Desk, render: Renderer) -> None:
    page = RunListHandlers(desk.workbench, render)
    body: Body = page.show("")
    assert not body.live
    assert links(body.html, f"run={desk.first.id}&outcome=unanimous")
    assert f"/api/runs/{desk.first.id}/delete" in body.html
    choosing = page.show(f"base={desk.first.id}").html
    assert links(choosing, f"compare?a={desk.first.id}&b={desk.second.id}")


def test_a_deleted_run_is_listed_apart(desk: Desk) -> None:
    page = RunListHandlers(desk.workbench, EN)
    desk.workbench.run_desk.delete(desk.second.id)
    assert f'data-run="{desk.second.id}"' not in page.show("").html
    assert f"/api/runs/{desk.second.id}/restore" in page.show("deleted=1").html
    desk.workbench.run_desk.restore(desk.second.id)
    assert f'data-run="{desk.second.id}"' in page.show("").html


# Models


@RENDERERS
def test_the_models_page_shows_what_stored_judgements_say(desk: Desk, render: Renderer) -> None:
    html = ModelsHandlers(desk.workbench, render).show("panel=cpu").html
    facts = desk.workbench.judge_facts.judge_facts("cpu")
    assert f"{facts['rules'].answers:,}" in words(html)
    assert html.count('class="badge ready-ready"') == 4
    assert links(html, "mode=question&panel=cpu")


def test_a_judge_that_a_job_made_leads_to_the_job_also_in_a_copied_panel(desk: Desk) -> None:
    workbench = desk.workbench
    snapshot = workbench.snapshots.freeze("made", SnapshotChoices(), "li")
    job = workbench.store.add_job(JobKind.FINE_TUNE, "own", "{}", desk.settings.home / "jobs", snapshot_id=snapshot.id)
    options = {"model": "some/model", "adapter": "/jobs/7/output/adapter"}
    candidate = workbench.store.add_candidate("own", Stage.ADAPTER, "transformers", options, job_id=job.id, snapshot_id=snapshot.id)
    panel = workbench.candidates.promote(candidate.id, "cpu", "", "li", reason="a trial").promotion.panel_id
    workbench.panel_desk.save("copied", workbench.panel_desk.text(panel))
    page = ModelsHandlers(workbench, EN)
    for name in (panel, "copied"):
        assert links(page.show(f"panel={name}").html, "training?") == [f"/en/training?job={job.id}&candidate={candidate.id}"]
    assert links(page.show("panel=cpu").html, "training?") == []
    for name in (panel, "copied"):
        workbench.panel_desk.remove(name)


def test_the_chinese_models_and_agreement_pages_say_nothing_in_english(desk: Desk) -> None:
    names = {
        "GLM",
        "Qwen",
        "InternLM",
        "Gemma",
        "Edge",
        "CPU",
        "Krippendorff",
        "Gwet",
        "lmdeploy",
        "vLLM",
        "OpenAI",
        "transformers",
        "sheet",
        "xlsx",
    }
    shown = [ModelsHandlers(desk.workbench, ZH).show(f"panel={panel}").html for panel in ("cpu", "small", "servers")]
    shown += [AgreementHandlers(desk.workbench, ZH).show(query).html for query in ("", f"run={desk.first.id}")]
    for html in shown:
        # Ids, addresses and panel files' own names for options stand as they are.
        said = re.sub(
            r"<(dl|details|code|option|nav)\b.*?</\1>|<span title=.*?</span>|https?://\S+|\./run\.sh[^<]*", " ", html, flags=re.DOTALL
        )
        assert set(re.findall(r"[A-Za-z]{4,}", words(said))) - names == set()


def test_a_panel_is_edited_under_a_name_of_its_own(desk: Desk) -> None:
    html = ModelsHandlers(desk.workbench, EN).show("panel=cpu&edit=1").html
    assert 'value="cpu-2"' in html
    assert "family: rules" in html
    with pytest.raises(NotFound):
        ModelsHandlers(desk.workbench, EN).show("panel=nobody")


def test_empty_pages_say_what_to_do(tmp_path: Path) -> None:
    workbench = Workbench.open(Settings(home=tmp_path, _env_file=None))  # type: ignore[call-arg]
    assert EN.t("agreement.no_runs") in AgreementHandlers(workbench, EN).show("").html
    assert EN.t("runs.none") in RunListHandlers(workbench, EN).show("").html
    assert EN.t("compare.need_two") in CompareHandlers(workbench, EN).show("").html
    workbench.store.close()


def _everything() -> LibraryQuery:
    return LibraryQuery(page_size=500)


def _rows(dimension: str = "") -> RowQuery:
    return RowQuery(dimension_id=dimension)
