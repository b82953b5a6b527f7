"""The pages' quick requests about suspected faults: a row's marked text, answers, missed faults, undo; JSON in, JSON out."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from core.errors import LabelError, NotFound, PingpanError
from core.faultmarks import MarkKind
from core.faultplaces import AnswerKind
from webapp.identity import Identity, identify
from webapp.pages.fault_marks import fault_pane
from webapp.pages.render import load_renderer
from webapp.pages.translate import Language
from webapp.services.fault_answers import FaultAnswers
from webapp.workbench import Workbench

log = logging.getLogger(__name__)

Offset = Annotated[int, Field(ge=0, lt=2**31)]


class RowAct(BaseModel):
    """What every request that changes something says: the page's language, the run (None: all of them) and the row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: Language
    run: int | None = None
    item: int


class AnswerAct(RowAct):
    """Confirms or rejects the place from `start` to `end` (characters of the text)."""

    start: Offset
    end: Offset
    answer: Literal["confirm", "reject"]


class MissedAct(RowAct):
    """Marks a fault that no judge saw."""

    start: Offset
    end: Offset
    kind: MarkKind | None = None


class UndoAct(RowAct):
    """Takes back the reader's own answer."""

    answer: int


def fault_routes(workbench: Workbench) -> APIRouter:
    """Return the routes under /faults."""
    router = APIRouter(prefix="/faults", include_in_schema=False)

    def reply(request: Request, language: Language, run: int | None, item: int, act: Callable[[FaultAnswers, str], object]) -> JSONResponse:
        who = identify(request.cookies)

        def done() -> object:
            act(workbench.fault_answers, who.annotator)
            return _pane(workbench, language, run, item, who)

        return _answer(language, done)

    @router.get("/row")
    def row(request: Request, language: Language, item: Annotated[int, Query()], run: int | None = None) -> JSONResponse:
        return reply(request, language, run, item, lambda _faults, _who: None)

    @router.post("/answer")
    def answer(request: Request, act: AnswerAct) -> JSONResponse:
        kind = AnswerKind(act.answer)
        return reply(
            request, act.language, act.run, act.item, lambda faults, who: faults.answer(act.run, act.item, act.start, act.end, kind, who)
        )

    @router.post("/missed")
    def missed(request: Request, act: MissedAct) -> JSONResponse:
        return reply(
            request, act.language, act.run, act.item, lambda faults, who: faults.mark(act.run, act.item, act.start, act.end, act.kind, who)
        )

    @router.post("/undo")
    def undo(request: Request, act: UndoAct) -> JSONResponse:
        return reply(request, act.language, act.run, act.item, lambda faults, who: faults.undo(act.item, act.answer, who))

    return router


def _pane(workbench: Workbench, language: Language, run: int | None, item: int, who: Identity) -> object:
    found = workbench.fault_answers.row(run, item, who.annotator, blind=who.blind)
    pane = fault_pane(load_renderer(language), found, who.annotator)
    return {"text": pane.text, "bar": pane.bar, "windows": pane.windows, "form": pane.form}


def _answer(language: Language, act: Callable[[], object]) -> JSONResponse:
    """Return what `act` gives, or {"message": …} in the page's language with a status that says whose fault it is."""
    t = load_renderer(language).t
    try:
        return JSONResponse(act())
    except PingpanError as error:
        status = 404 if isinstance(error, NotFound) else 422 if isinstance(error, LabelError) else 503
        return JSONResponse({"message": t.error(error)}, status_code=status)
    except Exception as error:  # the edge of the request: logged, and told in words
        reference = secrets.token_hex(4)
        log.error("Fault marks error %s", reference, exc_info=error)
        return JSONResponse({"message": t("notice.apology", reference=reference)}, status_code=500)
