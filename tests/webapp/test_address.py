"""A page's URL holds its state: written and read back it is the same, and no URL breaks a page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.queries import RowSort
from core.types import JudgementStatus, Outcome
from webapp.pages.address import FIRST, JudgeAddress, Mode, RunAddress
from webapp.pages.translate import Language

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
RUNS = st.builds(
    RunAddress,
    run=st.integers(0, 10**8),
    item=st.sampled_from(["", FIRST, "17"]),
    dimension=TEXT,
    outcome=st.none() | st.sampled_from(Outcome),
    status=st.none() | st.sampled_from(JudgementStatus),
    label=st.sampled_from(["", "0", "5", "-1"]),
    search=TEXT,
    sort=st.sampled_from(RowSort),
    page=st.integers(1, 10**6),
)
JUDGES = st.builds(
    JudgeAddress,
    mode=st.sampled_from(Mode),
    sheet=TEXT,
    worksheet=TEXT,
    mapping=st.dictionaries(st.sampled_from(["id", "text", "label"]), TEXT),
    panel=TEXT,
    library=st.integers(0, 10**8),
    aggregator=TEXT,
)


def query(url: str) -> str:
    return url.partition("?")[2]


@given(RUNS)
def test_a_run_address_survives_its_url(address: RunAddress) -> None:
    assert RunAddress.parse(query(address.url(Language.ZH))) == address


@given(JUDGES)
def test_a_judge_address_survives_its_url(address: JudgeAddress) -> None:
    assert JudgeAddress.parse(query(address.url(Language.EN))) == address


@given(st.text(max_size=80))
def test_no_query_string_breaks_a_page(text: str) -> None:
    assert RunAddress.parse(text).rows().page >= 0
    JudgeAddress.parse(text)


HOSTILE = ["page=-3", "page=99999999999999999999", "run=٣", "label=--", "sort=drop", "outcome=&status=x", "page=1e9"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_cannot_be_read_falls_back(hostile: str) -> None:
    assert RunAddress.parse(f"?{hostile}") == RunAddress()


def test_a_chinese_address_reads_well_and_leaves_defaults_out() -> None:
    assert RunAddress(run=3).url(Language.ZH) == "/zh/run?run=3"
    address = RunAddress(run=3, dimension="fluency", sort=RowSort.DISAGREEMENT, page=2)
    assert address.url(Language.EN) == "/en/run?run=3&dimension=fluency&sort=disagreement&page=2"


def test_another_filter_goes_back_to_the_first_page_and_closes_the_row() -> None:
    address = RunAddress(run=3, item="17", page=4)
    assert address.moved(outcome=Outcome.TIE) == RunAddress(run=3, outcome=Outcome.TIE)
    assert address.moved(item="18") == RunAddress(run=3, item="18", page=4)
    assert address.moved(sort=RowSort.LABEL, item=FIRST) == RunAddress(run=3, sort=RowSort.LABEL, item=FIRST)


def test_the_workbench_is_asked_for_what_the_address_says() -> None:
    rows = RunAddress.parse("run=3&label=0&search=+x+&sort=disagreement&page=3&status=refused").rows()
    assert (rows.label, rows.search, rows.descending, rows.page, rows.status) == (0, "x", True, 2, JudgementStatus.REFUSED)
