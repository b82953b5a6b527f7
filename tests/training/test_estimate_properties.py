"""The memory estimate of any model and settings: it moves the way that each setting does, and its advice helps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import JobError
from core.judging.transformers.options import Precision
from tests.training.test_estimate import QWEN2_7B, spec
from training.estimate import GIB, Shape, adapter_weights, estimate_shape, read_shape
from training.specs import FineTuneSpec, Method

SHAPES = st.builds(
    lambda family, layers, heads, keys, head, inner, vocabulary, tied: Shape(
        family, layers, heads * head, inner, heads * head, min(keys, heads) * head, heads, vocabulary, tied
    ),
    st.sampled_from(("qwen2", "llama", "gemma2", "glm4")), st.integers(1, 40), st.sampled_from((4, 12, 32)), st.sampled_from((1, 4)),
    st.sampled_from((64, 128)), st.integers(256, 20_000), st.integers(1000, 260_000), st.booleans(),
)  # fmt: skip
CUDA_SPECS = st.builds(
    lambda **values: spec(**values),
    method=st.sampled_from(Method), rank=st.integers(1, 256), batch_size=st.integers(1, 32), gradient_checkpointing=st.booleans(),
    dropout=st.sampled_from((0.0, 0.1)), dtype=st.sampled_from((Precision.AUTO, Precision.BF16, Precision.FP32)),
)  # fmt: skip
DEVICES = st.sampled_from(("cpu", "cuda"))


def changed(given_spec: FineTuneSpec, **changes: Any) -> FineTuneSpec:
    return given_spec.model_copy(update=changes)


@given(shape=SHAPES, wanted=CUDA_SPECS, device=DEVICES, longest=st.integers(16, 4096))
def test_more_of_anything_never_needs_less_and_checkpointing_never_more(
    shape: Shape, wanted: FineTuneSpec, device: str, longest: int
) -> None:
    found = estimate_shape(shape, wanted, device, longest)
    assert found.total == sum(found.parts().values()) > 0
    assert list(found.parts().values()) == sorted(found.parts().values(), reverse=True)
    assert (found.rows, found.tokens, found.device) == (wanted.batch_size, longest, device)
    for more in (changed(wanted, rank=wanted.rank + 1), changed(wanted, batch_size=wanted.batch_size + 1)):
        assert estimate_shape(shape, more, device, longest).total >= found.total
    assert estimate_shape(shape, wanted, device, longest + 1).total > found.total
    assert estimate_shape(replace(shape, layers=shape.layers + 1), wanted, device, longest).total > found.total
    plain, saving = (estimate_shape(shape, changed(wanted, gradient_checkpointing=on), device, longest) for on in (False, True))
    if shape.layers > 1:
        assert saving.activations < plain.activations
    assert (saving.weights, saving.trained) == (plain.weights, plain.trained)
    lora, qlora, full = (estimate_shape(shape, changed(wanted, method=method), device, longest) for method in Method)
    assert qlora.weights < lora.weights
    assert full.weights + full.trained >= lora.weights
    assert adapter_weights(shape, changed(wanted, method=Method.FULL)) == 0


@given(shape=SHAPES, wanted=CUDA_SPECS, device=DEVICES, longest=st.integers(16, 4096))
def test_advice_is_given_where_a_job_does_not_fit_alone_and_names_a_change_that_helps(
    shape: Shape, wanted: FineTuneSpec, device: str, longest: int
) -> None:
    found = estimate_shape(shape, wanted, device, longest)
    assert found.advice(found.total) == {}
    told = found.advice(found.total - 1)
    assert set(told) == {"zh", "en"}
    assert f"{found.total / GIB:.1f} GiB" in told["zh"]
    for name, changes in (("qlora", {"method": Method.QLORA}), ("method lora", {"method": Method.LORA})):
        if name in told["en"] and not (name == "method lora" and wanted.method is not Method.FULL):
            assert estimate_shape(shape, changed(wanted, **changes), device, longest).total < found.total
    if "qlora" in told["en"]:
        assert device == "cuda"
        assert "qlora" in told["zh"]
    if "batch_size" in told["en"] and wanted.batch_size > 1:
        assert estimate_shape(shape, changed(wanted, batch_size=1), device, longest).total < found.total


@settings(max_examples=20)
@given(shape=SHAPES, rank=st.integers(1, 64))
def test_an_adapter_on_all_layers_is_the_sum_of_those_on_each_name(shape: Shape, rank: int) -> None:
    whole = adapter_weights(shape, spec(rank=rank))
    each = [adapter_weights(shape, spec(rank=rank, target_modules=name)) for name in shape.linears()]
    assert whole == sum(each)
    assert all(each)
    assert adapter_weights(shape, spec(rank=rank, target_modules=" , ".join(shape.linears()))) == whole
    assert adapter_weights(shape, spec(rank=rank, target_modules="nothing")) == 0
    assert adapter_weights(shape, spec(rank=2 * rank)) == 2 * whole


CONFIG: dict[str, object] = {
    "model_type": "qwen2", "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4,
}  # fmt: skip


def test_a_config_is_read_with_its_optional_parts_missing_or_nested(tmp_path: Path) -> None:
    path = tmp_path / "config.json"

    def read(**changes: object) -> Shape:
        path.write_text(json.dumps({**CONFIG, **changes}), encoding="utf-8")
        return read_shape(tmp_path)

    assert read() == QWEN2_7B
    assert read(num_key_value_heads=None) == replace(QWEN2_7B, keys=3584)
    assert read(head_dim=64) == replace(QWEN2_7B, queries=1792, keys=256)
    assert read(tie_word_embeddings=True).parameters == QWEN2_7B.parameters - 152_064 * 3584
    path.write_text(json.dumps({"model_type": "gemma3", "text_config": CONFIG}), encoding="utf-8")
    assert read_shape(tmp_path) == QWEN2_7B


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"x"', b"null", b"\xff", json.dumps({**CONFIG, "num_attention_heads": 0}).encode(), b'{"text_config": 3}'],
)
def test_a_config_that_tells_no_size_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(JobError, match=r"config\.json does not tell the model's size") as caught:
        read_shape(tmp_path)
    assert "无法从" in caught.value.messages["zh"]
