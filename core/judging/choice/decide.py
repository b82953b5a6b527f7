"""Decides what a reply picks, from the plainest statement down to the faintest hint."""

from __future__ import annotations

import re
from dataclasses import replace

from core.judging.choice import grammar, phrases, prose, second_thoughts
from core.judging.choice.clean import fold
from core.judging.choice.grammar import Mention, Strength
from core.judging.choice.likeness import most_like
from core.judging.choice.model import ChoiceKind, Pick
from core.judging.choice.options import Sheet
from core.judging.choice.polarity import leading_polarity, polarity
from core.judging.choice.tokens import LETTER, TEXT, Tokens, tokenize

_NONE: frozenset[str] = frozenset()
_AFTER_HEAD = re.compile(
    r"[\s\"'》)\],、.:;。!?~…>}-]|$|(?:这?[两二三四]个?)?选?项(?=[\s。,.!]|$)|解析|因为|由于|理由|吧|呢|哦|了"
    r"|而不是|而非|because|since",
    re.IGNORECASE,
)
_ASKED = re.compile(r"[\s)]*\?")
_DESCRIBED = re.compile(r"\s+(?:is|was|are|were|has|does|can|says|states|means|refers|describes|represents)\b", re.IGNORECASE)
_MARKER = re.compile(rf"(?:选项\s*(?={LETTER}))?({LETTER})(?:(?<=选项.)|\s*(?:选?项|{TEXT}|[、.:)\]]))")
_LAST_CLAUSE = re.compile(rf".*[.。!,:\n]\s*(?P<last>{LETTER}(?:[\s、.:(]*{TEXT})?)[\s.。!)]*", re.DOTALL)
_MOST_FUZZY = 120


def decide(plain: str, sheet: Sheet) -> Pick:
    """Return what the cleaned reply `plain` picks of `sheet`. Never raises; texts of any length take linear time."""
    tokens = tokenize(plain, sheet)
    steps = (_whole, _corrected, _stated, _contrasted, _truth_word, _judged, _nothing, prose.mentioned, prose.resembling)
    for step in steps:
        pick = step(tokens)
        if pick is not None:
            return pick
    return Pick(_NONE, ChoiceKind.NO_ANSWER, 0.8 if sheet.options else 0.6, plain[:80])


def _whole(tokens: Tokens) -> Pick | None:
    """Read replies that are one mention and nothing else, and those that take all options or none."""
    core = fold(tokens.plain)
    called = phrases.CALLED_RIGHT.fullmatch(tokens.plain)
    for words, confidence in ((tokens.plain, 0.995), (called["core"] if called else "", 0.98)):
        if same := tokens.reading(words):
            return Pick(tokens.nearest(same), ChoiceKind.OPTION_TEXT, confidence, tokens.plain[:80])
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


def _corrected(tokens: Tokens) -> Pick | None:
    """Read the answer that at once replaces another one."""
    mention = second_thoughts.replaced(tokens)
    return None if mention is None else _pick(tokens, mention, 0.9)


def _stated(tokens: Tokens) -> Pick | None:
    """Read the stated answer: a marked one, one that opens the reply, else the last and plainest one."""
    cued, open_cues = grammar.find_cued(tokens)
    cued += [mention for cue in open_cues if (mention := _after_open_cue(tokens, *cue)) is not None]
    cued = second_thoughts.without_asides(tokens, sorted(cued, key=lambda mention: mention.start))
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
    stop = phrases.CLAUSE_END.search(tokens.text, end)
    clause = tokens.text[end : stop.start() if stop else len(tokens.text)]
    core = fold(clause)
    if not core or len(core) > _MOST_FUZZY:
        return None
    cores = {core, fold(phrases.CLAUSES.split(clause.lstrip(" ,"), maxsplit=1)[0])}
    letters = frozenset(option.letter for option in tokens.sheet.options if option.folded in cores)
    if not letters and strength >= Strength.FIRM:
        letters = _by_side(tokens.sheet, leading_polarity(clause)) or most_like(core, tokens.sheet.options)[0]
    return Mention(start, end + len(clause), _NONE, letters, strength) if letters else None


def _head(tokens: Tokens, cued: list[Mention]) -> Mention | None:
    """Return the answer that the reply opens with, or the first marked one."""
    formal = next((mention for mention in cued if mention.strength == Strength.FORMAL), None)
    if formal is not None:
        return formal
    opening = phrases.CLAUSE_END.search(tokens.text)
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
    if re.match(r"[\s\"')\].]*\n\s*" + LETTER, text[end:]) and len(mention.letters) == 1:
        return True  # a letter on a line of its own, then the options one by one
    if grammar.affirmed(text, end):
        several = len(mention.letters) > 1 and not tokens.sheet.several
        return not (several or tokens.sheet.asks_wrong) and len({named.letters for named in grammar.find_judged(tokens)[0]}) == 1
    if mention.by_letter & mention.by_text:
        return not _lists_options(tokens)
    if not _AFTER_HEAD.match(text, end) or _DESCRIBED.match(text, end):
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
    asked = _ASKED.match(tokens.text, head.end)
    answered = grammar.target_at(tokens, asked.end()) if asked and len(head.letters) > 1 else None
    chosen = [mention for mention in (*later, *(answered or ())[:1]) if mention.letters < head.letters]
    if chosen and not tokens.sheet.several:
        return _pick(tokens, chosen[-1], 0.9)  # "A或D，选A"
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
    side = leading_polarity(tokens.text)
    if side is None:
        side = leading_polarity(tokens.text[prose.after_lead(tokens.text) :])
    if side is None:
        sides = [leading_polarity(clause) for clause in phrases.CLAUSES.split(tokens.text)]
        side = next((side for side in reversed(sides) if side is not None), None)
    letters = _by_side(tokens.sheet, side)
    return Pick(letters, ChoiceKind.OPTION_TEXT, 0.97, tokens.plain[:80]) if letters else None


def _judged(tokens: Tokens) -> Pick | None:
    """Read what the reply calls right and wrong, one option at a time."""
    right, wrong = grammar.find_judged(tokens)
    right = second_thoughts.without_asides(tokens, right)
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


def _is_true_false(sheet: Sheet) -> bool:
    sides = [polarity(option.text) for option in sheet.options]
    return len(sides) >= 2 and None not in sides


def _by_side(sheet: Sheet, side: bool | None) -> frozenset[str]:
    if side is None:
        return _NONE
    return frozenset([option.letter for option in sheet.options if polarity(option.text) is side][:1])


def _named_freely(tokens: Tokens) -> frozenset[str]:
    return frozenset(letter for token in re.findall(f"{LETTER}|{TEXT}", tokens.text) for letter in tokens.letters_of(token))


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
    stop = phrases.CLAUSE_END.search(tokens.text, mention.end + 3)
    beside = fold(tokens.text[mention.end : stop.start() if stop else len(tokens.text)])
    same = frozenset(option.letter for option in tokens.sheet.options if beside and option.folded == beside)
    return replace(mention, by_text=same) if same & mention.by_letter else mention


def _resolved(tokens: Tokens, mention: Mention) -> frozenset[str]:
    """Return the letters named; a letter that no option has gives way to a text beside it."""
    if mention.by_letter and mention.by_text and not mention.by_letter & tokens.labels:
        return mention.by_text
    return mention.by_letter or tokens.nearest(mention.by_text)
