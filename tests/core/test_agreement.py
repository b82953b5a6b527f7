"""Agreement against published figures, and the tables of a run against plain counting."""

from __future__ import annotations

import random

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import agreement
from core.agreement import alpha_from_counts, cohen_kappa, gwet, gwet_of_two, krippendorff_alpha, quadratic_weights, tables
from core.review import VERDICT, PairAgreement, QueueScope, Rater, Vote, VoteCount, VoteCounts
from core.types import Dimension, DimensionKind

# Four coders, twelve units, missing values: Krippendorff 2011, and Gwet's handbook (2014).
FOUR_CODERS = (
    (1, 1, None, 1),
    (2, 2, 3, 2),
    (3, 3, 3, 3),
    (3, 3, 3, 3),
    (2, 2, 2, 2),
    (1, 2, 3, 4),
    (4, 4, 4, 4),
    (1, 1, 2, 1),
    (2, 2, 2, 2),
    (None, 5, 5, 5),
    (None, None, 1, 1),
    (None, None, 3, None),
)
SCALE = (1, 2, 3, 4, 5)
ORDINAL, NOMINAL = DimensionKind.ORDINAL, DimensionKind.NOMINAL
DIMENSION = Dimension("fluency", {"zh": "流畅性"}, SCALE, ORDINAL, {}, "1", needs_prompt=False)


def units() -> np.ndarray:
    return np.array([[row.count(label) for label in SCALE] for row in FOUR_CODERS], dtype=float)


ONCE = np.ones(len(FOUR_CODERS))


def test_alpha_of_the_published_example() -> None:
    assert krippendorff_alpha(units(), ONCE, NOMINAL) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(units(), ONCE, ORDINAL) == pytest.approx(0.815, abs=5e-4)
    assert krippendorff_alpha(np.array([[2.0, 0.0]]), np.array([3.0]), NOMINAL) is None


@pytest.mark.parametrize(("kind", "level"), [(NOMINAL, "nominal"), (ORDINAL, "ordinal")])
def test_alpha_of_kinds_of_rows_is_that_of_the_rows(kind: DimensionKind, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    kinds = rng.multinomial(4, (0.1, 0.2, 0.4, 0.3, 0.0), size=60)
    kinds[::5] //= 2  # rows that some raters left out
    times = rng.integers(1, 9, len(kinds))
    rows = np.repeat(kinds, times, axis=0)
    expected = krippendorff.alpha(value_counts=rows, value_domain=SCALE, level_of_measurement=level)
    assert krippendorff_alpha(kinds.astype(float), times.astype(float), kind) == pytest.approx(expected, abs=1e-9)
    # So many rows that they are not laid out one by one.
    monkeypatch.setattr(agreement, "MOST_CELLS", 10)
    assert krippendorff_alpha(kinds.astype(float), times.astype(float), kind) == pytest.approx(expected, abs=1e-9)
    paired = kinds.sum(axis=1) > 1
    assert alpha_from_counts(kinds[paired][:, :4].astype(float), times[paired], kind) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("most", [agreement.MOST_CELLS, 10])  # in rows, and from the counts as where there are very many
def test_gwets_coefficients_of_the_published_example(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "MOST_CELLS", most)
    assert gwet(units(), ONCE, quadratic_weights(SCALE, NOMINAL)) == pytest.approx(0.77544, abs=1e-5)
    assert gwet(units(), ONCE, quadratic_weights(SCALE, ORDINAL)) == pytest.approx(0.91400, abs=1e-5)
    twice = gwet(np.repeat(units(), 2, axis=0), np.ones(2 * len(ONCE)), quadratic_weights(SCALE, ORDINAL))
    assert gwet(units(), ONCE * 2, quadratic_weights(SCALE, ORDINAL)) == pytest.approx(twice, abs=1e-9)


def test_gwets_coefficient_at_its_edges() -> None:
    weights = quadratic_weights(SCALE, ORDINAL)
    same, apart = np.array([[0.0, 3, 0, 0, 0]]), np.array([[2.0, 0, 0, 0, 1]])
    assert gwet(np.array([[1.0, 0.0]]), np.ones(1), np.eye(2)) is None  # one rater
    assert gwet(same, np.array([5.0]), weights) == pytest.approx(1.0)
    assert gwet(same, np.ones(1), weights) == pytest.approx(1.0)
    assert gwet(np.concatenate([same, apart]), np.array([1.0, 0.0]), weights) == pytest.approx(1.0)
    assert gwet_of_two(np.diag([0.0, 4, 0]), np.eye(3)) == pytest.approx(1.0)
    assert gwet_of_two(np.array([[0.0, 1], [0, 0]]), np.eye(2)) == pytest.approx(-1.0)
    assert gwet_of_two(np.zeros((2, 2)), np.eye(2)) is None


@pytest.mark.parametrize(
    ("matrix", "kind", "kappa", "coefficient"),
    [
        # The abstractors' and the psychiatrists' tables of Gwet's handbook.
        ([[13, 0, 0], [0, 20, 7], [0, 4, 56]], NOMINAL, 0.79641, 0.84933),
        ([[13, 0, 0], [0, 20, 7], [0, 4, 56]], ORDINAL, 0.89216, 0.94024),
        ([[40, 4, 4, 17], [6, 25, 2, 13], [4, 1, 21, 12], [15, 5, 9, 45]], NOMINAL, 0.4315, 0.45616),
        ([[40, 4, 4, 17], [6, 25, 2, 13], [4, 1, 21, 12], [15, 5, 9, 45]], ORDINAL, 0.38319, 0.29857),
    ],
)
def test_two_raters_of_the_published_tables(matrix: list[list[int]], kind: DimensionKind, kappa: float, coefficient: float) -> None:
    labels = tuple(range(1, len(matrix) + 1))
    counts = tuple(VoteCount("fluency", (a, b, None), matrix[a - 1][b - 1]) for a in labels for b in labels)
    dimension = Dimension("fluency", {"zh": "x"}, labels, kind, {}, "1", needs_prompt=False)
    found = tables(VoteCounts(1, ("a", "b"), True, counts, {}, {}, ()), {"fluency": dimension})
    pair = found.pair("b", "a", "fluency")
    assert pair is not None
    assert pair.matrix == tuple(map(tuple, matrix))
    assert pair.kappa == pytest.approx(kappa, abs=1e-4)
    assert pair.ac2 == pytest.approx(coefficient, abs=1e-4)


def test_kappa_is_not_defined_where_chance_agrees_wholly() -> None:
    assert cohen_kappa(np.array([[4.0, 0.0], [0.0, 0.0]]), (1, 2), ORDINAL) is None
    assert cohen_kappa(np.array([[4.0, 0.0], [2.0, 0.0]]), (1, 2), ORDINAL) == pytest.approx(0.0)


def test_kappa_weighs_by_the_labels_values_where_they_are_not_evenly_spaced() -> None:
    labels = (1, 2, 5, 9)
    matrix = np.random.default_rng(2).integers(0, 30, (4, 4)).astype(float)
    weights = quadratic_weights(labels, ORDINAL)
    by_chance = (weights * np.outer(matrix.sum(axis=1), matrix.sum(axis=0))).sum() / matrix.sum() ** 2
    agreed = (weights * matrix).sum() / matrix.sum()
    assert cohen_kappa(matrix, labels, ORDINAL) == pytest.approx((agreed - by_chance) / (1 - by_chance))


def test_the_tables_of_a_run_are_those_of_its_rows() -> None:
    rng = random.Random(3)
    rows = [(*(rng.choice((*SCALE, None)) for _ in range(3)), rng.choice(SCALE), rng.choice(SCALE)) for _ in range(300)]
    panel = tuple(VoteCount("fluency", row[:4], 1) for row in rows)
    people = {"王": tuple(VoteCount("fluency", (row[4], *row[:4]), 1) for row in rows[:90])}
    both = {("李", "王"): tuple(VoteCount("fluency", (5, row[4]), 1) for row in rows[:20])}
    found = tables(VoteCounts(9, ("a", "b", "c"), True, panel, people, both, ()), {"fluency": DIMENSION})

    pair = found.pair("a", "王", "fluency")
    known = [(row[0], row[4]) for row in rows[:90] if row[0] is not None]
    assert pair is not None
    assert pair.n == len(known)
    assert pair.exact == pytest.approx(sum(a == b for a, b in known) / len(known))
    assert pair.within_one == pytest.approx(sum(abs(a - b) <= 1 for a, b in known) / len(known))
    assert pair.mae == pytest.approx(sum(abs(a - b) for a, b in known) / len(known))
    assert pair.matrix[1][3] == known.count((2, 4))
    cell = pair.cell(1, 3)
    assert (cell.scope, cell.dimension_id) == (QueueScope.ANY, "fluency")
    assert cell.votes == (Vote("a", 2), Vote("王", 4, person=True))

    people_pair = found.pair("李", "王", "fluency")
    assert people_pair is not None
    assert (people_pair.n, people_pair.first.person) == (20, True)
    assert {frozenset((p.first.name, p.second.name)) for p in found.pairs} >= {frozenset(("a", VERDICT)), frozenset((VERDICT, "王"))}
    group = next(group for group in found.groups if group.group == "judges")
    judged = np.array([[row[:3].count(label) for label in SCALE] for row in rows], dtype=float)
    several = judged[judged.sum(axis=1) > 1]
    assert group.n == len(several)
    assert group.alpha == pytest.approx(krippendorff.alpha(value_counts=several, level_of_measurement="ordinal"))
    spread = next(d for d in found.distributions if d.rater == Rater("b"))
    assert spread.counts == {label: sum(row[1] == label for row in rows) for label in SCALE}
    assert spread.query(4).votes == (Vote("b", 4),)


def figures(matrix: list[list[int]], labels: tuple[int, ...], kind: DimensionKind) -> PairAgreement | None:
    counts = tuple(
        VoteCount("d", (a, b, None), rows) for a, row in zip(labels, matrix, strict=True) for b, rows in zip(labels, row, strict=True)
    )
    dimension = Dimension("d", {"zh": "d"}, labels, kind, {}, "1", needs_prompt=False)
    return tables(VoteCounts(1, ("a", "b"), True, counts, {}, {}, ()), {"d": dimension}).pair("a", "b", "d")


@st.composite
def matrices(draw: st.DrawFn) -> tuple[list[list[int]], tuple[int, ...]]:
    labels = draw(st.lists(st.integers(-5, 20), min_size=2, max_size=4, unique=True).map(sorted))
    cells = st.lists(st.integers(0, 4) | st.just(0), min_size=len(labels), max_size=len(labels))
    return draw(st.lists(cells, min_size=len(labels), max_size=len(labels))), tuple(labels)


@settings(max_examples=10)
@given(matrices(), st.sampled_from(DimensionKind))
def test_figures_of_any_two_raters_are_those_of_their_rows_and_the_same_either_way(
    drawn: tuple[list[list[int]], tuple[int, ...]], kind: DimensionKind
) -> None:
    matrix, labels = drawn
    rows = [(a, b) for a, line in zip(labels, matrix, strict=True) for b, count in zip(labels, line, strict=True) for _ in range(count)]
    found = figures(matrix, labels, kind)
    if not rows:
        assert found is None
        return
    assert found is not None
    assert (found.n, found.exact) == (len(rows), pytest.approx(sum(a == b for a, b in rows) / len(rows)))
    assert found.within_one == pytest.approx(sum(abs(a - b) <= 1 for a, b in rows) / len(rows))
    assert found.mae == pytest.approx(sum(abs(a - b) for a, b in rows) / len(rows))
    turned = figures([list(column) for column in zip(*matrix, strict=True)], labels, kind)
    assert turned is not None
    for name in ("kappa", "alpha", "ac2"):
        one, other = getattr(found, name), getattr(turned, name)
        assert (one is None) == (other is None)
        assert one is None or (one == pytest.approx(other, abs=1e-9) and one <= 1 + 1e-9)
    if all(a == b for a, b in rows):
        assert found.ac2 == pytest.approx(1)
        assert found.kappa == found.alpha == (pytest.approx(1) if len(set(rows)) > 1 else None)


def test_labels_that_left_the_scale_count_in_no_table() -> None:
    counts = (VoteCount("fluency", (3, 3, 3), 4), VoteCount("fluency", (9, 3, None), 5), VoteCount("other", (3, 3, 3), 7))
    found = tables(VoteCounts(1, ("a", "b"), True, counts, {}, {}, ()), {"fluency": DIMENSION})
    assert [pair.n for pair in found.pairs] == [4, 4, 4]
    assert found.groups[0].n == 4
    assert found.pair("a", "b", "other") is None
    assert tables(VoteCounts(1, (), True, (), {}, {}, ()), {"fluency": DIMENSION}).pairs == ()
