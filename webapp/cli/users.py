"""`users add`, `users remove` and `users list`: who may sign in where PINGPAN_USERS_FILE is set."""

from __future__ import annotations

import getpass
import sys

from core.errors import SettingsError
from core.settings import load_settings
from webapp.cli.console import plain_console
from webapp.services.users import Users


def add_user(name: str, *, from_stdin: bool = False) -> None:
    """Ask for a password (or read it from stdin) and add the user, or give one a new password."""
    users = _users()
    fresh = users.put(name, sys.stdin.readline().rstrip("\r\n") if from_stdin else _asked())
    plain_console().print(f"{name}: {'added' if fresh else 'has a new password; open sessions are over'}")


def remove_user(name: str) -> None:
    """Remove a user."""
    _users().remove(name)
    plain_console().print(f"{name}: removed; labels and changes keep the name")


def list_users() -> None:
    """Print the users' names."""
    for name in _users().names():
        plain_console().print(name)


def _users() -> Users:
    path = load_settings().users_file
    if path is None:
        raise SettingsError(
            "Set PINGPAN_USERS_FILE to the file that users are kept in, for the server and for this command.",
            zh="请先把 PINGPAN_USERS_FILE 设为保存用户的文件（服务器和本命令都要设）。",
        )
    return Users(path)


def _asked() -> str:
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise SettingsError("The passwords differ; nothing was changed.", zh="两次输入的密码不一样，什么都没有改。")
    return password
