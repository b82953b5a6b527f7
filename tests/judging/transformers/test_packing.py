"""Packs hold every row once within the budget; prefixes are found where rows share them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.judging.transformers.packing import group_by_prefix, plan_packs, split_pack

LENGTHS = st.lists(st.integers(1, 500), max_size=60)


@given(LENGTHS, st.integers(1, 1000))
def test_packs_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    packs = plan_packs(lengths, budget)
    assert sorted(index for pack in packs for index in pack) == list(range(len(lengths)))
    assert all(len(pack) == 1 or sum(lengths[index] for index in pack) <= budget for pack in packs)
    assert all(packs)


def test_packs_are_filled_about_equally_so_that_none_runs_half_empty() -> None:
    packs = plan_packs([547] * 128, 16_384)
    assert len(packs) == 5
    assert {len(pack) for pack in packs} == {25, 26}


def test_halves_of_a_pack_share_its_long_rows() -> None:
    assert split_pack([9, 8, 7, 6, 5]) == ([9, 7, 5], [8, 6])


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=12),
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4)),
)
def test_rows_begin_with_their_prefix_and_keep_a_token_of_their_own(rows: list[list[int]], known: list[list[int]]) -> None:
    groups = group_by_prefix(rows, [tuple(prefix) for prefix in known], shortest=2)
    assert sorted(index for group in groups for index in group.rows) == list(range(len(rows)))
    for group in groups:
        for index in group.rows:
            assert tuple(rows[index][: len(group.prefix)]) == group.prefix
            assert len(rows[index]) > len(group.prefix)


def test_the_longest_known_prefix_wins_and_the_rest_share_what_they_can() -> None:
    rows = [(1, 2, 3, 4), (1, 2, 3, 9), (1, 2, 8, 8), (5, 6, 7, 0), (5, 6, 7, 1)]
    groups = {group.prefix: group.rows for group in group_by_prefix(rows, [(1, 2), (1, 2, 3)], shortest=3)}
    assert groups == {(1, 2, 3): (0, 1), (1, 2): (2,), (5, 6, 7): (3, 4)}


def test_a_single_row_and_a_short_beginning_share_nothing() -> None:
    assert [group.prefix for group in group_by_prefix([(1, 2, 3)], [], shortest=1)] == [()]
    assert [group.prefix for group in group_by_prefix([(1, 2, 3), (1, 5, 6)], [], shortest=2)] == [()]


@given(st.lists(st.integers(1, 20), max_size=12), st.integers(20, 60))
def test_no_fewer_packs_could_hold_the_rows_by_much(lengths: list[int], budget: int) -> None:
    """Rows of at most a budget each: two packs that would go into one together are never both left."""
    packs = plan_packs(lengths, budget)
    assert len(packs) <= 2 * -(-sum(lengths) // budget)
    assert packs == plan_packs(lengths, budget)


@given(st.lists(st.integers(), min_size=2, max_size=9))
def test_halves_hold_every_row_once_and_each_has_one(pack: list[int]) -> None:
    one, other = split_pack(pack)
    assert one
    assert other
    assert sorted([*one, *other]) == sorted(pack)
