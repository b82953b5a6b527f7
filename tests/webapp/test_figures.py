"""Outliers, spreads and distributions as the run page draws them."""

from __future__ import annotations

import pytest

from core.types import Decision, Judgement, JudgementStatus, Outcome
from tests.webapp.fake import BY_ID, PANEL
from webapp.pages.figures import ChipKind, bars, chips, outliers, spread

FLUENCY, CHOICE = BY_ID["fluency"], BY_ID["choice"]


def votes(*labels: int | None) -> list[Judgement]:
    status = {True: JudgementStatus.ABSTAINED, False: JudgementStatus.OK}
    return [Judgement(judge.id, 1, status[label is None], label=label) for judge, label in zip(PANEL.judges, labels, strict=False)]


@pytest.mark.parametrize(
    ("labels", "alone"),
    [
        ((3, 3, 4, 1), [3]),
        ((5, 3, 3, 5), []),
        ((2, 4, 3, 4), []),
        ((4, 2, 4, 4), [1]),
        ((3, 4, 3, 5), []),
        ((1, 1, 3, 2), []),
        ((5, 5, 5, 5), []),
        ((1, 5, None, None), []),
        ((1, 5, 5, None), [0]),
        ((1, 1, 5, 5), []),
    ],
)
def test_an_outlier_stands_two_steps_from_others_who_agree(labels: tuple[int | None, ...], alone: list[int]) -> None:
    assert outliers(votes(*labels), FLUENCY) == {PANEL.judges[place].id for place in alone}


@pytest.mark.parametrize(("labels", "alone"), [((1, 0, 0, 0), [0]), ((1, 1, 0, 0), []), ((1, 0, None, None), []), ((1, 1, 1, 1), [])])
def test_on_a_nominal_scale_one_against_all_is_an_outlier(labels: tuple[int | None, ...], alone: list[int]) -> None:
    assert outliers(votes(*labels), CHOICE) == {PANEL.judges[place].id for place in alone}


def test_chips_keep_the_panels_order_and_say_who_has_not_answered() -> None:
    drawn = chips(PANEL, list(reversed(votes(3, None, 3))), FLUENCY, "en")
    assert [chip.kind for chip in drawn] == [ChipKind.VOTE, ChipKind.ABSTAINED, ChipKind.VOTE, ChipKind.PENDING]
    failed = Judgement(PANEL.judges[0].id, 1, JudgementStatus.FAILED)
    assert chips(PANEL, [failed], FLUENCY, "en")[0].kind is ChipKind.UNREAD
    assert [chip.judge for chip in drawn] == [judge.named("en") for judge in PANEL.judges]


def test_a_spread_runs_from_the_lowest_to_the_highest_vote_with_a_mark_at_the_expectation() -> None:
    decision = Decision(3, 2.5, {}, Outcome.MAJORITY, 0.1, "pooled_median")
    drawn = spread(votes(3, 2, None, 4), decision, FLUENCY)
    assert drawn is not None
    assert (drawn.left, drawn.width, drawn.mark) == (25.0, 50.0, 37.5)
    assert spread(votes(None, None), None, FLUENCY) is None
    undecided = spread(votes(5), None, FLUENCY)
    assert undecided is not None
    assert (undecided.left, undecided.width, undecided.mark) == (100.0, 0.0, None)


def test_bars_cover_every_label_and_mark_the_verdict_even_where_it_is_not_the_mode() -> None:
    drawn = bars({1: 0.05, 2: 0.35, 3: 0.2, 4: 0.3, 5: 0.1}, FLUENCY, marked=3)
    assert [bar.label for bar in drawn] == [1, 2, 3, 4, 5]
    assert [bar.label for bar in drawn if bar.top] == [3]
    assert drawn[1].percent == pytest.approx(35)
    assert bars({}, FLUENCY) == ()
    assert max(bar.height for bar in bars({1: 0.5, 2: 0.25}, FLUENCY, full=0.5)) == pytest.approx(100)
