"""Suspected faults of a row with what people answered, and all answers as data for the next judge that sees faults."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import ExportError, LabelError
from core.faultmarks import MarkKind
from core.faultplaces import AnswerKind, FaultAnswer, Place, answered, merge, standing
from core.types import Dimension, DimensionKind, Item, Judgement, JudgeSpec
from db.fault_answers import AnsweredText, AnswerTotals, NewAnswer
from db.store import SqlStore


@dataclass(frozen=True, slots=True)
class FaultedText:
    """A row with its suspected places. `run_id` is None where the judges of all runs speak; `names` has each judge's, by language."""

    item: Item
    dimension: Dimension
    run_id: int | None
    places: tuple[Place, ...]
    names: Mapping[str, Mapping[str, str]]
    hidden: bool

    @property
    def graded(self) -> bool:
        """Return whether the row has places at all: answers to questions have none."""
        return self.dimension.kind is DimensionKind.ORDINAL


class FaultAnswers:
    """Shows suspected faults and keeps what people say of them. No answer changes a label."""

    def __init__(self, store: SqlStore, dimensions: Mapping[str, Dimension]) -> None:
        self._store = store
        self._dimensions = dimensions

    def row(self, run_id: int | None, item_id: int, annotator: str = "", *, blind: bool = False) -> FaultedText:
        """Return a row's suspected places in one run, or over all of its runs.

        `blind` leaves out what others answered while `annotator` has not labelled the row. Raises NotFound.
        """
        item, judgements, names = self._judged(run_id, item_id)
        people = self._store.item_state(item.id).people if blind else ()
        hidden = blind and not any(person.author == annotator and person.label is not None for person in people)
        given = [one for one in standing(self._store.fault_answers(item.id)) if not hidden or one.author == annotator]
        dimension = self._dimensions[item.dimension_id]
        found = merge(judgements, len(item.text)) if dimension.kind is DimensionKind.ORDINAL else ()
        return FaultedText(item, dimension, run_id, answered(found, given), names, hidden)

    def answer(self, run_id: int | None, item_id: int, start: int, end: int, answer: AnswerKind, author: str) -> FaultAnswer:
        """Append that the place from `start` to `end` is a fault, or is none. Raises LabelError where no such place is shown."""
        _named(author)
        if answer not in {AnswerKind.CONFIRM, AnswerKind.REJECT}:
            raise LabelError(f"{answer} is no answer to a suspected fault.", zh=f"{answer} 不是对疑似错误的回答。")
        places = self.row(run_id, item_id, author).places
        place = next((one for one in places if (one.start, one.end) == (start, end)), None)
        if place is None:
            raise LabelError(
                f"No fault is suspected at characters {start} to {end} any more; load the page again.",
                zh=f"第 {start} 到 {end} 个字符处已没有疑似错误，请刷新页面。",
            )
        judge = place.voices[0].judge_id if place.voices else ""
        return self._store.add_fault_answer(item_id, NewAnswer(start, end, place.kind, answer, author, judge, run_id))

    def mark(self, run_id: int | None, item_id: int, start: int, end: int, kind: MarkKind | None, author: str) -> FaultAnswer:
        """Append a fault that no judge saw. Raises LabelError for a span outside of the text or of blanks alone."""
        _named(author)
        item = self._judged(run_id, item_id)[0]
        if self._dimensions[item.dimension_id].kind is not DimensionKind.ORDINAL:
            raise LabelError("Faults are marked in graded texts only.", zh="只能在按等级评判的文本中标记错误。")
        if start < end and not item.text[start:end].strip():
            raise LabelError("Nothing but blanks is selected; select the faulty words.", zh="选中的只有空白，请选中有错的文字。")
        return self._store.add_fault_answer(item.id, NewAnswer(start, end, kind, AnswerKind.MISSED, author, "", run_id))

    def undo(self, item_id: int, answer_id: int, author: str) -> FaultAnswer:
        """Take back one of the author's own answers; what they had answered before stands again. Raises LabelError."""
        _named(author)
        return self._store.undo_fault_answer(item_id, answer_id, author)

    def export(self, path: Path) -> int:
        """Write all standing answers as JSON lines and return how many texts there are (see docs/FAULTS.md). Raises ExportError."""
        count = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="\n") as file:
                for line in self.lines():
                    file.write(line + "\n")
                    count += 1
        except OSError as error:
            raise ExportError(
                f"{path} cannot be written: {error.strerror}. Choose another file.",
                zh=f"无法写入 {path}：{error.strerror}。请换一个文件。",
            ) from error
        return count

    def lines(self) -> Iterator[str]:
        """Yield what `answer_lines` does."""
        return answer_lines(self._store)

    def totals(self) -> AnswerTotals:
        """Return how many answers there are, by what was answered and by kind: what a pretraining that is started now learns from."""
        return self._store.answer_totals()

    def _judged(self, run_id: int | None, item_id: int) -> tuple[Item, Sequence[Judgement], Mapping[str, Mapping[str, str]]]:
        """Return the item, the judgements of a run (or of all) on it, and the names of their judges."""
        if run_id is not None:
            self._store.run_item(run_id, item_id)
            found = self._store.row(run_id, item_id)
            return found.item, found.judgements, _names([found.run.panel.judges])
        history = self._store.item_history(item_id)
        newest_first = sorted(history.appearances, key=lambda one: -one.run.id)
        judgements = [judgement for one in newest_first for judgement in one.judgements]
        return history.item, judgements, _names([one.run.panel.judges for one in reversed(newest_first)])


def answer_lines(store: SqlStore) -> Iterator[str]:
    """Yield a JSON document for each text on which an answer stands: {text, dimension, faults: [[start, end, kind, answer, author]]}.

    A row's prompt stands in it, too, where it has one.
    """
    for one in store.answered_texts():
        faults = _faults(one)
        if faults:
            prompt = {"prompt": one.prompt} if one.prompt else {}
            yield json.dumps({"text": one.text, "dimension": one.dimension_id, **prompt, "faults": faults}, ensure_ascii=False)


def _names(panels: Sequence[Sequence[JudgeSpec]]) -> dict[str, Mapping[str, str]]:
    return {spec.id: {language: spec.named(language) for language in ("zh", "en")} for judges in panels for spec in judges}


def _faults(one: AnsweredText) -> list[list[object]]:
    listed = sorted(standing(one.answers), key=lambda answer: (answer.start, answer.end, answer.author))
    return [[answer.start, answer.end, answer.kind, answer.answer.value, answer.author] for answer in listed]


def _named(author: str) -> None:
    if not author.strip():
        raise LabelError("Say who you are first: an answer needs a name.", zh="请先填写姓名：回答需要署名。")
