"""Measure pretraining on defects against the prompt: python -m benchmarks.defects --base FOLDER --material SHEET --dimension normativity

Good pairs of prompt and text are parted by near-duplicate families: most to learn from, a few for early stop, the rest held out. Defects are put
into each part; off-topic sentences come from the same part. Printed for the held-out rows, each beside what a constant gets: the mean absolute error
of the count, the average precision of faulty tokens, of each kind, and the same with every row behind another row's prompt, which shows whether the
prompt is read at all. The rows are synthetic: nothing here says how real labels are met. A base model that starts from nothing comes from
`python -m benchmarks.faults base`.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults import SCALE, Told
from benchmarks.machine import describe_machine
from core.dimensions.loader import load_dimensions
from core.faultmarks import DEFECT_KINDS, MarkKind
from core.judging.head.files import Attention
from core.judging.head.model import padded_batches, pool
from core.settings import ASSETS
from training.defects.material import parted, read_pairs
from training.defects.rows import RATE_PER, DefectiveText, DefectRecipe, make_defect_rows
from training.faults.learning import Learner, LearnerOptions, Method, Schedule, make_learner
from training.faults.pretrain import TaggedRow, pretrain, tag_rows
from training.heads.store import save_reader


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model tells of rows: each token's chance of each kind and its true class, and each row's rate."""

    chances: NDArray[np.float64]
    classes: NDArray[np.int64]
    rates: NDArray[np.float64]


def run(options: argparse.Namespace) -> None:
    """Teach a model to see defects and print what it sees in held-out rows."""
    read = read_pairs(options.material, load_dimensions(ASSETS / "dimensions"), options.dimension)
    pairs = [pair for pair in read if len(pair.text) <= options.longest]
    rest, held = parted(pairs, options.held_out)
    learned, inner = parted(rest, options.validation)
    print(describe_machine())
    print(f"{len(pairs)} pairs: {len(learned)} to learn from, {len(inner)} for early stop, {len(held)} held out; no family in two parts")
    recipe = DefectRecipe(options.rows, options.seed, options.highest)
    started = time.perf_counter()
    rows = make_defect_rows(learned, recipe)
    inner_rows = make_defect_rows(inner, replace(recipe, count=options.validation_rows, seed=options.seed + 1))
    held_rows = make_defect_rows(held, replace(recipe, count=options.held_rows, seed=options.seed + 2))
    print(f"{len(rows)} rows made in {time.perf_counter() - started:.0f} s, {len(inner_rows)} for early stop, {len(held_rows)} held out")
    print("defects by kind, swapped texts not counted:", _short(rows))
    learner = make_learner(options.base, _options(options), len(SCALE))
    tagged = tag_rows(learner, rows)
    print(f"{sum(len(window.ids) for row in tagged for window in row.windows) / 1e6:.2f} million tokens", flush=True)
    started = time.perf_counter()
    schedule = Schedule(
        options.learning_rate, options.head_rate, options.epochs, options.tokens, evaluate_every=options.evaluate_every, patience=6,
        seed=options.seed,
    )  # fmt: skip
    pretrain(learner, tagged, tag_rows(learner, inner_rows), schedule, Told(), options.checkpoints, options.rate_weight)
    print(f"trained in {time.perf_counter() - started:.0f} s", flush=True)
    _tell(learner, rows, held_rows, options.tokens)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        save_reader(options.out, learner, str(options.base), None, {})


def _tell(learner: Learner, rows: Sequence[DefectiveText], held: Sequence[DefectiveText], tokens: int) -> None:
    """Print the held-out rows' figures beside a constant's."""
    from scipy.stats import spearmanr
    from sklearn.metrics import average_precision_score, roc_auc_score

    seen = _read(learner, tag_rows(learner, held), tokens)
    moved = [replace(row, prompt=other.prompt) for row, other in zip(held, [*held[1:], held[0]], strict=True)]
    mistaken = _read(learner, tag_rows(learner, moved), tokens)
    lengths, swapped = np.array([len(row.text) for row in held]), np.array([row.swapped for row in held])
    counts = np.array([row.rate for row in held]) * lengths / RATE_PER
    constant = float(np.median([row.rate for row in rows])) * lengths / RATE_PER
    for name, chosen in (("all", np.ones(len(held), bool)), ("spoiled", ~swapped)):
        told = np.maximum(seen.rates, 0.0) * lengths / RATE_PER
        error, null = np.abs(told - counts)[chosen].mean(), np.abs(constant - counts)[chosen].mean()
        rank = spearmanr(seen.rates[chosen], counts[chosen] / lengths[chosen]).statistic
        print(f"count, {name} {chosen.sum()} rows: MAE {error:.3f} (constant rate {null:.3f}), rank correlation of the rate {rank:.3f}")
    faulty = seen.classes > 0
    right = (seen.chances[faulty].argmax(-1) + 1 == seen.classes[faulty]).mean()
    commonest = max(Counter(seen.classes[faulty].tolist()).values()) / faulty.sum()
    print(f"faulty tokens: average precision {average_precision_score(faulty, seen.chances.sum(-1)):.3f} (constant {faulty.mean():.3f}), "
          f"kind right {right:.3f} (commonest kind {commonest:.3f})")  # fmt: skip
    for number, kind in enumerate(DEFECT_KINDS):
        of_kind = seen.classes == number + 1
        if not of_kind.any():
            print(f"  {kind.value}: no token of it in the held-out rows")
            continue
        own, others = (float(average_precision_score(of_kind, reading.chances[:, number])) for reading in (seen, mistaken))
        print(f"  {kind.value}: average precision {own:.3f} (constant {of_kind.mean():.3f}; behind other prompts {others:.3f})")
    if 0 < swapped.sum() < len(held):
        areas = []
        for reading in (seen, mistaken):
            bounds = np.cumsum([0, *(sum(len(window.spans) for window in row.windows) for row in tag_rows(learner, held))])
            off = reading.chances[:, DEFECT_KINDS.index(MarkKind.OFF_TOPIC)]
            areas.append(roc_auc_score(swapped, [off[first:last].mean() for first, last in pairwise(bounds)]))
        print(f"swapped texts told from others by their mean chance of being off topic: area under the ROC curve {areas[0]:.3f} "
              f"(constant 0.5; behind other prompts {areas[1]:.3f}), {swapped.sum()} of {len(held)} rows")  # fmt: skip


def _read(learner: Learner, rows: Sequence[TaggedRow], tokens: int) -> Reading:
    """Return what the model tells of rows, in their order."""
    import torch

    learner.backbone.eval()
    chances: list[NDArray[np.float64]] = [np.zeros((0, 0))] * len(rows)
    rates = np.zeros(len(rows))
    with torch.no_grad():
        for members in padded_batches([row.cost for row in rows], tokens):
            windows = [window for index in members for window in rows[index].windows]
            glance = learner.glance(learner.batch(windows))
            numbers = torch.tensor([number for number, index in enumerate(members) for _ in rows[index].windows], device=learner.device)
            rates[members] = pool(learner.heads, glance.totals, numbers, len(members)).rate.cpu().numpy()
            given = glance.tags.softmax(-1)[..., 1:].cpu().double().numpy()
            parts = [given[place, window.lead : len(window.ids)] for place, window in enumerate(windows)]
            for number, index in enumerate(members):
                chances[index] = np.concatenate([part for part, owner in zip(parts, numbers.tolist(), strict=True) if owner == number])
    classes = [tag for row in rows for tags in row.tags for tag in tags]
    return Reading(np.concatenate(chances), np.array(classes), rates)


def _short(rows: Sequence[DefectiveText]) -> str:
    counts = Counter(fault.kind for row in rows if not row.swapped for fault in row.faults)
    sound, swapped = sum(not row.faults for row in rows), sum(row.swapped for row in rows)
    return ", ".join(f"{kind.value} {counts[kind]}" for kind in DEFECT_KINDS) + f"; {sound} sound rows, {swapped} swapped"


def _options(options: argparse.Namespace) -> LearnerOptions:
    return LearnerOptions(
        Attention.BIDIRECTIONAL, Method(options.method), options.device, options.max_length, options.rank, 2 * options.rank,
        half=options.half, reads_prompt=True, trains_embeddings=options.embeddings, seed=options.seed, kinds=DEFECT_KINDS, rate_per=RATE_PER,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--material", type=Path, action="append", required=True, help="sheet of good pairs; may stand more than once")
    parser.add_argument("--dimension", default="", help="take only rows of this dimension")
    parser.add_argument("--longest", type=int, default=10_000, help="characters of a text; longer pairs are left out")
    parser.add_argument("--rows", type=int, default=25_800)
    parser.add_argument("--validation-rows", type=int, default=100)
    parser.add_argument("--held-rows", type=int, default=300)
    parser.add_argument("--held-out", type=float, default=0.15, help="share of the pairs that are held out")
    parser.add_argument("--validation", type=float, default=0.05, help="share of the others for early stop")
    parser.add_argument("--highest", type=float, default=8.0, help="most defects per 1,000 characters")
    parser.add_argument("--method", choices=tuple(Method), default=Method.LORA)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--embeddings", action="store_true", help="let embeddings learn too (method full)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", action="store_true", help="compute in bf16")
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens of a step, padding included")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--head-rate", type=float, default=1e-3)
    parser.add_argument("--rate-weight", type=float, default=0.1)
    parser.add_argument("--evaluate-every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--out", type=Path, help="folder for what was learned")
    return parser


def main() -> None:
    """Read the command line and measure."""
    run(_parser().parse_args())


if __name__ == "__main__":
    main()
