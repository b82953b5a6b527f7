"""Panels that people copy, edit and take away: nothing shipped is written to, no version is lost, every fault is told."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_broken_file_keeps_no_other_panel_back(desk: PanelDesk, tmp_path: Path) -> None:
    desk.save("mine", OWN)
    (desk.folder / "mine.yaml").write_bytes(b"\xff\xfe: broken")
    (desk.folder / "worse.yaml").write_text("lead: [", encoding="utf-8")
    assert desk.save("other", OWN).id == "other"
    assert desk.panel("mine").names["en"] == "Mine"  # as it was read last
    assert "worse" not in [panel.id for panel in desk.panels()]
    desk.remove("other")
    assert "other" not in [panel.id for panel in desk.panels()]
    (desk.folder / "mine.yaml").write_text(OWN.replace("Mine", "Mended"), encoding="utf-8")
    assert desk.panel("mine").names["en"] == "Mended"


def test_the_same_text_again_is_no_new_version_and_an_old_one_again_is_the_newest(desk: PanelDesk) -> None:
    other = OWN.replace("Mine", "Other")
    for age, text in ((3, OWN), (2, OWN), (1, other)):
        desk.save("mine", text)
        kept = desk.folder / "versions" / "mine" / f"{desk.versions('mine')[0].id}.yaml"
        os.utime(kept, (kept.stat().st_mtime - age * 100,) * 2)
    assert [version.current for version in desk.versions("mine")] == [True, False]
    desk.save("mine", OWN)
    newest, older = desk.versions("mine")
    assert (newest.current, desk.text("mine", newest.id), desk.text("mine", older.id)) == (True, OWN, other)
    assert newest.saved_at > older.saved_at
    assert newest.saved_at.tzinfo is not None


def test_a_text_that_was_written_by_hand_is_kept_when_another_is_saved_over_it(desk: PanelDesk) -> None:
    desk.save("mine", OWN)
    by_hand = OWN.replace("Mine", "By hand")
    (desk.folder / "mine.yaml").write_text(by_hand, encoding="utf-8")
    desk.save("mine", OWN.replace("Mine", "Later"))
    assert by_hand in [desk.text("mine", version.id) for version in desk.versions("mine")]
    (desk.folder / "mine.yaml").write_text(by_hand + "# once more\n", encoding="utf-8")
    assert desk.remove("mine") == by_hand + "# once more\n"
    desk.save("mine", OWN)
    assert by_hand + "# once more\n" in [desk.text("mine", version.id) for version in desk.versions("mine")]


def test_panels_that_are_saved_at_once_are_all_there_and_whole(desk: PanelDesk, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, _env_file=None)  # type: ignore[call-arg]
    other = PanelDesk(settings, load_panels(*settings.panel_folders()))
    texts = [OWN.replace("Mine", f"Mine {number}") for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: (desk, other)[pair[0] % 2].save(f"p{pair[0] % 6}", pair[1]), enumerate(texts)))
    for seen in (desk, other):
        assert {f"p{number}" for number in range(6)} <= {panel.id for panel in seen.panels()}
    assert sorted(text for number in range(6) for text in versions(desk, f"p{number}")) == sorted(texts)
    assert not list(desk.folder.rglob(".*"))  # nothing half written stays


def versions(desk: PanelDesk, name: str) -> list[str]:
    return [desk.text(name, version.id) for version in desk.versions(name)]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "-a", "名", "a" * 65, "a\n"])
def test_no_name_leads_out_of_the_folder(desk: PanelDesk, name: str) -> None:
    assert any("name:" in fault["en"] and "名称" in fault["zh"] for fault in desk.faults(name, OWN))
    assert not desk.is_own(name)
    assert desk.versions(name) == ()
    with pytest.raises(PanelError):
        desk.save(name, OWN)
    with pytest.raises(NotFound):
        desk.text(name)
    assert not desk.folder.exists()


def test_a_copy_has_a_name_that_can_be_saved_whatever_the_originals(desk: PanelDesk) -> None:
    long = "a" * 64
    desk.save(long, OWN)
    copy = desk.free_name(long)
    assert desk.save(copy, desk.text(long)).id == copy != long


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{id: s, name: S, family: server, options: {model: m, no_such: 1}}", "no_such"),
        ("{id: t, name: T, family: transformers, options: {quantization: best}}", "quantization"),
        ("{id: h, name: H, family: ordinal_head, options: {engine: 3}}", "engine"),
        ("{id: x, name: X, family: nothing}", "judges.x.family"),
        ("{id: rules, name: Again, family: rules}", "rules"),
    ],
)
def test_every_judges_faults_are_told_in_both_languages_at_once(desk: PanelDesk, line: str, words: str) -> None:
    faults = desk.faults("mine", OWN + f"  - {line}\n")
    for language in ("en", "zh"):
        assert words in "\n".join(fault[language] for fault in faults)
    assert str(desk.folder) not in str(faults)  # nobody needs to know where texts are checked


@given(st.text(max_size=60) | st.builds(lambda head, tail: OWN[:head] + tail, st.integers(0, len(OWN)), st.text(max_size=10)))
def test_any_text_is_a_panel_or_is_told_why_not(text: str) -> None:
    desk = PanelDesk(Settings(home=Path("/nowhere"), _env_file=None), {})  # type: ignore[call-arg]
    assert all(set(fault) >= {"en", "zh"} and fault["en"] for fault in desk.faults("mine", text))
