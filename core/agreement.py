"""Agreement of raters, from counts of label patterns: the cost depends on the patterns, not on the rows.

Quadratic weights throughout, so that the figures of one pair can be compared; on nominal dimensions only equal labels
agree (kappa is Cohen's, alpha nominal, AC2 is AC1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.review import GOLD, VERDICT, Agreement, Distribution, GroupAgreement, PairAgreement, Rater, VoteCount, VoteCounts
from core.types import Dimension, DimensionKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.float64]

JUDGES, PEOPLE = "judges", "people"


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


def gwet(units: Counts, weights: Counts) -> float | None:
    """Return Gwet's AC2 (AC1 with identity weights), None where no unit has two labels or there is one label only.

    `units` has a row a unit and a column a label: how many raters gave that label to the unit; `weights` are those of
    agreement. Units with one rater count for the expected agreement alone, as in the source.
    Source: Gwet, "Handbook of Inter-Rater Reliability", 4th edition, 2014, chapters 3 and 5 (several raters, missing ratings).
    """
    return _gwet(units, np.ones(len(units)), weights)


def krippendorff_alpha(units: Counts, kind: DimensionKind) -> float | None:
    """Return Krippendorff's alpha (ordinal, or nominal for nominal dimensions); None where it is not defined.

    `units` has a row a unit and a column a label, in rising order: how many raters gave it. Units with one
    rater are left out. Source: Krippendorff, "Computing Krippendorff's alpha-reliability", 2011, sections C to E.
    """
    return _alpha(units, np.ones(len(units)), kind)


def weighted_kappa(matrix: Counts, weights: Counts) -> float | None:
    """Return Cohen's weighted kappa of a confusion matrix, None where chance alone would agree wholly.

    Source: Cohen, "Weighted kappa", Psychological Bulletin 70(4), 1968.
    """
    total = matrix.sum()
    if total == 0:
        return None
    chance = float((weights * np.outer(matrix.sum(axis=1), matrix.sum(axis=0))).sum() / total**2)
    agreed = float((weights * matrix).sum() / total)
    return None if chance >= 1.0 - 1e-12 else (agreed - chance) / (1.0 - chance)


def _alpha(units: Counts, times: Counts, kind: DimensionKind) -> float | None:
    """Return alpha of kinds of units, each of them there `times` times."""
    raters = units.sum(axis=1)
    paired = raters >= 2
    given, shares = units[paired], (times[paired] / (raters[paired] - 1.0))[:, None]
    coincidences = (given * shares).T @ given - np.diag((given * shares).sum(axis=0))
    values = coincidences.sum(axis=1)
    if np.count_nonzero(values) < 2:
        return None
    apart = _distances(values, kind)
    return float(1.0 - (values.sum() - 1.0) * (coincidences * apart).sum() / (np.outer(values, values) * apart).sum())


def _distances(values: Counts, kind: DimensionKind) -> Counts:
    """Return the squared distances between labels that were given `values` times: ordinal, they grow with what lies between."""
    if kind is DimensionKind.NOMINAL:
        return 1.0 - np.eye(len(values))
    middle = np.cumsum(values) - values / 2.0
    apart: Counts = (middle[:, None] - middle[None, :]) ** 2
    return apart


def _gwet(units: Counts, times: Counts, weights: Counts) -> float | None:
    raters = units.sum(axis=1)
    several = raters >= 2
    if not several.any() or units.shape[1] < 2:
        return None
    agreed = (units * (units @ weights - 1.0)).sum(axis=1)[several] / (raters * (raters - 1.0))[several]
    observed = float((agreed * times[several]).sum() / times[several].sum())
    rated = raters >= 1
    share = (units[rated] / raters[rated, None] * times[rated, None]).sum(axis=0) / times[rated].sum()
    labels = units.shape[1]
    expected = float(weights.sum() / (labels * (labels - 1)) * (share * (1.0 - share)).sum())
    return None if expected >= 1.0 - 1e-12 else (observed - expected) / (1.0 - expected)


def _pair(
    counts: VoteCounts, dimension: Dimension, raters: tuple[Rater, Rater], given: Iterable[VoteCount], places: tuple[int, int]
) -> list[PairAgreement]:
    """Return the pair's figures, or nothing where they have no row of the dimension in common."""
    labels = dimension.labels
    where = {label: place for place, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)))
    for count in given:
        first, second = count.labels[places[0]], count.labels[places[1]]
        if count.dimension_id == dimension.id and first in where and second in where and first is not None and second is not None:
            matrix[where[first], where[second]] += count.rows
    n = int(matrix.sum())
    if n == 0:
        return []
    values = np.array(labels, dtype=np.float64)
    apart = np.abs(values[:, None] - values[None, :])
    weights = quadratic_weights(labels, dimension.kind)
    units, times = _pair_units(matrix)
    return [
        PairAgreement(
            *raters,
            dimension.id,
            labels,
            tuple(tuple(int(cell) for cell in row) for row in matrix),
            n,
            exact=float(np.trace(matrix) / n),
            within_one=float(matrix[apart <= 1].sum() / n),
            mae=float((matrix * apart).sum() / n),
            kappa=weighted_kappa(matrix, weights),
            alpha=_alpha(units, times, dimension.kind),
            ac2=_gwet(units, times, weights),
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
    units = np.array([np.bincount(pattern, minlength=len(where)) for pattern in patterns], dtype=np.float64)
    times = np.array(list(patterns.values()), dtype=np.float64)
    alpha = _alpha(units, times, dimension.kind)
    ac2 = _gwet(units, times, quadratic_weights(dimension.labels, dimension.kind))
    return GroupAgreement(name, dimension.id, raters, int(times.sum()), alpha, ac2)


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
