"""The moment for work that nobody waits for: after the first page, and when nobody asks for anything."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.testclient import TestClient

from db.engine import make_engine
from db.migrate import upgrade
from db.store import SqlStore
from webapp import traffic
from webapp.pages.render import load_renderer
from webapp.pages.translate import Language
from webapp.services.prewarm import Prewarm
from webapp.traffic import Traffic, TrafficMeter


class Site:
    """A small site whose slow answer is given when the test says so, and a waiter for its calm."""

    def __init__(self) -> None:
        self.traffic, self.release, self.over = Traffic(), threading.Event(), threading.Event()
        app = FastAPI()
        app.get("/page")(lambda: HTMLResponse("<p>"))
        app.get("/data")(lambda: JSONResponse({}))
        app.get("/slow")(self.slow)
        app.get("/heartbeat/a")(self.slow)
        app.add_middleware(TrafficMeter, traffic=self.traffic)
        self.client = TestClient(app)
        self.calm = threading.Thread(target=self.traffic.wait_for_calm, args=(self.over,), daemon=True)
        self.calm.start()

    def slow(self) -> JSONResponse:
        self.release.wait(20)
        return JSONResponse({})

    def ask(self, path: str) -> threading.Thread:
        thread = threading.Thread(target=self.client.get, args=(path,), daemon=True)
        thread.start()
        return thread

    def is_calm(self, seconds: float) -> bool:
        self.calm.join(seconds)
        return not self.calm.is_alive()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(traffic, "CALM_SECONDS", 0.1)
    monkeypatch.setattr(traffic, "_LOOK_SECONDS", 0.01)
    site = Site()
    yield site
    site.release.set()
    site.over.set()
    site.calm.join(10)


def test_calm_comes_after_the_first_page_and_no_other_answer(site: Site) -> None:
    site.client.get("/data")
    site.client.get("/missing")
    assert not site.is_calm(0.3)
    begun = time.monotonic()
    site.client.get("/page")
    assert site.is_calm(10)
    assert time.monotonic() - begun >= 0.1


def test_a_request_under_way_is_no_calm_and_a_heartbeat_is(site: Site) -> None:
    site.ask("/heartbeat/a")
    site.client.get("/page")
    asked = site.ask("/slow")
    assert not site.is_calm(0.3)
    site.release.set()
    asked.join(10)
    assert site.is_calm(10)


def test_a_site_that_is_never_calm_or_never_visited_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    site.client.get("/page")
    site.ask("/slow")
    monkeypatch.setattr(traffic, "LONGEST_SECONDS", 0.2)
    assert site.is_calm(10)
    monkeypatch.setattr(traffic, "UNVISITED_SECONDS", 0.2)
    Traffic().wait_for_calm(threading.Event())


def test_waiting_ends_with_the_server(site: Site) -> None:
    site.over.set()
    assert site.is_calm(10)


def test_pages_are_made_ready_when_it_is_time_and_a_fault_there_stops_nothing(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'pingpan.db'}")
    upgrade(engine)
    time_has_come, compiled = threading.Event(), load_renderer(Language.EN)

    def broken() -> None:
        raise ValueError("a fault")

    ahead = Prewarm(SqlStore(engine), lambda a, b: None, wait=lambda over: time_has_come.wait(20), prepare=[compiled.compile, broken])
    ahead.start()
    assert not ahead.ready.wait(0.2)
    time_has_come.set()
    assert ahead.ready.wait(60)
    ahead.stop()
    assert gc.get_freeze_count() > 0  # what was loaded is gone through no more, which would stop an answer for long
    gc.unfreeze()
    cached = compiled.environment.cache
    assert cached is not None
    assert len(cached) == len(compiled.environment.list_templates())
