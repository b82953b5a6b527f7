"""Defects that stand at a place: off-topic sentences, points left out, wrong order, broken layout, beginnings and ends cut off."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from core.faultmarks import MarkKind
from training.defects.outline import NUMERALS, Answer, Corpus, Span
from training.faults.passage import Edit

DefectMaker = Callable[[Answer, Corpus, random.Random], Edit | None]
"""Makes a defect somewhere in an answer, or None where it found no place."""

_SHORT, _LONG = 10, 120
_MOVED_BY = (2, 3, 4, 5)
_LONGEST_MOVED = 200
_KEPT = 6
_BREAK = 4


def put_in_sentence(answer: Answer, corpus: Corpus, draw: random.Random) -> Edit | None:
    """Put a sentence of an answer to another prompt behind a sentence."""
    other = corpus.stranger(answer.place, draw)
    if other is None or not other.sentences or not answer.sentences:
        return None
    span = draw.choice(other.sentences)
    put = other.text[span.start : span.end]
    if not _SHORT <= len(put) <= _LONG or put in answer.text:
        return None
    at = draw.choice(answer.sentences).end
    return Edit(MarkKind.OFF_TOPIC, at, at, put, (0, len(put)))


def leave_out_point(answer: Answer, _corpus: Corpus, draw: random.Random) -> Edit | None:
    """Leave out a sentence or a numbered line that holds a point of the answer; a whole line goes with its line break."""
    if not answer.points:
        return None
    span = draw.choice(answer.points)
    start = span.start
    if _is_line(answer, span):
        start = len(answer.text[:start].rstrip())
    return Edit(MarkKind.LEFT_OUT, start, span.end, "", (0, 0)) if start else None


def move_sentence(answer: Answer, _corpus: Corpus, draw: random.Random) -> Edit | None:
    """Move a sentence two to five sentences on or back."""
    spans = answer.sentences
    if len(spans) < 3:
        return None
    number, by = draw.randrange(len(spans)), draw.choice(_MOVED_BY) * draw.choice((-1, 1))
    if not 0 <= number + by < len(spans) or _is_line(answer, spans[number]):
        return None
    moved, other, text = spans[number], spans[number + by], answer.text
    sentence = text[moved.start : moved.end]
    if by > 0:
        passed = text[moved.end : other.end]
        return _changed(answer, moved.start, other.end, passed + sentence, (len(passed), len(passed) + len(sentence)))
    return _changed(answer, other.start, moved.end, sentence + text[other.start : moved.start], (0, len(sentence)))


def swap_paragraphs(answer: Answer, _corpus: Corpus, draw: random.Random) -> Edit | None:
    """Let two neighbouring paragraphs change places; the shorter one is marked."""
    if len(answer.lines) < 2:
        return None
    number = draw.randrange(len(answer.lines) - 1)
    one, two = answer.lines[number : number + 2]
    first, second = answer.text[one.start : one.end], answer.text[two.start : two.end]
    shorter = min(len(first), len(second))
    if shorter > _LONGEST_MOVED or shorter < _SHORT or {one, two} & set(answer.headings):
        return None
    between = answer.text[one.end : two.start]
    whole = second + between + first
    marked = (0, len(second)) if len(second) <= len(first) else (len(whole) - len(first), len(whole))
    return _changed(answer, one.start, two.end, whole, marked)


def break_line(answer: Answer, _corpus: Corpus, draw: random.Random) -> Edit | None:
    """Begin a new paragraph in the middle of a sentence."""
    if not answer.sentences:
        return None
    span = draw.choice(answer.sentences)
    if span.end - span.start < 3 * _BREAK:
        return None
    at = draw.randrange(span.start + _BREAK, span.end - _BREAK)
    put = f"{answer.text[at - 1]}\n{answer.text[at]}"
    return Edit(MarkKind.LAYOUT, at - 1, at + 1, put, (0, len(put)))


def wrong_number(answer: Answer, _corpus: Corpus, draw: random.Random) -> Edit | None:
    """Give an item of an enumeration another number."""
    if not answer.markers:
        return None
    marker = draw.choice(answer.markers)
    other = draw.choice([value for value in range(1, 10) if value != marker.value])
    put = NUMERALS[other - 1] if answer.text[marker.number.start] in NUMERALS else str(other)
    return Edit(MarkKind.LAYOUT, marker.number.start, marker.number.end, put, (0, len(put)))


def lose_number(answer: Answer, _corpus: Corpus, draw: random.Random) -> Edit | None:
    """Write a numbered line without its number."""
    numbered = [marker for marker in answer.markers if marker.opens_line and marker.whole.start]
    if not numbered:
        return None
    span = draw.choice(numbered).whole
    after = answer.text[span.end : span.end + 1]
    return Edit(MarkKind.LAYOUT, span.start, span.end + 1, after, (0, 1)) if after.strip() else None


def run_in_heading(answer: Answer, _corpus: Corpus, draw: random.Random) -> Edit | None:
    """Let a heading run into the line below it."""
    if not answer.headings:
        return None
    heading = draw.choice(answer.headings)
    below = next(line for line in answer.lines if line.start > heading.start)
    put = answer.text[heading.end - 1] + answer.text[below.start]
    return Edit(MarkKind.LAYOUT, heading.end - 1, below.start + 1, put, (0, len(put))) if put.strip() == put else None


def begin_late(answer: Answer, _corpus: Corpus, draw: random.Random) -> Edit | None:
    """Cut the beginning off: the first sentence has lost its first clauses; the rest of it is marked."""
    if not answer.sentences or answer.text[: answer.sentences[0].start].strip():
        return None
    first = answer.sentences[0]
    sentence = answer.text[: first.end]
    commas = [at + 1 for at, character in enumerate(sentence) if character in "，,；;" and _BREAK < at < len(sentence) - _KEPT]
    if not commas:
        return None
    rest = sentence[draw.choice(commas) :]
    return Edit(MarkKind.CUT_OFF, 0, first.end, rest, (0, len(rest)))


def end_early(answer: Answer, _corpus: Corpus, draw: random.Random) -> Edit | None:
    """Cut the end off within the last sentence; the rest of it is marked."""
    last = answer.sentences[-1] if answer.sentences else Span(0, 0)
    length = last.end - last.start
    if length < 2 * _KEPT or answer.text[last.end :].strip():
        return None
    rest = answer.text[last.start : last.start + draw.randint(3 * length // 10, 7 * length // 10)].rstrip("，、；：")
    return Edit(MarkKind.CUT_OFF, last.start, len(answer.text), rest, (0, len(rest)))


def _changed(answer: Answer, start: int, end: int, put: str, marked: tuple[int, int]) -> Edit | None:
    return Edit(MarkKind.MISPLACED, start, end, put, marked) if put != answer.text[start:end] else None


def _is_line(answer: Answer, span: Span) -> bool:
    """Return whether a span is all of its line."""
    return any(line.start <= span.start and span.end <= line.end and _filled(answer, line) == span for line in answer.lines)


def _filled(answer: Answer, line: Span) -> Span:
    words = answer.text[line.start : line.end]
    return Span(line.end - len(words.lstrip()), line.start + len(words.rstrip()))


MAKERS: Mapping[MarkKind, tuple[DefectMaker, ...]] = {
    MarkKind.OFF_TOPIC: (put_in_sentence,),
    MarkKind.LEFT_OUT: (leave_out_point,),
    MarkKind.MISPLACED: (move_sentence, move_sentence, swap_paragraphs),
    MarkKind.LAYOUT: (break_line, wrong_number, lose_number, run_in_heading),
    MarkKind.CUT_OFF: (begin_late, end_early),
}
"""The makers of each kind that stands at a place of the text, each as often as it is to be drawn; demands are in `demands`."""
