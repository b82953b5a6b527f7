"""Tells a true/false answer's side: 对, 正确, √, True against 错, 不正确, ×, False."""

from __future__ import annotations

import re

_LEAD = (
    r"[\s\"'(\[]*(?:(?:我认为|我觉得|这|该|此|本|上述|题干|题目|题|个|句|道|种|条|段|话|说法|观点|命题|因此|所以|故|因而|综上|可知|表述|描述|判断|陈述|答案|应|该当|当|是|为|选|说|\]|:|,|的|"
    r"the|this|that|statement|claim|answer|is|it)[\s\"']*){0,8}"
)
_NEGATIVE = r"(?:不正确|不对|不是|不成立|不准确|错误|错|有误|×|否|false\b|incorrect\b|wrong\b|no\b|not\s+(?:true|correct)\b|[fn]\b)"
_POSITIVE = r"(?:正确|准确|对(?!于|应|比|象|外|称)|√|是的?|成立|true\b|correct\b|right\b|yes\b|[ty]\b)"
_SIDES = re.compile(rf"{_LEAD}(?:(?P<no>{_NEGATIVE})|(?P<yes>{_POSITIVE}))(?=[的了吧啊呀哦。,.;!\s\"')\]]|$)", re.IGNORECASE)
_WHOLE = re.compile(rf"[\s\"'(\[]*(?:(?P<no>{_NEGATIVE})|(?P<yes>{_POSITIVE}))[的了。.!\s\"')\]]*", re.IGNORECASE)


def polarity(text: str) -> bool | None:
    """Return the side that `text` as a whole names, None when it is anything but a true/false word."""
    match = _WHOLE.fullmatch(text)
    return None if match is None else match["yes"] is not None


def leading_polarity(text: str) -> bool | None:
    """Return the side that the beginning of the answer `text` states, or None."""
    match = _SIDES.match(text)
    return None if match is None else match["yes"] is not None
