"""From table rows to the dataclasses of core, and back where a document is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from sqlalchemy import select

from core.types import (
    Correction,
    Decision,
    Item,
    Judgement,
    JudgementStatus,
    LabelledItem,
    PanelSpec,
    Run,
    Sheet,
    SourceRef,
    Verdict,
    content_hash,
)
from db.base import AnyRow, AnySelect, clean, table_of
from db.models import CorrectionRecord, ItemRecord, JudgementRecord, LibraryItemRecord, RunRecord, SheetRecord, VerdictRecord

if TYPE_CHECKING:
    from core.types import Example, SheetRow

# The columns of an item, then those of its sheet that its source needs.
ITEM_COLUMNS = (
    ItemRecord.id,
    ItemRecord.sheet_id,
    ItemRecord.position,
    ItemRecord.external_id,
    ItemRecord.dimension_id,
    ItemRecord.prompt,
    ItemRecord.text,
    ItemRecord.gold,
    ItemRecord.content_hash,
    ItemRecord.source_row,
    ItemRecord.extra,
    SheetRecord.name,
    SheetRecord.worksheet,
)
JUDGEMENT_COLUMNS = (
    JudgementRecord.judge_id,
    JudgementRecord.item_id,
    JudgementRecord.status,
    JudgementRecord.probabilities,
    JudgementRecord.label,
    JudgementRecord.raw_reply,
    JudgementRecord.rationale,
    JudgementRecord.prompt_sha256,
    JudgementRecord.latency_ms,
    JudgementRecord.tokens,
    JudgementRecord.error,
)
LABELLED_COLUMNS = (
    LibraryItemRecord.id,
    LibraryItemRecord.external_id,
    LibraryItemRecord.dimension_id,
    LibraryItemRecord.prompt,
    LibraryItemRecord.text,
    LibraryItemRecord.label,
    LibraryItemRecord.origin,
    LibraryItemRecord.author,
    LibraryItemRecord.content_hash,
)
VERDICT_COLUMNS = (
    VerdictRecord.item_id,
    VerdictRecord.aggregator,
    VerdictRecord.label,
    VerdictRecord.expected,
    VerdictRecord.probabilities,
    VerdictRecord.outcome,
    VerdictRecord.disagreement,
    VerdictRecord.reason,
)
CORRECTION_COLUMNS = (
    CorrectionRecord.item_id,
    CorrectionRecord.label,
    CorrectionRecord.previous_label,
    CorrectionRecord.author,
    CorrectionRecord.reason,
    CorrectionRecord.created_at,
    CorrectionRecord.kind,
    CorrectionRecord.blind,
    CorrectionRecord.note,
)

# The place of each status in `verdicts.statuses`; only ever appended to, for the numbers are stored.
STATUS_BITS: Mapping[JudgementStatus, int] = {
    JudgementStatus.OK: 1,
    JudgementStatus.ABSTAINED: 2,
    JudgementStatus.OFF_MENU: 4,
    JudgementStatus.REFUSED: 8,
    JudgementStatus.FAILED: 16,
}


def select_items() -> AnySelect:
    """Return the select of items with what `item_of` needs."""
    return select(*ITEM_COLUMNS).select_from(ItemRecord).join(SheetRecord, SheetRecord.id == ItemRecord.sheet_id)


def item_of(row: Sequence[Any]) -> Item:
    """Return the item of a row of `ITEM_COLUMNS`."""
    item_id, sheet_id, position, external_id, dimension_id, prompt, text, gold, content, source_row, extra, file, worksheet = row
    source = SourceRef(file, worksheet, source_row)
    return Item(item_id, sheet_id, position, external_id, dimension_id, prompt, text, gold, content, source, extra)


def judgement_of(row: AnyRow) -> Judgement:
    """Return the judgement of a row of `JUDGEMENT_COLUMNS`."""
    return Judgement(*row)


def labelled_of(row: Sequence[Any]) -> LabelledItem:
    """Return the labelled item of a row of `LABELLED_COLUMNS`."""
    return LabelledItem(*row)


def verdict_of(row: AnyRow) -> Verdict:
    """Return the verdict of a row of `VERDICT_COLUMNS`."""
    item_id, aggregator, label, expected, probabilities, outcome, disagreement, reason = row
    return Verdict(item_id, aggregator, Decision(label, expected, probabilities, outcome, disagreement, reason))


def correction_of(row: AnyRow) -> Correction:
    """Return the correction of a row of `CORRECTION_COLUMNS`."""
    return Correction(*row)


def sheet_of(row: AnyRow) -> Sheet:
    """Return the sheet of a row of the whole table."""
    return Sheet(
        row.id,
        row.name,
        row.sha256,
        row.format,
        row.encoding,
        row.worksheet,
        tuple(row.columns),
        row.mapping,
        row.rows,
        row.skipped,
        row.created_at,
    )


def select_runs() -> AnySelect:
    """Return the select of runs with what `run_of` needs."""
    table = table_of(RunRecord)
    return select(table, SheetRecord.name.label("sheet_name")).join(SheetRecord, SheetRecord.id == table.c.sheet_id)


def run_of(row: AnyRow) -> Run:
    """Return the run of a row of `select_runs`."""
    return Run(
        id=row.id,
        sheet_id=row.sheet_id,
        sheet_name=row.sheet_name,
        library_id=row.library_id,
        library_version=row.library_version,
        panel=panel_of(row.panel),
        aggregator=row.aggregator,
        state=row.state,
        error=row.error,
        items=row.items,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        worked_seconds=row.worked_seconds,
        deleted_at=row.deleted_at,
    )


@lru_cache(maxsize=1)
def _panels() -> TypeAdapter[PanelSpec]:
    return TypeAdapter(PanelSpec)


def panel_of(document: Mapping[str, Any]) -> PanelSpec:
    """Return the panel that `panel_document` wrote."""
    return _panels().validate_python(document)


def panel_document(panel: PanelSpec) -> dict[str, Any]:
    """Return the panel as a JSON document, frozen with its run."""
    document: dict[str, Any] = _panels().dump_python(panel, mode="json")
    return document


def example_row(run_id: int, item_id: int, example: Example) -> dict[str, object]:
    """Return the values of one shown example."""
    return {
        "run_id": run_id,
        "item_id": item_id,
        "rank": example.rank,
        "library_item_id": example.item.id,
        "similarity": example.similarity,
        "index_version": example.index_version,
    }


def sheet_row_values(row: SheetRow) -> dict[str, object]:
    """Return the columns of a sheet's row that an item and a labelled item share."""
    prompt, text = clean(row.prompt), clean(row.text)
    return {
        "external_id": clean(row.external_id),
        "dimension_id": row.dimension_id,
        "prompt": prompt,
        "text": text,
        "content_hash": content_hash(row.dimension_id, prompt, text),
    }
