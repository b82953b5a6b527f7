"""The table of people's answers to suspected faults; rows are only ever added."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.faultplaces import AnswerKind
from db.columns import UtcDateTime, text_enum
from db.models import Base


class FaultAnswerRecord(Base):
    """An answer: characters `start` to `end` of the item's text are a fault, or none; `kind` is "" where nobody said one.

    An answer can be taken back once: `retracts` is unique.
    """

    __tablename__ = "fault_answers"
    __table_args__ = (
        CheckConstraint('0 <= start AND start < "end"', name="span"),
        UniqueConstraint("retracts"),
        Index("ix_fault_answers_item_id_id", "item_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    judge_id: Mapped[str] = mapped_column(Text)
    start: Mapped[int] = mapped_column(Integer)
    end: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(Text)
    answer: Mapped[AnswerKind] = mapped_column(text_enum(AnswerKind, "answer"))
    author: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    retracts: Mapped[int | None] = mapped_column(ForeignKey("fault_answers.id"))
