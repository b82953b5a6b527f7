"""The review page of a long run through the real server: every view, page turns, labels, and keys in a real Chromium.

Used by benchmarks.pages; see there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

import httpx

from core.review import QueueView
from core.types import Run

ANNOTATOR = "林"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
# The time from a key press to the frame that shows the next row, in the page itself.
SWAP = """(key) => new Promise((resolve) => {
  const before = document.querySelector('[data-form]').dataset.for, began = performance.now();
  const watch = new MutationObserver(() => {
    const form = document.querySelector('[data-form]');
    if (!form || form.dataset.for === before) return;
    watch.disconnect();
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
  });
  watch.observe(document.querySelector('[data-review]'), { childList: true, subtree: true });
  document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
})"""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that a reviewer's page asks for; `act` returns the bytes that came."""

    name: str
    act: Callable[[], int]


class Reviewer:
    """Asks as the review page of one annotator does."""

    def __init__(self, base: str, run: Run) -> None:
        cookie = {"Cookie": f"pingpan_annotator={quote(ANNOTATOR)}"}
        self._client = httpx.Client(base_url=base, timeout=120, headers=cookie)
        self._run = run
        self._here = 0

    def steps(self) -> Iterator[Step]:
        """Yield what is to be timed: the page by view and page, then the acts of somebody who labels."""
        last = self._run.items // 50
        for view in QueueView:
            query = f"?run={self._run.id}&view={view}&scope=any"
            yield Step(f"/review{query}", lambda query=query: self._get("page", query))  # type: ignore[misc]
        for more in ("", f"&scope=any&page={last // 2}", f"&scope=any&page={last - 2}", "&dimension=fluency&label=3", "&search=0500"):
            query = f"?run={self._run.id}{more}"
            yield Step(f"/review{query}", lambda query=query: self._get("page", query))  # type: ignore[misc]
        middle = f"?run={self._run.id}&scope=any&page={last // 2}"
        yield Step("the queue's pane, a page turn", lambda: self._get("queue", middle))
        yield Step("a look at what others do", lambda: self._get("pulse", f"?run={self._run.id}"))
        yield Step("the next row, leased", self._next)
        yield Step("one row's panes", lambda: self._get("panes", f"?run={self._run.id}&item={self._here}"))
        yield Step("the next row, and its label saved", self._label)
        yield Step("a row skipped", lambda: self._post("skip", item=self._here))
        yield Step("the latest act undone", lambda: self._post("undo"))

    def _get(self, path: str, query: str) -> int:
        answer = self._client.get(f"/review/{path}", params={"language": "zh", "query": query})
        answer.raise_for_status()
        return len(answer.content)

    def _post(self, path: str, **body: object) -> int:
        answer = self._client.post(f"/review/{path}", json={"language": "zh", "query": f"?run={self._run.id}", **body})
        answer.raise_for_status()
        self._here = answer.json()["item"]
        return len(answer.content)

    def _next(self) -> int:
        return self._post("next", after=self._here)

    def _label(self) -> int:
        self._next()
        return self._post("label", item=self._here, label=1)


def keys_to_next_row(base: str, run: Run, count: int) -> list[float]:
    """Label `count` rows by keys in a real Chromium; return the milliseconds from each Enter to the next row's frame."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = next((path for path in map(shutil.which, CHROMIUM) if path), None)
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="zh-CN")
        page.context.add_cookies([{"name": "pingpan_annotator", "value": quote("吴"), "url": base}])
        page.goto(f"{base}/zh/review?run={run.id}")
        page.wait_for_selector("[data-form]", timeout=60_000)
        page.wait_for_timeout(1_500)
        taken = []
        for _ in range(count):
            page.keyboard.press(page.get_attribute("[data-level]", "data-level") or "1")
            with page.expect_response("**/review/next"):
                taken.append(float(page.evaluate(SWAP, "Enter")))
            page.wait_for_timeout(300)  # somebody who reads takes longer
        browser.close()
    return taken
