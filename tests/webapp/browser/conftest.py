"""A real Chromium that may talk to this machine only."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESKTOP, PHONE = (1440, 900), (390, 844)
# On a machine that does much else the first page may take seconds; how fast things are is for the benchmarks to say.
PATIENCE_MS = 30_000

OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, else the one that Playwright installed, else the tests are skipped."""
    found = next((path for path in map(shutil.which, CANDIDATES) if path), None)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        executable = found or playwright.chromium.executable_path
        if not Path(executable).exists():
            pytest.skip("no Chromium: install it, or run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


class Profiles:
    """Browser profiles (contexts), each used by one page at a time and again by later tests: Gradio's scripts are then compiled already."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: dict[str, list[BrowserContext]] = {}

    def take(self, locale: str) -> BrowserContext:
        """Return a profile that nobody uses, without cookies or anything kept."""
        free = self._free.setdefault(locale, [])
        context = free.pop(0) if free else self._browser.new_context(locale=locale, accept_downloads=True)
        context.set_default_timeout(PATIENCE_MS)
        return context

    def give_back(self, locale: str, page: Page, origin: str) -> None:
        """Forget what the page kept, and close it with whatever it opened."""
        context = page.context
        context.new_cdp_session(page).send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "local_storage"})
        for one in context.pages:
            one.close()
        context.clear_cookies()
        self._free[locale].insert(0, context)


@pytest.fixture(scope="session")
def profiles(browser: Browser) -> Profiles:
    return Profiles(browser)


@pytest.fixture
def open_page(profiles: Profiles) -> Iterator[OpenPage]:
    """Open pages of a size, each for another person; at the end none may have asked anything of another machine or thrown an error."""
    pages: list[tuple[str, Page, str]] = []
    strangers: list[str] = []
    errors: list[str] = []

    def watch(url: str) -> None:
        if urlsplit(url).scheme in {"http", "https", "ws", "wss"} and urlsplit(url).hostname != "127.0.0.1":
            strangers.append(url)

    def open_(url: str, size: tuple[int, int] = DESKTOP, locale: str = "zh-CN") -> Page:
        page = profiles.take(locale).new_page()
        pages.append((locale, page, "{0.scheme}://{0.netloc}".format(urlsplit(url))))
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.on("request", lambda request: watch(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    yield open_
    for kept in reversed(pages):
        profiles.give_back(*kept)
    assert strangers == []
    assert errors == []


def width_overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))
