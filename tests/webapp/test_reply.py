"""Raw replies as the pages show them: those of the real judges in words, those of models as they are."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from tests.judging.panel import FAMILIES, answers, context, dimensions, judge, library, prose, request
from webapp.pages.reply import readable_reply
from webapp.pages.translate import Language, load_translator

ZH, EN = load_translator(Language.ZH), load_translator(Language.EN)
QUOTED = re.compile("“[^”]*”")
HAN = re.compile("[一-鿿]")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_judges_own_facts_are_read_in_either_language(family: str, tmp_path: Path) -> None:
    known = dimensions()
    rows = [request(1, known["fluency"], prose(random.Random(3), 4) + "这是我们的的学校，它他走了。", "请写一篇文章")]
    if family == "rules":
        rows.append(request(2, known["choice"], "正确选项为B 模型回复为B", "下列哪个是水果？A. 桌子 B. 苹果 C. 石头 D. 汽车"))
    for found in answers(judge(family, context(tmp_path, library(60))), rows):
        raw = json.loads(found.raw_reply)
        parts = {name for entries in raw.values() if isinstance(entries, list) for entry in entries for name in entry}
        assert {f"reply.{name}" for name in raw} <= set(EN.table)
        assert parts <= {"fault", "chance", "id", *(key.removeprefix("reply_part.") for key in EN.table if key.startswith("reply_part."))}
        zh, en = readable_reply(ZH, found.raw_reply), readable_reply(EN, found.raw_reply)
        assert len(en.splitlines()) >= len(raw)
        assert HAN.search(zh)
        assert not HAN.search(QUOTED.sub("", "\n".join(line for line in en.splitlines() if not line.startswith("Evidence"))))


def test_log_probabilities_are_listed_by_label() -> None:
    raw = json.dumps({"logprobs": {"1": -0.25, "2": -3.5}, "floored": [2], "mass": 0.3})
    assert readable_reply(EN, raw).splitlines() == [
        "Log-probabilities: 1 -0.25, 2 -3.5",
        "Labels at the floor: 2",
        "Probability of all labels: 0.3",
    ]


def test_suspected_faults_are_listed_with_their_names() -> None:
    raw = json.dumps({"faults": [[3, 6, 0.91, "word"], [8, 9, 0.4], ["?"]]})
    assert readable_reply(ZH, raw).splitlines() == ["疑似错误：", "  3–6 · 91% · 用词不当", "  8–9 · 40% · 疑似错误", "  ?"]
    assert readable_reply(EN, '{"faults":[]}') == "Suspected faults: —"


@pytest.mark.parametrize("raw", ["", "4 分", "{not json", "[1]", "{" * 3000, '"x"'])
def test_what_is_no_object_stays_as_it_is(raw: str) -> None:
    assert readable_reply(EN, raw) == raw


def test_facts_without_a_name_keep_their_own() -> None:
    raw = json.dumps({"later": [{"colour": "red", "fault": "unheard_of"}], "kind": ["x"], "empty": []})
    assert readable_reply(EN, raw).splitlines() == ["later:", "  colour red unheard_of", "How the reply answers: x", "empty: —"]
