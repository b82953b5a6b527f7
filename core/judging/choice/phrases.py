"""Replies that pick nothing, or everything: refusals, errors of the service, 全选, 以上都不对."""

from __future__ import annotations

import re

CLAUSES = re.compile(r"[,。;!?\n]")
CLAUSE_END = re.compile(r"[。;\n!?]|解析|[,.]\s*(?:因为|理由|原因|because|since)|\.\s|\.$")
CALLED_RIGHT = re.compile(
    r"(?:选项|选择|选)?[\s\"']*(?P<core>.+?)[\s\"']*(?:选项|这一项|项)?\s*(?:才?是)?(?:正确|对)(?:的|答案|选项)*[\s。.!]*"
)

_REFUSAL = re.compile(
    r"爱莫能助|无法(?:回答|作答|提供|确定|判断|给出|选择|做出|得出|理解|识别|处理|满足|完成|帮|在|从|对|参与|协助|得知)|(?:没法|不便|不能|不会|不可以|拒绝|难以)(?:够|直接)*(?:回答|作答|提供|确定|判断|给出|选择|对|讨论|帮)"
    r"|没有?学会|没有?学习|还没学|尚未学|暂不支持|不支持(?:该|此)|敏感(?:词|信息|内容)|违规|重新编辑|抱歉|对不起|不好意思|很遗憾|不知道|不清楚|不太清楚|不了解|我不会|不确定"
    r"|没有立场|(?:文本|语言)\s*AI|(?:AI|人工智能)(?:语言)?(?:模型|助手)|换个?(?:问题|话题)|超出了?我"
    r"|\bsorry\b|\bapologi|(?:can(?:'t|not)|could\s*not|couldn't|unable\s+to|won't|will\s+not|not\s+able\s+to)\b|(?:don't|do\s+not)\s+(?:know|have)|\bas\s+an?\s+AI\b|not\s+(?:sure|safe|comfortable)|\brefuse\b|\bdecline\b",
    re.IGNORECASE,
)
_EMPTY = re.compile(
    r"no\s+(?:content|answer|response|reply)|超时|繁忙|稍后再?试|网络(?:错误|异常)|系统(?:错误|异常)|请求失败|(?:time(?:d)?\s*out|error|exception|null|none|nan|n/a|空)\s*$"
    r"|完全?不想|不想(?:回答|选|关)|误导|不感兴趣|跳过|略过|题目?[^。]{0,4}有(?:问题|误|错)|skip",
    re.IGNORECASE,
)
_CONTENT = re.compile("[\\w√×\ue000-\ue107]")
_NONE_RIGHT = re.compile(
    r"(?:以上|上述|这些|所有|四个|四项|各|几个)?(?:选项|答案|说法|各项|都|均|全部)*(?:都|均|皆|全部?|全都)(?:不(?:是|对|正确|符合|选|成立|合适)|错误|错|没有?)|没有(?:一个|任何|任意|哪个)?(?:一项|选项|答案|是)*(?:的)?(?:正确|合适|对)|没有一(?:个|项|种)(?:选项)?(?:是|属于|符合)"
    r"|无(?:正确|合适)(?:的)?(?:答案|选项)|(?:一个|都)也?不选|none\s+of\s+(?:the|these|them)|no\s+(?:correct|right)\s+(?:answer|option|choice)|neither\s+of",
    re.IGNORECASE,
)
_ALL = re.compile(
    r"[\s\"'(\[]*(?:(?:我|答案|正确答案|应该?|应当|选择|选|故|的|是|为|:|\]|,)\s*)*"
    r"(?:全选|都选|全都选|全部都?选|选?全部|(?:以上|上述|这些|四个|四项|所有|全部)(?:选项|答案|说法|各项|全部|四项|内容|的)*(?:全部?|都|皆|均)*(?:是|对|正确|选|可以|符合|属于)(?:的|题意)*"
    r"|(?:全部?都?|都|均|皆)(?:是|对|正确|可以)(?:的)?|(?:以上|上述)(?:选项|答案|各项)?(?:全部|所有|皆是)"
    r"|(?:the\s+(?:correct\s+)?answer\s+is\s+)?(?:all\s+(?:of\s+)?(?:the\s+)?(?:above|options|choices|them|these)(?:\s+are(?:\s+correct|\s+right)?)?|every\s+option(?:\s+is\s+correct)?))"
    r"[\s\"').\]。!,]*(?:$|[。.\n;]|解析|因为)",
    re.IGNORECASE,
)
_ALL_OPTION = re.compile(
    r"(?:以上|上述|前述)[^不无非错]*(?:是|对|正确|可|包括|全部|所有|属于|有)$|均是$|都是$|all\s+of\s+the\s+above",
    re.IGNORECASE,
)
_NONE_OPTION = re.compile(r"(?:以上|上述|前述)[^。]*(?:不|错|无|非)|none\s+of\s+the\s+above", re.IGNORECASE)


_UNSURE = re.compile(r"(?:不能|无法|难以|不好|不可|难)(?:确定|判断|肯定|判定|比较|定)|不(?:确定|一定|定|肯定)$")


def is_unsure(text: str) -> bool:
    """Return whether an option or a short reply says that the matter cannot be decided."""
    return len(text) <= 12 and _UNSURE.search(text) is not None


def is_refusal(text: str) -> bool:
    """Return whether the reply, as tokens, declines, excuses itself or says that it does not know."""
    return _REFUSAL.search(text) is not None


def is_empty(text: str) -> bool:
    """Return whether the reply, as tokens, is an error of the service or talk about not answering."""
    return _CONTENT.search(text) is None or _EMPTY.search(text) is not None


def says_all(plain: str) -> bool:
    """Return whether the cleaned reply takes all options."""
    return _ALL.match(plain) is not None


def says_none(text: str) -> bool:
    """Return whether the reply, as tokens, says that no option is right."""
    return _NONE_RIGHT.search(text) is not None


def means_all(option_text: str) -> bool:
    """Return whether the option is of the kind 以上都对."""
    return _ALL_OPTION.search(option_text) is not None


def means_none(option_text: str) -> bool:
    """Return whether the option is of the kind 以上都不对."""
    return _NONE_OPTION.search(option_text) is not None
