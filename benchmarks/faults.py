"""Measure fault pretraining and ordinal heads: python -m benchmarks.faults STEP ...

    base      make a small model that starts from nothing, for machines without an accelerator (characters, a few layers)
    pretrain  teach a base model to see faults put into clean texts; prints the figures of rows that it did not see
    heads     train heads on labels over grouped folds and seeds; prints MAE, 1 / (1 + MAE), kappa, rank correlation, calibration error
    speed     rows a second of a head judge on each CPU engine

Every step prints the machine and its sizes. Held-out texts and their near-duplicates are never material of the pretraining; all choices
(early stop, calibration) are made on inner validation rows. Several processes may run at the same time on one card.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.judges import read_library
from benchmarks.machine import describe_machine
from core import metrics
from core.dimensions.loader import load_dimensions
from core.judging.head.calibration import calibrated
from core.judging.head.files import Attention
from core.judging.head.options import Engine
from core.settings import ASSETS
from core.types import LabelledItem
from training.faults.kinds import EVEN, SHARES
from training.faults.learning import Learner, LearnerOptions, Method, Schedule, Unwatched, make_learner
from training.faults.material import read_texts, without_relatives
from training.faults.pretrain import pretrain, tag_rows
from training.faults.rows import Recipe, make_rows
from training.heads.calibrate import CalibrationMethod
from training.heads.folds import Fold, grouped_folds, inner_split
from training.heads.losses import OrdinalLoss
from training.heads.store import open_reader, save_head, save_reader
from training.heads.train import features, graded_rows, grades, probabilities, train_grade, train_head, votes

SCALE = (1, 2, 3, 4, 5)
_DRAWS = 2000


class Told(Unwatched):
    """Prints what a training tells."""

    def train(self, step: int, steps: int, figures: object) -> None:
        """Print the figures of training steps, now and then."""
        if step % 50 == 0:
            print(f"  step {step}/{steps} {_short(figures)}", flush=True)

    def validation(self, step: int, steps: int, figures: object) -> None:
        """Print the figures of the validation rows."""
        print(f"  validation at {step}/{steps} {_short(figures)}", flush=True)


def run_base(options: argparse.Namespace) -> None:
    """Write a small model with random weights and a tokenizer of single characters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModel, Qwen2Tokenizer

    texts = read_texts(options.material, load_dimensions(ASSETS / "dimensions"), options.dimension)
    common = "".join(bytes((high, low)).decode("gb2312", "ignore") for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF))
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    # The six bytes of three bytes as the trainer writes them: no token is longer than one Chinese character.
    trainer = trainers.BpeTrainer(
        vocab_size=20_000, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], max_token_length=6, show_progress=False
    )
    backend.train_from_iterator([*texts, common], trainer)
    spec = json.loads(backend.to_str())["model"]
    vocabulary = spec["vocab"]
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[tuple(merge) for merge in spec["merges"]], pad_token="<|endoftext|>")
    heads = max(1, options.width // 48)
    config = AutoConfig.for_model(
        "qwen2", vocab_size=len(vocabulary), hidden_size=options.width, num_hidden_layers=options.layers, num_attention_heads=heads,
        num_key_value_heads=heads, intermediate_size=8 * options.width // 3 // 16 * 16, max_position_embeddings=4096, pad_token_id=0,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModel.from_config(config)
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    weights = sum(weight.numel() for weight in model.parameters())
    print(f"{options.out}: {weights / 1e6:.1f} million weights, {len(vocabulary)} tokens, {options.layers} layers of {options.width}")


def run_pretrain(options: argparse.Namespace) -> None:
    """Teach a model to see faults and save it."""
    texts = read_texts(options.material, load_dimensions(ASSETS / "dimensions"), options.dimension)
    clean = without_relatives(texts, [item.text for item in _labelled(options)])
    print(describe_machine())
    print(f"{len(texts)} clean texts, {len(clean)} without relatives of labelled ones, {sum(map(len, clean)) / 1e6:.2f} million characters")
    held = clean[:: max(2, len(clean) // 40)]
    learned = [text for text in clean if text not in set(held)]
    shares = EVEN if options.even else SHARES
    started = time.perf_counter()
    recipe = Recipe(options.rows, options.seed, options.longest, shares=shares)
    learner = make_learner(options.base, _options(options), len(SCALE))
    rows = tag_rows(learner, make_rows(learned, recipe))
    validation = tag_rows(learner, make_rows(held, replace(recipe, count=options.validation_rows, seed=options.seed + 1000)))
    tokens = sum(len(window.ids) for row in rows for window in row.windows)
    print(f"{len(rows)} rows, {tokens / 1e6:.2f} million tokens, made in {time.perf_counter() - started:.0f} s")
    started = time.perf_counter()
    told = pretrain(learner, rows, validation, _schedule(options), Told(), options.checkpoints, options.rate_weight)
    spent = time.perf_counter() - started
    assert told is not None
    print(f"trained in {spent:.0f} s: average precision {told.area:.3f}, kinds {told.kinds:.3f}, rate error {told.rate_error:.3f}, "
          f"rate rank {told.rate_rank:.3f}")  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    figures = {"area": told.area, "kinds": told.kinds, "rate_error": told.rate_error, "rate_rank": told.rate_rank, "seconds": spent}
    save_reader(options.out, learner, str(options.base), None, figures)


def run_heads(options: argparse.Namespace) -> None:
    """Train and measure heads over grouped folds, for each seed."""
    items = _labelled(options)
    texts, labels = [item.text for item in items], [item.label for item in items]
    print(describe_machine())
    print(f"{len(items)} labelled rows, {options.folds} grouped folds, seeds {options.seeds}", flush=True)
    answers = []
    for seed in options.seeds:
        learner = _start(options, seed)
        initial = learner.state()
        known = _see_all(options, learner, items)
        given = np.zeros((len(items), len(SCALE)))
        started = time.perf_counter()
        for number, fold in enumerate(grouped_folds(texts, labels, options.folds, options.fold_seed)):
            learner.restore(initial)
            held = list(fold.held_out)
            given[held] = (
                _one_fold(options, learner, items, fold, seed)
                if known is None
                else _frozen_fold(options, learner, items, fold, known, seed)
            )
            mae = np.abs(votes(given[held]) + 1 - np.array(labels)[held]).mean()
            print(f"  seed {seed}, fold {number + 1}: {len(held)} rows, MAE {mae:.3f}", flush=True)
        answers.append(given)
        print(f"seed {seed}, {time.perf_counter() - started:.0f} s: {_figures(labels, given)}", flush=True)
    _summary(labels, answers, options)
    if options.out:
        _save_best(options, items)


def _see_all(options: argparse.Namespace, learner: Learner, items: Sequence[LabelledItem]) -> NDArray[np.float64] | None:
    """Return what a frozen model sees of every row, which no fold changes; None for a model that learns."""
    if learner.method is not Method.FROZEN:
        return None
    return features(learner, graded_rows(learner, [item.text for item in items], [item.label for item in items], SCALE), options.tokens)


def _frozen_fold(
    options: argparse.Namespace, learner: Learner, items: Sequence[LabelledItem], fold: Fold, known: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Return the held-out rows' probabilities from a grade that saw none of them."""
    train, places = list(fold.train), [item.label - 1 for item in items]
    inner = inner_split([items[place].text for place in train], [items[place].label for place in train], options.validation, seed)
    mine, others = [train[place] for place in inner.train], [train[place] for place in inner.held_out]
    trained = train_grade(
        learner.heads, known[mine], [places[place] for place in mine], known[others], [places[place] for place in others],
        OrdinalLoss(options.loss), CalibrationMethod(options.calibration),
    )  # fmt: skip
    return calibrated(grades(learner.heads, known[list(fold.held_out)]), trained.calibration)


def _one_fold(options: argparse.Namespace, learner: Learner, items: Sequence[LabelledItem], fold: Fold, seed: int) -> NDArray[np.float64]:
    """Return the held-out rows' probabilities from a head that saw none of them."""
    train = [items[place] for place in fold.train]
    inner = inner_split([item.text for item in train], [item.label for item in train], options.validation, seed)
    rows = graded_rows(learner, [item.text for item in train], [item.label for item in train], SCALE)
    held = [items[place] for place in fold.held_out]
    trained = train_head(
        learner,
        [rows[place] for place in inner.train],
        [rows[place] for place in inner.held_out],
        replace(_schedule(options), seed=seed),
        Unwatched(),
        OrdinalLoss(options.loss),
        CalibrationMethod(options.calibration),
    )
    raw = probabilities(learner, graded_rows(learner, [item.text for item in held], [item.label for item in held], SCALE), options.tokens)
    return calibrated(raw, trained.calibration)


def _save_best(options: argparse.Namespace, items: Sequence[LabelledItem]) -> None:
    """Train one head on all labelled rows and save it as a judge."""
    learner = _start(options, options.seeds[0])
    texts, labels = [item.text for item in items], [item.label for item in items]
    rows = graded_rows(learner, texts, labels, SCALE)
    inner = inner_split(texts, labels, options.validation, options.seeds[0])
    chosen = [rows[place] for place in inner.train], [rows[place] for place in inner.held_out]
    trained = train_head(
        learner, *chosen, _schedule(options), Unwatched(), OrdinalLoss(options.loss), CalibrationMethod(options.calibration)
    )
    options.out.mkdir(parents=True, exist_ok=True)
    save_head(
        options.out, learner, dimension="fluency", labels=SCALE, base=str(options.base), base_revision=None,
        calibration=trained.calibration, marks=options.reader is not None, figures={},
    )  # fmt: skip
    print(f"a head trained on all rows: {options.out}")


def _summary(labels: Sequence[int], answers: Sequence[NDArray[np.float64]], options: argparse.Namespace) -> None:
    maes = [_mae(labels, given) for given in answers]
    spread = float(np.std(maes, ddof=1)) if len(maes) > 1 else 0.0
    low, high = _interval(labels, answers)
    print(f"mean of {len(maes)} seeds: MAE {np.mean(maes):.3f} +- {spread:.3f} (rows drawn anew: {low:.3f} to {high:.3f})")
    pooled = np.mean(answers, axis=0)
    print(f"probabilities of the seeds averaged: {_figures(labels, pooled)}")
    constant = np.tile(np.eye(len(SCALE))[int(np.median(labels)) - 1], (len(labels), 1))
    print(f"constant median: MAE {_mae(labels, constant):.3f}")
    if options.results:
        options.results.write_text(json.dumps({"labels": list(labels), "answers": [given.tolist() for given in answers]}), encoding="utf-8")


def _interval(labels: Sequence[int], answers: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return the 95% interval of the mean MAE, rows drawn anew (bootstrap)."""
    errors = np.mean([np.abs(votes(given) + 1 - np.array(labels)) for given in answers], axis=0)
    draws = np.random.default_rng(0).choice(errors, (_DRAWS, len(errors))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


def _mae(labels: Sequence[int], given: NDArray[np.float64]) -> float:
    return float(np.abs(votes(given) + 1 - np.array(labels)).mean())


def _figures(labels: Sequence[int], given: NDArray[np.float64]) -> str:
    from scipy.stats import spearmanr

    chosen = [int(vote) + 1 for vote in votes(given)]
    expected = given @ np.array(SCALE, float)
    distributions = [dict(zip(SCALE, map(float, row), strict=True)) for row in given]
    mae = metrics.mean_absolute_error(labels, chosen)
    return (
        f"MAE {mae:.3f}, 1/(1+MAE) {1 / (1 + mae):.3f}, kappa {metrics.quadratic_weighted_kappa(labels, chosen, SCALE):.3f}, "
        f"rank correlation {spearmanr(expected, labels).statistic:.3f}, calibration error {metrics.calibration_error(labels, distributions):.3f}, "
        f"log loss {metrics.log_loss(labels, distributions):.3f}"
    )


def run_speed(options: argparse.Namespace) -> None:
    """Measure a head judge's rows a second on each engine, and how far its probabilities move from fp32."""
    from core.judging.registry import make_judge
    from core.ports import JudgeContext
    from core.retrieval.ngram import NgramEmbedder
    from core.types import Item, JudgeRequest, JudgeSpec, SourceRef

    dimensions = load_dimensions(ASSETS / "dimensions")
    items = _labelled(options)[: options.rows]
    source = SourceRef("rows.csv", "", 1)
    requests = [
        JudgeRequest(
            Item(n, 1, n, item.external_id, item.dimension_id, "", item.text, None, item.content_hash, source), dimensions["fluency"]
        )
        for n, item in enumerate(items)
    ]
    print(describe_machine())
    print(f"{len(items)} rows of {np.mean([len(item.text) for item in items]):.0f} characters, median of {options.repeats}")
    first: NDArray[np.float64] | None = None
    with tempfile.TemporaryDirectory() as cache:
        for engine in options.engines:
            spec = JudgeSpec("head", "head", "ordinal_head", {"head": str(options.head), "engine": engine, "device": options.device})
            started = time.perf_counter()
            judge = make_judge(spec, JudgeContext((), "", dimensions, Path(cache), NgramEmbedder()))
            loading, times = time.perf_counter() - started, []
            for _ in range(options.repeats):
                started = time.perf_counter()
                given = np.array([list(answer.probabilities.values()) for answer in judge.judge(requests)])
                times.append(time.perf_counter() - started)
            judge.close()
            first = given if first is None else first
            moved = np.abs(given @ np.array(SCALE, float) - first @ np.array(SCALE, float)).mean()
            print(
                f"{engine}: {len(items) / np.median(times):.2f} rows/s, ready in {loading:.1f} s, expected score moves by {moved:.4f}",
                flush=True,
            )


def _start(options: argparse.Namespace, seed: int) -> Learner:
    learner_options = replace(_options(options), seed=seed)
    if options.reader is None:
        return make_learner(options.base, learner_options, len(SCALE))
    reader = Path(str(options.reader).replace("SEED", str(seed)))
    return open_reader(reader, options.base, learner_options, len(SCALE))


def _labelled(options: argparse.Namespace) -> list[LabelledItem]:
    return read_library(options.labelled, load_dimensions(ASSETS / "dimensions"))


def _options(options: argparse.Namespace) -> LearnerOptions:
    return LearnerOptions(
        Attention(options.attention), Method(options.method), options.device, options.max_length, options.rank, 2 * options.rank,
        half=options.half, trains_embeddings=options.embeddings, seed=getattr(options, "seed", 0),
    )  # fmt: skip


def _schedule(options: argparse.Namespace) -> Schedule:
    return Schedule(
        options.learning_rate, options.head_rate, options.epochs, options.tokens, evaluate_every=options.evaluate_every,
        patience=options.patience, seed=getattr(options, "seed", 0),
    )  # fmt: skip


def _short(figures: object) -> str:
    assert isinstance(figures, dict)
    return " ".join(f"{name}={value:.4g}" for name, value in figures.items())


def _add_learning(parser: argparse.ArgumentParser, epochs: float, tokens: int, rates: tuple[float, float]) -> None:
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--labelled", type=Path, required=True, help="labelled CSV file")
    parser.add_argument("--attention", choices=tuple(Attention), default=Attention.BIDIRECTIONAL)
    parser.add_argument("--method", choices=tuple(Method), default=Method.LORA)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--embeddings", action="store_true", help="let embeddings learn too (method full)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", action="store_true", help="compute in bf16")
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--epochs", type=float, default=epochs)
    parser.add_argument("--tokens", type=int, default=tokens, help="tokens of a step, padding included")
    parser.add_argument("--learning-rate", type=float, default=rates[0])
    parser.add_argument("--head-rate", type=float, default=rates[1])
    parser.add_argument("--evaluate-every", type=int, default=50)
    parser.add_argument("--patience", type=int, default=6)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    base = steps.add_parser("base")
    base.add_argument("--width", type=int, default=192)
    base.add_argument("--layers", type=int, default=4)
    learn = steps.add_parser("pretrain")
    _add_learning(learn, 1, 16_384, (1e-4, 1e-3))
    learn.add_argument("--rows", type=int, default=25_800)
    learn.add_argument("--validation-rows", type=int, default=200)
    learn.add_argument("--longest", type=int, default=600, help="characters of a piece")
    learn.add_argument("--even", action="store_true", help="every kind of fault as often as any other")
    learn.add_argument("--rate-weight", type=float, default=0.1)
    learn.add_argument("--seed", type=int, default=0)
    learn.add_argument("--checkpoints", type=Path)
    for one in (base, learn):
        one.add_argument("--material", type=Path, action="append", required=True, help="file of clean texts; may stand more than once")
        one.add_argument("--dimension", default="", help="take only rows of this dimension as clean texts")
        one.add_argument("--out", type=Path, required=True)
    heads = steps.add_parser("heads")
    _add_learning(heads, 4, 8192, (3e-5, 1e-4))
    heads.add_argument("--reader", type=Path, help="what a pretraining made; SEED in it becomes the seed")
    heads.add_argument("--folds", type=int, default=5)
    heads.add_argument("--fold-seed", type=int, default=0)
    heads.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    heads.add_argument("--validation", type=float, default=0.15, help="share of the learning rows kept for early stop and calibration")
    heads.add_argument("--loss", choices=tuple(OrdinalLoss), default=OrdinalLoss.LIKELIHOOD)
    heads.add_argument("--calibration", choices=tuple(CalibrationMethod), default=CalibrationMethod.TEMPERATURE)
    heads.add_argument("--results", type=Path, help="file for the probabilities of every held-out row")
    heads.add_argument("--out", type=Path, help="folder for a judge trained on all rows")
    speed = steps.add_parser("speed")
    speed.add_argument("--head", type=Path, required=True)
    speed.add_argument("--labelled", type=Path, required=True)
    speed.add_argument("--rows", type=int, default=40)
    speed.add_argument("--repeats", type=int, default=3)
    speed.add_argument("--device", default="cpu")
    speed.add_argument("--engines", nargs="+", choices=tuple(Engine), default=[Engine.TORCH, Engine.TORCH_INT8])
    return parser


def main() -> None:
    """Read the command line and do one step."""
    options = _parser().parse_args()
    {"base": run_base, "pretrain": run_pretrain, "heads": run_heads, "speed": run_speed}[options.step](options)


if __name__ == "__main__":
    main()
