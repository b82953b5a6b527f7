"""What stored judgements say of judges, what a library was, and the labels that a sheet has itself."""

from __future__ import annotations

import pytest

from core.agreement import tables
from core.errors import NotFound
from core.review import GOLD, QueueQuery, QueueScope, Vote
from core.types import Decision, Judgement, JudgementStatus, Outcome
from db.judge_facts import JudgeFactsStore
from db.library_history import LibraryHistoryStore
from db.store import SqlStore
from tests.db.build import DIMENSIONS, JUDGES, add_library, add_sheet, panel, sheet_rows

ME = "here|1|1.0"


def test_facts_count_answers_and_quote_the_latest_failure(store: SqlStore) -> None:
    library = add_library(store)
    facts = JudgeFactsStore(store.engine)
    assert facts.judge_facts("small") == {}
    runs = [store.create_run(add_sheet(store, 6, f"{n}" * 64).id, library.id, panel(), "pooled-median") for n in (1, 2)]
    for number, run in enumerate(runs):
        items = list(store.iter_items(run.sheet_id))
        store.save_judgements(run.id, [Judgement("first", item.id, JudgementStatus.OK, latency_ms=10) for item in items[:5]])
        broken = {"zh": f"坏了 {number}", "en": f"broken {number}"}
        store.save_judgements(run.id, [Judgement("first", items[5].id, JudgementStatus.FAILED, latency_ms=70, error=broken)])
    found = facts.judge_facts("small")["first"]
    assert (found.answers, found.by_status[JudgementStatus.FAILED], found.mean_latency_ms) == (12, 2, 20)
    assert found.last_error is not None
    assert (found.last_error.run_id, found.last_error.words["en"]) == (runs[1].id, "broken 1")
    assert facts.panel_runs() == {"small": 2}


def test_a_library_remembers_its_versions_and_every_label_with_its_reason(store: SqlStore) -> None:
    library = add_library(store, 12)
    history = LibraryHistoryStore(store.engine)
    item = store.library_items(library.id)[0]
    other = next(label for label in DIMENSIONS[item.dimension_id].labels if label != item.label)
    change = store.relabel_example(library.id, item.id, other, "Lin")
    history.note_reason(change.added[0], "two slips\0")
    newest, oldest = history.library_versions(library.id)
    assert [(v.sequence, v.size, v.added, v.retired) for v in (oldest, newest)] == [(1, 12, 12, 0), (2, 12, 1, 1)]
    detail = history.example_detail(library.id, item.id)
    assert [row.item.label for row in detail.labels] == [other, item.label]
    assert detail.row.retired_at is not None
    assert detail.reasons == {change.added[0]: "two slips\N{REPLACEMENT CHARACTER}"}
    with pytest.raises(NotFound, match="no example"):
        history.example_detail(library.id + 1, item.id)


def test_labels_of_the_sheet_stand_among_the_raters_and_their_cells_open_their_rows(store: SqlStore) -> None:
    rows = list(sheet_rows(30, gold=True, names=("fluency",)))
    facts = {"format": "csv", "encoding": "utf-8", "worksheet": "", "columns": (), "mapping": {}}
    sheet = store.add_sheet(name="a.csv", sha256="9" * 64, rows=rows, **facts)  # type: ignore[arg-type]
    run = store.create_run(sheet.id, add_library(store).id, panel(), "pooled-median")
    store.claim(run.id, ME)
    shares = dict.fromkeys(range(1, 6), 0.2)
    items = list(store.iter_items(sheet.id))
    said = {item.id: 3 if item.position % 2 else item.gold or 1 for item in items}
    for judge in JUDGES:
        store.save_judgements(run.id, [Judgement(judge, key, JudgementStatus.OK, shares, label) for key, label in said.items()])
    decided = {key: Decision(label, 3.0, shares, Outcome.UNANIMOUS, 0.0, "x") for key, label in said.items()}
    store.save_verdicts(run.id, "pooled-median", decided)
    found = tables(store.vote_counts(run.id), {"fluency": DIMENSIONS["fluency"]})
    pair = found.pair("first", GOLD, "fluency")
    assert pair is not None
    assert pair.n == 30
    for row, column in ((2, 0), (0, 0), (4, 4)):
        query = pair.cell(row, column)
        assert store.queue(run.id, query, "").total == pair.matrix[row][column]
    nobody = QueueQuery(scope=QueueScope.ANY, votes=(Vote(GOLD, 9),))
    assert store.queue(run.id, nobody, "").total == 0
