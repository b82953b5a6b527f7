"""Rewrites a cleaned reply so that each mention of an option, by its text or by its letter, is one character.

The grammar then works on an alphabet in which an option text that itself holds letters, commas or the word 正确 can
no longer be mistaken for anything else. Longer texts are marked first, so that 社会教育 is not read as 教育.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.judging.choice.clean import fold, fold_with_origins
from core.judging.choice.likeness import widest_reading
from core.judging.choice.model import Option
from core.judging.choice.options import LETTERS, Sheet
from core.judging.choice.polarity import polarity

LETTER_BASE = 0xE100
TEXT_BASE = 0xE000
LETTER = "[\ue100-\ue107]"
TEXT = "[\ue000-\ue007]"

_CJK = "\u4e00-\u9fff"
_LETTERS_ONLY = re.compile(
    r"[\s\"'(\[]*(?:选项|option\s)?\s*(?:[A-H]|[a-h])(?:[\s、,/;.&+\"']*(?:和|与|及|或者?|还是|and\s|or\s)?\s*(?:[A-H]|[a-h])(?![a-z]{2}))*[\s\"')\].。,!;:~…?-]*",
)
_RUN_ONLY = re.compile(r"[\s\"'(\[]*(?:[A-H]{2,8}|[a-h]{2,8})[\s\"')\].。!]*")
_WORDS = re.compile(r"\b(?:option|and|or)\b")
_CAPITAL = re.compile(r"(?<!\bN/)(?<![A-Za-z0-9\\×÷+=<>≤≥^_])([A-H])(?![A-Za-z0-9^_]|'[A-Za-z0-9]|\.I\b|\s*[=<>≤≥≠×÷+])")
_SMALL = re.compile(
    rf"(?:(?<=[{_CJK}:=\"(\[])|(?<=option\s)|(?<=choice\s)|(?<=answer\s)|(?<=\bis\s)|(?<=\bso\s)|(?<=choose\s)|(?<=pick\s)|^)\s*([a-h])"
    rf"(?=\s*(?:$|[.。,)\]\"!;:、\n]|选?项|is\s+(?:correct|right|the\b)|[{_CJK}{TEXT[1:-1]}]))"
)
_RUN = re.compile(
    rf"(?:(?<=[:=选为是案择{_CJK}])|(?<=is\s)|(?<=\])|^)(\s*[\"'(\[]*)([A-H]{{2,8}}|[a-h]{{2,8}})(?=[\s\"')\]]*(?:$|[。.,;!\n)\]\"]|都|均|全|两|三|四|选?项|正确|解析))"
)
_ARTICLE = re.compile(
    r"\s+(?!(?:is|are|was|and|or|because|since|as|seems|looks|but|not|would|should|must|can|rather|instead|correctly|says|states|describes|for|due)\b)[a-z]{2,}"
)
_ORDINAL = re.compile(
    r"(?<!倒数)第\s*([一二三四五六七八1-8])\s*(?:个|条)?\s*(?:选项|答案|选择|项|个)|(最后)一(?:个|项)(?:选项|答案|选择|项)?"
    r"|\bthe\s+(?:(first|second|third|fourth)|(last))\s+(?:option|choice|answer|one)\b",
    re.IGNORECASE,
)
_ORDINALS = {symbol: place % 8 for place, symbol in enumerate("一二三四五六七八12345678")}
_ORDINALS.update({"first": 0, "second": 1, "third": 2, "fourth": 3})
_CIRCLED = "①②③④⑤⑥⑦⑧"
_NUMBER = re.compile(
    rf"([{_CIRCLED}])|(?:(?<=[{_CJK}:=\"(\[])\s*|(?<=is\s)|(?<=option\s)|(?<=\bso\s)|(?<=answer\s)|(?<=choose\s)|^[\s(\[\"]*)(?<![第\d])([1-8])(?=\s*(?:$|[.。,)\]\"!;:、\n]|选?项|号|[\ue000-\ue007]))",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"(\b(?:answer|choice|option)|答案|选项)\s*[=-]\s*(?=[\"']?[A-Ha-h]\b)", re.IGNORECASE)
_TICKED = re.compile(r"(?:\s*[A-H]\s*[×√][\s,、;。]*){2,}")
_GLOSSED = re.compile(r"([^()]{2,40}?)\s*\(([^()]{2,40})\)")
_NEGATING = "不非无未没"
_MOSTLY_DIGITS = re.compile(r"[0-9.%]+")


@dataclass(frozen=True, slots=True)
class Tokens:
    """A reply with option mentions as single characters; `groups` are the letters of options that read alike."""

    text: str
    plain: str
    sheet: Sheet
    groups: tuple[frozenset[str], ...]
    labels: frozenset[str]

    def letters_of(self, token: str) -> frozenset[str]:
        """Return the canonical letters that one token character stands for."""
        code = ord(token)
        return frozenset(LETTERS[code - LETTER_BASE]) if code >= LETTER_BASE else self.groups[code - TEXT_BASE]

    def reading(self, words: str) -> frozenset[str]:
        """Return the options whose text is `words`; an option that reads "a" is not meant by the letter A."""
        core = fold(words)
        if len(core) == 1 and core in "abcdefgh":
            return frozenset(option.letter for option in self.sheet.options if option.text == words.strip(" \"'.。)("))
        return frozenset(option.letter for option in self.sheet.options if core and option.folded == core)

    def nearest(self, letters: frozenset[str]) -> frozenset[str]:
        """Return, of options that read alike once folded, those whose exact spelling stands in the reply, else all of them."""
        alike = [option for option in self.sheet.options if option.letter in letters]
        if len({option.folded for option in alike}) != 1:
            return letters
        return frozenset(option.letter for option in alike if option.text and option.text in self.plain) or letters

    def spell(self, start: int, end: int) -> str:
        """Return that part of the token text in words again, at most 80 characters."""
        words = [self._spelled(character) for character in self.text[max(start, 0) : end]]
        return " ".join("".join(words).split())[:80]

    def _spelled(self, character: str) -> str:
        code = ord(character)
        if LETTER_BASE <= code < LETTER_BASE + len(LETTERS):
            return LETTERS[code - LETTER_BASE]
        if TEXT_BASE <= code < TEXT_BASE + len(self.sheet.options):
            return self.sheet.options[code - TEXT_BASE].text
        return character


def tokenize(plain: str, sheet: Sheet) -> Tokens:
    """Return `plain`, a cleaned reply, as tokens of the options of `sheet`."""
    groups = tuple(frozenset(other.letter for other in sheet.options if other.folded == option.folded) for option in sheet.options)
    labels = sheet.letters or frozenset(LETTERS)
    text = _mark_characters(_mark_texts(plain, sheet.options), sheet.options)
    text = _mark_letters(text, sheet, labels)
    return Tokens(text, plain, sheet, groups, labels)


def is_markable(option: Option) -> bool:
    """Return whether the text is telling enough to be looked for anywhere in a reply, not just where an answer stands."""
    if len(option.folded) == 1:
        return option.folded in "甲乙丙丁戊"
    return len(option.folded) >= 2 and (polarity(option.text) is None or "成立" in option.text)


def _mark_texts(plain: str, options: Sequence[Option]) -> str:
    wanted = [option for option in (*options, *_shorter(options)) if is_markable(option)]
    letters = [option.letter for option in options]
    if not wanted:
        return plain
    folded, origins = fold_with_origins(plain)
    spans: list[tuple[int, int, int]] = []
    seen: set[str] = set()
    for option in sorted(wanted, key=lambda option: -len(option.folded)):
        if option.folded in seen:
            continue
        seen.add(option.folded)
        at = folded.find(option.folded)
        while at >= 0:
            meant, first, last = widest_reading(folded, at, option, options)
            start, end = origins[first], origins[last - 1] + 1
            if _stands_alone(plain, start, end, meant) and not any(start < stop and begin < end for begin, stop, _ in spans):
                spans.append((start, end, letters.index(meant.letter)))
            at = folded.find(option.folded, at + 1)
    pieces: list[str] = []
    position = 0
    for start, end, place in sorted(spans):
        pieces += (plain[position:start], chr(TEXT_BASE + place))
        position = end
    return "".join((*pieces, plain[position:]))


def _mark_characters(text: str, options: Sequence[Option]) -> str:
    """Mark options of one Chinese character: in quotes (《家》), and where all are such, where a clause or a list names them."""
    single = [option for option in options if re.fullmatch(f"[{_CJK}]", option.folded) and polarity(option.folded) is None]
    for option in single:
        named = rf"[\"'《]{option.folded}[\"'》]"
        if len(single) == len(options):
            named += rf"|(?<![^\s,。;:、和与]){option.folded}(?=不?(?:是|属)|[都均为和与才、,。;]|$)"
        text = re.sub(named, chr(TEXT_BASE + options.index(option)), text)
    return text


def _shorter(options: Sequence[Option]) -> list[Option]:
    """Return options with a remark in brackets once without it and once by it alone: 重写 and Overriding of 重写(Overriding)."""
    found: list[Option] = []
    for option in options:
        glossed = _GLOSSED.fullmatch(option.text)
        found += [Option(option.letter, words, fold(words)) for words in (glossed.groups() if glossed else ())]
    taken = [option.folded for option in (*options, *found)]
    return [option for option in found if taken.count(option.folded) == 1]


def _stands_alone(plain: str, start: int, end: int, option: Option) -> bool:
    first, last = option.folded[0], option.folded[-1]
    before, after = plain[start - 1 : start], plain[end : end + 1]
    if first.isascii() and first.isalnum() and before.isascii() and before.isalnum():
        lone_label = before in LETTERS and not plain[start - 2 : start - 1].isalpha()
        if not (lone_label or (first.isalpha() and before.isdigit())):
            return False
    if first.isdigit() and before in {".", "-"} and plain[start - 2 : start - 1].isdigit():
        return False
    if last.isascii() and last.isalnum() and after.isascii() and after.isalnum() and (last.isdigit() == after.isdigit()):
        return False
    if last.isdigit() and (after == "%" or (after == "." and plain[end + 1 : end + 2].isdigit())):
        return False
    return not (before != "" and before in _NEGATING and not option.text.startswith(tuple(_NEGATING)))


def _mark_letters(text: str, sheet: Sheet, labels: frozenset[str]) -> str:
    one_case = not (re.search("[a-h]", _WORDS.sub("", text)) and re.search("[A-H]", text))
    if (one_case and _LETTERS_ONLY.fullmatch(text)) or (_RUN_ONLY.fullmatch(text) and _is_run(text, labels)):
        return "、".join(_letter(letter) for letter in re.findall(r"[A-Ha-h]", _WORDS.sub(" ", text)))
    if sheet.numbered:
        text = _NUMBER.sub(lambda match: match.group().replace(match.group(1) or match.group(2), _numbered(match)), text)
    text = _ORDINAL.sub(lambda match: _ordinal(match, sheet), text)
    text = _ASSIGNED.sub(r"\1: ", text)
    if _TICKED.fullmatch(text):
        text = text.replace("×", "错,").replace("√", "对,")
    text = _RUN.sub(lambda match: _spread(match, labels), text)
    text = _CAPITAL.sub(_capital, text)
    own = {option.text: chr(TEXT_BASE + place) for place, option in enumerate(sheet.options) if re.fullmatch("[a-h]", option.text)}
    return _SMALL.sub(lambda match: match.group().replace(match.group(1), own.get(match.group(1)) or _letter(match.group(1))), text)


def _spread(match: re.Match[str], labels: frozenset[str]) -> str:
    run = match.group(2)
    return match.group(1) + "、".join(map(_letter, run)) if _is_run(run, labels) else match.group()


def _capital(match: re.Match[str]) -> str:
    article = match.group() == "A" and _ARTICLE.match(match.string, match.end()) is not None
    return match.group() if article else _letter(match.group())


def _letter(letter: str) -> str:
    return chr(LETTER_BASE + LETTERS.index(letter.upper()))


def _is_run(run: str, labels: frozenset[str]) -> bool:
    letters = [letter for letter in run.upper() if letter.isalpha()]
    return len(set(letters)) == len(letters) and set(letters) <= labels


def _ordinal(match: re.Match[str], sheet: Sheet) -> str:
    if match.group(2) or match.group(4):
        return chr(LETTER_BASE + len(sheet.options) - 1) if sheet.options else match.group()
    place = _ORDINALS[(match.group(1) or match.group(3)).lower()]
    return chr(LETTER_BASE + place) if place < len(sheet.options) else match.group()


def _numbered(match: re.Match[str]) -> str:
    return chr(LETTER_BASE + (_CIRCLED.index(match.group(1)) if match.group(1) else int(match.group(2)) - 1))
