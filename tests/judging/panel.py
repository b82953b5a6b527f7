"""A small library and rows for the embedded judges: sentences made of parts, with and without faults."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.dimensions import load_dimensions
from core.judging.registry import make_judge
from core.ports import Judge, JudgeContext
from core.retrieval.embedders import make_embedder
from core.settings import ASSETS
from core.types import (
    Dimension,
    DimensionKind,
    Item,
    Judgement,
    JudgeRequest,
    JudgeSpec,
    LabelledItem,
    Origin,
    SourceRef,
    content_hash,
)

FAMILIES = ("rules", "neighbours", "ngrams", "surprise")
_WHO = ("市图书馆的志愿者", "几位年轻的教师", "村里的老人", "我们小组的成员", "刚毕业的学生", "研究所的工程师", "社区的医生")
_WHEN = ("上个星期", "今年春天", "清晨六点", "会议结束以后", "暑假期间", "下雨的傍晚", "节日前夕", "去年冬天")
_WHAT = (
    "整理了三百多本旧书", "为孩子们讲解天文知识", "修好了广场上的路灯", "沿着河岸种下了一排柳树", "记录了候鸟迁徙的路线",
    "把食堂的菜单重新设计了一遍", "完成了桥梁的安全检查", "拍摄了一部关于茶园的短片", "讨论了垃圾分类的新办法", "打扫了操场和走廊",
)  # fmt: skip
_THEN = (
    "这件事得到了大家的称赞", "许多人因此改变了看法", "附近的居民也主动加入进来", "活动持续了整整两个小时", "他们打算明年继续做下去",
    "相关的经验很快传到了邻近的县城", "结果比预想的还要好", "后来的故事被写进了校刊",
)  # fmt: skip


def dimensions() -> dict[str, Dimension]:
    """The shipped dimensions."""
    return load_dimensions(ASSETS / "dimensions")


def dimension(identifier: str, labels: tuple[int, ...], kind: DimensionKind = DimensionKind.ORDINAL) -> Dimension:
    """A dimension that a user might add."""
    return Dimension(identifier, {"zh": "文采", "en": "Style"}, labels, kind, {}, "1", needs_prompt=False)


def prose(rng: random.Random, sentences: int) -> str:
    """Sound prose of some sentences."""
    made = []
    for _ in range(sentences):
        parts = (rng.choice(_WHEN), rng.choice(_WHO), rng.choice(_WHAT), rng.choice(_THEN))
        made.append(f"{parts[0]}，{parts[1]}{parts[2]}，{parts[3]}。")
    return "".join(made)


def spoiled(text: str, faults: int, rng: random.Random) -> str:
    """The text with faults that people see at once."""
    for _ in range(faults):
        place = rng.randrange(3, len(text) - 3)
        text = text[:place] + rng.choice(("它他", "的的", "她，的", "”", "了的，", "：。", "她")) + text[place:]
    return text


def example(number: int, dimension_id: str, text: str, label: int, prompt: str = "") -> LabelledItem:
    """A labelled item."""
    hashed = content_hash(dimension_id, prompt, text)
    return LabelledItem(number, f"L{number:04d}", dimension_id, prompt, text, label, Origin.SAMPLE, "", hashed)


def library(size: int = 150, dimension_id: str = "fluency", labels: Sequence[int] = (1, 2, 3, 4, 5), seed: int = 1) -> list[LabelledItem]:
    """Labelled prose in which a lower label has more faults."""
    rng = random.Random(seed)
    ordered = sorted(labels, reverse=True)
    items = []
    for number in range(size):
        step = number % len(ordered)
        text = spoiled(prose(rng, 6), 3 * step, rng)
        items.append(example(number, dimension_id, text, ordered[step]))
    return items


def request(number: int, one: Dimension, text: str, prompt: str = "") -> JudgeRequest:
    """A row to judge."""
    source = SourceRef("rows.csv", "", number + 2)
    hashed = content_hash(one.id, prompt, text)
    return JudgeRequest(Item(number, 1, number, f"R{number}", one.id, prompt, text, None, hashed, source), one)


def context(folder: Path, items: Sequence[LabelledItem], known: Mapping[str, Dimension] | None = None, version: str = "v1") -> JudgeContext:
    """What judges get from the workbench: the embedded embedder, fitted on the library."""
    embedder = make_embedder("ngram")
    embedder.fit([item.text for item in items])
    return JudgeContext(items, version, known or dimensions(), folder, embedder)


def judge(family: str, given: JudgeContext) -> Judge:
    """A judge of the family, made the ordinary way."""
    return make_judge(JudgeSpec(f"{family}-judge", family, family), given)


def answers(one: Judge, requests: Sequence[JudgeRequest]) -> list[Judgement]:
    """The judgements without the time they took."""
    return [strip(judgement) for judgement in one.judge(requests)]


def strip(judgement: Judgement) -> Judgement:
    """The judgement with no latency, to compare."""
    return Judgement(
        judgement.judge_id,
        judgement.item_id,
        judgement.status,
        judgement.probabilities,
        judgement.label,
        judgement.raw_reply,
        judgement.rationale,
        judgement.prompt_sha256,
        0.0,
        judgement.tokens,
        judgement.error,
    )
