"""Visible faults of Chinese prose, found by rules: what, where, and how many per 100 characters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.types import LocalText

_HAN = "一-鿿"
_END = "，。！？；：、\n"


class FaultKind(StrEnum):
    """The kinds of faults; the value is a stable code, FAULT_NAMES has what people read."""

    DOUBLED_CHAR = "doubled_char"
    DOUBLED_WORD = "doubled_word"
    QUOTE = "quote"
    BRACKET = "bracket"
    MIXED = "mixed"
    PUNCTUATION = "punctuation"
    OPENING = "opening"
    CUT = "cut"
    DANGLING = "dangling"
    CONNECTIVE = "connective"
    PRONOUN = "pronoun"
    PRONOUN_PAIR = "pronoun_pair"
    PARTICLE = "particle"
    START = "start"
    META = "meta"
    REDUNDANT = "redundant"


FAULT_NAMES: Mapping[FaultKind, LocalText] = {
    FaultKind.DOUBLED_CHAR: {"zh": "叠字", "en": "doubled character"},
    FaultKind.DOUBLED_WORD: {"zh": "重复", "en": "repetition"},
    FaultKind.QUOTE: {"zh": "引号不配对", "en": "unpaired quote"},
    FaultKind.BRACKET: {"zh": "括号不配对", "en": "unpaired bracket"},
    FaultKind.MIXED: {"zh": "中英标点混用", "en": "Chinese and English punctuation mixed"},
    FaultKind.PUNCTUATION: {"zh": "标点误用", "en": "misused punctuation"},
    FaultKind.OPENING: {"zh": "引语缺前引号", "en": "quotation without an opening mark"},
    FaultKind.CUT: {"zh": "句子残缺", "en": "clause cut off"},
    FaultKind.DANGLING: {"zh": "句尾悬空", "en": "dangling end"},
    FaultKind.CONNECTIVE: {"zh": "关联词重复", "en": "doubled connective"},
    FaultKind.PRONOUN: {"zh": "代词多余", "en": "superfluous pronoun"},
    FaultKind.PRONOUN_PAIR: {"zh": "代词相连", "en": "pronouns side by side"},
    FaultKind.PARTICLE: {"zh": "助词误用", "en": "misused particle"},
    FaultKind.START: {"zh": "句首不当", "en": "clause that cannot begin so"},
    FaultKind.META: {"zh": "无关语句", "en": "talk about the task"},
    FaultKind.REDUNDANT: {"zh": "词语冗余", "en": "redundant words"},
}
"""The name of each kind in both languages."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its kind, 0-based position and the characters it stands on."""

    kind: FaultKind
    position: int
    excerpt: str


# Each pattern names one kind. They are few and sharp on purpose: a rule that also strikes sound prose says nothing.
# What stands before a fault is looked at last: a pattern that begins with the fault's own characters skips all others at once.
# Two-character words whose last character would otherwise look like a conjunction or adverb without what it governs.
_WORD_ENDS = (
    "方向|转向|走向|导向|面向|取向|动向|趋向|志向|朝向|意向|去向|偏向|倾向|内向|外向|单向|双向|定向|流向|风向|人才|刚才|方才|口才|天才|成就|迁就|将就|造就|高就|俯就"
    "|参与|赠与|给与|给予|温和|总和|饱和|谦和|暖和|共和|柔和|可以|所以|予以|加以|得以|足以|难以|不对|面对|相对|针对|应对|反对|核对|绝对|成对|敌对|太太|老太|命令|司令|号令"
    "|法令|口令|指令|责令|夏令|普及|以及|涉及|提及|顾及|波及|遍及|首都|古都|归还|偿还|交还|生还|返还|一再|不再|大将|名将|老将|小将|即将|上将|中将|少将|部将|自从|服从|听从"
    "|顺从|随从|跟从|无从|侍从|等于|属于|位于|处于|关于|由于|对于|在于|低于|高于|善于|敢于|勇于|进而|从而|然而|因而|反而|时而|是不|从不|好不|要不|可不|能不|还不|岂不|都不"
    "|也不|决不|绝不|有没|埋没|淹没|沉没|出没|吞没|促使|大使|天使|行使|驱使|即使|假使|迫使|礼让|转让|出让|谦让|忍让|火把|车把|一把|两把|几把|棉被|植被"
)
_PATTERNS: tuple[tuple[FaultKind, str], ...] = (
    (
        FaultKind.DOUBLED_CHAR,
        r"的的|了了(?!解)|是是(?!非)|在在|和和(?![气美])|与与|有有|们们|着着|而而|被被|把把|于于|及及|为为|中中|地地(?!道)|不不|就就|也也|都都",
    ),
    (
        FaultKind.DOUBLED_WORD,
        # The look ahead finds nothing more: it tells at once, for most places, that their first three characters do not come again.
        rf"(?=([{_HAN}A-Za-z0-9]{{3}})[{_HAN}A-Za-z0-9]{{0,17}}?[，、]?\1)([{_HAN}]{{3,12}}|[{_HAN}A-Za-z0-9]{{4,20}})[，、]?\2",
    ),
    (
        FaultKind.DOUBLED_WORD,
        r"(进行|已经|因为|所以|但是|可以|我们|他们|她们|它们|这个|没有|通过|以及|问题|工作|情况|活动|发展)\1",
    ),
    (FaultKind.MIXED, rf"[,;:!?](?<=[{_HAN}].)(?=[{_HAN}])"),
    (
        FaultKind.PUNCTUATION,
        r"[，、；：。！？“（《](?:(?<=[，、；：])[，、；：。！？]|(?<=。)[。，、；：]|(?<=[！？])[，、；：。]|(?<=。)[”’][，。、]"
        r"|(?<=“)[，。、；”]|(?<=（)[，。、；）]|(?<=《)[，。、；》])",
    ),
    (FaultKind.OPENING, rf"[：:](?<=[{_HAN}].)(?=[^“”\n]{{1,60}}[。！？，]”)"),
    (
        FaultKind.CUT,
        rf"[把被将从对向跟与和及或但而使让令于以很更最太再还也都就才却不没](?=[{_END}])(?<=[{_HAN}].)(?<!{_WORD_ENDS})",
    ),
    (
        FaultKind.CUT,
        r"(?:正在|已经|必须|能够|应该|因为|如果|虽然|以及|并且|或者|关于|对于|由于|通过|根据|按照|随着|成为|具有|达到)"
        rf"(?=[，。；！\n])(?<=[{_HAN}]..)",
    ),
    (FaultKind.DANGLING, rf"的(?=[，；\n])(?<=[{_HAN}][{_HAN}].)"),
    (
        FaultKind.DANGLING,
        rf"[有在](?=[，；\n])(?<=[{_HAN}].)"
        r"(?<!现在|所在|存在|正在|实在|内在|外在|潜在|自在|何在|没有|拥有|所有|享有|具有|国有|富有|仅有)",
    ),
    (
        FaultKind.CONNECTIVE,
        r"因为因|由于因|但是但|但是却但|而且而|所以因此|因此所以|然而但|虽然尽管|不仅不但|如果假如|原因是因为|目的是为了"
        r"|大约[^，。]{0,6}左右|超过[^，。]{0,6}以上|的原因是由于",
    ),
    (
        FaultKind.PRONOUN_PAIR,
        r"[他她它你我们](?:(?<=[他她它])[他她它你](?!们)|(?<=[你我])[他她它](?!们)|(?<=[他她它])们?我(?=[，。的])"
        r"|(?<=它)(?=[你我他她])|(?<=们)(?=[他她它]))",
    ),
    (
        FaultKind.PRONOUN,
        r"[他她它](?=[，。！？；：\n的])(?<!其他|吉他)"
        rf"(?<=[{_HAN}].)(?<![对给把被让与和跟同向是像找看替为以见问叫令使于比在从由离靠及到着了过得用说有出起归即连等爱恨救帮劝陪送骗].)",
    ),
    (FaultKind.PRONOUN, rf"它(?=[{_HAN}]?[的，。])"),
    (FaultKind.PRONOUN, rf"[他她它你我](?<=的.)(?=[{_HAN}])"),
    (
        FaultKind.PARTICLE,
        r"的[了着们](?!解|不|然)|得着(?!急)|了着|着了(?!火|魔)|很的(?!确)|了的(?=[，。；])|的得(?![到了以益])|是的话(?!题)|地[了着]"
        r"|的(?<!目的)过(?![程去渡来错失节])",
    ),
    (FaultKind.START, r"[，。、；：！？）”》](?:(?<=\n.)|(?<=\A.))"),
    (
        FaultKind.START,
        r"[的们着过了](?<=[，。；！？].)(?:(?<=的)(?!士|确)|(?<=们)|(?<=着)(?![急重手眼力])|(?<=过)(?![去来了程年节后于往渡时几一不])|(?<=了)(?![解却不无然]))",
    ),
    (
        FaultKind.META,
        r"请提供(?:更多|具体)|无法[他她它你我]?直接?生成|作为一?个?(?:AI|人工智能|语言模型)|修改句子|病句|语病|根据您的要求"
        r"|以下是(?:修改|改写)|(?:我|很抱歉，?)无法(?:回答|提供)",
    ),
    (
        FaultKind.REDUNDANT,
        r"(任务|工作|问题|情况|活动|建设|发展|方面|内容|措施)的\1|的(?:工作|任务|问题|情况|现象)的|根本(?:不存在|没有)|其中之一的一"
        r"|十分非常|非常十分|更加更|最最|凯旋归来|悬殊很大|亲眼目睹|过分溺爱",
    ),
)
_COMPILED = tuple((kind, re.compile(pattern)) for kind, pattern in _PATTERNS)
_PAIRS = {"（": "）", "《": "》", "【": "】", "〈": "〉", "「": "」", "(": ")"}
_CLOSERS = {closer: opener for opener, closer in _PAIRS.items()}
_MARKS = re.compile("[“”\n" + "".join(map(re.escape, (*_PAIRS, *_CLOSERS))) + "]")


def find_faults(text: str) -> list[Fault]:
    """Return the visible faults of `text` in order of position; overlapping finds of one kind count once."""
    found = [Fault(kind, match.start(), match.group()) for kind, pattern in _COMPILED for match in pattern.finditer(text)]
    found.extend(_unpaired(text))
    found.sort(key=lambda fault: (fault.position, fault.kind))
    kept: list[Fault] = []
    reached: dict[FaultKind, int] = {}
    for fault in found:
        if fault.position >= reached.get(fault.kind, -1):
            kept.append(fault)
            reached[fault.kind] = fault.position + len(fault.excerpt)
    return kept


def _unpaired(text: str) -> Iterator[Fault]:
    """Yield quotes and brackets without a partner. A quote left open at the end of the text is no fault: texts are cut off."""
    quote = -1
    stack: list[tuple[str, int]] = []
    for match in _MARKS.finditer(text):
        mark, place = match.group(), match.start()
        if mark == "“":
            if quote >= 0:
                yield Fault(FaultKind.QUOTE, quote, "“")
            quote = place
        elif mark == "”":
            if quote < 0:
                yield Fault(FaultKind.QUOTE, place, "”")
            quote = -1
        elif mark == "\n":
            if quote >= 0:
                yield Fault(FaultKind.QUOTE, quote, "“")
            quote = -1
            for opener, opened in stack:
                yield Fault(FaultKind.BRACKET, opened, opener)
            stack = []
        elif mark in _PAIRS:
            stack.append((mark, place))
        elif stack and stack[-1][0] == _CLOSERS[mark]:
            stack.pop()
        elif not (mark == ")" and place and text[place - 1].isalnum() and text[place - 1].isascii()):
            yield Fault(FaultKind.BRACKET, place, mark)  # "1)" opens a list item
