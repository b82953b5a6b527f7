"""Measures how often the gate's interval holds the truth when two judges are equally good: `python -m benchmarks.gate`.

Families of 1 + Poisson(0.5) rows, whose rows change together; the true mean difference is 0. Printed for each shape of
differences and number of families: of 100 samples those whose interval holds 0, those that would prove a better judge and
those that would prove a worse one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import describe_machine
from core.gate import Pair, compare
from core.training import GateVerdict, Prediction
from core.types import Dimension, DimensionKind

SCALE = Dimension("fluency", {"en": "fluency"}, (1, 2, 3, 4, 5), DimensionKind.ORDINAL, {}, "1", needs_prompt=False)
# The old judge's loss less the new one's, in label steps, and how likely it is.
SHAPES: Mapping[str, tuple[tuple[int, ...], tuple[float, ...]]] = {
    "half of them differ": ((-2, -1, 0, 1, 2), (0.05, 0.2, 0.5, 0.2, 0.05)),
    "4% differ": ((-1, 0, 1), (0.02, 0.96, 0.02)),
    "1% differ": ((-1, 0, 1), (0.005, 0.99, 0.005)),
    "skewed: 15% gain 1, 5% lose 3": ((-3, 0, 1), (0.05, 0.8, 0.15)),
}


@dataclass(frozen=True, slots=True)
class Share:
    """Shares of the samples, in percent."""

    held: float
    better: float
    worse: float


def sample(families: int, shape: str, rng: np.random.Generator) -> tuple[Pair, dict[str, str]]:
    """Return two judges' answers under the null, and the family of each row."""
    values, chances = SHAPES[shape]
    sizes = 1 + rng.poisson(0.5, families)
    differences = rng.choice(values, size=families, p=chances)
    old, new, named = [], [], {}
    for family, (size, difference) in enumerate(zip(sizes, differences, strict=True)):
        for row in range(size):
            name = f"{family}.{row}"
            named[name] = str(family)
            old.append(Prediction(name, SCALE.id, 1, 1 + max(0, int(difference)), {}))
            new.append(Prediction(name, SCALE.id, 1, 1 + max(0, -int(difference)), {}))
    return Pair(SCALE, old, new, 1), named


def measure(families: int, shape: str, trials: int, resamples: int) -> Share:
    """Return what the gate says of `trials` samples."""
    rng = np.random.default_rng(1)
    found = [compare(*sample(families, shape, rng), resamples=resamples, seed=trial).verdict for trial in range(trials)]
    held, better, worse = (100 * found.count(one) / trials for one in (GateVerdict.UNPROVEN, GateVerdict.BETTER, GateVerdict.WORSE))
    return Share(held, better, worse)


def main() -> None:
    """Measure every shape at every number of families."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=int, nargs="+", default=[20, 50, 100, 300])
    parser.add_argument("--shape", choices=[*SHAPES], nargs="+", default=[*SHAPES])
    parser.add_argument("--trials", type=int, default=0, help="samples each; 0: 1,500, and 800 from 100 families on")
    parser.add_argument("--resamples", type=int, default=1_000)
    options = parser.parse_args()
    print(describe_machine(), flush=True)
    for shape in options.shape:
        for families in options.families:
            trials = options.trials or (800 if families >= 100 else 1_500)
            found = measure(families, shape, trials, options.resamples)
            said = f"held {found.held:.1f}, better {found.better:.1f}, worse {found.worse:.1f}"
            print(f"{shape}; {families} families, {trials} samples: {said}", flush=True)


if __name__ == "__main__":
    main()
