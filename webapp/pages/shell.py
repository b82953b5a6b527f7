"""What every page has: the header, the notices, and the edge where exceptions become words."""

from __future__ import annotations

import functools
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ParamSpec, TypeVar

import gradio as gr

from core.errors import PingpanError
from webapp.pages.render import Renderer

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

# The user went elsewhere while the last answer was on its way: that answer, then one for the latest URL.
LATEST = "always_last"
# Every event hands the handler the query string that stands in the browser's address bar at that moment.
READ_QUERY = "() => [window.location.search]"
READ_QUERY_AND = "(_, ...rest) => [window.location.search, ...rest]"
START = "async (_, ...rest) => { window.pingpan.busy(true); await window.pingpan.settled(); return [window.location.search, ...rest]; }"
VISIT = "(url) => { if (url) window.location.assign(url); else window.pingpan.busy(false); }"
ATTACH = "(window.pingpan ||= {}).go = () => trigger('go');"
# The review page asks its own route: an event's answer could take the row from under the keys that are pressed meanwhile.
ATTACH_REVIEW = "(window.pingpan ||= {}).go = () => window.pingpan.redraw();"
ATTACH_TRAINING = "(window.pingpan ||= {}).go = () => window.pingpan.redrawTraining();"


class PageName(StrEnum):
    """The pages, as the header and the translations name them."""

    JUDGE = "judge"
    RUN = "run"
    RUNS = "runs"
    COMPARE = "compare"
    REVIEW = "review"
    ROW = "row"
    LIBRARY = "library"
    AGREEMENT = "agreement"
    MODELS = "models"
    TRAINING = "training"

    @property
    def path(self) -> str:
        """Return the path under the language."""
        return "" if self is PageName.JUDGE else self.value

    @property
    def section(self) -> PageName:
        """Return the page of the navigation that this one belongs to."""
        return {PageName.RUN: PageName.RUNS, PageName.COMPARE: PageName.RUNS, PageName.ROW: PageName.REVIEW}.get(self, self)


# The pages of the header, in its order.
NAVIGATION = (PageName.JUDGE, PageName.RUNS, PageName.REVIEW, PageName.LIBRARY, PageName.AGREEMENT, PageName.MODELS, PageName.TRAINING)


class NoticeKind(StrEnum):
    """How a notice is meant."""

    INFO = "info"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Shell:
    """The parts that every page begins with. `query` carries the query string into handlers and is never seen."""

    header: gr.HTML
    query: gr.Textbox


def build_shell(render: Renderer, page: PageName, attach: str = ATTACH) -> Shell:
    """Build the header and the hidden carrier of the query string; `attach` is the script that says how a page is drawn anew."""
    return Shell(
        header=gr.HTML(header_html(render, page), js_on_load=attach, apply_default_css=False, elem_classes="pp-header"),
        query=gr.Textbox(visible=False),
    )


def header_html(render: Renderer, page: PageName) -> str:
    """Return the header of a page."""
    t = render.t
    links = [(link.value, link.path) for link in NAVIGATION]
    title = f"{t(f'shell.page_{page}')} · {t('shell.title')}"
    return render("shell.html", page=page.value, section=page.section.value, path=page.path, pages=links, title=title)


def html(elem_id: str, value: str = "") -> gr.HTML:
    """Return an HTML component with none of Gradio's prose styles and no click event."""
    return gr.HTML(value, js_on_load=None, apply_default_css=False, elem_id=elem_id)


def notice_html(render: Renderer, text: str, kind: NoticeKind = NoticeKind.ERROR) -> str:
    """Return a notice, or nothing for an empty text. The page takes what is no error away after a few seconds."""
    # Two equal notices after one another must differ, or the second would change nothing on the page.
    return render("notice.html", text=text, kind=kind.value, at=time.monotonic_ns())


def explain(render: Renderer, error: Exception) -> str:
    """Return what a user should read of an exception; one that nobody foresaw is logged under a reference."""
    if isinstance(error, PingpanError):
        return render.t.error(error)
    reference = secrets.token_hex(4)
    log.error("Page error %s", reference, exc_info=error)
    return render.t("notice.apology", reference=reference)


def at_edge(render: Renderer, handler: Callable[P, R], failed: Callable[[str], R]) -> Callable[P, R]:
    """Return `handler` with every exception turned into `failed(notice)`: a page never shows a stack trace."""

    @functools.wraps(handler)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 the page's edge: whatever happened is logged and told in words
            return failed(notice_html(render, explain(render, error)))

    return guarded
