"""The library page: search, filter, one example in full, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gradio as gr

from core.desks import Candidate, ExampleDetail, ExampleUses, LibraryFacets, LibraryPage, LibraryRow, LibraryVersion, Standing
from core.settings import Settings
from core.types import Dimension, Library, Origin, Run
from webapp.pages.address import PAGE_SIZE, RunAddress
from webapp.pages.body import Body, BodyPage, bind_body, build_body
from webapp.pages.desk_address import LIKE_CHARACTERS, LibraryAddress
from webapp.pages.render import Renderer
from webapp.pages.shell import PageName
from webapp.pages.training_address import CORRECTIONS, DataTab, MakeChoices, TrainingAddress
from webapp.workbench import Workbench

USES_SHOWN = 20
CANDIDATES_SHOWN = 20
RUNS_OFFERED = 50


@dataclass(frozen=True, slots=True)
class CountCell:
    """How many examples have one label of one dimension; `share` of the largest cell colours it."""

    label: int
    count: int
    share: float
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class CountRow:
    """The counts of one dimension."""

    name: str
    total: int
    href: str
    cells: Mapping[int, CountCell]


@dataclass(frozen=True, slots=True)
class ExampleLine:
    """One example in the list."""

    row: LibraryRow
    dimension: str
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class UseLine:
    """A row that used the example, with the way to it."""

    run_id: int
    external_id: str
    similarity: float
    rank: int
    verdict: int | None
    current: int | None
    href: str


@dataclass(frozen=True, slots=True)
class ExampleView:
    """One example in full."""

    detail: ExampleDetail
    dimension: Dimension
    uses: ExampleUses
    use_lines: Sequence[UseLine]
    by_run: Sequence[tuple[int, int, str]]
    label_hrefs: Mapping[int, str]
    close_href: str
    previous_href: str
    next_href: str
    uses_previous_href: str
    uses_next_href: str


@dataclass(frozen=True, slots=True)
class PromoteView:
    """The corrections of a run that the library lacks."""

    run_id: int
    runs: Sequence[Run]
    candidates: Sequence[Candidate]
    total: int


@dataclass(frozen=True, slots=True)
class LibraryView:
    """The whole page."""

    address: LibraryAddress
    library: Library
    libraries: Sequence[Library]
    facets: LibraryFacets
    counts: Sequence[CountRow]
    labels: Sequence[int]
    lines: Sequence[ExampleLine]
    page: LibraryPage
    first: int
    last: int
    pages: int
    previous_href: str
    next_href: str
    clear_href: str
    active_href: str
    retired_href: str
    promote_href: str
    corrections: int
    train_href: str
    promote: PromoteView | None
    versions: Sequence[LibraryVersion]


@dataclass(frozen=True, slots=True)
class LibraryHandlers:
    """The library page's handlers over the workbench."""

    workbench: Workbench
    render: Renderer
    settings: Settings

    def show(self, query: str) -> Body:
        """Return the whole page for a query string."""
        address = LibraryAddress.parse(query)
        libraries = self.workbench.libraries()
        library = next((one for one in libraries if one.id == address.library), None) if address.library else libraries[0]
        if library is None:
            library = self.workbench.store.library(address.library)
        address = address.moved(item=address.item, library=library.id, page=address.page, uses=address.uses, promote=address.promote)
        page = self.workbench.library_desk.items(library.id, address.rows())
        view = self._view(address, library, libraries, page)
        opened = self._example(address, page) if address.item else None
        return Body(
            self.render(
                "library_page.html",
                view=view,
                opened=opened,
                query=query,
                origins=list(Origin),
                dimensions=self.workbench.dimensions(),
                like_characters=LIKE_CHARACTERS,
                max_upload_mb=self.settings.max_upload_mb,
            )
        )

    def _view(self, address: LibraryAddress, library: Library, libraries: Sequence[Library], page: LibraryPage) -> LibraryView:
        language = self.render.t.language
        facets = self.workbench.library_desk.facets(library.id)
        pages = max(1, -(-page.total // PAGE_SIZE))
        start = page.page * page.page_size
        corrections = self.workbench.review.corrections()
        return LibraryView(
            address=address,
            library=library,
            libraries=libraries,
            facets=facets,
            counts=self._counts(address, facets),
            labels=sorted({label for counts in facets.labels.values() for label in counts}),
            lines=[self._line(address, row) for row in page.rows],
            page=page,
            first=start + 1 if page.rows else 0,
            last=start + len(page.rows),
            pages=pages,
            previous_href=address.moved(page=address.page - 1, item=0).url(language) if address.page > 1 else "",
            next_href=address.moved(page=address.page + 1, item=0).url(language) if address.page < pages else "",
            clear_href=LibraryAddress(library=library.id, standing=address.standing).url(language),
            active_href=address.moved(standing=Standing.ACTIVE).url(language),
            retired_href=address.moved(standing=Standing.RETIRED, like="").url(language),
            promote_href=self._promote_href(address),
            corrections=corrections,
            train_href=_train_from(library, corrections).url(language) if library.size or corrections else "",
            promote=self._promote(address) if address.promote else None,
            versions=self.workbench.library_desk.versions(library.id),
        )

    def _counts(self, address: LibraryAddress, facets: LibraryFacets) -> list[CountRow]:
        language = self.render.t.language
        largest = max((count for counts in facets.labels.values() for count in counts.values()), default=1)
        base = LibraryAddress(library=address.library)
        rows = []
        for dimension in self.workbench.dimensions():
            counts = facets.labels.get(dimension.id, {})
            cells = {
                label: CountCell(
                    label,
                    counts.get(label, 0),
                    counts.get(label, 0) / largest,
                    base.moved(dimension=dimension.id, label=str(label)).url(language),
                    (address.dimension, address.label) == (dimension.id, str(label)),
                )
                for label in dimension.labels
            }
            href = base.moved(dimension=dimension.id).url(language)
            rows.append(CountRow(dimension.name(language), sum(counts.values()), href, cells))
        return rows

    def _line(self, address: LibraryAddress, row: LibraryRow) -> ExampleLine:
        href = address.moved(item=row.item.id).url(self.render.t.language)
        return ExampleLine(row, self._dimension(row.item.dimension_id), href, row.item.id == address.item)

    def _dimension(self, dimension_id: str) -> str:
        names = {dimension.id: dimension.name(self.render.t.language) for dimension in self.workbench.dimensions()}
        return names.get(dimension_id, dimension_id)

    def _promote_href(self, address: LibraryAddress) -> str:
        runs = self.workbench.runs(1)
        return address.moved(item=0, promote=runs[0].id).url(self.render.t.language) if runs else ""

    def _promote(self, address: LibraryAddress) -> PromoteView:
        found, total = self.workbench.library_desk.candidates(address.promote, address.library, 0, CANDIDATES_SHOWN)
        return PromoteView(address.promote, self.workbench.runs(RUNS_OFFERED), found, total)

    def _example(self, address: LibraryAddress, page: LibraryPage) -> ExampleView:
        language = self.render.t.language
        detail = self.workbench.library_desk.example(address.library, address.item)
        uses = self.workbench.library_desk.uses(address.library, address.item, address.uses - 1, USES_SHOWN)
        dimension = next(one for one in self.workbench.dimensions() if one.id == detail.row.item.dimension_id)
        ids = [row.item.id for row in page.rows]
        place = ids.index(address.item) if address.item in ids else None
        beside = [
            address.moved(item=ids[place + step]).url(language) if place is not None and 0 <= place + step < len(ids) else ""
            for step in (-1, 1)
        ]
        more = address.uses * USES_SHOWN < uses.total
        return ExampleView(
            detail=detail,
            dimension=dimension,
            uses=uses,
            use_lines=[
                UseLine(
                    use.run_id,
                    use.external_id,
                    use.similarity,
                    use.rank,
                    use.verdict,
                    use.current,
                    RunAddress(run=use.run_id, item=str(use.item_id)).url(language),
                )
                for use in uses.uses
            ],
            by_run=[(run_id, count, RunAddress(run=run_id).url(language)) for run_id, count in uses.by_run.items()],
            label_hrefs={row.item.id: address.moved(item=row.item.id).url(language) for row in detail.labels},
            close_href=address.moved(item=0).url(language),
            previous_href=beside[0],
            next_href=beside[1],
            uses_previous_href=address.moved(uses=address.uses - 1).url(language) if address.uses > 1 else "",
            uses_next_href=address.moved(uses=address.uses + 1).url(language) if more else "",
        )


def _train_from(library: Library, corrections: int) -> TrainingAddress:
    """Return the training page as it is for people's corrections, without any for the library's labels."""
    if corrections:
        return TrainingAddress(source=CORRECTIONS)
    return TrainingAddress(tab=DataTab.MAKE, make=MakeChoices(libraries=(library.id,)))


def build_library(render: Renderer) -> BodyPage:
    """Build the library page."""
    return build_body(render, PageName.LIBRARY)


def bind_library(page: BodyPage, demo: gr.Blocks, workbench: Workbench, render: Renderer, settings: Settings) -> None:
    """Draw the page by its URL."""
    bind_body(page, demo, render, LibraryHandlers(workbench, render, settings).show)
