"""Who is at the page: the login's name where there is one, else the name that the visitor gave once, kept in a cookie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.requests import HTTPConnection

ANNOTATOR_COOKIE = "pingpan_annotator"
BLIND_COOKIE = "pingpan_blind"
# Where the name that a login gave stands in a request's scope.
LOGIN_SCOPE = "pingpan_login"
# In which cookie the page's script finds it, to show it: nothing on the server reads this cookie.
LOGIN_COOKIE = "pingpan_login"
LONGEST_NAME = 40


@dataclass(frozen=True, slots=True)
class Identity:
    """The annotator's name ("" while nobody has said one), and whether they label blind."""

    annotator: str = ""
    blind: bool = False
    login: bool = False


def identify(cookies: Mapping[str, str], login: str | None = None) -> Identity:
    """Return who a request comes from, by its cookies and the name that a login gave it."""
    name = login or clean_name(unquote(cookies.get(ANNOTATOR_COOKIE, "")))
    return Identity(name, cookies.get(BLIND_COOKIE, "") == "1", bool(login))


def identity_of(connection: HTTPConnection) -> Identity:
    """Return who a request comes from; a login stands in its scope (webapp/login.py)."""
    return identify(connection.cookies, connection.scope.get(LOGIN_SCOPE))


def clean_name(name: str) -> str:
    """Return a name in one line, without characters that cannot be printed, of at most LONGEST_NAME characters."""
    printable = "".join(character if character.isprintable() else " " for character in name)
    return " ".join(printable.split())[:LONGEST_NAME].strip()
