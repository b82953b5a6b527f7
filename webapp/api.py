"""The API under /api: what the pages can do, for programs (docs/API.md). JSON in, JSON out, the same checks."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.routing import APIRoute

from core.errors import BadRowsError, NotFound, PingpanError
from core.queries import RowDetail, RowQuery, RowSort, RunPage, RunProgress
from core.settings import Settings
from core.types import JudgementStatus, Outcome, RunState
from webapp.api_desk import desk_routes
from webapp.api_faults import fault_api
from webapp.api_types import Aggregate, Ask, Offer, Parsed, Reading, Start, Started, language_of, parsed_of, told
from webapp.files import UPLOAD_TYPE, Receiver, checked_export, file_name, suffix_of
from webapp.identity import identity_of
from webapp.pages.address import RunAddress
from webapp.pages.render import load_renderer
from webapp.pages.translate import Language, Translator
from webapp.views import Estimate, Question
from webapp.workbench import Workbench

log = logging.getLogger(__name__)

JSON_TYPE = "application/json"
MOST_ROWS = 500
PREFIX = "/api"
OVER = frozenset({RunState.DONE, RunState.STOPPED, RunState.FAILED})


def faults_of(error: RequestValidationError) -> str:
    """Return what is wrong with a request's form, field by field; nothing of what was sent, which may not be writable."""
    return "; ".join(f"{'.'.join(str(part) for part in fault['loc'][1:])}: {fault['msg']}" for fault in error.errors())


class TellingRoute(APIRoute):
    """A route whose errors are JSON: {"message": in the caller's language, "messages": {"en": …, "zh": …}}.

    A request that changes something must declare JSON (or, for a file, bytes): what another site's page may send without
    asking is text or a form.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with its errors told."""
        handle = super().get_route_handler()

        async def telling(request: Request) -> Response:
            t_en, t_zh = _texts()
            if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] not in {JSON_TYPE, UPLOAD_TYPE}:
                return _refusal(request, 415, {"en": t_en("api.content_type"), "zh": t_zh("api.content_type")})
            try:
                return await handle(request)
            except RequestValidationError as error:
                faults = faults_of(error)
                return _refusal(request, 422, {"en": t_en("api.invalid", faults=faults), "zh": t_zh("api.invalid", faults=faults)})
            except (OverflowError, UnicodeEncodeError) as error:  # a number or half a character that no database holds
                key = "api.too_large" if isinstance(error, OverflowError) else "api.half_character"
                return _refusal(request, 422, {"en": t_en(key), "zh": t_zh(key)})
            except PingpanError as error:
                return _refusal(request, 404 if isinstance(error, NotFound) else 422, dict(error.messages))
            except Exception as error:  # the edge of the API: logged, and told in words
                reference = secrets.token_hex(4)
                log.error("API error %s", reference, exc_info=error)
                key = "notice.apology"
                return _refusal(request, 500, {"en": t_en(key, reference=reference), "zh": t_zh(key, reference=reference)})

        return telling


def _texts() -> tuple[Translator, Translator]:
    return load_renderer(Language.EN).t, load_renderer(Language.ZH).t


def _refusal(request: Request, status: int, messages: dict[str, str]) -> JSONResponse:
    said = messages.get(language_of(request)) or next(iter(messages.values()), "")
    return JSONResponse({"message": said, "messages": messages}, status_code=status)


def api_routes(workbench: Workbench, settings: Settings) -> APIRouter:
    """Return the routes under /api."""
    router = APIRouter(prefix=PREFIX, route_class=TellingRoute)
    _add_sheets(router, workbench, settings)
    _add_runs(router, workbench)
    _add_results(router, workbench)
    desk_routes(router, workbench, settings)
    fault_api(router, workbench)
    return router


def add_api_docs(app: FastAPI, routes: APIRouter) -> None:
    """Serve the API's description (OpenAPI) at /api/openapi.json."""
    from fastapi.openapi.utils import get_openapi

    @app.get(f"{PREFIX}/openapi.json", include_in_schema=False)
    def description() -> JSONResponse:
        return JSONResponse(get_openapi(title="Pingpan", version="1", routes=routes.routes))


def _add_sheets(router: APIRouter, workbench: Workbench, settings: Settings) -> None:
    receiver = Receiver(settings)

    @router.get("/choices")
    def choices() -> Offer:
        """Return what there is to choose from: dimensions, panels, aggregators, libraries."""
        return Offer(workbench.dimensions(), workbench.panels(), workbench.aggregators(), workbench.libraries())

    @router.post("/sheets")
    async def upload(request: Request, name: str) -> Parsed:
        """Keep a sheet (the body is the file's bytes) and return what it holds and every problem by kind."""
        shown = file_name(name)
        found: list[Parsed] = []

        def read(path: Any) -> str:
            found.append(parsed_of(workbench.preview(path, shown)))
            return found[0].sheet

        await receiver.receive(request, suffix_of(shown), read)
        return found[0]

    @router.post("/sheets/{sheet}/preview")
    def preview(sheet: str, reading: Reading) -> Parsed:
        """Read a kept sheet with another worksheet or mapping."""
        return parsed_of(workbench.preview_again(sheet, reading.worksheet, reading.mapping or None))

    @router.get("/estimate")
    def estimate(rows: Annotated[int, Query(ge=0)], panel: str) -> Estimate:
        """Return what judging `rows` rows would cost."""
        return workbench.estimate(rows, panel)


def _add_runs(router: APIRouter, workbench: Workbench) -> None:
    @router.post("/runs")
    def start(request: Request, wanted: Start) -> Started:
        """Start judging a kept sheet."""
        seen = workbench.preview_again(wanted.sheet, wanted.worksheet, wanted.mapping or None)
        if seen.error_rows and not wanted.skip_bad_rows and not seen.fatal:
            en, zh = (t("judge.skip_needed", count=seen.error_rows) for t in _texts())
            raise BadRowsError(en, (), zh)
        sheet = workbench.store_sheet(seen.token, worksheet=seen.worksheet, mapping=dict(seen.mapping), skip_bad_rows=wanted.skip_bad_rows)
        run = workbench.start_run(sheet.id, wanted.library, wanted.panel or _panel(workbench), wanted.aggregator or _aggregator(workbench))
        return Started(run.id, RunAddress(run=run.id).url(language_of(request)))

    @router.post("/questions")
    def ask(request: Request, asked: Ask) -> Started:
        """Judge one typed question."""
        question = Question(asked.dimension, asked.prompt.strip(), asked.text.strip())
        run = workbench.ask(question, asked.library, asked.panel or _panel(workbench), asked.aggregator or _aggregator(workbench))
        return Started(run.id, RunAddress(run=run.id, item="first").url(language_of(request)))

    @router.get("/runs/{run_id}")
    def progress(run_id: int) -> RunProgress:
        """Return how far a run is."""
        return workbench.progress(run_id)

    @router.post("/runs/{run_id}/stop")
    def stop(request: Request, run_id: int) -> JSONResponse:
        """Ask a run to stop after the answers in flight."""
        if workbench.run(run_id).state in OVER:
            return told(request, "run.over", ok=False)
        workbench.stop(run_id)
        return told(request, "run.stopping")

    @router.post("/runs/{run_id}/resume")
    def resume(request: Request, run_id: int) -> JSONResponse:
        """Queue a stopped, paused or failed run again."""
        if workbench.resume(run_id).state is RunState.DONE:
            return told(request, "run.over", ok=False)
        return told(request, "run.resumed")

    @router.post("/runs/{run_id}/aggregate")
    def aggregate(request: Request, run_id: int, wanted: Aggregate) -> JSONResponse:
        """Derive a run's verdicts anew by another aggregator; no judge is asked."""
        workbench.reaggregate(run_id, wanted.aggregator)
        t = load_renderer(language_of(request)).t
        return told(request, "run.reaggregated", aggregator=t.member("aggregator", wanted.aggregator))


def _add_results(router: APIRouter, workbench: Workbench) -> None:
    @router.get("/runs/{run_id}/rows")
    def rows(
        run_id: int,
        dimension: str = "",
        outcome: Outcome | None = None,
        label: int | None = None,
        status: JudgementStatus | None = None,
        search: str = "",
        sort: RowSort = RowSort.POSITION,
        page: Annotated[int, Query(ge=1)] = 1,
        page_size: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
    ) -> RunPage:
        """Return one page of a run's rows; pages count from 1 as in the pages' URLs."""
        descending = sort is RowSort.DISAGREEMENT
        return workbench.rows(run_id, RowQuery(dimension, outcome, label, status, search, sort, descending, page - 1, page_size))

    @router.get("/runs/{run_id}/rows/{item_id}")
    def row(request: Request, run_id: int, item_id: int) -> RowDetail:
        """Return everything known of one row."""
        found = workbench.row(run_id, item_id)
        if viewer := identity_of(request).annotator:
            workbench.review.saw(viewer, item_id)
        return found

    @router.get("/runs/{run_id}/export/{kind}")
    def export(run_id: int, kind: str, encoding: str = "utf-8-sig") -> RedirectResponse:
        """Download result.csv, full.xlsx or results.jsonl."""
        checked_export(workbench, run_id, kind, encoding)
        return RedirectResponse(f"/files/runs/{run_id}/{kind}?encoding={encoding}")


def _panel(workbench: Workbench) -> str:
    return workbench.panels()[0].id


def _aggregator(workbench: Workbench) -> str:
    return workbench.aggregators()[0]
