"""Reads replies that never say which option they pick: free prose, misspelt or shortened option texts."""

from __future__ import annotations

import re

from core.judging.choice import grammar, phrases
from core.judging.choice.clean import fold
from core.judging.choice.likeness import most_like, numbers_of
from core.judging.choice.model import ChoiceKind, Pick
from core.judging.choice.tokens import LETTER, TEXT, Tokens

_NONE: frozenset[str] = frozenset()
_ANY = re.compile(f"{LETTER}|{TEXT}")
_LEAD = re.compile(
    r"[\s\"'(\[《:,.、\-]*(?:(?:好的|以下是[^:。]{0,8}|这道?题|本题|回答|我的回答|模型|答|根据[^,。]{0,24}|属于|选项|选|是|为|应|该|正确|答案|的|故|因此|所以"
    r"|我|们|认为|觉得|可以|推断出|the|answer|correct|option|is|it's|it|therefore|so)[\s:,\"'(\[《]*){0,10}",
    re.IGNORECASE,
)
_EQUALS = re.compile(r".*(?:=|等于|约为|[是为:])\s*(?P<core>[^=是为:]+?)[\s。.!]*", re.DOTALL)
_CONCLUSION = re.compile(r"(?:因此|所以|因而|故|综上|总之|可见|由此|therefore|thus|hence|\bso\b)[^。\n]*", re.IGNORECASE)
_TURN = re.compile(r"但|而是|其实|实际上|\b(?:but|however)\b", re.IGNORECASE)
_SHORT = 40
_FEW_WORDS = 12
_CLAUSE_LENGTH = 5
_ECHO = "□"


def after_lead(plain: str) -> int:
    """Return where a reply begins once opening words such as 本题答案是 are passed."""
    lead = _LEAD.match(plain)
    return lead.end() if lead else 0


def mentioned(tokens: Tokens) -> Pick | None:
    """Read the only option that is mentioned at all, the only one in the conclusion, or the one said of what is asked."""
    text = _without_echoes(tokens)
    for conclusion in reversed(list(_CONCLUSION.finditer(text))):
        named = _letters(tokens, _ANY.findall(conclusion.group()))
        if len(named) == 1:
            return Pick(named, ChoiceKind.OPTION_TEXT, 0.9, tokens.spell(*conclusion.span()))
    texts, letters = re.findall(TEXT, text), re.findall(LETTER, text)
    by_text, by_letter = _letters(tokens, texts), _letters(tokens, letters)
    if len(by_letter) == 1 and (not by_text or by_letter == by_text):
        return Pick(by_letter, ChoiceKind.LETTER_AND_TEXT if by_text else ChoiceKind.LETTER, 0.85, tokens.plain[:80])
    if len(set(texts)) == 1 and not by_letter:
        certainty = 0.95 if len(text) <= 12 else 0.88
        return Pick(tokens.nearest(by_text), ChoiceKind.OPTION_TEXT, certainty, tokens.plain[:80])
    if len(by_letter) == 1 and text[:3].strip()[:1] in set(letters):
        return Pick(by_letter, ChoiceKind.LETTER, 0.75, tokens.plain[:80])
    pick = _among(tokens, text) if by_letter | by_text else None
    if pick is not None:
        return pick
    if len(set(texts)) == 1:
        return Pick(by_text, ChoiceKind.OPTION_TEXT, 0.75, tokens.plain[:80])
    both = by_letter | by_text
    if tokens.sheet.asks_wrong and len(left := tokens.sheet.letters - both) == 1 and len(both) >= 2:
        return Pick(left, ChoiceKind.ELIMINATION, 0.75, tokens.plain[:80])  # "A、B、D都是哺乳动物"
    if both == tokens.sheet.letters and not tokens.sheet.several:
        return Pick(_NONE, ChoiceKind.NO_ANSWER, 0.85, tokens.plain[:80])  # the options repeated
    if not both or len(text) >= _SHORT:
        return None
    last = _letters(tokens, _ANY.findall(_TURN.split(text)[-1]))
    if len(last) == 1:
        return Pick(last, ChoiceKind.OPTION_TEXT, 0.75, tokens.plain[:80])  # "A和B可能竞合，但只涉及A"
    return _result(tokens) or Pick(both, ChoiceKind.MULTIPLE, 0.75, tokens.plain[:80])


def _result(tokens: Tokens) -> Pick | None:
    equals = _EQUALS.fullmatch(tokens.plain)
    same = tokens.reading(equals["core"]) if equals else _NONE
    return Pick(tokens.nearest(same), ChoiceKind.OPTION_TEXT, 0.9, tokens.plain[:80]) if same else None


def resembling(tokens: Tokens) -> Pick | None:
    """Read a result after an equals sign, a misspelt or shortened option text, or a clause that only one option has."""
    result = _result(tokens)
    if result is not None:
        return result
    for words in _cores(tokens.plain):
        letters, near = most_like(fold(words).rstrip("吧呢啊呀哦嘛"), tokens.sheet.options)
        if letters:
            return Pick(letters, ChoiceKind.OPTION_TEXT, round(0.6 + 0.3 * near, 2), words[:80])
    return _by_clause(tokens)


def _letters(tokens: Tokens, marks: list[str]) -> frozenset[str]:
    return frozenset(letter for token in marks for letter in tokens.letters_of(token))


def _without_echoes(tokens: Tokens) -> str:
    """Return the token text without option texts that only repeat the question ("样本量增大" where 增大 is an option)."""
    characters = list(tokens.text)
    for mark in re.finditer(TEXT, tokens.text):
        before = fold(tokens.text[max(0, mark.start() - 4) : mark.start()])[-2:]
        option = tokens.sheet.options[ord(mark.group()) - 0xE000]
        if len(before) == 2 and before + option.folded in tokens.sheet.question:
            characters[mark.start()] = _ECHO
    return "".join(characters)


def _among(tokens: Tokens, text: str) -> Pick | None:
    """Read which of several options in free prose is meant as the answer."""
    clauses = [(clause, frozenset(_one_sort(tokens, _ANY.findall(clause)))) for clause in phrases.CLAUSES.split(text)]
    alone = [(clause, next(iter(marks))) for clause, marks in clauses if len(marks) == 1]
    named = grammar.find_named(tokens)
    if len(named) == 1:
        return Pick(named, ChoiceKind.OPTION_TEXT, 0.8, tokens.plain[:80])
    if tokens.sheet.asks_wrong:
        others = max((marks for _, marks in clauses), key=len)
        odd = {token for _, token in alone} - others
        if len(odd) == 1 and len(others) == len(tokens.sheet.options) - 1:
            return Pick(tokens.letters_of(odd.pop()), ChoiceKind.ELIMINATION, 0.8, tokens.plain[:80])
    else:
        asked = _pairs(tokens.sheet.question[-60:])
        scored = sorted(((len(_pairs(fold(clause)) & asked), -place, token) for place, (clause, token) in enumerate(alone)), reverse=True)
        if scored and scored[0][0] > 0 and (len(scored) == 1 or scored[0][0] > scored[1][0] or scored[0][2] == scored[1][2]):
            return Pick(tokens.letters_of(scored[0][2]), ChoiceKind.OPTION_TEXT, 0.8, tokens.plain[:80])
    if alone and alone[0][0] == clauses[0][0] and re.fullmatch(TEXT, alone[0][1]):
        return Pick(tokens.letters_of(alone[0][1]), ChoiceKind.OPTION_TEXT, 0.65, tokens.plain[:80])
    return None


def _one_sort(tokens: Tokens, marks: list[str]) -> list[str]:
    """Return `marks` without the letters beside their own texts ("C、巴黎")."""
    texts = _letters(tokens, [mark for mark in marks if re.match(TEXT, mark)])
    return [mark for mark in marks if re.match(TEXT, mark) or not tokens.letters_of(mark) <= texts]


def _pairs(folded: str) -> frozenset[str]:
    return frozenset(pair for pair in (folded[at : at + 2] for at in range(len(folded) - 1)) if not _ANY.search(pair))


def _cores(plain: str) -> list[str]:
    """Return what may be the bare answer in `plain`: all of it, its first clause, without opening words, without 正确."""
    found: list[str] = []
    for start in (0, after_lead(plain)):
        stop = phrases.CLAUSE_END.search(plain, start)
        for words in (plain[start:], plain[start : stop.start()] if stop else ""):
            called = phrases.CALLED_RIGHT.fullmatch(words)
            found += [words, *([called["core"]] if called else [])]
    return list(dict.fromkeys(found))


def _by_clause(tokens: Tokens) -> Pick | None:
    """Read a clause that only one option has, unless another clause belongs to other options alone."""
    clauses = [fold(clause) for clause in phrases.CLAUSES.split(tokens.plain)]
    whole = {option.letter: {fold(part) for part in phrases.CLAUSES.split(option.text)} for option in tokens.sheet.options}
    reply = "\n".join(clauses)
    candidates: dict[str, str] = {}
    for option in tokens.sheet.options:
        for part in (*(clause for clause in clauses if clause in option.folded), *(part for part in whole[option.letter] if part in reply)):
            if len(part) >= _CLAUSE_LENGTH and sum(part in other.folded for other in tokens.sheet.options) == 1:
                candidates[option.letter] = part
    if len(candidates) != 1:
        return None if candidates else _by_own_words(tokens)
    letter, part = candidates.popitem()
    strange = [other for other in clauses if other not in whole[letter] and any(other in parts for parts in whole.values())]
    return None if strange else Pick(frozenset({letter}), ChoiceKind.OPTION_TEXT, 0.78, part[:80])


def _by_own_words(tokens: Tokens) -> Pick | None:
    """Read a short reply that shares three characters in a row with one option alone ("侵犯隐私权")."""
    core = fold(tokens.plain)
    if len(core) > _FEW_WORDS or "不" in core:
        return None
    triples = {core[at : at + 3] for at in range(len(core) - 2)}
    having = [{option.letter for option in tokens.sheet.options if triple in option.folded} for triple in triples]
    own = frozenset(letter for letters in having if len(letters) == 1 for letter in letters)
    numbers = {number for option in tokens.sheet.options if option.letter in own for number in numbers_of(option.folded)}
    if len(own) != 1 or not set(numbers_of(core)) <= numbers:
        return None
    return Pick(own, ChoiceKind.OPTION_TEXT, 0.7, tokens.plain[:80])
