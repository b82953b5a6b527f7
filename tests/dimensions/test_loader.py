"""Dimension files: the shipped ones, a user's own, and everything that can be wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.dimensions import load_dimensions
from core.errors import DimensionError
from core.settings import ASSETS
from core.types import DimensionKind
from tests.dimensions.conftest import change

HUMOUR = """
id: humour
kind: ordinal
names: {zh: 幽默感, en: Humour}
aliases: [好笑]
description: {zh: 文本好不好笑。, en: How funny the text is.}
labels: [0, 1, 2]
levels:
  0: {zh: 不好笑, en: not funny}
  1: {zh: 有点好笑, en: a little}
  2: {zh: 很好笑, en: very}
needs_prompt: false
prompt: {file: rubric, version: 1}
"""


def faults(*folders: Path) -> str:
    with pytest.raises(DimensionError) as caught:
        load_dimensions(*folders)
    assert caught.value.messages["zh"] != caught.value.messages["en"]
    assert len(caught.value.messages["zh"].splitlines()) == len(str(caught.value).splitlines())
    return str(caught.value)


def test_the_shipped_dimensions_are_those_of_the_competition() -> None:
    dimensions = load_dimensions(ASSETS / "dimensions")
    assert {key: dimension.names["zh"] for key, dimension in dimensions.items()} == {
        "fluency": "流畅性",
        "normativity": "规范性",
        "choice": "选择题",
    }
    fluency, normativity, choice = (dimensions[key] for key in ("fluency", "normativity", "choice"))
    assert fluency.labels == normativity.labels == (1, 2, 3, 4, 5)
    assert choice.labels == (0, 1)
    assert (fluency.kind, choice.kind) == (DimensionKind.ORDINAL, DimensionKind.NOMINAL)
    assert (fluency.needs_prompt, normativity.needs_prompt, choice.needs_prompt) == (False, True, True)
    assert (fluency.empty_text_label, normativity.empty_text_label, choice.empty_text_label) == (None, 5, None)
    assert fluency.prompt_version == "fluency.v1"
    assert all(set(level) == {"zh", "en"} for dimension in dimensions.values() for level in dimension.levels.values())


@pytest.mark.parametrize(
    ("dimension_id", "unit", "bounds"),
    [("fluency", "100 ", ["0.5", "1 ", "2 ", "2.5"]), ("normativity", "1,000 ", ["1 ", "2 ", "4 ", "5 "])],
)
def test_levels_state_the_error_rates_of_the_rubric(dimension_id: str, unit: str, bounds: list[str]) -> None:
    dimension = load_dimensions(ASSETS / "dimensions")[dimension_id]
    for label, bound in zip((5, 4, 3, 2), bounds, strict=True):
        for language in ("zh", "en"):
            assert unit in dimension.levels[label][language]
            assert bound in dimension.levels[label][language]
    assert bounds[-1] in dimension.levels[1]["zh"]


def test_a_file_in_a_second_folder_adds_a_dimension(extra: Path) -> None:
    (extra / "humour.yaml").write_text(HUMOUR, encoding="utf-8")
    dimensions = load_dimensions(ASSETS / "dimensions", extra)
    assert list(dimensions) == ["choice", "fluency", "normativity", "humour"]
    assert dimensions["humour"].name("en") == "Humour"
    assert dimensions["humour"].levels[2]["zh"] == "很好笑"


def test_a_file_may_bring_its_own_prompt(extra: Path) -> None:
    (extra / "humour.yaml").write_text(HUMOUR.replace("file: rubric, version: 1", "file: humour, version: 3"), encoding="utf-8")
    (extra / "prompts").mkdir()
    template = "{% block system %}好笑吗？{% endblock %}{% block user %}{{ row.text }}{% endblock %}"
    (extra / "prompts" / "humour.v3.jinja").write_text(template, encoding="utf-8")
    assert load_dimensions(extra)["humour"].prompt_version == "humour.v3"


def test_a_rate_of_faults_may_mean_a_label_and_need_not(extra: Path) -> None:
    (extra / "humour.yaml").write_text(HUMOUR + "fault_rates: {0: 0.5, 1: 2}\n", encoding="utf-8")
    known = load_dimensions(ASSETS / "dimensions", extra)
    assert known["fluency"].fault_rates == {5: 0.5, 4: 1.0, 3: 2.0, 2: 2.5}
    assert known["humour"].fault_rates == {0: 0.5, 1: 2.0}
    assert known["normativity"].fault_rates == {}


def test_every_fault_of_every_file_comes_in_one_message(folder: Path) -> None:
    change(folder / "fluency.yaml", ("labels: [1, 2, 3, 4, 5]", "labels: [1, 2, 3, 4, 6]"), ("kind: ordinal", "kind: ordinal\ncolour: red"))
    change(folder / "choice.yaml", ("needs_prompt: true", "needs_prompt: perhaps"), ("en: Multiple choice", "fr: Choix"))
    change(
        folder / "normativity.yaml",
        ("empty_text_label: 5", "empty_text_label: 9"),
        ("labels: [1, 2, 3, 4, 5]", "labels: [1, 2, 3, 4, 5, 7]"),
    )
    message = faults(folder)
    for part in (
        "dimensions/fluency.yaml · colour: is no known key",
        "dimensions/choice.yaml · needs_prompt",
        "dimensions/choice.yaml · names.en: is missing",
        "dimensions/choice.yaml · names.fr: is no known key",
        "dimensions/normativity.yaml · empty_text_label: 9",
        "dimensions/normativity.yaml · levels: has no text for label [7]",
    ):
        assert part in message
    assert message.startswith("6 fault(s)")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("id: fluency", "id: Fluency One", "fluency.yaml · id"),
        ("labels: [1, 2, 3, 4, 5]", "labels: [1, 3, 2, 4, 5]", "must rise"),
        ("labels: [1, 2, 3, 4, 5]", "labels: [1, 2, 3, 4]", "describes [5]"),
        ("labels: [1, 2, 3, 4, 5]", "labels: [1]", "fluency.yaml · labels"),
        ("labels: [1, 2, 3, 4, 5]", 'labels: [1, 2, 3, 4, "5"]', "fluency.yaml · labels.4"),
        ("kind: ordinal", "kind: sorted", "'sorted'"),
        ("version: 1", "version: 7", "prompts/fluency.v7.jinja, which is in none of the folders"),
        ("file: fluency", "file: ../fluency", "no folder, no ending"),
        ("aliases: [", "aliases: [规范性, ", "already belongs to"),
        ("id: fluency", "id: choice", "already belongs to"),
        ("needs_prompt: false", "needs_prompt: false\nneeds_prompt: true", "is written twice"),
        ("kind: ordinal", "kind: [ordinal", "is not readable YAML"),
        ("{5: 0.5, 4: 1, 3: 2, 2: 2.5}", "{5: 0.5, 4: 1, 3: 2}", "fluency.yaml · fault_rates"),
        ("{5: 0.5, 4: 1, 3: 2, 2: 2.5}", "{5: 0.5, 4: 1, 3: 1, 2: 2.5}", "but the worst"),
        ("{5: 0.5, 4: 1, 3: 2, 2: 2.5}", "{5: 0.5, 4: 2, 3: 1, 2: 2.5}", "rises from the best label on"),
        ("{5: 0.5, 4: 1, 3: 2, 2: 2.5}", "{5: 0.5, 4: 1, 3: 2, 2: much}", "fluency.yaml · fault_rates.2"),
        ("kind: ordinal", "kind: nominal", "these labels have no order"),
    ],
)
def test_a_wrong_value_is_named_with_file_and_key(folder: Path, old: str, new: str, expected: str) -> None:
    change(folder / "fluency.yaml", (old, new))
    assert expected in faults(folder)


def test_yaml_faults_name_the_line(folder: Path) -> None:
    (folder / "fluency.yaml").write_text("id: a\nkind: b: c\n", encoding="utf-8")
    assert "fluency.yaml · line 2" in faults(folder)


def test_files_in_another_encoding_or_without_keys_are_named(folder: Path) -> None:
    (folder / "fluency.yaml").write_bytes("id: 流畅性".encode("gb18030"))
    (folder / "choice.yaml").write_text("", encoding="utf-8")
    message = faults(folder)
    assert "fluency.yaml: is not UTF-8" in message
    assert "choice.yaml: holds no keys" in message


def test_a_missing_or_empty_folder_is_an_error(tmp_path: Path, extra: Path) -> None:
    assert "is no folder" in faults(tmp_path / "absent")
    assert "has no dimension file" in faults(extra)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% block system %}a{% endblock %}", "block user: is missing"),
        ("{% block system %}a{% endblock %}{% block user %}{{ row.text", "is no Jinja"),
        ("{% block system %}{{ dimenson.id }}{% endblock %}{% block user %}{{ row.text }}{% endblock %}", "dimenson: is no name"),
        ("{% block system %}a{% endblock %}{% block user %}{{ row.txt }}{% endblock %}", "fails when it is rendered"),
        ("{% block system %}{{ row.text }}{% endblock %}{% block user %}{{ row.text }}{% endblock %}", "`system` may use `dimension` only"),
        ("{% block system %}a{% endblock %}{% block user %}judge!{% endblock %}", "does not show row.text"),
        ("{% block system %} {% endblock %}{% block user %}{{ row.text }}{% endblock %}", "block system: renders to nothing"),
        (
            "{% block system %}{{ ''.__class__.__mro__ }}{% endblock %}{% block user %}{{ row.text }}{% endblock %}",
            "fails when it is rendered",
        ),
    ],
)
def test_a_wrong_prompt_is_a_fault_like_any_other(folder: Path, template: str, expected: str) -> None:
    (folder / "prompts" / "fluency.v1.jinja").write_text(template, encoding="utf-8")
    assert expected in faults(folder)


def test_one_prompt_version_in_two_folders_is_a_fault(folder: Path, extra: Path) -> None:
    (extra / "humour.yaml").write_text(HUMOUR, encoding="utf-8")
    (extra / "prompts").mkdir()
    (extra / "prompts" / "rubric.v1.jinja").write_text("x", encoding="utf-8")
    assert "rubric.v1.jinja stands in several folders" in faults(folder, extra)
