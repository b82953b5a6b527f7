"""The server comes up fast and light: the first page, its events included, loads no heavy library; what others need comes after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from core.settings import PROJECT_ROOT
from webapp.services.prewarm import MODULES

HEAVY = ("torch", "transformers", "chromadb", "sentence_transformers", "pandas", "sklearn", "scipy", "alembic")
# Processor seconds are a guard against gross waste alone: the same machine was seen to take 4 s and 13 s. The figure is printed.
MOST_CPU_SECONDS, MOST_MIB = 25.0, 400.0

# Serves, and meanwhile visits the first page as a browser would: the page, then every event that its load triggers.
PROBE = """
import json, os, sys, threading, time, urllib.request
began = time.time()

def get(url, body=None):
    request = urllib.request.Request(url, body and json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=60)

def visit(base):
    get(base + "/zh/").read()
    page_s, cpu_s = time.time() - began, time.process_time()
    config = json.load(get(base + "/zh/config"))
    loads = [d for d in config["dependencies"] if any(t[1] == "load" for t in d["targets"])]
    for d in loads:
        body = {"data": [""] * len(d["inputs"]), "fn_index": d["id"], "session_hash": f"s{d['id']}"}
        get(base + "/zh/gradio_api/queue/join", body).read()
        for line in get(base + f"/zh/gradio_api/queue/data?session_hash=s{d['id']}"):
            if b"process_completed" in line:
                assert json.loads(line[6:])["success"], line
                break
    import psutil
    found = [name for name in %r if name in sys.modules]
    rss = psutil.Process().memory_info().rss / 2**20
    until = time.time() + 60
    while not all(name in sys.modules for name in %r) and time.time() < until:
        time.sleep(0.1)
    time.sleep(0.5)  # the last of them is being imported
    ahead = [name for name in %r if name in sys.modules]
    rest = psutil.Process().memory_info().rss / 2**20
    figures = {"page_s": page_s, "cpu_s": cpu_s, "mib": rss, "events": len(loads), "heavy": found, "ahead": ahead, "rest_mib": rest}
    print(json.dumps(figures), flush=True)
    os.kill(os.getpid(), 2)

from webapp import server
announce = server._announce
server._announce = lambda url, open_browser: threading.Thread(target=visit, args=(url.rstrip("/"),), daemon=True).start()
from core.settings import load_settings
server.serve(load_settings())
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the probe saw: seconds to the first page (wall and processor), memory then, and what was imported.

    `ahead` is what was loaded once nobody asked for anything any more, `rest_mib` the memory after it.
    """

    page_s: float
    cpu_s: float
    mib: float
    events: int
    heavy: list[str]
    ahead: list[str]
    rest_mib: float


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {"PINGPAN_HOME": str(home), "PINGPAN_PORT": "0", "PINGPAN_OPEN_BROWSER": "false"}
    command = [sys.executable, "-c", PROBE % (HEAVY, MODULES, MODULES)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=150, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stderr
    return Figures(**json.loads(lines[0]))


def test_the_first_page_and_its_events_import_nothing_heavy(figures: Figures) -> None:
    print(figures)
    assert figures.events >= 4
    assert figures.heavy == []


def test_the_first_page_is_quick_and_the_server_small(figures: Figures) -> None:
    assert figures.cpu_s <= MOST_CPU_SECONDS
    assert figures.mib <= MOST_MIB


def test_what_other_pages_need_is_loaded_after_the_first_page_and_the_server_stays_small(figures: Figures) -> None:
    assert figures.ahead == list(MODULES)
    assert figures.rest_mib <= MOST_MIB


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_in_order_and_takes_worker_and_runner_along(tmp_path: Path, number: signal.Signals) -> None:
    environment = os.environ | {"PINGPAN_HOME": str(tmp_path), "PINGPAN_PORT": "0", "PINGPAN_OPEN_BROWSER": "false"}
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "webapp"]
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: b"http://127.0.0.1:" in log.read_bytes())
        wait_until(lambda: len(psutil.Process(process.pid).children()) == 2)
        helpers = psutil.Process(process.pid).children()
        # They have come as far as their own signal handlers.
        wait_until(lambda: b"waiting for runs" in log.read_bytes() and b"waiting for jobs" in log.read_bytes())
        process.send_signal(number)
        assert process.wait(60) == 0, log.read_text(encoding="utf-8")
        assert not any(helper.is_running() for helper in helpers)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text(encoding="utf-8")


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_command_lines_help_imports_neither_gradio_nor_anything_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['pingpan', '--help']\n"
        "from webapp.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {(*HEAVY, 'gradio')!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=True, env=os.environ
    )
    assert done.stdout.splitlines()[-1] == "[]"
