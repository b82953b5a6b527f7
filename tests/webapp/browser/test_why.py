"""The "why?" buttons in a real Chromium: a tiny model in a process of its own, and a model server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

pytest.importorskip("torch")

from core.types import Run
from tests.judging.server.engines import FakeServer, serving
from tests.webapp.browser.conftest import OpenPage, width_overflow
from tests.webapp.explained import explained_workbench
from tests.webapp.serving import served
from webapp.workbench import Workbench

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WORDS = "语句通顺，没有错别字，个别地方可以更简洁。"
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with serving("lmdeploy-pytorch", words=WORDS) as server:
        yield server


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, server: FakeServer) -> Iterator[tuple[str, Workbench, Run]]:
    workbench, settings, run = explained_workbench(tmp_path_factory.mktemp("home"), server)
    with served(workbench, settings) as url:
        yield url, workbench, run
    workbench.explanations.close()


def said(page: Page, judge: str) -> str:
    return f"[data-why-box$=':{judge}'] [data-why-said]"


def test_a_model_in_process_writes_its_reasons_into_its_card(base: tuple[str, Workbench, Run], open_page: OpenPage) -> None:
    url, workbench, run = base
    item = next(iter(workbench.export_rows(run.id))).item.id
    before = workbench.row(run.id, item).judgements
    page = open_page(f"{url}/zh/run?run={run.id}&item={item}")
    expect(page.locator("[data-why]")).to_have_count(2)  # the rules have no model to ask
    page.locator("[data-why][data-judge=tiny]").click()
    words = page.locator(said(page, "tiny"))
    expect(words).to_be_visible()
    expect(words).not_to_have_class("why-said waits", timeout=PATIENCE_MS)
    expect(words).to_have_class("why-said", timeout=PATIENCE_MS)  # finished
    assert len(words.inner_text()) > 10
    assert width_overflow(page) <= 0
    assert workbench.row(run.id, item).judgements == before


def test_the_key_asks_one_judge_after_the_other_on_every_page(
    base: tuple[str, Workbench, Run], server: FakeServer, open_page: OpenPage
) -> None:
    url, workbench, run = base
    item = next(iter(workbench.export_rows(run.id))).item.id
    for path in (f"review?run={run.id}&item={item}", f"row?item={item}"):
        page = open_page(f"{url}/health")
        page.context.add_cookies([{"name": "pingpan_annotator", "value": "li", "url": url}])  # the review page asks who is there
        page.goto(f"{url}/zh/{path}")
        expect(page.locator("[data-why]")).to_have_count(2)
        page.keyboard.press("w")
        page.keyboard.press("w")
        expect(page.locator(said(page, "remote"))).to_have_text(WORDS, timeout=PATIENCE_MS)
        expect(page.locator(said(page, "tiny"))).to_have_class("why-said", timeout=PATIENCE_MS)


def test_a_server_that_is_gone_is_told_in_the_card(base: tuple[str, Workbench, Run], server: FakeServer, open_page: OpenPage) -> None:
    url, workbench, run = base
    item = next(iter(workbench.export_rows(run.id))).item.id
    page = open_page(f"{url}/en/run?run={run.id}&item={item}", locale="en-US")
    server.stop()
    page.locator("[data-why][data-judge=remote]").click()
    expect(page.locator(said(page, "remote"))).to_contain_text("cannot be reached", timeout=PATIENCE_MS)
    expect(page.locator("[data-why][data-judge=remote]")).to_be_enabled()
