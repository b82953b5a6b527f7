"""The training page's own requests: its parts while something runs, and its acts; JSON in, JSON out.

Acts answer as those of the API do: {"notice", "undo", "url"}, or {"message"} with what to mend.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field

from core.errors import JobError
from core.settings import Settings
from core.training import JobKind, Split
from training.formats import ExportFormat
from webapp.api import TellingRoute
from webapp.api_types import Signed, Undo, author_of, language_of, told
from webapp.files import Receiver, file_name, suffix_of
from webapp.identity import identify
from webapp.pages.render import load_renderer
from webapp.pages.training import TrainingHandlers
from webapp.pages.training_address import DataTab, TrainingAddress
from webapp.pages.training_candidates import QUANTIZATIONS, chosen_judge, quantize_hindrance
from webapp.pages.training_data import choices_of
from webapp.pages.translate import Language
from webapp.services.training.chains import measurement
from webapp.workbench import Workbench

LONGEST_QUERY = 8_000


class FromPage(Signed):
    """An act that takes what is chosen on the page from its URL."""

    query: str = Field("", max_length=LONGEST_QUERY)


class Freeze(FromPage):
    """A snapshot to freeze, by the choices in the URL."""

    name: str = Field(min_length=1, max_length=120)


class Against(Signed):
    """The panel's judge that something is compared with."""

    panel: str = ""
    judge: str = ""


class Promotion(Signed):
    """Where a candidate goes: panel and judge in two lines, the second empty to add it; and why, unless it is proven better."""

    target: str
    reason: str = Field("", max_length=2_000)


def training_routes(workbench: Workbench, settings: Settings) -> APIRouter:
    """Return the routes under /training."""
    router = APIRouter(prefix="/training", route_class=TellingRoute, include_in_schema=False)
    pages = {language: TrainingHandlers(workbench, load_renderer(language)) for language in Language}
    _add_views(router, pages)
    _add_data(router, workbench, settings)
    _add_jobs(router, workbench, pages)
    _add_candidates(router, workbench)
    return router


def _add_views(router: APIRouter, pages: dict[Language, TrainingHandlers]) -> None:
    @router.get("/page")
    def page(language: Language, query: Annotated[str, Query(max_length=LONGEST_QUERY)] = "") -> JSONResponse:
        """Return the whole page."""
        return JSONResponse({"page": pages[language].page(query)})

    @router.get("/fragments")
    def fragments(language: Language, known: str = "", query: Annotated[str, Query(max_length=LONGEST_QUERY)] = "") -> JSONResponse:
        """Return those parts that changed; `known` is part:digest, separated by commas."""
        asked = dict(part.partition(":")[::2] for part in known.split(",") if part)
        found = pages[language].fragments(query, asked)
        return JSONResponse(
            {"live": found.live, "parts": {name: {"digest": digest, "html": html} for name, (digest, html) in found.parts.items()}}
        )


def _add_data(router: APIRouter, workbench: Workbench, settings: Settings) -> None:
    receiver = Receiver(settings)

    @router.post("/snapshots")
    def freeze(request: Request, given: Freeze) -> JSONResponse:
        """Freeze what the page's URL chooses."""
        author, language = author_of(request, given), language_of(request)
        address = TrainingAddress.parse(given.query)
        made = workbench.snapshots.freeze(given.name, choices_of(address.make), author)
        url = address.moved(snapshot=made.id, tab=DataTab.USE, source="", rows=False).url(language)
        return told(request, "training.frozen_now", url=url, id=made.id, train=f"{made.train_rows:,}", held=f"{made.held_out_rows:,}")

    @router.get("/snapshots/{snapshot_id}/export/{kind}")
    def export(snapshot_id: int, kind: ExportFormat, split: Split = Split.TRAIN) -> FileResponse:
        """Return one side of a snapshot in another tool's format."""
        path = workbench.snapshots.export(snapshot_id, kind, split)
        name = file_name(workbench.snapshots.snapshot(snapshot_id).name)
        return FileResponse(path, filename=f"{name}-{path.name}", media_type="application/json")

    @router.post("/texts")
    async def texts(request: Request, name: str) -> JSONResponse:
        """Keep a file of fault-free texts for a pretraining; return its path."""
        suffix = suffix_of(file_name(name))

        def keep(path: Path) -> str:
            target = settings.home / "texts" / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            return str(target)

        return JSONResponse({"value": await receiver.receive(request, suffix, keep)})

    @router.post("/import/{dimension}/{bad}")
    async def import_file(request: Request, dimension: str, bad: str, name: str) -> JSONResponse:
        """Make another tool's training file a library; return its id. `bad` is skip, or all rows must be readable."""
        shown, author = file_name(name), identify(request.cookies).annotator

        def take(path: Path) -> str:
            made = workbench.snapshots.import_training_file(
                path, Path(shown).stem, dimension_id="" if dimension == "-" else dimension, skip_bad_rows=bad == "skip", author=author
            )
            return str(made.library.id)

        return JSONResponse({"value": await receiver.receive(request, suffix_of(shown), take)})


def _add_jobs(router: APIRouter, workbench: Workbench, pages: dict[Language, TrainingHandlers]) -> None:
    @router.post("/train")
    def train(request: Request, given: FromPage) -> JSONResponse:
        """Queue what the page's URL says: train, then measure against the chosen judge."""
        author, language = author_of(request, given), language_of(request)
        plan, snapshot, address = pages[language].plan(given.query)
        if plan.spec is None or snapshot is None:
            words = plan.need or "\n".join(fault.text for fault in plan.faults)
            raise JobError(words, zh=words)
        judge = chosen_judge(workbench, address)
        panel_id, judge_id = (judge.panel, judge.judge) if judge else ("", "")
        if plan.before is None:
            jobs = workbench.jobs.train(plan.spec, author, snapshot_id=snapshot.id, panel_id=panel_id, judge_id=judge_id)
        else:
            chain = (plan.before, plan.spec, measurement(plan.spec.name, snapshot.folder))
            jobs = workbench.jobs.submit_chain(chain, author, snapshot_id=snapshot.id)
            if judge is not None:
                workbench.jobs.measure_judge(panel_id, judge_id, snapshot.id, author)
        first = next((job for job in jobs if job.kind is not JobKind.EVALUATE), jobs[0])
        return told(request, "training.started", url=address.moved(job=first.id, snapshot=snapshot.id).url(language))

    @router.post("/jobs/{job_id}/stop")
    def stop(request: Request, job_id: int, given: Signed) -> JSONResponse:
        """Ask a job to save and stop."""
        author_of(request, given)
        workbench.jobs.stop(job_id)
        return told(request, "training.stopping")

    @router.post("/jobs/{job_id}/resume")
    def resume(request: Request, job_id: int, given: Signed) -> JSONResponse:
        """Queue a stopped or failed job again."""
        author_of(request, given)
        workbench.jobs.resume(job_id)
        return told(request, "training.resumed")

    @router.post("/jobs/{job_id}/cancel")
    def cancel(request: Request, job_id: int, given: Signed) -> JSONResponse:
        """Stop a job and all that wait for it."""
        author_of(request, given)
        return told(request, "training.cancelled", count=len(workbench.jobs.cancel(job_id)))

    @router.post("/jobs/{job_id}/archive")
    def archive(request: Request, job_id: int) -> JSONResponse:
        """Take a job out of the list."""
        workbench.jobs.archive(job_id)
        return told(request, "training.archived", undo=Undo(f"/training/jobs/{job_id}/restore"), id=job_id)

    @router.post("/jobs/{job_id}/restore")
    def restore(request: Request, job_id: int) -> JSONResponse:
        """Put a job back into the list."""
        workbench.jobs.restore(job_id)
        return told(request, "training.restored", id=job_id)


def _add_candidates(router: APIRouter, workbench: Workbench) -> None:
    @router.post("/candidates/{candidate_id}/measure")
    def measure(request: Request, candidate_id: int, given: Signed) -> JSONResponse:
        """Queue a candidate's measurement."""
        workbench.candidates.measure(candidate_id, author_of(request, given))
        return told(request, "training.measure_queued")

    @router.post("/candidates/{candidate_id}/measure-judge")
    def measure_judge(request: Request, candidate_id: int, given: Against) -> JSONResponse:
        """Queue the measurement of a panel's judge on the candidate's snapshot."""
        snapshot_id = workbench.candidates.candidate(candidate_id).candidate.snapshot_id
        workbench.candidates.measure_judge(given.panel, given.judge, snapshot_id, author_of(request, given))
        return told(request, "training.measure_queued")

    @router.post("/candidates/{candidate_id}/merge")
    def merge(request: Request, candidate_id: int, given: Against) -> JSONResponse:
        """Queue: merge an adapter into its base, then measure."""
        workbench.jobs.derive(candidate_id, author_of(request, given), merge=True)
        return told(request, "training.merge_queued")

    @router.post("/candidates/{candidate_id}/quantize/{method}")
    def quantize(request: Request, candidate_id: int, method: str, given: Against) -> JSONResponse:
        """Queue: quantize a merged model, then measure."""
        if method not in QUANTIZATIONS:
            known = ", ".join(QUANTIZATIONS)
            raise JobError(f"There is no quantization «{method}»; there are: {known}.", zh=f"没有量化方式「{method}」；可选：{known}。")
        view = workbench.candidates.candidate(candidate_id)
        hindrances = {
            language: quantize_hindrance(workbench, load_renderer(language).t, view, QUANTIZATIONS[method]) for language in Language
        }
        if hindrances[Language.EN]:
            raise JobError(hindrances[Language.EN], zh=hindrances[Language.ZH])
        workbench.jobs.derive(candidate_id, author_of(request, given), quantize=(QUANTIZATIONS[method],))
        return told(request, "training.quantize_queued")

    @router.post("/candidates/{candidate_id}/promote")
    def promote(request: Request, candidate_id: int, given: Promotion) -> JSONResponse:
        """Put a candidate into a panel."""
        panel, _, judge = given.target.partition("\n")
        name = workbench.candidates.candidate(candidate_id).candidate.name
        change = workbench.candidates.promote(candidate_id, panel, judge.strip(), author_of(request, given), given.reason.strip())
        back = Undo(f"/training/promotions/{change.promotion.id}/roll-back")
        return told(request, "training.promoted", undo=back, name=name, panel=change.promotion.panel_id)

    @router.post("/promotions/{promotion_id}/roll-back")
    def roll_back(request: Request, promotion_id: int, given: Signed) -> JSONResponse:
        """Put the panel back as it was before a promotion."""
        promotion = workbench.candidates.roll_back(promotion_id, author_of(request, given))
        return told(request, "training.rolled_back", panel=promotion.panel_id)
