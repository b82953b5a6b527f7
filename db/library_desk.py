"""Libraries as people keep them: pages, changes one by one with a way back, who was shown what, rows judged again."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, or_, select
from sqlalchemy.orm import aliased

from core.desks import (
    Candidate,
    ExampleUse,
    ExampleUses,
    LibraryChange,
    LibraryFacets,
    LibraryPage,
    LibraryQuery,
    LibraryRow,
    Standing,
)
from core.errors import NotFound
from core.types import LabelledItem, Origin, Run, content_hash
from db.base import INSERT_CHUNK, AnyRow, AnySelect, StoreBase, clean, now, spans, table_of
from db.engine import reading, writing
from db.libraries import LibraryKey, active_keys, commit_version, get_library
from db.models import (
    CorrectionRecord,
    ItemLabelRecord,
    ItemRecord,
    LibraryItemRecord,
    LibraryRecord,
    RunRecord,
    SheetRecord,
    ShownRecord,
    VerdictRecord,
)
from db.records import ITEM_COLUMNS, LABELLED_COLUMNS, item_of, labelled_of
from db.runs import get_run, insert_run


class LibraryDeskStore(StoreBase):
    """Keeps libraries as people work on them."""

    def library_page(self, library_id: int, query: LibraryQuery) -> LibraryPage:
        """Return one page of a library, latest first. Raises NotFound."""
        size = max(1, query.page_size)
        record = LibraryItemRecord
        with reading(self.engine) as connection:
            get_library(connection, library_id)
            where = _conditions(connection, library_id, query)
            total = connection.execute(select(func.count()).select_from(record).where(*where)).scalar_one()
            order = record.retired_at.desc() if query.standing is Standing.RETIRED else record.added_in.desc()
            ids = select(record.id).where(*where).order_by(order, record.id.desc()).offset(max(0, query.page) * size).limit(size)
            rows = _library_rows(connection, connection.execute(ids).scalars().all(), {})
        return LibraryPage(tuple(rows), total, query.page, size)

    def matching_examples(self, library_id: int, query: LibraryQuery) -> list[int]:
        """Return the ids of all items that match, whatever the page. Raises NotFound."""
        with reading(self.engine) as connection:
            get_library(connection, library_id)
            return list(connection.execute(select(LibraryItemRecord.id).where(*_conditions(connection, library_id, query))).scalars())

    def library_rows(self, example_ids: Sequence[int], similarity: Mapping[int, float]) -> list[LibraryRow]:
        """Return the lines of these items, in their order."""
        with reading(self.engine) as connection:
            return _library_rows(connection, example_ids, similarity)

    def library_facets(self, library_id: int) -> LibraryFacets:
        """Return what there is to filter by. Raises NotFound."""
        record = LibraryItemRecord
        keys = (record.dimension_id, record.label, record.origin, record.author)
        with reading(self.engine) as connection:
            get_library(connection, library_id)
            active = (record.library_id == library_id, record.retired_in.is_(None))
            counts = connection.execute(select(*keys, func.count()).where(*active).group_by(*keys)).all()
            gone = connection.execute(select(func.count()).where(*_gone(library_id))).scalar_one()
        labels: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        origins: dict[Origin, int] = defaultdict(int)
        authors: dict[str, int] = defaultdict(int)
        for dimension_id, label, origin, author, count in sorted(counts, key=lambda row: (str(row[0]), int(row[1]))):
            labels[dimension_id][label] += count
            origins[origin] += count
            authors[author] += count
        return LibraryFacets({name: dict(found) for name, found in labels.items()}, dict(origins), dict(authors), gone)

    def library_item(self, library_id: int, example_id: int) -> LabelledItem:
        """Return one item of a library, active or retired. Raises NotFound."""
        with reading(self.engine) as connection:
            return labelled_of(_example(connection, library_id, example_id))

    # Changes

    def candidates(self, run_id: int, library_id: int, page: int = 0, page_size: int = 50) -> tuple[list[Candidate], int]:
        """Return one page of what `promote` would add, in sheet order, and how many there are. Raises NotFound."""
        with reading(self.engine) as connection:
            run = get_run(connection, run_id)
            get_library(connection, library_id)
            found = _candidates(connection, run, library_id, None)
        start = max(0, page) * page_size
        return found[start : start + page_size], len(found)

    def promote(self, run_id: int, library_id: int, author: str, item_ids: Sequence[int] | None = None) -> LibraryChange:
        """Add a run's labelled rows to a library in a new version (see LibraryDesk.promote_corrections). Raises NotFound."""
        with writing(self.engine) as connection:
            row = _locked(connection, library_id)
            run = get_run(connection, run_id)
            wanted = _candidates(connection, run, library_id, item_ids)
            labelled = _labelled_count(connection, run, item_ids)
            added: dict[LibraryKey, Mapping[str, Any]] = {}
            for candidate in wanted:
                item = candidate.item
                added.setdefault(
                    (item.content_hash, candidate.label, item.external_id),
                    {
                        "external_id": item.external_id,
                        "dimension_id": item.dimension_id,
                        "prompt": item.prompt,
                        "text": item.text,
                        "content_hash": item.content_hash,
                        "label": candidate.label,
                        "origin": Origin.CORRECTION,
                        "author": candidate.author or author,
                    },
                )
            hashes = {content: label for content, label, _ in added}
            active = active_keys(connection, library_id)
            retired = [item_id for (content, label, _), item_id in active.items() if label != hashes.get(content, label)]
            new = [values for key, values in added.items() if key not in active]
            return _changed(connection, row, new, retired, unchanged=labelled - len(wanted))

    def retire_examples(self, library_id: int, example_ids: Sequence[int], author: str) -> LibraryChange:  # noqa: ARG002
        """Take active items out of a library in a new version. Raises NotFound."""
        with writing(self.engine) as connection:
            row = _locked(connection, library_id)
            active = set(active_keys(connection, library_id).values())
            missing = [example_id for example_id in example_ids if example_id not in active]
            if missing:
                raise _no_example(library_id, missing[0])
            return _changed(connection, row, [], sorted(set(example_ids)))

    def relabel_example(self, library_id: int, example_id: int, label: int, author: str) -> LibraryChange:
        """Replace an active item by one with another label, of origin CORRECTION. Raises NotFound."""
        with writing(self.engine) as connection:
            row = _locked(connection, library_id)
            item = labelled_of(_example(connection, library_id, example_id))
            keys = active_keys(connection, library_id)
            if example_id not in keys.values():
                raise _no_example(library_id, example_id)
            if label == item.label:
                return _changed(connection, row, [], [], unchanged=1)
            present = (item.content_hash, label, item.external_id) in keys
            added = [] if present else [_values(item, label, Origin.CORRECTION, clean(author))]
            return _changed(connection, row, added, [example_id], unchanged=int(present))

    def undo_change(self, library_id: int, added: Sequence[int], retired: Sequence[int], author: str) -> LibraryChange:  # noqa: ARG002
        """Retire what stands of `added` and put back what does not stand of `retired`, in a new version. Raises NotFound."""
        with writing(self.engine) as connection:
            row = _locked(connection, library_id)
            keys = active_keys(connection, library_id)
            standing = set(keys.values())
            leaving = [example_id for example_id in added if example_id in standing]
            back = [labelled_of(_example(connection, library_id, example_id)) for example_id in retired]
            left = {key for key, item_id in keys.items() if item_id not in set(leaving)}
            wanted = {(item.content_hash, item.label, item.external_id): item for item in back}
            values = [_values(item, item.label, item.origin, item.author) for key, item in wanted.items() if key not in left]
            return _changed(connection, row, values, leaving, unchanged=len(back) - len(values))

    # Who was shown what

    def example_uses(self, library_id: int, example_id: int, page: int = 0, page_size: int = 50) -> ExampleUses:
        """Return the rows that were judged with an item in sight, latest run first, in runs that are not deleted."""
        shown, verdict, item, people = ShownRecord, VerdictRecord, ItemRecord, ItemLabelRecord
        mine = (shown.library_item_id == example_id, RunRecord.deleted_at.is_(None))
        with reading(self.engine) as connection:
            _example(connection, library_id, example_id)
            counts = select(shown.run_id, func.count()).join(RunRecord, RunRecord.id == shown.run_id).where(*mine).group_by(shown.run_id)
            by_run = {row[0]: row[1] for row in connection.execute(counts.order_by(shown.run_id.desc()))}
            query = (
                select(shown, item.external_id, item.dimension_id, verdict.label.label("verdict"), people.label.label("people"))
                .join(RunRecord, RunRecord.id == shown.run_id)
                .join(item, item.id == shown.item_id)
                .outerjoin(verdict, and_(verdict.run_id == shown.run_id, verdict.item_id == shown.item_id))
                .outerjoin(people, people.item_id == shown.item_id)
                .where(*mine)
                .order_by(shown.run_id.desc(), item.position)
                .offset(max(0, page) * page_size)
                .limit(page_size)
            )
            uses = tuple(_use(row) for row in connection.execute(query))
        return ExampleUses(uses, sum(by_run.values()), by_run, page, page_size)

    def items_shown(self, run_id: int, example_id: int) -> list[int]:
        """Return the ids of a run's items that were judged with a labelled item in sight, in sheet order."""
        query = (
            select(ShownRecord.item_id)
            .join(ItemRecord, ItemRecord.id == ShownRecord.item_id)
            .where(ShownRecord.library_item_id == example_id, ShownRecord.run_id == run_id)
            .order_by(ItemRecord.position)
        )
        with reading(self.engine) as connection:
            return list(connection.execute(query).scalars())

    def judge_again(self, run_id: int, item_ids: Sequence[int]) -> Run:
        """Queue a run like `run_id` over some of its items, with its library's current version.

        The items are copied into a sheet of their own, whose `parent_id` is theirs; the same items again are the same
        sheet. Raises NotFound where none of them is in the run.
        """
        with writing(self.engine) as connection:
            run = get_run(connection, run_id)
            rows: list[AnyRow] = []
            for ids in spans(sorted(set(item_ids))):
                query = select(table_of(ItemRecord)).where(ItemRecord.sheet_id == run.sheet_id, ItemRecord.id.in_(ids))
                rows += connection.execute(query).all()
            if not rows:
                raise NotFound(
                    f"None of these rows is in run {run_id}; choose some of its rows.", zh=f"任务 {run_id} 中没有这些行，请重新选择。"
                )
            sheet_id = _part_of_sheet(connection, run.sheet_id, sorted(rows, key=lambda row: int(row.position)))
            new = insert_run(connection, sheet_id, run.library_id, run.panel, run.aggregator)
            return get_run(connection, new)


def _conditions(connection: Connection, library_id: int, query: LibraryQuery) -> list[ColumnElement[bool]]:
    record = LibraryItemRecord
    active = (record.library_id == library_id, record.retired_in.is_(None))
    found: list[ColumnElement[bool]] = list(_gone(library_id) if query.standing is Standing.RETIRED else active)
    if query.dimension_id:
        found.append(record.dimension_id == query.dimension_id)
    if query.label is not None:
        found.append(record.label == query.label)
    if query.origin is not None:
        found.append(record.origin == query.origin)
    if query.author:
        found.append(record.author == query.author)
    if query.search:
        pattern = "%" + clean(query.search).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        columns = (record.external_id, record.prompt, record.text)
        postgres = connection.dialect.name == "postgresql"
        found.append(or_(*((column.ilike if postgres else column.like)(pattern, escape="\\") for column in columns)))
    return found


def _gone(library_id: int) -> tuple[ColumnElement[bool], ...]:
    """Return what holds for the retired items that do not stand again; of one that was retired several times, for the last."""
    record, each = LibraryItemRecord, aliased(LibraryItemRecord)
    last = (
        select(func.max(each.id))
        .where(each.library_id == library_id, each.retired_in.is_not(None))
        .group_by(each.content_hash, each.label, each.external_id)
    )
    return record.library_id == library_id, record.retired_in.is_not(None), record.id.in_(last), ~_stands_again()


def _stands_again() -> ColumnElement[bool]:
    """Return whether a retired item's like is active now: put back, it is a new item, and the old one is history."""
    record, again = LibraryItemRecord, aliased(LibraryItemRecord)
    return exists().where(
        again.library_id == record.library_id,
        again.content_hash == record.content_hash,
        again.label == record.label,
        again.external_id == record.external_id,
        again.retired_in.is_(None),
    )


def _library_rows(connection: Connection, example_ids: Sequence[int], similarity: Mapping[int, float]) -> list[LibraryRow]:
    record, shown = LibraryItemRecord, ShownRecord
    found: dict[int, LibraryRow] = {}
    for ids in spans(example_ids):
        counts = select(shown.library_item_id, func.count()).where(shown.library_item_id.in_(ids)).group_by(shown.library_item_id)
        times: dict[int, int] = {row[0]: row[1] for row in connection.execute(counts)}
        query = select(*LABELLED_COLUMNS, record.created_at, record.retired_at).where(record.id.in_(ids))
        for *labelled, created, retired in connection.execute(query):
            item = labelled_of(labelled)
            found[item.id] = LibraryRow(item, created, retired, times.get(item.id, 0), similarity.get(item.id))
    return [found[example_id] for example_id in example_ids if example_id in found]


def _candidates(connection: Connection, run: Run, library_id: int, item_ids: Sequence[int] | None) -> list[Candidate]:
    """Return the run's rows with a label of people's that the library lacks, in sheet order.

    Of rows with equal content but different labels those with the latest label count: it is what people say now.
    """
    present: dict[str, set[int]] = defaultdict(set)
    for content, label, _ in active_keys(connection, library_id):
        present[content].add(label)
    query = (
        select(*ITEM_COLUMNS, ItemLabelRecord.label, CorrectionRecord.author, ItemLabelRecord.event_id)
        .select_from(ItemLabelRecord)
        .join(ItemRecord, ItemRecord.id == ItemLabelRecord.item_id)
        .join(SheetRecord, SheetRecord.id == ItemRecord.sheet_id)
        .join(CorrectionRecord, CorrectionRecord.id == ItemLabelRecord.event_id)
        .where(*_labelled(run))
        .order_by(ItemRecord.position)
    )
    rows = [(item_of(columns), label, author, event) for *columns, label, author, event in connection.execute(query)]
    latest = {item.content_hash: label for item, label, _, _ in sorted(rows, key=lambda row: row[3])}
    wanted = None if item_ids is None else set(item_ids)
    found = []
    for item, label, author, _ in rows:
        labels = present.get(item.content_hash, set())
        if (wanted is None or item.id in wanted) and latest[item.content_hash] == label and labels != {label}:
            found.append(Candidate(item, label, author, min((other for other in labels if other != label), default=None)))
    return found


def _labelled(run: Run) -> tuple[ColumnElement[bool], ...]:
    return ItemRecord.sheet_id == run.sheet_id, ItemLabelRecord.label.is_not(None)


def _labelled_count(connection: Connection, run: Run, item_ids: Sequence[int] | None) -> int:
    query: AnySelect = select(ItemRecord.id).join(ItemLabelRecord, ItemLabelRecord.item_id == ItemRecord.id).where(*_labelled(run))
    labelled = set(connection.execute(query).scalars())
    return len(labelled if item_ids is None else labelled & set(item_ids))


def _changed(
    connection: Connection, row: AnyRow, added: Sequence[Mapping[str, object]], retired: Sequence[int], unchanged: int = 0
) -> LibraryChange:
    if not added and not retired:
        return LibraryChange(get_library(connection, row.id), row.version, unchanged=unchanged)
    new = commit_version(connection, row.id, row.sequence + 1, added, retired)
    return LibraryChange(get_library(connection, row.id), row.version, tuple(new), tuple(retired), unchanged)


def _locked(connection: Connection, library_id: int) -> AnyRow:
    get_library(connection, library_id)
    record = LibraryRecord
    return connection.execute(select(record.id, record.sequence, record.version).where(record.id == library_id).with_for_update()).one()


def _values(item: LabelledItem, label: int, origin: Origin, author: str) -> dict[str, object]:
    return {
        "external_id": item.external_id,
        "dimension_id": item.dimension_id,
        "prompt": item.prompt,
        "text": item.text,
        "content_hash": item.content_hash or content_hash(item.dimension_id, item.prompt, item.text),
        "label": label,
        "origin": origin,
        "author": author,
    }


def _example(connection: Connection, library_id: int, example_id: int) -> AnyRow:
    record = LibraryItemRecord
    row = connection.execute(select(*LABELLED_COLUMNS).where(record.library_id == library_id, record.id == example_id)).one_or_none()
    if row is None:
        raise _no_example(library_id, example_id)
    return row


def _no_example(library_id: int, example_id: int) -> NotFound:
    return NotFound(
        f"Library {library_id} shows no example {example_id}; it may have been retired meanwhile. Reload the list.",
        zh=f"样例库 {library_id} 中没有编号为 {example_id} 的有效样例，可能已停用，请刷新列表。",
    )


def _use(row: AnyRow) -> ExampleUse:
    current = row.verdict if row.people is None else row.people
    return ExampleUse(row.run_id, row.item_id, row.external_id, row.dimension_id, row.rank, row.similarity, row.verdict, current)


def _part_of_sheet(connection: Connection, sheet_id: int, rows: Sequence[AnyRow]) -> int:
    """Return the sheet that holds copies of these items alone."""
    record = SheetRecord
    parent = connection.execute(select(table_of(record)).where(record.id == sheet_id)).one()
    digest = hashlib.sha256(f"part:{parent.id}:{parent.sha256}:{','.join(str(row.id) for row in rows)}".encode()).hexdigest()
    found = connection.execute(select(record.id).where(record.sha256 == digest).limit(1)).scalar_one_or_none()
    if found is not None:
        return found
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row.dimension_id] += 1
    same = ("name", "format", "encoding", "worksheet", "columns", "mapping")
    values = {name: getattr(parent, name) for name in same}
    own = {"sha256": digest, "rows": len(rows), "skipped": 0, "dimension_counts": dict(sorted(counts.items())), "created_at": now()}
    made = int(connection.execute(insert(record).values(**values, **own, parent_id=sheet_id).returning(record.id)).scalar_one())
    kept = ("external_id", "dimension_id", "prompt", "text", "gold", "content_hash", "source_row", "extra")
    copies = [{"sheet_id": made, "position": place, **{name: getattr(row, name) for name in kept}} for place, row in enumerate(rows)]
    for part in spans(copies, INSERT_CHUNK):
        connection.execute(insert(table_of(ItemRecord)), list(part))
    return made
