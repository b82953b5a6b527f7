"""The agreement page: judges, the verdict and people against each other, dimension by dimension."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from core.errors import NotFound
from core.types import DimensionKind
from webapp.pages.agreement_view import agreement_view
from webapp.pages.body import Body, BodyPage, bind_body, build_body
from webapp.pages.desk_address import AgreementAddress
from webapp.pages.render import Renderer
from webapp.pages.review_address import ReviewAddress
from webapp.pages.shell import PageName
from webapp.workbench import Workbench

RUNS_OFFERED = 100


@dataclass(frozen=True, slots=True)
class AgreementHandlers:
    """The agreement page's handlers over the workbench."""

    workbench: Workbench
    render: Renderer

    def show(self, query: str) -> Body:
        """Return the whole page for a query string; without a run, of the latest one."""
        address = AgreementAddress.parse(query)
        runs = self.workbench.runs(RUNS_OFFERED)
        if not address.run and not runs:
            return Body(self.render("agreement_empty.html", query=query))
        run = self.workbench.run(address.run or runs[0].id)
        address = AgreementAddress(run.id, address.dimension, address.first, address.second, address.everyone)
        counted = self.workbench.progress(run.id).by_dimension
        # On a nominal dimension there is least to see, so it comes last.
        known = sorted(self.workbench.dimensions(), key=lambda dimension: dimension.kind is DimensionKind.NOMINAL)
        dimensions = [dimension for dimension in known if counted.get(dimension.id)]
        dimension = next((one for one in dimensions if one.id == address.dimension), dimensions[0] if dimensions else None)
        if dimension is None:
            raise NotFound(f"Run {run.id} has no rows of a known dimension.", zh=f"运行 {run.id} 里没有已知维度的行。")
        found = self.workbench.agreement.agreement(run.id, blind_only=not address.everyone, dimension_id=dimension.id)
        view = agreement_view(self.render.t, run, found, dimensions, dimension, address)
        review = ReviewAddress(run=run.id).url(self.render.t.language)
        return Body(self.render("agreement.html", view=view, runs=runs, address=address, query=query, review_href=review))


def build_agreement(render: Renderer) -> BodyPage:
    """Build the agreement page."""
    return build_body(render, PageName.AGREEMENT)


def bind_agreement(page: BodyPage, demo: gr.Blocks, workbench: Workbench, render: Renderer) -> None:
    """Draw the page by its URL."""
    bind_body(page, demo, render, AgreementHandlers(workbench, render).show)
