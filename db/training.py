"""The database side of training: snapshots and what they are made of, candidates and promotions; jobs are in training_jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Subquery, and_, func, insert, or_, select, update

from core.errors import NotFound, StoreError
from core.review import ReviewState
from core.training import Candidate, GateVerdict, LabelledRow, Promotion, Snapshot, SnapshotFilter, Split, Stage
from core.types import LabelledItem, Origin
from db.base import AnyRow, AnySelect, clean, now, spans, table_of
from db.engine import reading, writing
from db.models import CorrectionRecord, ItemLabelRecord, ItemRecord, LibraryItemRecord, PersonLabelRecord
from db.models_training import CandidateRecord, HeldOutRecord, JobRecord, PromotionRecord, SnapshotRecord
from db.records import LABELLED_COLUMNS, labelled_of
from db.training_jobs import TrainingJobStore


@dataclass(frozen=True, slots=True)
class NewSnapshot:
    """A snapshot whose files are written, before it is stored (see core.training.Snapshot); `held_out` is hash -> family."""

    name: str
    lineage: str
    folder: Path
    sha256: str
    held_out_sha256: str
    train_rows: int
    held_out: Mapping[str, str]
    seed: int
    examples: int
    filter: SnapshotFilter
    counts: Mapping[str, Mapping[Split, Mapping[int, int]]]
    author: str


@dataclass(frozen=True, slots=True)
class LabelledKind:
    """What labelled rows can be told apart by; without a library they are what people said of items."""

    library_id: int | None
    dimension_id: str
    origin: Origin
    author: str


class TrainingStore(TrainingJobStore):
    """Keeps what training needs and makes."""

    # What snapshots are made of

    def labelled_rows(self, library_ids: Collection[int] = ()) -> list[LabelledRow]:
        """Return the active items of libraries (empty: all) and what people said of items, in an order that only their content sets.

        Of an item on which people differ and that nobody settled, the label is the latest one.
        """
        with reading(self.engine) as connection:
            rows = [*_library_rows(connection, library_ids), *_agreed_rows(connection), *_disputed_rows(connection)]
        return sorted(rows, key=_order)

    def labelled_counts(self) -> dict[LabelledKind, int]:
        """Return how many rows `labelled_rows` has of each kind, without reading them."""
        record = LibraryItemRecord
        kinds = (record.library_id, record.dimension_id, record.origin, record.author)
        in_libraries = select(*kinds, func.count()).where(record.retired_in.is_(None)).group_by(*kinds)
        people = _said_columns().group_by(ItemRecord.dimension_id, CorrectionRecord.author)
        with reading(self.engine) as connection:
            found = {
                LabelledKind(library_id, dimension_id, origin, author): count
                for library_id, dimension_id, origin, author, count in connection.execute(in_libraries)
            }
            for dimension_id, author, count in connection.execute(people):
                found[LabelledKind(None, dimension_id, Origin.CORRECTION, author)] = count
        return found

    def corrected_count(self) -> int:
        """Return how many items people labelled, those on which they differ among them."""
        record = ItemLabelRecord
        with reading(self.engine) as connection:
            return connection.execute(select(func.count()).where(or_(record.label.is_not(None), record.people > 0))).scalar_one()

    # Snapshots

    def add_snapshot(self, new: NewSnapshot) -> Snapshot:
        """Store a snapshot whose files are written, and return it; the first one of a lineage fixes its held-out rows.

        Raises StoreError where the lineage has other held-out rows.
        """
        with writing(self.engine) as connection:
            values = {
                **{name: clean(getattr(new, name)) for name in ("name", "lineage", "author")},
                **{name: getattr(new, name) for name in ("sha256", "held_out_sha256", "train_rows", "seed", "examples")},
                "folder": str(new.folder),
                "held_out_rows": len(new.held_out),
                "filter": asdict(new.filter),
                "counts": _counts_document(new.counts),
                "created_at": now(),
            }
            snapshot_id = connection.execute(insert(SnapshotRecord).values(values).returning(SnapshotRecord.id)).scalar_one()
            if connection.dialect.name == "postgresql":  # of two first snapshots at once, one is the first; SQLite has one writer anyway
                connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(values["lineage"]))))
            known = _held_out(connection, values["lineage"])
            if not known:
                rows = [{"lineage": values["lineage"], "content_hash": key, "family": new.held_out[key]} for key in sorted(new.held_out)]
                for part in spans(rows):
                    connection.execute(insert(table_of(HeldOutRecord)), list(part))
            elif known != dict(new.held_out):
                raise StoreError(
                    f"The lineage {new.lineage!r} has other held-out rows; name another lineage.",
                    zh=f"系列「{new.lineage}」的留出行与此不同，请换一个系列名。",
                )
            return _snapshot(connection, snapshot_id)

    def snapshot(self, snapshot_id: int) -> Snapshot:
        """Return a snapshot. Raises NotFound."""
        with reading(self.engine) as connection:
            return _snapshot(connection, snapshot_id)

    def snapshots(self, limit: int = 100, *, lineage: str = "") -> list[Snapshot]:
        """Return the latest snapshots, newest first, of one lineage or of all."""
        query = select(table_of(SnapshotRecord)).order_by(SnapshotRecord.id.desc()).limit(limit)
        if lineage:
            query = query.where(SnapshotRecord.lineage == lineage)
        with reading(self.engine) as connection:
            return [_snapshot_of(row) for row in connection.execute(query)]

    def held_out(self, lineage: str) -> frozenset[str]:
        """Return the content hashes of a lineage's held-out rows, none before its first snapshot."""
        with reading(self.engine) as connection:
            return frozenset(_held_out(connection, lineage))

    def held_out_families(self, lineage: str) -> dict[str, str]:
        """Return a lineage's held-out rows with their families: content hash -> family."""
        with reading(self.engine) as connection:
            return _held_out(connection, lineage)

    def all_held_out(self) -> frozenset[str]:
        """Return the content hashes of the held-out rows of every lineage."""
        with reading(self.engine) as connection:
            return frozenset(connection.execute(select(HeldOutRecord.content_hash).distinct()).scalars())

    def held_out_count(self) -> int:
        """Return how many held-out rows all lineages have; they are only ever added, so this tells whether there are new ones."""
        with reading(self.engine) as connection:
            return int(connection.execute(select(func.count()).select_from(HeldOutRecord)).scalar_one())

    # Candidates

    def add_candidate(
        self,
        name: str,
        stage: Stage,
        family: str,
        options: Mapping[str, object],
        *,
        job_id: int,
        snapshot_id: int,
        previous: int | None = None,
        size: int = 0,
    ) -> Candidate:
        """Store the judge that a job produced, of `size` bytes, and return it; a job that has one already keeps that."""
        with writing(self.engine) as connection:
            job = select(JobRecord.id).where(JobRecord.id == job_id).with_for_update(key_share=True)
            connection.execute(job).one_or_none()
            found = connection.execute(select(CandidateRecord.id).where(CandidateRecord.job_id == job_id)).scalar_one_or_none()
            if found is None:
                values = {"name": clean(name), "stage": stage, "family": family, "options": dict(options), "bytes": size}
                origin = {"job_id": job_id, "previous": previous, "snapshot_id": snapshot_id, "created_at": now()}
                found = connection.execute(insert(CandidateRecord).values(**values, **origin).returning(CandidateRecord.id)).scalar_one()
            return _candidate(connection, found)

    # `candidates` is what a run offers to a library (db.library_desk); these are judges.
    def trained_candidate(self, candidate_id: int) -> Candidate:
        """Return a candidate. Raises NotFound."""
        with reading(self.engine) as connection:
            return _candidate(connection, candidate_id)

    def trained_candidates(self, limit: int = 200, *, snapshot_id: int | None = None) -> list[Candidate]:
        """Return the latest candidates, newest first, of one snapshot or of all."""
        query = select(table_of(CandidateRecord)).order_by(CandidateRecord.id.desc()).limit(limit)
        if snapshot_id is not None:
            query = query.where(CandidateRecord.snapshot_id == snapshot_id)
        with reading(self.engine) as connection:
            return [_candidate_of(row) for row in connection.execute(query)]

    def candidate_of_job(self, job_id: int) -> Candidate | None:
        """Return what a job produced, or what it measured; None for neither."""
        record = CandidateRecord
        query = select(table_of(record)).where(or_(record.job_id == job_id, record.evaluation_id == job_id)).order_by(record.id).limit(1)
        with reading(self.engine) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _candidate_of(row)

    def set_evaluation(self, candidate_id: int, job_id: int) -> Candidate:
        """Say which job measures a candidate; earlier predictions stay until it is done. Raises NotFound."""
        return self._set_candidate(candidate_id, evaluation_id=job_id)

    def set_predictions(self, candidate_id: int, predictions: Path) -> Candidate:
        """Say where the predictions of a candidate on the held-out rows lie. Raises NotFound."""
        return self._set_candidate(candidate_id, predictions=str(predictions))

    def _set_candidate(self, candidate_id: int, **values: object) -> Candidate:
        with writing(self.engine) as connection:
            _candidate(connection, candidate_id)
            connection.execute(update(CandidateRecord).where(CandidateRecord.id == candidate_id).values(**values))
            return _candidate(connection, candidate_id)

    # Promotions

    def add_promotion(
        self,
        candidate_id: int,
        panel_id: str,
        judge_id: str,
        *,
        before: tuple[str, str],
        after: tuple[str, str],
        verdict: GateVerdict,
        reason: str,
        author: str,
    ) -> Promotion:
        """Store that a candidate was put into a panel; `before` and `after` are the panel file's sha256 and text. Raises NotFound."""
        values: dict[str, Any] = {
            "candidate_id": candidate_id,
            "panel_id": panel_id,
            "judge_id": judge_id,
            **dict(zip(("before_sha256", "before_text"), before, strict=True)),
            **dict(zip(("after_sha256", "after_text"), after, strict=True)),
            "verdict": verdict,
            "reason": clean(reason),
            "author": clean(author),
            "created_at": now(),
            "rolled_back_by": "",
        }
        with writing(self.engine) as connection:
            _candidate(connection, candidate_id)
            return _promotion(
                connection, connection.execute(insert(PromotionRecord).values(values).returning(PromotionRecord.id)).scalar_one()
            )

    def promotion(self, promotion_id: int) -> Promotion:
        """Return a promotion. Raises NotFound."""
        with reading(self.engine) as connection:
            return _promotion(connection, promotion_id)

    def promotions(self, *, candidate_id: int | None = None, panel_id: str = "") -> list[Promotion]:
        """Return the promotions, newest first, of one candidate or panel or of all; those rolled back are among them."""
        query = select(table_of(PromotionRecord)).order_by(PromotionRecord.id.desc())
        if candidate_id is not None:
            query = query.where(PromotionRecord.candidate_id == candidate_id)
        if panel_id:
            query = query.where(PromotionRecord.panel_id == panel_id)
        with reading(self.engine) as connection:
            return [_promotion_of(row) for row in connection.execute(query)]

    def panel_texts(self, promotion_id: int) -> tuple[str, str]:
        """Return the panel file's text before and after a promotion. Raises NotFound."""
        record = PromotionRecord
        query = select(record.before_text, record.after_text).where(record.id == promotion_id)
        with reading(self.engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise _no_promotion(promotion_id)
        return row.before_text, row.after_text

    def roll_back(self, promotion_id: int, author: str) -> Promotion:
        """Mark a promotion as rolled back; one that was keeps the first who did it. Raises NotFound."""
        record = PromotionRecord
        with writing(self.engine) as connection:
            _promotion(connection, promotion_id)
            still = (record.id == promotion_id, record.rolled_back_at.is_(None))
            connection.execute(update(record).where(*still).values(rolled_back_at=now(), rolled_back_by=clean(author)))
            return _promotion(connection, promotion_id)


def _order(row: LabelledRow) -> tuple[str, str, str, int, int, datetime]:
    item = row.item
    # Sorted here and not by the database, whose collations differ. Where the content is equal, the latest label stands last.
    return (
        item.dimension_id,
        item.external_id,
        item.content_hash,
        item.label,
        -1 if row.library_id is None else row.library_id,
        row.labelled_at,
    )


def _library_rows(connection: Connection, library_ids: Collection[int]) -> Iterable[LabelledRow]:
    record = LibraryItemRecord
    query = select(*LABELLED_COLUMNS, record.library_id, record.created_at).where(record.retired_in.is_(None))
    if library_ids:
        query = query.where(record.library_id.in_(list(library_ids)))
    for *columns, library_id, created_at in connection.execute(query):
        yield LabelledRow(labelled_of(columns), library_id, ReviewState.OPEN, created_at)


_ITEM_FACTS = (
    ItemRecord.id,
    ItemRecord.external_id,
    ItemRecord.dimension_id,
    ItemRecord.prompt,
    ItemRecord.text,
    ItemRecord.content_hash,
)


def _agreed_rows(connection: Connection) -> Iterable[LabelledRow]:
    """Yield the items whose label people agree on, or that somebody settled."""
    query = (
        select(*_ITEM_FACTS, ItemLabelRecord.label, ItemLabelRecord.review, CorrectionRecord.author, CorrectionRecord.created_at)
        .join(ItemLabelRecord, ItemLabelRecord.item_id == ItemRecord.id)
        .join(CorrectionRecord, CorrectionRecord.id == ItemLabelRecord.event_id)
        .where(ItemLabelRecord.label.is_not(None))
    )
    for *facts, label, review, author, created_at in connection.execute(query):
        yield _said(facts, label, review, author, created_at)


def _latest_labels() -> Subquery:
    """Return the items that people differ on, each with the act that gave its latest label."""
    person = PersonLabelRecord
    return (
        select(person.item_id, func.max(person.event_id).label("event_id"))
        .join(ItemLabelRecord, and_(ItemLabelRecord.item_id == person.item_id, ItemLabelRecord.review == ReviewState.CONFLICT))
        .where(person.label.is_not(None))
        .group_by(person.item_id)
        .subquery()
    )


def _said_columns() -> AnySelect:
    """Return the select of dimension and author, with the count, of all items that people labelled, to be grouped by both."""
    last = _latest_labels()
    event = func.coalesce(last.c.event_id, ItemLabelRecord.event_id)
    return (
        select(ItemRecord.dimension_id, CorrectionRecord.author, func.count())
        .select_from(ItemLabelRecord)
        .join(ItemRecord, ItemRecord.id == ItemLabelRecord.item_id)
        .outerjoin(last, last.c.item_id == ItemLabelRecord.item_id)
        .join(CorrectionRecord, CorrectionRecord.id == event)
        .where(CorrectionRecord.label.is_not(None))
    )


def _disputed_rows(connection: Connection) -> Iterable[LabelledRow]:
    """Yield the items that people differ on, with the latest label."""
    last = _latest_labels()
    query = (
        select(*_ITEM_FACTS, CorrectionRecord.label, CorrectionRecord.author, CorrectionRecord.created_at)
        .join(last, last.c.item_id == ItemRecord.id)
        .join(CorrectionRecord, CorrectionRecord.id == last.c.event_id)
        .where(CorrectionRecord.label.is_not(None))
    )
    for *facts, label, author, created_at in connection.execute(query):
        yield _said(facts, label, ReviewState.CONFLICT, author, created_at)


def _said(facts: Sequence[Any], label: Any, review: ReviewState, author: str, created_at: datetime) -> LabelledRow:
    item_id, external_id, dimension_id, prompt, text, content = facts
    item = LabelledItem(item_id, external_id, dimension_id, prompt, text, label, Origin.CORRECTION, author, content)
    return LabelledRow(item, None, review, created_at)


def _held_out(connection: Connection, lineage: str) -> dict[str, str]:
    record = HeldOutRecord
    query = select(record.content_hash, record.family).where(record.lineage == lineage)
    return {row.content_hash: row.family for row in connection.execute(query)}


def _counts_document(counts: Mapping[str, Mapping[Split, Mapping[int, int]]]) -> dict[str, Any]:
    return {
        name: {split.value: {str(label): count for label, count in labels.items()} for split, labels in splits.items()}
        for name, splits in counts.items()
    }


def _counts_of(document: Mapping[str, Any]) -> dict[str, dict[Split, dict[int, int]]]:
    return {
        name: {Split(split): {int(label): count for label, count in labels.items()} for split, labels in splits.items()}
        for name, splits in document.items()
    }


@lru_cache(maxsize=1)
def _filters() -> TypeAdapter[SnapshotFilter]:
    return TypeAdapter(SnapshotFilter)


def _snapshot(connection: Connection, snapshot_id: int) -> Snapshot:
    row = connection.execute(select(table_of(SnapshotRecord)).where(SnapshotRecord.id == snapshot_id)).one_or_none()
    if row is None:
        raise NotFound(
            f"There is no snapshot {snapshot_id}; `./run.sh snapshots list` lists them.", zh=f"没有编号为 {snapshot_id} 的训练集。"
        )
    return _snapshot_of(row)


def _snapshot_of(row: AnyRow) -> Snapshot:
    return Snapshot(
        id=row.id,
        name=row.name,
        lineage=row.lineage,
        folder=Path(row.folder),
        sha256=row.sha256,
        held_out_sha256=row.held_out_sha256,
        train_rows=row.train_rows,
        held_out_rows=row.held_out_rows,
        seed=row.seed,
        examples=row.examples,
        filter=_filters().validate_python(row.filter),
        counts=_counts_of(row.counts),
        author=row.author,
        created_at=row.created_at,
    )


def _candidate(connection: Connection, candidate_id: int) -> Candidate:
    row = connection.execute(select(table_of(CandidateRecord)).where(CandidateRecord.id == candidate_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no candidate {candidate_id}.", zh=f"没有编号为 {candidate_id} 的候选评委。")
    return _candidate_of(row)


def _candidate_of(row: AnyRow) -> Candidate:
    return Candidate(
        id=row.id,
        name=row.name,
        stage=row.stage,
        family=row.family,
        options=row.options,
        job_id=row.job_id,
        evaluation_id=row.evaluation_id,
        previous=row.previous,
        snapshot_id=row.snapshot_id,
        bytes=row.bytes,
        predictions=None if row.predictions is None else Path(row.predictions),
        created_at=row.created_at,
    )


def _promotion(connection: Connection, promotion_id: int) -> Promotion:
    row = connection.execute(select(table_of(PromotionRecord)).where(PromotionRecord.id == promotion_id)).one_or_none()
    if row is None:
        raise _no_promotion(promotion_id)
    return _promotion_of(row)


def _no_promotion(promotion_id: int) -> NotFound:
    return NotFound(f"There is no promotion {promotion_id}.", zh=f"没有编号为 {promotion_id} 的上线记录。")


def _promotion_of(row: AnyRow) -> Promotion:
    return Promotion(
        id=row.id,
        candidate_id=row.candidate_id,
        panel_id=row.panel_id,
        judge_id=row.judge_id,
        before_sha256=row.before_sha256,
        after_sha256=row.after_sha256,
        verdict=row.verdict,
        reason=row.reason,
        author=row.author,
        created_at=row.created_at,
        rolled_back_at=row.rolled_back_at,
        rolled_back_by=row.rolled_back_by,
    )
