"""Agreement of raters, from counts of label patterns.

Kappa and the mean absolute error are scikit-learn's, with the cells of a confusion matrix as samples and their counts as
weights; alpha is that of the package `krippendorff`, Gwet's AC2 that of irrCAC, the reference's own port. Where these
packages take rows one by one and there are very many, the same formula is taken from the counts.

Quadratic weights throughout, so that the figures of one pair can be compared; on nominal dimensions only equal labels
agree (kappa is Cohen's, alpha nominal, AC2 is AC1). What a confusion matrix gives is remembered: a label of a person
changes few of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from core.metrics import even_scale
from core.review import GOLD, VERDICT, Agreement, Distribution, GroupAgreement, PairAgreement, Rater, VoteCount, VoteCounts
from core.types import Dimension, DimensionKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.float64]

JUDGES, PEOPLE = "judges", "people"
# Alpha's package has arrays of units x labels x labels numbers; so many of them (4,000 rows of five labels) cost 3 to 4 ms and 3 MB.
MOST_CELLS = 100_000
_REMEMBERED = 4_000
_DIGITS = 12  # irrCAC rounds


def tables(counts: VoteCounts, dimensions: Mapping[str, Dimension]) -> Agreement:
    """Return all tables of a run, of the given dimensions. Labels off a dimension's scale are left out."""
    judges = tuple(Rater(judge) for judge in counts.judges)
    panel = (*judges, Rater(VERDICT))
    people = tuple(Rater(name, person=True) for name in sorted(counts.people))
    pairs: list[PairAgreement] = []
    for dimension in dimensions.values():
        for place, first in enumerate(judges):
            for other in range(place + 1, len(panel)):
                pairs += _pair(counts, dimension, (first, panel[other]), counts.panel, (place, other))
        for person in people:
            for place, judge in enumerate(panel):
                pairs += _pair(counts, dimension, (judge, person), counts.people[person.name], (place + 1, 0))
        for place, judge in enumerate(panel):
            pairs += _pair(counts, dimension, (judge, Rater(GOLD)), counts.gold, (place + 1, 0))
        for (one, two), given in sorted(counts.both.items()):
            pairs += _pair(counts, dimension, (Rater(one, person=True), Rater(two, person=True)), given, (0, 1))
    groups = [_group(JUDGES, dimension, counts.panel, len(judges), slice(0, len(judges))) for dimension in dimensions.values()]
    groups += [_group(PEOPLE, dimension, counts.everyone, len(people), slice(None)) for dimension in dimensions.values()]
    raters = (*panel, *([Rater(GOLD)] if counts.gold else []), *people)
    spread = [found for dimension in dimensions.values() for found in _distributions(counts, dimension, panel, people)]
    return Agreement(counts.run_id, counts.blind_only, raters, tuple(pairs), tuple(g for g in groups if g.n), tuple(spread), counts.flags)


def quadratic_weights(labels: Sequence[int], kind: DimensionKind) -> Counts:
    """Return the weights of agreement of every two labels: 1 - (difference / range)^2; nominal: 1 only for equal ones."""
    if kind is DimensionKind.NOMINAL or len(labels) < 2:
        return np.eye(len(labels))
    values = np.array(labels, dtype=np.float64)
    apart: Counts = (values[:, None] - values[None, :]) / (values.max() - values.min())
    return 1.0 - apart**2


def gwet(units: Counts, times: Counts, weights: Counts) -> float | None:
    """Return Gwet's AC2 of several raters (AC1 with identity weights), None where no unit has two labels or there is one label only.

    `units` has a row a kind of unit and a column a label: how many raters gave that label; `times` says how many units are of
    each kind; `weights` (label x label) are those of agreement. Units with one rater count for the expected agreement alone.
    The package takes units one by one; where that would be more than MOST_CELLS numbers, the same formula is taken from the counts.
    Source: Gwet, "Handbook of Inter-Rater Reliability", 4th edition, 2014, chapters 3 and 5 (several raters, missing ratings).
    """
    given, number = units[times > 0].astype(int), times[times > 0].astype(int)
    raters, labels = given.sum(axis=1), units.shape[1]
    if labels < 2 or not (raters >= 2).any():
        return None
    if number.sum() == 1 or number.sum() * labels**2 > MOST_CELLS:  # of one unit the package cannot tell an error, and fails
        return gwet_from_counts(given, number, weights)
    import pandas as pd
    from irrCAC.raw import CAC

    rows = np.full((len(given), raters.max()), np.nan)
    for row, counts in zip(rows, given, strict=True):
        row[: counts.sum()] = np.repeat(np.arange(labels), counts)
    with np.errstate(all="ignore"):  # wholly equal labels have no standard error
        found = CAC(pd.DataFrame(np.repeat(rows, number, axis=0)), weights=weights, categories=list(range(labels)), digits=_DIGITS).gwet()
    return float(found["est"]["coefficient_value"])


def gwet_of_two(matrix: Counts, weights: Counts) -> float | None:
    """Return Gwet's AC2 of two raters' confusion matrix (see gwet), None where it is empty or has one label only."""
    if len(matrix) < 2 or not matrix.any():
        return None
    import pandas as pd
    from irrCAC.table import CAC

    with np.errstate(all="ignore"):
        found = CAC(pd.DataFrame(matrix), weights=weights, digits=_DIGITS).gwet()
    return float(found["est"]["coefficient_value"])


def gwet_from_counts(units: Counts, times: Counts, weights: Counts) -> float:
    """Return AC2 without a row a unit; every unit has a rater, one of them has two, and there are two labels (see gwet)."""
    raters, labels = units.sum(axis=1), units.shape[1]
    several = raters >= 2
    agreed = (units * (units @ weights - 1.0)).sum(axis=1)[several] / (raters * (raters - 1.0))[several]
    observed = float((agreed * times[several]).sum() / times[several].sum())
    share = (units / raters[:, None] * times[:, None]).sum(axis=0) / times.sum()
    expected = float(weights.sum() / (labels * (labels - 1)) * (share * (1.0 - share)).sum())
    return (observed - expected) / (1.0 - expected)


def krippendorff_alpha(units: Counts, times: Counts, kind: DimensionKind) -> float | None:
    """Return Krippendorff's alpha (ordinal, or nominal for nominal dimensions); None where it is not defined.

    `units` has a row a kind of unit and a column a label, in rising order: how many raters gave it; `times` says how many
    units are of each kind. Units with one rater are left out. The package takes units one by one; where that would be more
    than MOST_CELLS numbers, the same formula is taken from the counts.
    Source: Krippendorff, "Computing Krippendorff's alpha-reliability", 2011, sections C to E.
    """
    import krippendorff

    paired = (units.sum(axis=1) >= 2) & (times > 0)
    used = units[paired].any(axis=0)  # a label that nobody gave changes nothing
    given, number = units[paired][:, used], times[paired].astype(int)
    if used.sum() < 2:
        return None
    if number.sum() * used.sum() ** 2 > MOST_CELLS:
        return alpha_from_counts(given, times[paired], kind)
    level: Literal["nominal", "ordinal"] = "nominal" if kind is DimensionKind.NOMINAL else "ordinal"
    return float(krippendorff.alpha(value_counts=np.repeat(given, number, axis=0), level_of_measurement=level))


def alpha_from_counts(units: Counts, times: Counts, kind: DimensionKind) -> float:
    """Return alpha without a row a unit; every unit has two raters and more, and two labels are used (see krippendorff_alpha)."""
    shares = (times / (units.sum(axis=1) - 1.0))[:, None]
    coincidences = (units * shares).T @ units - np.diag((units * shares).sum(axis=0))
    values = coincidences.sum(axis=1)
    middle = np.cumsum(values) - values / 2.0
    apart = 1.0 - np.eye(len(values)) if kind is DimensionKind.NOMINAL else (middle[:, None] - middle[None, :]) ** 2
    return float(1.0 - (values.sum() - 1.0) * (coincidences * apart).sum() / (np.outer(values, values) * apart).sum())


def cohen_kappa(matrix: Counts, labels: Sequence[int], kind: DimensionKind) -> float | None:
    """Return Cohen's kappa of a confusion matrix, with the squared distances of the labels as weights (nominal: none).

    None where chance alone would agree wholly.
    Source: Cohen, "Weighted kappa", Psychological Bulletin 70(4), 1968.
    """
    from sklearn.metrics import cohen_kappa_score

    first, second = np.nonzero(matrix)
    if len(first) == 0 or len({*first, *second}) < 2:
        return None
    values = np.array(labels)
    weights = None if kind is DimensionKind.NOMINAL else "quadratic"
    scale = labels if weights is None else even_scale(labels)
    return float(cohen_kappa_score(values[first], values[second], labels=list(scale), weights=weights, sample_weight=matrix[first, second]))


@dataclass(frozen=True, slots=True)
class _Figures:
    """What a confusion matrix gives."""

    mae: float
    kappa: float | None
    alpha: float | None
    ac2: float | None


@lru_cache(maxsize=_REMEMBERED)
def _figures(cells: tuple[tuple[int, ...], ...], labels: tuple[int, ...], kind: DimensionKind) -> _Figures:
    from sklearn import config_context
    from sklearn.metrics import mean_absolute_error

    matrix, values = np.array(cells, dtype=np.float64), np.array(labels)
    units, times = _pair_units(matrix)
    first, second = np.nonzero(matrix)
    with config_context(assume_finite=True, skip_parameter_validation=True):  # a fifth of the time, of numbers made just here
        return _Figures(
            mae=float(mean_absolute_error(values[first], values[second], sample_weight=times)),
            kappa=cohen_kappa(matrix, labels, kind),
            alpha=krippendorff_alpha(units, times, kind),
            ac2=gwet_of_two(matrix, quadratic_weights(labels, kind)),
        )


def _pair(
    counts: VoteCounts, dimension: Dimension, raters: tuple[Rater, Rater], given: Iterable[VoteCount], places: tuple[int, int]
) -> list[PairAgreement]:
    """Return the pair's figures, or nothing where they have no row of the dimension in common."""
    labels = dimension.labels
    where = {label: place for place, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for count in given:
        first, second = count.labels[places[0]], count.labels[places[1]]
        if count.dimension_id == dimension.id and first in where and second in where and first is not None and second is not None:
            matrix[where[first], where[second]] += count.rows
    n = int(matrix.sum())
    if n == 0:
        return []
    values = np.array(labels)
    near = np.abs(values[:, None] - values[None, :]) <= 1
    cells = tuple(tuple(int(cell) for cell in row) for row in matrix)
    figures = _figures(cells, labels, dimension.kind)
    return [
        PairAgreement(
            *raters,
            dimension.id,
            labels,
            cells,
            n,
            exact=float(np.trace(matrix) / n),
            within_one=float(matrix[near].sum() / n),
            mae=figures.mae,
            kappa=figures.kappa,
            alpha=figures.alpha,
            ac2=figures.ac2,
            blind=counts.blind_only,
        )
    ]


def _pair_units(matrix: Counts) -> tuple[Counts, Counts]:
    """Return a confusion matrix as units (labels given to each kind of row) and how many rows are of each kind."""
    first, second = np.nonzero(matrix)
    units = np.zeros((len(first), len(matrix)))
    np.add.at(units, (np.arange(len(first)), first), 1.0)
    np.add.at(units, (np.arange(len(first)), second), 1.0)
    return units, matrix[first, second]


def _group(name: str, dimension: Dimension, given: Iterable[VoteCount], raters: int, part: slice) -> GroupAgreement:
    where = {label: place for place, label in enumerate(dimension.labels)}
    patterns: Counter[tuple[int, ...]] = Counter()
    for count in given:
        if count.dimension_id == dimension.id:
            known = tuple(sorted(where[label] for label in count.labels[part] if label is not None and label in where))
            if len(known) > 1:
                patterns[known] += count.rows
    if not patterns:
        return GroupAgreement(name, dimension.id, raters, 0, None, None)
    alpha, ac2 = _group_figures(tuple(sorted(patterns.items())), dimension.labels, dimension.kind)
    return GroupAgreement(name, dimension.id, raters, patterns.total(), alpha, ac2)


@lru_cache(maxsize=_REMEMBERED // 10)
def _group_figures(
    patterns: tuple[tuple[tuple[int, ...], int], ...], labels: tuple[int, ...], kind: DimensionKind
) -> tuple[float | None, float | None]:
    """Return alpha and Gwet's coefficient of patterns (places of the labels of a row's raters) and how many rows have each."""
    units = np.array([np.bincount(pattern, minlength=len(labels)) for pattern, _ in patterns], dtype=np.float64)
    times = np.array([rows for _, rows in patterns], dtype=np.float64)
    return krippendorff_alpha(units, times, kind), gwet(units, times, quadratic_weights(labels, kind))


def _distributions(counts: VoteCounts, dimension: Dimension, panel: Sequence[Rater], people: Sequence[Rater]) -> Iterable[Distribution]:
    sources = [(rater, counts.panel, place) for place, rater in enumerate(panel)]
    sources += [(Rater(GOLD), counts.gold, 0)]
    sources += [(person, counts.people[person.name], 0) for person in people]
    for rater, given, place in sources:
        found: Counter[int] = Counter()
        for count in given:
            label = count.labels[place]
            if count.dimension_id == dimension.id and label is not None:
                found[label] += count.rows
        if found:
            yield Distribution(rater, dimension.id, dict(sorted(found.items())), counts.blind_only)
