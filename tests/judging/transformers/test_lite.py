"""Checkpoints in the layouts of lmdeploy's lite: read back to the numbers that were packed, and computed as their engine does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import JudgeError
from core.judging.transformers import make_transformers_judge
from core.judging.transformers.lite import LiteFormat, lite_format, load_lite, unpack_awq
from core.judging.transformers.weights import count_parameters
from tests.judging.transformers.build import answersheet, context, spec, tiny_folder

torch = pytest.importorskip("torch")

GROUP = 32
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def pack_awq(weight: Any) -> tuple[dict[str, Any], Any]:
    """Round a weight (out, in) to 4 bits in groups and pack it as lmdeploy 0.18 does; return the tensors and the rounded weight."""
    grouped = weight.view(len(weight), -1, GROUP)
    low, high = grouped.amin(-1, keepdim=True), grouped.amax(-1, keepdim=True)
    scales = ((high - low) / 15).half().float()
    zeros = (-low / scales).round().clamp(0, 15)
    values = (grouped / scales + zeros).round().clamp(0, 15)
    rounded = ((values - zeros) * scales).view_as(weight)
    columns = values.view_as(weight).t().to(torch.int32)
    packed = {"qweight": _packed(columns), "qzeros": _packed(zeros[..., 0].t().to(torch.int32)), "scales": scales[..., 0].t().half()}
    return {name: tensor.contiguous() for name, tensor in packed.items()}, rounded


def _packed(columns: Any) -> Any:
    packed = torch.zeros(columns.shape[0], columns.shape[1] // 8, dtype=torch.int32)
    for column in range(packed.shape[1]):
        for place, order in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
            packed[:, column] |= columns[:, column * 8 + order] << (4 * place)
    return packed


def quantized_folder(source: Path, target: Path, form: LiteFormat) -> dict[str, Any]:
    """Write `source` in one of lite's formats; return the weights that it stands for, as ordinary numbers."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    weights, meant = {}, {}
    for name, tensor in load_file(source / "model.safetensors").items():
        module = name.removesuffix(".weight")
        if not name.endswith(".weight") or module.rpartition(".")[2] not in LINEAR:
            weights[name] = meant[name] = tensor
        elif form is LiteFormat.AWQ:
            packed, meant[name] = pack_awq(tensor)
            weights |= {f"{module}.{kind}": own for kind, own in packed.items()}
        else:
            scale = tensor.abs().amax(1, keepdim=True) / 127
            weights[name] = (tensor / scale).round().to(torch.int8)
            weights[f"{module}.scale"] = scale
            meant[name] = weights[name].float() * scale
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    awq = {"quant_method": "awq", "version": "gemm", "bits": 4, "group_size": GROUP, "zero_point": True}
    config["quantization_config"] = awq if form is LiteFormat.AWQ else {"quant_method": "smooth_quant", "quant_dtype": "int8"}
    (target / "config.json").write_text(json.dumps(config))
    return meant


def test_packed_weights_are_read_back() -> None:
    torch.manual_seed(3)
    packed, rounded = pack_awq(torch.randn(64, 96))
    assert (unpack_awq(**packed) - rounded).abs().max() < 1e-6


@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("form", list(LiteFormat))
def test_a_quantized_folder_judges_with_its_rounded_weights(form: LiteFormat, family: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    source = tiny_folder(tmp_path / "source", family)
    meant = quantized_folder(source, tmp_path / "quantized", form)
    assert lite_format(tmp_path / "quantized") is form
    rounded = tiny_folder(tmp_path / "rounded", family)
    save_file(meant, rounded / "model.safetensors", metadata={"format": "pt"})
    found, expected, full = (torch.tensor(answersheet(tmp_path / name, tmp_path)) for name in ("quantized", "rounded", "source"))
    # W8A8 rounds the activations too, so it is near the rounded weights, AWQ is them.
    assert (found - expected).abs().max() < (1e-5 if form is LiteFormat.AWQ else 0.1)
    assert (found - full).abs().max() > 1e-4
    assert count_parameters(tmp_path / "quantized") >= count_parameters(source)


def test_activations_are_rounded_by_token() -> None:
    from core.judging.transformers.lite import integer_linear

    weight = torch.tensor([[127, -127], [1, 0]], dtype=torch.int8)
    layer = integer_linear()(weight, torch.tensor([[0.01], [0.5]]), torch.tensor([0.0, 10.0]))
    x = torch.tensor([[1.0, 0.004], [254.0, 100.3]])
    # By hand: scales 1/127 and 2; rounded to 127, 1 (0.508) and 127, 50.
    expected = torch.tensor(
        [[(127 * 127 - 127 * 1) * 0.01 / 127, 127 / 127 * 0.5 + 10], [(127 * 127 - 127 * 50) * 0.01 * 2, 127 * 2 * 0.5 + 10]]
    )
    assert torch.allclose(layer(x), expected)
    assert layer(x[None]).shape == (1, 2, 2)


def test_quantized_weights_take_no_second_quantization_and_no_unknown_one(tmp_path: Path) -> None:
    source = tiny_folder(tmp_path / "source", "llama")
    quantized_folder(source, tmp_path / "quantized", LiteFormat.AWQ)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(JudgeError, match="takes no `quantization`"):
        make_transformers_judge(spec(tmp_path / "quantized", adapter=tmp_path / "adapter"), context(tmp_path))
    config = json.loads((tmp_path / "quantized" / "config.json").read_text())
    config["quantization_config"]["bits"] = 8
    (tmp_path / "quantized" / "config.json").write_text(json.dumps(config))
    with pytest.raises(JudgeError, match="serve it with lmdeploy"):
        load_lite(tmp_path / "quantized", LiteFormat.AWQ, "cpu", torch.float32)
