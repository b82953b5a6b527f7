"""What people's acts add up to, and how the audit share is drawn and mixed in."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.review import AUDIT_SHARE, NO_VERDICT_ERROR, LabelEvent, Mixture, ReviewState, audit_key, expected_error, fold
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
