"""Ask a judge for the rows of a snapshot and say how well it judged them.

Output: predictions.jsonl (a Prediction a line, and the expected score) and figures.json. Rows that are done are kept, so
a stopped job goes on behind them.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from core import gate
from core.dimensions.loader import load_dimensions
from core.errors import JobError
from core.judging.aggregation import expectation
from core.judging.registry import make_judge
from core.ports import Judge, JudgeContext
from core.retrieval.embedders import make_embedder
from core.settings import load_settings
from core.training import EventKind, Prediction, Split, TrainingRow
from core.types import Dimension, Judgement, JudgeSpec
from training.context import JobContext, Stopped
from training.files import whole_folder, write_whole
from training.rows import as_library, as_request, dimension_of, read_rows, snapshot_sha256
from training.specs import EvaluateSpec, JudgeLine
from training.standin import stand_in

log = logging.getLogger(__name__)

PREDICTIONS, FIGURES = "predictions.jsonl", "figures.json"
_PREDICTION: TypeAdapter[Prediction] = TypeAdapter(Prediction)


@dataclass(frozen=True, slots=True)
class Figures:
    """How well a judge judged the rows of one dimension; `constant_mae` is that of always saying the training rows' median.

    `rank_correlation` is Spearman's, of expected scores and true labels; 0 where one of them is constant.
    """

    rows: int
    unanswered: int
    mae: float
    score: float
    kappa: float
    calibration_error: float
    accuracy: float
    rank_correlation: float
    constant_mae: float
    constant_label: int


def evaluate(spec: EvaluateSpec, context: JobContext) -> None:
    """Do an evaluation job. Raises JudgeError and its kin where the judge cannot start or answer."""
    rows = read_rows(spec.snapshot, spec.split)
    if not rows:
        raise JobError(f"{spec.snapshot} has no rows in its part {spec.split}.", zh=f"训练集 {spec.snapshot} 的 {spec.split} 部分没有行。")
    training = read_rows(spec.snapshot, Split.TRAIN)
    settings = load_settings()
    dimensions = load_dimensions(*settings.dimension_folders())
    measured = dimension_of(rows, dimensions)
    kept = context.checkpoints / PREDICTIONS
    predictions = _read_kept(kept, rows)
    line = spec.judge
    if len(predictions) < len(rows):
        line = stand_in(line, context)
        embedder = make_embedder("ngram")
        library = as_library(training)
        embedder.fit([item.text for item in library])
        version = snapshot_sha256(spec.snapshot)
        world = JudgeContext(library, version, dimensions, settings.judge_cache(), embedder)
        with closing(make_judge(JudgeSpec(line.id, line.id, line.family, line.options), world)) as judge:
            _ask(judge, spec, rows, measured, predictions, kept, context)
    ordered = [predictions[row.hash] for row in rows]
    figures = {name: _figures(ordered, training, dimension) for name, dimension in measured.items()}
    _write(context.output, spec, line, ordered, figures)
    context.report(EventKind.HELD_OUT, len(rows), len(rows), summary(figures, measured))


def read_predictions(path: Path) -> list[Prediction]:
    """Return the predictions of a finished evaluation, in the snapshot's order."""
    return [_PREDICTION.validate_json(line) for line in path.read_bytes().splitlines()]


def summary(figures: Mapping[str, Figures], dimensions: Mapping[str, Dimension]) -> dict[str, float]:
    """Return the figures over all dimensions, each graded dimension with the same weight (nominal ones where there are no others)."""
    graded = [figures[name] for name, dimension in dimensions.items() if dimension.kind == "ordinal"] or list(figures.values())
    names = ("mae", "kappa", "calibration_error", "accuracy", "rank_correlation", "constant_mae")
    mean = {name: sum(getattr(one, name) for one in graded) / len(graded) for name in names}
    counts = {"rows": sum(one.rows for one in figures.values()), "unanswered": sum(one.unanswered for one in figures.values())}
    return {**mean, "score": 1 / (1 + mean["mae"]), **{name: float(count) for name, count in counts.items()}}


def _read_kept(path: Path, rows: Sequence[TrainingRow]) -> dict[str, Prediction]:
    """Return what an earlier try predicted, by row hash; a torn last line is dropped from the file."""
    if not path.exists():
        return {}
    wanted = {row.hash for row in rows}
    found: dict[str, Prediction] = {}
    for line in path.read_bytes().splitlines():
        try:
            prediction = _PREDICTION.validate_json(line)
        except ValidationError:
            break
        if prediction.hash in wanted:
            found[prediction.hash] = prediction
    write_whole(path, "".join(_line(prediction) for prediction in found.values()))
    return found


def _ask(
    judge: Judge,
    spec: EvaluateSpec,
    rows: Sequence[TrainingRow],
    dimensions: Mapping[str, Dimension],
    predictions: dict[str, Prediction],
    kept: Path,
    context: JobContext,
) -> None:
    waiting = [row for row in rows if row.hash not in predictions]
    started = time.perf_counter()
    with kept.open("a", encoding="utf-8") as file:
        for start in range(0, len(waiting), spec.batch_size):
            if context.stop_requested():
                raise Stopped
            batch = waiting[start : start + spec.batch_size]
            requests = [as_request(row, number, dimensions[row.dimension_id]) for number, row in enumerate(batch)]
            for row, judgement in zip(batch, judge.judge(requests), strict=True):
                predictions[row.hash] = _prediction(row, judgement)
                file.write(_line(predictions[row.hash]))
            file.flush()
            done = start + len(batch)
            rate = done / (time.perf_counter() - started)
            figures = {"rows_per_second": rate, "seconds_left": (len(waiting) - done) / rate}
            context.report(EventKind.PROGRESS, len(predictions), len(rows), figures)


def _prediction(row: TrainingRow, judgement: Judgement) -> Prediction:
    if judgement.label is None:
        log.info("Row %s: %s %s", row.external_id, judgement.status, judgement.error.get("en", ""))
    return Prediction(row.hash, row.dimension_id, row.label, judgement.label, dict(judgement.probabilities))


def _line(prediction: Prediction) -> str:
    """Return a prediction as a line of JSON; `expected` is the mean of its distribution, for people."""
    expected = expectation(prediction.probabilities) if prediction.probabilities else None
    return json.dumps({**asdict(prediction), "expected": expected}, ensure_ascii=False) + "\n"


def _figures(predictions: Sequence[Prediction], training: Sequence[TrainingRow], dimension: Dimension) -> Figures:
    own = [prediction for prediction in predictions if prediction.dimension_id == dimension.id]
    fallback = gate.constant(Counter(row.label for row in training if row.dimension_id == dimension.id), dimension)
    quality = gate.quality(own, dimension, fallback)
    constant = sum(gate.loss(prediction.gold, fallback, dimension) for prediction in own) / len(own)
    return Figures(**asdict(quality), rank_correlation=_rank_correlation(own), constant_mae=constant, constant_label=fallback)


def _rank_correlation(predictions: Sequence[Prediction]) -> float:
    from scipy.stats import spearmanr

    known = [(prediction.gold, expectation(prediction.probabilities)) for prediction in predictions if prediction.probabilities]
    if len({gold for gold, _ in known}) < 2 or len({expected for _, expected in known}) < 2:
        return 0.0
    return float(spearmanr([gold for gold, _ in known], [expected for _, expected in known]).statistic)


def _write(
    output: Path, spec: EvaluateSpec, answered_by: JudgeLine, predictions: Sequence[Prediction], figures: Mapping[str, Figures]
) -> None:
    record = {
        "judge": spec.judge.model_dump(mode="json"),
        "answered_by": answered_by.model_dump(mode="json"),
        "snapshot": str(spec.snapshot),
        "sha256": snapshot_sha256(spec.snapshot),
        "split": spec.split,
        "dimensions": {name: asdict(one) for name, one in figures.items()},
    }
    with whole_folder(output) as folder:
        (folder / PREDICTIONS).write_text("".join(_line(prediction) for prediction in predictions), encoding="utf-8")
        (folder / FIGURES).write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
