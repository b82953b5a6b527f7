"""Two runs side by side: whatever the two sheets are, each row is matched once, as well as it can be, and counted as listed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.desks import CompareQuery, CompareRow
from core.errors import NotFound
from core.types import Run, SheetRow, SourceRef
from db.engine import make_engine
from db.migrate import upgrade
from db.store import SqlStore
from tests.db.build import DIMENSIONS, add_library, decision, panel
from webapp.services.comparing import KEPT_MATCHES, Matcher, compare
from webapp.services.run_desk import RunDesk

EVERYTHING = CompareQuery(only_different=False, page_size=200)
NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of an invented sheet; `label` is its verdict (None: there is none), `gold` the sheet's own label."""

    id: str
    dimension: str
    text: str
    label: int | None
    gold: int | None = None


LABEL = st.none() | st.integers(1, 5)
ROW = st.builds(Row, st.sampled_from("abcd"), st.sampled_from(["fluency", "normativity"]), st.sampled_from("一二三"), LABEL, LABEL)
ROWS = st.lists(ROW, max_size=9)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    engine = make_engine(f"sqlite:///{tmp_path_factory.mktemp('comparing') / 'pingpan.db'}")
    upgrade(engine)
    opened = SqlStore(engine)
    add_library(opened)
    yield opened
    opened.close()


def made(store: SqlStore, rows: Sequence[Row]) -> Run:
    """A finished run with these verdicts over a sheet of these rows."""
    number = next(NUMBERS)
    sheet_rows = [SheetRow(n, row.id, row.dimension, "", row.text, row.gold, SourceRef("a", "", n + 2)) for n, row in enumerate(rows)]
    facts = {"name": "a.csv", "format": "csv", "encoding": "", "worksheet": ""}
    sheet = store.add_sheet(sha256=f"{number:064x}", columns=[], mapping={}, rows=sheet_rows, **facts)
    return decided(store, sheet.id, rows)


def decided(store: SqlStore, sheet_id: int, rows: Sequence[Row]) -> Run:
    run = store.create_run(sheet_id, store.libraries()[0].id, panel(), "majority")
    store.claim(run.id, "w")
    verdicts = {item.id: decision(rows[item.position].label) for item in store.items(sheet_id) if rows[item.position].label is not None}
    store.save_verdicts(run.id, "majority", verdicts)
    store.finish(run.id, "w")
    return store.run(run.id)


def content(row: Row) -> tuple[str, str]:
    return row.dimension, row.text


def key(row: CompareRow, rows: Sequence[Row], other: Sequence[Row]) -> tuple[Row, Row]:
    return rows[row.first_item.position], other[row.second_item.position]


@settings(max_examples=8)
@given(ROWS, ROWS)
def test_rows_are_matched_once_and_as_well_as_they_can_be(store: SqlStore, mine: list[Row], theirs: list[Row]) -> None:
    found = RunDesk(store, DIMENSIONS).compare(made(store, mine).id, made(store, theirs).id, EVERYTHING)
    places = [(row.first_item.position, row.second_item.position) for row in found.rows]
    assert [place for place, _ in places] == sorted({place for place, _ in places})
    assert len({place for _, place in places}) == len(places) == found.matched == found.total
    assert (found.only_first, found.only_second) == (len(mine) - len(places), len(theirs) - len(places))
    pairs = [(mine[one], theirs[two]) for one, two in places]
    alike = [pair for pair in pairs if content(pair[0]) == content(pair[1])]
    assert len(alike) == (Counter(map(content, mine)) & Counter(map(content, theirs))).total()
    # Of equal rows, those with the same id are the same row.
    same = sum(one.id == two.id for one, two in alike)
    assert same == (Counter((row.id, content(row)) for row in mine) & Counter((row.id, content(row)) for row in theirs)).total()
    changed = [(one, two) for one, two in pairs if content(one) != content(two)]
    assert found.changed == len(changed)
    for one, two in changed:
        assert (one.id, one.dimension) == (two.id, two.dimension)
        assert [(row.id, row.dimension) for row in mine].count((one.id, one.dimension)) == 1


@settings(max_examples=8)
@given(ROWS, ROWS)
def test_what_is_counted_is_what_is_listed(store: SqlStore, mine: list[Row], theirs: list[Row]) -> None:
    desk, runs = RunDesk(store, DIMENSIONS), (made(store, mine).id, made(store, theirs).id)
    pairs = [key(row, mine, theirs) for row in desk.compare(*runs, EVERYTHING).rows]
    found = desk.compare(*runs, CompareQuery(page_size=200))
    assert found.total == sum(one.label != two.label for one, two in pairs)
    apart = [9 if None in (row.first, row.second) else abs((row.first or 0) - (row.second or 0)) for row in found.rows]
    assert apart == sorted(apart, reverse=True)
    for part in found.dimensions:
        here = [(one, two) for one, two in pairs if one.dimension == part.dimension_id]
        both = [(one.label, two.label) for one, two in here if one.label is not None and two.label is not None]
        counts = Counter(both)
        assert part.matrix == tuple(tuple(counts[a, b] for b in part.labels) for a in part.labels)
        assert (part.n, part.equal) == (len(both), sum(a == b for a, b in both))
        assert part.mean_difference == (pytest.approx(sum(b - a for a, b in both) / len(both)) if both else None)
        known = [(one.label, one.gold if one.gold is not None else two.gold) for one, two in here]
        errors = [abs(label - gold) for label, gold in known if label is not None and gold is not None]
        quality = part.first_quality
        assert quality.n == len(errors)
        if errors:
            assert quality.exact == pytest.approx(errors.count(0) / len(errors))
            assert quality.mae is not None
            assert quality.mae.value == pytest.approx(sum(errors) / len(errors))


@settings(max_examples=6)
@given(ROWS, ROWS)
def test_the_other_way_round_is_the_mirror(store: SqlStore, mine: list[Row], theirs: list[Row]) -> None:
    desk, first, second = RunDesk(store, DIMENSIONS), made(store, mine).id, made(store, theirs).id
    there, back = desk.compare(first, second), desk.compare(second, first)
    assert (there.matched, there.changed, there.only_first, there.total) == (back.matched, back.changed, back.only_second, back.total)
    assert [part.matrix for part in there.dimensions] == [tuple(zip(*part.matrix, strict=True)) for part in back.dimensions]


def test_what_people_said_counts_before_the_sheets_own_label(store: SqlStore) -> None:
    run = made(store, [Row("a", "fluency", "一", 4, gold=2), Row("b", "fluency", "二", 4, gold=4)])
    item = store.items(run.sheet_id)[0]
    other = decided(store, run.sheet_id, [Row("a", "fluency", "一", 5), Row("b", "fluency", "二", 4)])
    desk = RunDesk(store, DIMENSIONS)
    (before,) = desk.compare(run.id, other.id).dimensions
    assert (before.first_quality.exact, before.second_quality.exact) == (0.5, 0.5)
    store.add_correction(item.id, 5, "林")
    found = desk.compare(run.id, other.id)
    assert (found.dimensions[0].first_quality.exact, found.dimensions[0].second_quality.exact) == (0.5, 1.0)
    assert found.rows[0].people == 5


def test_a_cell_a_dimension_and_a_page_narrow_the_list(store: SqlStore) -> None:
    rows = [Row(str(n), ("fluency", "normativity")[n % 2], f"文{n}", n % 5 + 1) for n in range(20)]
    first, second = made(store, rows), made(store, [replace(row, label=3) for row in rows])
    desk = RunDesk(store, DIMENSIONS)

    def listed(**query: object) -> list[str]:
        return [row.first_item.external_id for row in desk.compare(first.id, second.id, CompareQuery(**query)).rows]  # type: ignore[arg-type]

    assert listed(first=1, second=3, only_different=False) == ["0", "5", "10", "15"]
    assert listed(dimension_id="normativity", only_different=False) == [str(n) for n in range(1, 20, 2)]
    assert listed(dimension_id="choice") == []
    everything = listed(page_size=100)
    assert [one for page in range(5) for one in listed(page=page, page_size=4)] == everything
    assert len(everything) == 16
    assert listed(page=99) == []
    assert listed(page=-3, page_size=0) == everything[:1]  # nobody's query breaks it


def test_a_run_that_is_not_there_is_told(store: SqlStore) -> None:
    run = made(store, [Row("a", "fluency", "一", 4)])
    for pair in ((run.id, 10**6), (10**6, run.id)):
        with pytest.raises(NotFound):
            RunDesk(store, DIMENSIONS).compare(*pair)
        with pytest.raises(NotFound):
            RunDesk(store, DIMENSIONS).at_hand(*pair)


def test_only_the_latest_matches_are_remembered_and_a_new_vote_is_seen_all_the_same(store: SqlStore) -> None:
    matcher = Matcher(store)
    runs = [made(store, [Row("a", "fluency", "一", n % 5 + 1)]) for n in range(KEPT_MATCHES + 2)]
    for other in runs[1:]:
        compare(store, matcher, DIMENSIONS, runs[0].id, other.id, EVERYTHING)
    known = [matcher.knows(runs[0].sheet_id, other.sheet_id) for other in runs[1:]]
    assert known == [False] + [True] * KEPT_MATCHES
    again = decided(store, runs[-1].sheet_id, [Row("a", "fluency", "一", 5)])
    (row,) = compare(store, matcher, DIMENSIONS, runs[0].id, again.id, EVERYTHING).rows
    assert (row.first, row.second, row.difference) == (1, 5, 4)
