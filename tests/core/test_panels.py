"""Panel files: the shipped ones load, and a wrong one is told every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import PanelError
from core.panels import get_panel, load_panel, load_panels
from core.settings import ASSETS


def test_the_cpu_panel_has_four_judges_and_a_lead() -> None:
    panel = get_panel(load_panels(ASSETS / "panels"), "cpu")
    assert len(panel.judges) == 4
    assert panel.lead in {judge.id for judge in panel.judges}
    assert {"zh", "en"} <= set(panel.names)


def test_a_judge_has_one_name_or_one_in_each_language(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("names: {zh: 甲}\nlead: a\njudges: [{id: a, name: GLM, family: f}, {id: b, name: {zh: 规则, en: Rules}, family: f}]")
    one, both = load_panel(path).judges
    assert [one.named(language) for language in ("zh", "en")] == ["GLM", "GLM"]
    assert [both.named(language) for language in ("zh", "en", "fr")] == ["规则", "Rules", "规则"]
    path.write_text("names: {zh: 甲}\nlead: a\njudges: [{id: a, name: {en: Rules}, family: f}]")
    with pytest.raises(PanelError, match="Chinese name of a is missing"):
        load_panel(path)


def test_the_hash_changes_with_the_content_and_not_with_the_comments(tmp_path: Path) -> None:
    text = "names: {zh: 甲}\nlead: a\njudges: [{id: a, name: A, family: rules}]\n"
    first, second, third = (tmp_path / f"{n}.yaml" for n in "abc")
    first.write_text(text, encoding="utf-8")
    second.write_text("# a comment\n" + text, encoding="utf-8")
    third.write_text(text.replace("rules", "ngrams"), encoding="utf-8")
    hashes = [load_panel(path).sha256 for path in (first, second, third)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_every_fault_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("names: {en: x}\nlead: c\njudges: [{id: a, name: A, family: f}, {id: a, name: B, family: f}]")
    (tmp_path / "two.yaml").write_text("names: {zh: x}\nlead: a\njudges: []\ncolour: red\nschedule: sideways")
    (tmp_path / "three.yaml").write_text("names: [")
    with pytest.raises(PanelError) as caught:
        load_panels(tmp_path)
    message = str(caught.value)
    for fault in ("stand more than once", "«c» is no judge", "Chinese name is missing", "judges:", "colour", "schedule", "three.yaml"):
        assert fault in message


def test_an_unknown_panel_is_answered_with_the_known_ones() -> None:
    with pytest.raises(PanelError, match="cpu"):
        get_panel(load_panels(ASSETS / "panels"), "gpus")
