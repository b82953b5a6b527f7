"""Pages that are one piece of HTML: drawn at load, drawn anew when the URL changes or an action is done, polled while live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from webapp.pages.render import Renderer
from webapp.pages.shell import LATEST, READ_QUERY, PageName, Shell, at_edge, build_shell, html


@dataclass(frozen=True, slots=True)
class Body:
    """What such a page shows; `live` asks for it again soon."""

    html: str
    live: bool = False


@dataclass(frozen=True, slots=True)
class BodyPage:
    """The components of such a page."""

    name: PageName
    shell: Shell
    body: gr.HTML
    timer: gr.Timer


# Pages that begin with a list of their own; where something else is not there, it is a run or one of its rows.
OWN_LISTS = (PageName.LIBRARY, PageName.MODELS, PageName.TRAINING)


def build_body(render: Renderer, page: PageName, poll_seconds: float = 2.0) -> BodyPage:
    """Build the page `page`; `poll_seconds` is how often a live one is drawn anew."""
    shell = build_shell(render, page)
    body = html(f"{page.value}-body", f'<p class="loading">{render.t("notice.loading")}</p>')
    return BodyPage(page, shell, body, gr.Timer(poll_seconds, active=False))


def bind_body(page: BodyPage, demo: gr.Blocks, render: Renderer, show: Callable[[str], Body]) -> None:
    """Draw the page by `show`, which takes the query string of the URL; what it raises is told on the page."""

    def draw(query: str) -> tuple[object, object]:
        shown = show(query)
        return shown.html, gr.Timer(active=shown.live)

    def failed(notice: str) -> tuple[object, object]:
        return render("body_failed.html", notice_html=notice, way=page.name if page.name in OWN_LISTS else "runs"), gr.Timer(active=False)

    handler = at_edge(render, draw, failed)
    options = {"js": READ_QUERY, "show_progress": "hidden", "api_visibility": "private"}
    for event in (demo.load, page.timer.tick):
        event(handler, [page.shell.query], [page.body, page.timer], **options)
    page.shell.header.go(handler, [page.shell.query], [page.body, page.timer], trigger_mode=LATEST, **options)
