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


def wrong(**values: object) -> tuple[str, str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(**values)
    return caught.value.messages["en"], caught.value.messages["zh"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65_536),
        ("port", -1),
        ("examples", 51),
        ("batch_size", 0),
        ("max_rows", 0),
        ("max_upload_mb", 0),
        ("hub", "github"),
        ("open_browser", "perhaps"),
    ],
)
def test_what_a_setting_may_not_hold_is_told_in_both_languages(name: str, value: object) -> None:
    en, zh = wrong(**{name: value})
    assert en.startswith("These settings cannot be used; correct or unset them:")
    assert zh.startswith("以下设置无法使用，请改正或取消：")
    assert en.splitlines()[1:] == zh.splitlines()[1:]
    assert f"PINGPAN_{name.upper()}={value!r}: " in en


@pytest.mark.parametrize(
    ("name", "value"), [("port", 0), ("port", 65_535), ("examples", 0), ("examples", 50), ("batch_size", 1), ("hub", "modelscope")]
)
def test_the_ends_of_a_range_may_be_used(name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PINGPAN_{name.upper()}", str(value))
    assert getattr(load_settings(), name) == value


def test_paths_are_taken_from_where_the_process_stands_and_from_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for given, meant in (("~/pingpan", tmp_path / "me" / "pingpan"), ("data", tmp_path / "data"), ("/srv/pingpan", Path("/srv/pingpan"))):
        monkeypatch.setenv("PINGPAN_HOME", given)
        monkeypatch.setenv("PINGPAN_USERS_FILE", given)
        settings = load_settings()
        assert (settings.home, settings.users_file) == (meant, meant)
        assert settings.judge_cache() == meant / "cache" / "judges"
    monkeypatch.setenv("PINGPAN_USERS_FILE", "")
    assert load_settings().users_file is None


def test_a_file_beside_the_process_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PINGPAN_PORT=8001\nPINGPAN_EXAMPLES=7\nANOTHER_PROGRAM=1\n", encoding="utf-8")
    monkeypatch.setenv("PINGPAN_PORT", "9001")
    settings = load_settings()
    assert (settings.port, settings.examples) == (9001, 7)
    assert load_settings(port=1).port == 1


def test_folders_of_ones_own_are_read_after_the_shipped_ones(home: Path) -> None:
    settings = load_settings()
    assert settings.dimension_folders() == (settings.dimensions_dir,)
    assert settings.panel_folders() == (settings.panels_dir, home / "panels")
    (home / "dimensions").mkdir(parents=True)
    assert settings.dimension_folders() == (settings.dimensions_dir, home / "dimensions")
