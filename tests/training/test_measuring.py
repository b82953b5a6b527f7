"""What a measured judge is told to be worth: figures against plain references, and small helpers of jobs that decide something."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from core.dimensions.loader import load_dimensions
from core.errors import JobError
from core.settings import ASSETS
from core.training import Prediction, Split
from core.types import DimensionKind
from tests.training.build import Context, judged_rows, snapshot
from training.base import VISIBLE, pin_device, refuse_quantized
from training.evaluate import FIGURES, PREDICTIONS, Figures, evaluate, read_predictions, summary
from training.probes import distance
from training.specs import EvaluateSpec, JudgeLine
from training.standin import stand_in

torch = pytest.importorskip("torch")

DIMENSIONS = load_dimensions(ASSETS / "dimensions")


@pytest.fixture
def measured(tmp_path: Path, home: Path) -> tuple[EvaluateSpec, Context]:
    rows = snapshot(tmp_path / "snapshot", judged_rows(60, Split.TRAIN), judged_rows(25, Split.HELD_OUT))
    context = Context(tmp_path / "job")
    for folder in (context.folder, context.output, context.checkpoints):
        folder.mkdir()
    return EvaluateSpec(name="衡量", judge=JudgeLine(id="n", family="neighbours"), snapshot=rows, batch_size=10), context


def figures_of(context: Context) -> dict[str, float]:
    return json.loads((context.output / FIGURES).read_text(encoding="utf-8"))["dimensions"]["fluency"]  # type: ignore[no-any-return]


def test_figures_are_those_of_the_written_predictions(measured: tuple[EvaluateSpec, Context]) -> None:
    spec, context = measured
    evaluate(spec, context)
    predictions = read_predictions(context.output / PREDICTIONS)
    assert [one.gold for one in predictions] == [row.label for row in judged_rows(25, Split.HELD_OUT)]
    told = figures_of(context)
    gold = np.array([one.gold for one in predictions])
    shares = np.array([[one.probabilities[label] for label in range(1, 6)] for one in predictions])
    medians = 1 + (shares.cumsum(1) < 0.5 - 1e-9).sum(1)
    assert told["mae"] == pytest.approx(np.abs(medians - gold).mean())
    assert told["score"] == pytest.approx(1 / (1 + told["mae"]))
    assert told["accuracy"] == pytest.approx((medians == gold).mean())
    assert told["kappa"] == pytest.approx(cohen_kappa_score(gold, medians, weights="quadratic"))
    expected = shares @ np.arange(1, 6)
    assert told["rank_correlation"] == pytest.approx(spearmanr(gold, expected).statistic)
    labels = [row.label for row in judged_rows(60, Split.TRAIN)]
    costs = {label: sum(abs(label - other) for other in labels) for label in range(1, 6)}
    assert costs[int(told["constant_label"])] == min(costs.values())
    assert told["constant_mae"] == pytest.approx(np.abs(told["constant_label"] - gold).mean())
    lines = [json.loads(line) for line in (context.output / PREDICTIONS).read_text(encoding="utf-8").splitlines()]
    assert [line["expected"] for line in lines] == pytest.approx(expected.tolist())


def test_kept_predictions_are_not_asked_again_and_those_of_other_rows_are_dropped(measured: tuple[EvaluateSpec, Context]) -> None:
    spec, context = measured
    rows = judged_rows(25, Split.HELD_OUT)
    known = [Prediction(row.hash, row.dimension_id, row.label, 6 - row.label, {6 - row.label: 1.0}) for row in rows[5:20]]
    strange = Prediction("0" * 64, "fluency", 1, 1, {})
    kept = context.checkpoints / PREDICTIONS
    lines = [{**_plain(one), "probabilities": {str(label): p for label, p in one.probabilities.items()}} for one in [strange, *known]]
    kept.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"hash": "torn', encoding="utf-8")
    evaluate(spec, context)
    found = read_predictions(context.output / PREDICTIONS)
    assert found[5:20] == known
    assert [one.hash for one in found] == [row.hash for row in rows]
    assert [step for kind, step, *_ in context.told if kind == "progress"] == [25]  # ten rows were asked, in one batch
    assert all(row.hash in kept.read_text(encoding="utf-8") for row in rows)


def _plain(one: Prediction) -> dict[str, object]:
    return {"hash": one.hash, "dimension_id": one.dimension_id, "gold": one.gold, "label": one.label}


def test_a_part_without_rows_and_a_lost_dimension_are_told(measured: tuple[EvaluateSpec, Context], tmp_path: Path) -> None:
    spec, context = measured
    empty = snapshot(tmp_path / "empty", judged_rows(3, Split.TRAIN), [])
    with pytest.raises(JobError, match="no rows in its part held_out") as caught:
        evaluate(spec.model_copy(update={"snapshot": empty}), context)
    assert "没有行" in caught.value.messages["zh"]
    lost = snapshot(tmp_path / "lost", [], [replace(judged_rows(1, Split.HELD_OUT)[0], dimension_id="gone")])
    with pytest.raises(JobError, match="rows of gone"):
        evaluate(spec.model_copy(update={"snapshot": lost}), context)


FIGURE = st.floats(0, 1)


@settings(max_examples=10)
@given(maes=st.lists(st.tuples(FIGURE, st.integers(1, 50)), min_size=3, max_size=3))
def test_the_summary_weighs_graded_dimensions_alike_and_takes_nominal_ones_only_alone(maes: list[tuple[float, int]]) -> None:
    each = {name: _figures(mae, rows) for name, (mae, rows) in zip(("fluency", "normativity", "choice"), maes, strict=True)}
    told = summary(each, {name: DIMENSIONS[name] for name in each})
    graded = [name for name in each if DIMENSIONS[name].kind is DimensionKind.ORDINAL]
    assert graded == ["fluency", "normativity"]
    assert told["mae"] == pytest.approx(sum(each[name].mae for name in graded) / 2)
    assert told["score"] == pytest.approx(1 / (1 + told["mae"]))
    assert told["rows"] == sum(one.rows for one in each.values())
    assert summary({"choice": each["choice"]}, {"choice": DIMENSIONS["choice"]})["mae"] == pytest.approx(maes[2][0])


def _figures(mae: float, rows: int) -> Figures:
    return Figures(rows, 0, mae, 1 / (1 + mae), 0.0, 0.0, 1.0, 0.0, 1.0, 3)


@settings(max_examples=15)
@given(rows=st.lists(st.tuples(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.floats(0, 1), min_size=3, max_size=3)),
                     min_size=1, max_size=3))  # fmt: skip
def test_a_distance_of_distributions_is_the_largest_part_that_moved(rows: list[tuple[Sequence[float], Sequence[float]]]) -> None:
    one, other = (np.array([np.asarray(row[side]) + 1e-3 for row in rows]) for side in (0, 1))
    one, other = one / one.sum(1, keepdims=True), other / other.sum(1, keepdims=True)
    found = distance(torch.tensor(one), torch.tensor(other))
    moved = [max(abs(float(a[list(part)].sum() - b[list(part)].sum())) for part in PARTS) for a, b in zip(one, other, strict=True)]
    assert found == pytest.approx(max(moved), abs=1e-9)
    assert distance(torch.tensor(other), torch.tensor(one)) == found
    assert distance(torch.tensor(one), torch.tensor(one)) == 0


PARTS = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]


def test_what_is_no_number_is_as_far_away_as_can_be() -> None:
    fine = torch.tensor([[0.5, 0.5]])
    assert distance(fine, torch.tensor([[float("nan"), 0.5]])) == 1.0
    assert distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])) == 1.0


@pytest.mark.parametrize("visible", ["", "7", "-1", None])
def test_a_card_that_is_not_there_is_refused_and_what_is_visible_stays(visible: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if visible is None:
        monkeypatch.delenv(VISIBLE, raising=False)
    else:
        monkeypatch.setenv(VISIBLE, visible)
    with pytest.raises(JobError, match="asks for cuda:3, which PyTorch does not see here") as caught:
        pin_device("cuda:3")
    assert "auto 或 cpu" in caught.value.messages["zh"]
    assert pin_device("auto") == pin_device("cpu") == "cpu"
    assert os.environ.get(VISIBLE) == visible


@pytest.mark.parametrize(
    ("visible", "wanted", "left"), [("4,6", "cuda:1", "6"), ("4,6", "cuda", "4"), ("4, 6", "auto", "4"), (None, "cuda:2", "2")]
)
def test_a_job_sees_its_own_card_alone(visible: str | None, wanted: str, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setenv(VISIBLE, visible or "")
    if visible is None:
        monkeypatch.delenv(VISIBLE)
    assert pin_device(wanted) == "cuda"
    assert os.environ[VISIBLE] == left
    with pytest.raises(JobError, match="does not see here"):
        pin_device("cuda:1")  # one card is left


def test_quantized_weights_are_no_base(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "awq"}}')
    with pytest.raises(JobError, match="quantized by awq; name the model that they were made of") as caught:
        refuse_quantized(tmp_path)
    assert "请填写量化之前的模型" in caught.value.messages["zh"]
    (tmp_path / "config.json").write_text('{"quantization_config": {}}')
    refuse_quantized(tmp_path)


def test_only_an_absent_server_with_weights_on_this_machine_is_stood_in_for(tmp_path: Path) -> None:
    context = Context(tmp_path / "job")
    served: dict[str, object] = {"model": "m", "engine": "lmdeploy-pytorch", "tokenizer": str(tmp_path)}
    for family, options in (
        ("transformers", {"model": "m"}),
        ("server", {**served, "base_url": "http://127.0.0.1:9/v1"}),
        ("server", {**served, "serve": {"model": "some/hub-id", "weights": "awq", "port": 9}}),
    ):
        line = JudgeLine(id="a", family=family, options=options)
        assert stand_in(line, context) is line
    assert context.told == []
    absent = JudgeLine(id="q", family="server", options={**served, "serve": {"model": str(tmp_path), "weights": "awq", "port": 9}})
    found = stand_in(absent, context)
    assert (found.id, found.family, found.options["model"]) == ("q", "transformers", str(tmp_path))
    ((_, _, _, words),) = context.told
    assert "does not run" in words["en"]
    assert str(tmp_path) in words["zh"]
