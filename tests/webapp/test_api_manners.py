"""What docs/API.md promises of every route, tried on every route; and what a program gets at the edges of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from core.queries import RowQuery, RowSort
from tests.webapp.judged import judged_workbench
from webapp.api import add_api_docs, api_routes
from webapp.files import EXPORTS, file_routes
from webapp.workbench import Workbench

BYTES = {"content-type": "application/octet-stream"}
TOO_LARGE = 2**63  # one more than a database's whole numbers
LIN = {"author": "林"}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workbench, TestClient]]:
    """The API alone, without pages, over two runs of the sample sheet."""
    workbench, settings, _, _ = judged_workbench(tmp_path_factory.mktemp("home"), 2)
    app, routes = FastAPI(), api_routes(workbench, settings)
    add_api_docs(app, routes)
    app.router.routes.extend([*routes.routes, *file_routes(workbench, settings).routes])
    with TestClient(app, headers={"accept-language": "en"}, raise_server_exceptions=False) as client:
        yield workbench, client
    workbench.store.close()


@pytest.fixture
def client(judged: tuple[Workbench, TestClient]) -> TestClient:
    return judged[1]


@pytest.fixture
def workbench(judged: tuple[Workbench, TestClient]) -> Workbench:
    return judged[0]


@pytest.fixture(scope="module")
def described(judged: tuple[Workbench, TestClient]) -> dict[str, Any]:
    found: dict[str, Any] = judged[1].get("/api/openapi.json").json()
    return found


def routes_of(described: dict[str, Any], method: str) -> list[tuple[str, dict[str, Any]]]:
    """Every route of a method with its description; its path has 1 for each id."""
    routes = [(path, methods[method]) for path, methods in described["paths"].items() if method in methods]
    assert len(routes) > 10
    return [(filled(path, "1"), route) for path, route in routes]


def filled(path: str, value: str) -> str:
    return "".join(value if place % 2 else part for place, part in enumerate(path.replace("}", "{").split("{")))


def body_of(described: dict[str, Any], route: dict[str, Any]) -> dict[str, Any]:
    """The schema of a JSON body, {} where the route takes none."""
    schema = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return resolved(described, schema)


def resolved(described: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return described["components"]["schemas"][name] if name else schema


def least(described: dict[str, Any], schema: dict[str, Any], number: int = 1) -> Any:
    """The smallest value of a schema."""
    schema = resolved(described, schema)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: least(described, schema["properties"][name], number) for name in schema.get("required", ())}
    return {"integer": number, "array": [], "string": "x", "boolean": False}[schema["type"]]


# -- manners


def test_every_change_must_be_declared_as_json_or_bytes(client: TestClient, described: dict[str, Any], workbench: Workbench) -> None:
    before = [run.id for run in workbench.runs()], [one.version for one in workbench.libraries()]
    for path, _ in routes_of(described, "post"):
        answer = client.post(path, content=b"{}", headers={"content-type": "text/plain"})
        assert (answer.status_code, set(answer.json()["messages"])) == (415, {"en", "zh"}), path
    assert before == ([run.id for run in workbench.runs()], [one.version for one in workbench.libraries()])


def test_a_misspelt_field_is_refused_by_every_route_that_takes_some(client: TestClient, described: dict[str, Any]) -> None:
    tried = 0
    for path, route in routes_of(described, "post"):
        schema = body_of(described, route)
        if schema:
            tried += 1
            answer = client.post(path, json=least(described, schema) | {"auhtor": "x"})
            assert (answer.status_code, "auhtor" in answer.json()["message"]) == (422, True), path
    assert tried > 12


def test_every_signed_change_needs_a_name(client: TestClient, described: dict[str, Any]) -> None:
    unsigned = []
    for path, route in routes_of(described, "post"):
        schema = body_of(described, route)
        if "author" in schema.get("properties", {}):
            answer = client.post(path, json=least(described, schema) | {"author": " \t "})
            if answer.status_code != 422 or "Say who you are" not in answer.json()["message"]:
                unsigned.append(path)
    assert unsigned == ["/api/runs/1/ask-again"]  # answers that are no votes may be had again by anybody


def test_a_number_that_no_database_holds_is_no_fault_of_the_server(client: TestClient, described: dict[str, Any]) -> None:
    for path, route in routes_of(described, "get"):
        for name in [one["name"] for one in route.get("parameters", ()) if one["in"] == "query"]:
            needed = {"rows": 1, "panel": "cpu"} if path.endswith("/estimate") else {}
            assert client.get(path, params=needed | {name: TOO_LARGE}, follow_redirects=False).status_code < 500, (path, name)
    for path in described["paths"]:
        for method in described["paths"][path]:
            body = least(described, body_of(described, described["paths"][path][method]) or {"type": "object"}, TOO_LARGE)
            told = client.request(method, filled(path, str(TOO_LARGE)), json=body, params={"rows": 1, "panel": "cpu", "name": "a.csv"})
            assert told.status_code < 500, (path, told.text)


def test_what_is_not_there_is_404_in_the_callers_language(client: TestClient, described: dict[str, Any]) -> None:
    for path in [path for path, route in described["paths"].items() if "{" in path and "get" in route]:
        answer = client.get(filled(path, "4711"), headers={"accept-language": "zh-CN,zh"}, params={"encoding": "utf-8-sig"})
        assert (answer.status_code, answer.json().get("message")) == (404, answer.json()["messages"]["zh"]), path


def test_the_description_is_whole(described: dict[str, Any]) -> None:
    names = {part.rpartition("/")[2] for part in json.dumps(described).split('"') if part.startswith("#/components/schemas/")}
    assert names
    assert names <= set(described["components"]["schemas"])


# -- uploads and downloads


@pytest.mark.parametrize("name", ["a.xl\x00sx", "a." + "字" * 190, "表\n一.csv", "..", "/", "a.csv/", "C:\\x\\.csv", "x" * 5_000])
def test_no_name_of_a_file_breaks_an_upload(client: TestClient, name: str) -> None:
    content = "数据编号,评判维度,待评判内容\nA1,流畅性,清晨的码头起了薄雾。\n".encode()
    answer = client.post("/api/sheets", params={"name": name}, headers=BYTES, content=content)
    assert (answer.status_code, answer.json()["judgeable_rows"]) == (200, 1)
    assert answer.json()["name"].isprintable()
    assert client.post("/api/libraries", params={"name": name}, headers=BYTES, content=content).status_code == 422  # it has no labels


def test_a_download_that_cannot_be_had_is_told_as_json(client: TestClient) -> None:
    for url, status, words in (
        ("/api/runs/1/export/passwords.txt", 404, "full.xlsx"),
        ("/api/runs/1/export/result.csv?encoding=latin-1", 422, "gb18030"),
        ("/api/runs/4711/export/result.csv", 404, "There is no run 4711"),
    ):
        answer = client.get(url)
        assert (answer.status_code, words in answer.json()["message"]) == (status, True)


@pytest.mark.parametrize("kind", EXPORTS)
def test_every_result_is_downloaded_under_the_sheets_name(client: TestClient, kind: str) -> None:
    answer = client.get(f"/api/runs/1/export/{kind}")
    assert answer.status_code == 200
    assert f'filename="sheet-run1-{kind}"' in answer.headers["content-disposition"]
    assert answer.headers["content-type"].startswith(EXPORTS[kind][1])
    assert answer.content


def test_a_kept_sheet_is_read_anew_with_another_mapping(client: TestClient) -> None:
    content = "nr,kind,what\nA1,流畅性,清晨的码头起了薄雾。\n".encode()
    sheet = client.post("/api/sheets", params={"name": "odd.csv"}, headers=BYTES, content=content).json()
    assert sheet["fatal"]
    mapped = client.post(
        f"/api/sheets/{sheet['sheet']}/preview", json={"mapping": {"id": "nr", "dimension": "kind", "text": "what"}}
    ).json()
    assert (mapped["fatal"], mapped["by_dimension"]) == (False, {"fluency": 1})
    started = client.post("/api/runs", json={"sheet": sheet["sheet"], "library": 1})
    assert (started.status_code, "No row of odd.csv" in started.json()["message"]) == (422, True)


def test_text_that_is_no_text_is_refused(client: TestClient) -> None:
    body = b'{"dimension": "fluency", "library": 1, "text": "\\ud800"}'
    answer = client.post("/api/questions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert client.post("/api/questions", content=b"{", headers={"content-type": "application/json"}).status_code == 422


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"dimension": "nix"}, 422, "There is no dimension «nix»"),
        ({"text": " \n"}, 422, "The text to judge is empty"),
        ({"dimension": "normativity"}, 422, "Normativity needs the prompt too"),
        ({"library": 99}, 404, "no library 99"),
        ({"panel": "nix"}, 422, "choose one of: cpu"),
        ({"aggregator": "mean"}, 422, "pooled-median, reference-vote"),
    ],
)
def test_a_question_that_cannot_be_judged_is_told(client: TestClient, asked: dict[str, Any], status: int, words: str) -> None:
    answer = client.post("/api/questions", json={"dimension": "fluency", "text": "清晨。", "library": 1} | asked)
    assert (answer.status_code, words in answer.json()["message"]) == (status, True)


# -- rows


@pytest.mark.parametrize("sort", RowSort)
def test_the_pages_of_a_list_hold_every_row_once(client: TestClient, workbench: Workbench, sort: RowSort) -> None:
    found = [row["item"]["id"] for page in range(1, 5) for row in rows(client, sort=sort, page=page, page_size=23)["rows"]]
    everything = [row["item"]["id"] for row in rows(client, sort=sort, page_size=500)["rows"]]
    assert found == everything
    assert len(set(everything)) == len(everything) == workbench.run(1).items


def rows(client: TestClient, **params: object) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/runs/1/rows", params=params).json()  # type: ignore[arg-type]
    return found


def test_a_page_beyond_the_last_is_empty_and_knows_the_total(client: TestClient, workbench: Workbench) -> None:
    beyond = rows(client, page=99)
    assert (beyond["rows"], beyond["total"]) == ([], workbench.run(1).items)
    for wrong in ({"page": 0}, {"page_size": 0}, {"page_size": 501}, {"sort": "best"}, {"outcome": "good"}, {"label": "x"}):
        assert client.get("/api/runs/1/rows", params=wrong).status_code == 422, wrong


def test_filters_divide_the_rows(client: TestClient, workbench: Workbench) -> None:
    progress = client.get("/api/runs/1").json()
    for outcome, expected in progress["by_outcome"].items():
        assert rows(client, outcome=outcome)["total"] == expected
    for dimension, expected in progress["by_dimension"].items():
        assert rows(client, dimension=dimension)["total"] == expected
        labels = progress["label_counts"][dimension]
        assert {label: rows(client, dimension=dimension, label=label)["total"] for label in labels} == labels
    assert rows(client, dimension="nix")["total"] == 0
    row = workbench.rows(1, RowQuery()).rows[3].item
    assert row.id in [one["item"]["id"] for one in rows(client, search=row.external_id)["rows"]]
    assert rows(client, search=row.text[5:25])["total"] >= 1
    assert rows(client, search="%")["total"] == rows(client, search="_")["total"] == 0  # no wildcards


# -- runs


def test_a_run_against_itself_differs_nowhere_and_the_other_way_round_is_the_mirror(client: TestClient) -> None:
    same = client.get("/api/runs/1/compare/1").json()
    assert (same["total"], same["changed"], same["only_first"], same["only_second"]) == (0, 0, 0, 0)
    assert client.get("/api/runs/1/compare/1", params={"everything": True}).json()["total"] == same["matched"]
    there, back = (client.get(f"/api/runs/{pair}").json() for pair in ("1/compare/2", "2/compare/1"))
    for one, other in zip(there["dimensions"], back["dimensions"], strict=True):
        assert one["matrix"] == [list(column) for column in zip(*other["matrix"], strict=True)]
        assert (one["first_quality"], one["second_quality"]) == (other["second_quality"], other["first_quality"])
    assert there["total"] == back["total"] == sum(one["n"] - one["equal"] for one in there["dimensions"])


def test_some_rows_are_judged_again_as_a_run_of_their_own_and_one_sheet(client: TestClient, workbench: Workbench) -> None:
    chosen = [row.item for row in workbench.rows(1, RowQuery("fluency")).rows[:3]]
    told = client.post("/api/runs/1/judge-again", json={"items": [item.id for item in chosen]}).json()
    run = workbench.runs()[0]
    assert (told["url"], run.items, run.panel.id) == (f"/en/run?run={run.id}", 3, "cpu")
    texts = [row["item"]["text"] for row in client.get(f"/api/runs/{run.id}/rows").json()["rows"]]
    assert sorted(texts) == sorted(item.text for item in chosen)
    client.post("/api/runs/1/judge-again", json={"items": [item.id for item in reversed(chosen)]})
    assert workbench.runs()[0].sheet_id == run.sheet_id
    for nothing in ({}, {"items": []}, {"items": [10**9]}, {"example": 10**9}):
        assert client.post("/api/runs/1/judge-again", json=nothing).status_code == 404


def test_a_run_that_is_over_is_neither_stopped_nor_resumed_and_a_waiting_one_is(client: TestClient, workbench: Workbench) -> None:
    for act in ("stop", "resume"):
        told = client.post(f"/api/runs/1/{act}", json={}).json()
        assert (told["ok"], "over already" in told["notice"], workbench.run(1).state) == (False, True, "done")
    run = workbench.start_run(workbench.run(1).sheet_id, 1, "cpu", "pooled-median").id
    for act, ok, state in (("stop", True, "stopped"), ("stop", False, "stopped"), ("resume", True, "queued"), ("resume", True, "queued")):
        told = client.post(f"/api/runs/{run}/{act}", json={}).json()
        assert (told["ok"], workbench.run(run).state) == (ok, state)
    workbench.run_desk.delete(run)


def test_only_what_is_there_can_be_asked_again(client: TestClient) -> None:
    assert client.post("/api/runs/1/ask-again", json={"judge": "nobody"}).status_code == 404
    assert client.post("/api/runs/1/ask-again", json={"item": 10**9}).status_code == 404
    assert "nothing to ask again" in client.post("/api/runs/1/ask-again", json={"judge": "rules"}).json()["notice"]


def test_an_estimate_grows_with_the_rows_and_is_never_negative(client: TestClient) -> None:
    told = [client.get("/api/estimate", params={"rows": number, "panel": "cpu"}).json() for number in (0, 10, 20)]
    assert [one["judge_calls"] for one in told] == [0, 40, 80]
    assert told[2]["seconds"] == pytest.approx(2 * told[1]["seconds"])
    assert client.get("/api/estimate", params={"rows": -1, "panel": "cpu"}).status_code == 422


def test_the_votes_are_counted_anew_by_another_rule(client: TestClient, workbench: Workbench) -> None:
    before = [row["verdict"]["decision"]["label"] for row in rows(client, page_size=500)["rows"]]
    told = client.post("/api/runs/1/aggregate", json={"aggregator": "reference-vote"}, headers={"accept-language": "zh"})
    assert (told.status_code, workbench.run(1).aggregator, workbench.run(1).state) == (200, "reference-vote", "done")
    second = client.get("/api/runs/2/rows", params={"page_size": 500}).json()["rows"]  # judged by that rule from the beginning
    after = [row["verdict"]["decision"]["label"] for row in rows(client, page_size=500)["rows"]]
    assert after == [row["verdict"]["decision"]["label"] for row in second]
    client.post("/api/runs/1/aggregate", json={"aggregator": "pooled-median"})
    assert [row["verdict"]["decision"]["label"] for row in rows(client, page_size=500)["rows"]] == before


# -- labels and libraries


def test_labels_become_examples_and_both_are_taken_back(client: TestClient, workbench: Workbench) -> None:
    item = workbench.rows(1, RowQuery("fluency")).rows[5].item
    client.post(f"/api/runs/1/rows/{item.id}/label", json={"label": 2, "flags": ["borderline"]} | LIN)
    library = workbench.library_named("sample")
    told = client.post(f"/api/libraries/{library.id}/promote", json={"run": 1} | LIN).json()
    added = client.get(f"/api/libraries/{library.id}/examples", params={"q": item.text[:20]}).json()["rows"]
    assert [(row["item"]["label"], row["item"]["origin"], row["item"]["author"]) for row in added] == [(2, "correction", "林")]
    again = client.post(f"/api/libraries/{library.id}/promote", json={"run": 1} | LIN).json()
    assert again["undo"] is None  # there already
    assert client.post(told["undo"]["url"], json=told["undo"]["body"] | LIN).status_code == 200
    assert workbench.library_named("sample").size == library.size
    assert client.post(f"/api/runs/1/rows/{item.id}/undo", json=LIN).json()["current"] is not None
    refused = client.post(f"/api/runs/1/rows/{item.id}/undo", json=LIN)
    assert (refused.status_code, "nothing left to undo" in refused.json()["message"]) == (422, True)


def test_facets_count_what_the_list_lists(client: TestClient, workbench: Workbench) -> None:
    library = workbench.library_named("sample")
    url = f"/api/libraries/{library.id}"
    counts = client.get(f"{url}/facets").json()["labels"]
    for dimension, labels in counts.items():
        for label, expected in labels.items():
            page = client.get(f"{url}/examples", params={"dimension": dimension, "label": label, "page_size": 1}).json()
            assert (page["total"], len(page["rows"])) == (expected, min(1, expected))
    assert sum(number for labels in counts.values() for number in labels.values()) == library.size


def test_the_most_similar_example_comes_first_and_filters_hold(client: TestClient, workbench: Workbench) -> None:
    library = workbench.library_named("sample")
    item = next(one for one in workbench.store.library_items(library.id) if one.dimension_id == "fluency")
    found = client.get(f"/api/libraries/{library.id}/examples", params={"like": item.text, "dimension": "fluency"}).json()
    assert found["rows"][0]["item"]["id"] == item.id
    near = [row["similarity"] for row in found["rows"]]
    assert near == sorted(near, reverse=True)
    assert {row["item"]["dimension_id"] for row in found["rows"]} == {"fluency"}
    assert client.get(f"/api/libraries/{library.id}/examples", params={"like": item.text, "standing": "retired"}).json()["total"] == 0


def test_the_queue_is_paged_and_shrinks_with_each_label(client: TestClient) -> None:
    url = "/api/runs/2/queue"
    total = client.get(url).json()["total"]
    seen: list[int] = []
    for page in count(1):
        found = client.get(url, params={"page": page, "page_size": 30}).json()["rows"]
        if not found:
            break
        seen.extend(row["item_id"] for row in found)
    assert len(seen) == len(set(seen)) == total
    client.post(f"/api/runs/2/rows/{seen[0]}/label", json={"label": 1} | LIN)
    assert client.get(url, params={"annotator": "林"}).json()["total"] == total - 1
    assert client.get(url, params={"scope": "done", "annotator": "林"}).json()["rows"][0]["item_id"] == seen[0]
    client.post(f"/api/runs/2/rows/{seen[0]}/undo", json=LIN)
    assert client.get(url, params={"view": "everything"}).status_code == 422
