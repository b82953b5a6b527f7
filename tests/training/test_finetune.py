"""Fine-tuning tiny models of the four architectures: they learn, what they learned is what judges see, and faults are told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.judging.transformers import make_transformers_judge
from core.judging.transformers.chat import PromptEncoder
from core.judging.transformers.options import Precision
from core.training import EventKind, Split, Stage
from tests.judging.transformers.build import FAMILIES, context, dimension, request, tiny_folder
from tests.judging.transformers.build import spec as line
from tests.judging.transformers.test_convert import checkpoint, larger_vocabulary
from tests.training import build
from tests.training.build import do, events, finish, rows, snapshot
from training import jobdir
from training.base import load_base
from training.evaluate import FIGURES
from training.events import curve
from training.finetune.adapter import last_logits
from training.finetune.data import LabelTokens, encode_rows
from training.finetune.losses import label_log_probabilities
from training.process import ExitStatus
from training.specs import EvaluateSpec, FineTuneSpec, JudgeLine, LabelLoss, Method

torch = pytest.importorskip("torch")
pytest.importorskip("peft")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return snapshot(tmp_path_factory.mktemp("data") / "snapshot", rows(160, Split.TRAIN), rows(40, Split.HELD_OUT))


def spec(model: Path, data: Path, **changes: Any) -> FineTuneSpec:
    settings: dict[str, Any] = {
        "name": "微调", "model": str(model), "snapshot": data, "rank": 16, "dropout": 0.0, "learning_rate": 5e-3, "max_steps": 30,
        "batch_size": 8, "accumulation": 1, "evaluate_every": 15, "checkpoint_every": 15, "device": "cpu", "max_length": 500,
    }  # fmt: skip
    return FineTuneSpec.model_validate({**settings, **changes})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_judge_with_the_adapter_grades_better_than_without(family: str, data: Path, tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", family)
    result = finish(tmp_path / "job", spec(model, data, max_steps=40, evaluate_every=20, checkpoint_every=20))
    assert result.product is not None
    assert result.product.stage is Stage.ADAPTER
    told = events(tmp_path / "job")
    losses = [value for _, value in curve(told, EventKind.TRAIN, "loss")]
    assert len(losses) == 40
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])
    zero_shot, best = (_mae(tmp_path / name, data, options) for name, options in (
        ("zero-shot", {"model": str(model)}), ("tuned", result.product.options),
    ))  # fmt: skip
    assert best < min(1.0, zero_shot / 1.5)
    config = json.loads((result.product.path / "adapter_config.json").read_text())
    assert config["r"] == 16
    assert isinstance(config["target_modules"], list)
    # The validation rows were judged in training as the judge judges them: the last looks are not far from the held-out figure.
    looks = curve(told, EventKind.HELD_OUT, "mae")
    assert [step for step, _ in looks] == [0, 20, 40]
    assert min(value for _, value in looks[1:]) == pytest.approx(result.figures["mae"])


def _mae(folder: Path, data: Path, options: Any) -> float:
    judge = JudgeLine(id="tiny", family="transformers", options={**options, "check_memory": False})
    finish(folder, EvaluateSpec(name="衡量", judge=judge, snapshot=data))
    figures = json.loads((folder / jobdir.OUTPUT / FIGURES).read_text())
    return float(figures["dimensions"]["fluency"]["mae"])


@pytest.mark.parametrize("family", FAMILIES)
def test_training_sees_the_very_distribution_of_judging(family: str, data: Path, tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", family)
    texts = ["短。", "一段长一些的文字，里面写着<|im_end|>这样的记号。" * 3, "今天天气很好。"]
    requests = [request(number, text) for number, text in enumerate(texts)]
    judge = make_transformers_judge(line(model), context(tmp_path))
    judged = [list(answer.probabilities.values()) for answer in judge.judge(requests)]
    judge.close()
    base = load_base(str(model), None, "cpu", Precision.FP32, build.Context(tmp_path))
    encoder = PromptEncoder(base.tokenizer, base.model.config.model_type)
    template = rows(1, Split.TRAIN)[0]
    frozen = [replace(template, system=one.prompt.system, user=one.prompt.user) for one in requests if one.prompt]
    encoded, too_long = encode_rows(frozen, encoder, {"fluency": dimension()}, 400)
    assert too_long == []
    batch = LabelTokens(encoder, {"fluency": dimension()}).batch(encoded, 0)
    with torch.no_grad():
        seen = label_log_probabilities(last_logits(base.model, batch.ids, batch.lengths), batch.targets).exp()
    assert (seen - torch.tensor(judged)).abs().max() < 1e-5


@pytest.mark.parametrize("loss", [LabelLoss.CROSS_ENTROPY, LabelLoss.LABELS, LabelLoss.ORDINAL_LOG])
def test_every_loss_teaches(loss: LabelLoss, data: Path, tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", "llama")
    finish(tmp_path / "job", spec(model, data, loss=loss, validation=0.2))
    looks = curve(events(tmp_path / "job"), EventKind.HELD_OUT, "mae")
    assert looks[-1][1] < looks[0][1] / 1.5


def test_the_whole_model_can_be_trained_with_accumulation_and_checkpointing(data: Path, tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", "qwen2")
    changes = {"method": Method.FULL, "batch_size": 4, "accumulation": 2, "gradient_checkpointing": True, "learning_rate": 2e-3}
    result = finish(tmp_path / "job", spec(model, data, **changes))
    assert result.product is not None
    assert result.product.stage is Stage.MERGED
    assert _mae(tmp_path / "tuned", data, result.product.options) < 1.0


def test_sixteen_bit_training_learns_too(data: Path, tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", "glm")
    finish(tmp_path / "job", spec(model, data, dtype="bf16"))
    looks = curve(events(tmp_path / "job"), EventKind.HELD_OUT, "mae")
    assert looks[-1][1] < looks[0][1] / 1.5


def test_training_stops_early_and_the_best_step_is_what_comes_out(data: Path, tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", "llama")
    changes = {"max_steps": 60, "evaluate_every": 2, "patience": 2, "learning_rate": 0.05, "checkpoint_every": 100}
    result = finish(tmp_path / "job", spec(model, data, **changes))
    told = events(tmp_path / "job")
    looks = curve(told, EventKind.HELD_OUT, "mae")
    assert looks[-1][0] < 60
    assert any("early" in event.message.get("en", "") for event in told)
    assert result.figures["mae"] == pytest.approx(min(value for _, value in looks[1:]))
    best = json.loads((tmp_path / "job" / jobdir.OUTPUT / "adapter" / "best.json").read_text())
    assert dict(looks)[best["step"]] == pytest.approx(best["mae"])
    assert best["step"] < looks[-1][0]


def test_a_spoiled_loss_fails_at_once_and_says_what_to_lower(data: Path, tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", "llama")
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    assert do(tmp_path / "spoiled", spec(model, data)) is ExitStatus.FAILED
    last = events(tmp_path / "spoiled")[-1]
    assert "learning_rate" in last.message["en"]
    assert "不是数字" in last.message["zh"]
    assert not list((tmp_path / "spoiled" / jobdir.CHECKPOINTS).glob("checkpoint-*"))


def test_rows_that_are_too_long_are_told_and_left_out(tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", "qwen2")
    train = rows(20, Split.TRAIN)
    long = replace(train[3], user=train[3].user * 40, external_id="长文")
    data = snapshot(tmp_path / "snapshot", [*train[:3], long, *train[4:]], rows(4, Split.HELD_OUT))
    finish(tmp_path / "job", spec(model, data, max_steps=2, evaluate_every=1, checkpoint_every=9))
    note = next(event for event in events(tmp_path / "job") if event.kind is EventKind.NOTE)
    assert "1 of 20 rows" in note.message["en"]
    assert "长文" in note.message["zh"]
    assert do(tmp_path / "none", spec(model, data, max_length=16)) is ExitStatus.FAILED
    assert "max_length" in events(tmp_path / "none")[-1].message["en"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": Method.QLORA}, "bitsandbytes"),
        ({"target_modules": "attention_of_nothing"}, "all-linear"),
        ({"device": "cuda:7"}, "cuda:7"),
        ({"dimensions": ("normativity",)}, "0 training rows"),
    ],
)
def test_what_cannot_run_says_why(changes: dict[str, Any], told: str, data: Path, tmp_path: Path, home: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    model = tiny_folder(tmp_path / "model", "qwen2")
    assert do(tmp_path / "job", spec(model, data, **changes)) is ExitStatus.FAILED
    assert told in events(tmp_path / "job")[-1].message["en"]


def test_an_internlm2_checkpoint_is_converted_once_and_trained(data: Path, tmp_path: Path, home: Path) -> None:
    source = checkpoint(tmp_path / "internlm2", larger_vocabulary(), vocab_size=700)
    result = finish(tmp_path / "job", spec(source, data, max_steps=2, evaluate_every=2))
    assert "InternLM2" in " ".join(event.message.get("en", "") for event in events(tmp_path / "job"))
    assert result.product is not None
    assert 0 <= _mae(tmp_path / "tuned", data, result.product.options) <= 4
