"""The quantize job: lmdeploy's lite, run by lmdeploy's own interpreter on the snapshot's prompts, and checked afterwards."""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import JobError
from core.judging.serving.options import Engine
from core.judging.transformers.chat import PromptEncoder
from core.judging.transformers.load import load_weights
from core.judging.transformers.options import Precision
from core.judging.transformers.weights import read_config
from core.judging.weights import weight_bytes
from core.training import EventKind, Split, Stage
from training.base import plain_options, refuse_quantized
from training.context import JobContext, Product, Stopped
from training.files import whole_folder
from training.probes import distance, next_tokens, probe_prompts
from training.rows import prompt, read_rows
from training.specs import QuantizeMethod, QuantizeSpec

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

RUNNER = Path(__file__).with_name("lite_runner.py")
LITE_LOG, PLAN, CALIBRATION = "lite.log", "plan.json", "calibration.json"
# Layers that lite knows (read in lmdeploy 0.18.0) among those that Pingpan's panels have.
COVERED = frozenset({"Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM"})
# The reference pipeline's own.
BATCH_SIZES = {QuantizeMethod.AWQ: 8, QuantizeMethod.W8A8: 10}
STAGES = {QuantizeMethod.AWQ: Stage.AWQ, QuantizeMethod.W8A8: Stage.W8A8}
DTYPES = {Precision.FP16: "float16", Precision.BF16: "bfloat16"}
POLL_S = 0.5
LAYER = re.compile(r"layers\.(\d+)(?:\.\S+)?(?:, samples: | smooth weight done| weight (packed|skipped))")
# Environment that would lead lmdeploy's interpreter to packages that are not its own.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def quantize(spec: QuantizeSpec, context: JobContext) -> Product:
    """Do a quantize job. Raises JobError for architectures that lite lacks, a missing lmdeploy, and spoiled weights."""
    check(spec)
    device = _device(spec)
    settings = json.loads((spec.model / "config.json").read_text(encoding="utf-8"))
    layers = int(settings.get("num_hidden_layers", 1))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    target = context.output / "model"
    with whole_folder(target) as folder:
        plan = _plan(spec, folder, device, tokenizer, str(settings["model_type"]), context)
        _run(spec, plan, layers, context)
        for path in folder.glob("*.pth"):
            path.unlink()  # statistics of the calibration: of no use to a judge
        drift = _check(spec, folder, tokenizer)
    before, after = weight_bytes(spec.model), weight_bytes(target)
    words = {
        "en": f"{before / 1e9:.2f} GB became {after / 1e9:.2f} GB; distance of the next token's distribution {drift:.4f}.",
        "zh": f"{before / 1e9:.2f} GB 变为 {after / 1e9:.2f} GB；下一词元分布的距离为 {drift:.4f}。",
    }
    figures = {"drift": drift, "bytes_before": float(before), "bytes": float(after)}
    context.report(EventKind.NOTE, message=words, figures=figures)
    return Product(STAGES[spec.method], "server", serve_options(spec, target), target)


def serve_options(spec: QuantizeSpec, target: Path) -> dict[str, object]:
    """Return what a panel's line says of the quantized model: W8A8 is served by lmdeploy's PyTorch engine alone, AWQ by TurboMind too.

    TurboMind gives no probabilities of several labels, so the PyTorch engine serves both.
    """
    return {
        "model": f"pingpan-{target.parent.parent.name}",
        "engine": Engine.LMDEPLOY_PYTORCH.value,
        "tokenizer": str(target),
        "serve": {"model": str(target), "weights": "awq" if spec.method is QuantizeMethod.AWQ else "w8a8"},
    }


def check(spec: QuantizeSpec) -> None:
    """Raise JobError for what cannot be quantized, and where lmdeploy is missing."""
    if not (spec.model / "config.json").is_file():
        raise JobError(
            f"{spec.model} holds no config.json; name a merged model.", zh=f"{spec.model} 中没有 config.json，请填写合并后的模型。"
        )
    refuse_quantized(spec.model)
    architecture = next(iter(read_config(spec.model).get("architectures") or ["unknown"]))
    if architecture not in COVERED:
        raise _uncovered(architecture)
    if not spec.lmdeploy_python.is_file():
        raise JobError(
            f"{spec.lmdeploy_python} is no interpreter. Run ./run.sh setup lmdeploy, or name lmdeploy's interpreter in PINGPAN_LMDEPLOY_PYTHON.",
            zh=f"找不到解释器 {spec.lmdeploy_python}。请运行 ./run.sh setup lmdeploy，或在 PINGPAN_LMDEPLOY_PYTHON 中填写 lmdeploy 的解释器。",
        )


def _uncovered(architecture: str) -> JobError:
    return JobError(
        f"lmdeploy's lite cannot quantize {architecture} (it covers {', '.join(sorted(COVERED))}). Instead: keep the merged 16-bit model and "
        "serve it with `kv_cache: int8`, judge with `quantization: 8bit` of the transformers family (bitsandbytes), or quantize with "
        "llm-compressor (AWQ) and serve that with vLLM.",
        zh=f"lmdeploy lite 不支持量化 {architecture}（支持 {'、'.join(sorted(COVERED))}）。可改为：保留合并后的 16 位模型并以 kv_cache: int8 "
        "提供服务；或用 transformers 类评委的 quantization: 8bit（bitsandbytes）；或用 llm-compressor 做 AWQ 量化后由 vLLM 提供服务。",
    )


def _device(spec: QuantizeSpec) -> str:
    import torch

    if spec.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return spec.device


def calibration_windows(rows: Sequence[Sequence[int]], samples: int, length: int, seed: int) -> list[list[int]]:
    """Return at most `samples` windows of equal length, cut from all rows laid end to end in a random order.

    Short of tokens for one window, there is one of what there is.
    """
    order = list(rows)
    random.Random(f"calibration-{seed}").shuffle(order)
    joined: list[int] = []
    for row in order:
        joined += row
        if len(joined) >= samples * length:
            break
    length = min(length, len(joined))
    return [joined[start : start + length] for start in range(0, len(joined) - length + 1, length)][:samples]


def _plan(spec: QuantizeSpec, folder: Path, device: str, tokenizer: Any, model_type: str, context: JobContext) -> Path:
    """Write what the runner is to do, and return the plan's path."""
    calibration = ""
    samples = spec.calib_samples
    if samples:
        rows = read_rows(spec.snapshot, Split.TRAIN)
        if not rows:
            raise JobError(f"{spec.snapshot} has no training rows to calibrate on.", zh=f"训练集 {spec.snapshot} 没有可用于校准的训练行。")
        windows = calibration_windows(
            PromptEncoder(tokenizer, model_type).encode([prompt(row) for row in rows]), samples, spec.calib_seqlen, spec.seed
        )
        samples = len(windows)
        calibration = str(context.checkpoints / CALIBRATION)
        Path(calibration).write_text(json.dumps(windows), encoding="utf-8")
        words = {
            "en": f"Calibrating on {samples} windows of {len(windows[0])} tokens of the snapshot's own prompts.",
            "zh": f"用训练集自己的提示词校准：{samples} 段，每段 {len(windows[0])} 个词元。",
        }
        context.report(EventKind.NOTE, message=words)
    arguments: dict[str, object] = {
        "model": str(spec.model),
        "work_dir": str(folder),
        "calib_samples": samples,
        "calib_seqlen": spec.calib_seqlen,
        "batch_size": spec.batch_size or BATCH_SIZES[spec.method],
        "dtype": DTYPES.get(spec.dtype, "float16" if device == "cpu" else "auto"),
        "device": device,
    }
    if spec.method is QuantizeMethod.AWQ:
        arguments |= {"w_bits": spec.w_bits, "w_group_size": spec.w_group_size, "search_scale": spec.search_scale}
    record = {"method": spec.method.value, "parent": os.getpid(), "calibration": calibration, "arguments": arguments}
    path = context.checkpoints / PLAN
    path.write_text(json.dumps(record, indent=2), encoding="utf-8")
    return path


def _run(spec: QuantizeSpec, plan: Path, layers: int, context: JobContext) -> None:
    """Run lite to its end, telling how far it is. Raises Stopped when asked to stop, and JobError when it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    output = context.folder / LITE_LOG
    command = [str(spec.lmdeploy_python), "-P", str(RUNNER), str(plan)]
    with output.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment) as process:
        try:
            seen = 0
            for text in _followed(output, process):
                done = progress(text, layers)
                if done > seen:
                    seen = done
                    context.report(EventKind.PROGRESS, done, 3 * layers)
                if context.stop_requested():
                    raise Stopped
        finally:
            if process.poll() is None:
                process.kill()
    log.info("lite:\n%s", output.read_text(encoding="utf-8", errors="replace")[-4000:])
    if process.returncode:
        raise _failed(spec, output)


def _followed(output: Path, process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield all that the process wrote so far, again and again until it ends."""
    while process.poll() is None:
        time.sleep(POLL_S)
        yield output.read_text(encoding="utf-8", errors="replace")


def progress(text: str, layers: int) -> int:
    """Return how many of three passes over the layers (calibrate, smooth, round) lite's output tells of, in layers."""
    reached = 0
    for match in LAYER.finditer(text):
        stage = 0 if "samples" in match.group(0) else 1 if "smooth" in match.group(0) else 2
        reached = max(reached, stage * layers + int(match.group(1)) + 1)
    return reached


def _failed(spec: QuantizeSpec, output: Path) -> JobError:
    lines = [line for line in output.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    if "No module named" in last:
        return JobError(
            f"{spec.lmdeploy_python} cannot run lmdeploy ({last}). Run ./run.sh setup lmdeploy.",
            zh=f"{spec.lmdeploy_python} 无法运行 lmdeploy（{last}）。请运行 ./run.sh setup lmdeploy。",
        )
    if "out of memory" in last.lower():
        return JobError(
            f"lmdeploy's lite ran out of memory ({last}). Lower calib_samples, calib_seqlen or batch_size, or set device cpu.",
            zh=f"lmdeploy lite 内存不足（{last}）。请减小 calib_samples、calib_seqlen 或 batch_size，或设置 device: cpu。",
        )
    return JobError(f"lmdeploy's lite failed: {last}. All of its output: {output}", zh=f"lmdeploy lite 失败：{last}。完整输出见 {output}")


def _check(spec: QuantizeSpec, folder: Path, tokenizer: Any) -> float:
    """Return how far the quantized model is from the merged one on a few prompts. Raises JobError when it answers no numbers."""
    import torch

    prompts = probe_prompts()
    device, dtype = ("cuda", torch.float16) if torch.cuda.is_available() and spec.device != "cpu" else ("cpu", torch.float32)
    answers: list[Tensor] = []
    for path in (spec.model, folder):
        model = load_weights(path, plain_options(str(path)), device, dtype)
        answers.append(next_tokens(model, tokenizer, prompts))
        del model
        gc.collect()
    if not bool(torch.isfinite(answers[1]).all()):
        raise JobError(
            "The quantized model answers with what is no number, as fine-tuned Qwen2 sometimes does in fp16 (lmdeploy issue 1810). "
            "Try dtype bf16 on a card, search_scale, or smooth_quant.",
            zh="量化后的模型输出不是数字（微调后的 Qwen2 在 fp16 下偶有此情况，见 lmdeploy 1810）。请在显卡上用 dtype bf16，或打开 search_scale，或改用 smooth_quant。",
        )
    return distance(*answers)
