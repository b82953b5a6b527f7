"""Panels that people copy, edit and take away: nothing shipped is written to, no version is lost, every fault is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import NotFound, PanelError
from core.panels import load_panels
from core.settings import Settings
from webapp.services.panel_desk import PanelDesk

OWN = """names: {zh: 我的评委组, en: Mine}
lead: rules
judges:
  - {id: rules, name: Rules, family: rules}
  - {id: other, name: Other, family: ngrams}
"""


@pytest.fixture
def desk(tmp_path: Path) -> PanelDesk:
    settings = Settings(home=tmp_path, _env_file=None)  # type: ignore[call-arg]
    return PanelDesk(settings, load_panels(*settings.panel_folders()))


def test_a_copy_under_a_new_name_is_there_at_once_and_after_a_restart(desk: PanelDesk, tmp_path: Path) -> None:
    name = desk.free_name("cpu")
    saved = desk.save(name, desk.text("cpu"))
    assert (saved.id, desk.panel(name).judges, desk.is_own(name)) == ("cpu-2", desk.panel("cpu").judges, True)
    assert desk.free_name("cpu") == "cpu-3"
    assert load_panels(*Settings(home=tmp_path, _env_file=None).panel_folders())[name] == saved  # type: ignore[call-arg]


def test_every_version_is_kept_and_can_be_read_again(desk: PanelDesk) -> None:
    desk.save("mine", OWN)
    os.utime(desk.folder / "versions" / "mine" / f"{desk.versions('mine')[0].id}.yaml", (1, 1))
    desk.save("mine", OWN.replace("Mine", "Better"))
    first, second = desk.versions("mine")[1], desk.versions("mine")[0]
    assert (first.current, second.current) == (False, True)
    assert desk.text("mine", first.id) == OWN
    assert "Better" in desk.text("mine")


def test_a_removed_panel_is_gone_and_its_text_puts_it_back(desk: PanelDesk) -> None:
    desk.save("mine", OWN)
    text = desk.remove("mine")
    with pytest.raises(NotFound, match="mine"):
        desk.panel("mine")
    assert desk.save("mine", text).lead == "rules"


def test_what_another_process_writes_is_taken_in_and_a_broken_file_is_not(desk: PanelDesk, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, _env_file=None)  # type: ignore[call-arg]
    other = PanelDesk(settings, load_panels(*settings.panel_folders()))
    other.save("mine", OWN)
    assert desk.panel("mine").names["en"] == "Mine"
    (desk.folder / "mine.yaml").write_text("names: {zh: 坏}", encoding="utf-8")
    assert desk.panel("mine").names["en"] == "Mine"


def test_what_is_shipped_is_never_written_to_nor_removed(desk: PanelDesk) -> None:
    with pytest.raises(PanelError, match="shipped with Pingpan and stays as it is"):
        desk.save("cpu", OWN)
    with pytest.raises(PanelError, match="cannot be removed") as caught:
        desk.remove("cpu")
    assert "不能移除" in caught.value.messages["zh"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("../evil", OWN, "letters, digits"),
        ("", OWN, "letters, digits"),
        ("mine", "names: [", "cannot be read"),
        ("mine", OWN.replace("lead: rules", "lead: nobody"), "nobody"),
        ("mine", OWN.replace("family: ngrams", "family: oracle"), "'oracle' is unknown"),
        ("mine", OWN.replace("family: ngrams", "family: server"), "base_url"),
        ("mine", "", "file"),
        ("mine", "x" * 200_001, "longer than"),
    ],
)
def test_a_text_that_cannot_be_a_panel_is_told_and_not_kept(desk: PanelDesk, name: str, text: str, told: str) -> None:
    faults = desk.faults(name, text)
    assert told in "\n".join(fault["en"] for fault in faults)
    assert all(fault["zh"] for fault in faults)
    with pytest.raises(PanelError):
        desk.save(name, text)
    assert not desk.folder.exists()


def test_a_version_that_is_none_is_refused(desk: PanelDesk) -> None:
    desk.save("mine", OWN)
    for version in ("0" * 12, "../../x", "zz"):
        with pytest.raises(NotFound):
            desk.text("mine", version)
