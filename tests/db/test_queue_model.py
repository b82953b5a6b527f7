"""Review queues against a plain model in Python: whatever people do, every list, place and count is what the words say."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import LabelError
from core.review import LOW_CONFIDENCE, ItemState, QueueQuery, QueueRow, QueueScope, QueueView, ReviewState, fold
from core.types import CorrectionKind, JudgementStatus, Outcome, Run
from db.corrections import Act
from db.store import SqlStore
from tests.db.build import add_run
from tests.db.test_review import judged

ROWS, TOUCHED = 30, 8
PEOPLE = ("王", "李", "张")
EVERYTHING = QueueQuery(scope=QueueScope.ANY, page_size=100)
OWN = (QueueView.MINE, QueueView.SKIPPED)
UNREAD = {JudgementStatus.FAILED, JudgementStatus.OFF_MENU, JudgementStatus.REFUSED}


@dataclass(frozen=True, slots=True)
class Model:
    """All rows of a run, and what people hold of each."""

    rows: tuple[QueueRow, ...]
    states: dict[int, ItemState]

    @classmethod
    def of(cls, store: SqlStore, run: Run, touched: Sequence[int]) -> Model:
        rows = store.queue(run.id, EVERYTHING).rows
        untouched = dict.fromkeys((row.item_id for row in rows), fold(()))
        return cls(rows, untouched | {item_id: store.item_state(item_id) for item_id in touched})

    def listed(self, query: QueueQuery, who: str, leased: Iterable[int] = ()) -> set[int]:
        """Return the rows that stand in a queue."""
        away = set(leased)
        return {row.item_id for row in self.rows if row.item_id not in away and self._lists(row, query, who)}

    def _lists(self, row: QueueRow, query: QueueQuery, who: str) -> bool:
        state = self.states[row.item_id]
        mine = next((person for person in state.people if person.author == who), None)
        views = {
            QueueView.ALL: True,
            QueueView.DISAGREEMENT: row.outcome in {Outcome.MAJORITY, Outcome.TIE},
            QueueView.LOW_CONFIDENCE: row.confidence < query.low_confidence,
            QueueView.TIES: row.outcome is Outcome.TIE,
            QueueView.UNREAD: row.outcome is Outcome.NO_QUORUM or bool(UNREAD & set(row.silences.values())),
            QueueView.AUDIT: row.audit,
            QueueView.ADJUDICATION: state.state is ReviewState.CONFLICT,
            QueueView.MINE: mine is not None and mine.label is not None,
            QueueView.SKIPPED: mine is not None and mine.skipped,
        }
        filters = (
            not query.dimension_id or row.dimension_id == query.dimension_id,
            query.label is None or row.label == query.label,
            query.outcome is None or row.outcome is query.outcome,
        )
        scope = True
        if query.scope is QueueScope.DONE:
            scope = state.labellers > 0
        elif query.scope is QueueScope.OPEN and query.view not in {*OWN, QueueView.ADJUDICATION}:
            scope = state.labellers < max(1, query.people) and mine is None
        return views[query.view] and all(filters) and scope


QUERIES = st.builds(
    QueueQuery,
    view=st.sampled_from(QueueView),
    scope=st.sampled_from(QueueScope),
    dimension_id=st.sampled_from(["", "", "fluency", "choice"]),
    label=st.sampled_from([None, None, None, 3]),
    outcome=st.sampled_from([None, None, None, Outcome.TIE]),
    low_confidence=st.sampled_from([LOW_CONFIDENCE, 0.3]),
    people=st.sampled_from([0, 1, 2, 3]),
    page_size=st.sampled_from([7, 50]),
)
FEW = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


def people_at_work(store: SqlStore, run: Run, ids: Sequence[int], seed: int) -> None:
    """Let three people label, skip, settle and take back, on the first rows."""
    rng = random.Random(seed)
    for _ in range(16):
        who, item_id, number = rng.choice(PEOPLE), rng.choice(ids[:TOUCHED]), rng.randrange(2)
        kind = rng.choice([CorrectionKind.LABEL] * 4 + [CorrectionKind.SKIP] * 2 + [CorrectionKind.ADJUDICATION, CorrectionKind.UNDO])
        if kind is CorrectionKind.UNDO:
            with suppress(LabelError):
                store.undo(run.id, who)
        else:
            store.append(run.id, item_id, Act(kind, who, None if kind is CorrectionKind.SKIP else number))


def pages(store: SqlStore, run: Run, query: QueueQuery, who: str) -> tuple[list[int], int]:
    """Return a queue read page by page up to the first empty one, and the length that its pages tell."""
    found: list[int] = []
    while True:
        page = store.queue(run.id, replace(query, page=len(found) // query.page_size), who)
        found += [row.item_id for row in page.rows]
        if len(page.rows) < query.page_size:
            return found, page.total


def compare(store: SqlStore, run: Run, ids: Sequence[int]) -> None:
    """Compare lists, places and counts of many queries with the model."""
    model = Model.of(store, run, ids[:TOUCHED])

    @FEW
    @given(query=QUERIES, who=st.sampled_from([*PEOPLE, "新来的"]))
    def check(query: QueueQuery, who: str) -> None:
        found, total = pages(store, run, query, who)
        assert len(found) == len(set(found)) == total
        assert set(found) == model.listed(query, who)
        if found:
            place = len(found) // 2
            beside = store.neighbours(run.id, query, found[place], who)
            assert (beside.index, beside.total) == (place, total)
            assert (beside.previous_id, beside.next_id) == (found[place - 1] if place else None, (*found, None)[place + 1])
        for count in store.view_counts(run.id, query, who):
            of_view = replace(query, view=count.view)
            assert count.total == len(model.listed(replace(of_view, scope=QueueScope.ANY), who)), count.view
            assert count.open == len(model.listed(replace(of_view, scope=QueueScope.OPEN), who)), count.view

    check()


def test_every_list_place_and_count_is_what_the_model_says_while_people_work(store: SqlStore) -> None:
    run = judged(store, add_run(store, ROWS, aggregator="pooled-median"))
    ids = [row.item_id for row in store.queue(run.id, EVERYTHING).rows]
    for seed in (1, 2):  # the second time much is remembered from the first
        people_at_work(store, run, ids, seed)
        compare(store, run, ids)


def test_the_same_holds_for_a_run_that_is_decided_anew(file_store: SqlStore) -> None:
    run = judged(file_store, add_run(file_store, ROWS, aggregator="pooled-median"))
    ids = [row.item_id for row in file_store.queue(run.id, EVERYTHING).rows]
    people_at_work(file_store, run, ids, 3)
    compare(file_store, file_store.set_aggregator(run.id, "reference-vote"), ids)


def test_orders_of_views_are_those_of_the_whole_queue(file_store: SqlStore) -> None:
    run = judged(file_store, add_run(file_store, ROWS, aggregator="pooled-median"))
    whole = [row.item_id for row in file_store.queue(run.id, EVERYTHING).rows if not row.audit]
    for view in (QueueView.DISAGREEMENT, QueueView.LOW_CONFIDENCE, QueueView.UNREAD):
        rows = file_store.queue(run.id, replace(EVERYTHING, view=view)).rows
        plain = [row.item_id for row in rows if not row.audit]
        assert plain == [item_id for item_id in whole if item_id in set(plain)], view
        risks = [(-(1_000.0 if row.expected_error is None else row.expected_error), -row.disagreement, row.position) for row in rows]
        assert risks == sorted(risks), view  # a view beside ALL mixes no share in


def test_a_row_outside_of_the_queue_leads_to_its_first_row(file_store: SqlStore) -> None:
    run = judged(file_store, add_run(file_store, 40, aggregator="pooled-median"))
    rows = file_store.queue(run.id, EVERYTHING).rows
    file_store.append(run.id, rows[3].item_id, Act(CorrectionKind.LABEL, "王", 1))
    beside = file_store.neighbours(run.id, QueueQuery(), rows[3].item_id, "王")
    first = file_store.queue(run.id, QueueQuery(), "王").rows[0].item_id
    assert (beside.index, beside.previous_id, beside.next_id, beside.total) == (None, None, first, 39)
    nothing = file_store.neighbours(run.id, QueueQuery(dimension_id="unknown"), rows[3].item_id)
    assert (nothing.next_id, nothing.total) == (None, 0)
    for query in (replace(EVERYTHING, view=QueueView.AUDIT), QueueQuery(QueueView.MINE)):
        listed = [row.item_id for row in file_store.queue(run.id, query, "王").rows]
        assert [file_store.neighbours(run.id, query, item_id, "王").index for item_id in listed] == list(range(len(listed)))
        assert listed
    for view in OWN:  # one's own views end where one has done nothing
        assert file_store.neighbours(run.id, QueueQuery(view), rows[0].item_id, "李").total == 0


def test_the_next_row_is_the_first_that_is_open_and_free(store: SqlStore) -> None:
    run = judged(store, add_run(store, ROWS, aggregator="pooled-median"))
    ids = [row.item_id for row in store.queue(run.id, QueueQuery(page_size=100)).rows]
    people_at_work(store, run, ids, 4)
    model = Model.of(store, run, ids[:TOUCHED])

    @FEW
    @given(who=st.sampled_from(PEOPLE), query=QUERIES)
    def check(who: str, query: QueueQuery) -> None:
        others = {row.item_id for row in store.queue(run.id, EVERYTHING).rows if row.leased_by not in {"", who}}
        lease = store.lease_next(run.id, query, who)
        free = model.listed(query, who, others)
        assert (lease is None) == (not free)
        if lease is not None:
            assert lease.item_id in free
            assert store.lease_of(run.id, lease.item_id, who) == lease
        if lease is not None and query.view is not QueueView.ALL:  # others' rows change where the share is mixed in
            shown, _ = pages(store, run, query, who)
            assert lease.item_id == next(item_id for item_id in shown if item_id in free)

    check()


def test_a_row_whose_judges_gave_nothing_stands_before_all_others_and_says_why(file_store: SqlStore) -> None:
    run = judged(file_store, add_run(file_store, 40, aggregator="pooled-median"))
    rows = [row for row in file_store.queue(run.id, EVERYTHING).rows if not row.audit]
    silent = [row for row in rows if row.outcome is Outcome.NO_QUORUM]
    assert silent
    assert rows[: len(silent)] == silent
    for row in silent:
        assert (row.label, row.current, row.expected_error, row.confidence, row.votes) == (None, None, None, 0.0, (None,) * 4)
        assert set(row.silences.values()) == {JudgementStatus.ABSTAINED}
        done = file_store.append(run.id, row.item_id, Act(CorrectionKind.LABEL, "王", 1))
        assert (done.event.previous_label, done.current) == (None, 1)
    assert all(row.people for row in file_store.queue(run.id, replace(EVERYTHING, scope=QueueScope.DONE)).rows)
