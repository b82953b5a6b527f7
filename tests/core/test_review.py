"""What people's acts add up to, and how the audit share is drawn and mixed in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.judging.aggregation import median
from core.review import (
    AUDIT_SHARE,
    NO_VERDICT_ERROR,
    VERDICT,
    Distribution,
    LabelEvent,
    Mixture,
    PairAgreement,
    QueueScope,
    Rater,
    ReviewState,
    Vote,
    audit_key,
    expected_error,
    fold,
)  # fmt: skip
from core.types import CorrectionKind, DimensionKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LABEL, SKIP, UNDO, ADJUDICATION = CorrectionKind


def acts(*said: tuple[str, CorrectionKind, int | None], blind: bool = False) -> list[LabelEvent]:
    """Make events with ids from 1; the number of an UNDO is the id it takes back."""
    return [
        LabelEvent(
            place,
            7,
            1,
            kind,
            None if kind in {UNDO, SKIP} else number,
            None,
            author,
            "",
            "",
            (),
            blind,
            False,
            NOW,
            number if kind is UNDO else None,
        )
        for place, (author, kind, number) in enumerate(said, 1)
    ]


@pytest.mark.parametrize(
    ("said", "state", "label", "people"),
    [
        ([], ReviewState.OPEN, None, 0),
        ([("王", LABEL, 3)], ReviewState.LABELLED, 3, 1),
        ([("王", LABEL, 3), ("王", LABEL, 4)], ReviewState.LABELLED, 4, 1),
        ([("王", LABEL, 3), ("李", LABEL, 3)], ReviewState.LABELLED, 3, 2),
        ([("王", LABEL, 3), ("李", LABEL, 4)], ReviewState.CONFLICT, None, 2),
        ([("王", LABEL, 3), ("李", LABEL, 4), ("王", LABEL, 4)], ReviewState.LABELLED, 4, 2),
        ([("王", LABEL, 3), ("李", LABEL, 4), ("李", UNDO, 2)], ReviewState.LABELLED, 3, 1),
        ([("王", LABEL, 3), ("王", LABEL, 5), ("王", UNDO, 2)], ReviewState.LABELLED, 3, 1),
        ([("王", SKIP, None)], ReviewState.OPEN, None, 0),
        ([("王", LABEL, 3), ("李", LABEL, 4), ("张", ADJUDICATION, 5)], ReviewState.SETTLED, 5, 2),
        ([("王", LABEL, 3), ("李", LABEL, 4), ("张", ADJUDICATION, 5), ("张", UNDO, 3)], ReviewState.CONFLICT, None, 2),
    ],
)
def test_what_is_true_after_what_people_did(
    said: list[tuple[str, CorrectionKind, int | None]], state: ReviewState, label: int | None, people: int
) -> None:
    found = fold(acts(*said))
    assert (found.state, found.label, found.labellers) == (state, label, people)
    assert (found.event_id is None) == (label is None)


def test_a_skip_stands_until_the_same_person_labels() -> None:
    assert [person.skipped for person in fold(acts(("王", SKIP, None), ("李", LABEL, 2))).people] == [True, False]
    assert [person.skipped for person in fold(acts(("王", SKIP, None), ("王", LABEL, 2))).people] == [False]


def test_the_blind_label_stays_when_a_person_changes_their_mind() -> None:
    first = acts(("王", LABEL, 4), blind=True)
    second = acts(("王", LABEL, 4), ("王", LABEL, 2))[1:]
    (person,) = fold(first + second).people
    assert (person.label, person.blind_label) == (2, 4)


def test_the_expected_error_is_in_label_steps() -> None:
    shares = {1: 0.25, 2: 0.25, 5: 0.5}
    assert expected_error(2, shares) == pytest.approx(0.25 + 1.5)
    assert expected_error(5, shares, DimensionKind.NOMINAL) == pytest.approx(0.5)
    assert expected_error(None, {}) == expected_error(3, {}) == NO_VERDICT_ERROR


def test_the_audit_share_is_random_repeatable_and_different_in_every_run() -> None:
    keys = {item_id: audit_key(4, item_id) for item_id in range(1, 20_001)}
    drawn = [item_id for item_id, key in keys.items() if key is not None]
    assert len(drawn) / 20_000 == pytest.approx(AUDIT_SHARE, abs=0.01)
    assert keys == {item_id: audit_key(4, item_id) for item_id in keys}
    ordered = sorted(drawn, key=lambda item_id: keys[item_id] or 0)
    half = ordered[: len(ordered) // 2]
    assert sum(half) / len(half) == pytest.approx(10_000, rel=0.05)  # the order has nothing to do with the place
    other = {item_id for item_id in keys if audit_key(5, item_id) is not None}
    assert len(other & set(drawn)) / len(drawn) == pytest.approx(AUDIT_SHARE, abs=0.03)


@given(plain=st.integers(0, 60), audited=st.integers(0, 60), done=st.integers(0, 200))
def test_a_mixture_lists_every_row_once_and_finds_its_place(plain: int, audited: int, done: int) -> None:
    mixture = Mixture(plain, audited, AUDIT_SHARE, done)
    total = plain + audited
    before = [mixture.audited_before(place) for place in range(total + 1)]
    assert (before[0], before[-1]) == (0, audited)
    steps = [after - earlier for earlier, after in pairwise(before)]
    assert set(steps) <= {0, 1}
    places = {True: [place for place, step in enumerate(steps) if step], False: [place for place, step in enumerate(steps) if not step]}
    for is_audit, found in places.items():
        assert [mixture.place_of(index, audited=is_audit) for index in range(len(found))] == found


def test_whoever_always_takes_the_first_row_meets_the_share() -> None:
    plain, audited, taken = 850, 150, []
    for done in range(400):
        is_audit = Mixture(plain, audited, AUDIT_SHARE, done).audited_before(1) == 1
        taken.append(is_audit)
        plain, audited = plain - (not is_audit), audited - is_audit
    assert sum(taken) == 60
    assert all(5 <= sum(taken[start : start + 40]) <= 7 for start in range(0, 400, 40))


PEOPLE = ("王", "李", "张")
ACTS = st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from([LABEL, LABEL, SKIP, ADJUDICATION]), st.integers(1, 3)), max_size=8)


@settings(max_examples=30)
@given(ACTS, st.integers(0, 8))
def test_what_is_taken_back_was_never_done(said: list[tuple[str, CorrectionKind, int | None]], place: int) -> None:
    place = min(place, max(len(said) - 1, 0))
    undone = acts(*said, *([("王", UNDO, place + 1)] if said else []))
    never = [event for event in acts(*said) if event.id != place + 1]
    assert fold(undone) == fold(never)


@settings(max_examples=30)
@given(ACTS, st.randoms())
def test_only_the_order_of_each_persons_own_acts_counts(said: list[tuple[str, CorrectionKind, int | None]], draw: object) -> None:
    """Two machines may store what two people did at the same moment in either order."""
    said = [act for act in said if act[1] is not ADJUDICATION]
    queues = {person: [act for act in said if act[0] == person] for person in PEOPLE}
    mixed = []
    while any(queues.values()):
        person = draw.choice([name for name, waiting in queues.items() if waiting])  # type: ignore[attr-defined]
        mixed.append(queues[person].pop(0))
    one, other = fold(acts(*said)), fold(acts(*mixed))
    assert (one.state, one.label, one.labellers) == (other.state, other.label, other.labellers)
    held = [{(person.author, person.label, person.blind_label, person.skipped) for person in state.people} for state in (one, other)]
    assert held[0] == held[1]


@settings(max_examples=30)
@given(ACTS)
def test_a_row_has_a_label_exactly_where_people_agree_or_one_settled_it(said: list[tuple[str, CorrectionKind, int | None]]) -> None:
    last = {author: number for author, kind, number in said if kind is LABEL}
    settled = [number for _, kind, number in said if kind is ADJUDICATION]
    expected = settled[-1] if settled else next(iter(last.values())) if len(set(last.values())) == 1 else None
    found = fold(acts(*said))
    assert (found.label, found.labellers) == (expected, len(last))
    assert (found.state is ReviewState.CONFLICT) == (not settled and len(set(last.values())) > 1)


def test_a_label_given_after_a_settlement_is_kept_and_counts_once_that_is_taken_back() -> None:
    said = [("王", LABEL, 3), ("李", LABEL, 4), ("张", ADJUDICATION, 5), ("王", LABEL, 4)]
    found = fold(acts(*said))
    assert (found.state, found.label, found.people[0].label) == (ReviewState.SETTLED, 5, 4)
    after = fold(acts(*said, ("张", UNDO, 3)))
    assert (after.state, after.label) == (ReviewState.LABELLED, 4)


def test_an_audit_label_stays_one_when_the_person_labels_again_elsewhere() -> None:
    first, second = acts(("王", LABEL, 3), ("王", LABEL, 4))
    assert [person.audit for person in fold([replace(first, audit=True), second]).people] == [True]
    assert [person.audit for person in fold([first, second]).people] == [False]


@given(st.dictionaries(st.integers(1, 9), st.floats(0.01, 1), min_size=1, max_size=6), st.integers(1, 9))
def test_no_label_has_less_expected_error_than_a_median_and_a_sure_one_none(raw: dict[int, float], shift: int) -> None:
    shares = {label: share / sum(raw.values()) for label, share in raw.items()}
    best = min(expected_error(label, shares) for label in shares)
    assert expected_error(median(shares), shares) == pytest.approx(best)
    assert expected_error(shift, {shift: 1.0}) == expected_error(shift, {shift: 1.0}, DimensionKind.NOMINAL) == 0
    moved = {label + shift: share for label, share in shares.items()}
    assert expected_error(median(shares) + shift, moved) == pytest.approx(best)  # steps, wherever the scale begins
    assert 0 <= expected_error(shift, shares, DimensionKind.NOMINAL) <= 1
    assert expected_error(None, shares) > expected_error(9, {1: 1.0})


def test_a_cell_of_a_table_opens_the_rows_that_it_counts() -> None:
    pair = PairAgreement(Rater("glm"), Rater("王", person=True), "fluency", (1, 2, 5), ((0,) * 3,) * 3, 0, *([None] * 6), blind=False)
    found = pair.cell(2, 0)
    assert found.votes == (Vote("glm", 5, person=False, blind=False), Vote("王", 1, person=True, blind=False))
    assert (found.dimension_id, found.scope) == ("fluency", QueueScope.ANY)
    assert pair.query().votes == ()
    assert Distribution(Rater(VERDICT), "fluency", {2: 9}).query(2).votes == (Vote(VERDICT, 2),)
