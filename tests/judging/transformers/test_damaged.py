"""Folders that were cut off, mixed up or damaged: told with the file and what to do, in both languages, and no pickle is opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import JudgeError
from core.judging.transformers import make_transformers_judge
from tests.judging.transformers.build import answersheet, context, spec, tiny_folder

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("sound") / "model", "qwen2", num_hidden_layers=1)


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of a sound model, to be spoiled."""
    return Path(shutil.copytree(sound, tmp_path / "model"))


def told(folder: Path, cache: Path, **options: Any) -> tuple[str, str]:
    with pytest.raises(JudgeError) as caught:
        make_transformers_judge(spec(folder, **options), replace(context(cache), panel_id="small"))
    assert "'tiny'" in str(caught.value) or str(folder) in str(caught.value)
    return caught.value.messages["en"], caught.value.messages["zh"]


def cut(name: str, by: int = 100) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-by])


def writes(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    "spoil", [cut("config.json", 2), writes("config.json", b"[]"), writes("config.json", b""), writes("config.json", b"\xff{}")]
)
def test_a_configuration_that_cannot_be_read_is_named(spoil: Callable[[Path], object], folder: Path, tmp_path: Path) -> None:
    spoil(folder)
    en, zh = told(folder, tmp_path)
    assert f"{folder}/config.json is no configuration of a model" in en
    assert f"{folder}/config.json 不是模型配置" in zh
    assert "请重新复制或下载" in zh


@pytest.mark.parametrize(
    "spoil",
    [
        cut("model.safetensors"),
        writes("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        cut("tokenizer.json", 9),
        writes("config.json", b'{"model_type": "martian"}'),
        writes("config.json", b"{}"),
    ],
)
def test_files_that_cannot_be_loaded_come_with_the_command_that_fetches_them_again(
    spoil: Callable[[Path], object], folder: Path, tmp_path: Path
) -> None:
    spoil(folder)
    en, zh = told(folder, tmp_path, check_memory=True)
    assert f"the files in {folder} cannot be loaded" in en
    assert f"无法加载 {folder} 中的文件" in zh
    for text in (en, zh):
        assert text.endswith("./run.sh models fetch small --verify")


# Adapters


@pytest.fixture(scope="module")
def sound_adapter(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    options = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapted") / "adapter"
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(sound), options).save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(sound_adapter: Path, tmp_path: Path) -> Path:
    """A copy of a sound adapter, to be spoiled."""
    return Path(shutil.copytree(sound_adapter, tmp_path / "adapter"))


def test_an_adapter_without_weights_is_told_and_not_looked_for_elsewhere(sound: Path, adapter: Path, tmp_path: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    en, zh = told(sound, tmp_path, adapter=adapter)
    assert f"{adapter} has no adapter_model.safetensors. Copy the adapter again" in en
    assert f"{adapter} 中没有 adapter_model.safetensors" in zh


def test_a_pickled_adapter_is_opened_only_where_allowed(sound: Path, adapter: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    expected = answersheet(sound, tmp_path, adapter=adapter)
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    assert "allow_pickle: true" in told(sound, tmp_path, adapter=adapter)[0]
    assert answersheet(sound, tmp_path, adapter=adapter, allow_pickle=True) == expected


@pytest.mark.parametrize("spoil", [cut("adapter_config.json", 2), cut("adapter_model.safetensors", 8)])
def test_a_damaged_adapter_is_named_and_not_the_model(spoil: Callable[[Path], object], sound: Path, adapter: Path, tmp_path: Path) -> None:
    spoil(adapter)
    en, zh = told(sound, tmp_path, adapter=adapter)
    assert f"the files in {adapter} cannot be loaded" in en
    assert f"无法加载 {adapter} 中的文件" in zh


def test_other_adapters_than_lora_are_told(sound: Path, adapter: Path, tmp_path: Path) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3", "target_modules": ["q_proj"], "feedforward_modules": []}))
    en, zh = told(sound, tmp_path, adapter=adapter)
    assert "is a IA3 adapter, and only LoRA adapters are supported" in en
    assert "目前只支持 LoRA" in zh
