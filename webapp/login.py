"""The way in, where one is wanted: names from a proxy's header, or the built-in login over the users file.

Without `PINGPAN_AUTH_HEADER` and `PINGPAN_USERS_FILE` nobody is asked for more than a name. With either, every request but
the login page's own, styles and /health needs a name; it stands in the request's scope and takes the place of the name that
the browser's cookie holds, so that whatever signs labels and changes signs with the login's name.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol
from urllib.parse import quote, unquote, urlsplit

from anyio import to_thread
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from filelock import FileLock
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import SettingsError
from core.settings import Settings
from webapp.identity import ANNOTATOR_COOKIE, LOGIN_COOKIE, LOGIN_SCOPE, clean_name
from webapp.pages.render import load_renderer
from webapp.pages.translate import Language, preferred_language
from webapp.services.users import Throttle, Users

if TYPE_CHECKING:
    from itsdangerous import URLSafeTimedSerializer

SESSION_COOKIE = "pingpan_session"
SESSION_SECONDS = 30 * 24 * 3600
OPEN_PATHS = frozenset({"/login", "/logout", "/health", "/favicon.ico"})
OPEN_FOLDERS = ("/assets/",)
BASIC_SECONDS, _BASIC_KEPT = 300.0, 1_000


class Door(Protocol):
    """Knows who a request comes from."""

    def name(self, connection: HTTPConnection) -> str:
        """Return the login's name, "" for nobody. May take some tens of milliseconds."""


@dataclass(frozen=True, slots=True)
class ProxyDoor:
    """Trusts the header that a reverse proxy sets."""

    header: str

    def name(self, connection: HTTPConnection) -> str:
        """Return the name in the header; bytes that are UTF-8 are read as such."""
        given = connection.headers.get(self.header, "")
        with contextlib.suppress(UnicodeError):
            given = given.encode("latin-1").decode("utf-8")
        return clean_name(unquote(given))


class UsersDoor:
    """The built-in login: a signed session cookie, or HTTP Basic for programs."""

    def __init__(self, users: Users, secret: bytes) -> None:
        self.users = users
        self.throttle = Throttle()
        self._secret = secret
        self._lock = threading.Lock()
        self._basic: OrderedDict[str, tuple[float, str, str]] = OrderedDict()

    def name(self, connection: HTTPConnection) -> str:
        """Return the name of a living session or of a right Authorization header."""
        given = connection.headers.get("authorization", "")
        if given.lower().startswith("basic "):
            return self._of_basic(given, place_of(connection))
        return self._of_session(connection.cookies.get(SESSION_COOKIE, ""))

    def sign_in(self, name: str, password: str, place: str) -> str:
        """Return a session for a right password, "" for a wrong one, which is counted."""
        cleaned = clean_name(name)
        if not self.users.check(cleaned, password):
            self.throttle.failed(place, f"name {cleaned}")
            return ""
        self.throttle.passed(place)
        return str(self._signer().dumps([cleaned, self.users.fingerprint(cleaned)]))

    def wait(self, name: str, place: str) -> float:
        """Return for how many seconds no password is looked at."""
        return self.throttle.wait(place, f"name {clean_name(name)}")

    def _of_session(self, token: str) -> str:
        from itsdangerous import BadData

        try:
            name, fingerprint = self._signer().loads(token, max_age=SESSION_SECONDS)
        except (BadData, ValueError, TypeError):
            return ""
        return str(name) if fingerprint and fingerprint == self.users.fingerprint(str(name)) else ""

    def _of_basic(self, given: str, place: str) -> str:
        key = hashlib.sha256(self._secret + given.encode()).hexdigest()
        with self._lock:
            until, name, fingerprint = self._basic.get(key, (0.0, "", ""))
        if time.monotonic() < until and fingerprint == self.users.fingerprint(name):
            return name
        try:
            name, _, password = base64.b64decode(given[6:], validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return ""
        if self.wait(name, place) or not self.sign_in(name, password, place):
            return ""
        with self._lock:
            self._basic[key] = (time.monotonic() + BASIC_SECONDS, clean_name(name), self.users.fingerprint(clean_name(name)))
            while len(self._basic) > _BASIC_KEPT:
                self._basic.popitem(last=False)
        return clean_name(name)

    def _signer(self) -> URLSafeTimedSerializer:
        from itsdangerous import URLSafeTimedSerializer

        return URLSafeTimedSerializer(self._secret, salt="pingpan session")


def make_door(settings: Settings) -> ProxyDoor | UsersDoor | None:
    """Return the door that the settings want, None for an open house.

    Raises SettingsError where both kinds are asked for, or where the users file names nobody.
    """
    if settings.auth_header and settings.users_file:
        raise SettingsError(
            "PINGPAN_AUTH_HEADER and PINGPAN_USERS_FILE are both set; keep one: names come from the proxy or from the file.",
            zh="PINGPAN_AUTH_HEADER 和 PINGPAN_USERS_FILE 只能设一个：名字要么来自代理，要么来自用户文件。",
        )
    if settings.auth_header:
        return ProxyDoor(settings.auth_header)
    if settings.users_file is None:
        return None
    users = Users(settings.users_file)
    if not users.names():
        raise SettingsError(
            f"PINGPAN_USERS_FILE={settings.users_file} names nobody yet; add somebody with `./run.sh users add NAME`.",
            zh=f"PINGPAN_USERS_FILE={settings.users_file} 里还没有用户；请先运行 ./run.sh users add 名字。",
        )
    return UsersDoor(users, session_secret(settings.home / "session.key"))


def session_secret(path: Path) -> bytes:
    """Return the key that sessions are signed with, made at the first start; who removes it signs everybody out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # nobody signs with a key that another start has not written yet
        if not path.is_file() or not path.stat().st_size:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(os.urandom(32))
        return path.read_bytes()


def place_of(connection: HTTPConnection) -> str:
    """Return where a request comes from, as the brake on guessing counts it."""
    return f"host {connection.client.host if connection.client else ''}"


class LoginGate:
    """Lets in who has a name, sends browsers to the login page and answers programs with 401."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with the login's name, or answer it."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        name = await to_thread.run_sync(self.door.name, connection)
        path = scope["path"]
        if name:
            await self.app(_signed(scope, name), receive, _telling(send, name))
        elif path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._refuse(Request(scope))(scope, receive, send)

    def _refuse(self, request: Request) -> Response:
        language = language_of(request)
        from_browser = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if from_browser and isinstance(self.door, UsersDoor):
            here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(here, safe='')}", status_code=303)
        key = "login.no_header" if isinstance(self.door, ProxyDoor) else "login.needed"
        messages = {str(one): load_renderer(one).t(key) for one in Language}
        if from_browser:
            return _page(language, 401, told=messages[language], form=False)
        return JSONResponse({"message": messages[language], "messages": messages}, status_code=401)


def _signed(scope: Scope, name: str) -> Scope:
    """Return a request's scope with the login's name, also in the place of the name in the browser's cookie."""
    headers = [(key, value) for key, value in scope["headers"] if key != b"cookie"]
    # Split by hand: http.cookies gives up at the first cookie of another program that it cannot read, and loses the rest.
    cookies = (part.strip() for key, value in scope["headers"] if key == b"cookie" for part in value.split(b";"))
    kept = [cookie for cookie in cookies if cookie and cookie.partition(b"=")[0].strip() != ANNOTATOR_COOKIE.encode()]
    line = b"; ".join([*kept, f"{ANNOTATOR_COOKIE}={quote(name)}".encode()])
    return {**scope, "headers": [*headers, (b"cookie", line)], LOGIN_SCOPE: name}


def _telling(send: Send, name: str) -> Send:
    """Return `send` that tells the page's script the login's name with each page, to show it in the header."""

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if any(key.lower() == b"content-type" and value.startswith(b"text/html") for key, value in headers):
                cookie = f"{LOGIN_COOKIE}={quote(name)}; Path=/; SameSite=Lax"
                message = {**message, "headers": [*headers, (b"set-cookie", cookie.encode("latin-1"))]}
        await send(message)

    return tell


def language_of(request: Request) -> Language:
    """Return the language to answer in: the query's, else the cookie's, else the browser's."""
    chosen = request.query_params.get("language", "") or request.cookies.get("pingpan_language", "")
    return preferred_language(chosen, request.headers.get("accept-language", ""))


def login_routes(door: Door | None) -> APIRouter:
    """Return /login and /logout."""
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    def login_page(request: Request, next: str = "/") -> Response:
        language, name = language_of(request), request.scope.get(LOGIN_SCOPE, "")
        if not isinstance(door, UsersDoor):
            return RedirectResponse("/", status_code=303)
        return _page(language, 200, name=name, after=safe_path(next), form=not name)

    @router.post("/login")
    def sign_in(
        request: Request, name: Annotated[str, Form()] = "", password: Annotated[str, Form()] = "", after: Annotated[str, Form()] = "/"
    ) -> Response:
        language, place = language_of(request), place_of(request)
        if not isinstance(door, UsersDoor) or not _from_here(request):
            return RedirectResponse("/login", status_code=303)
        t = load_renderer(language).t
        wait = door.wait(name, place)
        if wait:
            return _page(language, 429, told=t("login.wait", minutes=max(1, round(wait / 60))), given=name, after=safe_path(after))
        session = door.sign_in(name, password, place)
        if not session:
            return _page(language, 401, told=t("login.wrong"), given=name, after=safe_path(after))
        answer = RedirectResponse(safe_path(after), status_code=303)
        answer.set_cookie(
            SESSION_COOKIE, session, max_age=SESSION_SECONDS, httponly=True, samesite="lax", secure=request.url.scheme == "https"
        )
        return answer

    @router.post("/logout")
    def sign_out(request: Request) -> Response:
        answer = RedirectResponse("/login", status_code=303)
        if _from_here(request):
            for cookie in (SESSION_COOKIE, LOGIN_COOKIE):
                answer.delete_cookie(cookie)
        return answer

    return router


def safe_path(path: str) -> str:
    """Return where to go after the login: a path of this server, else its beginning."""
    # Browsers pass over tabs and line feeds, and take a backslash for a slash: two slashes would lead to another server.
    if not path.isprintable() or "\\" in path or path.startswith("//") or not path.startswith("/"):
        return "/"
    return "/" if urlsplit(path).path in OPEN_PATHS else path


def _from_here(request: Request) -> bool:
    """Return whether a form was sent from this server's own page."""
    origin = request.headers.get("origin", "")
    return origin in {"", "null"} or urlsplit(origin).netloc == request.headers.get("host", "")


def _page(
    language: Language, status: int, *, told: str = "", name: str = "", given: str = "", after: str = "/", form: bool = True
) -> HTMLResponse:
    page = load_renderer(language)("login.html", told=told, name=name, given=given, after=after, form=form)
    return HTMLResponse(page, status_code=status, headers={"Cache-Control": "no-store"})
