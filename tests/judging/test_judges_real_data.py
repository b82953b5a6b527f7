"""The judges on the competition's labelled file: better than the constant on families they have not seen."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.judges import measure, read_library, split
from core import metrics
from core.judging.vote import chosen_label
from tests.conftest import real_file
from tests.judging.panel import dimensions


@pytest.mark.real_data
@pytest.mark.timeout(240)
def test_every_judge_and_the_pool_know_more_than_the_label_shares() -> None:
    known = dimensions()
    items = read_library(real_file("train-fluency.csv"), known)
    part = split(items, seed=0)
    fold = measure(items, part == 1, known)
    kind = known["fluency"].kind
    found = {}
    for name, answers in fold.answers.items():
        chosen = [chosen_label(one, kind) for one in answers]
        found[name] = (metrics.log_loss(fold.true, answers), metrics.mean_absolute_error(fold.true, chosen))
    constant_loss, constant_error = found.pop("constant median")
    for name, (loss, error) in found.items():
        assert loss < constant_loss - 0.02, name
        assert error < constant_error + 0.01, name  # 199 rows: one judge may have bad luck with its votes
    assert found["pooled median"][1] < constant_error - 0.02
    for judged in fold.answers.values():
        assert np.allclose([sum(one.values()) for one in judged], 1.0)


@pytest.mark.real_data
def test_no_family_stands_on_both_sides_of_the_split() -> None:
    from core.retrieval.families import FamilyIndex

    items = read_library(real_file("train-fluency.csv"), dimensions())
    part = split(items, seed=0)
    training = [item.text for item, number in zip(items, part, strict=True) if number != 0]
    testing = [item.text for item, number in zip(items, part, strict=True) if number == 0]
    assert not any(FamilyIndex(training).matches(testing))
    assert 0.15 < len(testing) / len(items) < 0.25
