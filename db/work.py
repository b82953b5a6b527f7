"""What the run loop reads and writes: work, examples, judgements, verdicts (core.ports.RunStore)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, func, select
from sqlalchemy.dialects import postgresql, sqlite

from core.ports import WorkItem
from core.review import ReviewState, audit_key, expected_error
from core.types import Decision, Example, Item, Judgement, JudgementStatus
from db.base import IN_CHUNK, AnyRow, StoreBase, chunked, clean, clean_words, dialect_insert, now, spans
from db.engine import reading, writing
from db.models import ItemLabelRecord, ItemRecord, JudgementRecord, LibraryItemRecord, RunRecord, ShownRecord, TallyRecord, VerdictRecord
from db.records import (
    JUDGEMENT_COLUMNS,
    LABELLED_COLUMNS,
    STATUS_BITS,
    example_row,
    item_of,
    judgement_of,
    labelled_of,
    panel_of,
    select_items,
)
from db.runs import locked_run


class WorkStore(StoreBase):
    """Keeps what judges answered and what became of it."""

    def work_items(self, run_id: int, judge_ids: Sequence[str], after_position: int, limit: int) -> list[WorkItem]:
        """Return, in sheet order, items at positions above `after_position` not judged by all of `judge_ids`.

        At most `limit`, each with the examples already stored (None when none are) and who has judged it.
        """
        judged = (
            select(func.count())
            .select_from(JudgementRecord)
            .where(JudgementRecord.run_id == run_id, JudgementRecord.item_id == ItemRecord.id, JudgementRecord.judge_id.in_(judge_ids))
            .scalar_subquery()
        )
        query = (
            select_items()
            .join(RunRecord, RunRecord.sheet_id == ItemRecord.sheet_id)
            .where(RunRecord.id == run_id, ItemRecord.position > after_position, judged < len(set(judge_ids)))
            .order_by(ItemRecord.position)
            .limit(limit)
        )
        with reading(self.engine) as connection:
            items = [item_of(row) for row in connection.execute(query)]
            ids = [item.id for item in items]
            judges = _judges_by_item(connection, run_id, ids)
            examples = examples_by_item(connection, run_id, ids)
        return [WorkItem(item, examples.get(item.id), frozenset(judges.get(item.id, ()))) for item in items]

    def save_examples(self, run_id: int, examples: Mapping[int, Sequence[Example]]) -> None:
        """Store what was shown for each item id; an item that has stored examples keeps the first ones."""
        with writing(self.engine) as connection:
            locked_run(connection, run_id)
            stored = _items_with_examples(connection, run_id, list(examples))
            rows = [
                example_row(run_id, item_id, example) for item_id, shown in examples.items() if item_id not in stored for example in shown
            ]
            if rows:
                connection.execute(dialect_insert(connection, ShownRecord).on_conflict_do_nothing(), rows)

    def save_judgements(self, run_id: int, judgements: Iterable[Judgement]) -> None:
        """Store judgements in one transaction; (run, item, judge) is unique and the first stored one stays."""
        with writing(self.engine) as connection:
            locked_run(connection, run_id)
            for chunk in chunked(judgements, IN_CHUNK):
                _save_judgements(connection, run_id, chunk)

    def undecided(self, run_id: int, aggregator: str, after_position: int, limit: int) -> list[tuple[Item, list[Judgement]]]:
        """Return, in sheet order, at most `limit` items above `after_position` that every judge of the panel has judged
        and that have no verdict of `aggregator` yet, with all their judgements in the order of the judges' ids."""
        judged = (
            select(func.count())
            .select_from(JudgementRecord)
            .where(JudgementRecord.run_id == run_id, JudgementRecord.item_id == ItemRecord.id)
            .scalar_subquery()
        )
        verdict = exists().where(
            VerdictRecord.run_id == run_id, VerdictRecord.item_id == ItemRecord.id, VerdictRecord.aggregator == aggregator
        )
        query = (
            select_items()
            .join(RunRecord, RunRecord.sheet_id == ItemRecord.sheet_id)
            .where(RunRecord.id == run_id, ItemRecord.position > after_position, ~verdict, judged >= RunRecord.judge_count)
            .order_by(ItemRecord.position)
            .limit(limit)
        )
        with reading(self.engine) as connection:
            items = [item_of(row) for row in connection.execute(query)]
            judgements = judgements_by_item(connection, run_id, [item.id for item in items])
        return [(item, judgements[item.id]) for item in items]

    def save_verdicts(self, run_id: int, aggregator: str, decisions: Mapping[int, Decision]) -> None:
        """Store the decision of each item id in one transaction, replacing an earlier verdict of the item in this run."""
        with writing(self.engine) as connection:
            run = locked_run(connection, run_id)
            for ids in spans(list(decisions)):
                _save_verdicts(connection, run, aggregator, {item_id: decisions[item_id] for item_id in ids})


def judgements_by_item(connection: Connection, run_id: int, item_ids: Sequence[int]) -> dict[int, list[Judgement]]:
    """Return the judgements of each item, ordered by judge id."""
    found: dict[int, list[Judgement]] = defaultdict(list)
    for ids in spans(item_ids):
        query = select(*JUDGEMENT_COLUMNS).where(JudgementRecord.run_id == run_id, JudgementRecord.item_id.in_(ids))
        for row in connection.execute(query):
            judgement = judgement_of(row)
            found[judgement.item_id].append(judgement)
    for judgements in found.values():
        judgements.sort(key=lambda judgement: judgement.judge_id)
    return found


def examples_by_item(connection: Connection, run_id: int, item_ids: Sequence[int]) -> dict[int, tuple[Example, ...]]:
    """Return the examples shown for each item, by rank; items without any are left out."""
    found: dict[int, list[Example]] = defaultdict(list)
    columns = (ShownRecord.item_id, ShownRecord.similarity, ShownRecord.rank, ShownRecord.index_version, *LABELLED_COLUMNS)
    for ids in spans(item_ids):
        query = (
            select(*columns)
            .join(LibraryItemRecord, LibraryItemRecord.id == ShownRecord.library_item_id)
            .where(ShownRecord.run_id == run_id, ShownRecord.item_id.in_(ids))
            .order_by(ShownRecord.item_id, ShownRecord.rank)
        )
        for item_id, similarity, rank, version, *labelled in connection.execute(query):
            found[item_id].append(Example(labelled_of(labelled), similarity, rank, version))
    return {item_id: tuple(examples) for item_id, examples in found.items()}


def _judges_by_item(connection: Connection, run_id: int, item_ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    record = JudgementRecord
    for ids in spans(item_ids):
        for item_id, judge_id in connection.execute(
            select(record.item_id, record.judge_id).where(record.run_id == run_id, record.item_id.in_(ids))
        ):
            found[item_id].append(judge_id)
    return found


def _items_with_examples(connection: Connection, run_id: int, item_ids: Sequence[int]) -> set[int]:
    found: set[int] = set()
    for ids in spans(item_ids):
        query = select(ShownRecord.item_id).distinct().where(ShownRecord.run_id == run_id, ShownRecord.item_id.in_(ids))
        found.update(connection.execute(query).scalars())
    return found


def _save_judgements(connection: Connection, run_id: int, judgements: Sequence[Judgement]) -> None:
    """Insert what is new and count it. The run is locked, so nothing comes between the look and the insert."""
    stored = {
        (item_id, judge_id)
        for item_id, judges in _judges_by_item(connection, run_id, sorted({judgement.item_id for judgement in judgements})).items()
        for judge_id in judges
    }
    new = {(j.item_id, j.judge_id): j for j in reversed(judgements) if (j.item_id, j.judge_id) not in stored}
    if not new:
        return
    moment = now()
    rows = [
        {
            "run_id": run_id,
            "item_id": judgement.item_id,
            "judge_id": judgement.judge_id,
            "status": judgement.status,
            "label": judgement.label,
            "probabilities": judgement.probabilities,
            "raw_reply": clean(judgement.raw_reply),
            "rationale": clean_words(judgement.rationale),
            "prompt_sha256": judgement.prompt_sha256,
            "latency_ms": judgement.latency_ms,
            "tokens": judgement.tokens,
            "error": clean_words(judgement.error),
            "created_at": moment,
        }
        for _, judgement in sorted(new.items())
    ]
    connection.execute(dialect_insert(connection, JudgementRecord).on_conflict_do_nothing(), rows)
    _count(connection, run_id, new.values())


def _count(connection: Connection, run_id: int, judgements: Collection[Judgement]) -> None:
    sums: dict[tuple[str, JudgementStatus], tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for judgement in judgements:
        count, latency = sums[judgement.judge_id, judgement.status]
        sums[judgement.judge_id, judgement.status] = (count + 1, latency + judgement.latency_ms)
    statement = dialect_insert(connection, TallyRecord)
    for (judge_id, status), (count, latency) in sums.items():
        added = statement.values(run_id=run_id, judge_id=judge_id, status=status, judgements=count, latency_ms=latency)
        merged = {
            "judgements": TallyRecord.judgements + added.excluded.judgements,
            "latency_ms": TallyRecord.latency_ms + added.excluded.latency_ms,
        }
        connection.execute(added.on_conflict_do_update(index_elements=["run_id", "judge_id", "status"], set_=merged))


def _save_verdicts(connection: Connection, run: AnyRow, aggregator: str, decisions: Mapping[int, Decision]) -> None:
    ids = sorted(decisions)
    answers = _answers(connection, run, ids)
    people = ItemLabelRecord
    facts = (
        select(ItemRecord.id, ItemRecord.position, ItemRecord.dimension_id, people.review, people.people)
        .outerjoin(people, people.item_id == ItemRecord.id)
        .where(ItemRecord.id.in_(ids))
        .order_by(ItemRecord.id)
    )
    moment = now()
    rows = [
        {
            **_decision_values(decisions[row.id]),
            "run_id": run.id,
            "item_id": row.id,
            "position": row.position,
            "dimension_id": row.dimension_id,
            "aggregator": aggregator,
            "statuses": answers.statuses[row.id],
            "votes": answers.votes(row.id),
            "audit": audit_key(run.id, row.id),
            "duplicate": 0,
            "review": row.review or ReviewState.OPEN,
            "people": row.people or 0,
            "created_at": moment,
        }
        for row in connection.execute(facts)
    ]
    if rows:
        statement = dialect_insert(connection, VerdictRecord)
        connection.execute(statement.on_conflict_do_update(index_elements=["run_id", "item_id"], set_=_replaced(statement)), rows)


def _decision_values(decision: Decision) -> dict[str, object]:
    error = decision.expected_error
    return {
        "outcome": decision.outcome,
        "label": decision.label,
        "expected": decision.expected,
        "disagreement": decision.disagreement,
        "probabilities": decision.probabilities,
        "reason": decision.reason,
        "expected_error": expected_error(decision.label, decision.probabilities) if error is None else error,
        "confidence": 0.0 if decision.label is None else decision.probabilities.get(decision.label, 0.0),
    }


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the judges of a panel said of some items: statuses as bits, and labels by item and judge."""

    judges: tuple[str, ...]
    statuses: Mapping[int, int]
    labels: Mapping[int, Mapping[str, int]]

    def votes(self, item_id: int) -> str:
        """Return the labels in the panel's order, as `verdicts.votes` keeps them."""
        given = self.labels.get(item_id, {})
        return ",".join("" if (label := given.get(judge)) is None else str(label) for judge in self.judges)


def _answers(connection: Connection, run: AnyRow, item_ids: Sequence[int]) -> _Answers:
    statuses: dict[int, int] = defaultdict(int)
    labels: dict[int, dict[str, int]] = defaultdict(dict)
    record = JudgementRecord
    query = select(record.item_id, record.judge_id, record.status, record.label)
    for item_id, judge_id, status, label in connection.execute(query.where(record.run_id == run.id, record.item_id.in_(item_ids))):
        statuses[item_id] |= STATUS_BITS[status]
        if status is JudgementStatus.OK and label is not None:
            labels[item_id][judge_id] = label
    return _Answers(tuple(spec.id for spec in panel_of(run.panel).judges), statuses, labels)


def _replaced(statement: postgresql.Insert | sqlite.Insert) -> dict[str, Any]:
    fixed = {"run_id", "item_id", "position", "dimension_id"}
    return {column.name: column for column in statement.excluded if column.name not in fixed}
