"""The API of the desks: labels, libraries, comparisons, agreement, panels."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from core.desks import CompareQuery, Comparison, ExampleUses, LibraryChange, LibraryFacets, LibraryPage, LibraryQuery, RunLine, Standing
from core.review import Agreement, Outcomes, QueuePage, QueueQuery, QueueScope, QueueView
from core.settings import Settings
from core.types import Library, Origin
from webapp.api_types import (
    AskAgain,
    Examples,
    GiveLabel,
    JudgeAgain,
    PanelText,
    Promote,
    Relabel,
    Signed,
    TakeBack,
    Undo,
    author_of,
    language_of,
    told,
)
from webapp.files import Receiver, file_name, suffix_of
from webapp.pages.address import RunAddress
from webapp.pages.desk_address import LibraryAddress, ModelsAddress
from webapp.workbench import Workbench

MOST = 500
Page = Annotated[int, Query(ge=1)]
Size = Annotated[int, Query(ge=1, le=MOST)]


def desk_routes(router: APIRouter, workbench: Workbench, settings: Settings) -> None:
    """Add the desks' routes."""
    _add_runs(router, workbench)
    _add_labels(router, workbench)
    _add_libraries(router, workbench, settings)
    _add_examples(router, workbench)
    _add_panels(router, workbench)


def _add_runs(router: APIRouter, workbench: Workbench) -> None:
    @router.get("/runs")
    def runs(page: Page = 1, page_size: Size = 50, deleted: bool = False) -> list[RunLine]:
        """Return runs, newest first, with what stands of each."""
        return list(workbench.run_desk.lines(page_size, (page - 1) * page_size, deleted=deleted))

    @router.post("/runs/{run_id}/delete")
    def delete(request: Request, run_id: int) -> JSONResponse:
        """Take a run out of every list; it can be restored."""
        workbench.run_desk.delete(run_id)
        return told(request, "runs.deleted", undo=Undo(f"/api/runs/{run_id}/restore"), id=run_id)

    @router.post("/runs/{run_id}/restore")
    def restore(request: Request, run_id: int) -> JSONResponse:
        """Bring a deleted run back."""
        workbench.run_desk.restore(run_id)
        return told(request, "runs.restored", id=run_id)

    @router.get("/runs/{first}/compare/{second}")
    def compare(first: int, second: int, dimension: str = "", everything: bool = False, page: Page = 1, page_size: Size = 50) -> Comparison:
        """Return two runs row by row: rows whose verdicts differ, or `everything`."""
        query = CompareQuery(dimension, only_different=not everything, page=page - 1, page_size=page_size)
        return workbench.run_desk.compare(first, second, query)

    @router.get("/runs/{run_id}/agreement")
    def agreement(run_id: int, dimension: str = "", blind_only: bool = True) -> Agreement:
        """Return the agreement of judges and people on a run."""
        return workbench.agreement.agreement(run_id, blind_only=blind_only, dimension_id=dimension)

    @router.post("/runs/{run_id}/judge-again")
    def judge_again(request: Request, run_id: int, wanted: JudgeAgain) -> JSONResponse:
        """Queue a new run over some rows of a run, with its library as it is now."""
        run = workbench.library_desk.judge_again(run_id, wanted.items, example_id=wanted.example)
        return told(request, "library.judged_again", url=RunAddress(run=run.id).url(language_of(request)), id=run.id, rows=run.items)

    @router.post("/runs/{run_id}/ask-again")
    def ask_again(request: Request, run_id: int, wanted: AskAgain) -> JSONResponse:
        """Have answers that failed, were off the menu or refused given again; what was answered is kept."""
        author = author_of(request, wanted, needed=False)
        count = workbench.ask_again(run_id, author, wanted.item, wanted.judge)
        return told(request, "run.asked_again" if count else "run.nothing_to_ask", count=count)


def _add_labels(router: APIRouter, workbench: Workbench) -> None:
    @router.get("/runs/{run_id}/queue")
    def queue(
        run_id: int,
        view: QueueView = QueueView.ALL,
        scope: QueueScope = QueueScope.OPEN,
        dimension: str = "",
        annotator: str = "",
        page: Page = 1,
        page_size: Size = 50,
    ) -> QueuePage:
        """Return one page of a run's review queue."""
        query = QueueQuery(view=view, scope=scope, dimension_id=dimension, page=page - 1, page_size=page_size)
        return workbench.review.queue(run_id, query, annotator)

    @router.post("/runs/{run_id}/rows/{item_id}/label")
    def label(request: Request, run_id: int, item_id: int, given: GiveLabel) -> Outcomes:
        """Append a person's label to a row."""
        author = author_of(request, given)
        return workbench.review.label(run_id, item_id, given.label, author, given.reason, given.note, given.flags, blind=given.blind)

    @router.post("/runs/{run_id}/rows/{item_id}/undo")
    def undo(request: Request, run_id: int, item_id: int, given: Signed) -> Outcomes:
        """Take back one's own latest act on a row."""
        return workbench.review.undo(run_id, author_of(request, given), item_id)


def _add_libraries(router: APIRouter, workbench: Workbench, settings: Settings) -> None:
    receiver = Receiver(settings)

    @router.get("/libraries")
    def libraries() -> list[Library]:
        """Return every library, newest first."""
        return list(workbench.libraries())

    @router.post("/libraries")
    async def import_library(request: Request, name: str) -> dict[str, int]:
        """Make a file of labelled rows (the body is its bytes) a library; return its id."""
        shown = file_name(name)
        found = await receiver.receive(request, suffix_of(shown), lambda path: str(workbench.import_library(path, shown).id))
        return {"library": int(found)}

    @router.get("/libraries/{library_id}/facets")
    def facets(library_id: int) -> LibraryFacets:
        """Return what a library holds, by label, origin and author."""
        return workbench.library_desk.facets(library_id)

    @router.get("/libraries/{library_id}/examples")
    def examples(
        library_id: int,
        q: str = "",
        like: str = "",
        dimension: str = "",
        label: int | None = None,
        origin: Origin | None = None,
        standing: Standing = Standing.ACTIVE,
        page: Page = 1,
        page_size: Size = 50,
    ) -> LibraryPage:
        """Return one page of a library's examples, newest first, or by similarity to the text `like`."""
        query = LibraryQuery(q, like, dimension, label, origin, "", standing, page - 1, page_size)
        return workbench.library_desk.items(library_id, query)

    @router.post("/libraries/{library_id}/promote")
    def promote(request: Request, library_id: int, wanted: Promote) -> JSONResponse:
        """Add the labels that people gave in a run to a library."""
        change = workbench.library_desk.promote_corrections(wanted.run, library_id, author_of(request, wanted), wanted.items)
        return told(request, "library.promoted", undo=_undo(library_id, change), count=len(change.added), same=change.unchanged)

    @router.post("/libraries/{library_id}/undo")
    def undo(request: Request, library_id: int, wanted: TakeBack) -> JSONResponse:
        """Take a change of a library back, in a new version."""
        library = workbench.store.library(library_id)
        change = LibraryChange(library, library.version, wanted.added, wanted.retired)
        workbench.library_desk.undo(library_id, change, author_of(request, wanted))
        return told(request, "library.undone")


def _add_examples(router: APIRouter, workbench: Workbench) -> None:
    @router.post("/libraries/{library_id}/retire")
    def retire(request: Request, library_id: int, wanted: Examples) -> JSONResponse:
        """Take examples out of retrieval; they stay in history."""
        change = workbench.library_desk.retire(library_id, wanted.examples, author_of(request, wanted))
        return told(request, "library.retired_now", undo=_undo(library_id, change), count=len(change.retired))

    @router.post("/libraries/{library_id}/restore")
    def restore(request: Request, library_id: int, wanted: Examples) -> JSONResponse:
        """Put retired examples back."""
        change = workbench.library_desk.restore(library_id, wanted.examples, author_of(request, wanted))
        return told(request, "library.restored_now", undo=_undo(library_id, change), count=len(change.added))

    @router.post("/libraries/{library_id}/examples/{example_id}/label")
    def relabel(request: Request, library_id: int, example_id: int, wanted: Relabel) -> JSONResponse:
        """Give an example another label, with the reason."""
        change = workbench.library_desk.relabel(library_id, example_id, wanted.label, author_of(request, wanted), wanted.reason)
        url = LibraryAddress(library=library_id, item=change.added[0]).url(language_of(request)) if change.added else ""
        return told(request, "library.relabelled", undo=_undo(library_id, change), url=url, label=wanted.label)

    @router.get("/libraries/{library_id}/examples/{example_id}/uses")
    def uses(library_id: int, example_id: int, page: Page = 1, page_size: Size = 50) -> ExampleUses:
        """Return the rows that were judged with an example in sight."""
        return workbench.library_desk.uses(library_id, example_id, page - 1, page_size)


def _undo(library_id: int, change: LibraryChange) -> Undo | None:
    if not change.added and not change.retired:
        return None
    return Undo(f"/api/libraries/{library_id}/undo", {"added": list(change.added), "retired": list(change.retired)})


def _add_panels(router: APIRouter, workbench: Workbench) -> None:
    @router.post("/panels/check")
    def check(request: Request, wanted: PanelText) -> JSONResponse:
        """Say whether a panel's text can be used, with every fault."""
        faults = workbench.panel_desk.faults(wanted.id, wanted.text)
        if faults:
            return told(request, "models.faults", ok=False, faults="\n".join(fault[language_of(request)] for fault in faults))
        return told(request, "models.no_faults")

    @router.post("/panels")
    def save(request: Request, wanted: PanelText) -> JSONResponse:
        """Keep a panel's text as the new version of a panel of one's own."""
        panel = workbench.panel_desk.save(wanted.id, wanted.text)
        return told(request, "models.saved", url=ModelsAddress(panel.id).url(language_of(request)), id=panel.id)

    @router.post("/panels/{panel_id}/remove")
    def remove(request: Request, panel_id: int | str) -> JSONResponse:
        """Take a panel of one's own out of the list; its versions stay, and it can be put back."""
        text = workbench.panel_desk.remove(str(panel_id))
        back = Undo("/api/panels", {"id": str(panel_id), "text": text})
        return told(request, "models.removed", undo=back, url=ModelsAddress().url(language_of(request)), id=panel_id)
