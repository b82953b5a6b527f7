"""Clean texts as material: which are read, which are left out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from core.errors import JobError
from tests.judging.panel import dimensions, prose
from training.faults.material import cut, read_texts, without_relatives


def test_texts_come_from_sheets_and_plain_files_once_each(tmp_path: Path) -> None:
    draw = random.Random(1)
    first, second, third = (prose(draw, 4) for _ in range(3))
    sheet = tmp_path / "rows.csv"
    sheet.write_text(
        f"数据编号,创作要求,评判维度,待评判内容\n1,题目,规范性,{first}\n2,,流畅性,{second}\n3,题目,规范性,{first}\n", encoding="utf-8"
    )
    plain = tmp_path / "prose.txt"
    plain.write_text(f"{third}\n\n短。\n\n{first}\n", encoding="utf-8")
    assert read_texts([sheet, plain], dimensions(), "normativity") == [first, third]
    assert read_texts([sheet], dimensions()) == [first, second]


def test_a_file_without_a_usable_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("太短了。", encoding="utf-8")
    with pytest.raises(JobError, match=r"short\.txt has no text of at least 60"):
        read_texts([path], dimensions())
    path.write_bytes("这不是统一码".encode("gb18030") * 20)
    with pytest.raises(JobError, match="not UTF-8"):
        read_texts([path], dimensions())


def test_near_duplicates_of_held_out_texts_are_no_material() -> None:
    draw = random.Random(2)
    held, other = ("".join(chr(draw.randint(0x4E00, 0x9FA5)) for _ in range(120)) for _ in range(2))
    changed = held[:50] + "他" + held[50:]
    assert without_relatives([changed, other], [held]) == [other]
    assert without_relatives([changed, other], []) == [changed, other]


def test_long_texts_are_cut_between_sentences() -> None:
    text = prose(random.Random(3), 12)
    pieces = cut(text, 150)
    assert "".join(pieces) == text or text.startswith("".join(pieces))
    assert all(piece.endswith("。") and len(piece) <= 150 for piece in pieces)
