"""The gate with real measurements: a better candidate passes, a worse one does not, and every way has a way back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from core.errors import JobError
from core.panels import load_panels
from core.training import Candidate, GateVerdict, JobKind, JobState, Prediction, Snapshot, Split, Stage, TrainingRow
from core.types import said
from tests.training.build import judged_rows
from tests.training.runner.conftest import drive, freeze
from webapp.job_runner import Runner
from webapp.workbench import Workbench

OWN = """# who judges here
names: {zh: 我的, en: Mine}
lead: first
judges:
  - {id: first, name: First, family: rules}   # the old one
  - {id: second, name: Second, family: neighbours}
"""


def made(bench: Workbench, snapshot: Snapshot, family: str, name: str) -> Candidate:
    """Return a candidate as a done job leaves it."""
    job = bench.store.add_job(JobKind.HEAD, name, "{}", bench.settings.home / "jobs", snapshot_id=snapshot.id)
    bench.store.set_job_state(job.id, JobState.DONE)
    return bench.store.add_candidate(name, Stage.HEAD, family, {}, job_id=job.id, snapshot_id=snapshot.id)


@pytest.fixture
def own(bench: Workbench) -> str:
    bench.panel_desk.save("mine", OWN)
    return "mine"


def test_better_passes_worse_needs_a_reason_and_both_can_be_taken_back(bench: Workbench, own: str) -> None:
    snapshot = freeze(bench, judged_rows(150, Split.TRAIN), judged_rows(80, Split.HELD_OUT))
    better, worse = made(bench, snapshot, "neighbours", "learned"), made(bench, snapshot, "rules", "plain")
    with pytest.raises(JobError, match=r"learned was not measured yet: ./run.sh jobs measure 1"):
        bench.candidates.report(better.id, own, "first")
    jobs = [bench.candidates.measure(candidate.id, "li") for candidate in (better, worse)]
    assert bench.candidates.measure(better.id, "wu").id == jobs[0].id  # one under way is not doubled
    assert bench.candidates.candidate(better.id).measuring == jobs[0].id
    with pytest.raises(JobError, match=r"being measured on this snapshot \(job 4\)"):
        drive(runner := Runner(bench.store, bench.settings), lambda: bench.store.job(jobs[0].id).state is JobState.DONE)
        bench.candidates.report(better.id, own, "first")
    # The panel's judges are the very judges of the candidates: their measurements are there already.
    drive(runner, lambda: bench.store.job(jobs[1].id).state is JobState.DONE)
    assert bench.candidates.measure_judge(own, "first", snapshot.id, "li").id == jobs[1].id

    good, bad = bench.candidates.report(better.id, own, "first"), bench.candidates.report(worse.id, own, "second")
    assert (good.verdict, bad.verdict) == (GateVerdict.BETTER, GateVerdict.WORSE)
    assert good.overall.gain == -bad.overall.gain > 0.3
    assert good.better[0].gain >= good.better[-1].gain > 0
    assert good.better[0].gain == -bad.worse[0].gain
    assert bench.candidates.candidate(better.id).quality["fluency"] == good.dimensions[0].new

    _promotes_and_rolls_back(bench, own, better, worse)


def _promotes_and_rolls_back(bench: Workbench, own: str, better: Candidate, worse: Candidate) -> None:
    with pytest.raises(JobError, match=r"plain is not promoted. Worse: MAE .* 95% interval -\d.\d+ … -\d.\d+") as refused:
        bench.candidates.promote(worse.id, own, "second", "li")
    assert "请写明理由" in refused.value.messages["zh"]
    assert bench.panel_desk.text(own) == OWN

    first = bench.candidates.promote(better.id, own, "first", "li").promotion
    second = bench.candidates.promote(worse.id, own, "second", "wu", reason="a trial").promotion
    assert (first.verdict, first.reason, second.verdict, second.reason) == (GateVerdict.BETTER, "", GateVerdict.WORSE, "a trial")
    assert [(judge.id, judge.name, judge.family) for judge in bench.panel_desk.panel(own).judges] == [
        ("first", "learned", "neighbours"),
        ("second", "plain", "rules"),
    ]
    assert "# the old one" in bench.panel_desk.text(own)
    assert load_panels(*bench.settings.panel_folders())[own] == bench.panel_desk.panel(own)
    assert [promotion.id for promotion in bench.candidates.promotions(active=True)] == [second.id, first.id]

    with pytest.raises(JobError, match="was changed since this promotion"):
        bench.candidates.roll_back(first.id, "li")
    bench.candidates.roll_back(second.id, "li")
    assert bench.candidates.roll_back(first.id, "wu").rolled_back_by == "wu"
    assert bench.panel_desk.text(own) == OWN
    assert bench.candidates.promotions(active=True) == []
    assert len(bench.candidates.promotions()) == 2


def test_a_shipped_panel_is_copied_and_a_judge_can_be_added(bench: Workbench, small: Snapshot) -> None:
    candidate = made(bench, small, "neighbours", "learned")
    with pytest.raises(JobError, match="Without that the candidate is unproven"):
        bench.candidates.promote(candidate.id, "cpu", "", "li")
    change = bench.candidates.promote(candidate.id, "cpu", "", "li", reason="not measurable here")
    assert (change.promotion.panel_id, change.promotion.judge_id) == ("cpu-2", "candidate-1")
    assert change.promotion.verdict is GateVerdict.UNPROVEN
    copied = bench.panel_desk.panel("cpu-2")
    assert [judge.id for judge in copied.judges] == ["rules", "neighbours", "ngrams", "surprise", "candidate-1"]
    assert said(copied.names, "en") == "CPU panel (cpu-2)"
    with pytest.raises(JobError, match="judges in cpu-2 already"):
        bench.candidates.promote(candidate.id, "cpu-2", "", "li", reason="again")
    bench.candidates.roll_back(change.promotion.id, "li")
    assert bench.panel_desk.panel("cpu-2").judges == bench.panel_desk.panel("cpu").judges
    assert change.panel_file == Path(bench.settings.home / "panels" / "cpu-2.yaml")


def test_a_served_candidate_gets_a_port_of_its_own_and_its_command(bench: Workbench, small: Snapshot) -> None:
    bench.panel_desk.save("served", (bench.settings.panels_dir / "servers.yaml").read_text(encoding="utf-8"))
    asked = {"model": "other", "base_url": "http://localhost:23337", "engine": "vllm"}
    far = {"model": "other", "base_url": ["http://10.9.8.7:23338"], "engine": "vllm"}
    served = {"model": "own", "engine": "vllm", "serve": {"model": "some/model", "port": 23339}}
    lines = "\n".join(
        f"  - {{id: j{n}, name: J, family: server, options: {json.dumps(one)}}}" for n, one in enumerate((asked, far, served))
    )
    bench.panel_desk.save("elsewhere", f"names: {{zh: 别处, en: Elsewhere}}\nlead: j0\njudges:\n{lines}\n")
    job = bench.store.add_job(JobKind.QUANTIZE, "awq", "{}", bench.settings.home / "jobs", snapshot_id=small.id)
    bench.store.set_job_state(job.id, JobState.DONE)
    options = {"engine": "lmdeploy-turbomind", "model": "fluency-awq", "serve": {"model": "/jobs/4/output/model", "port": 23333}}
    candidate = bench.store.add_candidate("fluency awq", Stage.AWQ, "server", options, job_id=job.id, snapshot_id=small.id)
    change = bench.candidates.promote(candidate.id, "served", "qwen", "li", reason="measured elsewhere")
    judge = next(judge for judge in bench.panel_desk.panel("served").judges if judge.id == "qwen")
    # 23333 to 23336 are the shipped panel's (the replaced judge's server may still run), 23337 is asked by another panel on this
    # machine; what is asked on another machine is no matter.
    assert judge.options["serve"] == {"model": "/jobs/4/output/model", "port": 23338}
    assert (judge.named("zh"), judge.named("en")) == ("fluency awq · AWQ", "fluency awq · AWQ")
    assert change.serve_command == "./run.sh serve-judge served qwen"
    assert bench.candidates.candidate(candidate.id).serve_command == change.serve_command
    other = bench.store.add_job(JobKind.MERGE, "fluency", "{}", bench.settings.home / "jobs", snapshot_id=small.id)
    merged = bench.store.add_candidate("fluency", Stage.MERGED, "server", options, job_id=other.id, snapshot_id=small.id)
    bench.candidates.promote(merged.id, "served", "", "li", reason="beside it")
    added = bench.panel_desk.panel("served").judges[-1]
    assert added.options["serve"] == {"model": "/jobs/4/output/model", "port": 23340}
    assert (added.named("zh"), added.named("en")) == ("fluency · 合并", "fluency · merged")


def test_a_candidate_for_one_dimension_is_spared_the_others_only_beside_other_judges(bench: Workbench, own: str) -> None:
    held_out = judged_rows(40, Split.HELD_OUT)
    held_out += [replace(row, hash=f"n{row.hash}", family=f"n{row.family}", dimension_id="normativity") for row in held_out]
    snapshot = freeze(bench, judged_rows(20, Split.TRAIN), held_out)
    candidate = made(bench, snapshot, "ordinal_head", "head")
    incumbent = bench.candidates.measure_judge(own, "", snapshot.id, "li")
    silent = [said_of(row, row.label if row.dimension_id == "fluency" else None) for row in held_out]
    wrong = [said_of(row, 1 if row.label > 2 else 5) for row in held_out]
    for folder, predictions in ((incumbent.folder, wrong), (bench.store.job(candidate.job_id).folder, silent)):
        (folder / "output").mkdir(parents=True)
        lines = (json.dumps(asdict(one)) for one in predictions)
        (folder / "output" / "predictions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    bench.store.set_job_state(incumbent.id, JobState.DONE)
    bench.store.set_predictions(candidate.id, bench.store.job(candidate.job_id).folder / "output" / "predictions.jsonl")
    beside, instead = (bench.candidates.report(candidate.id, own, judge) for judge in ("", "first"))
    assert [one.dimension_id for one in beside.dimensions] == ["fluency"]
    assert [(one.dimension_id, one.new.unanswered) for one in instead.dimensions] == [("fluency", 0), ("normativity", 40)]
    assert beside.overall.gain > instead.overall.gain


def said_of(row: TrainingRow, label: int | None) -> Prediction:
    """Return a prediction that is sure of its label."""
    sure = {} if label is None else {one: float(one == label) for one in (1, 2, 3, 4, 5)}
    return Prediction(row.hash, row.dimension_id, row.label, label, sure)
