"""The desk pages in a real Chromium over the judged sample sheet: library, agreement, runs, comparison, models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from core.types import Library, Run
from tests.webapp.browser.conftest import DESKTOP, PHONE, OpenPage, width_overflow
from tests.webapp.browser.test_live_pages import faint
from tests.webapp.judged import judged_workbench
from tests.webapp.serving import served
from webapp.workbench import Workbench

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Served:
    """The server's URL and what stands behind it."""

    url: str
    workbench: Workbench
    library: Library
    first: Run
    second: Run


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    workbench, settings, library, runs = judged_workbench(tmp_path_factory.mktemp("home"), 2)
    with served(workbench, settings) as url:
        yield Served(url, workbench, library, *runs)
    workbench.store.close()


def total(page: Page) -> int:
    """Return how many rows the list says that it has."""
    found = re.search(r"(?:of |共 )([\d,]+)", page.text_content(".pager") or "")
    assert found is not None
    return int(found.group(1).replace(",", ""))


def test_the_library_is_searched_by_text_and_by_similarity(desk: Served, open_page: OpenPage) -> None:
    page = open_page(f"{desk.url}/zh/library")
    expect(page.locator("table.rows tbody tr")).to_have_count(50)
    cell = page.locator(".counts td a").nth(3)
    label = cell.locator("b").text_content() or ""
    cell.click()
    expect(page.locator("table.rows tbody tr .lab").first).to_have_text(label)
    assert total(page) < desk.library.size
    page.locator(".clear").click()
    example = [one for one in desk.workbench.store.library_items(desk.library.id) if one.dimension_id == "fluency"][5]
    page.fill("textarea[name=like]", example.text[:150])
    page.get_by_role("button", name="查找相似").click()
    expect(page.locator("a[data-row]").first).to_have_text(example.external_id)
    assert "like=" in page.url
    page.locator(".clear").click()
    page.fill("input[data-param=q]", example.external_id)
    expect(page.locator("table.rows tbody tr")).to_have_count(1)
    expect(page.locator("a[data-row]").first).to_have_text(example.external_id)
    page.locator("a[data-row]").first.click()
    expect(page.locator(".detail .text")).to_contain_text(example.text[:20])
    page.click("a[data-switch]")
    page.wait_for_url("**/en/library?**item=*")
    expect(page.locator(".detail")).to_contain_text("Rows that used it")


def test_an_example_is_retired_with_a_way_back_and_relabelled_with_a_reason(desk: Served, open_page: OpenPage) -> None:
    example = next(one for one in desk.workbench.store.library_items(desk.library.id) if one.dimension_id == "fluency")
    page = open_page(f"{desk.url}/en/library?item={example.id}")
    page.get_by_role("button", name="Retire").click()
    assert page.locator(".toast").count() == 0  # the browser asks for the name first
    page.fill("input[name=author]", "Lin")
    page.get_by_role("button", name="Retire").click()
    expect(page.locator(".toast")).to_contain_text("Examples retired: 1")
    expect(page.locator(".detail")).to_contain_text("retired today")
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.locator(".toast")).to_contain_text("Undone")
    (back,) = (one for one in desk.workbench.store.library_items(desk.library.id) if one.external_id == example.external_id)
    page.goto(f"{desk.url}/en/library?item={back.id}")
    expect(page.locator("input[name=author]")).to_have_value("Lin")  # asked once
    other = "1" if example.label != 1 else "2"
    page.select_option("select[name=label]", other)
    page.fill("input[name=reason]", "two slips")
    page.get_by_role("button", name="Change the label").click()
    expect(page.locator(".detail h2").first).to_contain_text(other)
    expect(page.locator(".history")).to_contain_text("two slips")
    expect(page.locator(".toast")).to_contain_text(f"The label is {other} now")


def test_rows_that_used_an_example_are_judged_again(desk: Served, open_page: OpenPage) -> None:
    from core.desks import LibraryQuery

    shown = max(desk.workbench.library_desk.items(desk.library.id, LibraryQuery(page_size=500)).rows, key=lambda row: row.shown)
    page = open_page(f"{desk.url}/en/library?item={shown.item.id}")
    page.get_by_role("button", name="again").first.click()
    page.wait_for_url("**/en/run?run=*")
    expect(page.locator(".toast")).to_contain_text("judge")
    new = desk.workbench.runs()[0]
    assert new.items < desk.first.items
    desk.workbench.run_desk.delete(new.id)


def test_a_cell_of_the_agreement_opens_its_queue(desk: Served, open_page: OpenPage) -> None:
    page = open_page(f"{desk.url}/zh/agreement?run={desk.first.id}&dimension=fluency")
    expect(page.locator("#confusion svg")).to_be_visible()
    page.locator("table.figs a").nth(1).click()
    expect(page.locator("table.figs tr.on a")).to_have_attribute("aria-current", "true")
    cell = page.locator("#confusion a").first
    number = int((cell.locator("text").first.text_content() or "0").replace(",", ""))
    cell.click()
    page.wait_for_url("**/zh/review?**votes=**")
    expect(page.locator(f"body:has-text('{number}')")).to_be_visible()
    page.go_back(wait_until="commit")
    page.locator("a[data-switch]").click()
    page.wait_for_url("**/en/agreement?**")
    expect(page.locator("#confusion svg")).to_be_visible()


def test_two_runs_are_compared_and_a_cell_lists_its_rows(desk: Served, open_page: OpenPage) -> None:
    page = open_page(f"{desk.url}/en/runs")
    page.locator(f"[data-run='{desk.first.id}'] .menu summary").click()
    page.locator(f"[data-run='{desk.first.id}']").get_by_role("link", name="Compare with another run").click()
    page.get_by_role("link", name=f"Compare with #{desk.first.id}").click()
    page.wait_for_url("**/en/compare?**")
    expect(page.locator(".plot")).to_have_count(3)
    page.locator(".plot a").first.click()
    page.wait_for_url("**first=*")
    number = int((page.locator(".plot rect.chosen ~ text").first.text_content() or "0").replace(",", ""))
    expect(page.locator(".pager")).to_contain_text(f"of {number}")
    page.locator("table.rows a.link").first.click()
    page.wait_for_url(f"**/en/run?run={desk.first.id}&item=*")
    expect(page.locator(".detail .j")).to_have_count(4)


def test_a_run_is_deleted_and_brought_back_and_voted_on_anew(desk: Served, open_page: OpenPage) -> None:
    page = open_page(f"{desk.url}/zh/runs")
    card = page.locator(f"[data-run='{desk.second.id}']")
    card.locator(".menu summary").click()
    card.get_by_role("button", name="删除").click()
    expect(card).to_have_count(0)
    page.locator(".toast").get_by_role("button", name="撤销").click()
    expect(card).to_have_count(1)
    card.locator(".menu summary").click()
    card.get_by_role("button", name="分布中位数").click()
    expect(page.locator(".toast")).to_contain_text("没有再问评委")
    assert desk.workbench.run(desk.second.id).aggregator == "pooled-median"
    desk.workbench.reaggregate(desk.second.id, "reference-vote")


def test_a_panel_is_copied_edited_with_its_faults_told_and_tried(desk: Served, open_page: OpenPage) -> None:
    page = open_page(f"{desk.url}/en/models")
    expect(page.locator(".judge-row")).to_have_count(4)
    expect(page.locator(".badge.ready-ready")).to_have_count(4)
    page.get_by_role("link", name="Copy and edit").click()
    text = page.locator("textarea[name=text]")
    good = text.input_value()
    text.fill(good.replace("lead: rules", "lead: nobody"))
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#panel-verdict")).to_contain_text("nobody")
    assert text.input_value() != good  # what was typed is still there
    text.fill(good)
    page.get_by_role("button", name="Save as a new version").click()
    page.wait_for_url("**/en/models?panel=cpu-2")
    expect(page.locator(".panel-list a.on")).to_contain_text("your own")
    page.get_by_role("link", name="Try it on one question").click()
    page.wait_for_url("**/en/?mode=question&panel=cpu-2")
    page.go_back(wait_until="commit")
    page.get_by_role("button", name="Remove").click()
    page.wait_for_url("**/en/models")
    expect(page.locator(".panel-list a.on")).to_contain_text("CPU")


def _paths(desk: Served) -> list[str]:
    item = desk.workbench.store.library_items(desk.library.id)[0].id
    compare = f"compare?a={desk.first.id}&b={desk.second.id}"
    return ["library", f"library?item={item}", "agreement", "runs", compare, "models", "models?panel=cpu&edit=1"]


def test_every_page_fits_a_phone_and_a_desktop_and_sends_little(desk: Served, open_page: OpenPage) -> None:
    page = open_page(f"{desk.url}/en/", PHONE)
    for path in _paths(desk):
        for size in (PHONE, DESKTOP):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.goto(f"{desk.url}/en/{path}")
            expect(page.locator(".desk")).to_be_visible()
            assert width_overflow(page) <= 0, (path, size)
        assert len(page.locator(".desk").inner_html().encode()) < 300_000, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(desk: Served, open_page: OpenPage, scheme: str) -> None:
    page = open_page("about:blank")
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for path in _paths(desk):
        page.goto(f"{desk.url}/zh/{path}")
        expect(page.locator(".desk")).to_be_visible()
        page.wait_for_timeout(200)
        assert faint(page) == [], path
