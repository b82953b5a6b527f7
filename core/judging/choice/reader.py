"""The way in: one row in, one reading out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from core.judging.choice.clean import clean, fold
from core.judging.choice.decide import decide
from core.judging.choice.model import ChoiceKind, ChoiceReading, Option, Pick
from core.judging.choice.options import LETTERS, Sheet, parse_options
from core.judging.choice.row import parse_row

_SIDES = ("对", "错")
_LONGEST = 8_000
_NONE: frozenset[str] = frozenset()
_KINDS: Mapping[ChoiceKind, tuple[str, str]] = {
    ChoiceKind.LETTER: ("按字母", "by its letter"),
    ChoiceKind.OPTION_TEXT: ("按选项内容", "by its text"),
    ChoiceKind.LETTER_AND_TEXT: ("字母与内容一致", "by letter and text alike"),
    ChoiceKind.CONFLICT: ("字母与内容不一致，以字母为准", "its letter and text disagree, the letter counts"),
    ChoiceKind.CONTRADICTED: ("后文另有结论，以先给出的答案为准", "it concludes otherwise later, the answer stated first counts"),
    ChoiceKind.ELIMINATION: ("由排除得出", "by excluding the others"),
    ChoiceKind.MULTIPLE: ("选了多项", "several options at once"),
    ChoiceKind.ALL_OPTIONS: ("全选", "all options"),
}


def read_choice(prompt: str, text: str) -> ChoiceReading:
    """Read which option the reply in `text` picks and whether it is the correct one.

    `prompt` is a question that ends in its options; `text` reads "正确选项为X 模型回复为…" or its English like.
    Conventions stand in docs/CHOICE.md. Never raises; of a reply longer than 8,000 characters the first and last
    4,000 are read.
    """
    sheet = parse_options(prompt[-_LONGEST:])
    row = parse_row(_bounded(text), sheet)
    if row is None:
        explanation = {
            "zh": "这一行没有写明正确选项（应为“正确选项为X 模型回复为……”），无法判定。",
            "en": 'The row names no correct option (it should read "正确选项为X 模型回复为…"), so it cannot be judged.',
        }
        return ChoiceReading(_NONE, _NONE, ChoiceKind.UNREADABLE_ROW, None, 1.0, text.strip()[:80], explanation)
    correct = row.correct
    if not sheet.options:
        sheet = replace(sheet, options=_implied_options(correct))
    return _reading(correct, _among_equals(decide(clean(row.reply), sheet), correct, sheet), row.marked)


def _implied_options(correct: frozenset[str]) -> tuple[Option, ...]:
    """Return what a row without options offers: 对 and 错 where one of them is correct, else the stated text itself."""
    stated = "".join(correct)
    if stated in _SIDES:
        return tuple(Option(side, side, side) for side in _SIDES)
    return () if correct <= set(LETTERS) else (Option(stated, stated, fold(clean(stated))),)


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST // 2] + "\n" + text[-_LONGEST // 2 :]


def _among_equals(pick: Pick, correct: frozenset[str], sheet: Sheet) -> Pick:
    """Count a text that several options share as the correct one of them."""
    if pick.kind not in {ChoiceKind.MULTIPLE, ChoiceKind.OPTION_TEXT} or len(pick.letters) < 2:
        return pick
    texts = {option.folded for option in sheet.options if option.letter in pick.letters}
    if len(texts) != 1:
        return pick
    return Pick(pick.letters & correct or pick.letters, ChoiceKind.OPTION_TEXT, min(pick.confidence, 0.9), pick.evidence)


def _reading(correct: frozenset[str], pick: Pick, marked: bool) -> ChoiceReading:
    label = int(bool(pick.letters) and pick.letters == correct)
    confidence = pick.confidence if marked else min(pick.confidence, 0.6)
    return ChoiceReading(correct, pick.letters, pick.kind, label, confidence, pick.evidence, _explain(correct, pick, label))


def _explain(correct: frozenset[str], pick: Pick, label: int) -> Mapping[str, str]:
    right, right_en = "、".join(sorted(correct)), ", ".join(sorted(correct))
    if not pick.letters:
        declines = pick.kind is ChoiceKind.REFUSAL
        zh, en = ("回复拒绝作答", "The reply declines to answer") if declines else ("回复没有选出选项", "The reply picks no option")
        return {"zh": f"{zh}，正确选项是{right}，记0分。", "en": f"{en}; the correct option is {right_en}: 0."}
    how_zh, how_en = _KINDS[pick.kind]
    zh, en = f"正确选项是{right}，记0分", f"the correct option is {right_en}: 0"
    if label:
        zh, en = "与正确选项一致，记1分", "which is correct: 1"
    return {
        "zh": f"回复选{'、'.join(sorted(pick.letters))}（{how_zh}），{zh}。",
        "en": f"The reply picks {', '.join(sorted(pick.letters))} ({how_en}), {en}.",
    }
