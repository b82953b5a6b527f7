"""Good pairs of a made-up language: the prompt names the words of a topic, its text is written in them."""

from __future__ import annotations

import random

from tests.judging.head.build import WORDS
from training.defects.material import Pair

TOPICS = (WORDS[:3], WORDS[3:6], WORDS[6:9], WORDS[9:])


def made_up_pairs(count: int, seed: int, sentences: int = 8, topics: int = len(TOPICS)) -> list[Pair]:
    """Return pairs whose topics take turns."""
    draw = random.Random(seed)
    pairs = []
    for number in range(count):
        words = TOPICS[number % topics]
        written = ["".join(draw.choices(words, k=3)) + "，" + "".join(draw.choices(words, k=3)) + "。" for _ in range(sentences)]
        pairs.append(Pair("".join(words), "".join(written)))
    return pairs
