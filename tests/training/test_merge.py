"""Merging: the saved sum answers as base plus adapter, in shards, with tokenizer and template; a wrong adapter is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.training import EventKind, Split, Stage
from tests.judging.transformers.build import FAMILIES, answersheet, tiny_folder
from tests.judging.transformers.test_convert import checkpoint, larger_vocabulary
from tests.judging.transformers.test_load import train_adapter
from tests.training.build import do, events, finish, rows, snapshot
from training.process import ExitStatus
from training.specs import FineTuneSpec, MergeSpec

torch = pytest.importorskip("torch")
pytest.importorskip("peft")


def spec(model: Path, adapter: Path, **changes: Any) -> MergeSpec:
    return MergeSpec.model_validate({"name": "合并", "model": str(model), "adapter": adapter, **changes})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_merged_model_judges_like_base_plus_adapter(family: str, tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", family, max_position_embeddings=2048)
    adapter = train_adapter(model, tmp_path / "adapter")
    result = finish(tmp_path / "job", spec(model, adapter, dtype="fp32"))
    assert result.product is not None
    assert result.product.stage is Stage.MERGED
    assert result.figures["drift"] < 1e-4
    beside = torch.tensor(answersheet(model, tmp_path, adapter=adapter, merge_adapter=False))
    merged = torch.tensor(answersheet(result.product.path, tmp_path))
    assert (merged - beside).abs().max() < 1e-5
    assert (merged - torch.tensor(answersheet(model, tmp_path))).abs().max() > 1e-3


def test_sixteen_bits_round_the_sum_and_say_by_how_much(tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", "qwen2", max_position_embeddings=2048)
    adapter = train_adapter(model, tmp_path / "adapter")
    result = finish(tmp_path / "job", spec(model, adapter, shard_gb=0.0001))
    assert result.product is not None
    assert 0 < result.figures["drift"] < 0.3
    assert len(list(result.product.path.glob("*.safetensors"))) > 1
    assert (result.product.path / "chat_template.jinja").is_file()
    note = events(tmp_path / "job")[-2]
    assert note.kind is EventKind.NOTE
    assert f"{result.figures['drift']:.4f}" in note.message["zh"]


def test_an_adapter_of_another_model_is_refused(tmp_path: Path, home: Path) -> None:
    model = tiny_folder(tmp_path / "model", "llama", max_position_embeddings=2048)
    other = tiny_folder(tmp_path / "other", "llama", hidden_size=32, max_position_embeddings=2048)
    assert do(tmp_path / "job", spec(model, train_adapter(other, tmp_path / "adapter"))) is ExitStatus.FAILED
    assert "trained on" in events(tmp_path / "job")[-1].message["en"]
    assert do(tmp_path / "none", spec(model, tmp_path)) is ExitStatus.FAILED
    assert "adapter_config.json" in events(tmp_path / "none")[-1].message["zh"]


def test_an_adapter_trained_on_internlm2_is_merged_into_the_converted_base(tmp_path: Path, home: Path) -> None:
    source = checkpoint(tmp_path / "internlm2", larger_vocabulary(), vocab_size=700)
    data = snapshot(tmp_path / "snapshot", rows(12, Split.TRAIN), rows(2, Split.HELD_OUT))
    tuned = finish(
        tmp_path / "tune", FineTuneSpec(name="t", model=str(source), snapshot=data, max_steps=1, validation=0, device="cpu", dropout=0)
    )
    assert tuned.product is not None
    result = finish(tmp_path / "merge", spec(source, tuned.product.path, dtype="fp32"))
    assert result.product is not None
    assert result.figures["drift"] < 1e-4
