"""Queues, leases and labels on a real database: order, views, pages, people at the same time."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from core.errors import LabelError, NotFound
from core.judging.aggregation import get_aggregator
from core.queries import RowQuery
from core.review import AUDIT_SHARE, Flag, QueueQuery, QueueRow, QueueScope, QueueView, ReviewState, Vote, audit_key
from core.types import CorrectionKind, Judgement, JudgementStatus, Outcome, Run, SheetRow, SourceRef
from db.base import now
from db.corrections import Act
from db.engine import reading, writing
from db.models import ItemLabelRecord, LeaseRecord, PersonLabelRecord, VerdictRecord
from db.store import SqlStore
from tests.db.build import DIMENSIONS, JUDGES, add_library, add_run, judgement, panel

ROWS = 80
EVERYTHING = QueueQuery(scope=QueueScope.ANY, page_size=500)


def judged(store: SqlStore, run: Run, seed: int = 1) -> Run:
    """Judge and decide every row of a run by the pooled median."""
    rng, vote = random.Random(seed), get_aggregator("pooled-median")
    store.claim(run.id, "w")
    decisions, given = {}, []
    for item in store.items(run.sheet_id):
        labels = DIMENSIONS[item.dimension_id].labels
        answers = [judgement(judge, item.id, rng.choice(labels), labels) for judge in JUDGES]
        if rng.random() < 0.2:
            answers[1] = Judgement(JUDGES[1], item.id, rng.choice([JudgementStatus.FAILED, JudgementStatus.ABSTAINED]))
        if rng.random() < 0.05:
            answers = [Judgement(judge, item.id, JudgementStatus.ABSTAINED) for judge in JUDGES]
        given += answers
        decisions[item.id] = vote(answers, DIMENSIONS[item.dimension_id], JUDGES[0])
    store.save_judgements(run.id, given)
    store.save_verdicts(run.id, run.aggregator, decisions)
    store.finish(run.id, "w")
    return store.run(run.id)


@pytest.fixture
def run(store: SqlStore) -> Run:
    return judged(store, add_run(store, ROWS, aggregator="pooled-median"))


def label(number: int, author: str = "王", *, blind: bool = False, audit: bool = False) -> Act:
    return Act(CorrectionKind.LABEL, author, number, blind=blind, audit=audit)


def risk(row: QueueRow) -> tuple[float, float, int]:
    return -(1_000.0 if row.expected_error is None else row.expected_error), -row.disagreement, row.position


def test_the_queue_holds_every_row_worst_first_with_the_audit_spread_evenly(store: SqlStore, run: Run) -> None:
    page = store.queue(run.id, EVERYTHING)
    assert (len(page.rows), page.total) == (ROWS, ROWS)
    assert len({row.item_id for row in page.rows}) == ROWS
    audited = [row for row in page.rows if row.audit]
    plain = [row for row in page.rows if not row.audit]
    assert [row.item_id for row in plain] == [row.item_id for row in sorted(plain, key=risk)]
    assert [row.item_id for row in audited] == sorted((row.item_id for row in audited), key=lambda item_id: audit_key(run.id, item_id) or 0)
    even = [int((place + 1) * AUDIT_SHARE) for place in range(40)]
    assert [sum(row.audit for row in page.rows[: place + 1]) for place in range(40)] == even
    pages = [row for number in range(4) for row in store.queue(run.id, replace(EVERYTHING, page=number, page_size=25)).rows]
    assert pages == list(page.rows)
    answers = {
        row.item.id: {each.judge_id: each.status for each in row.judgements} for row in store.rows(run.id, RowQuery(page_size=500)).rows
    }
    wanted = {item: {judge: status for judge, status in own.items() if status != "ok"} for item, own in answers.items()}
    assert {row.item_id: row.silences for row in page.rows} == wanted
    assert {"failed", "abstained"} <= {status for own in wanted.values() for status in own.values()}
    for place, row in enumerate(page.rows):
        beside = store.neighbours(run.id, EVERYTHING, row.item_id)
        assert (beside.index, beside.total) == (place, ROWS)
        assert beside.previous_id == (page.rows[place - 1].item_id if place else None)
        assert beside.next_id == (page.rows[place + 1].item_id if place + 1 < ROWS else None)


def test_a_line_says_what_the_judges_and_the_verdict_said(store: SqlStore, run: Run) -> None:
    for row in store.queue(run.id, EVERYTHING).rows:
        detail = store.row(run.id, row.item_id)
        assert row.votes == tuple(answer.label for answer in detail.judgements)
        assert detail.verdict is not None
        decision = detail.verdict.decision
        assert (row.label, row.current, row.outcome, row.expected) == (decision.label, decision.label, decision.outcome, decision.expected)
        if decision.label is not None:
            shares = decision.probabilities
            assert row.confidence == pytest.approx(shares[decision.label])
            assert row.expected_error == pytest.approx(sum(p * abs(decision.label - other) for other, p in shares.items()))


def test_every_view_is_what_it_says_and_counts_agree(store: SqlStore, run: Run) -> None:
    rows = {row.item_id: row for row in store.queue(run.id, EVERYTHING).rows}
    failed = {row.item.id for row in store.rows(run.id, RowQuery(status=JudgementStatus.FAILED, page_size=500)).rows}
    ids = list(rows)
    for item_id in ids[:9]:
        store.append(run.id, item_id, label(1))
    for item_id in ids[:3]:
        store.append(run.id, item_id, label(2, "李"))
    store.append(run.id, ids[20], Act(CorrectionKind.SKIP, "王"))
    wanted = {
        QueueView.ALL: set(ids),
        QueueView.DISAGREEMENT: {key for key, row in rows.items() if row.outcome in {Outcome.TIE, Outcome.MAJORITY}},
        QueueView.LOW_CONFIDENCE: {key for key, row in rows.items() if row.confidence < 0.5},
        QueueView.TIES: {key for key, row in rows.items() if row.outcome is Outcome.TIE},
        QueueView.UNREAD: failed | {key for key, row in rows.items() if row.outcome is Outcome.NO_QUORUM},
        QueueView.AUDIT: {key for key, row in rows.items() if row.audit},
        QueueView.ADJUDICATION: set(ids[:3]),
        QueueView.MINE: set(ids[:9]),
        QueueView.SKIPPED: {ids[20]},
    }
    counts = {count.view: count for count in store.view_counts(run.id, QueueQuery(), "王")}
    own = {QueueView.MINE, QueueView.SKIPPED, QueueView.ADJUDICATION}
    for view, expected in wanted.items():
        listed = [row.item_id for row in store.queue(run.id, replace(EVERYTHING, view=view), "王").rows]
        assert sorted(listed) == sorted(expected), view
        still = [row.item_id for row in store.queue(run.id, QueueQuery(view, page_size=500), "王").rows]
        assert sorted(still) == sorted(expected if view in own else expected - {*ids[:9], ids[20]}), view
        assert (counts[view].total, counts[view].open) == (len(expected), len(still)), view
    assert next(iter(store.queue(run.id, QueueQuery(QueueView.MINE), "王").rows)).item_id == ids[8]  # the latest first
    done = store.queue(run.id, QueueQuery(scope=QueueScope.DONE, page_size=500), "王")
    assert {row.item_id for row in done.rows} == set(ids[:9])


def test_filters_and_cells_keep_the_rows_they_name(store: SqlStore, run: Run) -> None:
    rows = store.queue(run.id, EVERYTHING).rows
    store.append(run.id, rows[5].item_id, label(1, blind=True))
    cases: list[tuple[QueueQuery, set[int]]] = [
        (replace(EVERYTHING, dimension_id="choice"), {row.item_id for row in rows if row.dimension_id == "choice"}),
        (replace(EVERYTHING, label=3), {row.item_id for row in rows if row.label == 3}),
        (replace(EVERYTHING, outcome=Outcome.TIE), {row.item_id for row in rows if row.outcome is Outcome.TIE}),
        (replace(EVERYTHING, search="第11篇"), {row.item_id for row in rows if row.position == 11}),
        (replace(EVERYTHING, search="没有的"), set()),
        (
            replace(EVERYTHING, votes=(Vote("first", 1), Vote("third", 1))),
            {row.item_id for row in rows if row.votes[0] == 1 and row.votes[2] == 1},
        ),
        (
            replace(EVERYTHING, votes=(Vote("second", 2), Vote("verdict", 3))),
            {row.item_id for row in rows if row.votes[1] == 2 and row.label == 3},
        ),
        (replace(EVERYTHING, votes=(Vote("王", 1, person=True),)), {rows[5].item_id}),
        (replace(EVERYTHING, votes=(Vote("王", 2, person=True),)), set()),
        (replace(EVERYTHING, votes=(Vote("nobody", 2),)), set()),
    ]
    for query, wanted in cases:
        assert {row.item_id for row in store.queue(run.id, query).rows} == wanted, query


def test_near_duplicates_wait_behind_the_worst_of_their_family(store: SqlStore) -> None:
    rng = random.Random(2)
    texts = ["".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(60)) for _ in range(12)]
    common = "这一段话在好几行里几乎一字不差地出现，讲的是春天的校园里同学们种树的经过，大家都十分高兴，也都出了一身汗。"
    texts += [common, common + "完。", common + "就是这样。"]
    rows = [SheetRow(place, f"D{place}", "fluency", "", text, None, SourceRef("a", "", place + 2)) for place, text in enumerate(texts)]
    rows.append(SheetRow(15, "D15", "normativity", "题", common, None, SourceRef("a", "", 17)))  # another dimension: another question
    facts = {"name": "a.csv", "sha256": "7" * 64, "format": "csv", "encoding": "", "worksheet": ""}
    sheet = store.add_sheet(**facts, columns=[], mapping={}, rows=rows)
    waiting = store.create_run(sheet.id, add_library(store).id, panel(), "pooled-median")
    assert store.families_state(waiting.id).ready  # there is nothing to mark before it is done
    run = judged(store, waiting)
    assert not store.families_state(run.id).ready
    store.mark_families(run.id)
    assert store.families_state(run.id).ready
    found = store.queue(run.id, EVERYTHING).rows
    family = [row for row in found if row.position in {12, 13, 14}]
    first = min(family, key=risk)
    assert {row.position for row in found if row.duplicate} == {row.position for row in family if row is not first}
    for row in family:  # and each leads to the others, the worst first
        others = sorted((other for other in family if other is not row), key=risk)
        assert [other.item_id for other in store.family(run.id, row.item_id)] == [other.item_id for other in others]
    assert store.family(run.id, next(row.item_id for row in found if row.position == 15)) == []
    plain = [row for row in found if not row.audit]
    assert [row.item_id for row in plain] == [row.item_id for row in sorted(plain, key=lambda row: (row.duplicate, *risk(row)))]
    store.set_aggregator(run.id, "reference-vote")
    judged_again = judged(store, store.run(run.id), seed=9)
    assert not store.families_state(judged_again.id).ready


def test_two_people_never_get_the_same_row(store: SqlStore, run: Run) -> None:
    def work(author: str) -> list[int]:
        got = []
        while (lease := store.lease_next(run.id, QueueQuery(), author)) is not None:
            got.append(lease.item_id)
            store.append(run.id, lease.item_id, label(1, author))
        return got

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(work, ["王", "李", "张", "赵"]))
    assert sorted(item_id for part in parts for item_id in part) == sorted(row.item_id for row in store.queue(run.id, EVERYTHING).rows)


_ANNOTATE = """
import sys
from core.review import QueueQuery
from db.engine import make_engine
from db.store import SqlStore
store = SqlStore(make_engine(sys.argv[1]))
while (lease := store.lease_next(int(sys.argv[2]), QueueQuery(), sys.argv[3])) is not None and sys.stdin.readline():
    print(lease.item_id, flush=True)
"""


def test_a_lease_outlives_its_process_and_then_runs_out(store: SqlStore, run: Run, url: str) -> None:
    command = [sys.executable, "-c", _ANNOTATE, url, str(run.id), "王"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        item_id = int(process.stdout.readline())
        process.kill()
    other = store.lease(run.id, item_id, "李")
    assert (other.held, other.annotator) == (False, "王")
    found = store.lease_next(run.id, QueueQuery(), "李")
    assert found is not None
    assert found.item_id != item_id
    assert next(row for row in store.queue(run.id, EVERYTHING).rows if row.item_id == item_id).leased_by == "王"
    with writing(store.engine) as connection:
        connection.execute(update(LeaseRecord).where(LeaseRecord.annotator == "王").values(expires_at=now() - timedelta(seconds=1)))
    assert store.lease_of(run.id, item_id) is None
    assert store.lease(run.id, item_id, "李").held


def test_leases_are_renewed_released_and_given_back_by_a_label(store: SqlStore, run: Run) -> None:
    first = store.lease_next(run.id, QueueQuery(), "王")
    assert first is not None
    again = store.lease_next(run.id, QueueQuery(), "王")
    assert again is not None
    assert (again.item_id, again.held) == (first.item_id, True)  # one's own row comes back after a reload
    assert store.lease(run.id, first.item_id, "王").expires_at >= first.expires_at
    store.release(run.id, "李", first.item_id)
    assert store.lease_of(run.id, first.item_id, "王") is not None
    store.release(run.id, "王")
    assert store.lease_of(run.id, first.item_id) is None
    store.lease(run.id, first.item_id, "王")
    store.append(run.id, first.item_id, label(2))
    assert store.lease_of(run.id, first.item_id) is None


def test_labels_undo_and_history_lose_nothing(store: SqlStore, run: Run) -> None:
    item_id = store.queue(run.id, EVERYTHING).rows[0].item_id
    first = store.append(run.id, item_id, replace(label(4, blind=True), reason="病句", note="第二句", flags=(Flag.HARD, Flag.BORDERLINE)))
    assert (first.event.blind, first.event.flags, first.state.state, first.current) == (
        True,
        (Flag.HARD, Flag.BORDERLINE),
        ReviewState.LABELLED,
        4,
    )
    second = store.append(run.id, item_id, label(2, blind=True))
    assert not second.event.blind  # they have seen the votes by now
    assert second.event.previous_label == 4
    undone = store.undo(run.id, "王")
    assert (undone.current, undone.event.retracts) == (4, second.event.id)
    assert store.undo(run.id, "王").state.state is ReviewState.OPEN
    with pytest.raises(LabelError, match="nothing left to undo"):
        store.undo(run.id, "王")
    events = store.events(item_id)
    assert [(event.kind, event.retracted) for event in events] == [
        (CorrectionKind.LABEL, True),
        (CorrectionKind.LABEL, True),
        (CorrectionKind.UNDO, False),
        (CorrectionKind.UNDO, False),
    ]
    assert (events[0].reason, events[0].note) == ("病句", "第二句")
    assert store.corrections(item_id) == []
    assert next(row for row in store.export_rows(run.id) if row.item.id == item_id).correction is None
    with pytest.raises(NotFound):
        store.append(run.id, 10**6, label(1))


def test_people_who_differ_are_settled_and_the_export_says_by_whom(store: SqlStore, run: Run) -> None:
    item_id = next(row.item_id for row in store.queue(run.id, EVERYTHING).rows if row.dimension_id == "fluency" and row.label == 3)

    def exported() -> tuple[int | None, str | None]:
        row = next(row for row in store.export_rows(run.id) if row.item.id == item_id)
        return row.label, None if row.correction is None else row.correction.author

    store.append(run.id, item_id, label(4))
    assert exported() == (4, "王")
    conflict = store.append(run.id, item_id, label(5, "李"))
    assert (conflict.state.state, conflict.current, exported()) == (ReviewState.CONFLICT, 3, (3, None))
    assert [row.item_id for row in store.queue(run.id, QueueQuery(QueueView.ADJUDICATION), "张").rows] == [item_id]
    store.append(run.id, item_id, Act(CorrectionKind.ADJUDICATION, "张", 5, "李的理由更充分"))
    assert exported() == (5, "张")
    assert store.queue(run.id, QueueQuery(QueueView.ADJUDICATION), "张").total == 0
    assert [(c.author, c.kind) for c in store.corrections(item_id)] == [
        ("王", CorrectionKind.LABEL),
        ("李", CorrectionKind.LABEL),
        ("张", CorrectionKind.ADJUDICATION),
    ]
    assert store.undo(run.id, "张").state.state is ReviewState.CONFLICT


def test_labels_stand_in_every_run_of_the_sheet_and_survive_another_aggregator(store: SqlStore, run: Run) -> None:
    item_id = store.queue(run.id, EVERYTHING).rows[0].item_id
    store.append(run.id, item_id, label(1))
    later = judged(store, store.create_run(run.sheet_id, run.library_id, panel(), "pooled-median"), seed=5)
    store.set_aggregator(run.id, "reference-vote")
    again = judged(store, store.run(run.id), seed=6)
    for other in (later, again):
        row = store.queue_row(other.id, item_id)
        assert row is not None
        assert (row.state, row.people, row.current) == (ReviewState.LABELLED, 1, 1)
        assert item_id not in {found.item_id for found in store.queue(other.id, QueueQuery(page_size=500), "李").rows}
    history = store.item_history(item_id)
    assert [appearance.run.id for appearance in history.appearances] == [later.id, run.id]
    assert [event.run_id for event in history.events] == [run.id]


def test_what_is_stored_of_labels_can_be_made_again_from_the_log(store: SqlStore, run: Run) -> None:
    ids = [row.item_id for row in store.queue(run.id, EVERYTHING).rows][:6]
    for place, item_id in enumerate(ids):
        store.append(run.id, item_id, label(place % 2 + 1, blind=place % 2 == 0))
        store.append(run.id, item_id, label(1, "李"))
    store.undo(run.id, "李")

    def stored() -> list[list[tuple[object, ...]]]:
        tables = (ItemLabelRecord.__table__, PersonLabelRecord.__table__)
        columns = (VerdictRecord.item_id, VerdictRecord.review, VerdictRecord.people)
        with reading(store.engine) as connection:
            found = [sorted(tuple(map(str, row)) for row in connection.execute(select(*table.columns))) for table in tables]
            return [*found, sorted(tuple(map(str, row)) for row in connection.execute(select(*columns)))]

    before = stored()
    with writing(store.engine) as connection:
        connection.execute(update(ItemLabelRecord).values(label=9, people=9))
        connection.execute(update(VerdictRecord).values(review="open", people=0))
    assert store.refold() == 6
    assert stored() == before


def test_the_audit_sample_is_what_was_served_and_not_what_was_picked(store: SqlStore, run: Run) -> None:
    audited = [row for row in store.queue(run.id, replace(EVERYTHING, view=QueueView.AUDIT)).rows if row.label is not None]
    assert len(audited) > 6
    assert sum(sample.drawn for sample in store.audit_samples(run.id)) == 0
    last = audited[-1]
    store.append(run.id, last.item_id, label(last.label or 0, blind=True))  # picked elsewhere: it widens nothing
    assert sum(sample.drawn for sample in store.audit_samples(run.id)) == 0
    for row in audited[:4]:
        store.append(run.id, row.item_id, label(row.label or 0, blind=True, audit=True))
    wrong = audited[4]
    store.append(run.id, wrong.item_id, replace(label((wrong.label or 0) ^ 1, audit=True), blind=True))
    store.append(run.id, audited[5].item_id, label(1, audit=True))  # not blind
    samples = store.audit_samples(run.id)
    everyone = [row.item_id for row in store.queue(run.id, replace(EVERYTHING, view=QueueView.AUDIT)).rows]
    assert sum(sample.drawn for sample in samples) == everyone.index(audited[5].item_id) + 1
    pairs = {pair: count for sample in samples for pair, count in sample.pairs.items()}
    assert sum(pairs.values()) >= 1
    assert sum(count for sample in samples for (given, truth), count in sample.pairs.items() if given != truth) == 1
    assert sum(count for sample in samples for count in sample.pairs.values()) == 5
    assert sum(count for s in store.audit_samples(run.id, blind_only=False) for count in s.pairs.values()) == 6
    assert sum(sample.population for sample in samples) == ROWS
