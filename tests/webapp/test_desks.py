"""The desks behind the pages, over a real store: what they refuse, hide, compare and find alike."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.desks import CompareQuery, LibraryQuery
from core.errors import LabelError, NotFound
from core.retrieval.embedders import make_embedder
from core.review import Flag, QueueQuery, QueueScope, QueueView, ReviewState
from core.types import Origin, Run, RunState, SheetRow, SourceRef
from db.engine import make_engine
from db.migrate import upgrade
from db.store import SqlStore
from tests.db.build import DIMENSIONS, JUDGES, add_library, add_run, decision, judgement, panel
from tests.db.test_review import judged
from webapp.services.agreement import AgreementDesk
from webapp.services.libraries import LibraryDesk
from webapp.services.prewarm import Prewarm
from webapp.services.review import ReviewDesk
from webapp.services.run_desk import RunDesk

EVERYTHING = QueueQuery(scope=QueueScope.ANY, page_size=200)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    engine = make_engine(f"sqlite:///{tmp_path / 'pingpan.db'}")
    upgrade(engine)
    opened = SqlStore(engine)
    yield opened
    opened.close()


@pytest.fixture
def run(store: SqlStore) -> Run:
    return judged(store, add_run(store, 60, aggregator="pooled-median"))


@pytest.fixture
def desk(store: SqlStore) -> ReviewDesk:
    return ReviewDesk(store, DIMENSIONS)


def test_a_label_needs_a_name_and_a_place_on_the_scale(desk: ReviewDesk, run: Run) -> None:
    row = next(row for row in desk.queue(run.id, EVERYTHING).rows if row.dimension_id == "choice")
    with pytest.raises(LabelError, match=r"\(0, 1\)") as caught:
        desk.label(run.id, row.item_id, 5, "王")
    assert "标签范围" in caught.value.messages["zh"]
    with pytest.raises(LabelError, match="needs a name"):
        desk.label(run.id, row.item_id, 1, "  ")
    with pytest.raises(NotFound):
        desk.label(run.id, 10**6, 1, "王")
    assert desk.history(row.item_id).events == ()


def test_a_person_walks_the_queue_skips_undoes_and_nothing_is_lost(desk: ReviewDesk, run: Run) -> None:
    done = []
    for number in range(20):
        lease = desk.next_item(run.id, QueueQuery(), "王")
        assert lease is not None
        assert lease.item_id not in done
        item = desk.item(run.id, lease.item_id, "王").item
        if number == 7:
            desk.skip(run.id, lease.item_id, "王", note="看不懂", flags=[Flag.HARD])
        else:
            desk.label(run.id, lease.item_id, DIMENSIONS[item.dimension_id].labels[0], "王")
        done.append(lease.item_id)
    undone = desk.undo(run.id, "王")
    assert undone.event.item_id == done[-1]
    lease = desk.next_item(run.id, QueueQuery(), "王")
    assert lease is not None
    assert lease.item_id == done[-1]
    counts = {count.view: count for count in desk.counts(run.id, "王")}
    assert (counts[QueueView.MINE].total, counts[QueueView.SKIPPED].total, counts[QueueView.ALL].open) == (18, 1, 41)
    assert sum(desk.item(run.id, item_id).row.audit for item_id in done) == 3  # type: ignore[union-attr]
    with pytest.raises(LabelError, match="name"):
        desk.next_item(run.id, QueueQuery(), "")


def test_blind_mode_shows_nothing_of_others_until_one_has_labelled(desk: ReviewDesk, run: Run) -> None:
    item_id = next(row.item_id for row in desk.queue(run.id, EVERYTHING).rows if row.dimension_id == "fluency")
    desk.label(run.id, item_id, 2, "李", reason="暗示")
    hidden = desk.item(run.id, item_id, "王", blind=True)
    assert hidden.hidden
    assert (hidden.judgements, hidden.verdict, hidden.history, hidden.current, hidden.row) == ((), None, (), None, None)
    assert hidden.state.label is None
    assert hidden.state.people == ()
    saved = desk.label(run.id, item_id, 4, "王", blind=True)
    assert saved.event.blind
    shown = desk.item(run.id, item_id, "王", blind=True)
    assert not shown.hidden
    assert len(shown.judgements) == len(JUDGES)
    assert {event.author for event in shown.history} == {"李", "王"}
    assert shown.state.state is ReviewState.CONFLICT
    settled = desk.adjudicate(run.id, item_id, 3, "张", "折中")
    assert (settled.current, desk.item(run.id, item_id).state.state) == (3, ReviewState.SETTLED)


def test_every_cell_of_the_agreement_opens_as_many_rows_as_it_counts(store: SqlStore, desk: ReviewDesk, run: Run) -> None:
    for row in desk.queue(run.id, EVERYTHING).rows[:30]:
        labels = DIMENSIONS[row.dimension_id].labels
        desk.label(run.id, row.item_id, labels[row.position % len(labels)], "王", blind=True)
        desk.label(run.id, row.item_id, labels[row.position % 2], "李", blind=row.position % 3 > 0)
    agreement = AgreementDesk(store, DIMENSIONS)
    for blind_only in (True, False):
        found = agreement.agreement(run.id, blind_only=blind_only)
        cells = [(pair, place, other) for pair in found.pairs for place, row in enumerate(pair.matrix) for other, _ in enumerate(row)]
        filled = [(pair, place, other) for pair, place, other in cells if pair.matrix[place][other] or place == other]
        for pair, place, other in random.Random(7).sample(filled, 150):
            assert desk.queue(run.id, pair.cell(place, other)).total == pair.matrix[place][other], (pair, place, other)
        for spread in found.distributions:
            assert {label: desk.queue(run.id, spread.query(label)).total for label in spread.counts} == spread.counts
    blind, seen = agreement.agreement(run.id), agreement.agreement(run.id, blind_only=False)
    for dimension_id in DIMENSIONS:
        one, two = blind.pair("王", "李", dimension_id), seen.pair("王", "李", dimension_id)
        assert one is None or two is None or one.n <= two.n
    assert sum(group.n for group in seen.groups if group.group == "people") == 30
    assert {pair.dimension_id for pair in agreement.agreement(run.id, dimension_id="choice").pairs} == {"choice"}


def test_the_audit_estimates_the_share_alone(desk: ReviewDesk, run: Run) -> None:
    assert all(estimate.error_rate is None for estimate in desk.audit(run.id))
    for row in desk.queue(run.id, QueueQuery(QueueView.AUDIT, page_size=200), "王").rows:
        labels = DIMENSIONS[row.dimension_id].labels
        desk.label(run.id, row.item_id, row.label if row.label is not None else labels[0], "王", blind=True, view=QueueView.AUDIT)
    estimates = desk.audit(run.id)
    assert sum(estimate.population for estimate in estimates) == 60
    assert all(estimate.drawn == estimate.labelled for estimate in estimates)
    known = [estimate.error_rate for estimate in estimates if estimate.error_rate is not None]
    assert known
    assert all(rate.low <= rate.value <= rate.high < 1 for rate in known)


def test_two_runs_of_one_sheet_differ_where_their_verdicts_do(store: SqlStore, run: Run) -> None:
    other = judged(store, store.create_run(run.sheet_id, run.library_id, panel(), "pooled-median"), seed=8)
    desk = RunDesk(store, DIMENSIONS)
    one = {row.item_id: row for row in store.queue(run.id, EVERYTHING).rows}
    two = {row.item_id: row for row in store.queue(other.id, EVERYTHING).rows}
    store.add_correction(min(one), 1, "王")
    found = desk.compare(run.id, other.id, CompareQuery(page_size=200))
    assert (found.matched, found.changed, found.only_first, found.only_second) == (60, 0, 0, 0)
    assert {row.first_item.id for row in found.rows} == {key for key in one if one[key].label != two[key].label}
    spread = [abs(row.difference) for row in found.rows if row.difference is not None]
    assert spread == sorted(spread, reverse=True)
    assert {row.people for row in desk.compare(run.id, other.id, CompareQuery(only_different=False, page_size=99)).rows} == {None, 1}
    for part in found.dimensions:
        for place, counts in enumerate(part.matrix):
            for column, count in enumerate(counts):
                assert desk.compare(run.id, other.id, part.cell(place, column)).total == count
    pages = [row for page in range(10) for row in desk.compare(run.id, other.id, CompareQuery(page=page, page_size=7)).rows]
    assert pages == list(found.rows)
    assert sum(part.first_quality.n for part in found.dimensions) == (1 if one[min(one)].label is not None else 0)


def test_runs_of_two_sheets_are_matched_by_content_and_then_by_id(store: SqlStore) -> None:
    def made(sha: str, rows: list[tuple[str, str, str]]) -> Run:
        sheet_rows = [SheetRow(n, key, name, "", text, 3, SourceRef("a", "", n + 2)) for n, (key, name, text) in enumerate(rows)]
        facts = {"name": "a.csv", "format": "csv", "encoding": "", "worksheet": ""}
        sheet = store.add_sheet(sha256=sha * 64, columns=[], mapping={}, rows=sheet_rows, **facts)
        new = store.create_run(sheet.id, add_library(store).id, panel(), "majority")
        items = store.items(sheet.id)
        store.claim(new.id, "w")
        store.save_judgements(new.id, [judgement(judge, item.id) for item in items for judge in JUDGES])
        store.save_verdicts(new.id, "majority", {item.id: decision(item.position % 5 + 1) for item in items})
        store.finish(new.id, "w")
        return store.run(new.id)

    first = made(
        "1", [("a", "fluency", "一"), ("b", "fluency", "二"), ("c", "fluency", "三"), ("d", "fluency", "四"), ("x", "fluency", "同")]
    )
    second = made(
        "2",
        [
            ("b", "fluency", "二"),
            ("z", "fluency", "一"),
            ("c", "fluency", "三改"),
            ("e", "fluency", "五"),
            ("y", "fluency", "同"),
            ("x", "fluency", "同"),
        ],
    )
    found = RunDesk(store, DIMENSIONS).compare(first.id, second.id, CompareQuery(only_different=False))
    pairs = [(row.first_item.external_id, row.second_item.external_id) for row in found.rows]
    assert pairs == [("a", "z"), ("b", "b"), ("c", "c"), ("x", "x")]
    assert (found.matched, found.changed, found.only_first, found.only_second) == (4, 1, 1, 2)
    (part,) = found.dimensions
    assert (part.first_quality.n, part.second_quality.n) == (4, 4)  # the sheets' own labels, where nobody corrected
    assert part.mean_difference == pytest.approx((1 - 1 + 0 - 4) / 4)


def test_a_deleted_run_is_out_of_the_way_until_it_is_restored(store: SqlStore, run: Run) -> None:
    desk = RunDesk(store, DIMENSIONS)
    waiting = store.create_run(run.sheet_id, run.library_id, panel(), "pooled-median")
    line = desk.line(run.id)
    assert (line.counts.decided, line.counts.labelled) == (60, 0)
    row = next(row for row in store.queue(run.id, EVERYTHING).rows if row.dimension_id == "fluency" and row.label == 3)
    store.add_correction(row.item_id, 4, "王", run_id=run.id)
    store.add_correction(store.queue(run.id, EVERYTHING).rows[-1].item_id, 1, "王")
    counts = desk.line(run.id).counts
    assert (counts.labelled, counts.conflicts, counts.settled) == (2, 0, 0)
    assert counts.changed >= 1
    assert desk.delete(waiting.id).deleted_at is not None
    assert [line.run.id for line in desk.lines()] == [run.id]
    assert store.claim_next("w") is None
    assert [line.run.id for line in desk.lines(deleted=True)] == [waiting.id]
    assert (desk.total(), desk.total(deleted=True)) == (1, 1)
    back = desk.restore(waiting.id)
    assert (back.deleted_at, back.state) == (None, RunState.STOPPED)
    assert store.resume(waiting.id).state is RunState.QUEUED
    assert [run.id for run in store.runs()] == [waiting.id, run.id]


def test_a_library_is_searched_by_likeness(store: SqlStore, tmp_path: Path) -> None:
    texts = [
        "春天的校园里花都开了，同学们在操场上种树",
        "股票市场今天大幅下跌，投资者十分担忧",
        "种树的时候，同学们在校园的操场边挖坑",
        "这道题目的答案是乙",
    ]
    rows = [SheetRow(n, f"L{n}", "fluency", "", text, n + 1, SourceRef("a", "", n)) for n, text in enumerate(texts)]
    library = store.save_library("小库", rows, Origin.IMPORT)
    embedder = make_embedder("ngram")
    desk = LibraryDesk(store, DIMENSIONS, tmp_path / "index", lambda: embedder)
    found = desk.items(library.id, LibraryQuery(like="校园里同学们种树"))
    assert {row.item.external_id for row in found.rows[:2]} == {"L0", "L2"}
    likeness = [row.similarity or 0.0 for row in found.rows]
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[0] > 0.2
    change = desk.retire(library.id, [found.rows[0].item.id], "王")
    after = desk.items(library.id, LibraryQuery(like="校园里同学们种树"))
    assert found.rows[0].item.id not in {row.item.id for row in after.rows}
    assert [row.item.label for row in desk.items(library.id, LibraryQuery(like="种树", label=2)).rows] == [2]
    assert desk.undo(library.id, change, "王").library.version == library.version
    with pytest.raises(LabelError, match="not on the scale"):
        desk.relabel(library.id, desk.items(library.id, LibraryQuery()).rows[0].item.id, 9, "王")


def test_remembered_counts_follow_labels_and_another_aggregator(store: SqlStore, desk: ReviewDesk, run: Run) -> None:
    agreement = AgreementDesk(store, DIMENSIONS)
    before = agreement.agreement(run.id, dimension_id="fluency")
    assert agreement.agreement(run.id, dimension_id="fluency") == before
    row = next(row for row in desk.queue(run.id, EVERYTHING).rows if row.dimension_id == "fluency")
    desk.label(run.id, row.item_id, 2, "王", blind=True)
    after = agreement.agreement(run.id, dimension_id="fluency")
    assert {rater.name for rater in after.raters} - {rater.name for rater in before.raters} == {"王"}
    store.set_aggregator(run.id, "reference-vote")
    judged(store, store.run(run.id), seed=8)
    anew = agreement.agreement(run.id, dimension_id="fluency")
    fresh = AgreementDesk(SqlStore(store.engine), DIMENSIONS).agreement(run.id, dimension_id="fluency")
    assert anew == fresh
    assert anew.pairs != after.pairs


def test_long_runs_are_read_beside_the_page_and_then_compared(store: SqlStore, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = judged(store, store.create_run(run.sheet_id, run.library_id, panel(), "reference-vote"), seed=3)
    runs = RunDesk(store, DIMENSIONS)
    assert runs.at_hand(run.id, other.id)  # short ones are compared at once
    monkeypatch.setattr("webapp.services.run_desk.COMPARED_AT_ONCE", 10)
    desk = RunDesk(SqlStore(store.engine), DIMENSIONS)
    deadline = time.monotonic() + 30
    assert not desk.at_hand(run.id, other.id)
    while not desk.at_hand(run.id, other.id):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert desk.compare(run.id, other.id) == runs.compare(run.id, other.id)
    with pytest.raises(NotFound):
        desk.at_hand(run.id, 99)
    ahead = RunDesk(other_store := SqlStore(store.engine), DIMENSIONS)
    Prewarm(other_store, ahead.compare).look()
    assert ahead.at_hand(other.id, run.id)  # the latest two are read before anybody asks
