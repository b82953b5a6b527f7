"""The gate before everything: who passes, as whom, and what the others get; the users file and the brake behind it."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import HTMLResponse
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.websockets import WebSocketDisconnect

from core.errors import SettingsError
from core.settings import Settings
from webapp.api import api_routes
from webapp.fault_routes import fault_routes
from webapp.files import file_routes
from webapp.identity import LONGEST_NAME, clean_name, identity_of
from webapp.login import LoginGate, ProxyDoor, UsersDoor, login_routes, make_door, safe_path, session_secret
from webapp.review_routes import review_routes
from webapp.services.users import Throttle, Users
from webapp.training_routes import training_routes
from webapp.why_routes import why_routes
from webapp.workbench import Workbench

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # a hash says itself how long it takes
PASSWORD = "长一点的密码 1"
BROWSER = {"accept": "text/html"}
HEADER = "X-Remote-User"


def made_settings(home: Path, **values: object) -> Settings:
    return Settings(home=home, _env_file=None, **values)  # type: ignore[arg-type, call-arg]


def write_users(path: Path, **passwords: str) -> Users:
    path.write_text("".join(f"{name}:{QUICK.hash(password)}\n" for name, password in passwords.items()), encoding="utf-8")
    return Users(path)


def echo(door: ProxyDoor | UsersDoor) -> FastAPI:
    """A server that says who it takes its visitor for."""
    app = FastAPI()
    app.add_middleware(LoginGate, door=door)
    app.router.routes.extend(login_routes(door).routes)

    @app.get("/who")
    def who(request: Request) -> dict[str, object]:
        found = identity_of(request)
        return {"name": found.annotator, "login": found.login, "blind": found.blind, "cookies": dict(request.cookies)}

    @app.get("/zh/runs")
    def page() -> HTMLResponse:
        return HTMLResponse("<p>runs</p>")

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(identity_of(socket).annotator)

    return app


@pytest.fixture(scope="module")
def proxied() -> Iterator[TestClient]:
    with TestClient(echo(ProxyDoor(HEADER)), follow_redirects=False) as client:
        yield client


@pytest.fixture
def door(tmp_path: Path) -> UsersDoor:
    return UsersDoor(write_users(tmp_path / "users", 林=PASSWORD, 王=PASSWORD), b"a secret of thirty-two bytes ....")


@pytest.fixture
def house(door: UsersDoor) -> TestClient:
    return TestClient(echo(door), follow_redirects=False)


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


def who(client: TestClient, **headers: str | bytes) -> dict[str, object]:
    answer = client.get("/who", headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


# -- nobody passes without a name


def test_no_route_of_the_server_answers_who_has_no_name(tmp_path: Path) -> None:
    bench = Workbench.open(made_settings(tmp_path))
    app, door = FastAPI(), ProxyDoor(HEADER)
    routers = (api_routes(bench, bench.settings), file_routes(bench, bench.settings), review_routes(bench), fault_routes(bench),
               why_routes(bench), training_routes(bench, bench.settings))  # fmt: skip
    for router in routers:
        app.router.routes.extend(router.routes)
    app.add_middleware(LoginGate, door=door)
    client, tried = TestClient(app), 0
    for route in app.router.routes:
        for method in getattr(route, "methods", set()) - {"HEAD"}:
            path = "".join("1" if place % 2 else part for place, part in enumerate(route.path.replace("}", "{").split("{")))
            answer = client.request(method, path, headers={"content-type": "application/json", "cookie": "pingpan_annotator=Lin"})
            assert (answer.status_code, set(answer.json()["messages"])) == (401, {"zh", "en"}), path
            tried += 1
    assert tried > 70
    bench.store.close()


def test_a_program_is_refused_in_its_language_and_a_browser_with_a_page(proxied: TestClient) -> None:
    told = proxied.get("/who", headers={"accept-language": "en"}).json()
    assert told["message"] == told["messages"]["en"] != told["messages"]["zh"]
    page = proxied.get("/zh/runs", headers=BROWSER | {"accept-language": "en"})
    assert (page.status_code, "PINGPAN_AUTH_HEADER" in page.text, "password" in page.text) == (401, True, False)
    assert page.headers["cache-control"] == "no-store"


def test_a_socket_without_a_name_is_closed(proxied: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, proxied.websocket_connect("/live"):
        pass
    assert closed.value.code == 1008
    with proxied.websocket_connect("/live", headers={HEADER: "Lin"}) as socket:
        assert socket.receive_text() == "Lin"


def test_a_browser_comes_back_to_the_very_address_it_wanted(house: TestClient) -> None:
    wanted = "/zh/runs?search=%E6%98%A5+a&page=2"
    sent = house.get(wanted, headers=BROWSER)
    assert sent.status_code == 303
    page = house.get(sent.headers["location"]).text
    assert f'value="{wanted.replace("&", "&amp;")}"' in page
    back = house.post("/login", data={"name": "林", "password": PASSWORD, "after": wanted})
    assert (back.status_code, back.headers["location"]) == (303, wanted)
    assert who(house)["name"] == "林"


@pytest.mark.parametrize(
    ("headers", "words"),
    [({"accept-language": "en"}, "Password"), ({"accept-language": "zh"}, "密码"), ({"accept-language": "zh", "cookie": "pingpan_language=en"}, "Password")],
)  # fmt: skip
def test_the_login_page_speaks_the_visitors_language(house: TestClient, headers: dict[str, str], words: str) -> None:
    assert words in house.get("/login", headers=headers).text
    assert words in house.post("/login", data={"name": "林", "password": "wrong"}, headers=headers).text


# -- as whom


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (b"Lin", "Lin"), ("林".encode(), "林"), (quote("林").encode(), "林"), ("é".encode("latin-1"), "é"), (b"  a \t b ", "a b"),
        ("字".encode() * 99, "字" * LONGEST_NAME), (b"a%0Ab%00c", "a b c"),
    ],
)  # fmt: skip
def test_a_proxys_name_is_read_however_it_is_written(proxied: TestClient, sent: bytes, name: str) -> None:
    assert who(proxied, **{HEADER: sent})["name"] == name


@pytest.mark.parametrize("sent", [b"", b"   ", b"%20%09", b"%00"])
def test_a_header_that_names_nobody_is_none(proxied: TestClient, sent: bytes) -> None:
    assert proxied.get("/who", headers={HEADER: sent}).status_code == 401


ODD_COOKIES = ['state={"x": 1}', "words=a b c", "名=1", "a@b=1", "a[b]=2", "bare", "=x", 'quoted="a=b"', "_xsrf=2|ab|cd", ""]


@pytest.mark.parametrize("odd", ODD_COOKIES)
def test_cookies_of_other_programs_take_nothing_from_the_readers_own(proxied: TestClient, odd: str) -> None:
    line = f"{odd}; pingpan_blind=1; pingpan_language=en; pingpan_annotator=somebody".encode()
    found = who(proxied, **{HEADER: "Lin", "cookie": line})
    assert (found["name"], found["login"], found["blind"]) == ("Lin", True, True)
    assert found["cookies"]["pingpan_language"] == "en"  # type: ignore[index]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.sampled_from('ab=" ,{}|%_'), max_size=8), max_size=5))
def test_the_logins_name_stands_whatever_the_cookies_say(proxied: TestClient, cookies: list[str]) -> None:
    with_name = "; ".join([*cookies, "pingpan_annotator=somebody", *cookies])
    found = who(proxied, **{HEADER: "Lin", "cookie": with_name})
    assert found == who(proxied, **{HEADER: "Lin", "cookie": "; ".join(cookies)})
    assert found["cookies"]["pingpan_annotator"] == "Lin"  # type: ignore[index]


def test_each_page_tells_its_script_the_name_and_nothing_else_does(proxied: TestClient) -> None:
    headers = {HEADER: "林".encode()}
    assert f"pingpan_login={quote('林')}" in proxied.get("/zh/runs", headers=headers).headers["set-cookie"]
    assert "set-cookie" not in proxied.get("/who", headers=headers).headers


@given(st.text())
def test_a_clean_name_is_one_printable_line_and_stays_as_it_is(name: str) -> None:
    cleaned = clean_name(name)
    assert clean_name(cleaned) == cleaned
    assert len(cleaned) <= LONGEST_NAME
    assert cleaned.isprintable()
    assert cleaned == cleaned.strip()


# -- passwords, sessions, programs


def test_a_program_signs_in_until_its_password_changes(house: TestClient, door: UsersDoor, tmp_path: Path) -> None:
    assert who(house, **basic("林", PASSWORD))["name"] == "林"
    assert who(house, **basic("林", PASSWORD))["name"] == "林"  # remembered for some minutes
    write_users(tmp_path / "users", 林="another password", 王=PASSWORD)
    assert house.get("/who", headers=basic("林", PASSWORD)).status_code == 401
    assert who(house, **basic("林", "another password"))["name"] == "林"
    (tmp_path / "users").unlink()
    assert house.get("/who", headers=basic("林", "another password")).status_code == 401


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic //79", "Bearer abc"])
def test_an_authorization_that_cannot_be_read_is_none(house: TestClient, header: str) -> None:
    assert house.get("/who", headers={"authorization": header}).status_code == 401


def test_a_program_that_guesses_is_slowed_down_too(house: TestClient) -> None:
    for number in range(8):
        assert house.get("/who", headers=basic("林", f"guess {number}")).status_code == 401
    assert house.get("/who", headers=basic("林", PASSWORD)).status_code == 401  # nothing is looked at any more
    page = house.post("/login", data={"name": "王", "password": PASSWORD})  # the same address
    assert (page.status_code, "5" in page.text) == (429, True)


def test_a_session_is_over_after_thirty_days_and_with_another_key(door: UsersDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    session = door.sign_in("林", PASSWORD, "host")
    client = TestClient(echo(door), cookies={"pingpan_session": session})
    assert client.get("/who").status_code == 200
    other = TestClient(echo(UsersDoor(door.users, b"another secret")), cookies={"pingpan_session": session})
    assert other.get("/who").status_code == 401
    later = time.time() + 30 * 24 * 3600 + 60
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: later)
    assert client.get("/who").status_code == 401


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "W10.aGk.x", "林", "e30.Zg.Zg", '["林","x"]'])
def test_no_text_is_a_session(house: TestClient, text: str) -> None:
    assert house.get("/who", headers={"cookie": f"pingpan_session={quote(text)}"}).status_code == 401


def test_signing_out_from_another_site_is_not_taken(house: TestClient) -> None:
    house.post("/login", data={"name": "林", "password": PASSWORD})
    foreign = house.post("/logout", headers={"origin": "http://evil.example"})
    assert "set-cookie" not in foreign.headers
    assert who(house)["name"] == "林"
    assert "<form" in house.get("/login").text  # where one signs out
    house.post("/logout", headers={"origin": "http://testserver"})
    assert house.get("/who").status_code == 401


def test_a_session_cookie_is_kept_from_scripts_and_secure_over_https(door: UsersDoor) -> None:
    for base, secure in (("http://testserver", False), ("https://testserver", True)):
        sent = TestClient(echo(door), base_url=base, follow_redirects=False).post("/login", data={"name": "林", "password": PASSWORD})
        cookie = sent.headers["set-cookie"].lower()
        assert ("httponly" in cookie, "samesite=lax" in cookie, "secure" in cookie) == (True, True, secure)


def test_the_key_of_sessions_is_made_once_for_the_owners_eyes(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: session_secret(tmp_path / "new" / "session.key"), range(8)))
    assert {len(secret) for secret in made} == {32}
    assert len(made) == 1
    assert (tmp_path / "new" / "session.key").stat().st_mode & 0o077 == 0
    (tmp_path / "new" / "session.key").write_bytes(b"")  # as a full disk leaves it
    assert len(session_secret(tmp_path / "new" / "session.key")) == 32


@given(st.text(st.sampled_from("/\\\t\n .:@?#%az"), max_size=8) | st.text(max_size=12))
def test_nobody_is_led_to_another_server(path: str) -> None:
    led = safe_path(path)
    as_browsers_read_it = "".join(character for character in led if character not in "\t\r\n").replace("\\", "/")
    assert urlsplit(urljoin("http://here/login", as_browsers_read_it)).netloc == "here"
    assert safe_path(led) == led


# -- the users file


def test_the_file_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    users = Users(tmp_path / "users")
    assert users.names() == []
    write_users(tmp_path / "users", 林=PASSWORD)
    assert (users.names(), users.check(" 林 ", PASSWORD), users.check("林", PASSWORD + " ")) == (["林"], True, False)
    with (tmp_path / "users").open("a", encoding="utf-8") as file:
        file.write(f"\n# 王 left\n陈:{QUICK.hash(PASSWORD)}\n")
    assert users.names() == ["林", "陈"]
    assert users.fingerprint("林") != users.fingerprint("陈")
    assert users.fingerprint("王") == ""
    assert not users.check("王", PASSWORD)


def test_two_who_are_added_at_once_are_both_kept(tmp_path: Path) -> None:
    users = [Users(tmp_path / "users") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        fresh = list(pool.map(lambda pair: pair[1].put(f"user {pair[0]}", PASSWORD), enumerate(users)))
    assert fresh == [True] * 2
    assert Users(tmp_path / "users").names() == ["user 0", "user 1"]
    users[0].remove("user 1")
    with pytest.raises(SettingsError, match="users list"):
        users[1].remove("user 1")
    assert (tmp_path / "users").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"\xff\xfe", b"no colon\n", "林:plain\n".encode(), b":$argon2\n:"])
def test_a_file_that_is_no_users_file_is_told_with_its_path_before_the_server_starts(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "users").write_bytes(content)
    with pytest.raises(SettingsError) as told:
        make_door(made_settings(tmp_path, users_file=tmp_path / "users"))
    assert all(str(tmp_path / "users") in words for words in told.value.messages.values())
    with pytest.raises(SettingsError, match="cannot be read"):
        make_door(made_settings(tmp_path, users_file=tmp_path))


# -- the brake

STEPS = st.lists(st.sampled_from(["fail", "pass"]) | st.floats(0.1, 6.0), max_size=25)


@given(STEPS)
def test_a_place_waits_while_its_last_failures_lie_within_the_time(steps: list[str | float]) -> None:
    clock, failures = [0.0], list[float]()
    throttle = Throttle(most=3, seconds=10.0, clock=lambda: clock[0])
    for step in steps:
        if step == "fail":
            throttle.failed("here", "there")
            failures.append(clock[0])
        elif step == "pass":
            throttle.passed("here")
            failures.clear()
        else:
            clock[0] += float(step)
        expected = max(0.0, failures[-3] + 10.0 - clock[0]) if len(failures) >= 3 else 0.0
        assert throttle.wait("here") == pytest.approx(expected)
        assert throttle.wait("elsewhere") == 0.0
