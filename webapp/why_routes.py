"""The route behind the "why?" buttons: a judge's words on one row, streamed as its model writes them.

A line of JSON a piece: {"wait": words}, {"text": piece}, and at the end {"done": true} or {"error": words}. It takes a JSON
body, which no other site's form can send, and like the pages' own requests it acts for who the login or the cookies say.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from core.errors import PingpanError
from webapp.identity import identity_of
from webapp.pages.render import load_renderer
from webapp.pages.translate import Language, Translator
from webapp.services.explaining import Phase, Piece
from webapp.workbench import Workbench

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/x-ndjson"


class WhyAct(BaseModel):
    """Which judge is asked about which row of which run; `language` is the page's, in which the judge is asked to answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: Language
    run: int
    item: int
    judge: Annotated[str, Field(max_length=80)]


def why_routes(workbench: Workbench) -> APIRouter:
    """Return the route /why."""
    router = APIRouter(include_in_schema=False)

    @router.post("/why")
    def why(request: Request, act: WhyAct) -> StreamingResponse:
        who = identity_of(request)
        log.info("%s asks why: run %d, item %d, judge %s", who.annotator or "somebody", act.run, act.item, act.judge)
        # What stands before a proxy must not hold the pieces back.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_lines(workbench, act), media_type=MEDIA_TYPE, headers=headers)

    return router


def _lines(workbench: Workbench, act: WhyAct) -> Iterator[str]:
    """Yield the lines of the answer; errors are told in the page's language, as the last line."""
    t = load_renderer(act.language).t
    try:
        with contextlib.closing(workbench.explanations.why(act.run, act.item, act.judge, act.language)) as pieces:
            for piece in pieces:
                yield _line(_said(t, piece))
        yield _line({"done": True})
    except PingpanError as error:
        yield _line({"error": t.error(error)})
    except Exception as error:  # the edge of the request: logged, and told in words
        reference = secrets.token_hex(4)
        log.error("Why error %s", reference, exc_info=error)
        yield _line({"error": t("notice.apology", reference=reference)})


def _said(t: Translator, piece: Piece) -> dict[str, object]:
    if piece.phase is Phase.TEXT:
        return {"text": piece.text}
    if piece.phase is Phase.LOADING:
        return {"wait": t("why.loading")}
    return {"wait": t("why.run", run=piece.run_id) if piece.run_id else t("why.turn")}


def _line(content: dict[str, object]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
