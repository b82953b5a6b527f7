"""A PostgreSQL server of the tests' own: in a temporary folder, reached through a Unix socket, gone with the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest


def _binaries() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("no PostgreSQL server is installed here")


def _unprivileged() -> str | None:
    """Return the user that the server runs as; it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("PostgreSQL will not run as root, and there is no other user here")


@contextmanager
def running_server() -> Iterator[Path]:
    """Start a server and give the folder of its socket; it trusts everyone who reaches that folder."""
    binaries, user = _binaries(), _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="pingpan-pg-"))
    try:
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data = folder / "data"
        initdb: list[str | Path] = [binaries / "initdb", "-D", data, "-U", "pingpan"]
        initdb += ["-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "--no-sync"]
        subprocess.run(initdb, user=user, cwd=folder, check=True, capture_output=True, timeout=120)
        options = ("listen_addresses=", f"unix_socket_directories={folder}", "fsync=off", "max_connections=100")
        command: list[str | Path] = [binaries / "postgres", "-D", data, *(part for option in options for part in ("-c", option))]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=log) as server:
            try:
                _wait(folder)
                yield folder
            finally:
                server.send_signal(signal.SIGINT)  # the fast shutdown: it waits for no client
                server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(host=str(folder), user="pingpan", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def new_database(folder: Path, name: str, template: str = "template1") -> str:
    """Make a database, empty or a copy of `template`, and return its URL."""
    with psycopg.connect(host=str(folder), user="pingpan", dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE {template}')
    return f"postgresql://pingpan@/{name}?host={folder}"
