"""The training page in a real Chromium: from a correction to a promoted candidate on the real server, and its manners over invented jobs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.settings import PROJECT_ROOT, Settings
from tests.judging.transformers.build import tiny_folder
from tests.webapp.browser.conftest import DESKTOP, PHONE, OpenPage, width_overflow
from tests.webapp.browser.test_live_pages import faint
from tests.webapp.browser.test_real_server import RUN_MS, SAMPLE, served_url
from tests.webapp.fake_training import busy_jobs, jobs_of, measured_candidates, put_desks
from tests.webapp.serving import served
from webapp.services.training.snapshots import SnapshotChoices
from webapp.workbench import Workbench

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

JOB_MS = 170_000


def name_oneself(page: Page, name: str = "林") -> None:
    """Give the name that the browser asks for once."""
    page.locator("dialog input[name=name]").fill(name)
    page.locator("dialog button[type=submit]").click()
    expect(page.locator("[data-review][data-named='1']")).to_be_visible()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The workbench as it is started, with its worker and job runner, and a tiny model."""
    home = tmp_path_factory.mktemp("home")
    model = tiny_folder(home / "models" / "tiny-qwen2", "qwen2", max_position_embeddings=8192)
    environment = os.environ | {"PINGPAN_HOME": str(home), "PINGPAN_PORT": "0", "PINGPAN_OPEN_BROWSER": "false", "PYTHONUNBUFFERED": "1"}
    output = (home / "server.log").open("wb")
    process = subprocess.Popen([sys.executable, "-m", "webapp"], cwd=PROJECT_ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield served_url(process, home / "server.log"), model
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        output.close()


def test_from_a_correction_to_a_promoted_candidate(real: tuple[str, Path], open_page: OpenPage) -> None:
    base, model = real
    page = open_page(f"{base}/zh/")
    page.set_input_files("#sheet-file", SAMPLE)
    page.click("#judge-start")
    page.wait_for_url("**/zh/run?run=*")
    expect(page.locator(".state-done")).to_be_visible(timeout=RUN_MS)
    page.goto(f"{base}/zh/review?run=1&dimension=fluency")
    name_oneself(page)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator(".rv-status")).to_contain_text("1")

    page.goto(f"{base}/zh/training?from=corrections")
    expect(page.locator(".notice").first).to_contain_text("1 行是")
    page.uncheck("[data-list=dimension][value=normativity]")
    page.uncheck("[data-list=dimension][value=choice]")
    page.wait_for_url("**dimension=fluency*")
    page.get_by_role("button", name="冻结训练集").click()
    expect(page.locator("[data-training]")).to_have_attribute("data-query", re.compile("snapshot=1"))
    page.fill("[data-setting=model]", str(model))
    page.locator(".tr-more summary").first.click()
    settings = {"epochs": "3", "batch_size": "4", "accumulation": "1", "max_length": "8192", "evaluate_every": "4", "checkpoint_every": "4"}
    for name, value in settings.items():
        page.fill(f"[data-setting={name}]", value)
    page.check("[data-setting=device][value=cpu]")
    expect(page.locator("#plan-command")).to_contain_text("-m training run")
    page.click(".tr-start")
    page.wait_for_url("**job=**")

    expect(page.locator(".tr-job .job-running").first).to_be_visible(timeout=60_000)
    expect(page.locator("svg.curves").first).to_be_visible(timeout=90_000)
    page.reload(wait_until="commit")  # in the middle of it: the page finds job, snapshot and settings again
    expect(page.locator("svg.curves").first).to_be_visible()
    expect(page.locator("[data-setting=model]")).to_have_value(str(model))
    expect(page.locator("[data-candidate] .badge[class*=gate-]")).to_be_visible(timeout=JOB_MS)
    expect(page.locator(".tr-chain .job-failed")).to_have_count(0)

    page.locator("[data-candidate] a[aria-expanded]").click()
    expect(page.locator(".tr-changes")).to_be_visible()
    page.get_by_role("button", name="上线").click()
    dialog = page.locator("dialog")
    reason = dialog.locator("textarea[name=reason]")
    dialog.get_by_role("button", name="上线").click()
    expect(dialog).to_be_visible()  # a random model is not proven better: nothing happens without a reason
    reason.fill("只是试试流程")
    dialog.get_by_role("button", name="上线").click()
    expect(page.locator(".toast")).to_contain_text("上线")
    page.locator(".tr-promoted a").click()
    page.wait_for_url("**/zh/models?panel=cpu-2")
    expect(page.locator(".judge-row", has_text="transformers")).to_have_count(1)
    page.go_back(wait_until="commit")
    page.locator("a[data-switch]").click()
    page.wait_for_url("**/en/training?**")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator(".tr-promoted")).to_have_count(0)
    page.goto(f"{base}/en/models?panel=cpu-2")
    expect(page.locator(".judge-row")).to_have_count(4)
    expect(page.locator(".judge-row", has_text="transformers")).to_have_count(0)


# -- manners, over invented jobs


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Workbench]]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), port=0, _env_file=None)  # type: ignore[call-arg]
    workbench = Workbench.open(settings)
    workbench.libraries()
    workbench.snapshots.freeze("第一批", SnapshotChoices(), "林")
    put_desks(workbench, busy_jobs(), measured_candidates())
    with served(workbench, settings) as url:
        yield url, workbench
    workbench.store.close()


PATHS = ("training", "training?job=3&compare=1&candidate=1&rows=1", "training?job=6&tab=make&set.model=x&set.rank=0")


def test_a_live_page_moves_without_taking_focus_scroll_or_what_is_typed(invented: tuple[str, Workbench], open_page: OpenPage) -> None:
    base, workbench = invented
    jobs = jobs_of(workbench)
    page = open_page(f"{base}/en/training?job=3")
    page.locator(".tr-spec summary").click()
    name = page.locator("[data-setting=model]")
    name.focus()
    page.keyboard.type("/models/ti")
    page.evaluate("document.querySelector('[data-tail]').scrollTop = 3")
    before = page.evaluate("scrollY")
    place = next(place for place, view in enumerate(jobs.views) if view.job.id == 3)
    for step in (270, 280, 290):
        jobs.views[place] = replace(jobs.views[place], step=step)
        expect(page.locator(".tr-figures dd", has_text=f"{step} / 400").first).to_be_visible()
        page.keyboard.type("n")
    assert name.input_value() == "/models/tinnn"
    assert page.evaluate("document.activeElement.dataset.setting") == "model"
    assert page.evaluate("[scrollY, document.querySelector('[data-tail]').scrollTop]") == [before, 3]
    assert page.locator(".tr-spec").get_attribute("open") is not None
    page.wait_for_url("**set.model=%2Fmodels%2Ftinnn**")
    expect(page.locator("#plan-command")).to_be_visible()


def test_values_of_a_step_are_shown_to_pointer_and_keyboard(invented: tuple[str, Workbench], open_page: OpenPage) -> None:
    page = open_page(f"{invented[0]}/en/training?job=1&compare=3")
    plot = page.locator("svg.curves").first
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".tr-tip")).to_contain_text(re.compile(r"Loss · training: \d\.\d+"))
    expect(page.locator(".tr-tip")).to_contain_text("validation (other)")
    page.mouse.move(5, 5)
    expect(page.locator(".tr-tip")).to_have_count(0)
    plot.focus()
    page.keyboard.press("End")
    expect(page.locator(".tr-tip b")).to_have_text("400")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".tr-tip b")).to_have_text(re.compile("39[0-9]"))
    expect(page.locator(".tr-diff tbody tr")).to_have_count(2)


def test_a_wrong_setting_is_marked_where_it_stands_and_keeps_the_button_shut(invented: tuple[str, Workbench], open_page: OpenPage) -> None:
    page = open_page(f"{invented[0]}/zh/training?set.model=x")
    expect(page.locator(".tr-start")).to_be_enabled()
    page.fill("[data-setting=rank]", "很多")
    expect(page.locator("[data-setting=rank]")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".tr-faults")).to_contain_text("须为整数")
    expect(page.locator(".tr-start")).to_be_disabled()
    page.fill("[data-setting=rank]", "16")
    expect(page.locator(".tr-start")).to_be_enabled()
    assert "set.rank" not in page.url


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_state_fits_a_phone_and_a_desktop(invented: tuple[str, Workbench], open_page: OpenPage, language: str) -> None:
    page = open_page(f"{invented[0]}/{language}/training", PHONE)
    for path in PATHS:
        for size in (PHONE, DESKTOP):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.goto(f"{invented[0]}/{language}/{path}")
            expect(page.locator("[data-training]")).to_be_visible()
            assert width_overflow(page) <= 0, (path, size)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(invented: tuple[str, Workbench], open_page: OpenPage, scheme: str) -> None:
    page = open_page("about:blank")
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for path in PATHS:
        page.goto(f"{invented[0]}/zh/{path}")
        expect(page.locator("[data-training]")).to_be_visible()
        page.wait_for_timeout(300)
        assert faint(page) == [], path
