"""Takes a row's text apart: the correct option that it names and the reply of the model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.judging.choice.clean import clean, fold
from core.judging.choice.options import LETTERS, Sheet
from core.judging.choice.polarity import polarity

_CORRECT = re.compile(
    r"(?:正[确確]|[标標][准準]|参考|參考)的?(?:[选選][项項]|答案)\s*(?:应?[是为為])?\s*[:：=]?\s*"
    r"|\A\s*答案\s*(?:[是为為]\s*[:：]?|[:：=])\s*"
    r"|(?:correct|right|reference|gold)\s+(?:option|answer|choice)s?\s*(?:is\b|are\b)?\s*[:：=]?\s*",
    re.IGNORECASE,
)
_REPLY = re.compile(
    r"模型的?(?:回[复復答覆]|输出|輸出|答案|作答|预测|預測|选择)(?:内容)?\s*(?:[是为為]\s*[:：]?|[:：=])\s?"
    r"|(?:回复|回覆|回答|作答)(?:内容)?\s*[为為是:：]\s?"
    r"|(?:the\s+)?(?:model(?:'s)?\s+)?(?:reply|response|output|answer)\s*(?:is\b|[:：=])\s?",
    re.IGNORECASE,
)
_LETTER_LIST = re.compile(r"[A-Ha-h](?:[\s、,，/;和与及&]*[A-Ha-h])*")
_EDGE = " \t\r\n。.,;:、!()[]\"'"


@dataclass(frozen=True, slots=True)
class Row:
    """`correct` as letters (or the text itself where the prompt has no options to name); `reply` as written.

    `marked` says whether the text marks where the reply begins.
    """

    correct: frozenset[str]
    reply: str
    marked: bool


def parse_row(text: str, sheet: Sheet) -> Row | None:
    """Return the row in `text`, or None when it names no correct option. Never raises."""
    cue = _CORRECT.search(text)
    if cue is None:
        return None
    reply_cue = _REPLY.search(text, cue.end())
    before = _REPLY.match(text.lstrip())
    if before is not None and (reply_cue is None or len(text) - len(text.lstrip()) + before.end() <= cue.start()):
        cue = list(_CORRECT.finditer(text))[-1]
        stated, reply, marked = text[cue.end() :], text.lstrip()[before.end() : cue.start()], True
    elif reply_cue is not None:
        stated, reply, marked = text[cue.end() : reply_cue.start()], text[reply_cue.end() :], True
    else:
        stated, _, reply = text[cue.end() :].partition(" ")
        marked = False
    correct = _correct_letters(clean(stated), sheet)
    return Row(correct, reply, marked) if correct else None


def _correct_letters(stated: str, sheet: Sheet) -> frozenset[str]:
    core = stated.strip(_EDGE)
    folded = fold(core)
    known = sheet.letters or frozenset(LETTERS)
    whole = _LETTER_LIST.fullmatch(core)
    if whole is not None:
        return frozenset(letter.upper() for letter in core if letter.upper() in LETTERS)
    if sheet.numbered and re.fullmatch(r"[1-8①-⑧]", core):
        return frozenset(LETTERS["12345678①②③④⑤⑥⑦⑧".index(core) % 8])
    if not folded:
        sense = polarity(core)
        return frozenset() if sense is None else _by_polarity(sense, sheet)
    same = [option.letter for option in sheet.options if option.folded == folded]
    if same:
        return frozenset(same[:1])
    lettered = re.match(r"([A-Ha-h])(?:\s*[、.:,)\]]|\s|选?项|(?=[\u4e00-\u9fff]))", core)
    if lettered is not None and lettered.group(1).upper() in known:
        return frozenset(lettered.group(1).upper())
    sense = polarity(core)
    if sense is not None:
        return _by_polarity(sense, sheet)
    inside = [option.letter for option in sheet.options if option.folded and option.folded in folded]
    return frozenset(inside[:1]) if len(inside) == 1 else frozenset({core})


def _by_polarity(sense: bool, sheet: Sheet) -> frozenset[str]:
    matching = [option.letter for option in sheet.options if polarity(option.text) is sense]
    return frozenset(matching[:1] or ["对" if sense else "错"])
