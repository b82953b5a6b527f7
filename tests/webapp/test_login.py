"""The way in: the built-in login, a proxy's header, what is signed with which name, and guessing."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from core.errors import SettingsError
from core.queries import RowQuery
from core.settings import Settings
from core.types import Run
from tests.webapp.judged import judged_workbench
from tests.webapp.serving import served
from webapp.cli.app import app
from webapp.login import make_door, safe_path
from webapp.services.users import Throttle, Users
from webapp.workbench import Workbench

PASSWORD = "长一点的密码 1"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workbench, Settings, Run]]:
    workbench, settings, _, runs = judged_workbench(tmp_path_factory.mktemp("login") / "home")
    yield workbench, settings, runs[0]
    workbench.store.close()


@pytest.fixture(scope="module")
def house(judged: tuple[Workbench, Settings, Run]) -> Iterator[tuple[str, Workbench, Run, Users]]:
    """A server that people sign in to: 林 is a user."""
    workbench, settings, run = judged
    users = Users(settings.home / "users")
    users.put("林", PASSWORD)
    with served(workbench, settings.model_copy(update={"users_file": settings.home / "users"})) as url:
        yield url, workbench, run, users


def sign_in(client: httpx.Client, name: str = "林", password: str = PASSWORD, after: str = "/zh/runs") -> httpx.Response:
    return client.post("/login", data={"name": name, "password": password, "after": after})


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


def test_nobody_gets_in_without_a_login_and_a_browser_is_shown_the_way(house: tuple[str, Workbench, Run, Users]) -> None:
    url, _, run, _ = house
    with httpx.Client(base_url=url) as client:
        for path in ("/api/runs", f"/files/runs/{run.id}/result.csv", f"/review/queue?language=zh&query=?run={run.id}", "/zh/config"):
            assert client.get(path).status_code == 401, path
        assert client.get("/api/runs").json()["messages"]["zh"] == "请先登录。"
        assert client.post("/review/undo", json={"language": "zh", "query": "?run=1"}).status_code == 401
        shown = client.get(f"/zh/review?run={run.id}", headers={"Accept": "text/html"})
        assert shown.status_code == 303
        assert shown.headers["location"] == f"/login?next=%2Fzh%2Freview%3Frun%3D{run.id}"
        for language, words in (("zh", "密码"), ("en", "Password")):
            page = client.get(f"/login?language={language}&next=/zh/runs").text
            assert words in page
            assert 'value="/zh/runs"' in page
        assert client.get("/health").status_code == 200
        assert client.get("/assets/pingpan.css").status_code == 200


def test_labels_carry_the_logins_name_whatever_the_browser_or_the_body_says(house: tuple[str, Workbench, Run, Users]) -> None:
    url, workbench, run, _ = house
    rows = workbench.rows(run.id, RowQuery()).rows
    with httpx.Client(base_url=url, cookies={"pingpan_annotator": "somebody"}) as client:
        signed = sign_in(client)
        assert (signed.status_code, signed.headers["location"]) == (303, "/zh/runs")
        assert "HttpOnly" in signed.headers["set-cookie"]
        page = client.get("/zh/runs")
        assert page.status_code == 200
        assert client.cookies["pingpan_login"] == "%E6%9E%97"
        item = rows[0].item.id
        body = {"language": "zh", "query": f"?run={run.id}", "item": item, "label": 1}
        assert client.post("/review/label", json=body).status_code == 200
        other = rows[1].item.id
        answer = client.post(f"/api/runs/{run.id}/rows/{other}/label", json={"label": 1, "author": "王"})
        assert answer.status_code == 200, answer.text
        for labelled in (item, other):
            assert {event.author for event in workbench.review.history(labelled).events} == {"林"}
        assert "林" in client.get("/login").text
        client.post("/logout")
        assert client.get("/api/runs").status_code == 401


def test_programs_sign_in_by_basic_and_the_gradio_client_too(house: tuple[str, Workbench, Run, Users]) -> None:
    from gradio_client import Client

    url, workbench, run, _ = house
    headers = basic("林", PASSWORD)
    assert httpx.get(f"{url}/api/runs", headers=headers).status_code == 200
    assert httpx.get(f"{url}/files/runs/{run.id}/result.csv", headers=headers).status_code == 200
    assert httpx.get(f"{url}/api/runs", headers=basic("林", "wrong wrong")).status_code == 401
    item = workbench.rows(run.id, RowQuery()).rows[2].item.id
    Client(f"{url}/en", verbose=False, headers=headers).predict(run.id, item, 1, "王", "", api_name="/label")
    assert [event.author for event in workbench.review.history(item).events] == ["林"]


def test_sessions_end_with_a_new_password_or_the_user(house: tuple[str, Workbench, Run, Users]) -> None:
    url, _, _, users = house
    with httpx.Client(base_url=url) as client:
        users.put("陈", PASSWORD)
        sign_in(client, "陈")
        assert client.get("/api/runs").status_code == 200
        users.put("陈", "another password")
        assert client.get("/api/runs").status_code == 401
        sign_in(client, "陈", "another password")
        assert client.get("/api/runs").status_code == 200
        users.remove("陈")
        assert client.get("/api/runs").status_code == 401
        client.cookies["pingpan_session"] = client.cookies["pingpan_session"][:-2] + "xx"
        assert client.get("/api/runs").status_code == 401


def test_guessing_is_slowed_down_and_foreign_forms_are_not_taken(house: tuple[str, Workbench, Run, Users]) -> None:
    url, _, _, users = house
    users.put("吴", PASSWORD)
    with httpx.Client(base_url=url, headers={"Accept-Language": "en"}) as client:
        foreign = client.post("/login", data={"name": "吴", "password": PASSWORD}, headers={"Origin": "http://evil.example"})
        assert "pingpan_session" not in foreign.headers.get("set-cookie", "")
        tries = [sign_in(client, "吴", f"guess {number:02}") for number in range(10)]
        assert [answer.status_code for answer in tries] == [401] * 8 + [429] * 2
        assert "Too many tries" in tries[-1].text
        assert sign_in(client, "吴").status_code == 429  # the right one has to wait too


def test_the_brake_lets_go_after_its_time() -> None:
    clock = [0.0]
    throttle = Throttle(most=2, seconds=10, clock=lambda: clock[0])
    throttle.failed("a")
    assert throttle.wait("a", "b") == 0
    throttle.failed("a")
    assert throttle.wait("b", "a") == 10
    clock[0] = 11
    assert throttle.wait("a") == 0
    throttle.failed("a")
    throttle.passed("a")
    assert throttle.wait("a") == 0


def test_a_proxys_header_is_the_name(judged: tuple[Workbench, Settings, Run]) -> None:
    workbench, settings, run = judged
    with served(workbench, settings.model_copy(update={"auth_header": "X-Remote-User"})) as url:
        refused = httpx.get(f"{url}/zh/runs", headers={"Accept": "text/html"})
        assert refused.status_code == 401
        assert "PINGPAN_AUTH_HEADER" in refused.text
        item = workbench.rows(run.id, RowQuery()).rows[4].item.id
        given = {"language": "zh", "query": f"?run={run.id}", "item": item, "label": 1}
        headers = {"X-Remote-User": "钱".encode(), "Cookie": "pingpan_annotator=somebody"}
        assert httpx.post(f"{url}/review/label", json=given, headers=headers).status_code == 200
        assert [event.author for event in workbench.review.history(item).events] == ["钱"]


def test_settings_and_files_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    def settings(**values: object) -> Settings:
        return Settings(home=tmp_path / "home", _env_file=None, **values)  # type: ignore[arg-type, call-arg]

    assert make_door(settings()) is None
    with pytest.raises(SettingsError, match="keep one"):
        make_door(settings(users_file=tmp_path / "u", auth_header="X-User"))
    with pytest.raises(SettingsError, match="users add"):
        make_door(settings(users_file=tmp_path / "u"))
    users = Users(tmp_path / "u")
    for name, password in (("a:b", PASSWORD), ("", PASSWORD), ("林", "short")):
        with pytest.raises(SettingsError):
            users.put(name, password)
    (tmp_path / "u").write_text("林:plain text\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="Line 1"):
        users.names()
    assert [safe_path(path) for path in ("/zh/runs?page=2", "//evil", "/\\evil", "https://evil/", "/login", "")] == [
        "/zh/runs?page=2", "/", "/", "/", "/", "/",
    ]  # fmt: skip


def test_users_are_kept_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    assert isinstance(runner.invoke(app, ["users", "list"]).exception, SettingsError)
    monkeypatch.setenv("PINGPAN_USERS_FILE", str(tmp_path / "folder" / "users"))
    added = runner.invoke(app, ["users", "add", "林", "--password-stdin"], input=f"{PASSWORD}\n")
    assert added.exit_code == 0, added.output
    assert "林: added" in added.output
    assert (tmp_path / "folder" / "users").stat().st_mode & 0o077 == 0
    assert runner.invoke(app, ["users", "list"]).output == "林\n"
    assert Users(tmp_path / "folder" / "users").check("林", PASSWORD)
    assert runner.invoke(app, ["users", "remove", "林"]).exit_code == 0
    assert runner.invoke(app, ["users", "list"]).output == ""
