"""The compare page: two runs row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from core.desks import Compared, CompareRow, Comparison
from core.types import Dimension
from webapp.pages.address import PAGE_SIZE, RunAddress
from webapp.pages.agreement_view import CELL, DARKEST, HEAD, SIDE, Cell, Matrix, Tick
from webapp.pages.body import Body, BodyPage, bind_body, build_body
from webapp.pages.desk_address import CompareAddress, RunsAddress
from webapp.pages.render import Renderer, count
from webapp.pages.shell import PageName
from webapp.workbench import Workbench

RUNS_OFFERED = 100
# How often the page looks whether two long runs are read.
READING_SECONDS = 0.7


@dataclass(frozen=True, slots=True)
class ComparedView:
    """Two runs on one dimension, with the matrix drawn."""

    compared: Compared
    name: str
    matrix: Matrix


@dataclass(frozen=True, slots=True)
class CompareLine:
    """A row in both runs, with the ways to it."""

    row: CompareRow
    dimension: str
    first_href: str
    second_href: str


@dataclass(frozen=True, slots=True)
class CompareHandlers:
    """The compare page's handlers over the workbench."""

    workbench: Workbench
    render: Renderer

    def show(self, query: str) -> Body:
        """Return the whole page for a query string; with fewer than two runs named, a choice of them."""
        address = CompareAddress.parse(query)
        runs = self.workbench.runs(RUNS_OFFERED)
        if not address.a or not address.b:
            href = RunsAddress(base=address.a).url(self.render.t.language)
            return Body(self.render("compare_choose.html", runs=runs, address=address, query=query, runs_href=href))
        if not self.workbench.run_desk.at_hand(address.a, address.b):
            return Body(self.render("compare_reading.html", address=address, query=query), live=True)
        found = self.workbench.run_desk.compare(address.a, address.b, address.rows())
        language = self.render.t.language
        pages = max(1, -(-found.total // PAGE_SIZE))
        start = found.page * found.page_size
        return Body(
            self.render(
                "compare.html",
                found=found,
                address=address,
                runs=runs,
                query=query,
                dimensions=self._dimensions(found, address),
                lines=[self._line(found, row) for row in found.rows],
                first=start + 1 if found.rows else 0,
                last=start + len(found.rows),
                pages=pages,
                previous_href=address.moved(page=address.page - 1).url(language) if address.page > 1 else "",
                next_href=address.moved(page=address.page + 1).url(language) if address.page < pages else "",
                different_href=address.moved(all=False, first="", second="").url(language),
                all_href=address.moved(all=True, first="", second="").url(language),
                clear_href=CompareAddress(address.a, address.b).url(language),
                swap_href=CompareAddress(address.b, address.a, address.dimension).url(language),
            )
        )

    def _named(self) -> dict[str, Dimension]:
        return {dimension.id: dimension for dimension in self.workbench.dimensions()}

    def _dimensions(self, found: Comparison, address: CompareAddress) -> Sequence[ComparedView]:
        named, language = self._named(), self.render.t.language
        return [
            ComparedView(one, named[one.dimension_id].name(language), self._matrix(one, found, address))
            for one in found.dimensions
            if one.dimension_id in named
        ]

    def _matrix(self, compared: Compared, found: Comparison, address: CompareAddress) -> Matrix:
        t, size = self.render.t, len(compared.labels)
        largest = max((number for row in compared.matrix for number in row), default=0) or 1
        cells = []
        for i, first in enumerate(compared.labels):
            for j, second in enumerate(compared.labels):
                number = compared.matrix[i][j]
                cell = address.moved(dimension=compared.dimension_id, first=str(first), second=str(second), all=False)
                chosen = (address.dimension, address.first, address.second) == (compared.dimension_id, str(first), str(second))
                title = f"#{found.first.id}: {first}, #{found.second.id}: {second} · {t('agreement.row_count', count=count(number))}"
                shade = DARKEST * (number / largest) ** 0.5
                href = cell.url(t.language) if number else ""
                place = (SIDE + j * CELL, HEAD + i * CELL)
                cells.append(Cell(*place, CELL, CELL, count(number), "", shade, href, title, i == j, chosen))
        rows = [Tick(SIDE - 10, HEAD + (place + 0.5) * CELL, str(label)) for place, label in enumerate(compared.labels)]
        columns = [Tick(SIDE + (place + 0.5) * CELL, HEAD - 8, str(label)) for place, label in enumerate(compared.labels)]
        names = (t("run.number", id=found.first.id), t("run.number", id=found.second.id))
        return Matrix(SIDE + size * CELL, HEAD + size * CELL, " × ".join(names), rows, columns, cells, *names)

    def _line(self, found: Comparison, row: CompareRow) -> CompareLine:
        language = self.render.t.language
        dimension = self._named().get(row.first_item.dimension_id)
        return CompareLine(
            row,
            dimension.name(language) if dimension else row.first_item.dimension_id,
            RunAddress(run=found.first.id, item=str(row.first_item.id)).url(language),
            RunAddress(run=found.second.id, item=str(row.second_item.id)).url(language),
        )


def build_compare(render: Renderer) -> BodyPage:
    """Build the compare page."""
    return build_body(render, PageName.COMPARE, READING_SECONDS)


def bind_compare(page: BodyPage, demo: gr.Blocks, workbench: Workbench, render: Renderer) -> None:
    """Draw the page by its URL."""
    bind_body(page, demo, render, CompareHandlers(workbench, render).show)
