"""On a CUDA card: the Triton kernels against plain PyTorch, and whole models through them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.judging.transformers import kernels
from core.judging.transformers.attention import Pack, Prefix, build_pack, loop_kernel
from core.judging.transformers.scoring import PackedScorer, free_cached_memory, make_scorer
from tests.judging.transformers.build import FAMILIES, answersheet, context, request, rows_with_prefix, spec, tiny_folder, tiny_model

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device and Triton"),
]
LABELS = (10, 20, 30, 40, 50)


def error(found: Any, expected: Any) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "width", "prefix", "window", "softcap"),
    [
        (28, 4, 128, 341, 0, 0.0),
        (16, 8, 256, 341, 0, 50.0),
        (16, 8, 256, 341, 300, 50.0),
        (32, 2, 128, 0, 0, 0.0),
        (6, 2, 80, 5, 64, 0.0),
        (4, 2, 16, 33, 0, 30.0),
    ],
)
def test_attention_equals_a_double_precision_reference(
    heads: int, kv_heads: int, width: int, prefix: int, window: int, softcap: float, dtype: str
) -> None:
    torch.manual_seed(0)
    lengths = (547, 1, 900, 128, 129)

    def draw(tokens: int, count: int) -> Any:
        return torch.randn(tokens, count, width, device="cuda", dtype=getattr(torch, dtype))

    query, key, value = draw(sum(lengths), heads), draw(sum(lengths), kv_heads), draw(sum(lengths), kv_heads)
    before = Prefix(tuple(range(prefix)), {0: (draw(prefix, kv_heads), draw(prefix, kv_heads))}) if prefix else None
    pack = build_pack([(1,) * (prefix + length) for length in lengths], before, loop_kernel, "cuda").pack
    found = kernels.triton_kernel(query, key, value, 0, pack, width**-0.5, window, softcap)
    exact = Prefix(before.ids, {0: tuple(t.double() for t in before.layers[0])}) if before else None  # type: ignore[dict-item]
    reference = Pack(loop_kernel, pack.starts, pack.starts_on_device, pack.blocks, exact)
    expected = loop_kernel(query.double(), key.double(), value.double(), 0, reference, width**-0.5, window, softcap)
    assert error(found, expected) < (1e-5 if dtype == "float32" else 5e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.03)])
def test_fused_models_equal_the_librarys_eager_code(family: str, dtype: str, tolerance: float) -> None:
    model = tiny_model(family).to("cuda", getattr(torch, dtype))
    rows = rows_with_prefix((7, 30, 1, 55, 12, 150))
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([row], device="cuda"), use_cache=False).logits[0, -1] for row in rows]
    expected = torch.stack(logits).float().cpu()[:, list(LABELS)].softmax(-1)
    scorer = make_scorer(model, 10_000, share_prefix=True, pad_id=0)
    assert isinstance(scorer, PackedScorer)
    assert scorer.kernel is kernels.triton_kernel
    found = torch.tensor([score.log_probabilities for score in scorer.score(rows, LABELS)]).softmax(-1)
    assert (found - expected).abs().max() < tolerance
    again = torch.tensor([score.log_probabilities for score in scorer.score(rows[:1], LABELS)]).softmax(-1)
    assert (again[0] - found[0]).abs().max() < tolerance / 2


def test_small_operations_equal_plain_pytorch() -> None:
    x, weight = torch.randn(2, 5, 3584, device="cuda"), torch.randn(3584, device="cuda")
    norm = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
    assert torch.allclose(kernels.rms_norm(x, weight, 1e-6, False), norm * weight, atol=1e-5)
    assert torch.allclose(kernels.rms_norm(x, weight, 1e-6, True), norm * (1 + weight), atol=1e-5)
    gate, up = torch.randn(1, 7, 2 * 5000, device="cuda").chunk(2, -1)
    assert torch.allclose(kernels.gated(gate, up, False), torch.nn.functional.silu(gate) * up, atol=1e-5)
    assert torch.allclose(kernels.gated(gate, up, True), torch.nn.functional.gelu(gate, approximate="tanh") * up, atol=1e-5)
    rows, scales = kernels.quantize_rows(x[0])
    assert (rows.float() * scales - x[0]).abs().max() < 0.07 * x.abs().max()


def test_memory_is_given_back_at_close_and_after_running_out(tmp_path: Path) -> None:
    from core.judging.transformers import make_transformers_judge

    folder = tiny_folder(tmp_path / "model", "qwen2", hidden_size=512, head_dim=128, intermediate_size=65536, max_position_embeddings=32768)
    free_cached_memory()
    before = torch.cuda.memory_allocated()
    judge = make_transformers_judge(spec(folder, device="cuda", token_budget=100_000), context(tmp_path))
    rows = [request(number, "今天天气很好。" * 30) for number in range(300)]
    limit = 4 * 2**30 / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit)
    try:
        answers = list(judge.judge(rows))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert {answer.status.value for answer in answers} == {"ok"}
    judge.close()
    assert torch.cuda.memory_allocated() - before < 2**26


@pytest.mark.skipif(torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9), reason="needs Hopper or Ada")
def test_fp8_layers_stay_near_bf16_ones() -> None:
    from core.judging.transformers.fp8 import quantize_linears

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.Linear(512, 24)).to("cuda", torch.bfloat16)
    inputs = [torch.randn(1, rows, 256, device="cuda", dtype=torch.bfloat16) for rows in (37, 1, 300)]
    with torch.inference_mode():
        expected = [model[0](x).double() for x in inputs]
        assert quantize_linears(model) == 1  # 24 is no multiple of 16
        for x, wanted in zip(inputs, expected, strict=True):
            assert error(model[0](x), wanted) < 0.06
            assert torch.equal(model[0](x), model[0](x.clone()))


@pytest.mark.skipif(torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9), reason="needs Hopper or Ada")
def test_a_judge_in_fp8_answers(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "qwen2", hidden_size=256, head_dim=64, intermediate_size=512)
    rows = answersheet(folder, tmp_path, device="cuda", dtype="bf16", quantization="fp8")
    assert all(abs(sum(row) - 1) < 1e-6 for row in rows)
