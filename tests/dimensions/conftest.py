"""Folders of dimension files that a test may spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.settings import ASSETS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped dimension files."""
    return Path(shutil.copytree(ASSETS / "dimensions", tmp_path / "dimensions"))


@pytest.fixture
def extra(tmp_path: Path) -> Path:
    """An empty second folder."""
    path = tmp_path / "mine"
    path.mkdir()
    return path


def change(path: Path, *replacements: tuple[str, str]) -> None:
    """Replace text in a file, which must be there."""
    content = path.read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in content, old
        content = content.replace(old, new)
    path.write_text(content, encoding="utf-8")
