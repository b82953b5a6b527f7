"""Suspected faults as the pages show them: the text with its underlines, the line under it, what a place says when it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from core.faultmarks import MARK_NAMES, kinds_marked
from core.faultplaces import AnswerKind, FaultAnswer, Place, Voice, per_hundred, rubric_label
from webapp.pages.render import Renderer
from webapp.pages.translate import Translator
from webapp.services.fault_answers import FaultedText

# From which probability an underline is drawn in the middle and in the strongest way.
MIDDLE, STRONG = 0.4, 0.7
LONGEST_QUOTE = 24
_ELEMENT = Markup('<mark class="fm fm-{}" role="button" tabindex="-1" data-fm="{}" title="{}">{}</mark>')


@dataclass(frozen=True, slots=True)
class Say:
    """Who says so: a judge with its probability, or a person with an answer, in the page's language."""

    name: str
    words: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A place as it is drawn. `look` is its style: s1, s2, s3 by probability, rule, confirmed, rejected; `own` the reader's answer."""

    number: int
    place: Place
    look: str
    name: str
    title: str
    quote: str
    says: tuple[Say, ...]
    own: FaultAnswer | None
    others: tuple[Say, ...]


@dataclass(frozen=True, slots=True)
class FaultPane:
    """What replaces a text on the page: its HTML, the line under it, and the little windows by the number of their mark.

    `form` is the window that marks a missed fault; "" where none can be marked.
    """

    text: str
    bar: str
    windows: tuple[str, ...]
    form: str


def fault_pane(render: Renderer, row: FaultedText, annotator: str) -> FaultPane:
    """Return the pane of a row for a reader."""
    text, length = row.item.text, len(row.item.text)
    drawn = marks(render.t, row, annotator)
    rate = per_hundred(row.places, length, annotator)
    bar = render(
        "fault_bar.html",
        marks=drawn,
        count=sum(mark.look != "rejected" for mark in drawn),
        expected=sum(place.weight(annotator) for place in row.places),
        rate=rate,
        label=rubric_label(row.dimension, rate) if text.strip() else None,
        hidden=row.hidden,
        graded=row.graded,
    )
    kinds = [(kind, render.t.pick(MARK_NAMES[kind])) for kind in kinds_marked(needs_prompt=row.dimension.needs_prompt)]
    form = render("fault_form.html", kinds=kinds) if row.graded else ""
    windows = tuple(render("fault_window.html", mark=mark) for mark in drawn)
    return FaultPane(str(marked_text(text, drawn)), bar, windows, form)


def marks(t: Translator, row: FaultedText, annotator: str) -> tuple[Mark, ...]:
    """Return the places of a row as they are drawn, in order."""
    return tuple(_mark(t, row, number, place, annotator) for number, place in enumerate(row.places))


def _mark(t: Translator, row: FaultedText, number: int, place: Place, annotator: str) -> Mark:
    own, name = place.answer_of(annotator) if annotator else None, t.pick(place.names)
    others = tuple(
        Say(answer.author, t.member("fault_answer", answer.answer))
        for answer in place.answers
        if answer.author != annotator and answer is place.answer_of(answer.author)
    )
    says = tuple(
        Say(t.pick(row.names.get(voice.judge_id, {})) or voice.judge_id, _said(t, voice) + _otherwise(t, voice, name))
        for voice in place.voices
    )
    title = t("faults.title", name=name, chance=_chance(t, place.probability)) if place.voices else t("faults.title_marked", name=name)
    quote = " ".join(row.item.text[place.start : place.end].split())
    return Mark(number, place, _look(place, own), name, title, quote[:LONGEST_QUOTE], says, own, others)


def _chance(t: Translator, probability: float | None) -> str:
    return t("faults.by_rule") if probability is None else f"{probability:.0%}"


def _said(t: Translator, voice: Voice) -> str:
    return t("faults.no_chance") if voice.probability is None else f"{voice.probability:.0%}"


def _otherwise(t: Translator, voice: Voice, shown: str) -> str:
    """Return what a judge calls the fault where that differs from what the place is called."""
    own = t.pick(voice.names)
    return f" · {own}" if voice.kind and own != shown else ""


def _look(place: Place, own: FaultAnswer | None) -> str:
    if own is not None:
        return "rejected" if own.answer is AnswerKind.REJECT else "confirmed"
    if not place.voices:
        return "confirmed"
    if place.probability is None:
        return "rule"
    return "s3" if place.probability >= STRONG else "s2" if place.probability >= MIDDLE else "s1"


def marked_text(text: str, drawn: Sequence[Mark]) -> Markup:
    """Return the text escaped, each stretch under a mark in an element of its own; the elements add no character.

    Where marks overlap, the stretch names them all, the shortest first, and looks like that one.
    """
    edges = sorted({0, len(text), *(edge for mark in drawn for edge in (mark.place.start, mark.place.end))})
    parts = []
    for start, end in pairwise(edges):
        over = [mark for mark in drawn if mark.place.start <= start and end <= mark.place.end]
        over.sort(key=lambda mark: (mark.place.end - mark.place.start, mark.number))
        piece = _escaped(text[start:end])
        if over:
            numbers, titles = " ".join(str(mark.number) for mark in over), "\n".join(mark.title for mark in over)
            piece = _ELEMENT.format(over[0].look, numbers, titles, piece)
        parts.append(piece)
    return Markup("").join(parts)


def _escaped(text: str) -> Markup:
    # Written as it is, a parser of HTML would make a carriage return a line feed, or one of two: offsets would move.
    return Markup(str(escape(text)).replace("\r", "&#13;"))
