"""Measure the embedded judges on held-out families of a labelled file: python -m benchmarks.judges [--library FILE].

Prints the machine, the sizes, one table for the held-out fifth (each judge, the pooled median of all, the constant median of the
training part), the same over all folds, the seconds of learning and the rows a second.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from core import metrics
from core.dimensions.loader import load_dimensions
from core.judging.registry import families, make_judge
from core.judging.vote import chosen_label
from core.ports import Judge, JudgeContext
from core.retrieval.embedders import make_embedder
from core.retrieval.families import family_ids
from core.settings import ASSETS
from core.types import Dimension, Item, JudgeRequest, JudgeSpec, LabelledItem, Origin, SourceRef, content_hash

_CONSTANT, _POOLED = "constant median", "pooled median"
Distributions = list[dict[int, float]]


@dataclass(frozen=True, slots=True)
class Fold:
    """What came of one split: the true labels and each judge's distributions, learning and judging seconds."""

    true: list[int]
    answers: dict[str, Distributions]
    learning: dict[str, float]
    judging: dict[str, float]


def read_library(path: Path, dimensions: dict[str, Dimension]) -> list[LabelledItem]:
    """Return the labelled rows of a CSV file in UTF-8 or GB18030 with the competition's headers."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("gb18030")
    by_name = {dimension.name("zh"): dimension for dimension in dimensions.values()}
    rows = csv.reader(text.splitlines(keepends=True))
    place = {name: index for index, name in enumerate(next(rows))}
    items = []
    for number, row in enumerate(rows):
        external, prompt, name, body, label = (
            row[place[column]] for column in ("数据编号", "创作要求", "评判维度", "待评判内容", "标注分值")
        )
        dimension = by_name[name].id
        hashed = content_hash(dimension, prompt, body)
        items.append(LabelledItem(number, external, dimension, prompt, body, int(label), Origin.IMPORT, "", hashed))
    return items


def split(items: Sequence[LabelledItem], seed: int, parts: int = 5) -> NDArray[np.int64]:
    """Return the part of each item; near-duplicate families stay together."""
    family = np.array(family_ids([item.text for item in items]))
    names = np.random.default_rng(seed).permutation(np.unique(family))
    part = {int(name): place % parts for place, name in enumerate(names)}
    return np.array([part[int(name)] for name in family], dtype=np.int64)


def measure(items: Sequence[LabelledItem], held_out: NDArray[np.bool_], dimensions: dict[str, Dimension]) -> Fold:
    """Return what judges that learned from the rest answer on the `held_out` items."""
    training = [item for item, out in zip(items, held_out, strict=True) if not out]
    testing = [item for item, out in zip(items, held_out, strict=True) if out]
    embedder = make_embedder("ngram")
    embedder.fit([item.text for item in training])
    requests = [_request(item, dimensions) for item in testing]
    fold = Fold([item.label for item in testing], {}, {}, {})
    version = f"benchmark-{hash(tuple(item.content_hash for item in training))}"
    with tempfile.TemporaryDirectory() as folder:
        context = JudgeContext(training, version, dimensions, Path(folder), embedder)
        for family in families():
            if family not in _MEASURED:
                continue
            started = time.perf_counter()
            judge = make_judge(JudgeSpec(family, family, family), context)
            fold.learning[family] = time.perf_counter() - started
            started = time.perf_counter()
            fold.answers[family] = [dict(one.probabilities) for one in judge.judge(requests)]
            fold.judging[family] = time.perf_counter() - started
            judge.close()
    _add_references(fold, training, dimensions)
    return fold


_MEASURED = ("rules", "neighbours", "ngrams", "surprise")


def _add_references(fold: Fold, training: Sequence[LabelledItem], dimensions: dict[str, Dimension]) -> None:
    labels = sorted(dimensions[training[0].dimension_id].labels)
    judges = list(fold.answers.values())
    fold.answers[_POOLED] = [
        {label: float(np.mean([judge[row][label] for judge in judges])) for label in labels} for row in range(len(fold.true))
    ]
    counts = np.array([sum(item.label == label for item in training) for label in labels], dtype=np.float64) + 0.5
    share = dict(zip(labels, (counts / counts.sum()).tolist(), strict=True))
    fold.answers[_CONSTANT] = [share] * len(fold.true)


def _request(item: LabelledItem, dimensions: dict[str, Dimension]) -> JudgeRequest:
    source = SourceRef("benchmark", "", item.id)
    row = Item(item.id, 1, item.id, item.external_id, item.dimension_id, item.prompt, item.text, None, item.content_hash, source)
    return JudgeRequest(row, dimensions[item.dimension_id])


def table(folds: Sequence[Fold], dimension: Dimension) -> str:
    """Return the figures of some folds together as a Markdown table."""
    lines = [
        "| judge | MAE | 1/(1+MAE) | weighted kappa | log loss | calibration error |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    true = [label for fold in folds for label in fold.true]
    for name in folds[0].answers:
        given = [one for fold in folds for one in fold.answers[name]]
        chosen = [chosen_label(one, dimension.kind) for one in given]
        figures = (
            metrics.mean_absolute_error(true, chosen),
            metrics.score(true, chosen),
            metrics.quadratic_weighted_kappa(true, chosen, sorted(dimension.labels)),
            metrics.log_loss(true, given),
            metrics.calibration_error(true, given),
        )
        lines.append(f"| {name} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |")
    return "\n".join(lines)


def timings(items: Sequence[LabelledItem], dimensions: dict[str, Dimension], rows: int = 2000) -> str:
    """Return seconds of learning and of loading, and rows a second, for each judge, as a Markdown table.

    Learning is from all items; the rows to judge are the held-out fifth again and again, with judges that learned from the rest.
    """
    out = split(items, 0) == 0
    rest = [item for item, one in zip(items, out, strict=True) if not one]
    testing = [item for item, one in zip(items, out, strict=True) if one]
    embedder = make_embedder("ngram")
    embedder.fit([item.text for item in items])
    requests = [_request(testing[place % len(testing)], dimensions) for place in range(rows)]
    lines = ["| judge | learns in s | CPU s | loads in s | rows/s | CPU s |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    with tempfile.TemporaryDirectory() as folder:
        whole = JudgeContext(items, "whole", dimensions, Path(folder), embedder)
        part = JudgeContext(rest, "part", dimensions, Path(folder), embedder)
        for family in _MEASURED:
            spec = JudgeSpec(family, family, family)
            learned, busy = _timed(partial(make_judge, spec, whole))
            loaded, _ = _timed(partial(make_judge, spec, whole))
            judge = make_judge(spec, part)
            wall, cpu = _timed(partial(_run, judge, requests))
            lines.append(f"| {family} | {learned:.2f} | {busy:.2f} | {loaded:.2f} | {rows / wall:.0f} | {cpu:.1f} |")
    return "\n".join(lines)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    started, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - busy


def _run(judge: Judge, requests: Sequence[JudgeRequest]) -> None:
    for start in range(0, len(requests), 128):
        list(judge.judge(requests[start : start + 128]))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", type=Path, default=ASSETS.parent.parent / "shared" / "data" / "train-fluency.csv")
    parser.add_argument("--seeds", type=int, default=1, help="how often the five folds are drawn")
    parser.add_argument("--no-timings", action="store_true")
    arguments = parser.parse_args()
    dimensions = load_dimensions(ASSETS / "dimensions")
    items = read_library(arguments.library, dimensions)
    dimension = dimensions[items[0].dimension_id]
    print(describe_machine())
    characters = np.mean([len(item.text) for item in items])
    print(f"{arguments.library.name}: {len(items)} items of {dimension.id}, {characters:.0f} characters each")
    folds = []
    for seed in range(arguments.seeds):
        part = split(items, seed)
        folds += [measure(items, part == number, dimensions) for number in range(5)]
        if seed == 0:
            print(f"\nHeld-out fifth ({len(folds[0].true)} items), split by near-duplicate family:\n{table(folds[:1], dimension)}")
    print(f"\nAll five folds, {arguments.seeds} time(s):\n{table(folds, dimension)}")
    if not arguments.no_timings:
        print(f"\nLearning from {len(items)} items, judging in batches of 128:\n{timings(items, dimensions)}")


if __name__ == "__main__":
    main()
