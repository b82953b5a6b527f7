"""People's answers as rows to learn from: what each character becomes, what stays out, and that they teach what they say."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.dimensions import load_dimensions
from core.errors import JobError
from core.faultmarks import DEFECT_KINDS, MARK_KINDS, MarkKind
from core.faultplaces import AnswerKind
from core.settings import ASSETS
from core.training import EventKind, Split
from tests.judging.head.build import made_up, tiny_base
from tests.training.build import events, finish, rows, snapshot
from tests.training.faults.test_jobs import SMALL
from training.faults.answers import AnswerCounts, AnsweredText, Say, answered_rows, read_answers, seen_as_often
from training.faults.learning import Learner, LearnerOptions, Method, Schedule, Unwatched, make_learner
from training.faults.pretrain import ANY_FAULT, UNTAGGED, TaggedRow, pretrain, tag_rows
from training.faults.rows import Recipe, make_rows
from training.faults.spec import FaultPretrainSpec

KNOWN = load_dimensions(ASSETS / "dimensions")
CONFIRM, REJECT, MISSED = AnswerKind.CONFIRM, AnswerKind.REJECT, AnswerKind.MISSED
TEXT = "甲乙丙丁戊己庚辛壬癸"
ORDER = MARK_KINDS.index(MarkKind.ORDER) + 1


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def learner(base: Path) -> Learner:
    return make_learner(base, LearnerOptions(method=Method.FULL, max_length=256, trains_embeddings=True), 5)


def tags(*says: Say, kinds: Sequence[MarkKind] = MARK_KINDS, dimension: str = "fluency") -> list[int]:
    made, _ = answered_rows([AnsweredText(TEXT, dimension, "", says)], kinds, KNOWN, [])
    return list(made[0].tags) if made else []


def test_only_what_somebody_answered_on_has_a_class() -> None:
    found = tags(Say(1, 3, "order", CONFIRM, "林"), Say(4, 5, "typo", REJECT, "林"), Say(6, 8, None, MISSED, "吴"))
    assert found == [UNTAGGED, ORDER, ORDER, UNTAGGED, 0, UNTAGGED, ANY_FAULT, ANY_FAULT, UNTAGGED, UNTAGGED]


def test_the_majority_decides_a_draw_leaves_unknown_and_everybody_has_one_voice() -> None:
    yes, no = Say(0, 2, "order", CONFIRM, "林"), Say(1, 3, "order", REJECT, "吴")
    assert tags(yes, no)[:4] == [ORDER, UNTAGGED, 0, UNTAGGED]
    assert tags(yes, no, Say(1, 2, "typo", CONFIRM, "张"))[1] == ANY_FAULT  # faulty, but order or typo is a draw
    assert tags(yes, no, Say(1, 2, None, MISSED, "张"))[1] == ORDER
    assert tags(yes, no, Say(0, 9, "word", REJECT, "林"))[:4] == [ORDER, UNTAGGED, 0, 0]  # the shorter of one's own counts
    assert tags(Say(0, 2, "order", CONFIRM, "林"), Say(1, 3, "order", REJECT, "林"))[:3] == [ORDER, UNTAGGED, 0]
    text = AnsweredText(TEXT, "fluency", "", (replace(yes, end=1), replace(no, start=0, end=1)))
    assert answered_rows([text], MARK_KINDS, KNOWN, []) == ([], AnswerCounts(outvoted=2))


def test_answers_of_kinds_that_are_not_learned_stay_out_and_are_counted() -> None:
    says = (
        Say(0, 1, "off_topic", CONFIRM, "林"),
        Say(2, 3, None, MISSED, "林"),
        Say(4, 5, "typo", CONFIRM, "林"),
        Say(6, 7, "new", REJECT, "林"),
    )
    both = [AnsweredText(TEXT, dimension, "题目", says) for dimension in ("fluency", "normativity")]
    language, counts = answered_rows(both, MARK_KINDS, KNOWN, [])
    assert len(language) == 1  # one text, whatever it was written for
    assert [place for place, tag in enumerate(language[0].tags) if tag != UNTAGGED] == [2, 4]
    assert (counts.missed, counts.confirmed, counts.other_kinds) == (1, 2, 5)
    defects, counts = answered_rows(both, DEFECT_KINDS, KNOWN, [], with_prompts=True)
    assert [(one.prompt, one.tags[0]) for one in defects] == [("题目", 1)]
    assert (counts.confirmed, counts.missed) == (2, 0)  # what is wrong in a text with a prompt may be language


def test_answers_on_families_that_are_held_out_stay_out_and_are_counted() -> None:
    draw = random.Random(5)
    held, free = ("".join(chr(draw.randint(0x4E00, 0x9FA5)) for _ in range(120)) for _ in range(2))
    kin, short = held[:60] + "他" + held[60:], "？！"
    say = Say(0, 2, "order", CONFIRM, "林")
    texts = [AnsweredText(text, "fluency", "", (say, replace(say, start=1))) for text in (held, kin, kin[:80] + free[:60], short, free)]
    barred = [replace(row, text=text) for row, text in zip(rows(2, Split.HELD_OUT), (held, short), strict=True)]
    made, counts = answered_rows(texts, MARK_KINDS, KNOWN, barred)
    assert [row.text for row in made] == []  # the last is kin of the third, and that of the held-out row
    assert counts.held_out == 10
    made, counts = answered_rows([texts[0], texts[1], texts[4]], MARK_KINDS, KNOWN, barred)
    assert [row.text for row in made] == [free]
    assert (counts.held_out, counts.confirmed, counts.texts) == (4, 2, 1)
    assert "4 on rows that are held out" in counts.words()["en"]


def test_a_token_is_faulty_by_one_character_and_sound_by_all(base: Path) -> None:
    one = learner(base)
    text = "金木水火土石"
    says = (Say(1, 2, "order", CONFIRM, "林"), Say(2, 3, "order", REJECT, "林"), Say(4, 6, "order", REJECT, "林"))
    made, _ = answered_rows([AnsweredText(text, "fluency", "", says)], MARK_KINDS, KNOWN, [])
    (row,) = tag_rows(one, made)
    assert row.rate is None
    found = dict(zip(row.windows[0].spans, row.tags[0], strict=True))
    assert {(0, 2), (1, 3), (3, 5), (5, 6)} <= set(found)  # the tokens are parts of characters
    assert (found[0, 2], found[1, 3], found[3, 5], found[5, 6]) == (ORDER, ORDER, UNTAGGED, 0)


def test_rows_are_seen_as_often_as_their_weight_says() -> None:
    four = [TaggedRow((), (), None) for _ in range(4)]
    assert [len(seen_as_often(four, weight, 0)) for weight in (0, 0.5, 1, 2.25)] == [0, 2, 4, 9]


def test_a_file_that_is_no_export_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    right = {"text": TEXT, "dimension": "fluency", "faults": [[0, 2, None, "missed", "林"]]}
    path.write_text(json.dumps(right) + "\n", encoding="utf-8")
    assert read_answers(path) == [AnsweredText(TEXT, "fluency", "", (Say(0, 2, None, MISSED, "林"),))]
    with pytest.raises(JobError, match="its sha256 differs"):
        read_answers(path, "0" * 64)
    for wrong in ([0, 11, None, "missed", "林"], [0, 1, None, "undo", "林"], [0, 1, None, "perhaps", "林"]):
        path.write_text(json.dumps(right) + "\n" + json.dumps({**right, "faults": [wrong]}) + "\n", encoding="utf-8")
        with pytest.raises(JobError, match=r"answers\.jsonl, line 2"):
            read_answers(path)
    with pytest.raises(JobError, match="cannot be read"):
        read_answers(tmp_path / "none.jsonl")


def disputed(count: int, seed: int) -> list[AnsweredText]:
    """Texts with a word turned round, which people hold for a fault, and a 我们 pushed in, which they do not."""
    draw = random.Random(seed)
    made = []
    for text in made_up(count, seed, clauses=6):
        turned = 2 * draw.randrange(5)
        text = text[:turned] + text[turned + 1] + text[turned] + text[turned + 2 :]
        pushed = text.index("；") + 1
        says = (Say(turned, turned + 2, "order", CONFIRM, "林"), Say(pushed, pushed + 2, "pronoun", REJECT, "林"))
        made.append(AnsweredText(text[:pushed] + "我们" + text[pushed:], "fluency", "", says))
    return made


def chances(one: Learner, texts: Sequence[AnsweredText]) -> dict[AnswerKind, float]:
    """Return the mean chance of a fault on the tokens of confirmed and of rejected places."""
    one.backbone.eval()
    found: dict[AnswerKind, list[float]] = {CONFIRM: [], REJECT: []}
    for text in texts:
        ((window,),) = one.windows([text.text])
        with torch.no_grad():
            sound = one.glance(one.batch([window])).tags[0].softmax(-1)[window.lead :, 0].tolist()
        for say in text.says:
            found[say.answer] += [
                1 - p for (start, end), p in zip(window.spans, sound, strict=True) if say.start <= start and end <= say.end
            ]
    return {answer: sum(values) / len(values) for answer, values in found.items()}


def test_nothing_is_learned_of_what_nobody_answered_nor_of_rates(base: Path) -> None:
    one = learner(base)
    rate = one.heads["rate"].weight.detach().clone()
    texts = [replace(text, says=(replace(text.says[0], kind=None, answer=MISSED),)) for text in disputed(8, 3)]
    made, _ = answered_rows(texts, MARK_KINDS, KNOWN, [])
    pretrain(one, tag_rows(one, made), (), Schedule(5e-3, 1e-2, 8, 512), Unwatched())
    everywhere = [replace(text, says=(Say(0, len(text.text), None, CONFIRM, ""), Say(0, 1, None, REJECT, ""))) for text in texts]
    assert chances(one, everywhere)[CONFIRM] > 0.7  # were the other characters taken for sound, it would be near 0
    assert torch.equal(one.heads["rate"].weight, rate)


def test_a_few_dozen_answers_move_the_chances_where_they_say(base: Path) -> None:
    after: list[dict[AnswerKind, float]] = []
    for weight in (0, 4):
        one = learner(base)
        recipe = Recipe(100, 1, longest=120, highest=8.0, shares={MarkKind.TYPO: 1.0, MarkKind.PRONOUN: 1.0})
        made, counts = answered_rows(disputed(36, 7), MARK_KINDS, KNOWN, [])
        assert (counts.confirmed, counts.rejected) == (36, 36)
        learned = tag_rows(one, make_rows(made_up(30, 1), recipe)) + seen_as_often(tag_rows(one, made), weight, 0)
        pretrain(one, learned, (), Schedule(5e-3, 1e-2, 1, 512), Unwatched())
        after.append(chances(one, disputed(20, 99)))  # other texts
    without, taught = after
    assert taught[CONFIRM] > without[CONFIRM] + 0.3
    assert taught[REJECT] < without[REJECT] - 0.3


def test_a_job_learns_from_its_frozen_answers_and_tells_what_it_left_out(base: Path, tmp_path: Path) -> None:
    texts = disputed(6, 7)
    lines = [
        {
            "text": one.text,
            "dimension": one.dimension,
            "faults": [[say.start, say.end, say.kind, say.answer, say.author] for say in one.says],
        }
        for one in texts
    ]
    path, clean = tmp_path / "answers.jsonl", tmp_path / "clean.txt"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    clean.write_text("\n\n".join(made_up(8, 1)), encoding="utf-8")
    held_out = [replace(row, text=one.text) for row, one in zip(rows(2, Split.HELD_OUT), texts, strict=False)]
    values = {
        "name": "see", "model": str(base), "texts": [clean], "rows": 20, "longest": 120, "answers": path,
        "answers_sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "snapshot": snapshot(tmp_path / "snapshot", [], held_out),
    }  # fmt: skip
    spec = FaultPretrainSpec.model_validate({**SMALL, **values})
    finish(tmp_path / "job", spec)
    told = next(event for event in events(tmp_path / "job") if "held_out" in event.figures)
    assert told.kind is EventKind.NOTE
    assert (told.figures["held_out"], told.figures["confirmed"], told.figures["rejected"]) == (4, 4, 4)
    path.write_text("", encoding="utf-8")
    with pytest.raises(AssertionError, match="its sha256 differs"):
        finish(tmp_path / "again", spec)
