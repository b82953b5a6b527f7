"""The pages in a real Chromium over a slow, invented run: live progress, the keyboard, reloads, hostile texts, a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.settings import Settings
from tests.webapp.browser.conftest import DESKTOP, PHONE, OpenPage, width_overflow
from tests.webapp.fake import FakeWorkbench
from tests.webapp.serving import served

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def workbench() -> FakeWorkbench:
    """Run 1 is done; run 2 is hostile and done; others are started by tests."""
    fake = FakeWorkbench(rate=30.0)
    fake.add("作文批次.csv", 120, done=True)
    fake.hostile = True
    fake.add('"><img src=x onerror="window.hacked=3">.csv', 20, done=True)
    fake.hostile = False
    return fake


@pytest.fixture(scope="module")
def base(workbench: FakeWorkbench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), port=0, _env_file=None)  # type: ignore[call-arg]
    with served(workbench, settings) as url:
        yield url


def faint(page: Page) -> object:
    """Return the texts that stand out too little, by the page's own style: Gradio's navigation never shows in it."""
    expect(page.locator(".nav-holder:visible")).to_have_count(0)
    return page.evaluate(CONTRAST)


def decided(page: Page) -> int:
    return int((page.text_content(".sub .fig b") or "0").replace(",", ""))


def test_progress_goes_on_by_itself_and_after_a_reload_until_it_is_over(base: str, workbench: FakeWorkbench, open_page: OpenPage) -> None:
    run = workbench.add("slow.csv", 450)
    page = open_page(f"{base}/zh/run?run={run.id}&sort=disagreement")
    expect(page.locator(".state-running")).to_be_visible()
    expect(page.locator(".jl")).to_have_count(4)
    expect(page.locator(".jl-foot").first).to_contain_text("行/秒")
    before = decided(page)
    page.wait_for_function("was => Number(document.querySelector('.sub .fig b').textContent.replace(',', '')) > was", arg=before)
    page.reload(wait_until="commit")
    expect(page.locator(".state-running")).to_be_visible()
    assert decided(page) >= before
    assert page.locator("select[data-param=sort]").input_value() == "disagreement"
    expect(page.locator(".state-done")).to_be_visible(timeout=60_000)
    assert decided(page) == 450
    expect(page.locator("#run-stop")).to_have_count(0)


def test_a_run_is_stopped_and_resumed_from_the_page(base: str, workbench: FakeWorkbench, open_page: OpenPage) -> None:
    run = workbench.add("stop.csv", 2000)
    page = open_page(f"{base}/en/run?run={run.id}")
    page.click("#run-stop")
    expect(page.locator(".state-stopped")).to_be_visible()
    expect(page.locator("#run-notice")).to_contain_text("Asked to stop")
    expect(page.locator("#run-notice .notice")).to_be_hidden(timeout=12_000)  # what is no error goes by itself
    page.click("#run-resume")
    expect(page.locator(".state-running")).to_be_visible()
    workbench.stop(run.id)


def test_the_keyboard_walks_through_rows_and_the_url_keeps_the_place(base: str, open_page: OpenPage) -> None:
    page = open_page(f"{base}/zh/run?run=1")
    expect(page.locator("table.rows tbody tr")).to_have_count(50)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    focused = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    expect(page.locator(".detail h2").first).to_contain_text(focused)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".detail h2").first).to_contain_text("A0003")
    assert re.search(r"item=\d+", page.url)
    page.reload(wait_until="commit")
    expect(page.locator(".detail h2").first).to_contain_text("A0003")
    page.go_back(wait_until="commit")
    expect(page.locator(".detail h2").first).to_contain_text("A0002")
    page.keyboard.press("Escape")
    expect(page.locator(".detail")).to_have_count(0)
    outline = page.evaluate("(document.querySelector('a.brand').focus(), getComputedStyle(document.activeElement).outlineStyle)")
    assert outline in {"solid", "auto"}


def test_filters_search_and_pages_are_links_that_come_back(base: str, open_page: OpenPage) -> None:
    page = open_page(f"{base}/en/run?run=1")
    page.click("a[rel=next]")
    expect(page.locator("table.rows tbody tr")).to_have_count(50)
    expect(page.locator(".pager")).to_contain_text("Rows 51–100 of 120")
    page.select_option("select[data-param=dimension]", "choice")
    expect(page.locator(".pager")).to_contain_text("of 40")
    assert "page=" not in page.url
    page.fill("input[data-param=search]", "A0003")
    expect(page.locator("table.rows tbody tr")).to_have_count(1)
    page.fill("input[data-param=search]", "nowhere to be found")
    expect(page.locator(".list .empty")).to_contain_text("No rows match")
    page.click(".list .empty a")
    expect(page.locator(".pager")).to_contain_text("of 120")


def test_the_other_language_shows_the_same_row(base: str, open_page: OpenPage) -> None:
    page = open_page(f"{base}/zh/run?run=1&sort=disagreement&item=first")
    heading = page.locator(".detail h2").first.text_content()
    page.click("a[data-switch]")
    page.wait_for_url("**/en/run?run=1&sort=disagreement&item=first")
    expect(page.locator(".verdict")).to_contain_text("pooled median")
    assert (heading or "").split(" · ")[0] == (page.locator(".detail h2").first.text_content() or "").split(" · ")[0]
    assert page.evaluate("document.documentElement.lang") == "en"
    assert "Run" in page.title()
    page.goto(base)
    page.wait_for_url(f"{base}/en/")  # the choice is remembered


def test_another_aggregator_is_a_choice_away(base: str, workbench: FakeWorkbench, open_page: OpenPage) -> None:
    page = open_page(f"{base}/en/run?run=1&item=first")
    page.click("#run-aggregator input")
    page.get_by_role("option", name="By: reference vote").click()
    expect(page.locator("#run-notice")).to_contain_text("no judge was asked again")
    expect(page.locator(".verdict")).to_contain_text(re.compile("pooled median \\d"))
    assert workbench.run(1).aggregator == "reference-vote"
    workbench.reaggregate(1, "pooled-median")


def test_hostile_texts_stay_texts(base: str, open_page: OpenPage) -> None:
    page = open_page(f"{base}/zh/run?run=2&item=first")
    expect(page.locator(".text")).to_contain_text("<script>alert(1)</script>")
    expect(page.locator(".text")).to_contain_text("{{7*7}}${window.hacked=2}")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".list img, .detail img, .sub img").count() == 0
    page.goto(f"{base}/zh/run?run=2&search=%3Cimg%20src%3Dx%20onerror%3D%22window.hacked%3D4%22%3E")
    expect(page.locator(".list")).to_be_visible()
    assert page.evaluate("window.hacked") is None


def test_a_sheet_with_problems_needs_consent(base: str, open_page: OpenPage, tmp_path: Path) -> None:
    sheet = tmp_path / "bad.csv"
    sheet.write_text("编号", encoding="utf-8")
    page = open_page(f"{base}/zh/")
    page.set_input_files("#sheet-file", sheet)
    expect(page.locator(".problems tbody tr")).to_have_count(4)
    page.click("#judge-start")
    expect(page.locator("#judge-notice")).to_contain_text("有 3 行有错")
    page.get_by_label("跳过 3 行").check()
    page.click("#judge-start")
    page.wait_for_url("**/zh/run?run=*")
    page.go_back(wait_until="commit")
    expect(page.locator(".file-name")).to_have_text("bad.csv")


def test_a_press_of_start_waits_for_the_file_on_its_way(base: str, open_page: OpenPage, tmp_path: Path) -> None:
    sheet = tmp_path / "late.csv"
    sheet.write_text("数据编号,评判维度,提示文本,预测文本\n1,流畅性,写一句话,春天来了，山里的花都开了。\n", encoding="utf-8")
    page = open_page(f"{base}/zh/")
    page.evaluate(
        "() => { const send = XMLHttpRequest.prototype.send; XMLHttpRequest.prototype.send = function (body) { setTimeout(() => send.call(this, body), 1500); }; }"
    )
    page.set_input_files("#sheet-file", sheet)
    page.click("#judge-start")
    expect(page.locator("#judge-start.busy")).to_be_visible()
    page.wait_for_url("**/zh/run?run=*")
    expect(page.locator(".sub h1")).to_be_visible()


def test_an_unreadable_file_is_told_where_it_was_dropped(base: str, open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "broken.xlsx").write_bytes(b"PK")
    page = open_page(f"{base}/en/")
    page.set_input_files("#sheet-file", tmp_path / "broken.xlsx")
    expect(page.locator(".drop [data-upload-error]")).to_contain_text("is truncated")
    page.set_input_files("#library-file", tmp_path / "broken.xlsx")
    expect(page.locator("#judge-library-facts")).to_contain_text("80 labelled examples")


def test_an_unknown_run_is_told_with_the_way_back(base: str, open_page: OpenPage) -> None:
    page = open_page(f"{base}/zh/run?run=4711")
    expect(page.locator("#run-strip .notice")).to_contain_text("没有运行 4711")
    page.click(".missing a.btn")
    expect(page.locator(".run-card").first).to_be_visible()


PATHS = ["", "?mode=question", "?sheet=sample", "runs", "run?run=1&sort=disagreement", "run?run=1&item=first", "run?run=2&item=first"]


@pytest.mark.parametrize("path", PATHS)
def test_every_page_fits_a_phone_and_a_desktop(base: str, open_page: OpenPage, path: str) -> None:
    page = open_page(f"{base}/en/{path}", PHONE)
    expect(page.locator(".loading")).to_have_count(0)
    assert width_overflow(page) <= 0
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    assert width_overflow(page) <= 0


# The contrast of every visible text against the nearest opaque background behind it (WCAG 2, normal text: 4.5).
CONTRAST = """() => {
  const parse = (c) => { const n = c.match(/[\\d.]+/g).map(Number); const s = c.startsWith('color(srgb') ? 255 : 1;
    return [n[0] * s, n[1] * s, n[2] * s, n.length > 3 ? n[3] : 1]; };
  const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > .99) return c; }
    return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest('.sr, .skip, svg, [aria-hidden=true]')) continue;
    if (!e.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const a = light(parse(getComputedStyle(e).color).slice(0, 3)), b = light(behind(e).slice(0, 3));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 30)}`);
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "?mode=question", "runs", "run?run=1&item=first", "run?run=1"])
def test_text_stands_out_in_light_and_dark(base: str, open_page: OpenPage, path: str, scheme: str) -> None:
    page = open_page("about:blank")
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(f"{base}/zh/{path}")
    expect(page.locator(".loading")).to_have_count(0)
    page.wait_for_timeout(300)
    assert faint(page) == []
