"""A quantized candidate's whole way on a processor: measured, through the gate, into a panel behind a server's command, and back."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from core.judging.transformers import make_transformers_judge
from core.judging.transformers.lite import LiteFormat
from core.training import Candidate, GateVerdict, JobState, Snapshot, Split, Stage, TrainingRow
from core.types import JudgeRequest, RenderedPrompt
from tests.judging.transformers.build import context, dimension, request, tiny_folder
from tests.judging.transformers.build import spec as judge_spec
from tests.judging.transformers.test_lite import quantized_folder
from tests.training.build import finish, judged_rows
from tests.training.runner.conftest import freeze
from training import jobdir
from training.context import Product
from training.quantize.job import STAGES, serve_options
from training.specs import QuantizeMethod, QuantizeSpec
from webapp.cli.serve_judge import run_serve_judge
from webapp.services.serving import plan_server
from webapp.services.training import products
from webapp.workbench import Workbench

FORMS = {QuantizeMethod.AWQ: LiteFormat.AWQ, QuantizeMethod.W8A8: LiteFormat.W8A8}
PANEL = """names: {zh: 我的, en: Mine}
lead: rules
judges:
  - {id: rules, name: Rules, family: rules}   # the incumbent
"""


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("merged") / "model", "qwen2", max_position_embeddings=4096)


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that stands for lmdeploy's: its command is only shown."""
    monkeypatch.setenv("PINGPAN_LMDEPLOY_PYTHON", sys.executable)


def quantized(bench: Workbench, merged: Path, method: QuantizeMethod) -> tuple[Candidate, Snapshot]:
    """Return a candidate as a done quantize job leaves it, and a snapshot whose labels are what its model says."""
    settings = bench.settings
    rows = [*judged_rows(8, Split.TRAIN), *judged_rows(12, Split.HELD_OUT)]
    fields = {"name": "LoRA · tiny", "model": merged, "method": method, "snapshot": Path(), "lmdeploy_python": settings.lmdeploy_python}
    spec = QuantizeSpec.model_validate(fields)
    job = bench.store.add_job(spec.kind, spec.name, spec.model_dump_json(), settings.home / "jobs", author="li")
    target = job.folder / jobdir.OUTPUT / "model"
    target.parent.mkdir(parents=True)
    quantized_folder(merged, target, FORMS[method])
    labelled = agreed(rows, target)
    snapshot = freeze(
        bench, [row for row in labelled if row.split is Split.TRAIN], [row for row in labelled if row.split is Split.HELD_OUT]
    )
    spec = spec.model_copy(update={"snapshot": snapshot.folder})
    jobdir.create(job.folder, spec)
    jobdir.write_result(job.folder, Product(STAGES[method], "server", serve_options(spec, target), target), {})
    bench.store.set_job_spec(job.id, spec.model_dump_json())
    candidate = products.record(bench.store, bench.store.set_job_state(job.id, JobState.DONE))
    assert candidate is not None
    return candidate, snapshot


def agreed(rows: list[TrainingRow], folder: Path) -> list[TrainingRow]:
    """Return the rows with the labels that a model gives them."""
    judge = make_transformers_judge(judge_spec(folder), context(folder.parent))
    asked = [replace_prompt(request(number, row.text, dimension()), row) for number, row in enumerate(rows)]
    answers = list(judge.judge(asked))
    judge.close()
    assert all(answer.label is not None for answer in answers)
    return [replace(row, label=answer.label or 0) for row, answer in zip(rows, answers, strict=True)]


def replace_prompt(asked: JudgeRequest, row: TrainingRow) -> JudgeRequest:
    return replace(asked, prompt=RenderedPrompt(row.system, row.user, row.prompt_sha256))


def done(bench: Workbench, job_id: int) -> None:
    """Do a queued measurement in this process and write down what the runner writes down."""
    job = bench.store.job(job_id)
    finish(job.folder, products.spec_of(job))
    bench.store.set_job_state(job_id, JobState.DONE)
    products.record(bench.store, job)


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("method", list(QuantizeMethod))
def test_it_is_measured_promoted_served_and_rolled_back(
    bench: Workbench, merged: Path, method: QuantizeMethod, capfd: pytest.CaptureFixture[str]
) -> None:
    candidate, snapshot = quantized(bench, merged, method)
    assert (candidate.stage, candidate.family, candidate.snapshot_id) == (STAGES[method], "server", snapshot.id)
    bench.panel_desk.save("mine", PANEL)
    done(bench, bench.candidates.measure(candidate.id, "li").id)
    done(bench, bench.candidates.measure_judge("mine", "rules", snapshot.id, "li").id)
    report = bench.candidates.report(candidate.id, "mine", "rules")
    assert report.overall.new.mae == 0  # its own weights answered, though no server runs
    assert report.verdict is GateVerdict.BETTER

    change = bench.candidates.promote(candidate.id, "mine", "rules", "li")
    assert (change.promotion.verdict, change.serve_command) == (GateVerdict.BETTER, "./run.sh serve-judge mine rules")
    panel = bench.panel_desk.panel("mine")
    form = "AWQ" if candidate.stage is Stage.AWQ else "W8A8"
    assert (panel.lead, panel.judges[0].family, panel.judges[0].named("zh")) == ("rules", "server", f"LoRA · tiny · {form}")
    assert bench.candidates.origins(panel) == {"rules": bench.store.trained_candidate(candidate.id)}

    folder = bench.store.job(candidate.job_id).folder / jobdir.OUTPUT / "model"
    arguments = list(plan_server(bench.settings, panel, "rules").launch.arguments)
    assert arguments[1:6] == ["-m", "lmdeploy", "serve", "api_server", str(folder)]
    flags = dict(zip(arguments[6::2], arguments[7::2], strict=False))
    assert flags["--backend"] == "pytorch"
    assert flags["--logprobs-mode"] == "raw_logprobs"
    assert flags["--model-name"] == panel.judges[0].options["model"]
    # 23333 to 23336 belong to the shipped panel of servers.
    assert int(flags["--server-port"]) == 23337
    # This engine reads the format from the checkpoint, and the chat template from the tokenizer beside it; the adapter is in the weights.
    assert not {"--model-format", "--adapters", "--chat-template"} & set(arguments)
    assert "chat_template" in "".join(path.read_text("utf-8") for path in folder.glob("*token*config*")) + str(list(folder.iterdir()))
    capfd.readouterr()
    assert run_serve_judge("mine", "rules", None, 1.0, print_only=True) == 0
    assert capfd.readouterr().out.strip() == plan_server(bench.settings, panel, "rules").launch.shell()

    bench.candidates.roll_back(change.promotion.id, "wu")
    assert bench.panel_desk.text("mine") == PANEL
    assert bench.candidates.origins(bench.panel_desk.panel("mine")) == {}
