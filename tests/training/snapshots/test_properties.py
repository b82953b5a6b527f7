"""What holds of any labelled rows: every row stands once, families on one side, shares as asked, the order does not matter."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import JobError
from core.review import ReviewState
from core.training import LabelledRow, SnapshotFilter, Split, TrainingRow
from core.types import Origin
from tests.training.snapshots.made import DIMENSIONS, essay, row
from tests.training.snapshots.test_build import frozen, kept
from training.snapshots import Plan, SplitChoice, plan_snapshot
from training.snapshots.build import families_of, label_cap

ALL = SnapshotFilter()


@st.composite
def corpora(draw: st.DrawFn, most: int = 40) -> list[LabelledRow]:
    """Rows of two dimensions in families of one to three near-duplicates, some labelled twice, some by people, some off the scale."""
    chance = random.Random(draw(st.integers(0, 10**6)))
    found: list[LabelledRow] = []
    number = chance.randrange(10_000)
    for _ in range(draw(st.integers(4, most))):
        original = essay(number)
        for copy in range(chance.choice((1, 1, 1, 2, 3))):
            number += 1
            text = original if copy == 0 else original[: 30 + copy] + "改" + original[31 + copy :]
            name = chance.choice(("fluency", "fluency", "normativity", "gone"))
            label, author = chance.choice((1, 2, 3, 4, 5, 5, 9)), chance.choice(("李", "王"))
            prompt = "" if name == "fluency" else "写一写"
            found.append(row(number, label, dimension=name, prompt=prompt, text=text, author=author))
            if chance.random() < 0.3:
                said = chance.choice((1, 2, 3))
                state, library = chance.choice(list(ReviewState)), chance.choice((None, None, 2))
                more = {"dimension": name, "prompt": prompt, "text": text, "author": author, "hours": chance.randrange(3)}
                found.append(row(number, said, origin=Origin.CORRECTION, library=library, review=state, **more))
    return found


CHOICES = st.builds(SplitChoice, st.sampled_from((0.1, 0.2, 0.5)), st.integers(0, 99))
FILTERS = st.builds(
    SnapshotFilter,
    dimension_ids=st.sampled_from(((), ("fluency",), ("fluency", "normativity"))),
    origins=st.sampled_from(((), (Origin.IMPORT,))),
    authors=st.sampled_from(((), ("李",))),
    agreed_only=st.booleans(),
    balance=st.sampled_from((1.0, 1.0, 0.6)),
)


def planned(rows: Sequence[LabelledRow], chosen: SnapshotFilter, choice: SplitChoice, held: Sequence[TrainingRow] = ()) -> Plan | None:
    """Return the plan, None where there is nothing to split (which is told)."""
    try:
        return plan_snapshot(rows, chosen, choice, DIMENSIONS, held)
    except JobError as error:
        assert set(error.messages) == {"zh", "en"}
        return None


@settings(max_examples=25)
@given(rows=corpora(), chosen=FILTERS, choice=CHOICES, seed=st.integers(0, 9))
def test_every_content_stands_once_on_one_side_or_is_told_and_the_order_of_rows_does_not_matter(
    rows: list[LabelledRow], chosen: SnapshotFilter, choice: SplitChoice, seed: int
) -> None:
    made = planned(rows, chosen, choice)
    shuffled = random.Random(seed).sample(rows, len(rows))
    again = planned(shuffled, chosen, choice)
    if made is None:
        assert again is None
        return
    assert again is not None
    assert (again.rows, again.families) == (made.rows, made.families)
    assert Counter((left.reason, left.item.content_hash) for left in again.left_out) == Counter(
        (left.reason, left.item.content_hash) for left in made.left_out
    )
    placed = Counter(one.item.content_hash for one in made.rows) + Counter(left.item.content_hash for left in made.left_out)
    assert set(placed.values()) == {1}
    known = {
        one.item.content_hash: {other.item.label for other in rows if other.item.content_hash == one.item.content_hash} for one in rows
    }
    for one in made.rows:
        assert one.item.label in known[one.item.content_hash]
        assert one.item.label in DIMENSIONS[one.item.dimension_id].labels
        assert not chosen.authors or one.item.author in chosen.authors
        assert not chosen.origins or one.item.origin in chosen.origins
    if chosen == SnapshotFilter(agreed_only=chosen.agreed_only):
        assert set(placed) == set(known)  # without a filter nothing goes unsaid
    sides: dict[str, set[Split]] = {}
    for one in made.rows:
        sides.setdefault(one.family, set()).add(one.split)
    assert all(len(found) == 1 for found in sides.values())


@settings(max_examples=30)
@given(
    counts=st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(lambda found: sum(found) > 3),
    share=st.sampled_from((0.1, 0.25, 0.5, 0.9)),
    seed=st.integers(0, 99),
)
def test_each_label_holds_out_its_share_to_within_a_row_and_the_whole_to_within_rounding(
    counts: list[int], share: float, seed: int
) -> None:
    labels = [label for label, count in enumerate(counts, 1) for _ in range(count)]
    rows = [row(number, label) for number, label in enumerate(labels)]
    made = planned(rows, ALL, SplitChoice(share, seed))
    wanted = round(share * len(rows))
    if made is None:
        assert wanted in {0, len(rows)}
        return
    held = Counter(one.item.label for one in made.rows if one.split is Split.HELD_OUT)
    assert sum(held.values()) == wanted
    for label, count in enumerate(counts, 1):
        assert abs(held[label] - share * count) < 1


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=6), share=st.floats(0.05, 1.0))
def test_the_cap_is_found_or_refused_as_trying_every_cap_says(counts: list[int], share: float) -> None:
    fits = [cap for cap in range(1, max(counts) + 1) if cap <= share * sum(min(count, cap) for count in counts) + 1e-9]
    if len(counts) * share < 1 - 1e-9:
        with pytest.raises(JobError, match="labels"):
            label_cap(counts, share)
        return
    assert label_cap(counts, share) == max(fits)


@settings(max_examples=20)
@given(rows=corpora(), share=st.sampled_from((0.5, 0.7)), choice=CHOICES)
def test_a_balanced_snapshot_loses_training_rows_alone_and_no_label_has_more_than_its_share(
    rows: list[LabelledRow], share: float, choice: SplitChoice
) -> None:
    plain, even = planned(rows, ALL, choice), planned(rows, SnapshotFilter(balance=share), choice)
    if plain is None or even is None:
        return
    assert even.held_out() == plain.held_out()
    assert {one.item.content_hash for one in even.train()} <= {one.item.content_hash for one in plain.train()}
    for name in {one.item.dimension_id for one in even.train()}:
        found = Counter(one.item.label for one in even.train() if one.item.dimension_id == name)
        assert max(found.values()) <= share * sum(found.values()) + 1e-9


@settings(max_examples=15)
@given(first=corpora(20), more=corpora(20), choice=CHOICES, later=CHOICES, chosen=FILTERS)
def test_nothing_that_a_lineage_holds_out_nor_its_kin_is_ever_trained_on(
    first: list[LabelledRow], more: list[LabelledRow], choice: SplitChoice, later: SplitChoice, chosen: SnapshotFilter
) -> None:
    begun = planned(first, ALL, choice)
    if begun is None:
        return
    held = kept(begun)
    # Copies of held-out texts come in under another dimension, with one character changed.
    copies = [row(50_000 + n, 1 + n % 5, text=one.text[:50] + "换" + one.text[51:]) for n, one in enumerate(held)]
    grown = planned([*first, *more, *copies], chosen, later, held)
    if grown is None:
        return
    assert grown.held_out() == begun.held_out()
    assert all(one.split is Split.TRAIN for one in grown.rows)
    trained = {one.item.content_hash for one in grown.rows}
    assert trained.isdisjoint(grown.held_out())
    assert trained.isdisjoint(copy.item.content_hash for copy in copies)
    counted = grown.counts()
    assert sum(sum(labels.values()) for splits in counted.values() for labels in splits.values()) == len(grown.rows) + len(held)


def test_kin_of_kin_is_one_family_and_its_name_does_not_depend_on_the_order() -> None:
    text = essay("chain", 120)
    links = [text, text[:60] + essay("x", 60)[:12] + text[72:], text[:60] + essay("x", 60)[:12] + text[72:100] + essay("y", 40)[:20]]
    items = [row(n, 1, text=one).item for n, one in enumerate((*links, essay("other"), text))]
    names = families_of(items, DIMENSIONS)
    assert len(set(names)) == 2
    assert names[3] not in names[:3]
    assert families_of(items[::-1], DIMENSIONS) == names[::-1]
    assert families_of([], DIMENSIONS) == []
    assert families_of(items[:1], DIMENSIONS) == [items[0].content_hash[:16]]


def test_of_labels_as_old_the_same_one_counts_whatever_the_order() -> None:
    twice = [row(1, label, library=library, hours=2) for label, library in ((2, 1), (4, 2), (3, 3))]
    rest = [row(n, 1 + n % 5) for n in range(10, 40)]
    chosen = SnapshotFilter(agreed_only=False)
    found = [planned([*order, *rest], chosen, SplitChoice()) for order in (twice, twice[::-1], [*twice[1:], twice[0]])]
    assert all(one is not None and one.rows == found[0].rows for one in found if found[0] is not None)
    by_people = row(1, 1, library=None, review=ReviewState.LABELLED)
    made = planned([*twice, by_people, *rest], ALL, SplitChoice())
    assert made is not None
    assert [one.item.label for one in made.rows if one.item.external_id == "R1"] == [1]  # people's older word goes before libraries'


def test_a_lineage_whose_rows_are_all_held_out_or_near_them_has_nothing_to_train_on() -> None:
    rows = [row(n, 1 + n % 5) for n in range(30)]
    made = planned(rows, ALL, SplitChoice())
    assert made is not None
    held = kept(made)
    only = [one for one in rows if one.item.content_hash in made.held_out()]
    with pytest.raises(JobError, match="No row is left to train on") as caught:
        plan_snapshot(only, ALL, SplitChoice(), DIMENSIONS, held)
    assert "放宽筛选条件" in caught.value.messages["zh"]
    every = [frozen(one) for one in made.rows]
    left = plan_snapshot([*rows, row(99, 3)], ALL, SplitChoice(), DIMENSIONS, every)
    assert [one.item.external_id for one in left.rows] == ["R99"]
    assert left.left_out == ()
