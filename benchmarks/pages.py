"""Measure the pages at the size of a large run: the real server, over HTTP, with a generated run of 100,000 rows.

    python -m benchmarks.pages [--rows 100000] [--repeats 7] [--home FOLDER] [--cold]

Every page's event is asked for as a browser does (Gradio's queue, then its stream), the review page's own requests, the API
and the first HTML plainly. Prints the machine, then a line a page: the milliseconds of the very first look, the median and
worst of the next ones at the client, those of the handler alone, and the bytes sent; then the time from a key to the next
row of the review page in a real Chromium. As in the product, modules are loaded and the latest runs read ahead once the
first page was answered, and the looks begin when that is done; with `--cold` nothing is read ahead. `--home` keeps the
generated data for another time. The aim: 300 ms, 300 KB, 150 ms from key to row. The texts are of the length of a short
composition.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from benchmarks.machine import describe_machine
from benchmarks.review_page import Reviewer, keys_to_next_row
from benchmarks.store import Report, fill
from core.settings import Settings
from core.types import Run
from webapp.pages.agreement import AgreementHandlers
from webapp.pages.compare import CompareHandlers
from webapp.pages.judge import JudgeHandlers
from webapp.pages.library import LibraryHandlers
from webapp.pages.models import ModelsHandlers
from webapp.pages.render import Renderer, load_renderer
from webapp.pages.run import RunHandlers
from webapp.pages.run_list import RunListHandlers
from webapp.pages.translate import Language
from webapp.server import create_app, listen
from webapp.services.prewarm import Prewarm
from webapp.traffic import Traffic, TrafficMeter
from webapp.workbench import Workbench

AIM_MS, AIM_BYTES, AIM_KEY_MS = 300.0, 300_000, 150.0
KEYS = 30
Handler = Callable[[str], object]


@contextmanager
def server(workbench: Workbench, settings: Settings, *, cold: bool) -> Iterator[str]:
    """Serve for the length of the block and yield the URL; unless `cold`, once the server has read ahead as the product does."""
    import uvicorn

    traffic, app = Traffic(), create_app(workbench, settings)
    app.add_middleware(TrafficMeter, traffic=traffic)
    prewarm = workbench.prewarm(traffic.wait_for_calm, [load_renderer(language).compile for language in Language])
    with listen(settings) as listener:
        running = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        while not running.started and thread.is_alive():
            time.sleep(0.02)  # until it listens, a connection is refused
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            if not cold:
                read_ahead(url, prewarm)
            yield url
        finally:
            prewarm.stop()
            running.should_exit = True
            thread.join(30)


def read_ahead(url: str, prewarm: Prewarm) -> None:
    """Ask for the first page, wait until the server has read ahead, and print how long that took and how much memory it left."""
    taken, _ = timed(lambda: len(httpx.get(f"{url}/zh/", timeout=120).content))
    before = own_mib()
    prewarm.start()
    reading, _ = timed(lambda: prewarm.ready.wait(600))
    memory = f"memory of its own {before:.0f} MiB, then {own_mib():.0f} MiB"
    print(f"the first page's HTML in {taken:.0f} ms; loaded and read ahead within {reading / 1000:.1f} s; {memory}")


def own_mib() -> float:
    """Return the resident memory of this process without mapped files, of which the database is the largest, in MiB."""
    memory = psutil.Process().memory_info()
    return float((memory.rss - getattr(memory, "shared", 0)) / 2**20)


class Browser:
    """Asks for a page's event as a browser does, and counts what comes."""

    def __init__(self, base: str) -> None:
        self._client = httpx.Client(base_url=base, timeout=120)
        self._events: dict[str, tuple[int, int]] = {}
        self._visits = 0

    def event(self, page: str, query: str) -> int:
        """Draw a page by its `load` event for a query string; return the bytes of the answer."""
        number, inputs = self._load_event(page)
        self._visits += 1
        session = f"bench{self._visits}"
        body = {"data": [query] + [None] * (inputs - 1), "fn_index": number, "session_hash": session}
        self._client.post("/zh/gradio_api/queue/join", json=body).raise_for_status()
        size = 0
        with self._client.stream("GET", "/zh/gradio_api/queue/data", params={"session_hash": session}) as stream:
            for line in stream.iter_lines():
                size += len(line.encode())
                if '"process_completed"' in line:
                    if not json.loads(line[5:])["success"]:
                        raise RuntimeError(line)
                    break
        return size

    def get(self, path: str) -> int:
        """Return the bytes of a plain answer."""
        answer = self._client.get(path)
        answer.raise_for_status()
        return len(answer.content)

    def _load_event(self, page: str) -> tuple[int, int]:
        """Return the number of a page's load event with the most outputs, and how many inputs it takes."""
        if page not in self._events:
            config = self._client.get("/zh/config").json()
            own = set(config["page"][page]["dependencies"])
            events = [one for one in config["dependencies"] if one["id"] in own and one["inputs"]]
            loads = [one for one in events if any(target[1] == "load" for target in one["targets"])]
            chosen = max(loads, key=lambda one: len(one["outputs"]))
            self._events[page] = (chosen["id"], len(chosen["inputs"]))
        return self._events[page]


def handlers(workbench: Workbench, settings: Settings, render: Renderer) -> dict[str, Handler]:
    """Return the handlers by page."""
    return {
        "": JudgeHandlers(workbench, render, settings).show,
        "run": RunHandlers(workbench, render).show,
        "runs": RunListHandlers(workbench, render).show,
        "compare": CompareHandlers(workbench, render).show,
        "library": LibraryHandlers(workbench, render, settings).show,
        "agreement": AgreementHandlers(workbench, render).show,
        "models": ModelsHandlers(workbench, render).show,
    }


def faulty_sheet(workbench: Workbench, folder: Path, rows: int) -> str:
    """Return the token of an uploaded sheet in which every second row has an error."""
    path = folder / "faulty.csv"
    lines = (f"D{row},fluency,{'生成的文本' * 40 if row % 2 else ''}" for row in range(rows))
    path.write_text("\n".join(("数据编号,评判维度,待评判内容", *lines)), encoding="utf-8")
    return workbench.preview(path).token


def visits(workbench: Workbench, first: Run, second: Run, sheet: str) -> list[tuple[str, str]]:
    """Return the pages and query strings to ask for."""
    library = first.library_id
    example = workbench.store.library_items(library)[0]
    last = first.items // 50
    return [
        ("", f"?sheet={sheet}"),
        ("run", f"?run={first.id}"),
        ("run", f"?run={first.id}&sort=disagreement&item=first"),
        ("run", f"?run={first.id}&dimension=fluency&outcome=tie&page=40"),
        ("run", f"?run={first.id}&page={last}"),
        ("run", f"?run={first.id}&search=0500"),
        ("runs", ""),
        ("compare", f"?a={first.id}&b={second.id}"),
        ("compare", f"?a={first.id}&b={second.id}&all=1&page=900"),
        ("library", f"?library={library}"),
        ("library", f"?library={library}&q=0500&label=3"),
        ("library", f"?library={library}&like={example.text[:120]}"),
        ("library", f"?library={library}&item={example.id}"),
        ("agreement", f"?run={first.id}"),
        ("models", ""),
        ("models", "?panel=gpu-80gb"),
    ]


def timed(work: Callable[[], int]) -> tuple[float, int]:
    """Return the milliseconds that `work` takes, and what it returns."""
    begun = time.perf_counter()
    found = work()
    return (time.perf_counter() - begun) * 1000, found


def plain(name: str, work: Callable[[], int], repeats: int) -> bool:
    """Time a plain request that returns its bytes, print its line, and return whether it is above the aims."""
    first_ms, size = timed(work)
    client = measure(work, repeats)
    slow = statistics.median(client) > AIM_MS or size > AIM_BYTES
    figures = f"{first_ms:>8.1f}{statistics.median(client):>10.1f}{max(client):>8.1f}{'':>20}{size / 1000:>8.1f}"
    print(f"{name:<62.62}{figures}{'  <-' if slow else ''}")
    return slow


def await_reading(workbench: Workbench, first: Run, second: Run) -> None:
    """Wait until two runs are read, which the page that asked first began, and print how long that took if it did."""
    begun = time.perf_counter()
    while not workbench.run_desk.at_hand(first.id, second.id):
        time.sleep(0.02)
    if (taken := time.perf_counter() - begun) > 0.1:
        print(f"{'two runs read and matched, beside the page, once':<62}{taken * 1000:>8.1f}")


def measure(work: Callable[[], object], repeats: int) -> list[float]:
    """Return the milliseconds of each repeat, the first of all left out: it fills caches that a server keeps."""
    taken = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1000)
    return taken[1:]


def prepare(home: Path, rows: int) -> tuple[Workbench, Settings, Run, Run]:
    """Return the workbench with two generated runs of `rows` rows, made where they are not there yet."""
    settings = Settings(home=home, port=0, open_browser=False, _env_file=None)  # type: ignore[call-arg]
    workbench = Workbench.open(settings)
    runs = list(workbench.runs())
    while len(runs) < 2:
        fill(workbench.store, Report(1), rows)
        runs = list(workbench.runs())
    for run in runs[:2]:
        workbench.store.mark_families(run.id)  # as the worker does
    return workbench, settings, runs[1], runs[0]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    print(f"{describe_machine()}; {options.rows:,} rows, median of {options.repeats}")
    with tempfile.TemporaryDirectory() as folder:
        workbench, settings, first, second = prepare(options.home or Path(folder), options.rows)
        report(workbench, settings, (first, second), options.repeats, cold=options.cold)
        workbench.store.close()


def report(workbench: Workbench, settings: Settings, runs: tuple[Run, Run], repeats: int, *, cold: bool) -> None:
    """Print a line for each page."""
    first, second = runs
    shown = handlers(workbench, settings, load_renderer(Language.ZH))
    print(f"{'page':<62}{'first':>8}{'client ms':>10}{'worst':>8}{'handler ms':>12}{'worst':>8}{'KB':>8}")
    late = 0
    with server(workbench, settings, cold=cold) as url:
        browser = Browser(url)
        for page, query in visits(workbench, first, second, faulty_sheet(workbench, settings.home, first.items)):
            first_ms, size = timed(lambda page=page, query=query: browser.event(page, query))  # type: ignore[misc]
            if page == "compare":
                await_reading(workbench, first, second)
                size = browser.event(page, query)
            client = measure(lambda page=page, query=query: browser.event(page, query), repeats)  # type: ignore[misc]
            handler = measure(lambda page=page, query=query: shown[page](query), repeats)  # type: ignore[misc]
            slow = statistics.median(handler) > AIM_MS or size > AIM_BYTES
            late += slow
            line = f"{'/' + page + query:<62.62}{first_ms:>8.1f}{statistics.median(client):>10.1f}{max(client):>8.1f}"
            print(f"{line}{statistics.median(handler):>12.1f}{max(handler):>8.1f}{size / 1000:>8.1f}{'  <-' if slow else ''}")
        for path in ("/zh/run", f"/api/runs/{first.id}/rows?page=1000", f"/api/runs/{first.id}/agreement"):
            late += plain(path, lambda path=path: browser.get(path), repeats)  # type: ignore[misc]
        for step in Reviewer(url, first).steps():
            late += plain(step.name, step.act, repeats)
        keys = keys_to_next_row(url, first, KEYS)
        late += statistics.median(keys) > AIM_KEY_MS
        print(f"{f'from key to the next row, {KEYS} labels in Chromium':<70}{statistics.median(keys):>10.1f}{max(keys):>8.1f}")
    print(
        f"{late} of them above {AIM_MS:.0f} ms or {AIM_BYTES // 1000} KB"
        if late
        else f"all within {AIM_MS:.0f} ms and {AIM_BYTES // 1000} KB"
    )


if __name__ == "__main__":
    main()
