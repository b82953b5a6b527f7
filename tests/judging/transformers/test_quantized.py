"""Judging with weights of 8 and 4 bits (bitsandbytes), through the product's own loader; on a CUDA card only."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.judging.transformers import make_transformers_judge
from core.types import Judgement, JudgementStatus
from tests.judging.transformers.build import FAMILIES, context, request, spec, tiny_folder

torch = pytest.importorskip("torch")
pytest.importorskip("bitsandbytes")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card"),
    # What bitsandbytes says of input that it casts to its own format.
    pytest.mark.filterwarnings("ignore:MatMul8bitLt:UserWarning"),
]

# Layers that bitsandbytes likes: widths in blocks of 64.
SHAPE = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
TEXTS = [f"第{number}篇：今天天气很好，" + "我们去公园散步。" * (number % 5) for number in range(12)]


def judged(folder: Path, cache: Path, **options: object) -> list[Judgement]:
    judge = make_transformers_judge(spec(folder, device="cuda", **options), context(cache))
    try:
        requests = [request(number, text) for number, text in enumerate(TEXTS)]
        together = list(judge.judge(requests))
        (alone,) = judge.judge(requests[5:6])
        for label, probability in together[5].probabilities.items():
            assert alone.probabilities[label] == pytest.approx(probability, abs=0.02)
        return together
    finally:
        judge.close()


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
@pytest.mark.parametrize("family", FAMILIES)
def test_quantized_weights_judge_as_the_whole_ones_do(family: str, quantization: str, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", family, **SHAPE)
    whole = judged(folder, tmp_path)
    before = torch.cuda.memory_allocated()
    quantized = judged(folder, tmp_path, quantization=quantization)
    assert torch.cuda.memory_allocated() <= before + (4 << 20)  # given back
    assert all(answer.status is JudgementStatus.OK for answer in quantized)
    moved = [
        abs(one.probabilities[label] - other.probabilities[label])
        for one, other in zip(whole, quantized, strict=True)
        for label in one.probabilities
    ]
    # Random weights amplify every rounding: what is asked is that it is rounding, and no other model.
    assert sum(moved) / len(moved) < (0.08 if quantization == "8bit" else 0.15)
    assert max(moved) > 0  # they are quantized indeed


def test_an_adapter_stands_beside_quantized_weights(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from tests.judging.transformers.build import tiny_model

    folder = tiny_folder(tmp_path / "model", "qwen2", **SHAPE)
    torch.manual_seed(1)
    adapted = get_peft_model(tiny_model("qwen2", **SHAPE), LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    # Small: the 8-bit products choose their outliers by batch, and large random weights would amplify that.
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.mul_(0.2)
    adapted.save_pretrained(tmp_path / "adapter")
    plain = judged(folder, tmp_path, quantization="8bit")
    beside = judged(folder, tmp_path, quantization="8bit", adapter=str(tmp_path / "adapter"), merge_adapter=False)
    assert max(abs(a.probabilities[3] - b.probabilities[3]) for a, b in zip(plain, beside, strict=True)) > 0.005
