"""The command line for every model, engine and weight format; what an engine cannot serve is refused with the way out."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.errors import JudgeError
from core.judging.serving import Engine, KvCache, ServedModel, ServeOptions, WeightFormat, build_launch, read_served_model
from core.judging.serving.adapters import clean_adapter
from core.settings import load_settings

PYTHON = Path("/opt/lmdeploy/bin/python")
QWEN2, LLAMA, GEMMA2, GLM, CHATGLM, INTERNLM2 = (
    "Qwen2ForCausalLM", "LlamaForCausalLM", "Gemma2ForCausalLM", "GlmForCausalLM", "ChatGLMModel", "InternLM2ForCausalLM",
)  # fmt: skip
PYTORCH, TURBOMIND, VLLM = Engine.LMDEPLOY_PYTORCH, Engine.LMDEPLOY_TURBOMIND, Engine.VLLM


def launch(engine: Engine, architecture: str, weights: str = "none", name: str = "judge", **options: Any) -> list[str]:
    serve = ServeOptions.model_validate({"model": "/models/m", **options})
    model = ServedModel("/models/m", architecture, WeightFormat(weights))
    return list(build_launch("glm", engine, name, serve, model, PYTHON).arguments)


def value(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


@pytest.mark.parametrize(
    ("engine", "architecture", "weights"),
    [
        (TURBOMIND, QWEN2, "none"), (TURBOMIND, QWEN2, "awq"), (TURBOMIND, LLAMA, "none"), (TURBOMIND, LLAMA, "awq"), (TURBOMIND, QWEN2, "gptq"),
        (PYTORCH, QWEN2, "none"), (PYTORCH, QWEN2, "awq"), (PYTORCH, QWEN2, "w8a8"), (PYTORCH, LLAMA, "none"), (PYTORCH, LLAMA, "awq"),
        (PYTORCH, LLAMA, "w8a8"), (PYTORCH, GEMMA2, "none"), (VLLM, QWEN2, "awq"), (VLLM, LLAMA, "none"), (VLLM, GEMMA2, "compressed-tensors"),
        (VLLM, GLM, "none"), (VLLM, GLM, "compressed-tensors"), (VLLM, GLM, "fp8"), (VLLM, QWEN2, "gptq"),
    ],
)  # fmt: skip
def test_what_an_engine_serves_gets_its_flags(engine: Engine, architecture: str, weights: str) -> None:
    arguments = launch(engine, architecture, weights)
    if engine is VLLM:
        assert arguments[:5] == [str(PYTHON), "-m", "vllm.entrypoints.cli.main", "serve", "/models/m"]
        assert value(arguments, "--served-model-name") == "judge"
        assert value(arguments, "--generation-config") == "vllm"
        assert (value(arguments, "--host"), value(arguments, "--port")) == ("127.0.0.1", "23333")
        return
    assert arguments[:6] == [str(PYTHON), "-m", "lmdeploy", "serve", "api_server", "/models/m"]
    assert value(arguments, "--backend") == ("turbomind" if engine is TURBOMIND else "pytorch")
    assert value(arguments, "--generation-config") == "lmdeploy"
    assert value(arguments, "--model-name") == "judge"
    # The engine that lacks a flag stops at it: only TurboMind takes the format, only PyTorch the mode.
    assert ("--logprobs-mode" in arguments) == (engine is PYTORCH)
    assert ("--model-format" in arguments) == (engine is TURBOMIND and weights != "none")
    assert ("--enable-prefix-caching" in arguments) == (architecture != GEMMA2)


@pytest.mark.parametrize(
    ("engine", "architecture", "weights", "said"),
    [
        (TURBOMIND, GEMMA2, "none", "engine: lmdeploy-pytorch"),
        (TURBOMIND, GLM, "none", "engine: vllm"),
        (TURBOMIND, "SomethingForCausalLM", "none", "no SomethingForCausalLM"),
        (PYTORCH, GLM, "none", "engine: vllm"),
        (VLLM, CHATGLM, "none", "engine: lmdeploy-pytorch"),
        (TURBOMIND, QWEN2, "w8a8", "engine: lmdeploy-pytorch"),
        (VLLM, QWEN2, "w8a8", "engine: lmdeploy-pytorch"),
        (PYTORCH, QWEN2, "gptq", "engine: lmdeploy-turbomind"),
        (PYTORCH, CHATGLM, "none", "trust_remote_code"),
        (PYTORCH, INTERNLM2, "none", "which converts it"),
    ],
)
def test_what_an_engine_cannot_serve_is_refused_with_the_way_out(engine: Engine, architecture: str, weights: str, said: str) -> None:
    with pytest.raises(JudgeError) as caught:
        launch(engine, architecture, weights)
    assert said in str(caught.value)


def test_the_original_glm_layout_is_served_by_pytorch_when_its_code_is_trusted() -> None:
    assert "--trust-remote-code" in launch(PYTORCH, CHATGLM, trust_remote_code=True)


def test_an_architecture_that_is_not_known_is_left_to_the_engine() -> None:
    assert launch(PYTORCH, "Qwen9ForCausalLM")
    assert launch(VLLM, "Qwen9ForCausalLM")


@pytest.mark.parametrize(
    ("cache", "policy", "dtype"), [("int8", "8", "int8_per_token_head"), ("int4", "4", "int4_per_token_head"), ("fp8", "16", "fp8")]
)
def test_the_cache_of_keys_and_values_is_quantized(cache: str, policy: str, dtype: str) -> None:
    assert value(launch(PYTORCH, GEMMA2, kv_cache=cache), "--quant-policy") == policy
    assert value(launch(VLLM, GLM, kv_cache=cache), "--kv-cache-dtype") == dtype
    if cache == KvCache.FP8:
        with pytest.raises(JudgeError, match="no fp8 cache"):
            launch(TURBOMIND, QWEN2, kv_cache=cache)
    else:
        assert value(launch(TURBOMIND, QWEN2, kv_cache=cache), "--quant-policy") == policy


def test_cards_lengths_and_shares_go_where_each_engine_wants_them() -> None:
    options = {"tensor_parallel": 2, "devices": "2,3", "session_length": 4096, "max_batch_size": 64, "memory_share": 0.5}
    serve = ServeOptions.model_validate({"model": "m", "extra_arguments": ["--log-level", "INFO"], **options})
    made = build_launch("glm", TURBOMIND, "judge", serve, ServedModel("/m", QWEN2), PYTHON)
    arguments = list(made.arguments)
    assert made.environment == {"CUDA_VISIBLE_DEVICES": "2,3"}
    assert [value(arguments, flag) for flag in ("--tp", "--session-len", "--max-batch-size", "--cache-max-entry-count")] == [
        "2",
        "4096",
        "64",
        "0.5",
    ]
    assert arguments[-2:] == ["--log-level", "INFO"]
    arguments = launch(VLLM, QWEN2, **options)
    flags = ("--tensor-parallel-size", "--max-model-len", "--max-num-seqs", "--gpu-memory-utilization")
    assert [value(arguments, flag) for flag in flags] == ["2", "4096", "64", "0.5"]


# Adapters


def adapter(folder: Path, **changes: Any) -> Path:
    """Write an adapter as peft 0.21 does: with keys that peft 0.14 does not know."""
    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA", "r": 12, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", "bias": "none",
        "use_dora": False, "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "lora_dropout": 0.1,
        "base_model_name_or_path": "Qwen/Qwen2-7B-Instruct", "peft_version": "0.21.2", "corda_config": None, "use_qalora": False, "arrow_config": None,
        "target_parameters": None, "trainable_token_indices": None, "ensure_weight_tying": False, **changes,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def test_adapters_go_by_name_and_the_base_model_keeps_its_own(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "fluency")
    arguments = launch(PYTORCH, QWEN2, name="fluency", adapters={"fluency": folder, "second": folder})
    assert value(arguments, "--model-name") == "glm-base"
    assert arguments[arguments.index("--adapters") + 1 :] == [f"fluency={folder}", f"second={folder}"]
    arguments = launch(VLLM, GLM, name="fluency", adapters={"fluency": folder})
    assert "--enable-lora" in arguments
    assert value(arguments, "--max-lora-rank") == "16"  # vLLM knows 8 and 16, the adapter has 12
    assert value(arguments, "--lora-modules") == f"fluency={folder}"
    with pytest.raises(JudgeError, match="merge the adapter"):
        launch(TURBOMIND, QWEN2, adapters={"fluency": folder})


def test_the_copy_for_lmdeploy_has_the_keys_of_peft_0_14_alone(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "new")
    copy = clean_adapter(folder, tmp_path / "copy")
    assert clean_adapter(folder, copy) == copy  # again over the old one
    kept = json.loads((copy / "adapter_config.json").read_text())
    for unknown in (
        "peft_version",
        "corda_config",
        "use_qalora",
        "arrow_config",
        "target_parameters",
        "trainable_token_indices",
        "ensure_weight_tying",
    ):
        assert unknown not in kept
    assert (kept["r"], kept["lora_alpha"], kept["target_modules"]) == (12, 32, ["q_proj", "v_proj"])
    assert (copy / "adapter_model.safetensors").read_bytes() == b"weights"
    assert "peft_version" in json.loads((folder / "adapter_config.json").read_text())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_rslora": True}, "rsLoRA"), ({"use_dora": True}, "DoRA"), ({"rank_pattern": {"q_proj": 4}}, "different ranks"),
        ({"target_modules": "all-linear"}, "a pattern"), ({"modules_to_save": ["lm_head"]}, "whole modules"), ({"peft_type": "IA3"}, "IA3"),
        ({"bias": "all"}, "biases"),
    ],
)  # fmt: skip
def test_an_adapter_that_lmdeploy_would_apply_wrongly_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "odd", **changes)
    with pytest.raises(JudgeError, match=said):
        clean_adapter(folder, tmp_path / "copy")
    with pytest.raises(JudgeError, match="Merge it into the model"):
        launch(PYTORCH, QWEN2, adapters={"odd": folder})


def test_what_is_no_adapter_is_told(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="is no LoRA adapter"):
        clean_adapter(tmp_path, tmp_path / "copy")
    folder = adapter(tmp_path / "broken", r="many")
    with pytest.raises(JudgeError, match="r: "):
        clean_adapter(folder, tmp_path / "copy")


# Keys, shells, configurations


@pytest.mark.parametrize("engine", [PYTORCH, VLLM])
def test_a_key_is_passed_on_but_never_shown(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", "very-secret")
    serve = ServeOptions(model="/models/my model")
    made = build_launch("glm", engine, "judge", serve, ServedModel("/models/my model", QWEN2), PYTHON, api_key_env="SERVER_KEY")
    assert "very-secret" in made.arguments or "very-secret" in made.environment.values()
    assert "very-secret" not in made.shell()
    assert '"$SERVER_KEY"' in made.shell()
    assert "'/models/my model'" in made.shell()


def test_the_printed_command_is_what_runs() -> None:
    made = build_launch("glm", PYTORCH, "judge", ServeOptions(model="m"), ServedModel("/a b", QWEN2), PYTHON)
    assert tuple(shlex.split(made.shell())) == made.arguments


@pytest.mark.parametrize(
    ("quantization", "found"),
    [
        (None, "none"), ({"quant_method": "awq", "bits": 4}, "awq"), ({"quant_method": "smooth_quant"}, "w8a8"), ({"quant_method": "gptq"}, "gptq"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"), ({"quant_method": "fp8"}, "fp8"),
    ],
)  # fmt: skip
def test_architecture_and_weights_are_read_from_the_checkpoint(quantization: Any, found: str, tmp_path: Path) -> None:
    config = {"architectures": [QWEN2], "hidden_size": 8} | ({"quantization_config": quantization} if quantization else {})
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert read_served_model(tmp_path) == ServedModel(str(tmp_path), QWEN2, WeightFormat(found))
    assert read_served_model(tmp_path, WeightFormat(found)).weights == found
    other = WeightFormat.AWQ if found != "awq" else WeightFormat.NONE
    with pytest.raises(JudgeError, match=f"write {found} or auto"):
        read_served_model(tmp_path, other)


def test_a_folder_without_a_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match=r"config\.json cannot be read"):
        read_served_model(tmp_path)


# The engines' own parsers, where they are installed (./run.sh setup lmdeploy, ./run.sh setup vllm)


@pytest.mark.parametrize("engine", [PYTORCH, TURBOMIND, VLLM])
def test_the_engines_own_parser_knows_every_flag(engine: Engine, tmp_path: Path) -> None:
    settings = load_settings()
    python = settings.vllm_python if engine is VLLM else settings.lmdeploy_python
    if not python.is_file():
        pytest.skip(f"{engine} is not installed in {python}")
    folder = adapter(tmp_path / "a")
    options: dict[str, Any] = {
        "kv_cache": "int8",
        "tensor_parallel": 2,
        "trust_remote_code": True,
        "revision": "main",
        "model": "owner/name",
    }
    if engine is not TURBOMIND:
        options["adapters"] = {"a": folder}
    weights = "awq" if engine is TURBOMIND else "none"
    serve = ServeOptions.model_validate(options)
    made = build_launch("glm", engine, "judge", serve, ServedModel("owner/name", QWEN2, WeightFormat(weights)), python, api_key_env="HOME")
    command = [*made.arguments[: made.arguments.index("owner/name")], "--help=all" if engine is VLLM else "--help"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    flags = {argument for argument in made.arguments if argument.startswith("--")}
    assert {flag for flag in flags if not re.search(rf"{flag}\b", text)} == set()


# What is wrong is told in both languages


def refused(
    folder: Path, *, weights: str = "none", engine: Engine = PYTORCH, architecture: str = QWEN2, **options: Any
) -> tuple[list[str], list[str]]:
    """Return the lines of reasons in English and in Chinese, which are equally many."""
    with pytest.raises(JudgeError) as caught:
        launch(engine, architecture, weights, **options)
    en, zh = (caught.value.messages[language].splitlines()[1:] for language in ("en", "zh"))
    assert len(en) == len(zh)
    return en, zh


@pytest.mark.parametrize(
    ("engine", "architecture", "weights", "options", "zh"),
    [
        (TURBOMIND, GEMMA2, "none", {}, "不支持 Gemma2ForCausalLM，请写 `engine: lmdeploy-pytorch`"),
        (TURBOMIND, "SomethingForCausalLM", "none", {}, "请写 `engine: vllm` 或 lmdeploy-pytorch"),
        (VLLM, QWEN2, "w8a8", {}, "不支持 w8a8 权重，请写 `engine: lmdeploy-pytorch`"),
        (PYTORCH, CHATGLM, "none", {}, "请改用 glm-4-9b-chat-hf 与 vLLM，或设置 `trust_remote_code: true`"),
        (PYTORCH, INTERNLM2, "none", {}, "请用 ./run.sh models fetch 重新下载（会自动转换）"),
        (TURBOMIND, QWEN2, "none", {"kv_cache": "fp8"}, "TurboMind 没有 fp8 缓存"),
        (TURBOMIND, QWEN2, "none", {"adapters": {"a": "/a"}}, "TurboMind 不支持适配器，请先合并到模型"),
    ],
)
def test_each_reason_is_told_in_chinese_too(
    engine: Engine, architecture: str, weights: str, options: dict[str, Any], zh: str, tmp_path: Path
) -> None:
    (_,), (said,) = refused(tmp_path, engine=engine, architecture=architecture, weights=weights, **options)
    assert zh in said


def test_all_reasons_come_at_once(tmp_path: Path) -> None:
    odd = adapter(tmp_path / "odd", use_dora=True, bias="all", target_modules="all-linear", modules_to_save=["lm_head", "embed"])
    en, zh = refused(tmp_path, engine=PYTORCH, architecture=CHATGLM, weights="gptq", adapters={"odd": odd, "none": tmp_path})
    assert len(en) == 4  # code of its own, weights, and each adapter
    assert "it uses DoRA; it replaces whole modules (lm_head, embed); it trains biases; its target_modules are a pattern" in en[2]
    assert "使用了 DoRA；替换了整个模块（lm_head, embed）；训练了偏置；target_modules 是模式（all-linear）而不是列表" in zh[2]
    assert "不是 LoRA 适配器：缺少" in zh[3]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_configuration_that_cannot_be_read_says_what_is_wrong_with_it(content: bytes, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "broken")
    (folder / "adapter_config.json").write_bytes(content)
    with pytest.raises(JudgeError, match=r"is no configuration of a LoRA adapter: \w.*\.$") as caught:
        clean_adapter(folder, tmp_path / "copy")
    assert re.search(r"不是 LoRA 适配器的配置：\w.*。$", caught.value.messages["zh"])
    assert not (tmp_path / "copy").exists()
    (folder / "config.json").write_bytes(content)
    with pytest.raises(JudgeError, match=r"config\.json cannot be read") as caught:
        read_served_model(folder)
    assert "读作模型配置" in caught.value.messages["zh"]


def test_the_copy_of_an_adapter_takes_the_place_of_one_whose_weights_are_gone(tmp_path: Path) -> None:
    first, second = adapter(tmp_path / "first"), adapter(tmp_path / "second")
    (second / "adapter_model.safetensors").write_bytes(b"newer")
    copy = clean_adapter(first, tmp_path / "copy")
    (first / "adapter_model.safetensors").unlink()  # the link now leads nowhere
    assert (clean_adapter(second, copy) / "adapter_model.safetensors").read_bytes() == b"newer"


@pytest.mark.parametrize(("rank", "room"), [(1, "1"), (8, "8"), (9, "16"), (65, "128"), (512, "512")])
def test_vllm_makes_room_for_the_largest_adapter(rank: int, room: str, tmp_path: Path) -> None:
    folders = {"small": adapter(tmp_path / "small", r=1), "large": adapter(tmp_path / "large", r=rank)}
    arguments = launch(VLLM, GLM, adapters=folders)
    assert (value(arguments, "--max-lora-rank"), value(arguments, "--max-loras")) == (room, "2")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_server_that_listens_everywhere_is_asked_on_this_machine(host: str) -> None:
    made = build_launch("glm", VLLM, "judge", ServeOptions(model="m", host=host, port=8001), ServedModel("/m", QWEN2), PYTHON)
    assert made.url == "http://127.0.0.1:8001"
    assert value(list(made.arguments), "--host") == host


def test_a_revision_is_for_models_of_a_hub_alone(tmp_path: Path) -> None:
    serve = ServeOptions(model="m", revision="v2")
    for engine in (PYTORCH, TURBOMIND, VLLM):
        arguments = list(build_launch("q", engine, "judge", serve, ServedModel("owner/name", QWEN2), PYTHON).arguments)
        assert value(arguments, "--revision") == "v2"
        assert "--revision" not in build_launch("q", engine, "judge", serve, ServedModel(str(tmp_path), QWEN2), PYTHON).arguments


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("tensor_parallel", 3),
        ("tensor_parallel", 16),
        ("devices", "0,"),
        ("devices", "all"),
        ("port", 0),
        ("memory_share", 1),
        ("session_length", 10),
    ],
)
def test_options_that_no_engine_takes_are_refused(name: str, wrong: object) -> None:
    with pytest.raises(ValidationError, match=name):
        ServeOptions.model_validate({"model": "m", name: wrong})


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a=b", "a\tb"])
def test_an_adapters_name_must_stand_on_a_command_line(name: str) -> None:
    with pytest.raises(ValidationError, match="no blanks, slashes or equals signs"):
        ServeOptions.model_validate({"model": "m", "adapters": {name: "/a"}})
