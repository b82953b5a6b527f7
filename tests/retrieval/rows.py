"""Rows and libraries made up for the tests of retrieval."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path

from core.types import Item, LabelledItem, Origin, SourceRef, content_hash

TOPICS = ("茶园", "高铁", "航天", "博物馆", "足球", "渔港", "图书", "医院", "果树", "桥梁")
ACTS = ("今年有了新变化", "吸引人们参观", "让生活更方便", "是孩子爱去的地方", "改变小城面貌")
TAILS = ("日子越过越有滋味", "手艺代代相传", "年轻人回到家乡", "清晨就开始忙碌", "山和水都静静的")


def prose(number: int, topic: str = "", sentences: int = 12) -> str:
    """Return a text of about 30 characters a sentence that is like no other number's."""
    source = random.Random(number)
    chosen = topic or source.choice(TOPICS)
    parts = []
    for _ in range(sentences):
        one, two = ("".join(chr(0x4E00 + source.randrange(3000)) for _ in range(6)) for _ in range(2))
        parts.append(f"{one}，{chosen}{source.choice(ACTS)}，{two}，{source.choice(TAILS)}。")
    return "".join(parts)


def spoiled(text: str, number: int, every: int = 40) -> str:
    """Return `text` with one character changed in each `every`, as a badly written copy of it would be."""
    source = random.Random(number)
    letters = list(text)
    for start in range(0, len(letters) - every, every):
        letters[start + source.randrange(every)] = chr(0x4E00 + source.randrange(3000))
    return "".join(letters)


def labelled(number: int, text: str, label: int, dimension_id: str = "fluency", prompt: str = "") -> LabelledItem:
    """Return a labelled item whose id is `number`."""
    digest = content_hash(dimension_id, prompt, text)
    return LabelledItem(number, f"L{number}", dimension_id, prompt, text, label, Origin.SAMPLE, "", digest)


def item(text: str, dimension_id: str = "fluency", prompt: str = "", number: int = 0) -> Item:
    """Return a row to judge."""
    digest = content_hash(dimension_id, prompt, text)
    return Item(number, 1, number, f"T{number}", dimension_id, prompt, text, None, digest, SourceRef("s.xlsx", "", number + 2))


def library(size: int = 60) -> list[LabelledItem]:
    """Return a library over the three dimensions, every label among them."""
    rows: list[LabelledItem] = []
    for number in range(size):
        topic = TOPICS[number % len(TOPICS)]
        if number % 3 == 0:
            rows.append(labelled(number, prose(number, topic), 1 + number // 3 % 5))
        elif number % 3 == 1:
            rows.append(labelled(number, prose(number, topic), 1 + number // 3 % 5, "normativity", f"请以“{topic}的故事”为主题写一篇文章"))
        else:
            question = f"{prose(number, topic, 2)}下列说法正确的是 A、{TOPICS[number % 7]} B、{TOPICS[number % 5]}"
            rows.append(labelled(number, f"正确选项为A 模型回复为{'AB'[number // 3 % 2]}", 1 - number // 3 % 2, "choice", question))
    return rows


def shown(found: Sequence[tuple[object, ...]]) -> list[int]:
    """Return how many examples each row got."""
    return [len(examples) for examples in found]


def competition_rows(path: Path) -> list[tuple[str, str, str]]:
    """Return dimension, prompt and text of every row of one of the competition's files."""
    if path.suffix == ".csv":
        with path.open(encoding="gb18030", newline="") as file:
            table = [row[1:4] for row in csv.reader(file)]
    else:
        from python_calamine import CalamineWorkbook

        table = [[str(cell) for cell in row[1:4]] for row in CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()]
    return [(dimension, prompt, text) for prompt, dimension, text in table[1:]]
