"""Curves of training and of the held-out rows: from figures by step to the geometry of a plot."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

Pair = tuple[float, float]

WIDTH, HEIGHT = 720, 150
LEFT, RIGHT, TOP, BOTTOM = 52, 88, 12, 26
# More points than pixels show nothing; a bucket keeps its mean.
MOST_POINTS = 320
SMOOTHED_FROM = 24
# The first losses of a fresh head can be many times the later ones: the axis ends where this share of the values does.
SHOWN_SHARE = 0.98
TICKS_X, TICKS_Y = 6, 4
LABEL_GAP = 13


class Line(StrEnum):
    """How a series is drawn; held-out series also have dots, those of the other job dashes."""

    TRAIN = "train"
    HELD_OUT = "held"
    TRAIN_OTHER = "train other"
    HELD_OUT_OTHER = "held other"

    @property
    def other(self) -> Line:
        """Return the same line for the job that is compared."""
        return Line.TRAIN_OTHER if self is Line.TRAIN else Line.HELD_OUT_OTHER


@dataclass(frozen=True, slots=True)
class Curve:
    """What is to be drawn: values by step under a name for people."""

    name: str
    line: Line
    points: Sequence[Pair]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: its place in the plot and its words."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A point that stands out."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Series:
    """A drawn curve: `path` in the plot's units, `raw` the unsmoothed one behind it ("" where they are the same)."""

    name: str
    line: Line
    path: str
    raw: str
    dots: tuple[Dot, ...]
    last: str
    label_y: float
    first_value: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot ready to be drawn. `data` is JSON for the pointer: by series name, class, and [step, value, x, y]."""

    key: str
    title: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    ticks_x: tuple[Tick, ...]
    ticks_y: tuple[Tick, ...]
    series: tuple[Series, ...]
    best: Dot | None
    best_text: str
    data: str


def thinned(points: Sequence[Pair], most: int = MOST_POINTS) -> tuple[Pair, ...]:
    """Return at most `most` points: the mean of each stretch, and the last point as it is."""
    if len(points) <= most:
        return tuple(points)
    size = (len(points) - 1) / (most - 1)
    kept = []
    for bucket in range(most - 1):
        part = points[int(bucket * size) : max(int((bucket + 1) * size), int(bucket * size) + 1)]
        kept.append((part[len(part) // 2][0], math.fsum(value for _, value in part) / len(part)))
    return (*kept, points[-1])


def smoothed(points: Sequence[Pair]) -> tuple[Pair, ...]:
    """Return an exponential moving average with its start corrected; few points stay as they are."""
    if len(points) < SMOOTHED_FROM:
        return tuple(points)
    keep = 1 - 2 / (len(points) / 12 + 1)
    mean, weight, found = 0.0, 0.0, []
    for step, value in points:
        mean = keep * mean + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        found.append((step, mean / weight))
    return tuple(found)


def nice_ticks(low: float, high: float, wanted: int) -> tuple[float, ...]:
    """Return round numbers (1, 2, 2.5 or 5 times a power of ten apart) from at or below `low` to at or above `high`."""
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(place * step, 12) for place in range(first, last + 1))


def figure_text(value: float) -> str:
    """Return a figure in about three digits that tell."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "—"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"


def _tick_text(value: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) + (1 if f"{step:e}".startswith("2.5") else 0)
    return f"{value:,.{digits}f}"


@dataclass(frozen=True, slots=True)
class _Frame:
    """From steps and values to places in the plot."""

    steps: float
    low: float
    high: float

    def x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / self.steps

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)

    def path(self, points: Sequence[Pair]) -> str:
        return "M" + "L".join(f"{self.x(step):.1f} {self.y(value):.1f}" for step, value in points) if points else ""


def plot(key: str, title: str, curves: Sequence[Curve], steps: float, *, from_zero: bool, best_of: Line | None, best_text: str) -> Plot | None:  # fmt: skip
    """Return the plot of some curves, None where none has a point.

    The horizontal axis goes to `steps` from the beginning and the vertical one ends at round numbers, so that neither jumps
    while points come in. `best_of` names the series whose lowest point is marked, `best_text` has a place {value}.
    """
    drawn = [curve for curve in curves if curve.points]
    if not drawn:
        return None
    steps = max(steps, *(curve.points[-1][0] for curve in drawn), 1)
    values = sorted(value for curve in drawn for _, value in curve.points)
    top = values[min(len(values) - 1, math.ceil(SHOWN_SHARE * len(values)) - 1)] if len(values) >= SMOOTHED_FROM else values[-1]
    ticks_y = nice_ticks(0.0 if from_zero else values[0], top, TICKS_Y)
    frame = _Frame(steps, ticks_y[0], ticks_y[-1])
    ticks_x = [tick for tick in nice_ticks(0, steps, TICKS_X) if tick <= steps * 1.0001 and tick == int(tick)]
    series = _labelled([_series(curve, frame) for curve in drawn])
    lowest = _lowest([curve for curve in drawn if curve.line is best_of])
    return Plot(
        key, title, WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM,
        tuple(Tick(frame.x(tick), f"{tick:,.0f}") for tick in ticks_x),
        tuple(Tick(frame.y(tick), _tick_text(tick, ticks_y[1] - ticks_y[0])) for tick in ticks_y),
        tuple(series),
        Dot(frame.x(lowest[0]), frame.y(lowest[1])) if lowest else None,
        best_text.format(value=figure_text(lowest[1]), step=f"{lowest[0]:,.0f}") if lowest else "",
        json.dumps([_pointer(curve, frame) for curve in drawn], ensure_ascii=False, separators=(",", ":")),
    )  # fmt: skip


def _lowest(curves: Sequence[Curve]) -> Pair | None:
    return min((point for curve in curves for point in curve.points), key=lambda point: point[1], default=None)


def _series(curve: Curve, frame: _Frame) -> Series:
    raw = thinned(curve.points)
    held = curve.line in {Line.HELD_OUT, Line.HELD_OUT_OTHER}
    shown = raw if held else smoothed(raw)
    dots = tuple(Dot(frame.x(step), frame.y(value)) for step, value in (raw if held or len(raw) == 1 else ()))
    last = shown[-1]
    return Series(
        curve.name,
        curve.line,
        frame.path(shown),
        frame.path(raw) if shown != raw and curve.line is Line.TRAIN else "",
        dots,
        figure_text(last[1]),
        frame.y(last[1]),
        figure_text(shown[0][1]),
    )


def _labelled(series: Sequence[Series]) -> list[Series]:
    """Return the series with the places of their end labels moved apart."""
    order = sorted(range(len(series)), key=lambda place: series[place].label_y)
    at = [series[place].label_y for place in order]
    for place in range(1, len(at)):
        at[place] = max(at[place], at[place - 1] + LABEL_GAP)
    over = max(0.0, at[-1] - (HEIGHT - BOTTOM)) if at else 0.0
    placed = dict(zip(order, (y - over for y in at), strict=True))
    return [
        Series(one.name, one.line, one.path, one.raw, one.dots, one.last, placed[place], one.first_value)
        for place, one in enumerate(series)
    ]


def _pointer(curve: Curve, frame: _Frame) -> object:
    points = [[int(step), figure_text(value), round(frame.x(step), 1), round(frame.y(value), 1)] for step, value in thinned(curve.points)]
    return {"name": curve.name, "line": curve.line.value, "points": points}
