"""The server's own answers: languages, files, and what is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from fastapi.testclient import TestClient

from core.errors import SettingsError
from core.settings import Settings
from tests.webapp.fake import FakeWorkbench
from tests.webapp.serving import build_app
from webapp.files import file_name
from webapp.server import listen

BYTES = {"content-type": "application/octet-stream"}
BROWSER = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> FakeWorkbench:
    fake = FakeWorkbench(folder=tmp_path_factory.mktemp("exports"))
    fake.add("作文 第二批.xlsx", 4, done=True)
    return fake


@pytest.fixture(scope="module")
def client(workbench: FakeWorkbench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), max_upload_mb=1, _env_file=None)  # type: ignore[call-arg]
    with TestClient(build_app(workbench, settings), follow_redirects=False) as client:
        yield client


def test_the_front_door_leads_to_the_visitors_language(client: TestClient) -> None:
    assert client.get("/", headers={"accept-language": "en-GB,en"}).headers["location"] == "/en/"
    assert client.get("/", headers={"accept-language": "zh-CN"}).headers["location"] == "/zh/"
    assert client.get("/", headers={"accept-language": "zh", "cookie": "pingpan_language=en"}).headers["location"] == "/en/"
    assert client.get("/zh").headers["location"] == "/zh/"


@pytest.mark.parametrize("path", ["/zh/", "/en/", "/zh/run", "/en/runs", "/zh/run?run=1&page=2"])
def test_every_page_has_a_url_in_both_languages(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "pingpan.js" in answer.text
    head = answer.text.split("</head>")[0]  # styled before any script has run: Gradio's own look never shows
    assert '<link rel="stylesheet" href="/assets/pingpan.css?' in head


def test_health_and_static_files(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/assets/pingpan.css").headers["content-type"].startswith("text/css")
    assert client.get("/assets/../server.py").status_code == 404
    assert client.get("/assets/templates").status_code == 404
    assert client.get("/favicon.ico").status_code == 200


NOWHERE = [("/zh/nothing", "没有这个页面"), ("/en/nothing", "There is no such page"), ("/nothing", "没有这个页面")]


@pytest.mark.parametrize(("path", "words"), NOWHERE)
def test_a_page_that_is_not_there_is_a_friendly_page(client: TestClient, path: str, words: str) -> None:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == 404
    assert words in answer.text
    assert 'href="/' in answer.text
    assert client.get(path).headers["content-type"] == "application/json"  # a program gets its plain answer


def test_a_result_comes_with_its_chinese_name_in_both_encodings(client: TestClient, workbench: FakeWorkbench) -> None:
    utf8 = client.get("/files/runs/1/result.csv")
    assert unquote(utf8.headers["content-disposition"]) == "attachment; filename*=utf-8''作文 第二批-run1-result.csv"
    assert utf8.content.startswith(b"\xef\xbb\xbf")
    gb = client.get("/files/runs/1/result.csv?encoding=gb18030")
    assert gb.content.decode("gb18030") == utf8.content.decode("utf-8-sig")
    assert list(workbench.folder.iterdir()) == []  # each request had a file of its own, and it is gone


def test_downloads_that_cannot_be_had_say_why(client: TestClient) -> None:
    missing = client.get("/files/runs/99/result.csv", headers={**BROWSER, "cookie": "pingpan_language=en"})
    assert (missing.status_code, "There is no run 99" in missing.text) == (404, True)
    assert "full.xlsx" in client.get("/files/runs/1/passwords.txt").text
    assert client.get("/files/runs/1/result.csv?encoding=latin1").status_code == 422
    assert "假的工作台" in client.get("/files/runs/1/full.xlsx").text
    assert client.get("/files/runs/x/result.csv").status_code == 422


def test_an_upload_becomes_a_token_under_its_own_name(client: TestClient, workbench: FakeWorkbench) -> None:
    answer = client.post("/files/uploads", params={"name": "表 一.csv", "language": "zh"}, headers=BYTES, content="编号".encode())
    assert workbench.previews[answer.json()["value"]].name == "表 一.csv"
    library = client.post("/files/libraries", params={"name": "标注.xlsx"}, headers=BYTES, content=b"x")
    assert library.json() == {"value": "2"}


@pytest.mark.parametrize(("language", "words"), [("zh", "不完整"), ("en", "is truncated")])
def test_an_unreadable_upload_is_told_in_the_pages_language(client: TestClient, language: str, words: str) -> None:
    answer = client.post("/files/uploads", params={"name": "broken.xlsx", "language": language}, headers=BYTES, content=b"PK")
    assert answer.status_code == 422
    assert words in answer.json()["message"]


def test_an_empty_upload_and_one_above_the_limit_are_refused(client: TestClient) -> None:
    assert "The file is empty" in client.post("/files/uploads", params={"name": "a.csv", "language": "en"}, headers=BYTES).json()["message"]
    large = client.post("/files/uploads", params={"name": "a.csv", "language": "en"}, headers=BYTES, content=b"x" * (1024 * 1024 + 1))
    assert "larger than 1 MiB" in large.json()["message"]


def test_a_form_of_another_site_uploads_nothing(client: TestClient, workbench: FakeWorkbench) -> None:
    before = len(workbench.libraries_)
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        answer = client.post("/files/libraries", params={"name": "a.csv"}, headers={"content-type": kind}, content=b"x")
        assert (answer.status_code, len(workbench.libraries_)) == (422, before)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("../../etc/passwd", "passwd"), ("C:\\Users\\a\\表.xlsx", "表.xlsx"), ("", "sheet"), ("a" * 300, "a" * 200), ("/x/", "x")],
)
def test_only_the_last_part_of_an_uploads_name_is_kept(sent: str, kept: str) -> None:
    assert file_name(sent) == kept


def test_a_port_in_use_is_told_with_the_remedy(tmp_path: Path) -> None:
    with listen(Settings(home=tmp_path, port=0, _env_file=None)) as taken:  # type: ignore[call-arg]
        taken.listen()
        with pytest.raises(SettingsError, match="PINGPAN_PORT=0"):
            listen(Settings(home=tmp_path, port=taken.getsockname()[1], _env_file=None))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [("/review/skip", {"item": 1, "note": "\ud800"}, "note"), ("/review/label", {"item": "x"}, "item"), ("/faults/undo", {}, "item")],
)
def test_a_request_of_the_wrong_form_is_refused_in_words(client: TestClient, path: str, body: dict[str, object], named: str) -> None:
    sent = json.dumps({"language": "zh", "query": "?run=1", **body})
    answer = client.post(path, content=sent, headers={"content-type": "application/json", "accept-language": "zh"})
    assert answer.status_code == 422
    assert answer.json()["message"].startswith("请求有误：")
    assert f"{named}: " in answer.json()["message"]
