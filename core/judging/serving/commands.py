"""The command line that starts a model server, with the right flags for architecture, weights and engine.

Checked against the argument parsers and model tables of lmdeploy 0.18.0 and vLLM 0.32.0. What they do silently is
refused here in words: TurboMind changes to the PyTorch engine for an architecture that it lacks or for W8A8 weights,
and then gives no log-probabilities. The PyTorch engine gets no `--model-format`: it reads AWQ and W8A8 from the checkpoint, only
warns where the flag says the same, and stops where the checkpoint is not quantized.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import JudgeError
from core.judging.serving.adapters import check_adapter, read_rank
from core.judging.serving.options import Engine, KvCache, ServeOptions, WeightFormat
from core.types import LocalText, said

QWEN2, LLAMA, INTERNLM2, GEMMA2 = "Qwen2ForCausalLM", "LlamaForCausalLM", "InternLM2ForCausalLM", "Gemma2ForCausalLM"
GLM_HF = "GlmForCausalLM"
# The original layout of GLM-4 goes by two names, an older and a newer one.
GLM_ORIGINAL = frozenset({"ChatGLMModel", "ChatGLMForConditionalGeneration"})
# Of the architectures that Pingpan's panels use; another one is left to the engine, which says so itself where it lacks it.
KNOWN = frozenset({QWEN2, LLAMA, INTERNLM2, GEMMA2, GLM_HF}) | GLM_ORIGINAL
SERVED: Mapping[Engine, frozenset[str]] = {
    Engine.LMDEPLOY_TURBOMIND: frozenset({QWEN2, LLAMA, INTERNLM2}),
    Engine.LMDEPLOY_PYTORCH: frozenset({QWEN2, LLAMA, INTERNLM2, GEMMA2}) | GLM_ORIGINAL,
    Engine.VLLM: frozenset({QWEN2, LLAMA, INTERNLM2, GEMMA2, GLM_HF}),
}
OWN_CODE = GLM_ORIGINAL | {INTERNLM2}
WEIGHTS: Mapping[Engine, frozenset[WeightFormat]] = {
    Engine.LMDEPLOY_TURBOMIND: frozenset(
        {WeightFormat.NONE, WeightFormat.AWQ, WeightFormat.GPTQ, WeightFormat.FP8, WeightFormat.COMPRESSED}
    ),
    Engine.LMDEPLOY_PYTORCH: frozenset({WeightFormat.NONE, WeightFormat.AWQ, WeightFormat.W8A8, WeightFormat.FP8, WeightFormat.COMPRESSED}),
    Engine.VLLM: frozenset({WeightFormat.NONE, WeightFormat.AWQ, WeightFormat.GPTQ, WeightFormat.FP8, WeightFormat.COMPRESSED}),
}
METHODS: Mapping[str, WeightFormat] = {
    "awq": WeightFormat.AWQ,
    "gptq": WeightFormat.GPTQ,
    "smooth_quant": WeightFormat.W8A8,
    "fp8": WeightFormat.FP8,
    "compressed-tensors": WeightFormat.COMPRESSED,
}
QUANT_POLICY: Mapping[KvCache, str] = {KvCache.INT4: "4", KvCache.INT8: "8", KvCache.FP8: "16"}
VLLM_CACHE: Mapping[KvCache, str] = {KvCache.INT4: "int4_per_token_head", KvCache.INT8: "int8_per_token_head", KvCache.FP8: "fp8"}
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


class _Quantization(BaseModel):
    model_config = ConfigDict(extra="ignore")

    quant_method: str = ""


class _ModelConfig(BaseModel):
    model_config = ConfigDict(extra="ignore")

    architectures: list[str] = Field(default_factory=list)
    quantization_config: _Quantization | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a server is to load: folder or hub id, architecture ("" when it is not known yet) and weight format."""

    path: str
    architecture: str = ""
    weights: WeightFormat = WeightFormat.NONE


@dataclass(frozen=True, slots=True)
class Launch:
    """A server's command line, what it adds to the environment, and the address that it will have.

    `secrets` maps arguments that must not be shown to the environment variable that they came from.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    url: str
    secrets: Mapping[str, str] = field(default_factory=dict)

    def shell(self) -> str:
        """Return the command as one types it, keys written as the variables that hold them."""
        shown = [f'"${self.secrets[argument]}"' if argument in self.secrets else shlex.quote(argument) for argument in self.arguments]
        extra = [
            f"{name}=" + (f'"${self.secrets[value]}"' if value in self.secrets else shlex.quote(value))
            for name, value in self.environment.items()
        ]
        return " ".join([*extra, *shown])


def read_served_model(folder: Path, weights: WeightFormat = WeightFormat.AUTO) -> ServedModel:
    """Return what a model folder's config.json says. Raises JudgeError when it cannot be read or contradicts `weights`."""
    path = folder / "config.json"
    try:
        config = _ModelConfig.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise JudgeError(f"{path} cannot be read as a model's configuration: {error}", zh=f"无法把 {path} 读作模型配置：{error}") from error
    method = config.quantization_config.quant_method if config.quantization_config else ""
    found = METHODS.get(method, WeightFormat.NONE)
    if weights not in (WeightFormat.AUTO, found):
        raise JudgeError(
            f"{folder} holds {found} weights, but the panel file says `weights: {weights}`; write {found} or auto.",
            zh=f"{folder} 的权重格式是 {found}，而评委组文件写的是 {weights}；请改为 {found} 或 auto。",
        )
    return ServedModel(str(folder), config.architectures[0] if config.architectures else "", found)


def build_launch(
    judge_id: str,
    engine: Engine,
    name: str,
    options: ServeOptions,
    model: ServedModel,
    python: Path,
    *,
    api_key_env: str = "",
    adapters: Mapping[str, Path] | None = None,
) -> Launch:
    """Return the launch of a judge's server. `name` is the model's served name, or that of one of the adapters.

    `adapters` replaces the folders of the options' adapters (cleaned copies for lmdeploy). Raises JudgeError with
    every reason why this engine cannot serve this model so.
    """
    faults = list(_faults(engine, options, model))
    if faults:
        raise JudgeError(
            f"Judge {judge_id!r}: {engine} cannot serve this:\n  " + "\n  ".join(said(fault, "en") for fault in faults),
            zh=f"评委 {judge_id!r}：{engine} 无法这样提供服务：\n  " + "\n  ".join(said(fault, "zh") for fault in faults),
        )
    base = f"{judge_id}-base" if name in options.adapters else name
    folders = {key: str(path) for key, path in (adapters or options.adapters).items()}
    build = _vllm if engine is Engine.VLLM else _lmdeploy
    arguments = [str(python), *build(engine, base, options, model, folders), *options.extra_arguments]
    environment = {"CUDA_VISIBLE_DEVICES": options.devices} if options.devices else {}
    key = os.environ.get(api_key_env, "") if api_key_env else ""
    if api_key_env:
        if engine is Engine.VLLM:
            environment["VLLM_API_KEY"] = key
        else:
            arguments += ["--api-keys", key]
    host = "127.0.0.1" if options.host in {"0.0.0.0", "::"} else options.host
    return Launch(tuple(arguments), environment, f"http://{host}:{options.port}", {key: api_key_env} if api_key_env else {})


def _faults(engine: Engine, options: ServeOptions, model: ServedModel) -> Iterator[LocalText]:
    known = model.architecture in KNOWN or (engine is Engine.LMDEPLOY_TURBOMIND and model.architecture)
    if known and model.architecture not in SERVED[engine]:
        others = [f"`engine: {other}`" for other, served in SERVED.items() if model.architecture in served]
        en, zh = (others[0], others[0]) if others else ("`engine: vllm` or lmdeploy-pytorch", "`engine: vllm` 或 lmdeploy-pytorch")
        yield {"en": f"it has no {model.architecture}; write {en}", "zh": f"不支持 {model.architecture}，请写 {zh}"}
    if model.architecture in OWN_CODE and not options.trust_remote_code:
        en, zh = (
            ("fetch it again with ./run.sh models fetch, which converts it", "请用 ./run.sh models fetch 重新下载（会自动转换）")
            if model.architecture == INTERNLM2
            else ("use glm-4-9b-chat-hf with vLLM", "请改用 glm-4-9b-chat-hf 与 vLLM")
        )
        yield {
            "en": f"{model.architecture} runs code that comes with the checkpoint; {en}, or set `trust_remote_code: true`",
            "zh": f"{model.architecture} 会运行检查点自带的代码；{zh}，或设置 `trust_remote_code: true`",
        }
    if model.weights not in WEIGHTS[engine]:
        fitting = next(other for other, formats in WEIGHTS.items() if model.weights in formats)
        yield {
            "en": f"it has no {model.weights} weights; write `engine: {fitting}`",
            "zh": f"不支持 {model.weights} 权重，请写 `engine: {fitting}`",
        }
    if engine is Engine.LMDEPLOY_TURBOMIND and options.kv_cache is KvCache.FP8:
        yield {"en": "TurboMind keeps no fp8 cache; write `kv_cache: int8`", "zh": "TurboMind 没有 fp8 缓存，请写 `kv_cache: int8`"}
    if options.adapters and engine is Engine.LMDEPLOY_TURBOMIND:
        yield {
            "en": "TurboMind applies no adapters; merge the adapter into the model, or write `engine: lmdeploy-pytorch`",
            "zh": "TurboMind 不支持适配器，请先合并到模型，或写 `engine: lmdeploy-pytorch`",
        }
    if options.adapters and engine is Engine.LMDEPLOY_PYTORCH:
        for folder in options.adapters.values():
            try:
                check_adapter(folder.expanduser())
            except JudgeError as error:
                yield error.messages


def _lmdeploy(engine: Engine, name: str, options: ServeOptions, model: ServedModel, adapters: Mapping[str, str]) -> Iterator[str]:
    turbomind = engine is Engine.LMDEPLOY_TURBOMIND
    yield from ("-m", "lmdeploy", "serve", "api_server", model.path)
    yield from ("--backend", "turbomind" if turbomind else "pytorch", "--model-name", name)
    yield from ("--server-name", options.host, "--server-port", str(options.port))
    # The sampling defaults in a model's generation_config.json (a repetition penalty, a top_p) must not reach the scores.
    yield from ("--generation-config", "lmdeploy", "--session-len", str(options.session_length))
    yield from ("--max-batch-size", str(options.max_batch_size), "--cache-max-entry-count", str(options.memory_share))
    if not turbomind:
        yield from ("--logprobs-mode", "raw_logprobs")
    if turbomind and model.weights in {WeightFormat.AWQ, WeightFormat.GPTQ, WeightFormat.FP8}:
        yield from ("--model-format", model.weights.value)
    if options.kv_cache is not KvCache.NONE:
        yield from ("--quant-policy", QUANT_POLICY[options.kv_cache])
    if options.tensor_parallel > 1:
        yield from ("--tp", str(options.tensor_parallel))
    if options.prefix_caching and model.architecture != GEMMA2:
        yield "--enable-prefix-caching"
    if options.trust_remote_code:
        yield "--trust-remote-code"
    if options.revision and "/" in model.path and not Path(model.path).is_dir():
        yield from ("--revision", options.revision)
    if adapters:
        yield from ("--adapters", *(f"{key}={path}" for key, path in adapters.items()))


def _vllm(engine: Engine, name: str, options: ServeOptions, model: ServedModel, adapters: Mapping[str, str]) -> Iterator[str]:
    del engine
    yield from ("-m", "vllm.entrypoints.cli.main", "serve", model.path, "--served-model-name", name)
    yield from ("--host", options.host, "--port", str(options.port))
    yield from (
        "--generation-config",
        "vllm",
        "--max-model-len",
        str(options.session_length),
        "--max-num-seqs",
        str(options.max_batch_size),
    )
    yield from ("--gpu-memory-utilization", str(options.memory_share))
    if options.kv_cache is not KvCache.NONE:
        yield from ("--kv-cache-dtype", VLLM_CACHE[options.kv_cache])
    if options.tensor_parallel > 1:
        yield from ("--tensor-parallel-size", str(options.tensor_parallel))
    if not options.prefix_caching:
        yield "--no-enable-prefix-caching"
    if options.trust_remote_code:
        yield "--trust-remote-code"
    if options.revision and "/" in model.path and not Path(model.path).is_dir():
        yield from ("--revision", options.revision)
    if adapters:
        rank = max(read_rank(Path(path).expanduser()) for path in adapters.values())
        fitting = next((size for size in VLLM_RANKS if size >= rank), VLLM_RANKS[-1])
        yield from ("--enable-lora", "--max-lora-rank", str(fitting), "--max-loras", str(len(adapters)))
        yield from ("--lora-modules", *(f"{key}={path}" for key, path in adapters.items()))
