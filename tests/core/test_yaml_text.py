"""YAML read by libyaml says what PyYAML's own reader says."""

from __future__ import annotations

import pytest
import yaml

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
