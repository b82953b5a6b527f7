"""The candidate desk: judges that jobs made, what the gate says of them, and their way into a panel and back."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from core.errors import JobError, NotFound, PingpanError
from core.training import Candidate, GateVerdict, Job, JobState, Promotion, Snapshot, Stage
from core.types import Dimension, JudgeSpec, LocalText, PanelSpec
from db.store import SqlStore
from training.specs import JudgeLine
from webapp.services.panel_desk import PanelDesk
from webapp.services.training import chains, panel_text, products
from webapp.services.training.gate import GateKeeper, verdict_words
from webapp.services.training.jobs import PENDING, JobDesk
from webapp.services.training.ports import FIRST_PORT, free_port
from webapp.services.training.views import CandidateView, GateReport, PanelChange

LONGEST_NAME = 80
# What tells a form of a model from the one before it; an adapter and a head bear the plain name.
FORMS: Mapping[Stage, LocalText] = {
    Stage.MERGED: {"zh": "合并", "en": "merged"},
    Stage.AWQ: {"zh": "AWQ", "en": "AWQ"},
    Stage.W8A8: {"zh": "W8A8", "en": "W8A8"},
}


class CandidateDesk:
    """Shows, measures, promotes and rolls back candidates. Every method raises a PingpanError for what a user can mend."""

    def __init__(self, store: SqlStore, dimensions: Mapping[str, Dimension], jobs: JobDesk, panels: PanelDesk) -> None:
        self._store = store
        self._dimensions = dimensions
        self._jobs = jobs
        self._panels = panels
        self._gate = GateKeeper(dimensions)
        self._lock = threading.Lock()

    # Looking

    def candidates(self, snapshot_id: int | None = None, limit: int = 200) -> Sequence[CandidateView]:
        """Return candidates with their figures, newest first, of one snapshot or of all."""
        promotions = self.promotions(active=True)
        return [self._view(candidate, promotions) for candidate in self._store.trained_candidates(limit, snapshot_id=snapshot_id)]

    def candidate(self, candidate_id: int) -> CandidateView:
        """Return one candidate with its figures. Raises NotFound."""
        return self._view(self._store.trained_candidate(candidate_id), self.promotions(active=True))

    def promotions(self, *, active: bool = False) -> Sequence[Promotion]:
        """Return the promotions, newest first; `active` ones are those whose candidate judges in its panel now."""
        found = self._store.promotions()
        return [promotion for promotion in found if self._judges(promotion)] if active else found

    def origins(self, panel: PanelSpec) -> Mapping[str, Candidate]:
        """Return, by judge id, the candidates that judge in a panel: put there by promotion, or with a line that was copied."""
        candidates = self._store.trained_candidates(limit=10_000)
        lines = {judge.id: JudgeLine(id=judge.id, family=judge.family, options=dict(judge.options)) for judge in panel.judges}
        found = {
            judge_id: next((one for one in candidates if products.same_judge(one.family, one.options, line)), None)
            for judge_id, line in lines.items()
        }
        return {judge_id: candidate for judge_id, candidate in found.items() if candidate is not None}

    def report(self, candidate_id: int, panel_id: str, judge_id: str) -> GateReport:
        """Return a candidate against a panel's judge on the frozen held-out rows.

        Without a judge it is to stand beside the others: it is compared with the lead judge, on the dimensions that it answers.
        Raises JobError saying which measurement is missing and how to get it, NotFound, PanelError.
        """
        candidate = self._store.trained_candidate(candidate_id)
        snapshot = self._store.snapshot(candidate.snapshot_id)
        judge = self._judge(panel_id, judge_id)
        new = self._own_predictions(candidate)
        old = self._judge_predictions(panel_id, judge, snapshot)
        overall, each = self._gate.compare(snapshot, old, new, spare_silent=not judge_id)
        better, worse = self._gate.changes(snapshot, old, new)
        names = {"zh": judge.named("zh"), "en": judge.named("en")}
        reason = verdict_words(overall, each, self._dimension_name)
        return GateReport(candidate, panel_id, judge.id, names, overall, each, reason, better, worse)

    # Measuring

    def measure(self, candidate_id: int, author: str) -> Job:
        """Queue the measurement of a candidate on its snapshot's held-out rows; one under way is returned. Raises NotFound."""
        candidate = self._store.trained_candidate(candidate_id)
        under_way = self._evaluation(candidate)
        if under_way is not None and under_way.state in PENDING:
            return under_way
        snapshot = self._store.snapshot(candidate.snapshot_id)
        line = JudgeLine(id="candidate", family=candidate.family, options=dict(candidate.options))
        job = self._jobs.submit(chains.measurement(candidate.name, snapshot.folder, line), author, snapshot_id=snapshot.id)
        self._store.set_evaluation(candidate.id, job.id)
        return job

    def measure_judge(self, panel_id: str, judge_id: str, snapshot_id: int, author: str) -> Job:
        """Return the measurement of a panel's judge on a snapshot's held-out rows: done, under way, else queued now."""
        return self._jobs.measure_judge(panel_id, self._judge(panel_id, judge_id).id, snapshot_id, author)

    # Promoting

    def promote(self, candidate_id: int, panel_id: str, judge_id: str, author: str, reason: str = "") -> PanelChange:
        """Put a candidate in the place of a panel's judge (""; beside the others) as a new version of the panel's file.

        A shipped panel is copied to a free name first, which the promotion tells. Runs that were made keep their own panel.
        Raises JobError, with the interval, where the candidate is worse or unproven and no reason is given; PanelError.
        """
        candidate = self._store.trained_candidate(candidate_id)
        verdict = self._verdict(candidate, panel_id, judge_id, reason)
        with self._lock:
            target = panel_id if self._panels.is_own(panel_id) else self._copy(panel_id)
            before = self._panels.text(target)
            spec = self._line(candidate, self._panels.panel(target), judge_id)
            after = panel_text.replace_judge(before, judge_id, spec) if judge_id else panel_text.add_judge(before, spec)
            self._panels.save(target, after)
            promotion = self._store.add_promotion(
                candidate.id,
                target,
                spec.id,
                before=(panel_text.digest(before), before),
                after=(panel_text.digest(after), after),
                verdict=verdict,
                reason=reason.strip(),
                author=author,
            )
        return PanelChange(promotion, self._panels.folder / f"{target}.yaml", _serve_command(candidate, promotion))

    def roll_back(self, promotion_id: int, author: str) -> Promotion:
        """Give the panel the very text that it had before a promotion. Raises JobError where it was changed since, NotFound."""
        promotion = self._store.promotion(promotion_id)
        if promotion.rolled_back_at is not None:
            return promotion
        before, after = self._store.panel_texts(promotion_id)
        with self._lock:
            current = self._panels.text(promotion.panel_id)
            if current not in {before, after}:
                raise JobError(
                    f"The panel {promotion.panel_id} was changed since this promotion. Roll back later promotions first, or put back its "
                    f"version {promotion.before_sha256[:12]} on the panels page.",
                    zh=f"评委组 {promotion.panel_id} 在此次上线后又有修改。请先撤销之后的上线，或在评委组页面恢复版本 {promotion.before_sha256[:12]}。",
                )
            if current != before:
                self._panels.save(promotion.panel_id, before)
            return self._store.roll_back(promotion_id, author)

    def _verdict(self, candidate: Candidate, panel_id: str, judge_id: str, reason: str) -> GateVerdict:
        try:
            report = self.report(candidate.id, panel_id, judge_id)
        except JobError as error:
            if reason.strip():
                return GateVerdict.UNPROVEN
            raise JobError(
                f"{error} Without that the candidate is unproven; to promote it all the same, give a reason.",
                zh=f"{error.messages['zh']}缺少测评的候选评委视为尚无定论；如仍要上线，请写明理由。",
            ) from error
        if report.verdict is not GateVerdict.BETTER and not reason.strip():
            raise JobError(
                f"{candidate.name} is not promoted. {report.reason['en']} To promote it all the same, give a reason.",
                zh=f"「{candidate.name}」未上线。{report.reason['zh']}如仍要上线，请写明理由。",
            )
        return report.verdict

    def _copy(self, panel_id: str) -> str:
        shipped = self._panels.panel(panel_id)
        name = self._panels.free_name(panel_id)
        names = {language: f"{words} ({name})" for language, words in shipped.names.items()}
        self._panels.save(name, panel_text.rename(self._panels.text(panel_id), names))
        return name

    def _line(self, candidate: Candidate, panel: PanelSpec, judge_id: str) -> JudgeSpec:
        new_id = judge_id or f"candidate-{candidate.id}"
        others = [judge for judge in panel.judges if judge.id != judge_id]
        if any(judge.id == new_id for judge in others):
            raise JobError(
                f"{candidate.name} judges in {panel.id} already, as {new_id}.",
                zh=f"「{candidate.name}」已在评委组 {panel.id} 中（{new_id}）。",
            )
        options = dict(candidate.options)
        serve = options.get("serve")
        if isinstance(serve, dict):
            options["serve"] = {**serve, "port": free_port(self._panels.panels(), int(str(serve.get("port", FIRST_PORT))))}
        name, *names = (_named(candidate, language) for language in ("en", "zh"))
        return JudgeSpec(new_id, name, candidate.family, options, {} if [name] == names else {"zh": names[0], "en": name})

    # Parts

    def _view(self, candidate: Candidate, promotions: Sequence[Promotion]) -> CandidateView:
        own = [promotion for promotion in promotions if promotion.candidate_id == candidate.id]
        evaluation = self._evaluation(candidate)
        problem: LocalText = evaluation.error if evaluation is not None and evaluation.state is JobState.FAILED else {}
        view = CandidateView(
            candidate=candidate,
            measuring=evaluation.id if evaluation is not None and evaluation.state in PENDING else None,
            promotions=own,
            serve_command=next((command for promotion in own if (command := _serve_command(candidate, promotion))), ""),
            problem=problem,
        )
        return self._with_figures(view)

    def _with_figures(self, view: CandidateView) -> CandidateView:
        candidate = view.candidate
        previous = None
        if candidate.previous is not None:
            previous = self._store.trained_candidate(candidate.previous)
            view = replace(view, previous_bytes=previous.bytes)
        if candidate.predictions is None:
            return view
        try:
            snapshot = self._store.snapshot(candidate.snapshot_id)
            view = replace(view, quality=self._gate.quality(snapshot, candidate.predictions))
            if previous is not None and previous.predictions is not None and previous.snapshot_id == candidate.snapshot_id:
                return replace(view, drift=self._gate.drift(snapshot, previous.predictions, candidate.predictions, previous.id))
        except PingpanError as error:
            return replace(view, problem=error.messages)
        return view

    def _evaluation(self, candidate: Candidate) -> Job | None:
        if candidate.evaluation_id is None:
            return None
        with suppress(NotFound):
            return self._store.job(candidate.evaluation_id)
        return None

    def _judge(self, panel_id: str, judge_id: str) -> JudgeSpec:
        from webapp.services.serving import judge_of

        panel = self._panels.panel(panel_id)
        return judge_of(panel, judge_id or panel.lead)

    def _own_predictions(self, candidate: Candidate) -> Path:
        if candidate.predictions is not None:
            return candidate.predictions
        raise JobError(
            f"{candidate.name} was not measured yet: ./run.sh jobs measure {candidate.id}",
            zh=f"「{candidate.name}」尚未测评：./run.sh jobs measure {candidate.id}。",
        )

    def _judge_predictions(self, panel_id: str, judge: JudgeSpec, snapshot: Snapshot) -> Path:
        line = JudgeLine(id=judge.id, family=judge.family, options=dict(judge.options))
        job = self._jobs.measurement(line, snapshot)
        predictions = products.predictions_of(job) if job is not None and job.state is JobState.DONE else None
        if predictions is not None:
            return predictions
        how = f"./run.sh jobs measure --panel {panel_id} --judge {judge.id} --snapshot {snapshot.id}"
        if job is not None and job.state in PENDING:
            raise JobError(
                f"{judge.named('en')} is being measured on this snapshot (job {job.id}); wait until it is done.",
                zh=f"「{judge.named('zh')}」正在该训练集上测评（任务 {job.id}），请等待其完成。",
            )
        raise JobError(
            f"{judge.named('en')} of {panel_id} was not measured on the held-out rows of {snapshot.name}: {how}",
            zh=f"评委组 {panel_id} 的「{judge.named('zh')}」尚未在训练集「{snapshot.name}」的留出行上测评：{how}。",
        )

    def _judges(self, promotion: Promotion) -> bool:
        """Return whether a promotion's candidate judges in its panel now."""
        if promotion.rolled_back_at is not None:
            return False
        with suppress(PingpanError):
            candidate = self._store.trained_candidate(promotion.candidate_id)
            for judge in self._panels.panel(promotion.panel_id).judges:
                if judge.id == promotion.judge_id:
                    line = JudgeLine(id=judge.id, family=judge.family, options=dict(judge.options))
                    return products.same_judge(candidate.family, candidate.options, line)
        return False

    def _dimension_name(self, dimension_id: str, language: str) -> str:
        dimension = self._dimensions.get(dimension_id)
        return dimension.name(language) if dimension is not None else dimension_id


def _serve_command(candidate: Candidate, promotion: Promotion) -> str:
    if candidate.family != "server" or "serve" not in candidate.options:
        return ""
    return f"./run.sh serve-judge {promotion.panel_id} {promotion.judge_id}"


def _named(candidate: Candidate, language: str) -> str:
    """Return a candidate's name with its form, as long as a panel's line may be."""
    form = FORMS.get(candidate.stage)
    suffix = f" · {form[language]}" if form else ""
    return candidate.name[: LONGEST_NAME - len(suffix)] + suffix
