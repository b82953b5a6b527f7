"""Named endpoints of the pages' own server, for gradio_client: the acts of the API in the few words that a script needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr
from pydantic import TypeAdapter

from core.errors import LabelError, PingpanError
from core.queries import RowQuery, RowSort
from core.review import VERDICT
from webapp.api_types import parsed_of
from webapp.identity import clean_name
from webapp.pages.render import Renderer
from webapp.views import Question
from webapp.workbench import Workbench

Json = dict[str, Any]
T = TypeVar("T")
MOST_ROWS = 500


@dataclass(frozen=True, slots=True)
class ClientApi:
    """The endpoints. A PingpanError becomes a gr.Error in the language of the pages that were asked."""

    workbench: Workbench
    render: Renderer

    def choices(self) -> Json:
        """Return panels, aggregators, dimensions and libraries by id."""
        found = self.workbench
        return {
            "panels": [panel.id for panel in found.panels()],
            "aggregators": list(found.aggregators()),
            "dimensions": [dimension.id for dimension in found.dimensions()],
            "libraries": {library.name: library.id for library in found.libraries()},
        }

    def preview(self, sheet: str) -> Json:
        """Return what a kept sheet holds, by the token that an upload to /api/sheets gave ("sample": the shipped one)."""
        return self._told(lambda: _json(parsed_of(self._sheet(sheet))))

    def judge(self, sheet: str, library: int, panel: str = "", aggregator: str = "", skip_bad_rows: bool = False) -> int:
        """Start judging a kept sheet and return the run's number."""

        def begin() -> int:
            seen = self._sheet(sheet)
            stored = self.workbench.store_sheet(
                seen.token, worksheet=seen.worksheet, mapping=dict(seen.mapping), skip_bad_rows=skip_bad_rows
            )
            return self.workbench.start_run(stored.id, library, panel or self._panel(), aggregator or self._aggregator()).id

        return self._told(begin)

    def ask(self, dimension: str, text: str, library: int, prompt: str = "", panel: str = "", aggregator: str = "") -> int:
        """Judge one typed text and return the run's number."""
        question = Question(dimension, prompt, text)
        return self._told(lambda: self.workbench.ask(question, library, panel or self._panel(), aggregator or self._aggregator()).id)

    def progress(self, run: int) -> Json:
        """Return how far a run is."""
        return self._told(lambda: _json(self.workbench.progress(run)))

    def rows(self, run: int, dimension: str = "", search: str = "", sort: str = "position", page: int = 1, page_size: int = 50) -> Json:
        """Return one page of a run's rows; pages count from 1."""
        order = RowSort(sort) if sort in set(RowSort) else RowSort.POSITION
        size = min(max(1, page_size), MOST_ROWS)
        query = RowQuery(
            dimension, search=search, sort=order, descending=order is RowSort.DISAGREEMENT, page=max(0, page - 1), page_size=size
        )
        return self._told(lambda: _json(self.workbench.rows(run, query)))

    def label(self, run: int, item: int, label: int, author: str, note: str = "", request: gr.Request | None = None) -> Json:
        """Append a person's label to a row; where people sign in, it carries the login's name."""

        def append() -> Json:
            name = (request and request.username) or clean_name(author)
            if not name or name == VERDICT:
                raise LabelError(self.render.t("shell.need_name"))
            return _json(self.workbench.review.label(run, item, label, name, note=note))

        return self._told(append)

    def export(self, run: int, kind: str = "result.csv", encoding: str = "utf-8-sig") -> str:
        """Return the path under this server from which a result is downloaded."""
        return self._told(lambda: f"/files/runs/{self.workbench.run(run).id}/{kind}?encoding={encoding}")

    def _sheet(self, sheet: str) -> Any:
        if sheet == "sample":
            return self.workbench.preview(self.workbench.sample_sheet())
        return self.workbench.preview_again(sheet)

    def _told(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except PingpanError as error:
            raise gr.Error(self.render.t.error(error), print_exception=False) from error

    def _panel(self) -> str:
        return self.workbench.panels()[0].id

    def _aggregator(self) -> str:
        return self.workbench.aggregators()[0]


def _json(value: object) -> Json:
    found: Json = TypeAdapter(type(value)).dump_python(value, mode="json")
    return found


def add_client_api(workbench: Workbench, render: Renderer) -> None:
    """Add the endpoints to the Blocks that is being built."""
    api = ClientApi(workbench, render)
    for act in (api.choices, api.preview, api.judge, api.ask, api.progress, api.rows, api.label, api.export):
        gr.api(act, api_name=act.__name__)
