"""A judge is put into a panel file and nothing else in it changes, however its author wrote it."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import PanelError
from core.settings import ASSETS
from core.types import JudgeSpec
from webapp.services.training.panel_text import add_judge, rename, replace_judge

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


WORDS = st.text(max_size=8)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS
OPTIONS = st.dictionaries(WORDS, VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(WORDS, VALUES, max_size=2), max_size=3)
DEEP = "id: p\nnames: {zh: 甲}\njudges:\n      - id: a   # first\n        family: rules\n        # between\n      - {id: b, family: rules}\nz: 1 # end\n"
FLOW = "judges: [{id: a, family: r}, {id: b, family: s}]\nnames:\n  zh: 甲\n  # both\n  en: A\nz: 1\n"


@settings(max_examples=30)
@given(text=st.sampled_from([DEEP, FLOW]), which=st.sampled_from("ab"), judge_id=WORDS, name=WORDS, options=OPTIONS)
@example(text=DEEP, which="a", judge_id="no", name="two\nlines", options={"a": "x\u0085y: #z", "1": ["\u2028", "{"]})
def test_whatever_a_judge_is_called_and_told_is_read_back_from_the_file(
    text: str, which: str, judge_id: str, name: str, options: dict[str, object]
) -> None:
    judge = JudgeSpec(judge_id, name, "rules", options)
    line = {"id": judge_id, "name": name, "family": "rules", "options": options}
    before = yaml.safe_load(text)
    replaced = [line if one["id"] == which else one for one in before["judges"]]
    assert yaml.safe_load(replace_judge(text, which, judge)) == {**before, "judges": replaced}
    assert yaml.safe_load(add_judge(text, judge)) == {**before, "judges": [*before["judges"], line]}
    assert yaml.safe_load(rename(text, {"zh": name, "en": judge_id})) == {**before, "names": {"zh": name, "en": judge_id}}


@pytest.mark.parametrize("text", ["", "[]", "names: {zh: 甲}", "judges: []", "judges: {a: 1}"])
def test_a_file_without_judges_is_told(text: str) -> None:
    with pytest.raises(PanelError, match="no judges") as caught:
        add_judge(text, NEW)
    assert "没有" in caught.value.messages["zh"]
