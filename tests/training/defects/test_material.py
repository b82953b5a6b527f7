"""Good pairs as material: which rows are read, which are left out, and how they are parted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from core.errors import JobError
from tests.judging.panel import dimensions, prose
from training.defects.material import Pair, families, parted, read_pairs, whole_sentences, without_kin

PROMPT = "请以“市图书馆的志愿者在暑假期间整理旧书，为孩子们讲解天文知识，得到了大家的称赞”为主题写一篇文章"


def test_rows_with_a_prompt_and_a_text_are_pairs_once_each(tmp_path: Path) -> None:
    draw = random.Random(1)
    first, second = prose(draw, 4), prose(draw, 4)
    sheet = tmp_path / "rows.csv"
    sheet.write_text(
        f"数据编号,创作要求,评判维度,待评判内容\n1,题目甲,规范性,{first}\n2,,流畅性,{second}\n3,题目甲,规范性,{first}\n"
        f"4,题目乙,规范性,太短了。\n5,题目丙,规范性,{second}还没有写\n",
        encoding="utf-8",
    )
    assert read_pairs([sheet], dimensions(), "normativity") == [Pair("题目甲", first), Pair("题目丙", second)]
    with pytest.raises(JobError, match="no row with a prompt"):
        read_pairs([sheet], dimensions(), "fluency")
    plain = tmp_path / "prose.txt"
    plain.write_text(first, encoding="utf-8")
    with pytest.raises(JobError, match="name a sheet with both columns"):
        read_pairs([plain], dimensions())


def test_a_text_that_breaks_off_ends_at_its_last_whole_sentence() -> None:
    whole = prose(random.Random(2), 4)
    assert whole_sentences(whole + "这一句没有写") == whole
    assert whole_sentences(whole) == whole
    listed = "他说：“就这样。”\n" + "一、苹果\n二、梨\n" * 20
    assert whole_sentences(listed) == listed  # most of it would be lost


def test_pairs_near_held_out_ones_by_text_or_by_prompt_are_left_out() -> None:
    draw = random.Random(3)
    texts = [prose(draw, 5) for _ in range(4)]
    pairs = [Pair("题目甲", texts[0]), Pair(PROMPT + "。", texts[1]), Pair("题目丙", texts[2])]
    held_out = [Pair("别的题目", texts[0][:40] + "他" + texts[0][40:]), Pair(PROMPT, texts[3])]
    assert without_kin(pairs, held_out) == pairs[2:]
    assert without_kin(pairs, []) == pairs


def test_no_family_is_in_both_parts() -> None:
    draw = random.Random(4)
    letters = ["".join(chr(draw.randint(0x4E00, 0x9FA5)) for _ in range(60)) for _ in range(80)]
    pairs = [Pair(letters[number // 2], letters[40 + number % 40]) for number in range(60)]
    of = families(pairs)
    learned, looked_at = parted(pairs, 0.2)
    assert sorted(learned + looked_at, key=pairs.index) == pairs
    assert not {of[pairs.index(pair)] for pair in learned} & {of[pairs.index(pair)] for pair in looked_at}
    assert looked_at
    few = [Pair("题目甲", letters[0]), Pair("题目乙", letters[1]), Pair("题目甲", letters[2])]
    assert parted(few, 0.04) == ([few[1]], [few[0], few[2]])
