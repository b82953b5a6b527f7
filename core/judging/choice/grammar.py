"""The phrasings of answers, in Chinese and English, over the token alphabet of tokens.py."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from core.judging.choice.tokens import LETTER, TEXT, Tokens

_JOIN = r"(?:\s*(?:[、/&+]|,\s*(?:and|or)\b|和|与|及|以及|到|至|或者?|还是|and\b|or\b)\s*(?:选项|options?\s)?)"
_COMMA = (
    rf"\s*[,;]\s*{LETTER}"
    r"(?=[\s\"')\]]*(?:$|[.。!?\n]|[、,;/&+和与及以或]|and\b|or\b|都|均|两|三|四|皆|全|正确|are\b|选?项(?:$|[\s。,.]|都|均|正确)))"
)
_COMMA_TEXT = rf"\s*[,;][\s\"'《]*(?={TEXT}[\s\"'》)\]]*(?:$|[.。!?\n]|[、,;/&+和与及以或]|and\b|or\b|都|均|两|三|四|皆|全|正确|are\b))"
_BETWEEN = r"(?:选?项|选项)?[\s、.:)\](\-\"'《%s]*"


def _target(comma: str) -> re.Pattern[str]:
    gap = _BETWEEN % ("," if comma else "")
    return re.compile(
        r"[\s\"'(\[{《<:,.\-、=~]*(?:选项|答案|option|choice|letter)?[\s\"'(\[《:]*"
        rf"(?:(?P<pairs>{LETTER}{gap}{TEXT}(?:[\s\"'》)\],、;和与及]+{LETTER}{gap}{TEXT})+)"
        rf"|(?P<letters>{LETTER}(?:{_JOIN}{LETTER}{comma})*)(?:{gap}(?P<text>{TEXT}))?"
        rf"|(?P<texts>{TEXT}(?:[\s\"'》]*(?:{_JOIN}|{_COMMA_TEXT})[\s\"'《]*{TEXT})*)"
        rf"(?:[\"'》\s]*[(\[,、]?\s*(?:即|选项|也就是|option\s)?\s*(?P<after>{LETTER})(?=[\s)\]。,.]|$))?)",
        re.IGNORECASE,
    )


_SERIES = re.compile(r",\s*and\b", re.IGNORECASE)  # "B, C, and D are wrong": no answer that a comma ends
_TOKEN = re.compile("[\ue000-\ue107]")
_TARGET = _target(rf"|{_COMMA}")
_TARGET_WITHOUT_COMMA = _target("")  # "C, A、B、D均不正确": the comma ends the answer

_MAYBE = r"(?:应该?|应当|就|可能|大概|也许|或许|显然|确实|理应|当然|必然|一定|只能|仍然?|也|还|都|便|则|最|更|明显|很)*"
_SAID = r"(?:的?(?:说法|表述|描述|理解|叙述|内容|观点|判断|分析)|这一说法|这个说法|这种说法)?"
_AS_OPTION = r"[\s\"'》)\]]*(?:选?项|选项|答案|这个?选项|这一项|这个答案|三项|两项|三者|两者)?\s*"
_NOT = re.compile(
    rf"{_AS_OPTION}{_SAID}\s*(?:均|都|也|是|为|显然|明显|肯定|绝对|当然|一定|完全|就|并|可能|可以|应该?|则|皆|全|项|\s)*"
    r"(?:不(?!仅|但|变|同于|[是选][\ue000-\ue107])|(?:有|存在)[^。,;]{0,4}?(?:错误|问题)|错|与[^。,;]{1,8}不(?:符|一致|同)|有误|误[,。]|被?排除|可以?排除|没有|无关|并非|偏离|[是为](?:错|不))"
    rf"|{_AS_OPTION}[\s,:(\[\-]{{0,3}}(?:错误?|不正确|不对|不符合?|×|排除)(?=[\s。,.;!)\]]|$)",
)
_NOT_ENGLISH = re.compile(
    r"[\s\"')\]]*(?:option|choice)?\s*(?:is|are|was|seems|would be)\s+(?:clearly\s+|also\s+)?"
    r"(?:incorrect|wrong|not\b|false|excluded|inaccurate|out\b|eliminated|ruled\s+out|impossible)"
    r"|[\s\"')\]]*(?:isn't|aren't|cannot|can't|doesn't|does not)\b",
    re.IGNORECASE,
)
_YES = re.compile(
    rf"{_AS_OPTION}{_SAID}\s*(?:才|均|都|皆|全|也|是|为|最?有?可能|最[佳好优]|比[\ue000-\ue107]|最为?|更|应该?是?|应当是?|显然|明显|就是|完全|无疑|比较|唯一|一个|说得|\s)*"
    r"(?:正确(?!与否|性|率|吗|地)|准确(?!性|率)|正解|合适|恰当|贴切|无误|对(?=的|$|[\s,。;!.、])|答案|符合(?!不)|与(?:题[干意目]|材料)[^。,;不]{0,4}?(?:相?符|一致)|相符|当选|才[是对](?=[\s。,.;!]|$)|优于|好于|胜过)"
    rf"|{_AS_OPTION}[\s,:(\[\-]{{0,3}}(?:正确|对|符合|√)(?=[\s。,.;!)\]]|$)",
)
_YES_ENGLISH = re.compile(
    r"[\s\"')\]]*(?:option|choice)?\s*(?:is|are|seems|looks|appears|would be|must be|should be)\s+(?:to be\s+)?"
    r"(?:definitely\s+|clearly\s+|probably\s+|likely\s+|also\s+|the\s+|most\s+|best\s+|a\s+|only\s+)*"
    r"(?:correct|right|accurate|true|best|answer|appropriate|suitable|only)\b",
    re.IGNORECASE,
)

_CUES = (
    # formal: the marked answer of an exam key
    r"(?P<formal>\[(?:正确|参考|标准|最终|本题)?(?:答案|选项)\]\s*(?:[:是为选]\s*)*)",
    # firm: says that this is the answer
    r"(?P<firm>(?:(?:正确|标准|参考|最终|最佳|本题|我)的?)?(?:答案|正解)(?:选项|选择|的选项)?(?:应该|应当|应|就|可能|大概|也许|或许|显然|确实|理应|当然|必然|一定|只能|仍然|也|还|都|便|则|明显|选择|选(?!项)|是|为|:|,|=|在于|如下|\"|'|\s)*"
    r"|正确的?(?:选项|选择|一项|项|结论|做法|说法|表述)?(?:应该?|应当|就|可能)*(?:是|为|:|有|\s)+"
    r"|(?<!in)(?:correct|right|best|final|accurate|appropriate)\s+(?:answer|option|choice|response|one)s?\b[^.:\n\ue000-\ue107]{0,40}?"
    r"(?:\bis|\bare|would be|should be|must be|will be|:|=|-)\s*"
    r"(?:that\s|the\s|option\s|choice\s|letter\s|answer\s|likely\s|probably\s)*"
    r"|\bans(?:wer)?s?\b[\"']?(?:\s+(?:to|for)\b[^.:\n\ue000-\ue107]{0,40}?)?\s*(?:is\b|are\b|:|=|would be|should be|must be|\s)*"
    r"(?:the\s|option\s|choice\s|letter\s|likely\s|probably\s)*)",
    # choosing: the replier's own choice
    r"(?P<choosing>(?<![不别勿误未没错难多备])(?<!不能)(?<!不会)(?<!不应)(?<!不可)(?<!不要)(?<!不想)(?<!不该)(?<!无法)(?<!不可以)选(?!项|自|取自|择题|举|手)(?:择|取|出|定)?(?:了|的是|的|中|:|为|是|正确|选项|答案|\"|\s)*"
    r"|(?:认为|觉得|我猜测?|[猜蒙](?=一?个|[是选])|我想|倾向于?|推断出?|推测出?|判断出?|可知|可得出?|得出|得到|推出|推知|看出|结论|猜测|答)(?:这?道?题|答案)?(?:应该?|应当|就|可能|大概|一?个|是|为|选|:|,|\s)*"
    r"|(?:应该?|应当|可能|大概|也许|就|则|即|当然|而|那么|确实|显然|其实|实际上|事实上)(?:就|应该?|应当|可能)?(?:是|为)(?:选)?"
    r"|\b(?:I(?:'d|'ll)?|we)\b\s*(?:would\s|will\s|am\s|can\s|should\s|must\s)?\s*(?:\w+ly\s)?\s*(?:choose|chose|pick|select|go(?:ing)?\s+with|opt\s+for|think|believe|guess|say|vote\s+for|conclude)\s*(?:that\s|it's\s|it\sis\s|is\s|the\s|answer\s|option\s|choice\s|correct\s|:|\s)*"
    r"|\b(?:more|most)\s+likely\s+(?:it's\s|is\s|option\s)*|\b(?:it|that|this)(?:'s|\s+is|\s+must\s+be|\s+should\s+be|\s+would\s+be|\s+has\s+to\s+be)\s+(?:option\s|choice\s|probably\s|likely\s|definitely\s|clearly\s)*"
    r"|(?:\bnot\b|不是|并非)\s*(?:option\s|选项)?[\ue000-\ue107]\s*[,、]?\s*(?:\bbut(?:\s+rather)?\b|而是|但是?|是)\s*"
    r"|\b(?:choose|select|pick|therefore|thus|hence)\b[\s,:]*(?:option\s|choice\s)?)",
)
_CUE = re.compile("|".join(_CUES), re.IGNORECASE)
_WRONG_CUE = re.compile(
    rf"(?:错误|不正确|不对|有误|不符合(?:题意|文意)?|不恰当|不属于[^。,]{{0,8}}|incorrect|wrong)的?(?:一项|选项|说法|项|答案| )*{_MAYBE}(?:is|option|是|为|有|:|\s)+",
    re.IGNORECASE,
)
_REJECT_CUE = re.compile(
    r"(?:排除(?:了|掉)?|(?:不|未|没有|并不)(?:构成|属于|属|考虑|体现|认为|指|包括)|不是|并非|而非|(?<=\()非|(?<=[\ue000-\ue107])比|优于|好于|胜过|不需要?|无需|不用|不必|不宜|不选择?|不能选择?|不应该?选择?|不会选择?|不可选|无法选择|除了?|\bnot\b|\bneither\b|\bnor\b|rather\s+than|instead\s+of|(?:not|n't)\s+(?:think|believe)\s+(?:that\s+)?(?:it(?:'s|\s+is)|the\s+answer\s+is)?|exclud\w+|eliminat\w+|rul\w+\s+out)"
    r"\s*(?:选项|答案|选择|options?|choices?)?\s*(?=[\s\"'(\[]*[\ue000-\ue107])",
    re.IGNORECASE,
)
_EXCEPT = re.compile(
    rf"除了?[\s\"'《]*(?:选项)?(?P<out>[{LETTER[1:-1]}{TEXT[1:-1]}](?:{_JOIN}[{LETTER[1:-1]}{TEXT[1:-1]}])*)[\s\"'》]*[^。,]{{0,4}}?,?\s*"
    r"(?:其他|其余|剩下|剩余)?[^。,;]{0,4}?\s*(?:都|均|全|皆)(?:是|选|部|为)*(?P<right>对|正确|符合|可以|可选|$|[\s。,])?"
)
_REST_RIGHT = re.compile(r"(?:其余|其他|剩下|剩余)[^。,;]{0,6}(?:都|均|全|皆)(?!不|错|没|无)")
_NAMING = re.compile(
    r"(?<![不未没非])(?:构成|属于|认定为|定为|称为|称作|叫做?|体现了?|考虑|诊断[为是:]?|首选|患有|发生在|发生于|爆发于|应为|应是|应(?:该|当)?(?:承担|采取|采用|使用|运用|选用|给予|判处|追究|认定为))"
    rf"[\s\"'《]*({TEXT})"
)
_RETRACTED = re.compile(
    r"(?:^|[\s.。!\n;,?…、])(?:(?:哦|啊|噢)?不对[,。!不]|(?:哦|啊|噢)不|不[,。!]|等一下|慢着|算了|更正|修正|纠正|改为|等等|再想|重新(?:考虑|思考|分析|审题|看|检查))|说错|搞错|弄错|答错|写错|(?:前面|上面|刚才|之前)[^。]{0,8}(?:错|误)"
    r"|但?仔细(?:想|一想|看)|\bwait\b|\bactually\b|\bcorrection\b|on\s+second\s+thought|let\s+me\s+(?:reconsider|recheck|correct)|\bmy\s+mistake\b",
    re.IGNORECASE,
)


_NOT_THOUGHT = re.compile(r"(?:\bnot|n't)\s+(?:think|believe|choose|pick|select|say)\b[^.,;\n]*$", re.IGNORECASE)


class Strength(IntEnum):
    """How plainly a phrase states the answer; larger is plainer."""

    TRUTH = 1
    CHOOSING = 2
    FIRM = 3
    FORMAL = 4


@dataclass(frozen=True, slots=True)
class Mention:
    """Options named at one place of the reply. `by_letter`, `by_text` are what letters and texts point to there."""

    start: int
    end: int
    by_letter: frozenset[str]
    by_text: frozenset[str]
    strength: int

    @property
    def letters(self) -> frozenset[str]:
        """Return what is named: a letter decides over a text beside it."""
        return self.by_letter or self.by_text


def target_at(tokens: Tokens, position: int) -> tuple[Mention, int] | None:
    """Return the options named right at `position` (strength 0) and where the first token stands, or None."""
    match = _match(tokens.text, position)
    return None if match is None else (_mention(tokens, match, 0, position), match.end())


def find_cued(tokens: Tokens) -> tuple[list[Mention], list[tuple[int, int, int]]]:
    """Return the mentions that an answer phrase introduces, and (start, end, strength) of phrases that name no option."""
    found: list[Mention] = []
    open_cues: list[tuple[int, int, int]] = []
    position = 0
    while (cue := _CUE.search(tokens.text, position)) is not None:
        position = max(cue.end(), cue.start() + 1)
        strength = Strength.FORMAL if cue["formal"] else Strength.FIRM if cue["firm"] else Strength.CHOOSING
        match = _match(tokens.text, cue.end())
        if match is None:
            open_cues.append((cue.start(), cue.end(), strength))
            continue
        if (
            not _unthought(tokens.text, cue)
            and not denied(tokens.text, match.end())
            and not _WRONG_CUE.search(tokens.text, max(0, cue.start() - 4), cue.end())
        ):
            found.append(_mention(tokens, match, strength, cue.start()))
            position = match.end()
    return found, open_cues


def find_judged(tokens: Tokens) -> tuple[list[Mention], list[Mention]]:
    """Return the mentions that the reply calls right ("B正确") and those it calls wrong or excludes ("排除A")."""
    right: list[Mention] = []
    wrong: list[Mention] = []
    rejecting = {_first_token(tokens.text, cue.end()) for cue in _REJECT_CUE.finditer(tokens.text)}
    position = 0
    while (seen := _TARGET.search(tokens.text, position)) is not None:
        match = _match(tokens.text, seen.start()) or seen
        position = match.end()
        mention = _mention(tokens, match, Strength.TRUTH, match.start())
        if _first_token(tokens.text, match.start()) in rejecting or denied(tokens.text, match.end()):
            wrong.append(mention)
        elif _YES.match(tokens.text, match.end()) or _YES_ENGLISH.match(tokens.text, match.end()):
            right.append(mention)
    return right, wrong


def find_called_wrong(tokens: Tokens) -> list[Mention]:
    """Return the mentions after "错误的是" and the like."""
    matches = ((cue, _match(tokens.text, cue.end())) for cue in _WRONG_CUE.finditer(tokens.text))
    return [_mention(tokens, match, Strength.FIRM, cue.start()) for cue, match in matches if match is not None]


def rest_is_right(tokens: Tokens) -> bool:
    """Return whether the reply says that all options not named are right ("其余都对")."""
    return _REST_RIGHT.search(tokens.text) is not None


def find_named(tokens: Tokens) -> frozenset[str]:
    """Return the options whose text follows a naming verb ("构成抢夺罪"), less firm than an answer phrase."""
    return frozenset(letter for token in _NAMING.findall(tokens.text) for letter in tokens.letters_of(token))


def all_but(tokens: Tokens) -> frozenset[str] | None:
    """Return the options of "除C外都对" (all the others) or "除C外都不对" (C), None where nothing of the kind is said.

    Questions for the wrong statement are answered by C either way.
    """
    match = _EXCEPT.search(tokens.text)
    if match is None:
        return None
    out = frozenset(letter for token in match["out"] if ord(token) >= 0xE000 for letter in tokens.letters_of(token))
    return tokens.labels - out if match["right"] is not None and not tokens.sheet.asks_wrong else out


def denied(text: str, end: int) -> bool:
    """Return whether what follows `end` says that the option before it is wrong."""
    return _NOT.match(text, end) is not None or _NOT_ENGLISH.match(text, end) is not None


def affirmed(text: str, end: int) -> bool:
    """Return whether what follows `end` says that the option before it is right."""
    return _YES.match(text, end) is not None or _YES_ENGLISH.match(text, end) is not None


def retracted_at(text: str, start: int) -> int | None:
    """Return where, from `start` on, the replier takes an answer back, or None."""
    match = _RETRACTED.search(text, start)
    return None if match is None else match.start()


def _unthought(text: str, cue: re.Match[str]) -> bool:
    """Return whether an English cue only says what the replier does not think ("I don't think it is A")."""
    return _NOT_THOUGHT.search(text, max(0, cue.start() - 24), cue.end()) is not None


def _first_token(text: str, start: int) -> int:
    found = _TOKEN.search(text, start)
    return found.start() if found else -1


def _match(text: str, position: int) -> re.Match[str] | None:
    match = _TARGET.match(text, position)
    if match is not None and "," in (words := match.group().strip(", ")) and not _SERIES.search(words) and denied(text, match.end()):
        return _TARGET_WITHOUT_COMMA.match(text, position)
    return match


def _mention(tokens: Tokens, match: re.Match[str], strength: int, start: int) -> Mention:
    def letters(part: str | None, base: str) -> frozenset[str]:
        return frozenset(letter for token in part or "" if re.match(base, token) for letter in tokens.letters_of(token))

    by_letter = letters(match["pairs"], LETTER) | letters(match["letters"], LETTER) | letters(match["after"], LETTER)
    by_text = letters(match["pairs"], TEXT) | letters(match["text"], TEXT) | letters(match["texts"], TEXT)
    return Mention(start, match.end(), by_letter, by_text, strength)
