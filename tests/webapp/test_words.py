"""Words and figures for people: the visitor's language, numbers, lengths of time, and replies of whatever form."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dimensions import load_dimensions
from core.errors import NotFound, SettingsError
from core.settings import ASSETS
from core.types import DimensionKind, Judgement, JudgementStatus
from webapp.pages.figures import bars, lone_votes, outliers, spread_of
from webapp.pages.render import count, decimal, duration, load_renderer, moment, size
from webapp.pages.reply import readable_reply
from webapp.pages.translate import Language, load_translator, preferred_language

EN, ZH = load_translator(Language.EN), load_translator(Language.ZH)
DIMENSIONS = load_dimensions(ASSETS / "dimensions")
FLUENCY, CHOICE = DIMENSIONS["fluency"], DIMENSIONS["choice"]
NAMES = ["faults", "suspicious", "kind", "places", "fault", "chance", "coverage", "neighbours", "nearest", "excerpt", "at", "weight"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=8,
)


# -- the language


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("en;q=0.0", Language.ZH), ("en;q=0.000, fr", Language.ZH), ("en;q=-1", Language.ZH), ("en;q=nan", Language.ZH),
        ("zh;q=0, en;q=0.1", Language.EN), ("en, zh", Language.EN), ("zh, en", Language.ZH), ("EN-us", Language.EN), (",,;;q=,", Language.ZH),
        ("zh-Hant-TW;q=0.9, en-GB;q=0.95", Language.EN), ("english", Language.ZH), ("en ; q=0.5 , zh;q=0.4", Language.EN),
    ],
)  # fmt: skip
def test_a_language_that_is_not_wanted_is_not_given(header: str, expected: Language) -> None:
    assert preferred_language("", header) is expected


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_header_gives_a_language(cookie: str, header: str) -> None:
    assert preferred_language(cookie, header) in set(Language)
    assert preferred_language("en", header) is Language.EN


def test_an_error_is_told_in_the_language_of_the_page_or_in_any() -> None:
    both = NotFound("There is none.", "没有。")
    assert (EN.error(both), ZH.error(both)) == ("There is none.", "没有。")
    assert ZH.error(NotFound("There is none.")) == "There is none."


def test_a_text_keeps_its_braces_where_nothing_is_filled_in_and_takes_any_value() -> None:
    assert EN("api.invalid", faults="{x} %s {0}") == "The request cannot be used: {x} %s {0}"
    with pytest.raises(KeyError):
        EN("no.such_key")


@pytest.mark.parametrize("language", Language)
def test_everything_in_a_template_is_escaped(language: Language) -> None:
    evil = '<img src=x onerror="alert(1)">'
    page = load_renderer(language)("login.html", told=evil, name="", given=evil, after=f'/"{evil}', form=True)
    assert "<img" not in page
    assert f'lang="{language.tag}"' in page


# -- figures


@given(st.integers(0, 10**15))
def test_a_count_is_the_number_with_commas(number: int) -> None:
    assert int(count(number).replace(",", "")) == number
    assert re.fullmatch(r"\d{1,3}(,\d{3})*", count(number))


@given(st.floats(-1e6, 1e6), st.integers(0, 4))
def test_a_decimal_is_near_its_number(number: float, digits: int) -> None:
    shown = float(decimal(number, digits).replace(",", ""))
    assert abs(shown - number) <= (0.5 if abs(number) >= 100 else 0.5 * 10**-digits) + 1e-9


@given(st.floats(0, 1e6))
def test_a_length_of_time_is_told_to_its_second_unit(seconds: float) -> None:
    units = {"h": 3600, "min": 60, "s": 1}
    shown = duration(EN, seconds)
    if shown == "under 1 s":
        assert seconds < 1
        return
    parts = re.findall(r"(\d+) (h|min|s)\b", shown)
    told = sum(int(number) * units[unit] for number, unit in parts)
    assert abs(told - seconds) <= (60 if "h" in shown else 0.5)
    assert all(int(number) < 60 for number, unit in parts if unit != "h")


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024**2, "1.0 MiB"), (5 * 1024**3, "5120.0 MiB")]
)
def test_a_size_has_the_unit_that_fits(number: int, shown: str) -> None:
    assert size(number) == shown


def test_a_moment_has_its_date_where_it_is_not_todays() -> None:
    now = datetime.now(UTC)
    assert moment(ZH, now).startswith("今天")
    past = now - timedelta(days=400)
    assert moment(EN, past) == f"{past.astimezone():%Y-%m-%d %H:%M}"


# -- replies


@given(JSON)
def test_a_reply_of_any_form_can_be_read_in_both_languages(value: object) -> None:
    for raw in (json.dumps(value), json.dumps({"faults": value, "suspicious": [value, {"fault": value, "chance": value}]})):
        for t in (EN, ZH):
            assert isinstance(readable_reply(t, raw), str)


@given(st.text(max_size=30).filter(lambda text: not text.startswith("{")))
def test_prose_stays_as_the_model_wrote_it(text: str) -> None:
    assert readable_reply(EN, text) == text


# -- votes

VOTES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 5))


@given(VOTES)
def test_who_stands_alone_is_two_steps_from_everybody_and_the_others_are_close(votes: dict[str, int]) -> None:
    expected = set()
    for judge, own in votes.items():
        others = [label for other, label in votes.items() if other != judge]
        if len(others) >= 2 and all(abs(own - label) >= 2 for label in others) and max(others) - min(others) <= 1:
            expected.add(judge)
    assert lone_votes(votes, FLUENCY) == expected
    assert len(expected) <= 1


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 1)))
def test_on_two_labels_one_against_all_stands_alone(votes: dict[str, int]) -> None:
    assert CHOICE.kind is DimensionKind.NOMINAL
    alone = lone_votes(votes, CHOICE)
    assert len(alone) == (1 if len(votes) >= 3 and min(list(votes.values()).count(label) for label in (0, 1)) == 1 else 0)


def test_an_answer_without_a_vote_neither_stands_alone_nor_keeps_company() -> None:
    def says(judge: str, label: int | None) -> Judgement:
        return Judgement(judge, 1, JudgementStatus.ABSTAINED if label is None else JudgementStatus.OK, {}, label)

    assert outliers([says("a", 1), says("b", 4), says("c", 4), says("d", None)], FLUENCY) == {"a"}
    assert outliers([says("a", 1), says("b", 4), says("d", None)], FLUENCY) == frozenset()


@given(st.lists(st.integers(1, 5), max_size=5), st.none() | st.floats(1, 5))
def test_a_spread_lies_within_the_scale(votes: list[int], expected: float | None) -> None:
    found = spread_of(votes, expected, FLUENCY)
    assert (found is None) == (not votes)
    if found is not None:
        assert (found.left, found.left + found.width) == (pytest.approx((min(votes) - 1) * 25), pytest.approx((max(votes) - 1) * 25))
        assert found.mark is None or 0 <= found.mark <= 100


@given(st.dictionaries(st.integers(1, 5), st.floats(0, 1), min_size=1), st.integers(1, 5))
def test_every_label_has_its_bar_and_one_stands_out(shares: dict[int, float], marked: int) -> None:
    drawn = bars(shares, FLUENCY, marked)
    assert [bar.label for bar in drawn] == list(FLUENCY.labels)
    assert [bar.percent for bar in drawn] == [100 * shares.get(label, 0) for label in FLUENCY.labels]
    assert [bar.label for bar in drawn if bar.top] == [marked]
    assert all(2 <= bar.height <= 100 for bar in drawn)
    assert bars({}, FLUENCY) == ()


def test_a_missing_translation_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "en.yaml").write_bytes(b"\xff\xfe\x00")
    for language in Language:
        with pytest.raises(SettingsError, match=f"{language}.yaml") as told:
            load_translator(language, tmp_path)
        assert "翻译文件" in told.value.messages["zh"]
