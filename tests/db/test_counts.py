"""What pages count of runs, against plain counting in Python: agreement, lists of runs, the columns runs are compared by."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import pytest

from core.errors import NotFound
from core.review import Flag, QueueQuery, QueueScope, ReviewState, VoteCount
from core.types import CorrectionKind, JudgementStatus, Outcome, Run, RunState
from db.corrections import Act
from db.run_desk import NO_LABEL
from db.store import SqlStore
from tests.db.build import JUDGES, add_library, add_run, decision, judgement, panel, sheet_rows
from tests.db.test_review import judged

PEOPLE = ("王", "李", "张")
EVERYTHING = QueueQuery(scope=QueueScope.ANY, page_size=100)
Patterns = Counter[tuple[str, tuple[int | None, ...]]]


@pytest.fixture
def run(store: SqlStore) -> Run:
    """A finished run of a sheet with labels of its own on every second row, labelled here and there by three people."""
    rows = [replace(row, gold=None if row.position % 2 else row.gold) for row in sheet_rows(36, gold=True)]
    facts = {"name": "a.csv", "sha256": "9" * 64, "format": "csv", "encoding": "", "worksheet": "", "columns": (), "mapping": {}}
    sheet = store.add_sheet(rows=rows, **facts)  # type: ignore[arg-type]
    run = judged(store, store.create_run(sheet.id, add_library(store).id, panel(), "pooled-median"))
    rng = random.Random(5)
    for item in store.items(sheet.id)[:12]:
        for author in rng.sample(PEOPLE, rng.randrange(4)):
            flags = tuple(flag for flag in Flag if rng.random() < 0.3)
            store.append(run.id, item.id, Act(CorrectionKind.LABEL, author, rng.choice([0, 1]), flags=flags, blind=rng.random() < 0.7))
    store.append(run.id, store.items(sheet.id)[0].id, Act(CorrectionKind.SKIP, "赵", flags=(Flag.HARD,)))
    store.undo(run.id, "王")
    return run


def patterns(counts: Iterable[VoteCount]) -> Patterns:
    found: Patterns = Counter()
    for count in counts:
        assert (count.dimension_id, count.labels) not in found, "a pattern stands twice"
        found[count.dimension_id, count.labels] += count.rows
    return found


def tally(rows: Iterable[tuple[str, Sequence[int | None]]]) -> Patterns:
    return Counter((name, tuple(labels)) for name, labels in rows)


def test_agreement_is_counted_as_one_would_by_hand(store: SqlStore, run: Run) -> None:
    for blind_only in (True, False):
        check_agreement(store, run, blind_only=blind_only)


def check_agreement(store: SqlStore, run: Run, *, blind_only: bool) -> None:
    rows = store.queue(run.id, EVERYTHING).rows
    gold = {item.id: item.gold for item in store.items(run.sheet_id)}
    votes = {row.item_id: (*row.votes, row.label) for row in rows}
    given: dict[int, dict[str, int]] = defaultdict(dict)
    for row in rows:
        for person in store.item_state(row.item_id).people:
            label = person.blind_label if blind_only else person.label
            if label is not None:
                given[row.item_id][person.author] = label
    counts = store.vote_counts(run.id, blind_only=blind_only)
    assert (counts.run_id, counts.judges, counts.blind_only) == (run.id, JUDGES, blind_only)
    assert patterns(counts.panel) == tally((row.dimension_id, votes[row.item_id]) for row in rows)
    labelled = [row for row in rows if gold[row.item_id] is not None]
    assert patterns(counts.gold) == tally((row.dimension_id, (gold[row.item_id], *votes[row.item_id])) for row in labelled)
    for name in PEOPLE:
        mine = [row for row in rows if name in given[row.item_id]]
        wanted = tally((row.dimension_id, (given[row.item_id][name], *votes[row.item_id])) for row in mine)
        assert patterns(counts.people[name]) == wanted
    assert set(counts.both) <= set(combinations(sorted(PEOPLE), 2))  # each pair once
    for pair in combinations(sorted(PEOPLE), 2):
        shared = [row for row in rows if given[row.item_id].keys() >= set(pair)]
        wanted = tally((row.dimension_id, [given[row.item_id][name] for name in pair]) for row in shared)
        assert patterns(counts.both.get(pair, ())) == wanted
    several = [row for row in rows if row.people > 1 and given[row.item_id]]
    assert patterns(counts.everyone) == tally((row.dimension_id, sorted(given[row.item_id].values())) for row in several)
    live = [event for row in rows for event in store.events(row.item_id) if not event.retracted]
    assert counts.flags == Counter(flag for event in live for flag in event.flags)
    assert counts.flags[Flag.HARD] > 0


def test_agreement_of_a_run_without_anything_is_empty(file_store: SqlStore) -> None:
    run = add_run(file_store, 3)
    counts = file_store.vote_counts(run.id)
    assert (counts.panel, counts.gold, counts.everyone, counts.people, counts.both, counts.flags) == ((), (), (), {}, {}, {})
    with pytest.raises(NotFound):
        file_store.vote_counts(99)


def test_a_judge_that_gave_no_label_leaves_its_place_empty(file_store: SqlStore) -> None:
    run = add_run(file_store, 3)
    ids = [item.id for item in file_store.items(run.sheet_id)]
    file_store.save_judgements(run.id, [judgement("fourth", ids[0], 5), judgement("second", ids[0], 2)])
    off_menu = replace(judgement("first", ids[1], 4), status=JudgementStatus.OFF_MENU)  # a label beside a status that is no vote
    file_store.save_judgements(run.id, [off_menu])
    file_store.save_verdicts(run.id, "majority", {ids[0]: decision(3), ids[1]: decision(None, outcome=Outcome.NO_QUORUM)})
    found = {count.labels for count in file_store.vote_counts(run.id).panel}
    assert found == {(None, 2, None, 5, 3), (None,) * 5}


def test_a_line_of_the_list_counts_what_was_decided_and_what_people_did(store: SqlStore, run: Run) -> None:
    line = store.run_line(run.id)
    assert store.run_lines() == [line]
    rows = store.queue(run.id, EVERYTHING).rows
    states = {row.item_id: store.item_state(row.item_id) for row in rows}
    counts = line.counts
    assert (counts.decided, counts.by_outcome) == (36, Counter(row.outcome for row in rows))
    assert counts.labelled == sum(state.state is not ReviewState.OPEN for state in states.values())
    assert counts.conflicts == sum(state.state is ReviewState.CONFLICT for state in states.values()) > 0
    assert counts.changed == sum(states[row.item_id].label not in {None, row.label} for row in rows) > 0
    disputed = next(item_id for item_id, state in states.items() if state.state is ReviewState.CONFLICT)
    store.append(run.id, disputed, Act(CorrectionKind.ADJUDICATION, "赵", 9))
    after = store.run_line(run.id).counts
    assert (after.labelled, after.conflicts, after.settled, after.changed) == (
        counts.labelled,
        counts.conflicts - 1,
        1,
        counts.changed + 1,
    )
    with pytest.raises(NotFound):
        store.run_line(99)


def test_lists_of_runs_are_newest_first_in_pages_and_deleted_ones_apart(file_store: SqlStore) -> None:
    first = add_run(file_store, 2)
    runs = [first, *(file_store.create_run(first.sheet_id, first.library_id, panel(), "majority") for _ in range(4))]
    ids = [run.id for run in reversed(runs)]
    assert [line.run.id for line in file_store.run_lines()] == [run.id for run in file_store.runs()] == ids
    assert [line.run.id for offset in (0, 2, 4, 6) for line in file_store.run_lines(2, offset)] == ids
    file_store.delete_run(ids[1])
    assert file_store.delete_run(ids[3]).state is RunState.STOPPED
    deleted_at = file_store.delete_run(ids[3]).deleted_at  # twice changes nothing
    assert [line.run.id for line in file_store.run_lines()] == [ids[0], ids[2], ids[4]] == [run.id for run in file_store.runs()]
    assert [line.run.id for line in file_store.run_lines(deleted=True)] == [ids[1], ids[3]]
    assert (file_store.run_total(), file_store.run_total(deleted=True)) == (3, 2)
    line = file_store.run_line(ids[3])
    assert line.deleted_at == deleted_at == file_store.run(ids[3]).deleted_at
    assert (line.counts.decided, line.counts.by_outcome, line.rate) == (0, {}, None)
    assert file_store.restore_run(ids[3]).deleted_at is None
    assert (file_store.run_total(), file_store.run_total(deleted=True)) == (4, 1)


def test_columns_hold_what_the_rows_hold(file_store: SqlStore) -> None:
    rows = [replace(row, gold=None if row.position == 1 else row.gold) for row in sheet_rows(4, gold=True)]
    facts = {"name": "a.csv", "sha256": "9" * 64, "format": "csv", "encoding": "", "worksheet": "", "columns": (), "mapping": {}}
    sheet = file_store.add_sheet(rows=rows, **facts)  # type: ignore[arg-type]
    run = file_store.create_run(sheet.id, add_library(file_store).id, panel(), "majority")
    items = file_store.items(sheet.id)
    columns = file_store.sheet_columns(sheet.id)
    assert (list(columns.item_ids), columns.dimensions) == ([item.id for item in items], tuple(item.dimension_id for item in items))
    assert list(columns.gold) == [NO_LABEL if item.gold is None else item.gold for item in items]
    assert [(key.external_id, key.content_hash) for key in file_store.sheet_keys(sheet.id)] == [
        (item.external_id, item.content_hash) for item in items
    ]
    assert file_store.verdict_columns(run).item_ids.size == 0
    empty = file_store.add_sheet(rows=[], **{**facts, "sha256": "8" * 64})  # type: ignore[arg-type]
    assert (file_store.sheet_columns(empty.id).item_ids.size, file_store.sheet_keys(empty.id)) == (0, [])
    silent = decision(None, outcome=Outcome.NO_QUORUM)
    file_store.save_verdicts(run.id, "majority", {items[3].id: decision(2), items[0].id: silent, items[1].id: decision(5)})
    found = file_store.verdict_columns(run)  # a run at work is read anew each time
    assert (list(found.item_ids), list(found.labels)) == ([items[0].id, items[1].id, items[3].id], [NO_LABEL, 5, 2])
    assert math.isnan(found.expected[0])
    assert list(found.expected[1:]) == [5.125, 2.125]
    file_store.save_verdicts(run.id, "majority", {items[1].id: decision(1)})
    assert list(file_store.verdict_columns(run).labels) == [NO_LABEL, 1, 2]
    assert file_store.verdict_columns(replace(run, aggregator="other")).item_ids.size == 0
    assert file_store.items_by_id([items[2].id, 10**6, items[0].id]) == {items[2].id: items[2], items[0].id: items[0]}
    assert file_store.items_by_id([]) == {}


def test_what_is_remembered_of_a_run_is_forgotten_when_it_is_decided_anew(file_store: SqlStore) -> None:
    run = judged(file_store, add_run(file_store, 12, aggregator="pooled-median"))
    assert not file_store.columns_at_hand(run, run)
    before = file_store.verdict_columns(run)
    file_store.sheet_columns(run.sheet_id)
    assert file_store.columns_at_hand(run, run)
    assert file_store.verdict_columns(run) is before
    counts = file_store.vote_counts(run.id)
    file_store.set_aggregator(run.id, "reference-vote")
    assert file_store.run_line(run.id).counts.decided == 0
    again = judged(file_store, file_store.run(run.id), seed=9)
    assert not file_store.columns_at_hand(again, again)
    fresh = SqlStore(file_store.engine)
    assert list(file_store.verdict_columns(again).labels) == list(fresh.verdict_columns(again).labels)
    assert file_store.run_line(run.id) == fresh.run_line(run.id)
    assert patterns(file_store.vote_counts(run.id).panel) == patterns(fresh.vote_counts(run.id).panel) != patterns(counts.panel)


def test_labels_of_a_sheet_are_those_that_people_agree_on_or_settled(file_store: SqlStore) -> None:
    run = add_run(file_store, 5)
    agreed, disputed, settled, undone, _ = [item.id for item in file_store.items(run.sheet_id)]
    acts = [(agreed, "王", 0), (disputed, "王", 1), (disputed, "李", 2), (settled, "王", 1), (settled, "李", 2), (undone, "王", 4)]
    for item_id, author, label in acts:
        file_store.append(run.id, item_id, Act(CorrectionKind.LABEL, author, label))
    file_store.append(run.id, settled, Act(CorrectionKind.ADJUDICATION, "张", 3))
    file_store.undo(run.id, "王", undone)
    assert file_store.people_labels(run.sheet_id) == {agreed: 0, settled: 3}
    assert file_store.people_labels(99) == {}
    assert file_store.corrected_count() == 3
