"""The real server over a workbench of the test's own, in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from core.settings import Settings
from webapp.server import create_app, listen
from webapp.workbench import Workbench


def build_app(workbench: Workbench, settings: Settings) -> FastAPI:
    """Return the application, built inside an event loop: outside of one Gradio leaves loops unclosed, which is a warning.

    The loop is another thread's, because a test that drives a browser runs in one already.
    """

    async def build() -> FastAPI:
        return create_app(workbench, settings)

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(build())).result()


@contextmanager
def served(workbench: Workbench, settings: Settings) -> Iterator[str]:
    """Serve for the length of the block and yield the URL without a slash at its end."""
    with listen(settings) as listener:
        server = uvicorn.Server(uvicorn.Config(build_app(workbench, settings), log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)  # until it listens, a connection is refused
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
