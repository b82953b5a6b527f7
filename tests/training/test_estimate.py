"""The memory estimate against what PyTorch really holds: weights, adapter, and what a forward pass keeps for the backward one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.errors import JobError
from core.settings import PROJECT_ROOT
from tests.judging.transformers.build import FAMILIES, tiny_model
from training.estimate import GIB, Shape, adapter_weights, estimate, estimate_shape, read_shape
from training.specs import FineTuneSpec, Method

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

SIZES = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 352}
QWEN2_7B = Shape("qwen2", 28, 3584, 18944, 3584, 512, 28, 152064, False)


def spec(**changes: Any) -> FineTuneSpec:
    return FineTuneSpec.model_validate(
        {"name": "t", "model": "m", "snapshot": Path("/nowhere"), "device": "cpu", "dropout": 0.05, **changes}
    )


def adapted(folder: Path, family: str, wanted: FineTuneSpec) -> Any:
    from training.finetune.adapter import trainable

    model = tiny_model(family, vocab_size=900, **SIZES)
    model.save_pretrained(folder)
    if family != "gemma2":
        model.set_attn_implementation("sdpa")
    return trainable(model, wanted).train()


def kept_bytes(model: Any, wanted: FineTuneSpec, longest: int) -> int:
    """Return the bytes that autograd keeps of a forward pass, each storage once, parameters left out."""
    from training.finetune.adapter import last_logits

    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    # Held until the end: a storage that is freed would give its address to another.
    held: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            held[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(5, 900, (wanted.batch_size, longest))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        last_logits(model, ids, torch.full((wanted.batch_size,), longest)).float().log_softmax(-1).sum()
    return sum(storage.nbytes() for storage in held.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_are_what_pytorch_holds(family: str, tmp_path: Path) -> None:
    wanted = spec(rank=8, batch_size=3)
    model = adapted(tmp_path, family, wanted)
    shape = read_shape(tmp_path)
    base = sum(p.numel() for name, p in model.named_parameters() if "lora" not in name)
    assert shape.parameters == pytest.approx(base, rel=0.02)
    assert adapter_weights(shape, wanted) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    found = estimate_shape(shape, wanted, "cpu", 200)
    assert found.weights == pytest.approx(4 * base, rel=0.02)
    assert found.trained == 16 * adapter_weights(shape, wanted)
    measured = kept_bytes(model, wanted, 200)
    assert 0.75 < (found.activations + found.logits) / measured < 1.4


def test_checkpointing_and_named_layers_are_counted(tmp_path: Path) -> None:
    wanted = spec(rank=4, batch_size=4, target_modules="q_proj, v_proj", dropout=0.0)
    model = adapted(tmp_path, "qwen2", wanted)
    shape = read_shape(tmp_path)
    assert adapter_weights(shape, wanted) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    plain, saving = (estimate_shape(shape, spec(batch_size=4, gradient_checkpointing=on), "cpu", 300) for on in (False, True))
    assert saving.activations < plain.activations / 2


def test_known_runs_come_out_as_people_know_them() -> None:
    """LoRA of a 7B model in 16 bits needs its 14 to 15 GiB and fits a card of 24 GB with checkpointing; whole training does not fit 80 GB."""
    lora = estimate_shape(QWEN2_7B, spec(device="cuda", gradient_checkpointing=True), "cuda", 1024)
    assert 14 * GIB < lora.total < 24 * GIB
    assert lora.advice(24 * GIB) == {}
    qlora = estimate_shape(QWEN2_7B, spec(device="cuda", method=Method.QLORA, gradient_checkpointing=True, batch_size=2), "cuda", 1024)
    assert 5 * GIB < qlora.total < 12 * GIB
    full = estimate_shape(QWEN2_7B, spec(device="cuda", method=Method.FULL), "cuda", 1024)
    assert full.total > 80 * GIB
    assert "lora" in full.advice(80 * GIB)["en"]
    wide = estimate_shape(QWEN2_7B, spec(device="cuda", batch_size=16), "cuda", 4096)
    assert "gradient_checkpointing" in wide.advice(80 * GIB)["zh"]


def test_it_is_said_without_torch_and_faults_name_the_file(tmp_path: Path, home: Path) -> None:
    tiny_model("llama", **SIZES).save_pretrained(tmp_path / "model")
    assert estimate(spec(model=str(tmp_path / "model"))).device == "cpu"
    code = (
        f"import sys; from pathlib import Path; from training.estimate import read_shape; read_shape(Path({str(tmp_path / 'model')!r})); "
        "import training.presets; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "[]"
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(JobError, match=r"config\.json"):
        estimate(spec(model=str(tmp_path / "model")))
