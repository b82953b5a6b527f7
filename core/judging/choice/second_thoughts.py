"""Tells an answer from what is only weighed, and finds the answer that replaces one taken back."""

from __future__ import annotations

import re

from core.judging.choice import grammar
from core.judging.choice.grammar import Mention, Strength
from core.judging.choice.tokens import Tokens

_CONTRASTED = re.compile("[\\s,]*而?不[是选]\\s*[\ue000-\ue107]")
_TOKEN = re.compile("[\ue000-\ue107]")
_LED_TO = (
    r"(?:[\s,。.:;!?…\"'-]|应该?|应当|才|是|为|选择?|(?:正确)?答案|一下|其实|实际上?|现|我|再(?:想|看)(?:一?想|一?看)?|仔细(?:想|一想|看)|还是"
    r"|it(?:'s|\s+is)\b|the\b|correct\b|answer\b|is\b|should\s+be\b|I\s+mean\b|make\s+(?:that|it)\b|option\b|choose\b|sorry\b|no\b|wait\b|actually\b){0,12}"
)
# Words after which another option takes the place of the one before them: plain ones, and those that may also judge an option ("A，不对").
_REPLACED = re.compile(
    r"(?:(?:更正|修正|纠正)(?=[\s为:,。!]|一下)|改(?:为|成|选)|(?:说|写|答|搞|弄|选|看)错了?|(?<=[?…,。!])\s*算了|等等|等一下|慢着|(?<=[?…,。!])\s*(?:哦|啊|噢|喔)?不(?=[,。!…])|(?<=[?…,。!])\s*(?:哦|啊|噢|喔)不"
    r"|(?<=[?,。…])\s*还是(?=[^。]{1,12}吧)|\b(?:correction|wait|actually|oops|scratch\s+that)\b|(?<=[?.,!…])\s*(?:oh\s+)?(?:no|nope)\b)"
    + _LED_TO,
    re.IGNORECASE,
)
_JUDGED = re.compile(r"(?<=[?,。!…(])\s*(?:哦|啊|噢|喔)?(?:不对|不是|错了?)(?=[,。!…])" + _LED_TO)
_ENDS = re.compile(r"[\s\"'》)\]]*(?:$|[。.,;!?…\n)]|吧|呢|了|才|选?项|(?:而)?不(?:是|选)|因为|because\b|not\b)", re.IGNORECASE)
# What others think, what was thought first, what would follow if: no answers where there is one beside them.
_ASIDE = re.compile(
    r"有(?:的|些)?(?:人|同学|考生|学生)|(?:很多|许多|不少|多数|部分|一般)(?:人|同学|考生|学生)|(?:人们|大家)[^。,;]{0,4}(?:认为|以为|觉得|选)|往往|容易|易[错误混]"
    r"|以为|原(?:本|先|答案)|本来|起初|最初|[一刚]?开始(?:时|我|选|以|认|觉)|初步|初看|乍一?看|第一(?:感觉|反应|眼|直觉)|(?:如果|假如|假设|倘若|要是|若)(?!.*(?:故|所以|因此|综上))"
    r"|看似|看起来|看上去|貌似|表面上?"
    r"|\b(?:some|many|most)\s+(?:people|students|may|might|would)\b|\bat\s+first\b|\binitially\b|\boriginally\b|\bfirst\s+(?:instinct|thought|guess)\b"
    r"|\bif\b(?!.*\b(?:so|therefore|hence)\b)|\bgoing\s+to\s+(?:say|choose|pick)\b|\btempt\w+\b|\b(?:could|might)\s+be\b",
    re.IGNORECASE,
)
_TURN = re.compile(r"[。;!?\n]|\.\s|但|不过|然而|其实|实际|事实上|却|\b(?:but|however|actually|though)\b", re.IGNORECASE)


def replaced(tokens: Tokens) -> Mention | None:
    """Return the option that takes the place of an earlier one at once ("A？不，C", "更正：B", "D改为A"), or None."""
    found: Mention | None = None
    for pattern in (_REPLACED,) if tokens.sheet.asks_wrong else (_REPLACED, _JUDGED):
        for back in pattern.finditer(tokens.text):
            target = grammar.target_at(tokens, back.end())
            if target is None or (found is not None and target[0].start <= found.start):
                continue
            mention, end = target
            earlier = [tokens.letters_of(token) for token in _TOKEN.findall(tokens.text[: back.start()])]
            stands = _ENDS.match(tokens.text, end) and not _denied(tokens.text, end)
            if stands and len(mention.letters) == 1 and any(letters != mention.letters for letters in earlier):
                found = Mention(back.start(), end, mention.by_letter, mention.by_text, Strength.FIRM)
    return found


def without_asides(tokens: Tokens, mentions: list[Mention]) -> list[Mention]:
    """Return `mentions` without those that are only weighed, unless nothing else is said."""
    return [mention for mention in mentions if not _is_aside(tokens.text, mention)] or mentions


def _is_aside(text: str, mention: Mention) -> bool:
    if mention.strength == Strength.FORMAL:
        return False
    start = max(0, mention.start - 80)
    for turn in (*_TURN.finditer(text, start, mention.start), *_TOKEN.finditer(text, start, mention.start)):
        start = max(start, turn.end())
    return _ASIDE.search(text, start, mention.end) is not None


def _denied(text: str, end: int) -> bool:
    return _CONTRASTED.match(text, end) is None and grammar.denied(text, end)
