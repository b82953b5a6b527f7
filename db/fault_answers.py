"""People's answers to suspected faults: appended, one by one, and read back for a row or for the next fault model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from core.errors import LabelError, NotFound
from core.faultmarks import MarkKind
from core.faultplaces import AnswerKind, FaultAnswer, standing
from db.base import AnyRow, AnySelect, StoreBase, clean, now, table_of
from db.engine import reading, writing
from db.models import ItemRecord
from db.models_faults import FaultAnswerRecord

_EXPORT_CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """An answer before it is appended (see core.faultplaces.FaultAnswer)."""

    start: int
    end: int
    kind: MarkKind | None
    answer: AnswerKind
    author: str
    judge_id: str = ""
    run_id: int | None = None


@dataclass(frozen=True, slots=True)
class AnsweredText:
    """A text with every answer on it, the oldest first; items of equal dimension, prompt and text are one."""

    text: str
    dimension_id: str
    answers: tuple[FaultAnswer, ...]
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class AnswerTotals:
    """How many answers stand, by what was answered and by the kind of fault, and on how many different texts."""

    texts: int
    answers: Mapping[AnswerKind, int]
    kinds: Mapping[MarkKind | None, int]

    @property
    def total(self) -> int:
        """Return how many answers stand."""
        return sum(self.answers.values())


class FaultAnswerStore(StoreBase):
    """Keeps what people answer to suspected faults."""

    def add_fault_answer(self, item_id: int, given: NewAnswer) -> FaultAnswer:
        """Append an answer. Raises NotFound for an unknown item, LabelError for a span that is not in its text."""
        with writing(self.engine) as connection:
            text = connection.execute(select(ItemRecord.text).where(ItemRecord.id == item_id)).scalar_one_or_none()
            if text is None:
                raise NotFound(f"There is no item {item_id}.", zh=f"没有编号为 {item_id} 的条目。")
            if not 0 <= given.start < given.end <= len(text):
                raise LabelError(
                    f"Characters {given.start} to {given.end} are no place of the text, which has {len(text)}; mark it again.",
                    zh=f"第 {given.start} 到 {given.end} 个字符不是文本（共 {len(text)} 字）中的位置，请重新标记。",
                )
            return _append(connection, item_id, given, None)

    def undo_fault_answer(self, item_id: int, answer_id: int, author: str) -> FaultAnswer:
        """Append an undo of a person's own answer and return it. Raises LabelError where there is none that still stands."""
        record, name = FaultAnswerRecord, clean(author)
        own = select(table_of(record)).where(record.id == answer_id, record.item_id == item_id, record.author == name)
        with writing(self.engine) as connection:
            # Locked: of two undos at once the later finds it taken back.
            row = connection.execute(own.where(record.answer != AnswerKind.UNDO).with_for_update()).one_or_none()
            taken = connection.execute(select(record.id).where(record.retracts == answer_id)).one_or_none()
            if row is None or taken is not None:
                raise LabelError(f"{name} has no such answer left to undo.", zh=f"{name} 没有可撤销的这条回答。")
            found = _answer(row)
            back = NewAnswer(found.start, found.end, found.kind, AnswerKind.UNDO, name, found.judge_id, found.run_id)
            return _append(connection, item_id, back, found.id)

    def fault_answers(self, item_id: int) -> list[FaultAnswer]:
        """Return every answer on an item, the oldest first."""
        record = FaultAnswerRecord
        with reading(self.engine) as connection:
            return [
                _answer(row) for row in connection.execute(select(table_of(record)).where(record.item_id == item_id).order_by(record.id))
            ]

    def answered_texts(self) -> Iterator[AnsweredText]:
        """Yield every text that has answers, in the order of its first item."""
        record, item = FaultAnswerRecord, ItemRecord
        some: AnySelect = select(item.id, item.content_hash).where(item.id.in_(select(record.item_id)))
        with reading(self.engine) as connection:
            twins: dict[str, list[int]] = {}
            for row in connection.execute(some.order_by(item.id)).yield_per(_EXPORT_CHUNK):
                twins.setdefault(row.content_hash, []).append(row.id)
            for ids in twins.values():
                first = connection.execute(select(item.dimension_id, item.prompt, item.text).where(item.id == ids[0])).one()
                rows = connection.execute(select(table_of(record)).where(record.item_id.in_(ids)).order_by(record.id))
                yield AnsweredText(first.text, first.dimension_id, tuple(_answer(row) for row in rows), first.prompt)

    def answer_totals(self) -> AnswerTotals:
        """Return how many answers stand: those that `answered_texts` has, without reading the texts."""
        record, item = FaultAnswerRecord, ItemRecord
        query: AnySelect = select(table_of(record), item.content_hash).join(item, item.id == record.item_id).order_by(record.id)
        given: dict[str, list[FaultAnswer]] = {}
        with reading(self.engine) as connection:
            for row in connection.execute(query).yield_per(_EXPORT_CHUNK):
                given.setdefault(row.content_hash, []).append(_answer(row))
        by_text = [found for answers in given.values() if (found := standing(answers))]
        left = [answer for found in by_text for answer in found]
        return AnswerTotals(len(by_text), Counter(one.answer for one in left), Counter(one.kind for one in left))


def _append(connection: Connection, item_id: int, given: NewAnswer, retracts: int | None) -> FaultAnswer:
    values = {
        "item_id": item_id,
        "run_id": given.run_id,
        "judge_id": given.judge_id,
        "start": given.start,
        "end": given.end,
        "kind": given.kind or "",
        "answer": given.answer,
        "author": clean(given.author),
        "created_at": now(),
        "retracts": retracts,
    }
    table = table_of(FaultAnswerRecord)
    return _answer(connection.execute(insert(table).values(values).returning(*table.columns)).one())


def _answer(row: AnyRow) -> FaultAnswer:
    # A kind that a newer Pingpan knew is none here.
    kind = MarkKind(row.kind) if row.kind in set(MarkKind) else None
    return FaultAnswer(
        row.id, row.item_id, row.run_id, row.judge_id, row.start, row.end, kind, row.answer, row.author, row.created_at, row.retracts
    )
