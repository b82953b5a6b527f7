"""An answer to a prompt in lines, sentences, headings and numbers, as the makers of defects see it."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from training.defects.material import Pair, families

NUMERALS = "一二三四五六七八九十"
POINT_LENGTH = 12
_LINE = re.compile(r"[^\n]+")
_SENTENCE = re.compile(r"[^。！？!?\s][^。！？!?]*[。！？!?]+[”’」』）》]*")
_HEADING = re.compile(r"[ 　]*[^。！？!?；;，,：:\n]{2,30}")
_LINE_NUMBER = re.compile(rf"^[ 　]*(?P<open>[（(]?)(?P<number>[{NUMERALS}]|[1-9]\d?)(?P<close>[）)、.．])(?!\d)", re.MULTILINE)
_SPOKEN_NUMBER = re.compile(r"(?<=[。；：，\n])(?P<open>第?)(?P<number>[一二三四五六七八九])(?P<close>是|，)")
_HAN = re.compile(r"[一-鿿]+")
_DRAWS = 20


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (exclusive) of a text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Marker:
    """A number of an enumeration, `number` of the text, with what stands about it; `form` is what markers of one list share."""

    whole: Span
    number: Span
    form: str
    value: int
    opens_line: bool


@dataclass(frozen=True)
class Answer:
    """A good pair; `place` is its own in the corpus."""

    pair: Pair
    place: int

    @property
    def text(self) -> str:
        """Return the text."""
        return self.pair.text

    @cached_property
    def lines(self) -> tuple[Span, ...]:
        """Return the lines that hold something."""
        return tuple(Span(*match.span()) for match in _LINE.finditer(self.text) if match.group().strip())

    @cached_property
    def sentences(self) -> tuple[Span, ...]:
        """Return the sentences: what a mark ends, within a line."""
        found = (match.span() for line in self.lines for match in _SENTENCE.finditer(self.text, line.start, line.end))
        return tuple(Span(start, end) for start, end in found)

    @cached_property
    def headings(self) -> tuple[Span, ...]:
        """Return the short lines without an end that stand above others."""
        return tuple(line for line in self.lines[:-1] if _HEADING.fullmatch(self.text, line.start, line.end))

    @cached_property
    def markers(self) -> tuple[Marker, ...]:
        """Return the numbers of enumerations; a form that stands once is none."""
        found = list(read_markers(self.text))
        often = Counter(marker.form for marker in found)
        return tuple(marker for marker in found if often[marker.form] > 1)

    @cached_property
    def points(self) -> tuple[Span, ...]:
        """Return what holds a point of the answer, the first third of all by how much of the prompt stands nowhere else in the text.

        Sentences and numbered lines, neither the first nor the last of the text.
        """
        numbered = {line for line in self.lines for marker in self.markers if marker.opens_line and line.start == marker.whole.start}
        spans = sorted({*self.sentences, *numbered}, key=lambda span: (span.start, -span.end))[1:-1]
        inner = [span for span in spans if span.end - span.start >= POINT_LENGTH]
        wanted = pieces(self.pair.prompt)
        holds = [wanted & pieces(self.text[span.start : span.end]) for span in inner]
        often = Counter(piece for held in holds for piece in held)
        own = [sum(often[piece] == 1 for piece in held) for held in holds]
        order = sorted(range(len(inner)), key=lambda number: (-own[number], inner[number].start))
        return tuple(inner[number] for number in order[: -(-len(order) // 3)])


@dataclass(frozen=True)
class Corpus:
    """Good pairs, and the family of each: pairs of one family have near-duplicate prompts or texts."""

    answers: tuple[Answer, ...]
    families: tuple[int, ...]

    def stranger(self, place: int, draw: random.Random) -> Answer | None:
        """Return an answer to another prompt, of another family than the one at `place`; None where none was found."""
        for _ in range(_DRAWS):
            other = draw.randrange(len(self.answers))
            if self.families[other] != self.families[place]:
                return self.answers[other]
        return None


def read_corpus(pairs: Sequence[Pair]) -> Corpus:
    """Return good pairs as a corpus."""
    return Corpus(tuple(Answer(pair, place) for place, pair in enumerate(pairs)), tuple(families(pairs)))


def read_markers(text: str) -> Iterator[Marker]:
    """Yield whatever looks like a number of an enumeration."""
    for pattern in (_LINE_NUMBER, _SPOKEN_NUMBER):
        for match in pattern.finditer(text):
            number = match["number"]
            value = NUMERALS.index(number) + 1 if number in NUMERALS else int(number)
            form = f"{match['open']}{'一' if number in NUMERALS else '1'}{match['close']}"
            yield Marker(Span(*match.span()), Span(*match.span("number")), form, value, pattern is _LINE_NUMBER)


def pieces(text: str) -> frozenset[str]:
    """Return the pairs of neighbouring Chinese characters."""
    return frozenset(run[at : at + 2] for run in _HAN.findall(text) for at in range(len(run) - 1))
