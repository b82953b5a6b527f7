"""The candidates of the training page: figures, the gate's word against a panel's judge, and what can be made of each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from core.errors import PingpanError
from core.training import Stage
from core.types import Dimension
from training.specs import QuantizeMethod, QuantizeSpec
from webapp.pages.desk_address import ModelsAddress
from webapp.pages.training_address import TrainingAddress
from webapp.pages.training_names import shown_name
from webapp.pages.training_view import (
    CandidateLine,
    OpenedCandidate,
    Promoted,
    StepOffer,
    gain_bar,
    gain_scale,
    opened_candidate,
    overall_drift,
    overall_quality,
    stage_order,
)
from webapp.pages.translate import Translator
from webapp.services.training.views import CandidateView, GateReport
from webapp.workbench import Workbench

CANDIDATES_SHOWN = 24
REPORTS_KEPT = 200
MERGE = "merge"
QUANTIZATIONS: Mapping[str, QuantizeMethod] = {"awq": QuantizeMethod.AWQ, "w8a8": QuantizeMethod.W8A8}


@dataclass(frozen=True, slots=True)
class JudgeChoice:
    """A panel's judge that candidates are compared with."""

    panel: str
    judge: str


@dataclass(frozen=True, slots=True)
class CandidateList:
    """The candidates as the page shows them."""

    lines: Sequence[CandidateLine]
    opened: OpenedCandidate | None
    judges: Sequence[tuple[str, str, str]]
    panels: Sequence[tuple[str, str]]
    chosen: JudgeChoice | None


@dataclass(slots=True)
class Reports:
    """The latest comparisons: a candidate's predictions never change, and comparing draws thousands of samples."""

    kept: OrderedDict[tuple[object, ...], GateReport] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def get(self, workbench: Workbench, view: CandidateView, judge: JudgeChoice) -> GateReport:
        """Return the comparison of a measured candidate with a panel's judge. Raises PingpanError where that was not measured."""
        sha256 = next((panel.sha256 for panel in workbench.panels() if panel.id == judge.panel), "")
        key = (view.candidate.id, view.candidate.evaluation_id, view.candidate.predictions, judge, sha256)
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key]
        report = workbench.candidates.report(view.candidate.id, judge.panel, judge.judge)
        with self.lock:
            self.kept[key] = report
            while len(self.kept) > REPORTS_KEPT:
                self.kept.popitem(last=False)
        return report


def judge_choices(workbench: Workbench, t: Translator) -> list[tuple[str, str, str]]:
    """Return every judge of every panel: panel id, judge id, words; the default panel's lead judge first."""
    found = []
    for panel in workbench.panels():
        judges = sorted(panel.judges, key=lambda judge: judge.id != panel.lead)
        found += [(panel.id, judge.id, f"{t.pick(panel.names)} · {judge.named(t.language)}") for judge in judges]
    return found


def chosen_judge(workbench: Workbench, address: TrainingAddress) -> JudgeChoice | None:
    """Return the judge that the address names, else the lead judge of its panel, else of the default one."""
    panels = list(workbench.panels())
    panel = next((one for one in panels if one.id == address.panel), panels[0] if panels else None)
    if panel is None or not panel.judges:
        return None
    ids = [judge.id for judge in panel.judges]
    return JudgeChoice(panel.id, address.judge if address.judge in ids else panel.lead if panel.lead in ids else ids[0])


def candidate_list(
    workbench: Workbench, t: Translator, address: TrainingAddress, dimensions: Mapping[str, Dimension], reports: Reports
) -> CandidateList:
    """Return the newest candidates, those of one adapter together in the order in which they were made of each other."""
    views = _ordered(workbench.candidates.candidates(None), address.candidate)
    judge = chosen_judge(workbench, address)
    compared: dict[int, GateReport] = {}
    missing: dict[int, str] = {}
    for view in views:
        if judge is None or not view.quality:
            continue
        try:
            compared[view.candidate.id] = reports.get(workbench, view, judge)
        except PingpanError as error:
            missing[view.candidate.id] = t.error(error)
    scale = gain_scale(list(compared.values()))
    names = {panel.id: t.pick(panel.names) for panel in workbench.panels()}
    lines = [
        _line(workbench, t, address, view, compared.get(view.candidate.id), missing.get(view.candidate.id, ""), scale, names)
        for view in views
    ]
    opened = next((line for line in lines if line.chosen), None)
    return CandidateList(
        lines,
        opened_candidate(t, opened, dimensions, address, scale) if opened else None,
        judge_choices(workbench, t),
        list(names.items()),
        judge,
    )


def _ordered(views: Sequence[CandidateView], opened: int) -> list[CandidateView]:
    by_id = {view.candidate.id: view for view in views}
    roots: dict[int, list[CandidateView]] = {}
    for view in views:
        root = view
        while (before := by_id.get(root.candidate.previous or 0)) is not None and before.candidate.id < root.candidate.id:
            root = before
        roots.setdefault(root.candidate.id, []).append(view)
    ordered = [
        view
        for _, family in sorted(roots.items(), reverse=True)
        for view in sorted(family, key=lambda one: (stage_order(one.candidate.stage), one.candidate.id))
    ]
    shown = ordered[:CANDIDATES_SHOWN]
    return shown + [view for view in ordered[CANDIDATES_SHOWN:] if view.candidate.id == opened]


def _line(
    workbench: Workbench, t: Translator, address: TrainingAddress, view: CandidateView, report: GateReport | None, missing: str, scale: float,
    panels: Mapping[str, str],
) -> CandidateLine:  # fmt: skip
    one = view.candidate
    chosen = one.id == address.candidate
    return CandidateLine(
        view=view,
        name=shown_name(t, one.name),
        quality=overall_quality(view, report),
        report=report,
        missing=missing,
        bar=gain_bar(report.overall.gain, report.overall.low, report.overall.high, scale) if report else None,
        drift=overall_drift(view),
        promoted=tuple(
            Promoted(promotion, panels.get(promotion.panel_id, promotion.panel_id), ModelsAddress(promotion.panel_id).url(t.language))
            for promotion in view.promotions
            if promotion.rolled_back_at is None
        ),
        offers=_offers(workbench, t, view),
        job_href=address.moved(job=one.job_id).url(t.language),
        href=address.moved(candidate=0 if chosen else one.id).url(t.language),
        chosen=chosen,
    )


def _offers(workbench: Workbench, t: Translator, view: CandidateView) -> tuple[StepOffer, ...]:
    if view.candidate.stage is Stage.ADAPTER:
        return (StepOffer(MERGE, ""),)
    if view.candidate.stage is not Stage.MERGED:
        return ()
    return tuple(StepOffer(key, quantize_hindrance(workbench, t, view, method)) for key, method in QUANTIZATIONS.items())


def quantize_hindrance(workbench: Workbench, t: Translator, view: CandidateView, method: QuantizeMethod) -> str:
    """Return why a merged model cannot be quantized here, and what to do instead; "" where it can."""
    from training.quantize.job import check

    fields = {"name": "check", "model": str(view.candidate.options.get("model", "")), "method": method, "snapshot": Path()}
    spec = QuantizeSpec.model_validate({**fields, "lmdeploy_python": workbench.settings.lmdeploy_python})
    try:
        check(spec)
    except PingpanError as error:
        return t.error(error)
    return ""
