"""Fine-tune a model on a labelled file, five-fold by near-duplicate family, through the product's own jobs:

    python -m benchmarks.training --model DIR --library FILE.csv [--folds 5] [--loss expected_squared] [--merge] [--lmdeploy PYTHON]

Every fold is a snapshot, a fine-tune job and an evaluate job, each a process as the workbench starts them; `--at-once` folds
share the device. Prints held-out figures over all folds against the constant median and the base model without training,
rows and tokens a second, and the share of the card's peak; then the same for one fold's merged and quantized forms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.judges import read_library, split
from benchmarks.machine import describe_machine
from core import gate, metrics
from core.dimensions.loader import load_dimensions
from core.dimensions.prompts import PromptBuilder
from core.judging.aggregation import expectation
from core.settings import ASSETS, PROJECT_ROOT
from core.training import EventKind, Prediction, Split, TrainingRow
from core.types import Dimension, Item, LabelledItem, SourceRef
from training import jobdir
from training.context import Product
from training.estimate import read_shape
from training.evaluate import PREDICTIONS, read_predictions
from training.presets import PRESETS
from training.rows import FILES
from training.specs import EvaluateSpec, FineTuneSpec, JobSpec, JudgeLine, LabelLoss, MergeSpec, Method, QuantizeMethod, QuantizeSpec

# Dense 16-bit products, in FLOP a second, by a part of the card's name.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40": 181e12, "4090": 165e12}


@dataclass(frozen=True, slots=True)
class Fold:
    """One split as files, and the label that its training part says is the constant to beat."""

    snapshot: Path
    dimension: Dimension
    fallback: int


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of one fold's fine-tune: its judge, its predictions, and what was worked through in how many seconds."""

    product: Product
    predictions: list[Prediction]
    rows: float
    tokens: float
    seconds: float
    memory_gib: float
    best: Mapping[str, float]


def freeze(items: Sequence[LabelledItem], held_out: Sequence[bool], folder: Path, dimensions: dict[str, Dimension]) -> Fold:
    """Write one split as a snapshot whose prompts have no examples."""
    builder = PromptBuilder(dimensions, ASSETS / "dimensions")
    folder.mkdir(parents=True, exist_ok=True)
    for side, wanted in ((Split.TRAIN, False), (Split.HELD_OUT, True)):
        rows = (_row(item, side, builder) for item, kept in zip(items, held_out, strict=True) if kept is wanted)
        lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
        (folder / FILES[side]).write_text("".join(lines), encoding="utf-8")
    dimension = dimensions[items[0].dimension_id]
    labels = Counter(item.label for item, kept in zip(items, held_out, strict=True) if not kept)
    return Fold(folder, dimension, gate.constant(labels, dimension))


def _row(item: LabelledItem, side: Split, builder: PromptBuilder) -> TrainingRow:
    source = SourceRef("benchmark", "", item.id)
    asked = Item(item.id, 0, item.id, item.external_id, item.dimension_id, item.prompt, item.text, None, item.content_hash, source)
    prompt = builder.render(asked, ())
    return TrainingRow(
        hash=f"{item.content_hash}-{item.id}",
        external_id=item.external_id,
        dimension_id=item.dimension_id,
        item_prompt=item.prompt,
        text=item.text,
        label=item.label,
        family=str(item.id),
        split=side,
        origin=item.origin,
        author="",
        system=prompt.system,
        user=prompt.user,
        prompt_sha256=prompt.sha256,
    )


def do(folder: Path, spec: JobSpec) -> jobdir.Result:
    """Run a job's command and return its result; a job of an earlier try goes on."""
    jobdir.create(folder, spec)
    answer = subprocess.run(jobdir.command(folder), cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    result = jobdir.read_result(folder)
    if answer.returncode or result is None:
        raise SystemExit(f"{folder}: {answer.stderr[-3000:]}")
    return result


def measure(folder: Path, judge: JudgeLine, snapshot: Path) -> list[Prediction]:
    """Return what a judge says of a snapshot's held-out rows, by an evaluate job."""
    do(folder, EvaluateSpec.model_validate({"name": "benchmark", "judge": judge, "snapshot": snapshot}))
    return read_predictions(folder / jobdir.OUTPUT / PREDICTIONS)


def line_of(product: Product, device: str) -> JudgeLine:
    """Return the line of a product, on the benchmark's device."""
    options = dict(product.options)
    if product.family == "transformers":
        options |= {"device": device, "check_memory": False}
    return JudgeLine(id="candidate", family=product.family, options=options)


def train(folder: Path, fold: Fold, spec: FineTuneSpec) -> Trained:
    """Fine-tune on one fold and measure the result."""
    result = do(folder / "fine-tune", spec)
    assert result.product is not None
    predictions = measure(folder / "evaluate", line_of(result.product, spec.device), fold.snapshot)
    told = [event for event in jobdir.read_events(folder / "fine-tune") if event.kind is EventKind.TRAIN]
    rates = [event.figures["rows_per_second"] for event in told[1:] or told]
    rows = float(told[-1].step * spec.batch_size * spec.accumulation)
    length = float(np.mean([event.figures["tokens_per_second"] / event.figures["rows_per_second"] for event in told]))
    memory = max(event.figures["memory_gib"] for event in told)
    # The median rate leaves out what the looks at the validation rows and the first step cost.
    return Trained(result.product, predictions, rows, length * rows, rows / float(np.median(rates)), memory, result.figures)


def row(name: str, predictions: Sequence[Prediction], dimension: Dimension, fallback: int) -> str:
    """Return the figures of one judge as a line of a Markdown table."""
    from scipy.stats import spearmanr

    quality = gate.quality(predictions, dimension, fallback)
    known = [prediction for prediction in predictions if prediction.probabilities]
    expected = [expectation(prediction.probabilities) for prediction in known]
    rank = float(spearmanr([prediction.gold for prediction in known], expected).statistic) if len(set(expected)) > 1 else 0.0
    numbers = (quality.mae, quality.score, quality.kappa, rank, quality.calibration_error)
    return f"| {name} | " + " | ".join(f"{number:.4f}" for number in numbers) + f" | {quality.unanswered} |"


def constant_row(folds: Sequence[Fold], held_out: Sequence[Sequence[Prediction]]) -> str:
    """Return the line of always saying the training part's median."""
    pairs = [(prediction.gold, fold.fallback) for fold, found in zip(folds, held_out, strict=True) for prediction in found]
    gold, said = [true for true, _ in pairs], [label for _, label in pairs]
    return f"| constant median | {metrics.mean_absolute_error(gold, said):.4f} | {metrics.score(gold, said):.4f} | 0.0000 | 0.0000 | | 0 |"


def speed(name: str, done: Sequence[Trained], wall: float, options: argparse.Namespace) -> str:
    """Return rows and tokens a second over all folds, and the share of the card's peak.

    A frozen weight costs two products a token (forward, and the gradient of its input), a trained one three: 4 or 6 FLOP a
    weight and token. Attention's own products and the output layer (one position a row) are not counted.
    """
    flop = (6 if options.method is Method.FULL else 4) * read_shape(options.model).linear_weights
    tokens = sum(one.tokens for one in done)
    # Folds that share the device work at the same time; more of them than fit take turns.
    busy = sum(one.seconds for one in done) / min(options.at_once, len(done))
    peak = _peak(options.device)
    share = f", {flop * tokens / busy / peak:.1%} of peak while training" if peak else ""
    return (
        f"{name}: {sum(one.rows for one in done) / busy:.1f} rows/s, {tokens / busy:,.0f} tokens/s over {len(done)} folds, "
        f"{min(options.at_once, len(done))} at once{share}; at most {max(one.memory_gib for one in done):.1f} GiB a process; "
        f"{wall:.0f} s in all with starting and measuring"
    )


def _peak(device: str) -> float | None:
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def forms(folder: Path, fold: Fold, trained: Trained, options: argparse.Namespace) -> list[str]:
    """Return lines for the adapter of one fold, its merged model and that quantized, on the fold's held-out rows."""
    lines = [row("adapter", trained.predictions, fold.dimension, fold.fallback)]
    device = "cpu" if options.device == "cpu" else "auto"
    spec = MergeSpec.model_validate({"name": "b", "model": str(options.model), "adapter": trained.product.path, "device": device})
    merged = do(folder / "merge", spec).product
    assert merged is not None
    made = {"merged bf16": merged}
    for method in QuantizeMethod if options.lmdeploy else ():
        settings = {
            "name": "b", "model": merged.path, "method": method, "snapshot": fold.snapshot, "lmdeploy_python": options.lmdeploy,
            "device": device, "calib_samples": options.calib_samples, "calib_seqlen": options.calib_seqlen,
            "w_group_size": options.group_size,
        }  # fmt: skip
        product = do(folder / method.value, QuantizeSpec.model_validate(settings)).product
        assert product is not None
        made[method.value] = product
    for name, product in made.items():
        found = measure(folder / f"evaluate-{name.replace(' ', '-')}", line_of(product, options.device), fold.snapshot)
        drift, shift = gate.moved(trained.predictions, found)
        lines.append(row(f"{name} (probabilities moved by {drift:.4f}, score by {shift:.4f})", found, fold.dimension, fold.fallback))
    return lines


def run(options: argparse.Namespace, folder: Path) -> None:
    """Do the benchmark and print it."""
    dimensions = load_dimensions(ASSETS / "dimensions")
    items = read_library(options.library, dimensions)[: options.rows or None]
    part = split(items, options.seed, options.folds)
    folds = [freeze(items, (part == place).tolist(), folder / f"snapshot-{place}", dimensions) for place in range(options.folds)]
    _say(f"{describe_machine()}; {options.model.name}, {len(items)} rows, {options.folds} folds by family, seed {options.seed}")
    heading = [
        "| judge | MAE | 1/(1+MAE) | weighted kappa | rank correlation | calibration error | unanswered |",
        "| --- " + "| ---: " * 6 + "|",
    ]
    lines, done = [*heading], dict[LabelLoss, list[Trained]]()
    with ThreadPoolExecutor(options.at_once) as pool:
        base = JudgeLine(
            id="base", family="transformers", options={"model": str(options.model), "device": options.device, "check_memory": False}
        )
        zero = list(pool.map(lambda place: measure(folder / f"zero-shot-{place}", base, folds[place].snapshot), range(len(folds))))
        lines.append(constant_row(folds, zero))
        lines.append(row("without training", [one for found in zero for one in found], folds[0].dimension, folds[0].fallback))
        for loss in options.loss:
            started = time.perf_counter()
            waiting = [pool.submit(train, folder / f"{loss}-{place}", fold, _spec(options, loss, fold)) for place, fold in enumerate(folds)]
            done[loss] = [one.result() for one in waiting]
            _say(speed(loss.value, done[loss], time.perf_counter() - started, options))
            _say(f"  best by validation in each fold: {[round(one.best.get('mae', float('nan')), 3) for one in done[loss]]}")
            found = [one for each in done[loss] for one in each.predictions]
            lines.append(row(f"{options.method}, {loss}", found, folds[0].dimension, folds[0].fallback))
    _say("\n".join(lines))
    if options.merge:
        first = done[options.loss[0]][0]
        _say("Fold 0 alone:\n" + "\n".join([*heading, *forms(folder / "forms", folds[0], first, options)]))


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def _spec(options: argparse.Namespace, loss: LabelLoss, fold: Fold) -> FineTuneSpec:
    preset = next(preset for preset in PRESETS if preset.id == options.preset)
    settings: dict[str, object] = {
        "name": "benchmark",
        "model": str(options.model),
        "snapshot": fold.snapshot,
        "loss": loss,
        "method": options.method,
        "device": options.device,
        "seed": options.seed,
        "batch_size": options.batch_size,
        "accumulation": max(1, options.effective_batch // options.batch_size),
        "epochs": options.epochs,
        "learning_rate": options.learning_rate,
        "evaluate_every": options.evaluate_every,
        "checkpoint_every": 10_000,
        "max_length": options.max_length,
    }
    return preset.apply(settings)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--library", type=Path, required=True, help="labelled CSV file")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=0, help="take the first rows only")
    parser.add_argument("--loss", type=LabelLoss, nargs="+", default=[LabelLoss.EXPECTED_SQUARED], choices=list(LabelLoss))
    parser.add_argument("--method", type=Method, default=Method.LORA, choices=list(Method))
    parser.add_argument("--preset", default=PRESETS[0].id, choices=[preset.id for preset in PRESETS])
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--effective-batch", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=2048, help="longest prompt in tokens")
    parser.add_argument("--evaluate-every", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=5, help="folds that share the device")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--merge", action="store_true", help="also merge the first fold's adapter and measure again")
    parser.add_argument("--lmdeploy", type=Path, help="interpreter with lmdeploy: also quantize (with --merge)")
    parser.add_argument("--calib-samples", type=int, default=64)
    parser.add_argument("--calib-seqlen", type=int, default=1024)
    parser.add_argument("--group-size", type=int, default=128, help="weights that share a scale (AWQ)")
    parser.add_argument("--keep", type=Path, help="folder to work in; kept, and an interrupted run goes on")
    options = parser.parse_args()
    options.model = options.model.absolute()
    options.lmdeploy = options.lmdeploy and options.lmdeploy.absolute()
    if options.keep:
        run(options, options.keep.absolute())
        return
    with tempfile.TemporaryDirectory() as folder:
        run(options, Path(folder))


if __name__ == "__main__":
    main()
