"""The gate tells a better judge from a worse and from a lucky one, and its interval holds what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from core import gate
from core.errors import JobError
from core.gate import Pair, compare, compare_all, constant, quality
from core.training import GateVerdict, Prediction
from core.types import Dimension, DimensionKind

LABELS = (1, 2, 3, 4, 5)
FLUENCY = Dimension("fluency", {"zh": "流畅性", "en": "Fluency"}, LABELS, DimensionKind.ORDINAL, {}, "v1", needs_prompt=False)
NORMS = replace(FLUENCY, id="normativity", names={"zh": "规范性", "en": "Normativity"})
CHOICE = Dimension("choice", {"zh": "选择题", "en": "Choice"}, (0, 1), DimensionKind.NOMINAL, {}, "v1", needs_prompt=False)


def said(name: str, gold: int, label: int | None, dimension: Dimension = FLUENCY) -> Prediction:
    """Return a prediction that is sure of its label."""
    sure = {} if label is None else {one: 0.9 if one == label else 0.1 / (len(dimension.labels) - 1) for one in dimension.labels}
    return Prediction(f"{dimension.id}-{name}", dimension.id, gold, label, sure)


def judge(golds: Sequence[int], rng: np.random.Generator, wrong: float, dimension: Dimension = FLUENCY) -> list[Prediction]:
    """Return predictions that miss by one step (or the other label) in a share `wrong` of the rows."""
    found = []
    for number, gold in enumerate(golds):
        label = gold
        if rng.random() < wrong:
            label = gold + (1 if gold < max(dimension.labels) else -1)
        found.append(said(str(number), gold, label, dimension))
    return found


def pair(rows: int, old: float, new: float, dimension: Dimension = FLUENCY, seed: int = 3) -> Pair:
    rng = np.random.default_rng(seed)
    golds = rng.choice(dimension.labels, size=rows).tolist()
    return Pair(dimension, judge(golds, rng, old, dimension), judge(golds, rng, new, dimension), dimension.labels[-1])


def test_figures_of_known_rows_count_the_unanswered_by_the_constant() -> None:
    spread = Prediction("s", "fluency", 3, 1, {1: 0.4, 2: 0.05, 3: 0.1, 4: 0.05, 5: 0.4})
    found = quality([said("a", 5, 5), said("b", 4, 2), spread, said("c", 1, None)], FLUENCY, fallback=3)
    assert (found.rows, found.unanswered) == (4, 1)
    # The spread row votes for 1, but its median is 3; the silent one is taken for the constant 3.
    assert found.mae == pytest.approx((0 + 2 + 0 + 2) / 4)
    assert found.score == pytest.approx(1 / 2)
    assert found.accuracy == pytest.approx(0.5)
    assert quality([said("a", 1, 0, CHOICE), said("b", 1, 1, CHOICE)], CHOICE, 1).mae == pytest.approx(0.5)
    with pytest.raises(JobError, match="no held-out rows"):
        quality([], FLUENCY, 3)


def test_the_constant_is_the_median_of_graded_and_the_most_frequent_of_nominal_labels() -> None:
    assert constant({1: 2, 4: 3, 5: 4}, FLUENCY) == 4
    assert constant({0: 1, 1: 5}, CHOICE) == 1
    assert constant({}, FLUENCY) == 3


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [(0.6, 0.2, GateVerdict.BETTER), (0.2, 0.6, GateVerdict.WORSE), (0.4, 0.4, GateVerdict.UNPROVEN)],
)
def test_a_better_a_worse_and_an_equal_candidate(old: float, new: float, verdict: GateVerdict) -> None:
    found = compare(pair(200, old, new, seed=5), {})
    assert found.verdict is verdict
    assert found.low < found.gain < found.high
    assert found.gain == pytest.approx(found.old.mae - found.new.mae)
    assert found == compare(pair(200, old, new, seed=5), {})


def test_rows_of_one_family_count_as_one() -> None:
    copied = pair(200, 0.6, 0.2)
    alone = compare(copied, {})
    together = compare(copied, {prediction.hash: f"family {number // 40}" for number, prediction in enumerate(copied.old)})
    assert together.high - together.low > 2 * (alone.high - alone.low)
    few = compare(copied, {prediction.hash: f"family {number // 100}" for number, prediction in enumerate(copied.old)})
    assert (few.low, few.high, few.verdict) == (-4, 4, GateVerdict.UNPROVEN)


def test_a_handful_of_lucky_rows_is_no_proof_and_the_very_same_answers_are_a_draw() -> None:
    golds = [3] * 300
    old = [said(str(number), 3, 2 if number < 4 else 3) for number in range(300)]
    new = [said(str(number), gold, 3) for number, gold in enumerate(golds)]
    lucky = compare(Pair(FLUENCY, old, new, 3), {})
    assert lucky.gain > 0
    assert lucky.verdict is GateVerdict.UNPROVEN
    same = compare(Pair(FLUENCY, new, new, 3), {})
    assert (same.gain, same.low, same.high, same.drift, same.verdict) == (0, 0, 0, 0, GateVerdict.UNPROVEN)


@pytest.mark.parametrize(("families", "changed"), [(40, 0.6), (150, 0.3), (150, 0.04)])
def test_the_interval_holds_the_truth_in_about_95_of_100_samples(families: int, changed: float) -> None:
    """Under the null (both judges equally good), with families of one to four rows that change together."""
    rng, trials, proved = np.random.default_rng(7), 300, 0
    for trial in range(trials):
        sizes = rng.integers(1, 5, families)
        signs = rng.choice([-1, 0, 1], size=families, p=[changed / 2, 1 - changed, changed / 2])
        old, new, named = [], [], {}
        for family, (size, sign) in enumerate(zip(sizes, signs, strict=True)):
            for row in range(size):
                name = f"{family}.{row}"
                old.append(Prediction(name, "fluency", 3, 4 if sign > 0 else 3, {}))
                new.append(Prediction(name, "fluency", 3, 4 if sign < 0 else 3, {}))
                named[old[-1].hash] = str(family)
        proved += compare(Pair(FLUENCY, old, new, 3), named, resamples=400, seed=trial).verdict is not GateVerdict.UNPROVEN
    # 5% are allowed; three standard deviations of 300 trials are 3.8 points. Where little changes it proves less.
    assert proved / trials < 0.088
    assert proved / trials > 0.02 or changed < 0.1


def test_overall_is_the_mean_of_the_graded_dimensions_and_choice_must_not_fall() -> None:
    graded = [pair(150, 0.6, 0.2), pair(150, 0.5, 0.3, NORMS, seed=4)]
    overall, each = compare_all([*graded, pair(100, 0.2, 0.2, CHOICE, seed=8)], {})
    assert [one.dimension_id for one in (overall, *each)] == ["", "fluency", "normativity", "choice"]
    assert overall.gain == pytest.approx((each[0].gain + each[1].gain) / 2)
    assert overall.old.score == pytest.approx(1 / (1 + (each[0].old.mae + each[1].old.mae) / 2))
    rows = [0, 1] * 50
    right = [said(str(number), gold, gold, CHOICE) for number, gold in enumerate(rows)]
    one_wrong = [replace(right[0], label=1), *right[1:]]
    broken = [said(str(number), gold, 1 - gold, CHOICE) for number, gold in enumerate(rows)]
    verdicts = [compare_all([*graded, Pair(CHOICE, right, new, 1)], {})[0].verdict for new in (right, one_wrong, broken)]
    assert verdicts == [GateVerdict.BETTER, GateVerdict.UNPROVEN, GateVerdict.WORSE]


def test_drift_says_how_far_the_answers_moved() -> None:
    old = [Prediction("a", "fluency", 3, 3, {1: 0, 2: 0, 3: 1, 4: 0, 5: 0}), said("b", 3, None)]
    new = [Prediction("a", "fluency", 3, 3, {1: 0, 2: 0, 3: 0.5, 4: 0.5, 5: 0}), said("b", 3, 3)]
    drift, shift = gate.moved(old, new)
    assert (drift, shift) == (pytest.approx(0.2), pytest.approx(0.5))


def test_judges_that_were_asked_different_rows_are_not_compared() -> None:
    full = pair(30, 0.5, 0.2)
    with pytest.raises(JobError, match="not measured on the same held-out rows") as caught:
        compare(replace(full, new=full.new[1:]), {})
    assert "留出行" in caught.value.messages["zh"]


def test_a_snapshot_without_rows_of_a_dimension_is_told_in_both_languages() -> None:
    with pytest.raises(JobError, match="Fluency: the snapshot has no held-out rows") as caught:
        compare(Pair(FLUENCY, [], [], 3), {})
    assert "流畅性：训练集中没有留出行" in caught.value.messages["zh"]
