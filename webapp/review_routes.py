"""The review page's quick requests: panes ahead of time, labels, skips, undo, leases; JSON in, JSON out.

They answer in a few milliseconds where an event of the page's framework takes a queue and a stream, and they are what keeps
a key press and the next item together.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from core.errors import LabelError, NotFound, PingpanError
from core.review import Flag
from webapp.identity import Identity, identity_of
from webapp.pages.render import load_renderer
from webapp.pages.review import Panes, Pulse, ReviewHandlers, Saved
from webapp.pages.translate import Language
from webapp.workbench import Workbench

log = logging.getLogger(__name__)

LONGEST_NOTE = 4_000
MOST_PASSED = 200


class Act(BaseModel):
    """What the page sends with every request that changes something: its language and the query string of its URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: Language
    query: str


class NextAct(Act):
    """Asks for the row after `after`; `passed` are rows that the page has done with but whose saving is on its way."""

    after: int = 0
    passed: Annotated[tuple[int, ...], Field(max_length=MOST_PASSED)] = ()


class SkipAct(Act):
    """Passes over `item`. `key` names the act: sent again, because its answer was lost, it is done once."""

    item: int
    key: Annotated[str, Field(max_length=100)] = ""
    note: Annotated[str, Field(max_length=LONGEST_NOTE)] = ""
    flags: tuple[Flag, ...] = ()


class LabelAct(SkipAct):
    """Labels `item`; `blind` says that the votes were hidden, `adjudicate` settles what people differ on."""

    label: int
    blind: bool = False
    adjudicate: bool = False


class ReleaseAct(Act):
    """Gives `items` back."""

    items: Annotated[tuple[int, ...], Field(max_length=MOST_PASSED)]


class Done:
    """Remembers the answers to the latest acts by who acted and their key, so that an act is done once."""

    def __init__(self, most: int = 5_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._answers: OrderedDict[tuple[str, str], Future[object]] = OrderedDict()

    def once(self, who: str, key: str, act: Callable[[], object]) -> object:
        """Return what `act` gives, or what it gave, or is about to give, under the same key. An act that failed may be tried again."""
        if not key:
            return act()
        with self._lock:
            known = self._answers.get((who, key))
            if known is None:
                mine = self._answers[who, key] = Future()
                while len(self._answers) > self._most:
                    self._answers.popitem(last=False)
        if known is not None:
            return known.result()
        try:
            mine.set_result(act())
        except BaseException as error:
            with self._lock:
                self._answers.pop((who, key), None)
            mine.set_exception(error)
            raise
        return mine.result()


def review_routes(workbench: Workbench) -> APIRouter:
    """Return the routes under /review."""
    router = APIRouter(prefix="/review", include_in_schema=False)
    done = Done()
    pages = {language: ReviewHandlers(workbench, load_renderer(language)) for language in Language}

    def answer(request: Request, language: Language, act: Callable[[ReviewHandlers, Identity], object]) -> JSONResponse:
        return _answer(language, lambda: act(pages[language], _who(request)))

    @router.get("/page")
    def page(request: Request, language: Language, query: Annotated[str, Query()]) -> JSONResponse:
        return answer(request, language, lambda page, who: {"page": page.page(query, who)})

    @router.get("/panes")
    def panes(request: Request, language: Language, query: Annotated[str, Query()]) -> JSONResponse:
        return answer(request, language, lambda page, who: _panes(page.panes(query, who)))

    @router.get("/queue")
    def queue(request: Request, language: Language, query: Annotated[str, Query()]) -> JSONResponse:
        return answer(request, language, lambda page, who: {"queue": page.queue_html(query, who)})

    @router.get("/pulse")
    def pulse(request: Request, language: Language, query: Annotated[str, Query()]) -> JSONResponse:
        return answer(request, language, lambda page, who: _pulse(page.pulse(query, who)))

    @router.post("/next")
    def next_item(request: Request, act: NextAct) -> JSONResponse:
        return answer(request, act.language, lambda page, who: _panes(page.next(act.query, who, act.after, act.passed)))

    @router.post("/label")
    def label(request: Request, act: LabelAct) -> JSONResponse:
        def save(page: ReviewHandlers, who: Identity) -> object:
            given = (act.query, who, act.item, act.label, act.note, act.flags)
            return done.once(who.annotator, act.key, lambda: _saved(page.label(*given, blind=act.blind, adjudicate=act.adjudicate)))

        return answer(request, act.language, save)

    @router.post("/skip")
    def skip(request: Request, act: SkipAct) -> JSONResponse:
        def pass_over(page: ReviewHandlers, who: Identity) -> object:
            return done.once(who.annotator, act.key, lambda: _saved(page.skip(act.query, who, act.item, act.note, act.flags)))

        return answer(request, act.language, pass_over)

    @router.post("/undo")
    def undo(request: Request, act: Act) -> JSONResponse:
        return answer(request, act.language, lambda page, who: _saved(page.undo(act.query, who)))

    @router.post("/release")
    def release(request: Request, act: ReleaseAct) -> JSONResponse:
        def give_back(page: ReviewHandlers, who: Identity) -> object:
            page.release(act.query, who, act.items)
            return {}

        return answer(request, act.language, give_back)

    return router


def _who(request: Request) -> Identity:
    return identity_of(request)


def _answer(language: Language, act: Callable[[], object]) -> JSONResponse:
    """Return what `act` gives, or {"message": …} in the page's language with a status that says whose fault it is."""
    t = load_renderer(language).t
    try:
        return JSONResponse(act())
    except PingpanError as error:
        # 4xx: sending it again would not help, and the page says why; 503: it tries again.
        status = 404 if isinstance(error, NotFound) else 422 if isinstance(error, LabelError) else 503
        return JSONResponse({"message": t.error(error)}, status_code=status)
    except Exception as error:  # the edge of the request: logged, and told in words
        reference = secrets.token_hex(4)
        log.error("Review error %s", reference, exc_info=error)
        return JSONResponse({"message": t("notice.apology", reference=reference)}, status_code=500)


def _panes(panes: Panes) -> object:
    return {"item": panes.item, "search": panes.search, "middle": panes.middle, "form": panes.form}


def _pulse(pulse: Pulse) -> object:
    return {"progress": pulse.progress, "tabs": pulse.tabs, "leases": {str(item): name for item, name in pulse.leases.items()}}


def _saved(saved: Saved) -> object:
    return {"item": saved.item, "current": saved.current, "told": saved.told, "pulse": _pulse(saved.pulse)}
