"""The desk pages' URLs hold their state: written and read back they are the same, and none breaks a page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.desks import Standing
from core.types import Origin
from webapp.pages.desk_address import LIKE_CHARACTERS, AgreementAddress, CompareAddress, LibraryAddress, ModelsAddress, RunsAddress
from webapp.pages.translate import Language

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.integers(0, 10**8)
LABEL = st.sampled_from(["", "0", "5", "-1"])
PAGE = st.integers(1, 10**6)
LIBRARIES = st.builds(
    LibraryAddress, library=NUMBER, q=TEXT, like=TEXT, dimension=TEXT, label=LABEL, origin=st.none() | st.sampled_from(Origin),
    author=TEXT, standing=st.sampled_from(Standing), page=PAGE, item=NUMBER, uses=PAGE, promote=NUMBER,
)  # fmt: skip
COMPARISONS = st.builds(CompareAddress, a=NUMBER, b=NUMBER, dimension=TEXT, first=LABEL, second=LABEL, all=st.booleans(), page=PAGE)
AGREEMENTS = st.builds(AgreementAddress, run=NUMBER, dimension=TEXT, first=TEXT, second=TEXT, everyone=st.booleans())
OTHERS = st.builds(RunsAddress, page=PAGE, base=NUMBER, deleted=st.booleans()) | st.builds(
    ModelsAddress, panel=TEXT, edit=st.booleans(), version=TEXT
)


@given(LIBRARIES | COMPARISONS | AGREEMENTS | OTHERS)
def test_an_address_comes_back_from_its_url(
    address: LibraryAddress | CompareAddress | AgreementAddress | RunsAddress | ModelsAddress,
) -> None:
    assert type(address).parse(address.url(Language.EN).partition("?")[2]) == address


@given(TEXT)
@pytest.mark.parametrize("kind", [LibraryAddress, CompareAddress, AgreementAddress, RunsAddress, ModelsAddress])
def test_no_query_string_breaks_a_page(
    kind: type[LibraryAddress | CompareAddress | AgreementAddress | RunsAddress | ModelsAddress], text: str
) -> None:
    names = ["library", "label", "page", "item", "a", "b", "first", "run", "base", "deleted", "standing", "origin", "edit"]
    kind.parse("&".join(f"{name}={text}" for name in names))


def test_a_change_of_the_list_goes_back_to_its_beginning() -> None:
    address = LibraryAddress(library=2, page=4, item=7, uses=3)
    assert address.moved(label="5") == LibraryAddress(library=2, label="5", uses=3)
    assert address.moved(item=9) == LibraryAddress(library=2, page=4, item=9)
    assert CompareAddress(1, 2, page=3).moved(dimension="choice").page == 1


def test_only_the_beginning_of_a_pasted_text_stands_in_the_url() -> None:
    assert len(LibraryAddress.parse("like=" + "字" * 5_000).like) == LIKE_CHARACTERS


def test_similarity_is_of_active_examples_only_and_a_cell_lists_equal_verdicts_too() -> None:
    assert LibraryAddress(like="x", standing=Standing.RETIRED).rows().like == ""
    assert CompareAddress(1, 2).rows().only_different
    cell = CompareAddress(1, 2, first="3", second="3").rows()
    assert (cell.only_different, cell.first, cell.second) == (False, 3, 3)
