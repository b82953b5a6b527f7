"""Suspected faults in a real Chromium: underlines, the toggle, answers by key and click, missed faults, blind mode, input methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from core.faultmarks import MarkKind
from core.faultplaces import AnswerKind
from tests.webapp.browser.conftest import DESKTOP, PHONE, OpenPage, width_overflow
from tests.webapp.browser.test_live_pages import faint
from tests.webapp.faulted import TEXTS, at, faulted_workbench
from tests.webapp.serving import served
from webapp.workbench import Workbench

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

REVIEW, RUN, ROW = "zh/review?run=1&item={item}&scope=any", "zh/run?run=1&item={item}", "zh/row?item={item}"
PLAIN = "document.querySelector('[data-faults] .text').textContent"
# Selects the code points [start, end) of the text, whatever elements they stand in.
SELECT = """([start, end]) => {
  const text = document.querySelector('[data-faults] .text'), all = [...text.textContent];
  const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT), range = document.createRange();
  const units = (points) => all.slice(0, points).join('').length;
  let from = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const until = from + node.data.length;
    if (units(start) >= from && units(start) < until) range.setStart(node, units(start) - from);
    if (units(end) > from && units(end) <= until) range.setEnd(node, units(end) - from);
    from = until;
  }
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}"""


ITEMS = 32


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """One workbench for all tests: building a server takes seconds. Each test has rows of its own, of nearly one text."""
    return faulted_workbench(tmp_path_factory.mktemp("faults"), [f"{TEXTS[0]}（{number}）" for number in range(ITEMS)])[0]


@pytest.fixture(scope="module")
def base(workbench: Workbench) -> Iterator[str]:
    with served(workbench, workbench.settings) as url:
        yield url


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return iter(range(1, ITEMS + 1))


@pytest.fixture
def item(numbers: Iterator[int]) -> int:
    """A row that no other test has."""
    return next(numbers)


@pytest.fixture
def look(base: str, open_page: OpenPage, item: int) -> Callable[..., Page]:
    """Open a page of the test's row as 林; each call is a browser of its own."""

    def open_(path: str = REVIEW, *, blind: bool = False, size: tuple[int, int] = DESKTOP) -> Page:
        page = open_page(f"{base}/health", size)
        page.context.add_cookies([{"name": "pingpan_annotator", "value": quote("林"), "url": base}])
        page.context.add_cookies([{"name": "pingpan_blind", "value": "1" if blind else "", "url": base}])
        page.goto(f"{base}/{path.format(item=item)}")
        expect(page.locator("[data-faults] .fm-toggle")).to_be_visible(timeout=20_000)
        return page

    return open_


def marks(page: Page) -> list[str]:
    return page.locator(".text .fm").all_inner_texts()


def answers(workbench: Workbench, item: int) -> list[tuple[AnswerKind, int, int, MarkKind | None]]:
    return [(one.answer, one.start, one.end, one.kind) for one in workbench.store.fault_answers(item)]


@pytest.mark.parametrize("path", [REVIEW, RUN, ROW])
def test_underlines_stand_under_their_words_on_every_page_and_one_key_hides_them(
    look: Callable[..., Page], workbench: Workbench, item: int, path: str
) -> None:
    page = look(path)
    expect(page.locator(".text .fm")).to_have_count(4)
    assert marks(page) == ["的发", "<b>河", "的的", "长很"]
    assert page.evaluate(PLAIN) == workbench.store.run_item(1, item).text
    styles = page.eval_on_selector_all(".text .fm", "all => all.map(one => getComputedStyle(one).textDecorationStyle)")
    assert styles == ["solid", "dashed", "wavy", "dotted"]
    expect(page.locator(".text .fm").first).to_have_attribute("title", "助词或量词误用 · 92%")
    expect(page.locator(".fm-bar")).to_contain_text("4 处")
    page.keyboard.press("f")
    expect(page.locator(".text .fm")).to_have_count(0)
    assert page.evaluate(PLAIN) == workbench.store.run_item(1, item).text
    page.reload(wait_until="commit")
    expect(page.locator(".fm-toggle[aria-pressed=false]")).to_be_visible()
    page.wait_for_timeout(300)
    assert marks(page) == []
    page.click(".fm-toggle")
    expect(page.locator(".text .fm")).to_have_count(4)


def test_keys_walk_confirm_reject_and_take_back_and_save_no_label(look: Callable[..., Page], workbench: Workbench, item: int) -> None:
    page = look()
    expect(page.locator(".text .fm")).to_have_count(4)
    page.keyboard.press("]")
    expect(page.locator("#fm-window")).to_contain_text("助词或量词误用")
    page.keyboard.press("c")
    expect(page.locator("#fm-window [data-fm-act=confirm]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".text .fm").first).to_have_class("fm fm-confirmed now")
    page.keyboard.press("]")
    page.keyboard.press("x")
    expect(page.locator("#fm-window [data-fm-act=reject]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".fm-bar")).to_contain_text("3 处")
    page.keyboard.press("x")  # once more takes it back
    expect(page.locator("#fm-window [data-fm-act=undo]")).to_have_count(0)
    page.keyboard.press("[")
    expect(page.locator("#fm-window")).to_contain_text("92%")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # presses the window's first button: confirmed before, so taken back
    expect(page.locator("#fm-window [data-fm-act=undo]")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("#fm-window")).to_have_count(0)
    kinds = [kind for kind, *_ in answers(workbench, item)]
    assert kinds == [AnswerKind.CONFIRM, AnswerKind.REJECT, AnswerKind.UNDO, AnswerKind.UNDO]
    assert workbench.review.history(item).events == ()
    expect(page.locator(f"[data-form][data-for='{item}']")).to_be_visible()


def test_a_click_opens_a_place_and_answers_survive_a_reload(look: Callable[..., Page], workbench: Workbench, item: int) -> None:
    page = look(RUN)
    page.locator(".text .fm", has_text="<b>河").click()
    page.click("#fm-window [data-fm-act=confirm]")
    expect(page.locator("#fm-window [data-fm-act=undo]")).to_be_visible()
    page.reload(wait_until="commit")
    mark = page.locator(".text .fm-confirmed")
    expect(mark).to_have_text("<b>河")
    mark.click()
    page.click("#fm-window [data-fm-act=undo]")
    expect(page.locator(".text .fm-confirmed")).to_have_count(0)
    page.mouse.click(700, 870)
    expect(page.locator("#fm-window")).to_have_count(0)
    assert [kind for kind, *_ in answers(workbench, item)] == [AnswerKind.CONFIRM, AnswerKind.UNDO]


@pytest.mark.parametrize("words", ["😀他", "，\n说要", "\n👍🏽"])
def test_selected_words_become_a_missed_fault_at_their_code_points(
    look: Callable[..., Page], workbench: Workbench, item: int, words: str
) -> None:
    page = look()
    expect(page.locator(".text .fm")).to_have_count(4)
    page.evaluate(SELECT, list(at(words)))
    page.keyboard.press("m")
    page.select_option("#fm-window select", "order")
    page.click("#fm-window [type=submit]")
    expect(page.locator(".text .fm-confirmed").first).to_be_visible()
    assert answers(workbench, item) == [(AnswerKind.MISSED, *at(words.strip()), MarkKind.ORDER)]
    assert page.evaluate(PLAIN) == workbench.store.run_item(1, item).text
    page.locator(".text .fm-confirmed").first.click()
    page.click("#fm-window [data-fm-act=undo]")
    expect(page.locator(".text .fm-confirmed")).to_have_count(0)
    expect(page.locator("#fm-window")).to_have_count(0)


def test_blind_mode_hides_them_and_whoever_looks_labels_blind_no_more(
    look: Callable[..., Page], workbench: Workbench, item: int, numbers: Iterator[int]
) -> None:
    page, other = look(blind=True), next(numbers)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(400)
    assert marks(page) == []
    assert page.locator("#fm-window, .fm-count").count() == 0
    assert not [url for url in asked if "/faults/" in url]
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    expect(page.locator(".rv-veil")).to_have_count(0)  # labelled, so everything is shown; blind mode still begins without faults
    page.wait_for_timeout(300)
    assert marks(page) == []
    assert [event.blind for event in workbench.review.history(item).events] == [True]
    page.goto(page.url.replace(f"item={item}", f"item={other}"))
    expect(page.locator(".rv-veil")).to_be_visible()
    page.keyboard.press("f")
    expect(page.locator(".fm-bar .tag")).to_contain_text("不计为盲标")
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    expect(page.locator(".rv-veil")).to_have_count(0)
    assert [event.blind for event in workbench.review.history(other).events] == [False]


def test_an_input_method_and_fields_keep_their_keys(look: Callable[..., Page], workbench: Workbench, item: int) -> None:
    page = look()
    expect(page.locator(".text .fm")).to_have_count(4)
    for key in ("f", "]", "c", "x", "m"):
        page.evaluate(
            "key => { const text = document.querySelector('[data-faults] .text');"
            " for (const more of [{ isComposing: true }, { keyCode: 229 }]) "
            "text.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more })); }",
            key,
        )
    for key in ("【", "】", "ｆ"):
        page.evaluate("key => document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }))", key)
    page.keyboard.press("n")
    page.keyboard.type("fcx[]m")
    assert page.input_value("[data-note]") == "fcx[]m"
    assert len(marks(page)) == 4
    assert page.locator("#fm-window").count() == 0
    assert answers(workbench, item) == []


def test_what_is_not_saved_is_told(look: Callable[..., Page], workbench: Workbench, item: int) -> None:
    page = look(ROW)
    page.locator(".text .fm").first.click()
    page.route("**/faults/answer", lambda route: route.abort())
    page.keyboard.press("c")
    expect(page.locator("#toasts")).to_contain_text("未保存")
    page.unroute("**/faults/answer")
    page.keyboard.press("c")
    expect(page.locator(".text .fm-confirmed")).to_have_count(1)
    assert len(answers(workbench, item)) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_is_readable_and_fits_a_phone(look: Callable[..., Page], scheme: str) -> None:
    for size in (DESKTOP, PHONE):
        page = look(size=size)
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.reload(wait_until="commit")
        page.locator(".text .fm").first.click()
        expect(page.locator("#fm-window")).to_be_visible()
        assert width_overflow(page) <= 0
        assert faint(page) == []
