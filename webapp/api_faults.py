"""The API's part for suspected faults: what is suspected in a row, what people answer, all answers as data."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import Field

from core.faultmarks import MarkKind
from core.faultplaces import AnswerKind, FaultAnswer, Place
from webapp.api_types import Signed, author_of
from webapp.workbench import Workbench

Offset = Annotated[int, Field(ge=0, lt=2**31)]


class GiveFaultAnswer(Signed):
    """What somebody says of characters `start` to `end`: `confirm` or `reject` a suspected place, or `missed`, a new one of a `kind`."""

    start: Offset
    end: Offset
    answer: AnswerKind
    kind: MarkKind | None = None


class TakeFaultBack(Signed):
    """Which of one's own answers is taken back, by its id."""

    answer: int


def fault_api(router: APIRouter, workbench: Workbench) -> None:
    """Add the routes."""

    @router.get("/runs/{run_id}/rows/{item_id}/faults")
    def places(run_id: int, item_id: int) -> list[Place]:
        """Return the places that the run's judges suspect, with people's answers."""
        return list(workbench.fault_answers.row(run_id, item_id).places)

    @router.post("/runs/{run_id}/rows/{item_id}/faults")
    def answer(request: Request, run_id: int, item_id: int, given: GiveFaultAnswer) -> FaultAnswer:
        """Append an answer to a suspected place, or a fault that no judge saw."""
        author, faults = author_of(request, given), workbench.fault_answers
        if given.answer is AnswerKind.MISSED:
            return faults.mark(run_id, item_id, given.start, given.end, given.kind, author)
        return faults.answer(run_id, item_id, given.start, given.end, given.answer, author)

    @router.post("/runs/{run_id}/rows/{item_id}/faults/undo")
    def undo(request: Request, run_id: int, item_id: int, given: TakeFaultBack) -> FaultAnswer:
        """Take back one of one's own answers on a row."""
        workbench.store.run_item(run_id, item_id)
        return workbench.fault_answers.undo(item_id, given.answer, author_of(request, given))

    @router.get("/faults")
    def export() -> StreamingResponse:
        """Download every standing answer as JSON lines."""
        lines = (f"{line}\n" for line in workbench.fault_answers.lines())
        return StreamingResponse(lines, media_type="application/x-ndjson")
