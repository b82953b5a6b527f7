"""Decides what a reply picks, from the plainest statement down to the faintest hint."""

from __future__ import annotations

import re
from dataclasses import replace

from core.judging.choice import grammar, phrases
from core.judging.choice.clean import fold
from core.judging.choice.grammar import Mention, Strength
from core.judging.choice.likeness import most_like
from core.judging.choice.model import ChoiceKind, Pick
from core.judging.choice.options import Sheet
from core.judging.choice.polarity import leading_polarity, polarity
from core.judging.choice.tokens import LETTER, TEXT, Tokens, tokenize

_NONE: frozenset[str] = frozenset()
_CLAUSE_END = re.compile(r"[。;\n!?]|解析|[,.]\s*(?:因为|理由|原因|because|since)|\.\s|\.$")
_LEAD = re.compile(
    r"[\s\"'(\[《:,.、\-]*(?:(?:好的|以下是[^:。]{0,8}|这道?题|本题|回答|我的回答|模型|答|根据[^,。]{0,24}|属于|选项|选|是|为|应|该|正确|答案|的|故|因此|所以|我|们|认为|觉得|可以|推断出|"
    r"the|answer|correct|option|is|it's|it|therefore|so)[\s:,\"'(\[《]*){0,10}",
    re.IGNORECASE,
)
_AFTER_HEAD = re.compile(r"[\s\"'》)\],、.:;。!?~…>}-]|$|(?:这?[两二三四]个?)?选?项(?=[\s。,.!]|$)|解析|因为|由于|理由|吧|呢|哦|了|而不是|而非|because|since", re.IGNORECASE)
_MARKER = re.compile(rf"(?:选项\s*(?={LETTER}))?({LETTER})(?:(?<=选项.)|\s*(?:选?项|{TEXT}|[、.:)\]]))")
_CALLED_RIGHT = re.compile(r"(?:选项|选择|选)?[\s\"']*(?P<core>.+?)[\s\"']*(?:选项|这一项|项)?\s*(?:才?是)?(?:正确|对)(?:的|答案|选项)*[\s。.!]*")
_EQUALS = re.compile(r".*(?:=|等于|约为|[是为:])\s*(?P<core>[^=是为:]+?)[\s。.!]*", re.DOTALL)
_CONCLUSION = re.compile(r"(?:因此|所以|因而|故|综上|总之|可见|由此|therefore|thus|hence|\bso\b)[^。\n]*", re.IGNORECASE)
_LAST_CLAUSE = re.compile(rf".*[.。!,:\n]\s*(?P<last>{LETTER}(?:[\s、.:(]*{TEXT})?)[\s.。!)]*", re.DOTALL)
_CLAUSES = re.compile(r"[,。;!?\n]")
_MOST_FUZZY = 120


def decide(plain: str, sheet: Sheet) -> Pick:
    """Return what the cleaned reply `plain` picks of `sheet`. Never raises; texts of any length take linear time."""
    tokens = tokenize(plain, sheet)
    steps = (_whole, _stated, _contrasted, _truth_word, _judged, _nothing, _mentioned, _resembling)
    for step in steps:
        pick = step(tokens)
        if pick is not None:
            return pick
    return Pick(_NONE, ChoiceKind.NO_ANSWER, 0.8 if sheet.options else 0.6, plain[:80])


def _whole(tokens: Tokens) -> Pick | None:
    """Read replies that are one mention and nothing else, and those that take all options or none."""
    core = fold(tokens.plain)
    called = _CALLED_RIGHT.fullmatch(tokens.plain)
    for words, confidence in ((tokens.plain, 0.995), (called["core"] if called else "", 0.98)):
        if same := _reading_so(tokens, words):
            return Pick(_nearest_spelling(tokens, same), ChoiceKind.OPTION_TEXT, confidence, tokens.plain[:80])
    for option in tokens.sheet.options:
        if not option.folded and option.text and tokens.plain.strip("\"' 。.()") == option.text.strip():
            return Pick(frozenset({option.letter}), ChoiceKind.OPTION_TEXT, 0.99, tokens.plain[:80])
    side = polarity(tokens.plain) if core.upper() not in tokens.labels else None
    if (letters := _by_side(tokens.sheet, side)) and _is_true_false(tokens.sheet):
        return Pick(letters, ChoiceKind.OPTION_TEXT, 0.98, tokens.plain[:80])
    if not tokens.sheet.several and re.fullmatch(r"[a-h]{2,}", core):
        begun = [option.letter for option in tokens.sheet.options if re.match(rf"{core}(?![a-z])", option.folded)]
        if len(begun) == 1:
            return Pick(frozenset(begun), ChoiceKind.OPTION_TEXT, 0.8, tokens.plain[:80])
    if phrases.says_all(tokens.plain):
        meant = frozenset(option.letter for option in tokens.sheet.options if phrases.means_all(option.text))
        return Pick(meant or tokens.labels, ChoiceKind.OPTION_TEXT if meant else ChoiceKind.ALL_OPTIONS, 0.98, tokens.plain[:80])
    target = grammar.target_at(tokens, 0)
    if target is not None and not re.search(r"[^\s\"'》)\]}>.。,!;:~?…、-]", tokens.text[target[1] :]):
        if target[0].by_text == tokens.sheet.letters == target[0].by_letter and not tokens.sheet.several:
            return Pick(_NONE, ChoiceKind.NO_ANSWER, 0.9, tokens.plain[:80])  # the options repeated
        return _pick(tokens, target[0], 0.99 if tokens.sheet.options else 0.97)
    return None


def _reading_so(tokens: Tokens, words: str) -> frozenset[str]:
    """Return the options whose text is `words`; an option that reads "a" is not meant by the letter A."""
    core = fold(words)
    if len(core) == 1 and core in "abcdefgh":
        return frozenset(option.letter for option in tokens.sheet.options if option.text == words.strip(" \"'.。)("))
    return frozenset(option.letter for option in tokens.sheet.options if core and option.folded == core)


def _stated(tokens: Tokens) -> Pick | None:
    """Read the stated answer: a marked one, one that opens the reply, else the last and plainest one."""
    cued, open_cues = grammar.find_cued(tokens)
    cued += [mention for cue in open_cues if (mention := _after_open_cue(tokens, *cue)) is not None]
    cued.sort(key=lambda mention: mention.start)
    if tokens.sheet.asks_wrong and not any(mention.strength == Strength.FORMAL for mention in cued):
        wrong = grammar.find_called_wrong(tokens)
        if wrong:
            return _pick(tokens, wrong[-1], 0.95)
    head = _head(tokens, cued)
    if head is not None:
        return _settle_head(tokens, head, cued)
    if not cued:
        return None
    best = max(mention.strength for mention in cued)
    last = [mention for mention in cued if mention.strength == best][-1]
    same = len({mention.letters for mention in cued}) == 1
    return _pick(tokens, last, 0.99 if same else 0.95)


def _after_open_cue(tokens: Tokens, start: int, end: int, strength: int) -> Mention | None:
    """Read the words after an answer phrase as an option too short to be marked, a true/false word or a misspelt option."""
    stop = _CLAUSE_END.search(tokens.text, end)
    clause = tokens.text[end : stop.start() if stop else len(tokens.text)]
    core = fold(clause)
    if not core or len(core) > _MOST_FUZZY:
        return None
    cores = {core, fold(_CLAUSES.split(clause.lstrip(" ,"), maxsplit=1)[0])}
    letters = frozenset(option.letter for option in tokens.sheet.options if option.folded in cores)
    if not letters and strength >= Strength.FIRM:
        letters = _by_side(tokens.sheet, leading_polarity(clause)) or most_like(core, tokens.sheet.options)[0]
    return Mention(start, end + len(clause), _NONE, letters, strength) if letters else None


def _head(tokens: Tokens, cued: list[Mention]) -> Mention | None:
    """Return the answer that the reply opens with, or the first marked one."""
    formal = next((mention for mention in cued if mention.strength == Strength.FORMAL), None)
    if formal is not None:
        return formal
    opening = _CLAUSE_END.search(tokens.text)
    limit = opening.start() if opening else len(tokens.text)
    first = next((mention for mention in cued if mention.start <= limit and mention.strength >= Strength.CHOOSING), None)
    bare = grammar.target_at(tokens, 0)
    if bare is not None and (first is None or first.start > bare[0].start):
        mention, end = bare
        if not _opens(tokens, mention, end):
            return None if first is not None and _lists_options(tokens) else first
        return Mention(0, end, mention.by_letter, mention.by_text, Strength.CHOOSING)
    if first is not None and first.strength == Strength.CHOOSING and any(mention.strength == Strength.FIRM for mention in cued):
        return None
    return first


def _opens(tokens: Tokens, mention: Mention, end: int) -> bool:
    """Return whether a mention at the very start is an answer, not the beginning of a discussion of that option."""
    text = tokens.text
    if grammar.denied(text, end):
        return False
    if grammar.affirmed(text, end):
        several = len(mention.letters) > 1 and not tokens.sheet.several
        return not (several or tokens.sheet.asks_wrong) and len({named.letters for named in grammar.find_judged(tokens)[0]}) == 1
    if mention.by_letter & mention.by_text:
        return not _lists_options(tokens)
    if not _AFTER_HEAD.match(text, end):
        return False
    if mention.by_letter:
        return not (_lists_options(tokens) or len(mention.letters) == len(tokens.labels) > 1)
    return re.match(r"[\s\"'》)\]]*(?:$|[。.,!;\n]|解析|因为)", text[end:]) is not None and not _lists_options(tokens)


def _lists_options(tokens: Tokens) -> bool:
    """Return whether the reply goes through the options one after the other, from its start."""
    markers = list(_MARKER.finditer(tokens.text))
    names = {marker.group(1) for marker in markers}
    return len(names) >= 2 and bool(markers) and markers[0].start() <= 3 and len(names) >= min(3, len(tokens.sheet.options) or 3)


def _settle_head(tokens: Tokens, head: Mention, cued: list[Mention]) -> Pick:
    later = [mention for mention in cued if mention.start >= head.end and mention.strength >= Strength.CHOOSING]
    back = grammar.retracted_at(tokens.text, head.end) if later else None
    if back is not None:
        after = [mention for mention in later if mention.start >= back]
        if after:
            return _pick(tokens, after[-1], 0.9)
    firm = [mention for mention in later if mention.strength >= Strength.FIRM or mention is later[-1]]
    if firm and not firm[-1].letters & head.letters and len(head.letters) == 1:
        return Pick(_resolved(tokens, head), ChoiceKind.CONTRADICTED, 0.8, tokens.spell(head.start, head.end))
    return _pick(tokens, head, 0.99)


def _contrasted(tokens: Tokens) -> Pick | None:
    """Read "除C外都对" in questions with several correct options."""
    rest = grammar.all_but(tokens)
    if rest is None:
        return None
    return Pick(rest, ChoiceKind.ELIMINATION, 0.9, tokens.plain[:80])


def _truth_word(tokens: Tokens) -> Pick | None:
    """Read the side of a true/false question."""
    if not _is_true_false(tokens.sheet) or re.search(LETTER, tokens.text):
        return None
    lead = _LEAD.match(tokens.text)
    side = leading_polarity(tokens.text)
    if side is None and lead is not None:
        side = leading_polarity(tokens.text[lead.end() :])
    letters = _by_side(tokens.sheet, side)
    return Pick(letters, ChoiceKind.OPTION_TEXT, 0.97, tokens.plain[:80]) if letters else None


def _judged(tokens: Tokens) -> Pick | None:
    """Read what the reply calls right and wrong, one option at a time."""
    right, wrong = grammar.find_judged(tokens)
    if not right and not wrong:
        return None
    good = frozenset(letter for mention in right for letter in mention.letters)
    bad = frozenset(letter for mention in wrong for letter in mention.letters)
    if tokens.sheet.asks_wrong and len(bad) == 1 and not (good & bad):
        return _pick(tokens, wrong[0], 0.93)
    rest = tokens.sheet.letters - good
    if tokens.sheet.asks_wrong and len(good) >= 2 and len(rest) == 1:
        return Pick(rest, ChoiceKind.ELIMINATION, 0.85, tokens.spell(right[0].start, right[-1].end))
    if good - bad:
        decisive = [mention for mention in right if mention.letters - bad]
        if len(good - bad) == 1:
            return _pick(tokens, decisive[-1], 0.96)
        return Pick(good - bad, ChoiceKind.MULTIPLE, 0.9, tokens.spell(decisive[0].start, decisive[-1].end))
    if bad and tokens.sheet.several and grammar.rest_is_right(tokens):
        return Pick(tokens.sheet.letters - bad, ChoiceKind.ELIMINATION, 0.85, tokens.plain[:80])
    named = _named_freely(tokens) - bad
    if len(named) == 1:
        return Pick(named, ChoiceKind.OPTION_TEXT, 0.85, tokens.plain[:80])
    left = tokens.sheet.letters - bad
    if len(left) == 1 and len(bad) >= 2:
        return Pick(left, ChoiceKind.ELIMINATION, 0.9, tokens.spell(wrong[0].start, wrong[-1].end))
    return Pick(_NONE, ChoiceKind.NO_ANSWER, 0.85, tokens.plain[:80]) if not named else None


def _nothing(tokens: Tokens) -> Pick | None:
    """Read refusals, errors of the service and "none of these"."""
    if phrases.says_none(tokens.text):
        meant = frozenset(option.letter for option in tokens.sheet.options if phrases.means_none(option.text))
        return Pick(meant, ChoiceKind.OPTION_TEXT if meant else ChoiceKind.NO_ANSWER, 0.95, tokens.plain[:80])
    if phrases.is_empty(tokens.text):
        return Pick(_NONE, ChoiceKind.NO_ANSWER, 0.98, tokens.plain[:80])
    if phrases.is_unsure(tokens.plain):
        unsure = [option.letter for option in tokens.sheet.options if phrases.is_unsure(option.text)]
        if len(unsure) == 1:
            return Pick(frozenset(unsure), ChoiceKind.OPTION_TEXT, 0.85, tokens.plain)
    last = _LAST_CLAUSE.fullmatch(tokens.text)
    if last is not None and (target := grammar.target_at(tokens, last.start("last"))) is not None:
        return _pick(tokens, target[0], 0.85)
    if phrases.is_refusal(tokens.text):
        return Pick(_NONE, ChoiceKind.REFUSAL, 0.98, tokens.plain[:80])
    return None


def _mentioned(tokens: Tokens) -> Pick | None:
    """Read the only option that is mentioned at all, or the only one in the conclusion."""
    for conclusion in reversed(list(_CONCLUSION.finditer(tokens.text))):
        named = frozenset(letter for token in re.findall(f"{LETTER}|{TEXT}", conclusion.group()) for letter in tokens.letters_of(token))
        if len(named) == 1:
            return Pick(named, ChoiceKind.OPTION_TEXT, 0.9, tokens.spell(*conclusion.span()))
    texts = re.findall(TEXT, tokens.text)
    letters = re.findall(LETTER, tokens.text)
    by_text = frozenset(letter for token in texts for letter in tokens.letters_of(token))
    by_letter = frozenset(letter for token in letters for letter in tokens.letters_of(token))
    if len(by_letter) == 1 and (not by_text or by_letter == by_text):
        return Pick(by_letter, ChoiceKind.LETTER_AND_TEXT if by_text else ChoiceKind.LETTER, 0.85, tokens.plain[:80])
    if len(set(texts)) == 1 and not by_letter:
        whole, likeness = most_like(fold(tokens.plain), tokens.sheet.options)
        if likeness >= 0.85 and not whole & by_text:
            return Pick(whole, ChoiceKind.OPTION_TEXT, 0.85, tokens.plain[:80])  # 太阳辐射与重力作用 is not 太阳辐射
        certainty = 0.95 if len(tokens.text) <= 12 else 0.88
        return Pick(_nearest_spelling(tokens, by_text), ChoiceKind.OPTION_TEXT, certainty, tokens.plain[:80])
    if len(by_letter) == 1 and tokens.text[:3].strip()[:1] in set(letters):
        return Pick(by_letter, ChoiceKind.LETTER, 0.75, tokens.plain[:80])
    if len(set(texts)) == 1:
        return Pick(by_text, ChoiceKind.OPTION_TEXT, 0.75, tokens.plain[:80])
    if not by_letter and len(set(texts)) > 1 and (pick := _among_texts(tokens)) is not None:
        return pick
    both = by_letter | by_text
    if both == tokens.sheet.letters and not tokens.sheet.several:
        return Pick(_NONE, ChoiceKind.NO_ANSWER, 0.85, tokens.plain[:80])  # the options repeated
    return Pick(both, ChoiceKind.MULTIPLE, 0.75, tokens.plain[:80]) if both and len(tokens.text) < 40 else None


def _among_texts(tokens: Tokens) -> Pick | None:
    """Read which of several option texts in free prose is meant as the answer."""
    named = grammar.find_named(tokens)
    clauses = [(clause, frozenset(re.findall(TEXT, clause))) for clause in _CLAUSES.split(tokens.text)]
    alone = [(clause, next(iter(texts))) for clause, texts in clauses if len(texts) == 1]
    on_topic = {token for clause, token in alone if tokens.sheet.topic and tokens.sheet.topic in clause}
    if len(on_topic) == 1:
        return Pick(tokens.letters_of(on_topic.pop()), ChoiceKind.OPTION_TEXT, 0.8, tokens.plain[:80])
    if len(named) == 1:
        return Pick(named, ChoiceKind.OPTION_TEXT, 0.8, tokens.plain[:80])
    if tokens.sheet.asks_wrong:
        others = max((texts for _, texts in clauses), key=len)
        odd = {token for _, token in alone} - others
        if len(odd) == 1 and len(others) == len(tokens.sheet.options) - 1:
            return Pick(tokens.letters_of(odd.pop()), ChoiceKind.ELIMINATION, 0.8, tokens.plain[:80])
    if alone and alone[0][0] == clauses[0][0]:
        return Pick(tokens.letters_of(alone[0][1]), ChoiceKind.OPTION_TEXT, 0.65, alone[0][0][:80])
    return None


def _resembling(tokens: Tokens) -> Pick | None:
    """Read a misspelt or shortened option text."""
    equals = _EQUALS.fullmatch(tokens.plain)
    if equals is not None:
        same = frozenset(option.letter for option in tokens.sheet.options if option.folded and option.folded == fold(equals["core"]))
        if same:
            return Pick(_nearest_spelling(tokens, same), ChoiceKind.OPTION_TEXT, 0.9, tokens.plain[:80])
    for words in _cores(tokens.plain):
        letters, near = most_like(fold(words).rstrip("吧呢啊呀哦嘛"), tokens.sheet.options)
        if letters:
            return Pick(letters, ChoiceKind.OPTION_TEXT, round(0.6 + 0.3 * near, 2), words[:80])
    return _by_clause(tokens)


def _cores(plain: str) -> list[str]:
    """Return what may be the bare answer in `plain`: all of it, its first clause, without opening words, without 正确."""
    lead = _LEAD.match(plain)
    found: list[str] = []
    for start in (0, lead.end() if lead else 0):
        stop = _CLAUSE_END.search(plain, start)
        for words in (plain[start:], plain[start : stop.start()] if stop else ""):
            called = _CALLED_RIGHT.fullmatch(words)
            found += [words, *([called["core"]] if called else [])]
    return list(dict.fromkeys(found))


def _by_clause(tokens: Tokens) -> Pick | None:
    """Read a whole clause that only one option has, unless another clause belongs to other options alone."""
    clauses = [fold(clause) for clause in _CLAUSES.split(tokens.plain)]
    whole = {option.letter: {fold(part) for part in re.split(r"[,。;]", option.text)} for option in tokens.sheet.options}
    for clause in clauses:
        having = [option.letter for option in tokens.sheet.options if len(clause) >= 5 and clause in option.folded]
        if len(having) == 1:
            strange = [other for other in clauses if other not in whole[having[0]] and any(other in parts for parts in whole.values())]
            return None if strange else Pick(frozenset(having), ChoiceKind.OPTION_TEXT, 0.78, clause[:80])
    return None


def _by_side(sheet: Sheet, side: bool | None) -> frozenset[str]:
    if side is None:
        return _NONE
    return frozenset([option.letter for option in sheet.options if polarity(option.text) is side][:1])


def _named_freely(tokens: Tokens) -> frozenset[str]:
    return frozenset(letter for token in re.findall(TEXT, tokens.text) for letter in tokens.letters_of(token))


def _pick(tokens: Tokens, mention: Mention, confidence: float) -> Pick:
    letters = _resolved(tokens, mention)
    evidence = tokens.spell(mention.start, mention.end)
    if mention.by_letter and mention.by_text and not mention.by_letter & mention.by_text:
        return Pick(letters, ChoiceKind.CONFLICT, 0.7, evidence)
    if len(mention.by_letter) == 1 and not mention.by_text:
        mention = _with_short_text(tokens, mention)
    if len(mention.by_letter) > 1 or (not mention.by_letter and len(letters) > 1):
        kind = ChoiceKind.ALL_OPTIONS if letters == tokens.sheet.letters else ChoiceKind.MULTIPLE
        return Pick(letters, kind, min(confidence, 0.97), evidence)
    if mention.by_letter:
        return Pick(letters, ChoiceKind.LETTER_AND_TEXT if mention.by_text else ChoiceKind.LETTER, confidence, evidence)
    return Pick(letters, ChoiceKind.OPTION_TEXT, confidence, evidence)


def _with_short_text(tokens: Tokens, mention: Mention) -> Mention:
    """Add the text beside the letter where it is too short to be looked for everywhere."""
    stop = _CLAUSE_END.search(tokens.text, mention.end + 3)
    beside = fold(tokens.text[mention.end : stop.start() if stop else len(tokens.text)])
    same = frozenset(option.letter for option in tokens.sheet.options if beside and option.folded == beside)
    return replace(mention, by_text=same) if same & mention.by_letter else mention


def _resolved(tokens: Tokens, mention: Mention) -> frozenset[str]:
    """Return the letters named; a letter that no option has gives way to a text beside it."""
    if mention.by_letter and mention.by_text and not mention.by_letter & tokens.labels:
        return mention.by_text
    return mention.by_letter or _nearest_spelling(tokens, mention.by_text)


def _nearest_spelling(tokens: Tokens, letters: frozenset[str]) -> frozenset[str]:
    """Return, of options that read alike once folded, those whose exact spelling stands in the reply, else all of them."""
    if len(letters) < 2:
        return letters
    alike = [option for option in tokens.sheet.options if option.letter in letters]
    if len({option.folded for option in alike}) > 1:
        return letters
    exact = frozenset(option.letter for option in alike if option.text and option.text in tokens.plain)
    return exact or letters
