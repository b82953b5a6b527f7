"""Answers that are no votes are asked for again; votes never are, and nothing that was answered is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import NotFound, RunTaken
from core.queries import RowQuery
from core.review import QueueQuery, QueueScope
from core.types import CorrectionKind, Judgement, JudgementStatus, Outcome, Run, RunState
from db.corrections import Act
from db.store import SqlStore
from db.workers import current_worker
from tests.db.build import JUDGES, add_run, decision, judgement

TROUBLE = {"second": JudgementStatus.FAILED, "third": JudgementStatus.OFF_MENU, "fourth": JudgementStatus.ABSTAINED}
AWAY = {"zh": "服务不在", "en": "The server is away."}


def answer(judge: str, item_id: int, position: int) -> Judgement:
    """Return a vote, and on every third item what went wrong with the judges of TROUBLE."""
    vote = judgement(judge, item_id)
    if position % 3 or judge not in TROUBLE:
        return vote
    return replace(vote, status=TROUBLE[judge], label=None, probabilities={}, raw_reply="不知道", error=AWAY)


@pytest.fixture
def run(store: SqlStore) -> Run:
    """A finished run of nine rows; rows 0, 3 and 6 have a vote, a failure, a reply off the menu and an abstention."""
    run = add_run(store, 9)
    store.claim(run.id, current_worker())
    items = store.items(run.sheet_id)
    store.save_judgements(run.id, [answer(judge, item.id, item.position) for item in items for judge in JUDGES])
    store.save_verdicts(run.id, run.aggregator, {item.id: decision(3) for item in items})
    store.finish(run.id, current_worker())
    return store.run(run.id)


def work(store: SqlStore, run: Run) -> list[tuple[int, str]]:
    """Answer what is missing with votes, decide and finish; return what was asked."""
    store.claim(run.id, current_worker())
    missing = [
        (work.item.id, judge) for work in store.work_items(run.id, JUDGES, -1, 100) for judge in JUDGES if judge not in work.judged_by
    ]
    store.save_judgements(run.id, [judgement(judge, item_id, 4) for item_id, judge in missing])
    undecided = store.undecided(run.id, run.aggregator, -1, 100)
    store.save_verdicts(run.id, run.aggregator, {item.id: decision(4, outcome=Outcome.UNANIMOUS) for item, _ in undecided})
    store.finish(run.id, current_worker())
    return missing


def test_only_what_is_no_vote_is_answered_again_and_both_answers_are_kept(store: SqlStore, run: Run) -> None:
    items = store.items(run.sheet_id)
    store.append(run.id, items[3].id, Act(CorrectionKind.LABEL, "林", 2))
    votes = {(row.item.id, j.judge_id): j for row in store.rows(run.id, RowQuery()).rows for j in row.judgements if j.label is not None}
    assert store.troubles(run.id) == 6
    assert store.ask_again(run.id, "林") == 6
    assert store.run(run.id).state is RunState.QUEUED
    assert store.troubles(run.id) == 0
    everything = QueueQuery(scope=QueueScope.ANY)
    assert store.queue(run.id, everything).total == 9  # the rows stay in sight meanwhile
    assert store.progress(run.id).decided == 6

    assert work(store, run) == [(items[place].id, judge) for place in (0, 3, 6) for judge in ("second", "third")]
    assert store.progress(run.id).decided == 9
    after = {(row.item.id, j.judge_id): j for row in store.rows(run.id, RowQuery()).rows for j in row.judgements}
    assert {key: after[key] for key in votes} == votes
    assert [after[items[0].id, judge].status for judge in JUDGES] == ["ok", "ok", "ok", "abstained"]
    found = store.row(run.id, items[0].id)
    assert [(old.judge_id, old.status, old.raw_reply, old.author) for old in found.replaced] == [
        ("second", JudgementStatus.FAILED, "不知道", "林"),
        ("third", JudgementStatus.OFF_MENU, "不知道", "林"),
    ]
    assert found.replaced[0].error == AWAY
    row = store.queue_row(run.id, items[3].id)
    assert row is not None
    assert (row.label, row.current, row.people) == (4, 2, 1)  # what a person said stays
    counts = {judge.judge_id: dict(judge.by_status) for judge in store.progress(run.id).judges}
    assert counts["second"] == {JudgementStatus.OK: 9}
    assert counts["fourth"] == {JudgementStatus.OK: 6, JudgementStatus.ABSTAINED: 3}
    assert store.unmarked_runs() == [run.id]  # another verdict may be the worst of a family now
    assert store.ask_again(run.id) == 0
    assert store.run(run.id).state is RunState.DONE


def test_one_row_or_one_judge_can_be_asked_alone_but_not_while_a_worker_is_at_it(store: SqlStore, run: Run) -> None:
    items = store.items(run.sheet_id)
    assert store.ask_again(run.id, item_id=items[3].id, judge_id="third") == 1
    assert work(store, run) == [(items[3].id, "third")]
    assert store.ask_again(run.id, judge_id="second") == 3
    assert store.ask_again(run.id, item_id=items[1].id) == 0
    store.claim(run.id, current_worker())
    with pytest.raises(RunTaken):
        store.ask_again(run.id)
    with pytest.raises(NotFound):
        store.ask_again(99)
