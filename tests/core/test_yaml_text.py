"""YAML read by libyaml says what PyYAML's own reader says."""

from __future__ import annotations

import contextlib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.settings import ASSETS
from core.yaml_text import read_yaml


@pytest.mark.parametrize("name", ["translations/zh.yaml", "panels/cpu.yaml", "dimensions/choice.yaml"])
def test_shipped_files_are_read_as_by_the_slow_reader(name: str) -> None:
    text = (ASSETS / name).read_text(encoding="utf-8")
    assert read_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["a: [1, 2", "!!python/object:os.system {}", "a: b: c"])
def test_what_is_no_plain_yaml_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        read_yaml(text)


def test_a_key_that_is_written_twice_is_told_with_its_line_wherever_it_stands() -> None:
    for text, line in (("a: 1\nb: 2\na: 3", 3), ("x:\n  - {a: 1,\n     a: 2}", 3), ("{1: a, 1.0: b}", 1)):
        with pytest.raises(yaml.YAMLError, match=rf"is written twice\n.*line {line}"):
            read_yaml(text)


@pytest.mark.parametrize("value", ["2020-13-45", "!!int many", "!!int", "!!float x", "!!bool 7", "!!timestamp soon", "2020-01-01 25:00:00"])
def test_a_value_that_is_not_what_it_says_is_told_with_its_line(value: str) -> None:
    with pytest.raises(yaml.YAMLError, match="line 2"):
        read_yaml(f"first: 1\nsecond: [{{deep: {value}}}]")


def test_merged_keys_may_be_written_over() -> None:
    text = "base: &base {a: 1, b: 2}\nmine:\n  <<: *base\n  b: 3\n"
    assert read_yaml(text) == yaml.safe_load(text) == {"base": {"a": 1, "b": 2}, "mine": {"a": 1, "b": 3}}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
)
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12
)


@settings(max_examples=25)
@given(DATA)
def test_whatever_was_written_is_read_again(data: object) -> None:
    assert read_yaml(yaml.safe_dump(data, allow_unicode=True)) == data


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["a: ", "- ", "&x ", "*x", "{", "}", "[", "]", "\n  ", "<<: ", "? ", "!!int ", "1", "'"])).map("".join)
)
def test_any_text_is_read_or_told_as_no_yaml(text: str) -> None:
    with contextlib.suppress(yaml.YAMLError):
        read_yaml(text)
