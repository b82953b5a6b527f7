"""Dimension files: the shipped ones, a user's own, and everything that can be wrong with one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.dimensions import load_dimensions
from core.dimensions.files import DimensionFile
from core.errors import DimensionError
from core.settings import ASSETS
from core.types import DimensionKind
from tests.conftest import ROOT
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
    change(folder / "choice.yaml", ("zh: 选择题", "zh: 流畅性"), ("version: 1", "version: 7"))
    change(
        folder / "normativity.yaml",
        ("empty_text_label: 5", "empty_text_label: 9"),
        ("labels: [1, 2, 3, 4, 5]", "labels: [1, 2, 3, 4, 5, 7]"),
    )
    message = faults(folder)
    for part in (
        "dimensions/fluency.yaml · colour: is no known key",
        "dimensions/fluency.yaml · levels: has no text for label [6]",
        "dimensions/fluency.yaml · levels: describes [5]",
        "dimensions/fluency.yaml · marks: marks [5]",
        "dimensions/fluency.yaml · fault_rates",
        "dimensions/fluency.yaml · names/aliases: '流畅性' already belongs to",
        "dimensions/choice.yaml · prompt: needs prompts/choice.v7.jinja",
        "dimensions/choice.yaml · needs_prompt",
        "dimensions/choice.yaml · names.en: is missing",
        "dimensions/choice.yaml · names.fr: is no known key",
        "dimensions/normativity.yaml · empty_text_label: 9",
        "dimensions/normativity.yaml · levels: has no text for label [7]",
    ):
        assert part in message
    assert message.startswith("12 fault(s)")


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


GOOD_PROMPT = "{% block system %}好笑吗？{% endblock %}{% block user %}{{ row.text }}{% endblock %}"


def own(folder: Path, dimension: str = HUMOUR, prompt: str | bytes = GOOD_PROMPT) -> Path:
    """Put one dimension with its own prompt into a folder."""
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "humour.yaml").write_text(dimension.replace("file: rubric", "file: humour"), encoding="utf-8")
    (folder / "prompts" / "humour.v1.jinja").write_bytes(prompt.encode() if isinstance(prompt, str) else prompt)
    return folder


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "fails when it is rendered"),
        ("{% for n in range(10 ** 9) %}x{% endfor %}", "fails when it is rendered"),
        ("{% include 'absent.jinja' %}", "fails when it is rendered"),
        ("{{ dimension.labels.append(9) }}", "fails when it is rendered"),
        ("{{ 1 / 0 }}", "fails when it is rendered"),
        ("{{ dimension.id | shout }}", "line 1: is no Jinja"),
        ("{{ self.user() }}", "`system` may use `dimension` only"),
    ],
)
def test_a_prompt_that_cannot_be_rendered_is_a_fault_and_stops_nothing(body: str, expected: str, extra: Path) -> None:
    prompt = f"{{% block system %}}{body}{{% endblock %}}{{% block user %}}{{{{ row.text }}}}{{% endblock %}}"
    assert expected in faults(own(extra, prompt=prompt))


def test_a_prompt_must_do_with_examples_and_without(extra: Path) -> None:
    for shown in (
        "{{ examples[0].text }}",
        "{% if examples %}{{ examples[0].score }}{% endif %}",
        "{% if not examples %}{{ row.mood }}{% endif %}",
    ):
        prompt = GOOD_PROMPT.replace("{{ row.text }}", shown + "{{ row.text }}")
        assert "fails when it is rendered" in faults(own(extra, prompt=prompt))
    assert "prompts/humour.v1.jinja: is not UTF-8" in faults(own(extra, prompt=GOOD_PROMPT.encode("gb18030")))


def test_a_prompt_that_several_dimensions_share_is_told_once(extra: Path) -> None:
    own(extra, prompt="{% block system %}a{% endblock %}")
    (extra / "wit.yaml").write_text(
        (extra / "humour.yaml")
        .read_text()
        .replace("humour\n", "wit\n")
        .replace("幽默感", "机智")
        .replace("Humour", "Wit")
        .replace("好笑]", "妙]")
    )
    assert faults(extra).startswith("1 fault(s)")


@pytest.mark.parametrize("word", ["fluency", "ＦＬＵＥＮＣＹ", "流 畅 性", "Fluency "])
def test_words_of_two_dimensions_clash_whatever_their_width_case_and_blanks(word: str, extra: Path) -> None:
    own(extra, HUMOUR.replace("[好笑]", f"['{word}']"))
    assert "humour.yaml · names/aliases:" in faults(ASSETS / "dimensions", extra)


def test_a_dimension_may_call_itself_one_word_twice(extra: Path) -> None:
    assert load_dimensions(own(extra, HUMOUR.replace("[好笑]", "[幽默 感, HUMOUR]")))["humour"].aliases == ("幽默 感", "HUMOUR")


@pytest.mark.parametrize("rates", ["{2: 0.5, 1: 2}", "{0: 0, 1: 0.1}"])
def test_either_end_of_the_scale_may_be_the_worst(rates: str, extra: Path) -> None:
    assert len(load_dimensions(own(extra, HUMOUR + f"fault_rates: {rates}\n"))["humour"].fault_rates) == 2


@pytest.mark.parametrize(
    "rates",
    [
        "{0: 1, 1: 2, 2: 3}",
        "{0: 1, 2: 2}",
        "{1: 1, 2: 2}",
        "{0: 2, 1: 1}",
        "{0: -1, 1: 2}",
        "{0: .nan, 1: 2}",
        "{0: .inf, 1: 2}",
        "{0: 1, 1: 2, 7: 3}",
        "[1, 2]",
    ],
)
def test_rates_that_give_no_order_of_labels_are_faults(rates: str, extra: Path) -> None:
    assert "humour.yaml · fault_rates" in faults(own(extra, HUMOUR + f"fault_rates: {rates}\n"))


WORDS = st.sampled_from(["a", "", None, 0, 1, 2, 1.5, True, "zh", "en", "流畅性", "fluency", "rubric"])
VALUES = st.recursive(WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8)
KEYS = (
    "id",
    "kind",
    "names",
    "aliases",
    "description",
    "labels",
    "levels",
    "needs_prompt",
    "empty_text_label",
    "marks",
    "measure",
    "fault_rates",
    "prompt",
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from((*KEYS, "more")), VALUES, min_size=1, max_size=3))
def test_any_file_is_a_dimension_or_told_as_none(changes: dict[str, object], extra: Path) -> None:
    own(extra)
    text = yaml.safe_dump({**yaml.safe_load((extra / "humour.yaml").read_text()), **changes}, allow_unicode=True)
    (extra / "humour.yaml").write_text(text, encoding="utf-8")
    try:
        (found,) = load_dimensions(extra).values()
    except DimensionError as error:
        assert len(error.messages["zh"].splitlines()) >= 2
    else:
        assert set(found.levels) == set(found.labels)


def test_the_file_that_the_docs_show_is_a_dimension_and_has_every_key(extra: Path) -> None:
    text = (ROOT / "docs/DIMENSIONS.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(id:.*?)```", text, re.DOTALL)
    (extra / "humour.yaml").write_text(shown, encoding="utf-8")
    assert load_dimensions(ASSETS / "dimensions", extra)["humour"].marks
    assert set(yaml.safe_load(shown)) == set(DimensionFile.model_fields)
