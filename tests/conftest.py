"""Fixtures that every test may use, and the wall around them: no socket leaves this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = Path(os.environ.get("PINGPAN_TEST_DATA", ROOT.parent / "shared" / "data"))

# The files that take longest, longest first: begun last, one of them would keep a single worker busy while the others are idle.
LONGEST = (
    "webapp/browser/test_review", "training/runner/test_loop", "cli/test_judge", "webapp/browser/test_training", "pipeline/test_killed",
    "webapp/browser/test_real_server", "training/test_resume", "webapp/test_startup", "webapp/browser/test_team", "webapp/browser/test_why",
    "webapp/browser/test_desk", "training/test_finetune", "training/runner/test_runner", "training/test_merge", "webapp/browser/test_faults",
    "webapp/browser/test_live_pages", "webapp/test_light_gradio", "db/test_migrations", "webapp/test_login", "webapp/test_why",
)  # fmt: skip


# The same examples on every machine, and no limit of time that a busy one could break.
settings.register_profile("pingpan", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("pingpan")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; the others keep their order."""
    place = {ROOT / "tests" / f"{name}.py": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


def _is_loopback(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = str(address[0])
    if host in {"localhost", ""}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if not _is_loopback(address):
            raise RuntimeError(f"A test tried to reach {address!r}; tests stay on this machine.")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PINGPAN_HOME of this test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("PINGPAN_HOME", str(folder))
    return folder


def real_file(name: str) -> Path:
    """Return a file of the competition, or skip the test where it is not there."""
    path = REAL_DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not beside this checkout")
    return path
