"""The pages' own requests over a real store: who gets which row, what an act leaves behind, and how a refusal is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from core.review import QueueQuery, QueueScope
from core.settings import Settings
from core.types import Run
from tests.db.build import add_run
from tests.db.test_review import judged
from webapp.fault_routes import fault_routes
from webapp.review_routes import review_routes
from webapp.why_routes import why_routes
from webapp.workbench import Workbench

ROWS = 12
Say = Callable[..., Any]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    opened = Workbench.open(Settings(home=tmp_path_factory.mktemp("home"), _env_file=None))  # type: ignore[call-arg]
    yield opened
    opened.store.close()


@pytest.fixture(scope="module")
def client(bench: Workbench) -> Iterator[TestClient]:
    app = FastAPI()
    for routes in (review_routes(bench), fault_routes(bench), why_routes(bench)):
        app.router.routes.extend(routes.routes)
    with TestClient(app) as client:
        yield client


@pytest.fixture
def run(bench: Workbench) -> Run:
    """A judged run of its own, in which nobody has done anything yet."""
    made = judged(bench.store, add_run(bench.store, ROWS, aggregator="pooled-median"))
    bench.store.mark_families(made.id)
    return made


@pytest.fixture
def say(client: TestClient, run: Run) -> Say:
    """Post an act of somebody about the run; return the answer's JSON, checked for its status."""

    def post(what: str, who: str = "林", status: int = 200, query: str = "", language: str = "zh", **act: object) -> Any:
        cookie = f"pingpan_annotator={quote(who)}" if who else ""
        body = {"language": language, "query": f"?run={run.id}{query}", **act}
        answer = client.post(f"/review/{what}", json=body, headers={"cookie": cookie})
        assert answer.status_code == status, answer.text
        return answer.json()

    return post


@pytest.fixture
def look(client: TestClient, run: Run) -> Say:
    """Get a part of the review page as somebody sees it."""

    def get(what: str, who: str = "林", status: int = 200, query: str = "", language: str = "zh") -> Any:
        params = {"language": language, "query": f"?run={run.id}{query}"}
        answer = client.get(f"/review/{what}", params=params, headers={"cookie": f"pingpan_annotator={quote(who)}"})
        assert answer.status_code == status, answer.text
        return answer.json()

    return get


def items(bench: Workbench, run: Run, scope: QueueScope = QueueScope.OPEN, who: str = "林") -> list[int]:
    return [row.item_id for row in bench.review.queue(run.id, QueueQuery(scope=scope, page_size=200), who).rows]


# -- who gets which row


def test_one_person_walks_through_every_row_once_in_the_queues_order(bench: Workbench, run: Run, say: Say) -> None:
    wanted, seen = items(bench, run), list[int]()
    here = 0
    while (here := say("next", after=here, passed=seen)["item"]) and len(seen) < 2 * ROWS:
        seen.append(here)
    assert seen == wanted


def test_a_row_whose_saving_is_on_its_way_is_passed_over(bench: Workbench, run: Run, say: Say) -> None:
    first, second, third = items(bench, run)[:3]
    assert say("next", after=first, passed=[second])["item"] == third
    assert say("next", after=items(bench, run)[-1], passed=[first])["item"] == second  # at the end it begins anew


def test_people_who_ask_at_once_never_get_the_same_row(bench: Workbench, run: Run, say: Say) -> None:
    names = ("林", "王", "陈")

    def walk(name: str) -> list[int]:
        mine: list[int] = []
        for _ in range(3):
            mine.append(say("next", name, after=mine[-1] if mine else 0, passed=mine)["item"])
        return mine

    with ThreadPoolExecutor(len(names)) as pool:
        walks = list(pool.map(walk, names))
    given = [item for walked in walks for item in walked]
    assert len(set(given)) == len(given) == 9
    assert set(given) <= set(items(bench, run))


def test_what_is_given_back_is_free_for_others(bench: Workbench, run: Run, say: Say, look: Say) -> None:
    mine = [say("next")["item"]]
    mine.append(say("next", after=mine[0], passed=mine)["item"])
    assert look("pulse", "王")["leases"] == {str(item): "林" for item in mine}
    assert look("pulse")["leases"] == {}  # one's own are none of one's worries
    say("release", items=mine)
    assert look("pulse", "王")["leases"] == {}
    assert say("next", "王")["item"] == mine[0]
    say("release", items=[mine[0]])  # what somebody else has meanwhile is not given back
    assert look("pulse")["leases"] == {str(mine[0]): "王"}


def test_a_row_that_somebody_else_has_can_be_opened_and_says_so(bench: Workbench, run: Run, say: Say, look: Say) -> None:
    item = say("next", "王")["item"]
    panes = look("panes", query=f"&item={item}")
    assert panes["item"] == item
    assert "王" in panes["middle"] + panes["form"]
    assert look("pulse", query=f"&item={item}")["leases"] == {str(item): "王"}


def test_a_queue_whose_rows_are_all_with_others_has_none_for_one(bench: Workbench, run: Run, say: Say) -> None:
    for item in items(bench, run):
        bench.review.lease(run.id, item, "王")
    nothing = say("next")
    assert nothing["item"] == 0
    assert nothing["form"] == ""
    assert nothing["middle"]


# -- acts


def test_a_label_shows_in_the_progress_and_lets_go_of_its_row(bench: Workbench, run: Run, say: Say, look: Say) -> None:
    item = say("next")["item"]
    saved = say("label", item=item, label=1, note="两处语病", flags=["borderline"], key="k1")
    assert (saved["item"], saved["current"]) == (item, "1")
    event = bench.review.history(item).events[-1]
    assert (event.label, event.author, event.note, [flag.value for flag in event.flags]) == (1, "林", "两处语病", ["borderline"])
    assert look("pulse", "王")["leases"] == {}
    assert item not in items(bench, run)
    assert items(bench, run, QueueScope.DONE) == [item]


def test_acts_are_taken_back_one_by_one_and_then_there_is_nothing_left(bench: Workbench, run: Run, say: Say) -> None:
    first, second = items(bench, run)[:2]
    say("label", item=first, label=1)
    say("skip", item=second, note="看不懂", key="")
    say("label", item=first, label=0 if bench.row(run.id, first).item.dimension_id == "choice" else 2)
    undone = [say("undo")["item"] for _ in range(3)]
    assert undone == [first, second, first]
    assert "没有可撤销" in say("undo", status=422)["message"]
    assert set(items(bench, run)) >= {first, second}
    assert len(bench.store.events(first)) == 4  # nothing is forgotten: two labels and two undos


def test_only_the_one_who_acts_takes_their_acts_back(bench: Workbench, run: Run, say: Say) -> None:
    item = items(bench, run)[0]
    say("label", item=item, label=1)
    assert say("undo", "王", status=422, language="en")["message"].startswith("王 has nothing left to undo")
    assert [event.kind for event in bench.store.events(item)] == ["label"]


def test_people_who_differ_are_settled_by_a_third(bench: Workbench, run: Run, say: Say) -> None:
    item = next(item for item in items(bench, run) if bench.row(run.id, item).item.dimension_id == "fluency")
    say("label", "林", item=item, label=1, query="&people=2")
    say("label", "王", item=item, label=4, query="&people=2")
    assert bench.store.item_state(item).state == "conflict"
    saved = say("label", "陈", item=item, label=3, adjudicate=True, query="&view=adjudication")
    assert saved["current"] == "3"
    assert bench.store.item_state(item).label == 3
    say("undo", "陈")
    assert bench.store.item_state(item).state == "conflict"


# -- refusals


@pytest.mark.parametrize(
    ("what", "act", "status", "zh", "en"),
    [
        ("label", {"item": 10**8, "label": 1}, 404, "没有", "no item"),
        ("skip", {"item": 10**8}, 404, "没有", "no item"),
        ("undo", {}, 422, "没有可撤销", "nothing left to undo"),
    ],
)
def test_a_refusal_is_told_in_the_pages_language(say: Say, what: str, act: dict[str, Any], status: int, zh: str, en: str) -> None:
    assert zh in say(what, status=status, language="zh", **act)["message"]
    assert en in say(what, status=status, language="en", **act)["message"]


def test_a_label_off_the_scale_or_without_a_name_leaves_nothing(bench: Workbench, run: Run, say: Say) -> None:
    item = items(bench, run)[0]
    assert "scale" in say("label", item=item, label=9, status=422, language="en")["message"]
    for what, act in (("label", {"label": 1}), ("skip", {}), ("label", {"label": 1, "adjudicate": True})):
        assert "Say who you are" in say(what, "", item=item, status=422, language="en", **act)["message"]
    assert "Say who you are" in say("undo", "", status=422, language="en")["message"]
    assert list(bench.store.events(item)) == []


@pytest.mark.parametrize("part", ["queue", "pulse", "panes"])
def test_a_run_that_is_not_there_is_404_for_its_parts(client: TestClient, part: str) -> None:
    params = {"language": "en", "query": "?run=4711&item=1"}
    answer = client.get(f"/review/{part}", params=params, headers={"cookie": "pingpan_annotator=Lin"})
    assert (answer.status_code, "4711" in answer.json()["message"]) == (404, True)


def test_the_whole_page_of_a_run_that_is_not_there_says_so_itself(client: TestClient) -> None:
    page = client.get("/review/page", params={"language": "en", "query": "?run=4711"})
    assert (page.status_code, "There is no run 4711" in page.json()["page"]) == (200, True)


@pytest.mark.parametrize(
    ("what", "act"),
    [
        ("label", {"item": 1, "label": 1, "lable": 2}), ("label", {"item": 1}), ("label", {"item": 1, "label": 1, "flags": ["odd"]}),
        ("label", {"item": 1, "label": 1, "note": "x" * 4_001}), ("skip", {"item": 1, "key": "k" * 101}), ("next", {"passed": [1] * 201}),
        ("release", {"items": [1] * 201}), ("release", {}), ("undo", {"language": "fr"}),
    ],
    ids=str,
)  # fmt: skip
def test_what_no_page_sends_is_refused(client: TestClient, what: str, act: dict[str, Any]) -> None:
    assert client.post(f"/review/{what}", json={"language": "zh", "query": "?run=1"} | act).status_code == 422


# -- suspected faults, and why


def test_requests_about_faults_tell_whats_wrong_in_the_pages_language(client: TestClient, bench: Workbench, run: Run) -> None:
    item = next(item for item in items(bench, run) if bench.row(run.id, item).item.dimension_id == "fluency")
    lin = {"cookie": "pingpan_annotator=Lin"}
    act = {"language": "en", "run": run.id, "item": item, "start": 0, "end": 2}
    for body, headers, status, words in (
        (act, {}, 422, "an answer needs a name"),
        (act | {"item": 10**8}, lin, 404, "no item"),
        (act | {"end": 10**6}, lin, 422, "no place of the text"),
        (act | {"start": 2}, lin, 422, "no place of the text"),
    ):
        answer = client.post("/faults/missed", json=body, headers=headers)
        assert (answer.status_code, words in answer.json()["message"]) == (status, True), answer.text
    answer = client.post("/faults/answer", json=act | {"answer": "confirm", "language": "zh"}, headers=lin)
    assert (answer.status_code, "已没有疑似错误" in answer.json()["message"]) == (422, True)
    assert client.post("/faults/answer", json=act | {"answer": "missed"}, headers=lin).status_code == 422
    assert client.get("/faults/row", params={"language": "en", "run": run.id, "item": 10**8}).status_code == 404


def test_a_fault_that_was_marked_is_taken_back_by_its_own_author(client: TestClient, bench: Workbench, run: Run) -> None:
    item = next(item for item in items(bench, run) if bench.row(run.id, item).item.dimension_id == "fluency")
    act = {"language": "en", "run": run.id, "item": item}
    client.post("/faults/missed", json=act | {"start": 0, "end": 2}, headers={"cookie": "pingpan_annotator=Lin"})
    (answer,) = bench.store.fault_answers(item)
    for name, status in (("Wang", 422), ("Lin", 200), ("Lin", 422)):
        told = client.post("/faults/undo", json=act | {"answer": answer.id}, headers={"cookie": f"pingpan_annotator={name}"})
        assert told.status_code == status, (name, told.text)
    assert list(bench.fault_answers.lines()) == []


@pytest.mark.parametrize(("language", "words"), [("en", "has no judge «nobody»"), ("zh", "没有评委「nobody」")])
def test_why_is_answered_in_a_line_of_the_pages_language(client: TestClient, bench: Workbench, run: Run, language: str, words: str) -> None:
    item = items(bench, run)[0]
    answer = client.post("/why", json={"language": language, "run": run.id, "item": item, "judge": "nobody"})
    (line,) = [json.loads(line) for line in answer.text.splitlines()]
    assert (answer.headers["content-type"], words in line["error"]) == ("application/x-ndjson", True)
    assert client.post("/why", json={"language": language, "run": run.id, "item": item}).status_code == 422
