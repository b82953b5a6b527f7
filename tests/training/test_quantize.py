"""Quantizing: what lmdeploy's lite covers, what it calibrates on, and (where lmdeploy is installed) the real thing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.training import EventKind, Split, Stage
from tests.judging.transformers.build import tiny_folder
from tests.training.build import do, events, finish, judged_rows, snapshot
from training import jobdir
from training.context import Product
from training.evaluate import FIGURES
from training.process import ExitStatus
from training.quantize.job import calibration_windows, progress
from training.specs import EvaluateSpec, JudgeLine, QuantizeMethod, QuantizeSpec

torch = pytest.importorskip("torch")

LMDEPLOY = os.environ.get("PINGPAN_LMDEPLOY_PYTHON", "")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return snapshot(tmp_path / "snapshot", judged_rows(12, Split.TRAIN), judged_rows(6, Split.HELD_OUT))


def spec(model: Path, data: Path, **changes: Any) -> QuantizeSpec:
    settings: dict[str, Any] = {
        "name": "量化", "model": model, "snapshot": data, "calib_samples": 4, "calib_seqlen": 64, "w_group_size": 32, "device": "cpu",
        "lmdeploy_python": Path(sys.executable),
    }  # fmt: skip
    return QuantizeSpec.model_validate({**settings, **changes})


def test_the_windows_are_the_prompts_end_to_end() -> None:
    rows = [[number] * 10 for number in range(20)]
    windows = calibration_windows(rows, 5, 32, seed=1)
    assert [len(window) for window in windows] == [32] * 5
    joined = [token for window in windows for token in window]
    assert all(joined.count(number) <= 10 for number in range(20))
    assert windows == calibration_windows(rows, 5, 32, seed=1)
    assert windows != calibration_windows(rows, 5, 32, seed=2)
    assert [len(window) for window in calibration_windows(rows, 500, 64, seed=1)] == [64] * 3
    assert [len(window) for window in calibration_windows(rows[:1], 5, 64, seed=1)] == [10]


def test_progress_is_read_from_what_lite_prints() -> None:
    said = "Move model.layers.0 to CPU.\nLoading calibrate dataset ...\nmodel.layers.0, samples: 1, max gpu memory: 0.00 GB\n"
    assert progress(said, 3) == 1
    said += "model.layers.1, samples: 1, max gpu memory: 0.00 GB\nmodel.layers.0 smooth weight done.\n"
    assert progress(said, 3) == 4
    assert progress(said + "model.layers.2.mlp.down_proj weight packed.\n", 3) == 9


@pytest.mark.parametrize("family", ["gemma2", "glm"])
def test_an_architecture_that_lite_lacks_comes_with_alternatives(family: str, data: Path, tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", family)
    assert do(tmp_path / "job", spec(model, data)) is ExitStatus.FAILED
    message = events(tmp_path / "job")[-1].message
    for words in ("kv_cache: int8", "8bit", "llm-compressor"):
        assert words in message["en"]
        assert words in message["zh"]


def test_a_missing_lmdeploy_comes_with_the_command_that_installs_it(data: Path, tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", "llama")
    assert do(tmp_path / "none", spec(model, data, lmdeploy_python=tmp_path / "python")) is ExitStatus.FAILED
    assert "./run.sh setup lmdeploy" in events(tmp_path / "none")[-1].message["zh"]
    if _has_lmdeploy(sys.executable):
        pytest.skip("this environment has lmdeploy")
    assert do(tmp_path / "job", spec(model, data)) is ExitStatus.FAILED
    assert "No module named 'lmdeploy'" in events(tmp_path / "job")[-1].message["en"]
    assert not (tmp_path / "job" / jobdir.OUTPUT / "model").exists()


def _has_lmdeploy(python: str) -> bool:
    return bool(python) and subprocess.run([python, "-c", "import lmdeploy"], capture_output=True, timeout=120, check=False).returncode == 0


@pytest.mark.lmdeploy
@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("method", list(QuantizeMethod))
def test_lmdeploy_quantizes_and_the_result_judges_without_a_server(
    method: QuantizeMethod, family: str, data: Path, tmp_path: Path, home: Path
) -> None:
    if not _has_lmdeploy(LMDEPLOY):
        pytest.skip("PINGPAN_LMDEPLOY_PYTHON names no interpreter with lmdeploy")
    model = tiny_folder(tmp_path / "model", family, max_position_embeddings=2048)
    result = finish(tmp_path / "job", spec(model, data, method=method, lmdeploy_python=Path(LMDEPLOY)))
    product = result.product
    assert product is not None
    assert product.stage is (Stage.AWQ if method is QuantizeMethod.AWQ else Stage.W8A8)
    assert 0 < result.figures["drift"] < (0.6 if method is QuantizeMethod.AWQ else 0.2)
    assert any(event.kind is EventKind.PROGRESS for event in events(tmp_path / "job"))
    assert not list(product.path.glob("*.pth"))
    _servable(product)
    finish(
        tmp_path / "measure",
        EvaluateSpec(name="v", snapshot=data, judge=JudgeLine(id="q", family=product.family, options=dict(product.options))),
    )
    figures = json.loads((tmp_path / "measure" / jobdir.OUTPUT / FIGURES).read_text())
    assert figures["answered_by"]["family"] == "transformers"
    assert figures["dimensions"]["fluency"]["unanswered"] == 0


def _servable(product: Product) -> None:
    """lmdeploy's command can be built from the product's line: engine and weights fit."""
    from core.judging.server.options import read_options
    from core.judging.serving.commands import build_launch, read_served_model

    options = read_options("q", product.options)
    assert options.serve is not None
    served = read_served_model(product.path, options.serve.weights)
    launch = build_launch("q", options.engine, options.model, options.serve, served, Path("python"))
    assert "pytorch" in launch.arguments
