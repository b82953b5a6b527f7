"""A team's server in a real Chromium: signing in, the name that labels carry, signing out; and asking failed judges again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from sqlalchemy import update

from core.review import QueueQuery, QueueScope
from core.settings import Settings
from core.types import JudgementStatus, RunState
from db.engine import writing
from db.models import JudgementRecord
from tests.webapp.browser.conftest import PHONE, OpenPage, width_overflow
from tests.webapp.browser.test_live_pages import faint
from tests.webapp.judged import judged_workbench
from tests.webapp.serving import served
from webapp.services.users import Users
from webapp.workbench import Workbench

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
PASSWORD = "correct horse"
EVERYTHING = QueueQuery(scope=QueueScope.ANY, dimension_id="fluency")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workbench, Settings, Path]]:
    workbench, settings, _, _ = judged_workbench(tmp_path_factory.mktemp("team") / "home")
    users = settings.home / "users"
    Users(users).put("林", PASSWORD)
    yield workbench, settings, users
    workbench.store.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_whoever_signs_in_comes_back_to_the_row_and_labels_by_the_logins_name(
    judged: tuple[Workbench, Settings, Path], open_page: OpenPage, scheme: str
) -> None:
    workbench, settings, users = judged
    with served(workbench, settings.model_copy(update={"users_file": users})) as base:
        page = open_page(f"{base}/health", PHONE)
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.goto(f"{base}/zh/review?run=1&view=disagreement")
        expect(page.locator("input[name=name]")).to_be_focused()
        assert width_overflow(page) <= 0
        assert faint(page) == []
        page.keyboard.type("林")
        page.keyboard.press("Tab")
        page.keyboard.type("wrong horse")
        page.keyboard.press("Enter")
        expect(page.locator("[role=alert]")).to_contain_text("不对")
        expect(page.locator("input[name=password]")).to_be_focused()
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/zh/review?run=1&view=disagreement*")
        expect(page.locator("[data-form]")).to_be_visible()
        expect(page.locator("[data-who]")).to_have_text("林")
        item = int(page.get_attribute("[data-form]", "data-for") or 0)
        page.locator("[data-level]").first.click()
        page.locator("[data-act=save]").click()
        expect(page.locator(f"[data-form][data-for='{item}']")).to_have_count(0)
        page.wait_for_function("!JSON.parse(localStorage.getItem('pingpan_outbox') || '[]').length")
        assert {event.author for event in workbench.review.history(item).events} == {"林"}
        page.click("[data-who]")
        page.wait_for_url("**/login?*")
        page.get_by_role("button", name="退出登录").click()
        page.goto(f"{base}/zh/runs")
        page.wait_for_url("**/login?next=*")


def test_failed_answers_are_asked_again_from_the_run_and_from_a_card(judged: tuple[Workbench, Settings, Path], open_page: OpenPage) -> None:
    workbench, settings, _ = judged
    run = workbench.runs()[0]
    rows = [row.item_id for row in workbench.store.queue(run.id, EVERYTHING).rows][:3]
    with writing(workbench.store.engine) as connection:
        broken = {"status": JudgementStatus.FAILED, "label": None, "probabilities": {}, "error": {"zh": "服务不在", "en": "away"}}
        for item in rows:
            mine = (JudgementRecord.run_id == run.id, JudgementRecord.item_id == item, JudgementRecord.judge_id == "surprise")
            connection.execute(update(JudgementRecord).where(*mine).values(broken))
    with served(workbench, settings) as base:
        page = open_page(f"{base}/health")
        page.context.add_cookies([{"name": "pingpan_annotator", "value": "Lin", "url": base}])
        page.goto(f"{base}/zh/review?run=1&item={rows[0]}")
        page.get_by_role("button", name="再问这个评委").click()
        expect(page.locator(".toast")).to_contain_text("再问 1 个")
        assert workbench.run(run.id).state is RunState.QUEUED
        expect(page.locator(".judges .j").filter(has_text="之前的回答")).to_have_count(1)
        workbench.execute(run.id)
        page.goto(f"{base}/zh/row?item={rows[0]}")
        page.goto(f"{base}/zh/run?run=1&item={rows[0]}")
        card = page.locator(".judges .j").filter(has_text="之前的回答")
        expect(card.locator(".score")).to_have_text(re.compile(r"^\d$"))
        card.locator("summary", has_text="之前的回答").click()
        expect(card).to_contain_text("服务不在")
        expect(card).to_contain_text("Lin")
