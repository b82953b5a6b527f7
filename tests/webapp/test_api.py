"""The API: the pages' acts for programs, with the same checks; errors are words in the caller's language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from core.queries import RowQuery
from core.settings import ASSETS, PROJECT_ROOT
from tests.webapp.judged import judged_workbench
from tests.webapp.serving import build_app, served
from webapp.pages.render import load_renderer
from webapp.pages.row import RowHandlers
from webapp.pages.run import RunHandlers
from webapp.pages.translate import Language
from webapp.workbench import Workbench

SAMPLES = ASSETS / "samples"
BYTES = {"content-type": "application/octet-stream"}
EN = {"accept-language": "en"}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workbench, TestClient]]:
    workbench, settings, _, _ = judged_workbench(tmp_path_factory.mktemp("home"), 2)
    with TestClient(build_app(workbench, settings), headers=EN) as client:
        yield workbench, client
    workbench.store.close()


@pytest.fixture
def client(judged: tuple[Workbench, TestClient]) -> TestClient:
    return judged[1]


@pytest.fixture
def workbench(judged: tuple[Workbench, TestClient]) -> Workbench:
    return judged[0]


def test_a_sheet_is_uploaded_previewed_and_started(client: TestClient, workbench: Workbench) -> None:
    answer = client.post("/api/sheets", params={"name": "mine.xlsx"}, headers=BYTES, content=(SAMPLES / "sheet.xlsx").read_bytes())
    sheet = answer.json()
    assert (answer.status_code, sheet["name"], sheet["fatal"]) == (200, "mine.xlsx", False)
    again = client.post(f"/api/sheets/{sheet['sheet']}/preview", json={"mapping": sheet["mapping"]})
    assert again.json()["judgeable_rows"] == sheet["judgeable_rows"]
    library = client.get("/api/libraries").json()[0]["id"]
    started = client.post("/api/runs", json={"sheet": sheet["sheet"], "library": library, "skip_bad_rows": True}).json()
    assert started["url"] == f"/en/run?run={started['run']}"
    assert client.get(f"/api/runs/{started['run']}").json()["state"] == "queued"
    assert "Asked to stop" in client.post(f"/api/runs/{started['run']}/stop", json={}).json()["notice"]
    assert workbench.run(started["run"]).state == "stopped"


def test_a_sheet_with_bad_rows_tells_them_by_code_and_needs_consent(client: TestClient) -> None:
    content = (SAMPLES / "sheet-problems.xlsx").read_bytes()
    sheet = client.post("/api/sheets", params={"name": "bad.xlsx"}, headers=BYTES, content=content).json()
    assert sum(sheet["problem_counts"].values()) >= len(sheet["problem_counts"]) > 1
    assert len(sheet["problems"]) <= 200
    if sheet["error_rows"] and not sheet["fatal"]:
        library = client.get("/api/libraries").json()[0]["id"]
        refused = client.post("/api/runs", json={"sheet": sheet["sheet"], "library": library})
        assert (refused.status_code, "rows have errors" in refused.json()["message"]) == (422, True)


def test_rows_are_paged_filtered_and_labelled(client: TestClient, workbench: Workbench) -> None:
    run = workbench.runs()[-1]
    page = client.get(f"/api/runs/{run.id}/rows", params={"dimension": "fluency", "sort": "disagreement", "page_size": 5}).json()
    assert len(page["rows"]) == 5
    item = page["rows"][0]["item"]["id"]
    labelled = client.post(f"/api/runs/{run.id}/rows/{item}/label", json={"label": 2, "author": "API 人", "note": "why"}).json()
    assert (labelled["current"], labelled["event"]["author"]) == (2, "API 人")
    assert client.get(f"/api/runs/{run.id}/rows/{item}").json()["corrections"][-1]["label"] == 2
    exported = client.get(f"/api/runs/{run.id}/export/result.csv")
    assert exported.content.startswith(b"\xef\xbb\xbf")
    undone = client.post(f"/api/runs/{run.id}/rows/{item}/undo", json={"author": "API 人"}).json()
    assert undone["state"]["state"] == "open"


def test_a_run_is_deleted_restored_and_compared(client: TestClient, workbench: Workbench) -> None:
    second, first = workbench.runs()[-2], workbench.runs()[-1]
    told = client.post(f"/api/runs/{second.id}/delete", json={}).json()
    assert second.id not in [line["run"]["id"] for line in client.get("/api/runs").json()]
    assert [line["run"]["id"] for line in client.get("/api/runs", params={"deleted": True}).json()] == [second.id]
    assert client.post(told["undo"]["url"], json=told["undo"]["body"]).status_code == 200
    found = client.get(f"/api/runs/{first.id}/compare/{second.id}").json()
    assert found["matched"] == first.items
    assert client.get(f"/api/runs/{first.id}/agreement").json()["pairs"]


def test_an_example_is_retired_relabelled_and_put_back(client: TestClient, workbench: Workbench) -> None:
    library = workbench.libraries()[0]
    item = next(one for one in workbench.store.library_items(library.id) if one.dimension_id == "fluency")
    url = f"/api/libraries/{library.id}"
    told = client.post(f"{url}/retire", json={"examples": [item.id], "author": "Lin"}).json()
    assert "Examples retired: 1" in told["notice"]
    assert client.get(f"{url}/examples", params={"standing": "retired"}).json()["rows"][0]["item"]["id"] == item.id
    assert client.post(told["undo"]["url"], json=told["undo"]["body"] | {"author": "Lin"}).status_code == 200
    (back,) = (one for one in workbench.store.library_items(library.id) if one.external_id == item.external_id)
    other = 1 if item.label != 1 else 2
    moved = client.post(f"{url}/examples/{back.id}/label", json={"label": other, "reason": "two slips", "author": "Lin"}).json()
    example = int(moved["undo"]["body"]["added"][0])
    assert moved["url"].endswith(f"item={example}")
    detail = workbench.library_desk.example(library.id, example)
    assert (detail.row.item.label, detail.reasons[example]) == (other, "two slips")
    refused = client.post(f"{url}/examples/{example}/label", json={"label": 9, "author": "Lin"})
    assert (refused.status_code, "9 is not on the scale" in refused.json()["message"]) == (422, True)


def test_a_change_needs_a_name_of_the_body_or_of_the_cookie(client: TestClient, workbench: Workbench) -> None:
    library = workbench.libraries()[0]
    item = workbench.store.library_items(library.id)[0]
    refused = client.post(f"/api/libraries/{library.id}/retire", json={"examples": [item.id]})
    assert (refused.status_code, "Say who you are" in refused.json()["message"]) == (422, True)
    cookie = {"cookie": "pingpan_annotator=%E6%9E%97"}
    told = client.post(f"/api/libraries/{library.id}/retire", json={"examples": [item.id]}, headers=cookie).json()
    client.post(told["undo"]["url"], json=told["undo"]["body"] | {"author": "林"})


def test_panels_are_checked_saved_and_removed(client: TestClient, workbench: Workbench) -> None:
    text = workbench.panel_desk.text("cpu")
    bad = client.post("/api/panels/check", json={"id": "mine", "text": text.replace("lead: rules", "lead: nobody")}).json()
    assert (bad["ok"], "nobody" in bad["notice"]) == (False, True)
    assert client.post("/api/panels", json={"id": "mine", "text": text}).json()["url"] == "/en/models?panel=mine"
    assert "mine" in [panel["id"] for panel in client.get("/api/choices").json()["panels"]]
    told = client.post("/api/panels/mine/remove", json={}).json()
    assert client.post(told["undo"]["url"], json=told["undo"]["body"]).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
def test_a_form_of_another_site_changes_nothing(client: TestClient, workbench: Workbench, kind: str) -> None:
    run = workbench.runs()[-1]
    answer = client.post(f"/api/runs/{run.id}/delete", content=b"{}", headers={"content-type": kind})
    assert answer.status_code == 415
    assert run.id in [one.id for one in workbench.runs()]


def test_errors_are_told_in_both_languages(client: TestClient) -> None:
    missing = client.get("/api/runs/4711", headers={"accept-language": "zh-CN"})
    assert missing.status_code == 404
    assert missing.json()["message"] == missing.json()["messages"]["zh"]
    wrong = client.post("/api/questions", json={"dimension": "fluency", "text": "x", "librari": 1})
    assert (wrong.status_code, "librari" in wrong.json()["message"]) == (422, True)
    assert client.get("/api/runs/1/rows", params={"page": 0}).status_code == 422


def test_the_documented_example_works_as_it_is_written(judged: tuple[Workbench, TestClient], capsys: pytest.CaptureFixture[str]) -> None:
    workbench = judged[0]
    document = (PROJECT_ROOT / "docs" / "API.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    with served(workbench, workbench.settings) as url:
        code = code.replace("http://127.0.0.1:7860", url).replace("mine.xlsx", str(SAMPLES / "sheet.xlsx"))
        code = code.replace("time.sleep(1)", "EXECUTE(run)")
        exec(compile(code, "docs/API.md", "exec"), {"EXECUTE": workbench.execute})  # the document's own words
    assert "done" in capsys.readouterr().out
    Path("result.csv").unlink(missing_ok=True)


def test_the_example_with_gradio_client_works_as_it_is_written(
    judged: tuple[Workbench, TestClient], capsys: pytest.CaptureFixture[str]
) -> None:
    workbench = judged[0]
    document = (PROJECT_ROOT / "docs" / "API.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```py\n(.*?)```", document, re.DOTALL)
    code = code.replace("time.sleep(1)", "EXECUTE(run)")
    with served(workbench, workbench.settings) as url:
        exec(compile(code.replace("http://127.0.0.1:7860", url), "docs/API.md", "exec"), {"EXECUTE": workbench.execute})
    said = capsys.readouterr().out
    assert "done" in said
    assert "result.csv?encoding=gb18030" in said


def test_a_client_is_told_what_it_can_mend(judged: tuple[Workbench, TestClient]) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    with served(judged[0], judged[0].settings) as url:
        client = Client(f"{url}/zh", verbose=False)
        with pytest.raises(AppError, match="4711"):
            client.predict(4711, api_name="/progress")
        with pytest.raises(AppError, match="姓名"):
            client.predict(1, 1, 3, " ", "", api_name="/label")


def test_a_label_is_blind_only_where_its_author_was_shown_no_votes(client: TestClient, workbench: Workbench) -> None:
    run = workbench.runs()[-1].id
    rows = [row.item.id for row in workbench.rows(run, RowQuery("fluency")).rows][10:16]
    lin = {"cookie": "pingpan_annotator=%E6%9E%97"}

    def blind(item: int, author: str = "林") -> bool:
        return workbench.review.label(run, item, 2, author, blind=True).event.blind

    client.get(f"/api/runs/{run}/rows/{rows[0]}", headers=lin)
    assert not blind(rows[0])
    assert blind(rows[0], "王")  # who was not there
    RunHandlers(workbench, load_renderer(Language.ZH)).show(f"?run={run}&item={rows[1]}", "林")
    assert not blind(rows[1])
    RowHandlers(workbench, load_renderer(Language.ZH)).show(f"?item={rows[2]}", "林")
    assert not blind(rows[2])
    # On the review page the row in sight counts, and not what was fetched ahead of it.
    query = f"?run={run}&dimension=fluency"
    ahead = client.post("/review/next", json={"language": "zh", "query": query, "after": rows[3]}, headers=lin).json()["item"]
    assert ahead
    assert blind(ahead)
    assert not blind(rows[3])
    hidden = {"cookie": "pingpan_annotator=%E6%9E%97; pingpan_blind=1"}
    shown = client.get("/review/panes", params={"language": "zh", "query": f"{query}&item={rows[4]}"}, headers=hidden)
    assert "rv-veil" in shown.json()["middle"]
    assert blind(rows[4])


def test_every_route_stands_in_the_docs(client: TestClient) -> None:
    document = (PROJECT_ROOT / "docs" / "API.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(GET|POST) (/api/[^`?]*)", document))
    paths = client.get("/api/openapi.json").json()["paths"]
    served_ = {(method.upper(), re.sub(r"\{\w+\}", "{}", path)) for path, methods in paths.items() for method in methods}
    assert {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in named} == served_
