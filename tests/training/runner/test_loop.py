"""The whole loop with a tiny language model: people correct, a job trains, the gate lets it pass, and it judges the next run."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.queries import RowQuery
from core.settings import load_settings
from core.training import GateVerdict, JobKind, JobState, SnapshotFilter, Stage
from core.types import Origin, Run, RunState
from tests.judging.transformers.build import tiny_folder
from tests.training.runner.conftest import drive
from training.specs import FineTuneSpec
from webapp.job_runner import Runner
from webapp.services.training.snapshots import SnapshotChoices
from webapp.workbench import Workbench

pytest.importorskip("peft")

DIMENSION = """
id: marks
kind: ordinal
names: {zh: 记号, en: Marks}
description: {zh: 文中的记号, en: The marks of the text}
labels: [1, 2, 3]
levels:
  1: {zh: 少, en: few}
  2: {zh: 中, en: some}
  3: {zh: 多, en: many}
needs_prompt: false
prompt: {file: short, version: 1}
"""
PROMPT = "{% block system %}1 2 3{% endblock %}{% block user %}{{ row.text }} {{ row.mark }}{% endblock %}"
PANEL = """
names: {zh: 小模型, en: Tiny}
lead: tiny
judges:
  - {id: tiny, name: Tiny, family: transformers, options: {model: MODEL, device: cpu, check_memory: false}}  # as it came
"""
MARKS = {1: "abab", 2: "xyzz", 3: "qqrr"}


@pytest.fixture
def bench(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for folder in ("dimensions/prompts", "panels"):
        (home / folder).mkdir(parents=True)
    (home / "dimensions" / "marks.yaml").write_text(DIMENSION, encoding="utf-8")
    (home / "dimensions" / "prompts" / "short.v1.jinja").write_text(PROMPT, encoding="utf-8")
    model = tiny_folder(tmp_path / "model", "qwen2")
    (home / "panels" / "mine.yaml").write_text(PANEL.replace("MODEL", str(model)), encoding="utf-8")
    workbench = Workbench.open(load_settings(home=home, examples=0))
    yield workbench
    workbench.store.close()


def sheet(folder: Path, rows: int, seed: int) -> tuple[Path, dict[str, int]]:
    """Write a sheet whose rows have a mark somewhere among random characters, and return it with the right labels."""
    draw, right = random.Random(seed), {}
    path = folder / f"sheet-{seed}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["数据编号", "评判维度", "待评判内容"])
        for number in range(rows):
            label = draw.choice(list(MARKS))
            noise = ["".join(chr(draw.randrange(0x4E00, 0x9FA5)) for _ in range(6)) for _ in range(3)]
            writer.writerow([f"R{number}", "记号", f"{noise[0]}{MARKS[label]}{noise[1]}{MARKS[label]}{noise[2]}"])
            right[f"R{number}"] = label
    return path, right


def judge(bench: Workbench, path: Path, panel: str) -> Run:
    preview = bench.preview(path)
    stored = bench.store_sheet(preview.token)
    run = bench.execute(bench.start_run(stored.id, bench.libraries()[0].id, panel, "pooled-median").id)
    assert run.state is RunState.DONE, run.error
    return run


def accuracy(bench: Workbench, run: Run, right: dict[str, int]) -> float:
    rows = list(bench.export_rows(run.id))
    return sum(row.verdict is not None and row.verdict.decision.label == right[row.item.external_id] for row in rows) / len(rows)


def test_from_corrections_to_a_promoted_judge(bench: Workbench, tmp_path: Path) -> None:
    path, right = sheet(tmp_path, 90, seed=1)
    before = judge(bench, path, "mine")
    for row in bench.rows(before.id, RowQuery(page_size=100)).rows:
        bench.review.label(before.id, row.item.id, right[row.item.external_id], "li")
    choices = SnapshotChoices(SnapshotFilter(dimension_ids=("marks",), origins=(Origin.CORRECTION,)), held_out_share=0.35)
    snapshot = bench.snapshots.freeze("marks", choices, "li")

    spec = FineTuneSpec.model_validate(
        {"name": "marks", "model": str(tmp_path / "model"), "snapshot": snapshot.folder, "rank": 16, "dropout": 0.0, "device": "cpu"}
        | {"learning_rate": 1e-2, "max_steps": 40, "batch_size": 8, "accumulation": 1, "evaluate_every": 20, "checkpoint_every": 40}
    )
    jobs = bench.jobs.train(spec, "li", snapshot_id=snapshot.id, panel_id="mine", judge_id="tiny")
    assert [job.kind for job in jobs] == [JobKind.FINE_TUNE, JobKind.EVALUATE, JobKind.EVALUATE]
    assert bench.jobs.job(jobs[1].id).waits_for
    drive(Runner(bench.store, bench.settings), lambda: _over(bench), seconds=120)
    assert [(bench.store.job(job.id).state, bench.store.job(job.id).error) for job in jobs] == [(JobState.DONE, {})] * 3

    view = bench.candidates.candidates()[0]
    assert (view.candidate.stage, view.candidate.previous, view.measuring) == (Stage.ADAPTER, None, None)
    assert view.candidate.bytes > 1_000
    curves = bench.jobs.curves(jobs[0].id)
    assert len(curves.train["loss"]) > 5
    assert curves.held_out["mae"]
    report = bench.candidates.report(view.candidate.id, "mine", "tiny")
    assert report.verdict is GateVerdict.BETTER, report.reason
    assert report.overall.new == view.quality["marks"]

    change = bench.candidates.promote(view.candidate.id, "mine", "tiny", "li")
    assert change.promotion.panel_id == "mine"
    fresh, answers = sheet(tmp_path, 40, seed=2)
    after = judge(bench, fresh, "mine")
    assert accuracy(bench, after, answers) > accuracy(bench, before, right) + 0.2
    assert bench.run(before.id).panel.judges[0].options != after.panel.judges[0].options  # a run keeps the panel it was made with
    bench.candidates.roll_back(change.promotion.id, "li")
    assert bench.panel_desk.panel("mine").judges == before.panel.judges


def _over(bench: Workbench) -> bool:
    return not bench.store.jobs(states={JobState.WAITING, JobState.QUEUED, JobState.RUNNING})
