"""A judge is put into a panel file and nothing else in it changes, however its author wrote it."""

from __future__ import annotations

import pytest
import yaml

from core.errors import PanelError
from core.settings import ASSETS
from core.types import JudgeSpec
from webapp.services.training.panel_text import add_judge, replace_judge

NEW = JudgeSpec(
    "new", "新评委", "transformers", {"model": "/models/a b/#1", "adapter": "/jobs/3/output/adapter"}, {"zh": "新评委", "en": "New: judge"}
)
LINE = {
    "id": "new",
    "name": {"zh": "新评委", "en": "New: judge"},
    "family": "transformers",
    "options": {"model": "/models/a b/#1", "adapter": "/jobs/3/output/adapter"},
}
BY_HAND = """# my panel
names: {zh: 我的}
lead: a   # leads
judges:
  - id: a
    name: A
    family: rules
    # the rules read choice rows
  - id: b   # second
    name: B
    family: ngrams
    options: {}

# the end
description: {zh: 说明}
"""
PANELS = [BY_HAND, *((ASSETS / "panels" / f"{name}.yaml").read_text(encoding="utf-8") for name in ("cpu", "servers", "gpu-24gb"))]


@pytest.mark.parametrize("text", PANELS)
def test_any_judge_can_be_replaced_and_one_added(text: str) -> None:
    judges = yaml.safe_load(text)["judges"]
    for place, judge in enumerate(judges):
        changed = replace_judge(text, judge["id"], NEW)
        assert yaml.safe_load(changed)["judges"] == [*judges[:place], LINE, *judges[place + 1 :]]
        assert yaml.safe_load(changed) | {"judges": judges} == yaml.safe_load(text)
    assert yaml.safe_load(add_judge(text, NEW))["judges"] == [*judges, LINE]


def test_comments_and_layout_stay() -> None:
    changed = replace_judge(BY_HAND, "a", NEW)
    assert changed.replace("{" + changed.split("- {")[1].split("\n")[0], "id: a\n    name: A\n    family: rules") == BY_HAND
    added = add_judge(BY_HAND, NEW)
    assert [line for line in added.splitlines() if line not in BY_HAND.splitlines()] == [added.splitlines()[12]]


def test_a_judge_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(PanelError, match="no judge «c»; choose one of: a, b"):
        replace_judge(BY_HAND, "c", NEW)
