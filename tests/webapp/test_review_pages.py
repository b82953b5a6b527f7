"""The review and row pages' handlers: escaping, blind mode, leases, addresses, acts that are sent twice."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from core.review import QueueQuery, QueueScope, QueueView, ReviewState, Vote
from core.settings import Settings
from core.types import Outcome
from tests.webapp.fake_review import ReviewedFake
from tests.webapp.serving import build_app
from tests.webapp.test_pages import EN, RENDERERS, ZH, assert_harmless
from webapp.identity import LONGEST_NAME, Identity, identify
from webapp.pages.judged_view import central_interval
from webapp.pages.render import Renderer
from webapp.pages.review import ReviewHandlers
from webapp.pages.review_address import ReviewAddress
from webapp.pages.row import RowHandlers
from webapp.pages.translate import Language
from webapp.review_routes import Done

LIN, WU = Identity("林"), Identity("吴")
BLIND = Identity("林", blind=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VOTES = st.builds(Vote, TEXT.filter(bool), st.integers(-9, 9), person=st.just(True), blind=st.booleans()) | st.builds(
    Vote, TEXT.filter(bool), st.integers(0, 9)
)


@pytest.fixture
def workbench(tmp_path: Path) -> ReviewedFake:
    fake = ReviewedFake(folder=tmp_path)
    fake.add("作文.csv", 30, done=True)
    return fake


def page(workbench: ReviewedFake, render: Renderer = EN) -> ReviewHandlers:
    return ReviewHandlers(workbench, render)


def first(workbench: ReviewedFake) -> int:
    return workbench.review.queue(1, QueueQuery()).rows[0].item_id


@given(
    st.builds(
        ReviewAddress,
        run=st.integers(0, 10**8),
        view=st.sampled_from(QueueView),
        scope=st.sampled_from(QueueScope),
        item=st.integers(0, 10**8),
        dimension=TEXT,
        label=st.sampled_from(["", "0", "5", "-1"]),
        outcome=st.none() | st.sampled_from(Outcome),
        search=TEXT,
        votes=st.lists(VOTES, max_size=4).map(tuple),
        people=st.integers(1, 9),
        page=st.integers(1, 999),
    )
)
def test_an_address_written_and_read_back_is_the_same(address: ReviewAddress) -> None:
    assert ReviewAddress.parse(address.url(Language.EN).partition("?")[2]) == address
    assert ReviewAddress.of(address.run, address.queue()).queue() == address.queue()


@given(TEXT)
def test_no_address_breaks_the_page(text: str) -> None:
    ReviewAddress.parse(f"?run={quote(text)}&votes=j:a:b,{quote(text)}&label={quote(text)}&people={quote(text)}")


@RENDERERS
def test_hostile_rows_and_names_are_shown_as_text(render: Renderer) -> None:
    workbench = ReviewedFake(hostile=True)
    workbench.add('<img src=x onerror="alert(1)">.xlsx', 6, done=True)
    evil = Identity('<script>alert("x")</script>')
    item = first(workbench)
    page(workbench, render).label(f"run=1&item={item}", evil, item, 1, "<img src=x onerror=alert(2)>", (), blind=False, adjudicate=False)
    shown = page(workbench, render).show(f"?run=1&item={item}&scope=any&search=%3Cscript%3E", evil)
    row = RowHandlers(workbench, render).show(f"item={item}")
    for html in (shown, row, page(workbench, render).show("", evil)):
        assert_harmless(html)
    assert "&lt;img src=x onerror=alert(2)&gt;" in row


def test_blind_panes_hold_nothing_of_what_the_judges_said(workbench: ReviewedFake) -> None:
    shown = page(workbench).show("run=1", BLIND)
    for mark in ('class="judges"', 'class="verdict"', 'class="chip ', "q-verdict", "Wrong label", "known label"):
        assert mark not in shown
    assert "rv-veil" in shown
    seen = page(workbench).show("run=1", LIN)
    assert 'class="judges"' in seen
    # Whoever settles must see.
    assert "rv-veil" not in page(workbench).show("run=1&view=adjudication", BLIND)


def test_a_judge_without_a_label_has_the_same_sign_in_the_queue_and_in_the_table(workbench: ReviewedFake) -> None:
    from webapp.pages.run import RunHandlers

    queue = page(workbench).show("run=1&scope=any", LIN)
    table = str(RunHandlers(workbench, EN).show("?run=1"))
    for status in ("abstained", "off_menu", "refused", "failed"):
        word, sign = EN.t(f"status.{status}"), EN.t(f"status_short.{status}")
        chip = re.compile(rf'<span class="chip \w+" title="[^"]*{word}">\s*{sign}\s*</span>')
        assert len(chip.findall(queue)) == len(chip.findall(table))
    assert EN.t("status.abstained") in queue


def test_next_never_gives_two_people_one_row_and_begins_anew_at_the_end(workbench: ReviewedFake) -> None:
    handlers, taken = page(workbench), set()
    for who in (LIN, WU) * 4:
        found = handlers.next("run=1", who, 0, ())
        taken.add(found.item)
        assert f'data-for="{found.item}"' in found.form
        handlers.label(f"run=1&item={found.item}", who, found.item, 1, "", (), blind=False, adjudicate=False)
    assert len(taken) == 8
    order = [row.item_id for row in workbench.review.queue(1, QueueQuery(), "林").rows]
    assert handlers.next("run=1", LIN, order[0], ()).item == order[1]
    assert handlers.next("run=1", LIN, order[-1], ()).item == order[0]
    assert handlers.next("run=1", LIN, order[0], order).item == 0


def test_what_was_corrected_can_be_trained_on_from_here(workbench: ReviewedFake) -> None:
    handlers, link = page(workbench), 'href="/en/training?from=corrections"'
    assert link not in handlers.show("run=1", LIN)
    saved = handlers.label("run=1", LIN, first(workbench), 2, "", (), blind=False, adjudicate=False)
    assert link in saved.pulse.progress
    assert "Train on corrections (1)" in handlers.show("run=1", LIN)
    assert link not in handlers.undo("run=1", LIN).pulse.progress


def test_a_saved_row_is_let_go_of(workbench: ReviewedFake) -> None:
    item = first(workbench)
    page(workbench).panes(f"run=1&item={item}", LIN)
    assert workbench.review.lease(1, item, "吴").annotator == "林"
    saved = page(workbench, ZH).label(f"run=1&item={item}", LIN, item, 1, "", (), blind=False, adjudicate=False)
    assert workbench.review.lease(1, item, "吴").held
    assert "已保存" in saved.told
    assert "data-done>1<" in saved.pulse.progress.replace(" ", "")


def test_labels_that_differ_are_settled_and_everything_stays_in_the_history(workbench: ReviewedFake) -> None:
    item, handlers = first(workbench), page(workbench)
    for who, label in ((LIN, 1), (WU, 2)):
        handlers.label(f"run=1&item={item}", who, item, label, "", (), blind=False, adjudicate=False)
    assert EN.t("review.go_settle") in handlers.panes(f"run=1&item={item}", WU).form
    form = handlers.panes(f"run=1&item={item}&view=adjudication", WU).form
    assert 'data-adjudicate="1"' in form
    handlers.label(f"run=1&item={item}&view=adjudication", WU, item, 2, "split the difference", (), blind=False, adjudicate=True)
    assert workbench.review.history(item).state.state is ReviewState.SETTLED
    handlers.undo("run=1", WU)
    row = RowHandlers(workbench, EN).show(f"item={item}")
    assert EN.t("review.act_settle", name="吴", label=2) in row
    assert EN.t("review.taken_back") in row
    assert workbench.review.history(item).state.state is ReviewState.CONFLICT


def test_empty_pages_say_what_to_do(workbench: ReviewedFake) -> None:
    assert EN.t("review.no_runs") in page(ReviewedFake()).show("", LIN)
    assert EN.t("review.choose") in page(workbench).show("", LIN)
    assert "adjudication" in page(workbench).show("run=1&view=adjudication", LIN)
    assert EN.t("review.empty_adjudication") in page(workbench).show("run=1&view=adjudication", LIN)
    assert EN.t("row.missing") in RowHandlers(workbench, EN).show("")


def test_the_interval_of_a_distribution_holds_its_share() -> None:
    assert central_interval({1: 0.02, 2: 0.5, 3: 0.46, 4: 0.02, 5: 0.0}) == (2, 3)
    assert central_interval({1: 0.2, 2: 0.2, 3: 0.2, 4: 0.2, 5: 0.2}) == (1, 5)
    assert central_interval({}) is None


def test_a_name_is_one_printable_line_and_a_login_wins() -> None:
    assert identify({"pingpan_annotator": quote(" 林\n\x00 小姐 ")}).annotator == "林 小姐"
    assert len(identify({"pingpan_annotator": "a" * 500}).annotator) == LONGEST_NAME
    assert identify({"pingpan_annotator": "a", "pingpan_blind": "1"}, "login") == Identity("login", blind=True, login=True)


@pytest.fixture
def client(workbench: ReviewedFake, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(home=tmp_path, _env_file=None)  # type: ignore[call-arg]
    with TestClient(build_app(workbench, settings)) as client:
        yield client


def test_an_act_that_is_sent_twice_is_done_once(client: TestClient, workbench: ReviewedFake) -> None:
    item = first(workbench)
    client.cookies.set("pingpan_annotator", quote("林"))
    act = {"language": "en", "query": "?run=1", "item": item, "label": 1, "key": "k1"}
    answers = [client.post("/review/label", json=act).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(workbench.review.history(item).events) == 1


def test_an_act_that_is_sent_again_while_it_is_being_done_is_done_once() -> None:
    done, acts, go = Done(), [], threading.Event()

    def act() -> str:
        acts.append(1)
        go.wait(10)
        return "saved"

    with ThreadPoolExecutor(2) as threads:
        sent = [threads.submit(done.once, "林", "k", act) for _ in range(2)]
        time.sleep(0.2)
        go.set()
        assert [one.result(10) for one in sent] == ["saved", "saved"]
    assert len(acts) == 1


def test_an_act_that_failed_may_be_tried_again() -> None:
    done = Done()
    with pytest.raises(ZeroDivisionError):
        done.once("林", "k", lambda: 1 // 0)
    assert done.once("林", "k", lambda: "saved") == "saved"


def test_refusals_say_why_and_nameless_labels_are_refused(client: TestClient, workbench: ReviewedFake) -> None:
    act = {"language": "zh", "query": "?run=1", "item": first(workbench), "label": 1}
    nameless = client.post("/review/label", json=act)
    assert (nameless.status_code, "姓名" in nameless.json()["message"]) == (422, True)
    client.cookies.set("pingpan_annotator", "Lin")
    assert client.post("/review/label", json=act | {"label": 9}).status_code == 422
    assert client.post("/review/label", json=act | {"query": "?run=99"}).status_code == 404
    assert client.post("/review/label", content="{}", headers={"content-type": "text/plain"}).status_code == 422
    assert client.post("/review/undo", json={"language": "en", "query": "?run=1"}).json()["message"]
