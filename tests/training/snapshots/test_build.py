"""Which rows a snapshot takes, on which side they stand, and what is told of the others."""

from __future__ import annotations

from collections import Counter

import pytest

from core.errors import JobError
from core.review import ReviewState
from core.training import LabelledRow, SnapshotFilter, Split, TrainingRow
from core.types import Origin
from tests.training.snapshots.made import DIMENSIONS, essay, row, rows
from training.snapshots import LeftOut, Plan, PlannedRow, SplitChoice, plan_snapshot
from training.snapshots.build import label_cap

ALL = SnapshotFilter()


def plan(found: list[LabelledRow], chosen: SnapshotFilter = ALL, share: float = 0.2, seed: int = 0) -> Plan:
    return plan_snapshot(found, chosen, SplitChoice(share, seed), DIMENSIONS)


def kept(made: Plan) -> list[TrainingRow]:
    """The held-out rows as a frozen snapshot has them."""
    return [frozen(one) for one in made.rows if one.split is Split.HELD_OUT]


def frozen(one: PlannedRow) -> TrainingRow:
    item = one.item
    facts = (item.content_hash, item.external_id, item.dimension_id, item.prompt, item.text, item.label)
    return TrainingRow(*facts, one.family, one.split, item.origin, item.author, "", "", "")


def hashes(found: list[PlannedRow]) -> set[str]:
    return {one.item.content_hash for one in found}


def reasons(made: Plan) -> Counter[LeftOut]:
    return Counter(left.reason for left in made.left_out)


def test_every_label_gives_its_share_and_the_seed_decides_which_rows() -> None:
    uneven = rows(150, labels=(3, 3, 3, 3, 5, 1))
    made = plan(uneven)
    assert made.counts() == {"fluency": {Split.TRAIN: {1: 20, 3: 80, 5: 20}, Split.HELD_OUT: {1: 5, 3: 20, 5: 5}}}
    assert plan(list(reversed(uneven))) == made
    other = plan(uneven, seed=1)
    assert other.counts() == made.counts()
    assert other.held_out() != made.held_out()


def test_a_family_stands_on_one_side_across_dimensions_and_prompts() -> None:
    found = rows(60)
    for number in range(12):
        original = essay(number)
        copy = original[:40] + "改" + original[41:]
        found.append(row(1000 + number, 1 + number % 5, dimension="normativity", prompt="写一篇作文", text=original))
        found.append(row(2000 + number, 1 + number % 5, dimension="normativity", prompt="换一个题目", text=copy))
    for seed in range(4):
        made = plan(found, seed=seed, share=0.3)
        sides: dict[str, set[Split]] = {}
        for one in made.rows:
            sides.setdefault(one.family, set()).add(one.split)
        assert all(len(split) == 1 for split in sides.values())
        assert Counter(Counter(one.family for one in made.rows).values()) == {1: 48, 3: 12}
        assert made.families == 60
        assert {one.split for one in made.rows if one.item.dimension_id == "normativity"} == set(Split)


def test_what_people_say_replaces_the_librarys_label_even_where_it_is_filtered_out() -> None:
    found = [*rows(40), row(3, 1, origin=Origin.CORRECTION, author="王", library=None, review=ReviewState.LABELLED)]
    assert found[3].item.label == 4
    taken = {one.item.external_id: one.item for one in plan(found).rows}
    assert (taken["R3"].label, taken["R3"].author, taken["R3"].origin) == (1, "王", Origin.CORRECTION)
    imported = plan(found, SnapshotFilter(origins=(Origin.IMPORT,)))
    assert "R3" not in {one.item.external_id for one in imported.rows}
    assert len(imported.rows) == 39
    assert {one.item.external_id for one in plan([*found, *corrected(9)], SnapshotFilter(authors=("李",))).rows} == {
        f"C{number}" for number in range(9)
    }


def corrected(count: int) -> list[LabelledRow]:
    made = [row(500 + number, 1 + number % 2, author="李", origin=Origin.CORRECTION, library=None) for number in range(count)]
    for number, one in enumerate(made):
        object.__setattr__(one.item, "external_id", f"C{number}")
    return made


def test_disputed_and_contradictory_rows_are_told_and_taken_only_when_asked_for() -> None:
    disputed = row(1, 5, library=None, review=ReviewState.CONFLICT, origin=Origin.CORRECTION, author="李")
    settled = [row(2, 1, library=None, review=ReviewState.LABELLED, hours=5), row(2, 4, library=None, review=ReviewState.SETTLED)]
    contradictory = [row(4, 1, library=2, hours=1), row(4, 2, library=1)]
    twice = [row(5, 3, library=1), row(5, 3, library=2)]
    found = [*rows(40, start=10), row(1, 2), disputed, *settled, *contradictory, *twice, row(6, 9), row(7, 1, dimension="gone")]
    made = plan(found)
    assert reasons(made) == {LeftOut.DISPUTED: 1, LeftOut.LABELS_DIFFER: 1, LeftOut.OFF_SCALE: 1, LeftOut.UNKNOWN_DIMENSION: 1}
    labels = {one.item.external_id: one.item.label for one in made.rows}
    assert (labels["R2"], labels["R5"]) == (4, 3)
    assert {"R1", "R4"}.isdisjoint(labels)
    asked = {one.item.external_id: one.item.label for one in plan(found, SnapshotFilter(agreed_only=False)).rows}
    assert (asked["R1"], asked["R4"]) == (5, 1)
    assert all(set(reason.words) == {"zh", "en"} for reason in LeftOut)


def test_a_lineage_keeps_its_held_out_rows_and_nothing_like_them_is_trained_on() -> None:
    found = rows(50)
    first = plan(found)
    held = kept(first)
    near = essay(int(held[0].external_id[1:]))
    copy = row(900, 2, dimension="normativity", prompt="题目", text=near[:-6] + "换了结尾。")
    again = [one for one in found if one.item.content_hash != held[1].hash]
    relabelled = [row(int(held[2].external_id[1:]), 6 - held[2].label if held[2].label != 3 else 1, library=None)]
    later = plan_snapshot([*again, *relabelled, copy, *rows(30, start=100)], ALL, SplitChoice(0.5, 9), DIMENSIONS, held)
    assert later.held_out() == first.held_out()
    assert len(later.train()) == 40 + 30
    assert hashes(later.train()) >= hashes(first.train())
    assert reasons(later) == {LeftOut.HELD_OUT_FAMILY: 1, LeftOut.HELD_OUT_LABEL: 1}
    assert sum(later.counts()["fluency"][Split.HELD_OUT].values()) == 10


@pytest.mark.parametrize(("counts", "share", "cap"), [((10, 40, 50), 0.4, 20), ((10, 10, 80), 0.5, 20), ((5, 5), 0.5, 5), ((1, 9), 1, 9)])
def test_the_cap_is_the_most_that_keeps_every_label_below_its_share(counts: tuple[int, ...], share: float, cap: int) -> None:
    assert label_cap(counts, share) == cap
    assert cap <= share * sum(min(count, cap) for count in counts) + 1e-9


def test_balance_draws_training_rows_down_and_leaves_the_held_out_rows_alone() -> None:
    found = rows(100, labels=(1, 2, 3, 3, 3, 3, 3, 3, 3, 3))
    made = plan(found, SnapshotFilter(balance=0.5))
    assert made.counts()["fluency"] == {Split.TRAIN: {1: 8, 2: 8, 3: 16}, Split.HELD_OUT: {1: 2, 2: 2, 3: 16}}
    assert reasons(made) == {LeftOut.BALANCE: 48}
    assert plan(found, SnapshotFilter(balance=0.5)) == made
    with pytest.raises(JobError, match="at least 33%") as caught:
        plan(found, SnapshotFilter(balance=0.3))
    assert "33%" in caught.value.messages["zh"]


@pytest.mark.parametrize(
    ("found", "chosen", "share", "words"),
    [
        (rows(20), SnapshotFilter(dimension_ids=("choice",)), 0.2, "No row is left to train on"),
        (rows(2, labels=(1, 2)), ALL, 0.2, "No row would be held out"),
        (rows(20), ALL, 0.0, "more than 0"),
        (rows(20), SnapshotFilter(balance=0), 0.2, "balance is 0"),
    ],
)
def test_what_cannot_be_split_is_refused(found: list[LabelledRow], chosen: SnapshotFilter, share: float, words: str) -> None:
    with pytest.raises(JobError, match=words):
        plan(found, chosen, share)
