"""Loading: adapters, and every way in which a model cannot be loaded is told before it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import JudgeError, PanelError
from core.judging.transformers import TransformersOptions, make_transformers_judge
from core.judging.transformers.weights import check_memory, count_parameters, find_weights, memory_need, read_config
from tests.judging.transformers.build import answersheet, context, spec, tiny_folder, tiny_model

torch = pytest.importorskip("torch")


def train_adapter(base: Path, target: Path) -> Path:
    """Save a LoRA adapter whose weights are random, so that it changes every answer."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    torch.manual_seed(5)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.2)
    adapted.save_pretrained(target)
    return target


@pytest.mark.parametrize("family", ["glm", "qwen2", "gemma2", "llama"])
def test_an_adapter_gives_the_same_answers_merged_and_beside_the_weights(family: str, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", family)
    adapter = train_adapter(folder, tmp_path / "adapter")
    merged = torch.tensor(answersheet(folder, tmp_path, adapter=adapter))
    beside = torch.tensor(answersheet(folder, tmp_path, adapter=adapter, merge_adapter=False))
    without = torch.tensor(answersheet(folder, tmp_path))
    assert (merged - beside).abs().max() < 1e-4
    assert (merged - without).abs().max() > 1e-3


def test_number_formats_agree_within_their_precision(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "qwen2")
    full = torch.tensor(answersheet(folder, tmp_path, dtype="fp32"))
    assert (full - torch.tensor(answersheet(folder, tmp_path))).abs().max() == 0  # auto is fp32 on a CPU
    assert 0 < (full - torch.tensor(answersheet(folder, tmp_path, dtype="bf16"))).abs().max() < 0.05


def test_wrong_options_are_all_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(PanelError) as caught:
        make_transformers_judge(spec(tmp_path, dtype="bf17", quantisation="4bit", token_budget=1), context(tmp_path))
    for fault in ("dtype", "quantisation", "token_budget", "known: model"):
        assert fault in str(caught.value)


def options(model: Path | str, **others: Any) -> TransformersOptions:
    return TransformersOptions(model=str(model), **others)


def test_weights_that_are_not_here_come_with_the_command_that_fetches_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JudgeError, match=r"\./run\.sh models fetch gpu-24gb\n") as caught:
        find_weights("glm", options("nobody/no-such-model-4b"), tmp_path, "gpu-24gb")
    assert "models fetch gpu-24gb" in caught.value.messages["zh"]


def test_a_folder_that_is_not_there_or_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="there is no folder"):
        find_weights("glm", options(tmp_path / "missing"), tmp_path)
    with pytest.raises(JudgeError, match=r"no config\.json"):
        find_weights("glm", options(tmp_path), tmp_path)


def test_a_fetched_model_is_found_by_its_id(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "models" / "owner" / "name", "qwen2")
    assert find_weights("glm", options("owner/name"), tmp_path) == folder


def test_pickled_weights_are_refused_unless_allowed(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "qwen2")
    torch.save(tiny_model("qwen2").state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(JudgeError, match="allow_pickle: true"):
        find_weights("q", options(folder), tmp_path)
    assert find_weights("q", options(folder, allow_pickle=True), tmp_path) == folder
    assert answersheet(folder, tmp_path, allow_pickle=True)


def test_internlm2_comes_with_the_command_that_converts_it(tmp_path: Path) -> None:
    folder = tmp_path / "internlm"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "internlm2"}', encoding="utf-8")
    (folder / "model.safetensors").touch()
    with pytest.raises(JudgeError, match=r"python -m core\.judging\.transformers\.convert") as caught:
        find_weights("internlm", options(folder), tmp_path)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("device", ["cuda:63", "abacus"])
def test_a_device_that_is_not_there_is_told(device: str, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "qwen2")
    with pytest.raises(JudgeError, match=device):
        make_transformers_judge(spec(folder, device=device), context(tmp_path))


@pytest.mark.parametrize("quantization", ["4bit", "8bit", "fp8"])
def test_quantization_without_what_it_needs_is_told(quantization: str, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "qwen2")
    needed = "Hopper or Ada" if quantization == "fp8" else "bitsandbytes"
    with pytest.raises(JudgeError, match=needed):
        make_transformers_judge(spec(folder, quantization=quantization, device="cpu"), context(tmp_path))


def test_an_adapter_that_is_not_there_is_told(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "qwen2")
    with pytest.raises(JudgeError, match=r"adapter_config\.json"):
        make_transformers_judge(spec(folder, adapter=tmp_path / "nothing"), context(tmp_path))


def test_memory_is_checked_before_weights_are_read(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "qwen2")
    with pytest.raises(JudgeError, match=r"needs about .* GiB on cpu .* are free.*token_budget"):
        make_transformers_judge(spec(folder, check_memory=True, token_budget=1_048_576, dtype="fp32"), _full_memory(tmp_path))


def _full_memory(tmp_path: Path) -> Any:
    import psutil

    # A token budget whose pack is larger than this machine: widen the layers in the configuration alone.
    path = tmp_path / "model" / "config.json"
    width = psutil.virtual_memory().total // 1_000_000
    path.write_text(path.read_text(encoding="utf-8").replace('"intermediate_size": 96', f'"intermediate_size": {width}'), encoding="utf-8")
    return context(tmp_path)


def test_the_memory_need_counts_weights_and_a_pack(tmp_path: Path) -> None:
    from transformers import AutoConfig

    folder = tiny_folder(tmp_path / "model", "qwen2")
    parameters = sum(parameter.numel() for parameter in tiny_model("qwen2").parameters())
    assert count_parameters(folder) == parameters
    config = AutoConfig.from_pretrained(folder)
    plain = memory_need(parameters, config, 2, options(folder))
    assert plain.weights == 2 * parameters
    assert memory_need(parameters, config, 2, options(folder, quantization="4bit")).weights < 0.8 * plain.weights
    assert memory_need(parameters, config, 2, options(folder, token_budget=4096)).pack == plain.pack // 4
    check_memory("q", plain, plain.total, "cuda")
    assert read_config(folder)["model_type"] == "qwen2"
