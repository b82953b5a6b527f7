"""The web server: the pages of both languages, files, and a friendly answer where there is nothing."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import signal
import socket
import sys
import threading
import warnings
import webbrowser
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import NotFound, PingpanError, SettingsError
from core.processes import current_process
from core.settings import ASSETS, Settings
from webapp.api import add_api_docs, api_routes, faults_of
from webapp.fault_routes import fault_routes
from webapp.files import file_routes
from webapp.identity import LOGIN_SCOPE
from webapp.login import LoginGate, login_routes, make_door
from webapp.pages.render import load_renderer
from webapp.pages.shell import NAVIGATION
from webapp.pages.translate import Language, preferred_language
from webapp.review_routes import review_routes
from webapp.styled import StyledPages, is_page
from webapp.traffic import Traffic, TrafficMeter
from webapp.training_routes import training_routes
from webapp.why_routes import why_routes
from webapp.workbench import Workbench
from webapp.worker import WorkerSupervisor

WEB = ASSETS / "web"
STYLES, SCRIPTS = (
    ("pingpan.css", "desk.css", "review.css", "faults.css", "training.css", "why.css"),
    ("pingpan.js", "desk.js", "review.js", "faults.js", "training.js", "why.js"),
)
STATIC_FILES = dict.fromkeys(STYLES, "text/css") | dict.fromkeys(SCRIPTS, "text/javascript") | {"icon.svg": "image/svg+xml"}
COOKIE = "pingpan_language"
GRADIO_ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    # Gradio's queue sums up every event it remembers after each event, in a pandas frame that nobody looks at.
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(2**60),
    "GRADIO_ANALYTICS_MAX_EVENTS": "100",
}


def create_app(workbench: Workbench, settings: Settings) -> FastAPI:
    """Return the application: /zh and /en are the pages, /files uploads and downloads, /health says that it lives."""
    app = FastAPI(title="Pingpan", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(FriendlyNotFound)
    door = make_door(settings)
    if door is not None:
        app.add_middleware(LoginGate, door=door)
    api = api_routes(workbench, settings)
    add_api_docs(app, api)
    routers = (
        login_routes(door),
        file_routes(workbench, settings),
        api,
        review_routes(workbench),
        fault_routes(workbench),
        why_routes(workbench),
        training_routes(workbench, settings),
    )
    for router in routers:
        # These routes are complete: `include_router` would build each a second time, at the first request.
        app.router.routes.extend(router.routes)
    _add_plain_routes(app)
    _mount_pages(app, workbench, settings, login=door is not None)
    return app


def _language(request: Request) -> Language:
    """Return the language of a request: of its path, else of its cookie, else of its Accept-Language."""
    first = request.url.path.strip("/").split("/")[0]
    chosen = first if first in set(Language) else request.cookies.get(COOKIE, "")
    return preferred_language(chosen, request.headers.get("accept-language", ""))


def _add_plain_routes(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def choose_language(request: Request) -> RedirectResponse:
        return RedirectResponse(f"/{_language(request)}/", headers={"Vary": "Cookie, Accept-Language"})

    @app.get("/health")
    def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/assets/{name}", include_in_schema=False)
    def static_file(name: str) -> FileResponse:
        if name not in STATIC_FILES:
            raise HTTPException(404)
        return FileResponse(WEB / name, media_type=STATIC_FILES[name], headers={"Cache-Control": "public, max-age=3600"})

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> FileResponse:
        return static_file("icon.svg")

    for language in Language:
        app.get(f"/{language}", include_in_schema=False)(_redirect_to(f"/{language}/"))

    @app.exception_handler(PingpanError)
    async def tell(request: Request, error: PingpanError) -> Response:
        language = _language(request)
        status = 404 if isinstance(error, NotFound) else 422
        return plain_page(language, status, load_renderer(language).t.error(error))

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"message": load_renderer(_language(request)).t("api.invalid", faults=faults_of(error))}, status_code=422)


def _redirect_to(url: str) -> Callable[[], Awaitable[RedirectResponse]]:
    async def redirect() -> RedirectResponse:
        return RedirectResponse(url)

    return redirect


def plain_page(language: Language, status: int, text: str = "") -> HTMLResponse:
    """Return a page without Gradio that says what is the matter and leads back."""
    render = load_renderer(language)
    links = [(page.value, page.path) for page in NAVIGATION]
    title, text = render.t("shell.not_found"), text or render.t("shell.not_found_text")
    return HTMLResponse(
        render("plain.html", page="", section="", path="", pages=links, title=title, text=text, status=status), status_code=status
    )


class FriendlyNotFound:
    """Answers a browser's request for a page that is not there with a page; other requests keep their answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; a 404 for HTML is replaced (see the class)."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        wants_page = "text/html" in request.headers.get("accept", "")
        replaced = False

        async def watch(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 404 and wants_page and not is_page(message):
                replaced = True
                await plain_page(_language(request), 404)(scope, receive, send)
            elif not replaced:
                await send(message)

        await self.app(scope, receive, watch)


def _mount_pages(app: FastAPI, workbench: Workbench, settings: Settings, *, login: bool) -> None:
    os.environ.update(GRADIO_ENVIRONMENT)
    import gradio as gr

    from webapp.pages.site import build_site, theme

    styles = [f'<link rel="stylesheet" href="/assets/{name}?v={_fingerprint(WEB / name)}">' for name in STYLES]
    app.add_middleware(StyledPages, markup="\n".join(styles))
    head = "\n".join(
        (
            *styles,
            '<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">',
            *(f'<script src="/assets/{name}?v={_fingerprint(WEB / name)}"></script>' for name in SCRIPTS),
        )
    )
    for language in Language:
        site = build_site(workbench, settings, load_renderer(language))
        with warnings.catch_warnings():
            # Said of every site with several pages, though ssr_mode is False.
            warnings.filterwarnings("ignore", message="SSR mode is not supported")
            gr.mount_gradio_app(
                app,
                site,
                path=f"/{language}",
                auth_dependency=(lambda request: request.scope.get(LOGIN_SCOPE)) if login else None,
                server_name=settings.host,
                server_port=settings.port,
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                show_error=False,
                max_file_size=settings.max_upload_mb * 2**20,
                theme=theme(),
                head=head,
            )


def serve(settings: Settings) -> None:
    """Serve the workbench until Ctrl-C or SIGTERM; a worker beside it judges and a job runner starts training jobs, and end with it.

    Jobs go on.

    Raises SettingsError where the address cannot be listened on.
    """
    import uvicorn

    listener = listen(settings)
    port = listener.getsockname()[1]
    settings = settings.model_copy(update={"port": port})
    workbench = Workbench.open(settings)
    environment = {"PINGPAN_HOME": str(settings.home.resolve())}
    runner = (sys.executable, "-m", "webapp.job_runner", "--parent", current_process())
    supervisors = (WorkerSupervisor(environment), WorkerSupervisor(environment, runner, name="job runner"))
    traffic = Traffic()
    prewarm = workbench.prewarm(traffic.wait_for_calm, [load_renderer(language).compile for language in Language])
    shown_host = "127.0.0.1" if settings.host in {"0.0.0.0", "::", ""} else settings.host
    url = f"http://{f'[{shown_host}]' if ':' in shown_host else shown_host}:{port}/"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Start listening; what competes for the processor with the first page comes after."""
            await super().startup(sockets)
            if self.started:
                for supervisor in supervisors:
                    supervisor.start()
                prewarm.start()
                _announce(url, settings.open_browser)

    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s server %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    app = create_app(workbench, settings)
    app.add_middleware(TrafficMeter, traffic=traffic)
    config = uvicorn.Config(app, log_config=None, log_level="warning", access_log=False)
    # uvicorn gives SIGTERM back when it is done; by default that would end this process before the worker is told.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):  # how a server ends
            Server(config).run(sockets=[listener])
    finally:
        workbench.explanations.close()
        prewarm.stop()
        for supervisor in supervisors:
            supervisor.stop()
        listener.close()


def listen(settings: Settings) -> socket.socket:
    """Return a socket bound to the address of the settings. Raises SettingsError where that cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        raise SettingsError(
            f"The web server cannot listen on {where} ({error}). Free the port, or choose another: PINGPAN_PORT=0 takes a free one.",
            f"网页服务无法监听 {where}（{error}）。请空出该端口，或换一个：PINGPAN_PORT=0 会自动选择空闲端口。",
        ) from error
    return listener


def _announce(url: str, open_browser: bool) -> None:
    sys.stdout.write(f"Pingpan 评判台: {url}\n")
    sys.stdout.flush()
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
