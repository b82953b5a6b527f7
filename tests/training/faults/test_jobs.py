"""From clean texts to a judge in a panel: the two jobs in their own processes' form, then a run of the product itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import JobError
from core.faultmarks import suspected_faults
from core.judging.head.files import BaseWeights, read_head_file
from core.settings import Settings
from core.training import EventKind, JobKind, Split, Stage, TrainingRow
from core.types import JudgementStatus, JudgeSpec, Origin, PanelSpec, RunState, SheetRow, SourceRef, content_hash
from tests.judging.head.build import made_up, tiny_base
from tests.judging.head.conftest import spoil
from tests.training.build import Context, events, finish, rows, snapshot
from training import jobdir
from training.faults.job import fault_pretrain
from training.faults.spec import FaultPretrainSpec
from training.heads.job import train_head_judge
from training.heads.spec import HeadSpec
from training.process import ExitStatus, run
from training.specs import read_spec
from webapp.workbench import Workbench

SMALL = {"learning_rate": 5e-3, "head_rate": 1e-2, "tokens_per_step": 512, "max_length": 256, "device": "cpu", "rank": 4}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def graded(count: int, split: Split, seed: int) -> list[TrainingRow]:
    """Rows of the made-up language whose label falls with the pronouns pushed in."""
    made = []
    for place, (row, text) in enumerate(zip(rows(count, split), made_up(count, seed), strict=True)):
        label = place % 5 + 1
        spoiled = spoil(text, 2 * (5 - label))
        made.append(replace(row, text=spoiled, label=label, hash=content_hash("fluency", "", spoiled)))
    return made


def pretraining(base: Path, folder: Path, **changes: object) -> FaultPretrainSpec:
    clean = folder / "clean.txt"
    clean.write_text("\n\n".join(made_up(24, 1)), encoding="utf-8")
    values = {"name": "see", "model": str(base), "texts": [clean], "rows": 120, "longest": 120, "highest": 8.0, "evaluate_every": 10}
    return FaultPretrainSpec.model_validate({**SMALL, **values, **changes})


def test_jobs_make_a_judge_that_runs_in_the_product(base: Path, tmp_path: Path, home: Path) -> None:
    frozen = snapshot(tmp_path / "snapshot", graded(60, Split.TRAIN, 3), graded(10, Split.HELD_OUT, 4))
    first = finish(tmp_path / "first", pretraining(base, tmp_path))
    assert first.product is None
    told = [event for event in events(tmp_path / "first") if event.kind is EventKind.HELD_OUT]
    assert {"area", "kinds", "rate_error", "rate_rank"} <= set(told[-1].figures)

    values = {"name": "grade", "model": str(base), "snapshot": frozen, "dimension": "fluency", "reader": tmp_path / "first" / "output"}
    second = finish(tmp_path / "second", HeadSpec.model_validate({**SMALL, **values, "learning_rate": 1e-3, "epochs": 2}))
    assert second.product is not None
    assert (second.product.stage, second.product.family) == (Stage.HEAD, "ordinal_head")
    head = read_head_file(second.product.path)
    assert head.weights is BaseWeights.ADAPTER
    assert head.marks
    assert {"mae", "calibration_error"} <= set(head.figures)

    bench = Workbench.open(Settings(home=home, port=0, open_browser=False, _env_file=None))  # type: ignore[call-arg]
    line = JudgeSpec("head", "头", second.product.family, {**second.product.options, "device": "cpu"})
    panel = PanelSpec("mine", {"zh": "我的"}, (line, JudgeSpec("rules", "规则", "rules")), "head", sha256="ab" * 32)
    source = SourceRef("rows.csv", "", 2)
    texts = [spoil(text, number) for number, text in enumerate(made_up(6, 8))]
    asked = [SheetRow(n, f"R{n}", "fluency", "", text, None, source) for n, text in enumerate(texts)]
    asked.append(SheetRow(6, "R6", "choice", "", "正确选项为B 模型回复为B", None, source))
    sheet = bench.store.add_sheet(
        name="rows.csv", sha256="cd" * 32, format="csv", encoding="utf-8", worksheet="", columns=(), mapping={}, rows=asked
    )
    library = bench.store.save_library("例", [SheetRow(0, "L0", "fluency", "", made_up(1, 9)[0], 5, source)], Origin.IMPORT)
    done = bench.execute(bench.store.create_run(sheet.id, library.id, panel, "pooled-median").id)
    assert done.state is RunState.DONE
    details = [bench.row(done.id, item.id) for item in bench.store.items(sheet.id)]
    answers = [next(one for one in detail.judgements if one.judge_id == "head") for detail in details]
    assert [one.status for one in answers[:6]] == [JudgementStatus.OK] * 6
    assert answers[6].status is JudgementStatus.ABSTAINED
    assert len(suspected_faults(answers[5])) > len(suspected_faults(answers[0]))


def test_a_stopped_head_job_goes_on_to_the_same_judge(base: Path, tmp_path: Path) -> None:
    frozen = snapshot(tmp_path / "snapshot", graded(40, Split.TRAIN, 3), [])
    values = {
        "name": "grade",
        "model": str(base),
        "snapshot": frozen,
        "dimension": "fluency",
        "epochs": 2,
        "evaluate_every": 3,
        "method": "full",
    }
    spec = HeadSpec.model_validate({**SMALL, **values, "learning_rate": 1e-3})
    whole = finish(tmp_path / "whole", spec)
    jobdir.create(tmp_path / "parts", spec)
    jobdir.request_stop(tmp_path / "parts")
    assert run(tmp_path / "parts") is ExitStatus.STOPPED
    jobdir.clear_stop(tmp_path / "parts")
    assert run(tmp_path / "parts") is ExitStatus.DONE
    assert whole.product is not None
    for name in ("heads.safetensors", "model/model.safetensors"):
        assert (whole.product.path / name).read_bytes() == (tmp_path / "parts" / "output" / "head" / name).read_bytes()


def test_held_out_texts_are_never_material(base: Path, tmp_path: Path) -> None:
    held_out = [replace(row, text=text) for row, text in zip(rows(24, Split.HELD_OUT), made_up(24, 1), strict=True)]
    frozen = snapshot(tmp_path / "snapshot", [], held_out)
    with pytest.raises(JobError, match="Only 0 of 24 texts are no near-duplicates of held-out rows"):
        fault_pretrain(pretraining(base, tmp_path, snapshot=frozen), Context(tmp_path))


def test_a_snapshot_with_too_few_rows_and_a_folder_that_is_no_reader_are_told(base: Path, tmp_path: Path) -> None:
    frozen = snapshot(tmp_path / "snapshot", graded(40, Split.TRAIN, 3), [])
    values = {**SMALL, "name": "grade", "model": str(base), "snapshot": frozen, "dimension": "normativity"}
    with pytest.raises(JobError, match="0 training rows of normativity"):
        train_head_judge(HeadSpec.model_validate(values), Context(tmp_path))
    with pytest.raises(JobError, match="is not what a fault pretraining made"):
        train_head_judge(HeadSpec.model_validate({**values, "dimension": "fluency", "reader": tmp_path}), Context(tmp_path))


def test_specs_come_back_from_their_file(base: Path, tmp_path: Path) -> None:
    spec = pretraining(base, tmp_path)
    assert spec.kind is JobKind.FAULT_PRETRAIN
    assert read_spec(spec.model_dump_json(), "spec.json") == spec
    with pytest.raises(JobError, match="texts: List should have at least 1 item|texts: Tuple should have at least 1 item"):
        read_spec(json.dumps({**json.loads(spec.model_dump_json()), "texts": []}), "spec.json")
