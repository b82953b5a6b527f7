"""When the server has answered a page and is left alone: the moment for work that nobody waits for."""

from __future__ import annotations

import threading
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webapp.styled import is_page

# Nobody asked for anything for so long: the page that was asked for stands.
CALM_SECONDS = 1.0
# A server that is never left alone does its work beside the requests after so long; one that nobody visits, too.
LONGEST_SECONDS, UNVISITED_SECONDS = 30.0, 20.0
_LOOK_SECONDS = 0.1


class Traffic:
    """Counts requests under way, and remembers when the latest began or ended and whether a page was answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._latest = time.monotonic()
        self._answered: float | None = None

    def began(self) -> None:
        """Count a request."""
        with self._lock:
            self._open += 1
            self._latest = time.monotonic()

    def ended(self, *, page: bool) -> None:
        """Count its end; `page` says that it was answered with a page."""
        with self._lock:
            self._open -= 1
            self._latest = time.monotonic()
            if page and self._answered is None:
                self._answered = self._latest

    def wait_for_calm(self, over: threading.Event) -> None:
        """Return when a page was answered and nobody asks for anything, at the latest after the seconds above, or when `over` is set."""
        begun = time.monotonic()
        while not over.is_set() and not self._is_time(begun):
            over.wait(_LOOK_SECONDS)

    def _is_time(self, begun: float) -> bool:
        with self._lock:
            now, answered = time.monotonic(), self._answered
            if answered is None:
                return now - begun >= UNVISITED_SECONDS and not self._open
            calm = not self._open and now - self._latest >= CALM_SECONDS
            return calm or now - answered >= LONGEST_SECONDS


class TrafficMeter:
    """Tells a Traffic of every request but those that stay open as long as somebody looks at a page."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self.app = app
        self.traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it."""
        if scope["type"] != "http" or "/heartbeat/" in scope["path"]:
            await self.app(scope, receive, send)
            return
        page = False

        async def watch(message: Message) -> None:
            nonlocal page
            if message["type"] == "http.response.start" and message["status"] == 200:
                page = is_page(message)
            await send(message)

        self.traffic.began()
        try:
            await self.app(scope, receive, watch)
        finally:
            self.traffic.ended(page=page)
