"""What the run loop stores: unique, unchanged by repetition, and counted exactly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from core.errors import StoreError
from core.types import Example, Judgement, JudgementStatus, LabelledItem, LocalText, Outcome, Run
from db.store import SqlStore
from tests.db.build import JUDGES, add_run, decision, judgement


@pytest.fixture
def run(store: SqlStore) -> Run:
    return add_run(store, 12)


def ids_of(store: SqlStore, run: Run) -> list[int]:
    return [item.id for item in store.items(run.sheet_id)]


def shown(items: list[LabelledItem], *places: int) -> list[Example]:
    return [Example(items[place], 1 / 3 - place / 100, rank, "ngram-1") for rank, place in enumerate(places)]


def test_work_is_what_is_not_judged_by_all(store: SqlStore, run: Run) -> None:
    ids = ids_of(store, run)
    assert [work.item.id for work in store.work_items(run.id, JUDGES, -1, 5)] == ids[:5]
    store.save_judgements(run.id, [judgement(judge, item_id) for item_id in ids[:4] for judge in JUDGES])
    store.save_judgements(run.id, [judgement("second", item_id) for item_id in ids[4:6]])
    work = store.work_items(run.id, JUDGES, -1, 3)
    assert [entry.item.id for entry in work] == ids[4:7]
    assert [entry.judged_by for entry in work] == [{"second"}, {"second"}, frozenset()]
    assert [entry.item.id for entry in store.work_items(run.id, ["second"], -1, 2)] == ids[6:8]
    assert [entry.item.position for entry in store.work_items(run.id, JUDGES, 9, 10)] == [10, 11]
    assert store.work_items(run.id, JUDGES, 11, 10) == []


def test_the_first_stored_judgement_stays(store: SqlStore, run: Run) -> None:
    item = ids_of(store, run)[0]
    shares = {5: 0.1, 1: 0.1 + 0.2, 2: 0.3, 3: 0.1, 4: 0.2 - 1e-17}
    first = replace(judgement("first", item, 2), probabilities=shares, raw_reply="2\0\ud83d")
    store.save_judgements(run.id, [first, judgement("first", item, 4), judgement("second", item)])
    store.save_judgements(run.id, [judgement("first", item, 5)])
    stored = {kept.judge_id: kept for kept in store.row(run.id, item).judgements}
    assert stored["first"] == replace(first, raw_reply="2\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}")
    assert list(stored["first"].probabilities) == [1, 2, 3, 4, 5]
    assert stored["second"] == judgement("second", item)
    assert [judge.done for judge in store.progress(run.id).judges] == [1, 1, 0, 0]


@pytest.mark.parametrize("words", [{}, {"zh": "好", "en": "good"}, {"": "{as the model says it}"}, {"en": 'a "quote"\n'}])
def test_words_come_back_in_every_language_as_they_were_said(store: SqlStore, run: Run, words: LocalText) -> None:
    item = ids_of(store, run)[0]
    given = Judgement("first", item, JudgementStatus.FAILED, rationale=words, error=words)
    store.save_judgements(run.id, [given, replace(given, judge_id="second", error={"en": "cut \0 off"})])
    first, second = store.row(run.id, item).judgements
    assert first == given
    assert second.error == {"en": "cut \N{REPLACEMENT CHARACTER} off"}


def test_threads_that_store_the_same_answers_leave_each_once_and_counted_once(store: SqlStore, run: Run) -> None:
    ids = ids_of(store, run)

    def answer(worker: int) -> None:
        for judge in JUDGES:
            store.save_judgements(run.id, [judgement(judge, item_id, 1 + worker) for item_id in ids])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(answer, range(4)))
    progress = store.progress(run.id)
    assert [judge.by_status for judge in progress.judges] == [{JudgementStatus.OK: 12}] * 4
    assert [judge.mean_latency_ms for judge in progress.judges] == [pytest.approx(2.5)] * 4
    assert all(len(store.row(run.id, item_id).judgements) == 4 for item_id in ids)


def test_an_item_keeps_the_examples_it_was_shown_first(store: SqlStore, run: Run) -> None:
    ids, items = ids_of(store, run), store.library_items(run.library_id)
    first = shown(items, 4, 2)
    store.save_examples(run.id, {ids[0]: first})
    store.save_examples(run.id, {ids[0]: shown(items, 1, 5, 6), ids[1]: shown(items, 3), ids[2]: []})
    work = store.work_items(run.id, JUDGES, -1, 3)
    assert [entry.examples for entry in work] == [tuple(first), tuple(shown(items, 3)), None]


def test_an_example_of_another_database_is_refused_with_a_way_out(store: SqlStore, run: Run) -> None:
    ids, items = ids_of(store, run), store.library_items(run.library_id)
    stranger = replace(items[0], id=999_999)
    with pytest.raises(StoreError, match="reindex"):
        store.save_examples(run.id, {ids[0]: [Example(stranger, 0.5, 0, "old")]})


def test_only_rows_that_all_judges_have_answered_are_to_decide(store: SqlStore, run: Run) -> None:
    ids = ids_of(store, run)
    store.save_judgements(run.id, [judgement(judge, item_id) for item_id in ids[:6] for judge in reversed(JUDGES)])
    store.save_judgements(run.id, [judgement("first", ids[6])])
    ready = store.undecided(run.id, "majority", -1, 4)
    assert [item.id for item, _ in ready] == ids[:4]
    assert [kept.judge_id for kept in ready[0][1]] == sorted(JUDGES)
    assert [item.id for item, _ in store.undecided(run.id, "majority", 3, 4)] == ids[4:6]
    store.save_verdicts(run.id, "majority", {item.id: decision(3) for item, _ in ready})
    assert [item.id for item, _ in store.undecided(run.id, "majority", -1, 9)] == ids[4:6]


def test_another_aggregator_replaces_verdicts(store: SqlStore, run: Run) -> None:
    ids = ids_of(store, run)
    store.save_judgements(run.id, [judgement(judge, item_id) for item_id in ids for judge in JUDGES])
    store.save_verdicts(run.id, "majority", {item_id: decision(3) for item_id in ids})
    store.set_aggregator(run.id, "median")
    assert store.progress(run.id).decided == 0
    assert [item.id for item, _ in store.undecided(run.id, "median", -1, 99)] == ids
    store.save_verdicts(run.id, "median", {item_id: decision(None, 0.5, Outcome.NO_QUORUM) for item_id in ids[:5]})
    progress = store.progress(run.id)
    assert (progress.decided, progress.by_outcome) == (5, {Outcome.NO_QUORUM: 5})
    verdict = store.row(run.id, ids[0]).verdict
    assert verdict is not None
    assert (verdict.aggregator, verdict.decision) == ("median", decision(None, 0.5, Outcome.NO_QUORUM))
    kept = store.row(run.id, ids[5]).verdict
    assert kept is not None
    assert kept.aggregator == "majority"


def test_progress_tells_counts_rate_and_time_left(store: SqlStore, run: Run) -> None:
    assert store.progress(run.id).rate is None
    store.claim(run.id, "elsewhere|1|1.0")
    store.set_stage(run.id, "elsewhere|1|1.0", "judging")
    ids = ids_of(store, run)
    store.save_judgements(run.id, [judgement(judge, item_id) for item_id in ids[:6] for judge in JUDGES])
    store.save_judgements(run.id, [Judgement("first", ids[6], JudgementStatus.ABSTAINED, error={"zh": "太短", "en": "too short"})])
    store.save_verdicts(run.id, "majority", {ids[0]: decision(3), ids[1]: decision(4, 0.1, Outcome.TIE), ids[2]: decision(1)})
    progress = store.progress(run.id)
    assert (progress.total, progress.decided, progress.stage) == (12, 3, "judging")
    assert progress.by_outcome == {Outcome.MAJORITY: 2, Outcome.TIE: 1}
    assert progress.by_dimension == {"choice": 4, "fluency": 4, "normativity": 4}
    assert progress.label_counts == {"choice": {1: 1}, "fluency": {3: 1}, "normativity": {4: 1}}
    assert progress.judges[0].by_status == {JudgementStatus.OK: 6, JudgementStatus.ABSTAINED: 1}
    assert progress.rate is not None
    assert progress.seconds_left == pytest.approx((12 - 25 / 4) / progress.rate)
    store.finish(run.id, "elsewhere|1|1.0")
    assert store.progress(run.id).seconds_left == 0.0
