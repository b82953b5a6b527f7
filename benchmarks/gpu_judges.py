"""Measures the GPU judges: `python benchmarks/gpu_judges.py --help`.

    shapes   the four judges' real shapes with random weights: rows/s, share of the card's peak, naive ways, memory
    load     the same shapes written to disk as checkpoints, loaded by the judges' own loader, 2,750 rows each, in turn
    sheet    a real model on a real sheet, through the judge: rows/s from requests to judgements

Share of peak: 2 x (weights of the decoder layers' linear layers) x tokens, plus 4 x heads x head width x (query, key)
pairs x layers for attention, over seconds x peak. Tokens and pairs are those really computed: with a reused prefix the
prefix counts once. Embedding and output layer (last positions only) are left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.judging.transformers.scoring import RowScore, free_cached_memory, make_scorer

if TYPE_CHECKING:
    import torch

PREFIX_TOKENS = 341
MEAN_ROW_TOKENS = 547
LABELS = (16, 17, 18, 19, 20)
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2-7b": {
        "model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "intermediate_size": 18944, "vocab_size": 152064, "rope_theta": 1e6,
    },
    "gemma2-9b": {
        "model_type": "gemma2", "hidden_size": 3584, "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 256, "intermediate_size": 14336, "vocab_size": 256000, "query_pre_attn_scalar": 256, "sliding_window": 4096,
    },
    "glm4-9b": {
        "model_type": "glm", "hidden_size": 4096, "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 2,
        "head_dim": 128, "intermediate_size": 13696, "vocab_size": 151552, "attention_bias": True, "partial_rotary_factor": 0.5,
    },
    "internlm2.5-20b": {
        "model_type": "llama", "hidden_size": 6144, "num_hidden_layers": 48, "num_attention_heads": 48, "num_key_value_heads": 8,
        "intermediate_size": 16384, "vocab_size": 92544, "rope_theta": 5e7,
    },
    "qwen2-0.5b": {
        "model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "intermediate_size": 4864, "vocab_size": 151936, "rope_theta": 1e6, "tie_word_embeddings": True,
    },
}  # fmt: skip
PANEL = ("glm4-9b", "qwen2-7b", "internlm2.5-20b", "gemma2-9b")


@dataclass(frozen=True, slots=True)
class Work:
    """What a measurement computed."""

    tokens: int
    pairs: int


def build(shape: str, dtype: torch.dtype, device: str) -> Any:
    """Return the shape as a model with random weights, made on the device itself."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = dict(SHAPES[shape])
    config = AutoConfig.for_model(settings.pop("model_type"), max_position_embeddings=32768, **settings)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)


def make_rows(count: int, lengths_file: Path | None, vocabulary: int) -> list[tuple[int, ...]]:
    """Return random ids: one shared prefix, then rows with the lengths of a real sheet (or of the same spread)."""
    import numpy as np

    random = np.random.default_rng(0)
    if lengths_file is not None:
        lengths = np.loadtxt(lengths_file, dtype=np.int64)
        lengths = random.choice(lengths, count, replace=count > len(lengths))
    else:
        lengths = np.exp(random.normal(0, 0.6, count))
    lengths = np.maximum(2, np.rint(lengths * MEAN_ROW_TOKENS / lengths.mean())).astype(int)
    prefix = tuple(random.integers(1000, vocabulary - 1000, PREFIX_TOKENS).tolist())
    return [prefix + tuple(random.integers(1000, vocabulary - 1000, length).tolist()) for length in lengths]


def work_of(rows: Sequence[Sequence[int]], reused: bool) -> Work:
    """Return the tokens and (query, key) pairs of scoring `rows`."""
    lengths = [len(row) for row in rows]
    if not reused:
        return Work(sum(lengths), sum(n * (n + 1) // 2 for n in lengths))
    own = [n - PREFIX_TOKENS for n in lengths]
    pairs = sum(PREFIX_TOKENS * n + n * (n + 1) // 2 for n in own) + PREFIX_TOKENS * (PREFIX_TOKENS + 1) // 2
    return Work(sum(own) + PREFIX_TOKENS, pairs)


def flops_of(model: Any, work: Work) -> float:
    """Return the floating-point operations of `work` (see the module's first lines)."""
    import torch

    layers = model.model.layers
    weights = sum(m.in_features * m.out_features for m in layers.modules() if isinstance(m, torch.nn.Linear))
    attention = layers[0].self_attn
    width = model.config.num_attention_heads * attention.head_dim
    return float(2 * weights * work.tokens + 4 * width * work.pairs * len(layers))


@contextmanager
def timed() -> Iterator[list[float]]:
    """Put the seconds of the block, device work included, into the list it yields."""
    import torch

    out: list[float] = []
    torch.cuda.synchronize()
    start = time.perf_counter()
    yield out
    torch.cuda.synchronize()
    out.append(time.perf_counter() - start)


def measure_packed(model: Any, rows: Sequence[tuple[int, ...]], options: argparse.Namespace, reused: bool) -> list[RowScore]:
    """Print rows/s, tokens/s and share of peak of the packed scorer."""
    scorer = make_scorer(model, options.budget, reused, 0)
    scorer.score(rows[:64], LABELS)
    with timed() as seconds:
        scores = scorer.score(rows, LABELS)
    scorer.close()
    work = work_of(rows, reused)
    flops = flops_of(model, work)
    name = "prefix reused    " if reused else "prefix recomputed"
    print(
        f"  packed, {name}: {len(rows) / seconds[0]:7.1f} rows/s  {work.tokens / seconds[0]:9.0f} tokens/s  "
        f"{flops / seconds[0] / 1e12:5.0f} TFLOP/s = {flops / seconds[0] / options.peak / 1e10:.1f}% of {options.peak:.0f}",
        flush=True,
    )
    return scores


def measure_naive(model: Any, rows: Sequence[tuple[int, ...]]) -> None:
    """Print rows/s of the library alone, one row at a time: one forward pass, and generating eight tokens."""
    import torch

    model.set_attn_implementation("sdpa")
    device = next(model.parameters()).device
    generation: dict[str, Any] = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "pad_token_id": 0}

    def forward(ids: torch.Tensor) -> None:
        model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1, list(LABELS)].tolist()

    def generate(ids: torch.Tensor) -> None:
        model.generate(ids, attention_mask=torch.ones_like(ids), **generation)

    for name, sample, run in (("one forward", rows[:40], forward), ("generate 8 ", rows[:6], generate)):
        with torch.inference_mode():
            batches = [torch.tensor([row], device=device) for row in sample]
            run(batches[0])
            with timed() as seconds:
                for ids in batches:
                    run(ids)
        print(f"  one row at a time, {name}: {len(sample) / seconds[0]:6.2f} rows/s", flush=True)


def drift(reference: Sequence[RowScore], other: Sequence[RowScore]) -> str:
    """Return how far label probabilities moved, in words."""
    import torch

    a, b = (torch.tensor([score.log_probabilities for score in scores]).softmax(-1) for scores in (reference, other))
    moved = (a - b).abs().max(-1).values
    scale = torch.arange(1, a.shape[-1] + 1, dtype=a.dtype)
    expected = ((a - b) @ scale).abs()
    same = (a.argmax(-1) == b.argmax(-1)).float().mean()
    return (
        f"largest label probability moved by {moved.mean():.4f} (mean), {moved.max():.4f} (most); "
        f"expected score by {expected.mean():.4f} (mean); same label in {100 * same:.1f}%"
    )


def run_shapes(options: argparse.Namespace) -> None:
    """Measure each shape by itself."""
    import torch

    for shape in options.shape or PANEL:
        torch.cuda.reset_peak_memory_stats()
        with timed() as seconds:
            model = build(shape, torch.bfloat16, options.device)
        print(f"{shape}: built in {seconds[0]:.1f} s, {torch.cuda.memory_allocated() / 2**30:.1f} GiB of weights", flush=True)
        rows = make_rows(options.rows, options.lengths, model.config.vocab_size)
        if options.naive:
            measure_naive(model, rows)
        recomputed = measure_packed(model, rows, options, reused=False)
        reused = measure_packed(model, rows, options, reused=True)
        print(f"  reuse against recomputing: {drift(recomputed, reused)}")
        print(f"  peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", flush=True)
        if options.fp8:
            from core.judging.transformers.fp8 import quantize_linears

            with timed() as seconds:
                quantize_linears(model)
            print(f"  fp8: converted in {seconds[0]:.1f} s, {torch.cuda.memory_allocated() / 2**30:.1f} GiB of weights")
            eight = measure_packed(model, rows, options, reused=True)
            print(f"  fp8 against bf16: {drift(reused, eight)}", flush=True)
        del model
        free_cached_memory()
        print(f"  left on the card afterwards: {torch.cuda.memory_allocated() / 2**20:.0f} MiB", flush=True)


def run_sheet(options: argparse.Namespace) -> None:
    """Judge a real sheet with a real model: from its rows to judgements, without a database."""
    from collections import Counter

    from core.dimensions import PromptBuilder, load_dimensions
    from core.ingest import read_sheet
    from core.judging.transformers import make_transformers_judge
    from core.ports import JudgeContext
    from core.retrieval.ngram import NgramEmbedder
    from core.settings import ASSETS
    from core.types import Item, JudgeRequest, JudgeSpec

    dimensions = load_dimensions(ASSETS / "dimensions")
    builder = PromptBuilder(dimensions, ASSETS / "dimensions")
    sheet = read_sheet(options.sheet, dimensions=dimensions)
    items = [
        Item(n, 1, row.position, row.external_id, row.dimension_id, row.prompt, row.text, row.gold, row.content_hash, row.source)
        for n, row in enumerate(sheet.rows[: options.rows])
    ]
    requests = [JudgeRequest(item, dimensions[item.dimension_id], (), builder.render(item, ())) for item in items]
    settings = {"model": str(options.model), "device": options.device, "token_budget": options.budget}
    spec = JudgeSpec("model", "model", "transformers", settings)
    start = time.perf_counter()
    judge = make_transformers_judge(spec, JudgeContext((), "", dimensions, Path(tempfile.gettempdir()), NgramEmbedder()))
    loaded = time.perf_counter()
    list(judge.judge(requests[:8]))
    warm = time.perf_counter()
    answers = list(judge.judge(requests))
    seconds = time.perf_counter() - warm
    judge.close()
    tokens = sum(answer.tokens for answer in answers)
    print(f"loaded in {loaded - start:.1f} s, first 8 rows in {warm - loaded:.1f} s (kernels are compiled then, and kept on disk)")
    print(f"{len(answers)} rows of {tokens / len(answers):.0f} tokens in {seconds:.1f} s = {len(answers) / seconds:.1f} rows/s")
    for dimension in dimensions:
        labels = Counter(a.label for r, a in zip(requests, answers, strict=True) if r.dimension.id == dimension)
        print(f"  {dimension}: {sorted(labels.items(), key=str)}")


def run_load(options: argparse.Namespace) -> None:
    """Write each shape as a checkpoint, load it with the judges' loader and judge the rows; the sum is a panel in turn."""
    import torch

    from core.judging.transformers.load import load_weights
    from core.judging.transformers.options import read_options

    total_load = total_judge = 0.0
    for shape in options.shape or PANEL:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            model = build(shape, torch.bfloat16, options.device)
            rows = make_rows(options.rows, options.lengths, model.config.vocab_size)
            model.save_pretrained(folder, max_shard_size="5GB")
            del model
            free_cached_memory()
            with timed() as loading:
                model = load_weights(Path(folder), read_options(shape, {"model": folder}), options.device, torch.bfloat16)
        scorer = make_scorer(model, options.budget, True, 0)
        with timed() as judging:
            scorer.score(rows, LABELS)
        scorer.close()
        print(
            f"{shape}: loaded in {loading[0]:.1f} s, {len(rows)} rows judged in {judging[0]:.1f} s = {len(rows) / judging[0]:.1f} rows/s, "
            f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", flush=True,
        )  # fmt: skip
        total_load, total_judge = total_load + loading[0], total_judge + judging[0]
        del model
        free_cached_memory()
    print(f"in turn: {total_judge:.1f} s of judging, {total_load:.1f} s of loading, {total_judge + total_load:.1f} s together")


def main() -> None:
    """Read the command line and run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("shapes", "load", "sheet"))
    parser.add_argument("--shape", action="append", choices=sorted(SHAPES), help="default: the panel's four")
    parser.add_argument("--rows", type=int, default=2750)
    parser.add_argument("--budget", type=int, default=16_384, help="tokens of a pack")
    parser.add_argument("--peak", type=float, default=989.0, help="the card's bf16 peak in TFLOP/s")
    parser.add_argument("--lengths", type=Path, help="file of row lengths in tokens, one a line; scaled to a mean of 547")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--naive", action="store_true", help="also measure one row at a time")
    parser.add_argument("--fp8", action="store_true", help="also measure fp8, and its drift")
    parser.add_argument("--folder", type=Path, help="load: where to write checkpoints")
    parser.add_argument("--sheet", type=Path, help="sheet: an xlsx, csv or jsonl file")
    parser.add_argument("--model", type=Path, help="sheet: the model's folder")
    options = parser.parse_args()
    {"shapes": run_shapes, "load": run_load, "sheet": run_sheet}[options.what](options)


if __name__ == "__main__":
    main()
