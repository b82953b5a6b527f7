"""Finds the options that a prompt ends in, whatever marks them: A、 A. (A) ① 1. and so on, up to H."""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.judging.choice.clean import clean, fold
from core.judging.choice.model import Option

LETTERS = "ABCDEFGH"
_CIRCLED = "①②③④⑤⑥⑦⑧"
_LABEL = re.compile(
    rf"(?<![A-Za-z0-9.])(?P<open>[(\[]?)\s*(?:(?P<upper>[A-H])|(?P<lower>[a-h])|(?P<circled>[{_CIRCLED}])|(?P<digit>[1-8](?!\.?\d)))"
    r"\s*(?P<close>[)\]]?)\s*(?P<mark>[、.:,]|(?=\s)|)"
)
_NEGATIVE = re.compile(
    r"不正确|不符合|不恰当|不合理|不属于|不包括|不是|不能|不可能|不应|不宜|不当|不准确|不会|不对|错误|有误|无关|除外|没有|\b(?:NOT|not|EXCEPT|except|incorrect|false|wrong)\b"
)
_INSTRUCTION = re.compile(r"(?:请?选择?(?:出)?正确的?(?:选项|答案)(?:作答)?|请?作答|[(\[]\s*[)\]]|[\s。.:?_…])+$")
_CLAUSES = re.compile(r"[,。;?!\n]")
_MULTIPLE = re.compile(r"多选|多项选择|不定项|哪些|哪几|multiple\s+answers|select\s+all|all\s+that\s+apply", re.IGNORECASE)

_JSON_LABEL = re.compile(r"[{,\s]\s*\"([A-Ha-h])\"\s*:\s*")
_BETWEEN_WORD = re.compile(r"\s*(?:选项|\boption)$", re.IGNORECASE)
_BULLET = re.compile(r"\n\s*[-•]$")
_SEPARATOR = re.compile(r"[\s;,|]+$")

_MOST_LABELS = 200


@dataclass(frozen=True, slots=True)
class Sheet:
    """The options of a prompt with what its question says of them.

    `asks_wrong`: it asks for the wrong one; `several`: more than one may be right; `question`: what comes before
    the options, folded.
    """

    options: tuple[Option, ...]
    numbered: bool
    asks_wrong: bool
    several: bool
    question: str = ""

    @property
    def letters(self) -> frozenset[str]:
        """Return the canonical letters of all options."""
        return frozenset(option.letter for option in self.options)


@dataclass(frozen=True, slots=True)
class _Label:
    index: int
    style: tuple[str, bool, bool, str]
    start: int
    end: int


def parse_options(prompt: str) -> Sheet:
    """Return the options at the end of `prompt`; none when it has fewer than two in a row. Never raises."""
    plain = _JSON_LABEL.sub(r" \1: ", clean(prompt))
    chain = _longest_chain(_labels(plain))
    question = plain[: chain[0].start] if chain else plain
    texts: list[str] = []
    for place, label in enumerate(chain):
        stop = chain[place + 1].start if place + 1 < len(chain) else len(plain)
        text = plain[label.end : stop].strip()
        if place + 1 == len(chain) and len(texts) > 0 and not any("\n" in before.rstrip("\n -") for before in texts):
            text = text.split("\n", 1)[0].strip()  # what follows the last option is no part of it
        texts.append(text)
    options = [Option(LETTERS[place], text, fold(text)) for place, text in enumerate(_without_separators(texts))]
    numbered = bool(chain) and chain[0].style[0] in {"digit", "circled"}
    asked = _CLAUSES.split(_INSTRUCTION.sub("", question[-300:]))[-1]
    return Sheet(tuple(options), numbered, bool(_NEGATIVE.search(asked)), bool(_MULTIPLE.search(question)), fold(question))


def _without_separators(texts: list[str]) -> list[str]:
    """Return option texts without what only stands between options: `;` `|` `-` or the word 选项 before the next label."""
    for pattern in (_BETWEEN_WORD, _BULLET):
        if len(texts) > 1 and all(pattern.search(text) for text in texts[:-1]):
            texts = [*(pattern.sub("", text) for text in texts[:-1]), texts[-1]]
    if texts and all(re.match(r"-\s*\D", text) for text in texts):
        texts = [text[1:] for text in texts]
    return [_SEPARATOR.sub("", text).strip() for text in texts]


def _labels(plain: str) -> list[_Label]:
    labels: list[_Label] = []
    for match in _LABEL.finditer(plain):
        alphabet = match.lastgroup or ""
        opened, closed, mark = bool(match["open"]), bool(match["close"]), match["mark"]
        for name, symbols in (("upper", LETTERS), ("lower", LETTERS.lower()), ("circled", _CIRCLED), ("digit", "12345678")):
            if match[name]:
                alphabet, index = name, symbols.index(match[name])
                break
        apart = match.start() == 0 or plain[match.start()].isspace() or plain[match.start() - 1].isspace()
        if not (closed or mark) and alphabet != "circled" and (alphabet != "upper" or not apart):
            continue
        labels.append(_Label(index, (alphabet, opened, closed, mark), match.start(), match.end()))
    return labels


def _longest_chain(labels: list[_Label]) -> list[_Label]:
    """Return the longest run A, B, C, … of one style; of equally long ones a marked one, then the last: options end a prompt."""
    best: list[_Label] = []

    def rank(chain: list[_Label]) -> tuple[int, bool, int]:
        return (len(chain), chain[0].style[2:] != (False, ""), chain[0].start) if chain else (0, False, -1)

    for style in dict.fromkeys(label.style for label in labels):
        same = [label for label in labels if label.style == style][-_MOST_LABELS:]
        for first in (place for place, label in enumerate(same) if label.index == 0):
            chain = [same[first]]
            for label in same[first + 1 :]:
                if label.index == len(chain) and label.start > chain[-1].end:
                    chain.append(label)
            if len(chain) >= 2 and rank(chain) >= rank(best):
                best = chain
    return best
