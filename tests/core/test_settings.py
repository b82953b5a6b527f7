"""Settings come from the environment, and a wrong one is told with its name, its value and what it may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import PROJECT_ROOT, load_settings


def test_home_defaults_to_the_data_folder_of_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PINGPAN_HOME", raising=False)
    assert load_settings().home == PROJECT_ROOT / "data"


def test_the_environment_decides(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGPAN_PORT", "9000")
    settings = load_settings()
    assert (settings.port, settings.home) == (9000, home)
    assert settings.resolved_database_url() == f"sqlite:///{home / 'pingpan.db'}"


def test_a_database_url_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGPAN_DATABASE_URL", "postgresql+psycopg://me@localhost/pingpan")
    assert load_settings().resolved_database_url() == "postgresql+psycopg://me@localhost/pingpan"


def test_every_wrong_setting_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGPAN_PORT", "http")
    monkeypatch.setenv("PINGPAN_EXAMPLES", "-3")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    for part in ("PINGPAN_PORT", "'http'", "PINGPAN_EXAMPLES", "'-3'"):
        assert part in str(caught.value)
