"""Pages, rows and exports of a run, checked against the same filters and orders written plainly in Python."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import NotFound
from core.queries import ExportRow, RowQuery, RowSort, ShownExample
from core.types import Decision, Example, Judgement, JudgementStatus, Outcome, Run
from db import searches
from db.store import SqlStore
from tests.db.build import JUDGES, add_run, decision, judgement

ROWS = 60


def fill(store: SqlStore, decided: int, judged: int, finish: bool) -> Run:
    """Make a run with `judged` rows judged and `decided` of them decided."""
    run = add_run(store, ROWS)
    rng = random.Random(7)
    items = store.items(run.sheet_id)
    answers = [_answer(rng, judge, item.id) for item in items[:judged] for judge in JUDGES]
    store.save_judgements(run.id, answers)
    store.save_verdicts(run.id, "majority", {item.id: _decision(rng) for item in items[:decided]})
    store.claim(run.id, "w")
    if finish:
        store.finish(run.id, "w")
    return run


def _answer(rng: random.Random, judge: str, item_id: int) -> Judgement:
    if rng.random() < 0.15:
        status = rng.choice([JudgementStatus.FAILED, JudgementStatus.ABSTAINED, JudgementStatus.REFUSED])
        return Judgement(judge, item_id, status, error={"": "x"})
    return judgement(judge, item_id, rng.randint(1, 5))


def _decision(rng: random.Random) -> Decision:
    label = rng.choice([None, 1, 2, 3, 4, 5])
    outcome = Outcome.NO_QUORUM if label is None else rng.choice([Outcome.UNANIMOUS, Outcome.MAJORITY, Outcome.TIE])
    return decision(label, rng.choice([0.0, 0.25, 0.5, 0.75]), outcome)


def expected(rows: list[ExportRow], query: RowQuery) -> list[int]:
    """Filter and sort the rows of an export as RowQuery says."""

    def keep(row: ExportRow) -> bool:
        verdict = row.verdict.decision if row.verdict else None
        texts = (row.item.external_id, row.item.prompt, row.item.text)
        return (
            (not query.dimension_id or row.item.dimension_id == query.dimension_id)
            and (query.outcome is None or (verdict is not None and verdict.outcome is query.outcome))
            and (query.label is None or (verdict is not None and verdict.label == query.label))
            and (query.status is None or any(answer.status is query.status for answer in row.judgements))
            and (not query.search or any(query.search.lower() in text.lower() for text in texts))
        )

    def place(row: ExportRow) -> tuple[float, ...]:
        sign = -1 if query.descending else 1
        if query.sort is RowSort.POSITION:
            return (sign * row.item.position,)
        if row.verdict is None:
            return (2, 0, row.item.position)
        value = row.verdict.decision.disagreement if query.sort is RowSort.DISAGREEMENT else row.verdict.decision.label
        return (1, 0, row.item.position) if value is None else (0, sign * value, row.item.position)

    return [row.item.id for row in sorted(filter(keep, rows), key=place)]


QUERIES = st.builds(
    RowQuery,
    dimension_id=st.sampled_from(["", "", "fluency", "choice", "unknown"]),
    outcome=st.sampled_from([None, None, *Outcome]),
    label=st.sampled_from([None, None, 1, 3]),
    status=st.sampled_from([None, None, *JudgementStatus]),
    search=st.sampled_from(["", "", "", "第1", "ESSAY no. 3", "100%", "done_", "D0000", "\\", "没有的"]),
    sort=st.sampled_from(RowSort),
    descending=st.booleans(),
    page_size=st.sampled_from([7, 25, 100]),
)


@pytest.mark.parametrize(("decided", "judged", "finish"), [(ROWS, ROWS, True), (25, 40, False), (0, 0, False)])
def test_every_filter_order_and_page_is_what_it_says(store: SqlStore, decided: int, judged: int, finish: bool) -> None:
    run = fill(store, decided, judged, finish)
    rows = list(store.export_rows(run.id, chunk=17))
    assert [row.item.position for row in rows] == list(range(ROWS))

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True, database=None)
    @given(query=QUERIES)
    def check(query: RowQuery) -> None:
        wanted = expected(rows, query)
        found: list[int] = []
        for page in range(len(wanted) // query.page_size + 2):
            answer = store.rows(run.id, _page(query, page))
            assert answer.total == len(wanted)
            found += [row.item.id for row in answer.rows]
        assert found == wanted

    check()


def test_a_search_read_in_parts_finds_what_one_in_a_piece_finds(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fill(store, ROWS, ROWS, finish=True)
    queries = [RowQuery(search=wanted, page_size=ROWS) for wanted in ("第", "1篇", "essay NO", "100%", "没有的", "D0000", "D00059")]
    whole = [[row.item.id for row in store.rows(run.id, query).rows] for query in queries]
    assert len(whole[0]) == ROWS
    assert [len(found) for found in whole[-2:]] == [10, 1]
    monkeypatch.setattr(searches, "READ_BY_ONE", 1)
    monkeypatch.setattr(searches.os, "cpu_count", lambda: 3)
    forgetful = SqlStore(store.engine)
    with ThreadPoolExecutor(4) as threads:  # one of them reads in parts, the others as it comes
        found = list(threads.map(lambda query: [row.item.id for row in forgetful.rows(run.id, query).rows], queries))
    assert found == whole
    assert [row.item.id for row in SqlStore(store.engine).rows(run.id, queries[1]).rows] == whole[1]


def _page(query: RowQuery, page: int) -> RowQuery:
    return RowQuery(
        query.dimension_id, query.outcome, query.label, query.status, query.search, query.sort, query.descending, page, query.page_size
    )


def test_rows_carry_judgements_in_the_panels_order_and_the_verdict(store: SqlStore) -> None:
    run = fill(store, 25, 40, finish=False)
    page = store.rows(run.id, RowQuery(page=1, page_size=20))
    assert (page.page, page.page_size, page.total, len(page.rows)) == (1, 20, ROWS, 20)
    for row in page.rows:
        assert [answer.judge_id for answer in row.judgements] == list(JUDGES)
        assert (row.verdict is None) == (row.item.position >= 25)


def test_a_row_in_full_knows_its_neighbours_and_history(store: SqlStore) -> None:
    run = fill(store, ROWS, ROWS, finish=True)
    items = store.items(run.sheet_id)
    labelled = store.library_items(run.library_id)
    shown = tuple(Example(labelled[rank], 0.9 - rank / 7, rank, "ngram-1") for rank in range(3))
    store.save_examples(run.id, {items[0].id: shown})
    detail = store.row(run.id, items[0].id)
    assert detail.item == items[0]
    assert detail.run == store.run(run.id)
    assert detail.examples == shown
    assert (detail.previous_id, detail.next_id) == (None, items[1].id)
    assert store.row(run.id, items[-1].id).next_id is None
    other = add_run(store, 2)
    with pytest.raises(NotFound, match=f"Run {run.id} has no item"):
        store.row(run.id, store.items(other.sheet_id)[0].id)
    with pytest.raises(NotFound):
        store.row(run.id, 10**6)


def test_the_current_label_is_what_people_agree_on_else_the_verdict(store: SqlStore) -> None:
    run = fill(store, 0, ROWS, finish=False)
    item, other = store.items(run.sheet_id)[:2]
    store.save_verdicts(run.id, "majority", {item.id: decision(3), other.id: decision(2)})
    assert store.current_label(item.id, run.id) == 3
    first = store.add_correction(item.id, 4, "李老师", "有一个病句", run_id=run.id)
    second = store.add_correction(item.id, 5, "王老师")
    assert (first.previous_label, second.previous_label) == (3, 4)
    assert first.created_at <= second.created_at
    assert store.corrections(item.id) == [first, second] == list(store.row(run.id, item.id).corrections)
    assert store.current_label(item.id, run.id) == 3  # two people differ, and nobody has settled it
    second = store.add_correction(item.id, 4, "王老师")
    assert store.current_label(item.id, run.id) == 4
    assert store.current_label(other.id) is None
    rows = {row.item.id: row for row in store.export_rows(run.id)}
    assert (rows[item.id].label, rows[item.id].correction) == (4, second)
    assert (rows[other.id].label, rows[other.id].correction) == (2, None)
    verdict = rows[item.id].verdict
    assert verdict is not None
    assert verdict.decision.label == 3  # what the judges said stays
    with pytest.raises(NotFound, match="no item 12345"):
        store.add_correction(12345, 1, "x")


def test_an_export_says_which_examples_were_shown(store: SqlStore) -> None:
    run = fill(store, 3, 3, finish=False)
    labelled = store.library_items(run.library_id)
    items = store.items(run.sheet_id)
    for item, rank in product(items[:2], range(1)):
        store.save_examples(run.id, {item.id: [Example(labelled[7], 0.5, rank, "v"), Example(labelled[8], 0.25, rank + 1, "v")]})
    rows = list(store.export_rows(run.id, chunk=1))
    wanted = (ShownExample(labelled[7].external_id, labelled[7].label, 0.5), ShownExample(labelled[8].external_id, labelled[8].label, 0.25))
    assert [row.examples for row in rows[:3]] == [wanted, wanted, ()]
    assert rows[5].judgements == ()
    assert rows[5].label is None
