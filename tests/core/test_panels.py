"""Panel files: the shipped ones load, and a wrong one is told every fault at once."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

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


GOOD = "names: {zh: 甲, en: A}\nlead: a\njudges: [{id: a, name: A, family: rules}]\n"


def told(path: Path, content: str | bytes) -> tuple[str, str]:
    """Return what is said of a panel file in English and in Chinese, which say equally many things."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(PanelError) as caught:
        load_panel(path)
    en, zh = (caught.value.messages[language] for language in ("en", "zh"))
    assert len(en.splitlines()) == len(zh.splitlines())
    assert str(path) in en
    assert str(path) in zh
    return en, zh


@pytest.mark.parametrize(
    ("old", "new", "en", "zh"),
    [
        ("lead: a", "lead: b", "«b» is no judge of this panel; write one of a", "评委组中没有「b」，请从 a 中选一个"),
        ("zh: 甲, ", "", "the Chinese name is missing", "缺少中文名称"),
        ("name: A", "name: {en: A}", "the Chinese name of a is missing", "a 缺少中文名称"),
        ("[{id", "[{id: a, name: B, family: f}, {id", "the ids a stand more than once", "编号 a 重复"),
        ("zh: 甲", "zh: ''", "names.zh", "names.zh"),
        ("id: a", "id: a b", "judges.0.id", "judges.0.id"),
        ("family: rules", "family: rules, options: {since: 2026-01-01}", "judges.0.options.since", "judges.0.options.since"),
        ("family: rules", "family: rules, options: {1: a}", "judges.0.options.1", "judges.0.options.1"),
        ("lead: a", "lead: a\nlead: a", "'lead' is written twice", "'lead' is written twice"),
        ("lead: a", "lead: 2026-02-30", "cannot be read", "无法读取"),
    ],
)
def test_each_fault_is_told_in_both_languages(old: str, new: str, en: str, zh: str, tmp_path: Path) -> None:
    assert old in GOOD
    english, chinese = told(tmp_path / "p.yaml", GOOD.replace(old, new))
    assert en in english
    assert zh in chinese


@pytest.mark.parametrize("content", ["", "[]", "3", "names", GOOD.encode("utf-16"), "names: {zh: 名}".encode("gb18030")])
def test_what_is_no_panel_at_all_is_told_with_the_file(content: str | bytes, tmp_path: Path) -> None:
    told(tmp_path / "p.yaml", content)


def test_a_folder_that_is_named_like_a_panel_is_told_beside_the_other_faults(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").mkdir()
    (tmp_path / "two.yaml").write_text(GOOD.replace("lead: a", "lead: b"))
    with pytest.raises(PanelError) as caught:
        load_panels(tmp_path)
    assert "one.yaml" in caught.value.messages["zh"]
    assert "评委组中没有「b」" in caught.value.messages["zh"]
    assert "lead: «b»" in caught.value.messages["en"]


def test_a_panel_of_ones_own_takes_the_place_of_a_shipped_one_and_a_missing_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "cpu.yaml").write_text(GOOD)
    (tmp_path / "cpu.txt").write_text("no panel")
    shipped = load_panels(ASSETS / "panels", tmp_path / "absent")
    both = load_panels(ASSETS / "panels", tmp_path)
    assert list(both) == list(shipped)
    assert (both["cpu"].names["zh"], len(both["cpu"].judges)) == ("甲", 1)
    assert both["gpu-24gb"] == shipped["gpu-24gb"]
    with pytest.raises(PanelError, match="choose one of: none") as caught:
        get_panel({}, "cpu")
    assert "没有名为「cpu」的评委组" in caught.value.messages["zh"]


def test_the_hash_knows_judges_in_another_order_but_not_keys_in_another_order(tmp_path: Path) -> None:
    first, second = "{id: a, name: A, family: f, options: {x: 1, y: 2}}", "{id: b, name: B, family: f}"
    turned = first.replace("x: 1, y: 2", "y: 2, x: 1")
    hashes = []
    for number, judges in enumerate(([first, second], [turned, second], [second, first])):
        lines = ["names: {zh: 甲}", "lead: a", f"judges: [{', '.join(judges)}]"]
        path = tmp_path / f"{number}.yaml"
        path.write_text("\n".join(lines if number != 1 else reversed(lines)))
        hashes.append(load_panel(path).sha256)
    assert hashes[0] == hashes[1] != hashes[2]


PIECES = ("names", "lead", "judges", "schedule", "id", "name", "family", "options", "zh", "a", "together", "", None, 1, 0.5, True)
VALUES = st.recursive(
    st.sampled_from(PIECES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PIECES), inner, max_size=5),
    max_leaves=15,
)


@settings(max_examples=25)
@given(
    st.fixed_dictionaries(
        {}, optional={"names": VALUES, "lead": VALUES, "judges": VALUES, "schedule": VALUES, "description": VALUES, "more": VALUES}
    )
)
def test_any_file_is_a_panel_or_told_as_none(tmp_path_factory: pytest.TempPathFactory, data: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    with contextlib.suppress(PanelError):
        panel = load_panel(path)
        assert panel.lead in {judge.id for judge in panel.judges}
        assert all(judge.named(language) for judge in panel.judges for language in ("zh", "en"))
