"""Whatever stands in a URL, a page reads it, asks the workbench for something sound, and writes an address that means the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.review import Vote
from webapp.pages.address import JudgeAddress, RunAddress, label_of, parse_query, whole_number
from webapp.pages.desk_address import AgreementAddress, CompareAddress, LibraryAddress, ModelsAddress, RunsAddress
from webapp.pages.review_address import ReviewAddress, RowAddress, write_votes
from webapp.pages.training_address import MOST_LISTED, MakeChoices, TrainingAddress
from webapp.pages.translate import Language


@dataclass(frozen=True, slots=True)
class Page:
    """An address with the parameters that docs/UI.md names, and what its page asks the workbench for."""

    kind: Any
    names: tuple[str, ...]
    asked: Callable[[Any], Any] = lambda address: address


PAGES = {
    "judge": Page(JudgeAddress, ("mode", "sheet", "worksheet", "map.id", "map.text", "map.label", "panel", "library", "aggregator")),
    "run": Page(RunAddress, ("run", "dimension", "outcome", "label", "status", "search", "sort", "page", "item"), RunAddress.rows),
    "runs": Page(RunsAddress, ("page", "deleted", "base")),
    "compare": Page(CompareAddress, ("a", "b", "dimension", "first", "second", "all", "page"), CompareAddress.rows),
    "library": Page(
        LibraryAddress,
        ("library", "q", "like", "dimension", "label", "origin", "author", "standing", "page", "item", "uses", "promote"),
        LibraryAddress.rows,
    ),
    "agreement": Page(AgreementAddress, ("run", "dimension", "first", "second", "everyone")),
    "models": Page(ModelsAddress, ("panel", "edit", "version")),
    "review": Page(
        ReviewAddress, ("run", "view", "scope", "item", "dimension", "label", "outcome", "search", "people", "page", "votes"), ReviewAddress.queue
    ),
    "row": Page(RowAddress, ("item",)),
    "training": Page(
        TrainingAddress,
        ("job", "compare", "snapshot", "candidate", "panel", "judge", "tab", "rows", "split", "page", "archived", "preset", "set.rank", "library",
         "dimension", "origin", "author", "differing", "held", "examples", "balance", "seed", "lineage", "from"),
        lambda address: (address.make.filter, address.make.held_out, address.make.example_count, address.make.seed_number),
    ),
}  # fmt: skip
# What people and programs put where a number, a label or a choice is wanted.
ODD = (
    "", "0", "1", "-1", "--5", "-", "+3", " 3", "3 ", "3.5", "1e9", "nan", "inf", "-inf", "²", "٣", "三", "9" * 8, "9" * 9, "9" * 30, "True",
    "tie", "TIE", "first", "j:rules:3", "p:林:--4", "b::1", "j:a:b:c", "j:%2C:²,p:x:1", "\x00", "a\nb\n\nb", "%", "&", "#", "<script>",
)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def assert_sound(page: Page, query: str) -> None:
    """The page reads the address, asks for what can be asked, and its own address means the same."""
    address = page.kind.parse(query)
    asked = page.asked(address)
    again = page.kind.parse(address.url(Language.ZH).partition("?")[2])
    assert again == address
    assert page.asked(again) == asked


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_reads_any_value_and_writes_an_address_that_means_the_same(page: Page) -> None:
    for value in ODD:
        for name in page.names:
            assert_sound(page, "?" + urlencode({name: value}))
        assert_sound(page, urlencode(dict.fromkeys(page.names, value)))


@given(st.sampled_from(list(PAGES.values())), st.text(max_size=40), st.lists(TEXT, min_size=3, max_size=3))
def test_a_query_string_that_is_none_is_read_too(page: Page, text: str, values: list[str]) -> None:
    page.asked(page.kind.parse(text))
    assert_sound(page, urlencode(dict(zip(page.names, values, strict=False))))


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_other_language_has_the_same_address(page: Page) -> None:
    address = page.kind.parse("&".join(f"{name}=2" for name in page.names))
    zh, en = address.url(Language.ZH), address.url(Language.EN)
    assert (zh[:3], en[:3]) == ("/zh", "/en")
    assert zh[3:] == en[3:]


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_an_address_without_parameters_is_the_pages_beginning(page: Page) -> None:
    assert page.kind.parse("") == page.kind()
    assert page.kind.parse("?no=such&parameter=") == page.kind()
    assert "=" not in page.kind().url(Language.EN).replace("item=0", "")


@given(st.integers(-(10**8) + 1, 10**8 - 1))
@example(0)
def test_every_label_that_is_a_whole_number_can_stand_in_a_url(label: int) -> None:
    assert int(label_of(str(label))) == label


@pytest.mark.parametrize("text", ODD)
def test_what_is_taken_for_a_number_is_one(text: str) -> None:
    if label_of(text):
        assert str(int(text)).removeprefix("-") == text.lstrip("-").lstrip("0") or int(text) == 0
    assert 0 <= whole_number(text) < 2**31  # what every database can hold


@given(st.lists(st.builds(Vote, TEXT, st.integers(-9, 9)), max_size=12))
def test_a_cells_conditions_are_read_as_they_were_written_and_no_more_than_eight(votes: list[Vote]) -> None:
    assert ReviewAddress.parse(f"votes={'%2C'.join(map(_quoted, votes))}").votes == tuple(votes[:8])


def _quoted(vote: Vote) -> str:
    return urlencode({"": write_votes([vote])}).removeprefix("=")


def test_the_last_of_equal_parameters_counts() -> None:
    assert parse_query("?run=1&run=2&empty=") == {"run": "2", "empty": ""}


def test_the_number_of_people_wanted_stays_within_reason() -> None:
    assert [ReviewAddress.parse(f"people={text}").people for text in ("", "0", "3", "100000", "-2")] == [1, 1, 3, 99, 1]


@pytest.mark.parametrize(
    ("query", "held", "balance", "examples", "seed"),
    [
        ("", 0.2, 1.0, 0, 0),
        ("held=0.5&balance=0.6&examples=3&seed=17", 0.5, 0.6, 3, 17),
        ("held=2&balance=2&examples=999&seed=-1", 0.9, 1.0, 50, 0),
        ("held=-1&balance=0&examples=x", 0.0, 1.0, 0, 0),
        ("held=nan&balance=inf", 0.2, 1.0, 0, 0),
        ("held=很多&balance=-3", 0.2, 1.0, 0, 0),
    ],
)
def test_shares_and_counts_of_a_snapshot_stay_within_their_bounds(
    query: str, held: float, balance: float, examples: int, seed: int
) -> None:
    make = TrainingAddress.parse(query).make
    assert (make.held_out, make.filter.balance, make.example_count, make.seed_number) == (held, balance, examples, seed)


def test_only_so_many_libraries_and_authors_stand_in_a_url_each_once() -> None:
    many = "\n".join(str(number) for number in range(1, 200))
    make = TrainingAddress.parse(urlencode({"library": many, "author": "林\n林\n\n王"})).make
    assert make.libraries == tuple(range(1, MOST_LISTED + 1))
    assert make.authors == ("林", "王")
    assert MakeChoices(differing=True).filter.agreed_only is False


def test_a_search_is_asked_for_without_the_blanks_around_it() -> None:
    assert RunAddress.parse("search=+%E6%98%A5+").rows().search == "春"
    assert ReviewAddress.parse("search=%20x%20").queue().search == "x"
    assert LibraryAddress.parse("q=%20x%20&like=%20y%20").rows().search == "x"


def test_half_a_cell_of_a_comparison_is_none() -> None:
    half = CompareAddress.parse("a=1&b=2&first=3").rows()
    assert (half.first, half.second, half.only_different) == (None, None, True)
    odd = CompareAddress.parse("a=1&b=2&first=3&second=--3").rows()
    assert (odd.first, odd.second, odd.only_different) == (None, None, True)


def test_an_opened_example_shows_its_first_uses_and_closes_the_offer_of_corrections() -> None:
    address = LibraryAddress(library=1, item=4, uses=3, promote=7)
    assert address.moved(item=5) == LibraryAddress(library=1, item=5)
    assert address.moved(promote=8) == LibraryAddress(library=1, item=4, uses=3, promote=8)


def test_another_side_of_a_snapshot_begins_at_its_first_page_and_another_job_keeps_it() -> None:
    address = TrainingAddress(snapshot=2, rows=True, page=5)
    assert address.moved(job=3).page == 5
    assert address.moved(snapshot=4).page == 1
    assert address.moved(make=MakeChoices(seed="1")).page == 1
