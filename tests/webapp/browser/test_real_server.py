"""From upload to download in a real Chromium, on the server as `./run.sh` starts it, with its worker and CPU panel."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.settings import ASSETS, PROJECT_ROOT
from tests.webapp.browser.conftest import PHONE, OpenPage, width_overflow

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SAMPLE = ASSETS / "samples" / "sheet.xlsx"
START_SECONDS, RUN_MS = 60, 120_000


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the workbench on a free port and an empty home; yield its URL."""
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {"PINGPAN_HOME": str(home), "PINGPAN_PORT": "0", "PINGPAN_OPEN_BROWSER": "false", "PYTHONUNBUFFERED": "1"}
    output = (home / "server.log").open("wb")
    process = subprocess.Popen([sys.executable, "-m", "webapp"], cwd=PROJECT_ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield served_url(process, home / "server.log")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        output.close()


def served_url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text(encoding="utf-8"))
        if found:
            with suppress(OSError):
                urllib.request.urlopen(f"{found.group()}/health", timeout=5).close()
                return found.group()
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(log.read_text(encoding="utf-8"))


def sample_rows() -> list[tuple[str, ...]]:
    """The sample sheet's own order of ids and dimensions."""
    from openpyxl import load_workbook

    workbook = load_workbook(SAMPLE, read_only=True)
    header, *rows = list(workbook.worksheets[0].iter_rows(values_only=True))
    places = [header.index(name) for name in ("数据编号", "评判维度")]
    found = [tuple(str(row[place]) for place in places) for row in rows]
    workbook.close()
    return found


def download(page: Page, name: str) -> tuple[str, bytes]:
    if not page.locator(".menu-list").is_visible():
        page.click(".menu summary")
    with page.expect_download() as waiting:
        page.get_by_role("link", name=name).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_from_the_upload_to_the_download(base: str, open_page: OpenPage) -> None:
    page = open_page(base)
    page.wait_for_url(f"{base}/zh/")
    page.set_input_files("#sheet-file", SAMPLE)
    expect(page.locator(".file-name")).to_have_text("sheet.xlsx")
    expect(page.locator("#judge-estimate")).to_contain_text("评判次数")
    expected = sample_rows()
    page.click("#judge-start")
    page.wait_for_url("**/zh/run?run=*")
    page.reload(wait_until="commit")  # in the middle of the run: the page finds its state again
    expect(page.locator(".state-done")).to_be_visible(timeout=RUN_MS)
    expect(page.locator(".jl")).to_have_count(4)

    page.get_by_role("link", name="看分歧最大的").click()
    expect(page.locator(".detail .j")).to_have_count(4)
    expect(page.locator(".detail .verdict .v")).to_have_text(re.compile(r"\d|—"))
    expect(page.locator(".detail .ex").first).to_contain_text("相似")
    heading = (page.locator(".detail h2").first.text_content() or "").split(" · ")[0]
    page.click("a[data-switch]")
    page.wait_for_url("**/en/run?run=*&item=*")
    expect(page.locator(".detail h2").first).to_contain_text(heading)

    name, content = download(page, "result.csv · UTF-8")
    assert name.endswith("result.csv")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert list(rows[0]) == ["数据编号", "评判维度", "预测分数"]
    assert [(row["数据编号"], row["评判维度"]) for row in rows] == expected
    assert all(row["预测分数"].isdigit() for row in rows)
    _, gb = download(page, "result.csv · GB18030")
    assert gb.decode("gb18030").splitlines() == content.decode("utf-8-sig").splitlines()
    assert download(page, "full.xlsx")[1].startswith(b"PK")
    assert len(download(page, "results.jsonl")[1].splitlines()) >= len(expected)
    verdict = page.locator("tr.on .c-chips").text_content()
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    assert width_overflow(page) <= 0
    assert verdict


def test_one_question_shows_what_every_judge_says(base: str, open_page: OpenPage) -> None:
    page = open_page(f"{base}/zh/?mode=question", PHONE)
    page.fill("#question-text textarea", "春天来了，河边的柳树抽出了新芽，孩子们在草地上放风筝。风筝越飞越高高，线轴吱吱地响。")
    page.click("#judge-start")
    page.wait_for_url("**/zh/run?run=*&item=first")
    expect(page.locator(".state-done")).to_be_visible(timeout=RUN_MS)
    expect(page.locator(".detail .j")).to_have_count(4)
    expect(page.locator(".detail .text")).to_contain_text("放风筝")
    assert width_overflow(page) <= 0


def test_what_the_question_lacks_is_said_on_the_page(base: str, open_page: OpenPage) -> None:
    page = open_page(f"{base}/en/?mode=question")
    page.click("#judge-start")
    expect(page.locator("#judge-notice .notice")).to_contain_text("Fill in the text")
    expect(page.locator("#judge-start")).to_be_enabled()


def test_a_labelled_file_becomes_the_chosen_library(base: str, open_page: OpenPage) -> None:
    page = open_page(f"{base}/en/")
    page.set_input_files("#library-file", ASSETS / "samples" / "library.xlsx")
    page.wait_for_url("**/en/?library=*")
    expect(page.locator("#judge-library-facts")).to_contain_text("labelled examples")
    page.set_input_files("#library-file", SAMPLE)  # it has no labels
    expect(page.locator("#judge-library-facts [data-upload-error]")).to_be_visible()
