"""The head-training job: labelled rows of a snapshot in, a judge of the family ordinal_head out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core import metrics
from core.dimensions.loader import load_dimensions
from core.errors import JobError
from core.settings import load_settings
from core.training import EventKind, Split, Stage, TrainingRow
from core.types import Dimension, DimensionKind
from training.base import find_base, pin_device
from training.context import JobContext, Product
from training.faults.job import READER, JobWatcher
from training.faults.learning import Learner, make_learner
from training.files import whole_folder
from training.heads.folds import inner_split
from training.heads.spec import HeadSpec
from training.heads.store import READER_FILE, open_reader, save_head
from training.heads.train import GradedRow, HeadTraining, graded_rows, train_head, votes
from training.rows import dimension_of, read_rows

HEAD = "head"
FEWEST_ROWS = 20


def train_head_judge(spec: HeadSpec, context: JobContext) -> Product:
    """Do a head-training job, or go on from its last checkpoint.

    Raises JobError for rows that cannot be learned from, JudgeError when the model cannot be loaded, and Stopped after saving.
    """
    rows, dimension = _rows(spec)
    device = pin_device(spec.device)
    learner = _learner(spec, context, device, dimension)
    graded = graded_rows(
        learner, [row.text for row in rows], [row.label for row in rows], dimension.labels, [row.item_prompt for row in rows]
    )
    texts, labels = [row.text for row in rows], [row.label for row in rows]
    split = inner_split(texts, labels, spec.validation, spec.seed)
    learned, looked_at = [graded[place] for place in split.train], [graded[place] for place in split.held_out]
    trained = train_head(
        learner, learned, looked_at, spec.schedule(), JobWatcher(context), spec.loss, spec.calibration, context.checkpoints
    )
    figures = _figures(looked_at, trained, dimension)
    context.output.mkdir(parents=True, exist_ok=True)
    target = context.output / HEAD
    with whole_folder(target) as folder:
        save_head(
            folder, learner, dimension=dimension.id, labels=dimension.labels, base=spec.model, base_revision=spec.revision,
            calibration=trained.calibration, marks=spec.reader is not None, figures=figures,
        )  # fmt: skip
    words = {"en": "The weights that grade the validation rows best are the output.", "zh": "输出为验证行评分最好的权重。"}
    context.report(EventKind.NOTE, figures=figures, message=words)
    return Product(Stage.HEAD, "ordinal_head", {"head": str(target)}, target)


def _learner(spec: HeadSpec, context: JobContext, device: str, dimension: Dimension) -> Learner:
    base = find_base(spec.model, spec.revision, context)
    options = spec.learner(device, reads_prompt=dimension.needs_prompt)
    if spec.reader is None:
        return make_learner(base, options, len(dimension.labels))
    return open_reader(_reader_folder(spec.reader), base, options, len(dimension.labels))


def _reader_folder(given: Path) -> Path:
    """Return the folder with reader.json: the one that was named, or reader/ below it, where a job's output was named."""
    return given if (given / READER_FILE).is_file() else given / READER


def _rows(spec: HeadSpec) -> tuple[list[TrainingRow], Dimension]:
    rows = [row for row in read_rows(spec.snapshot, Split.TRAIN) if row.dimension_id == spec.dimension and row.text.strip()]
    if len(rows) < FEWEST_ROWS or len({row.label for row in rows}) < 2:
        raise JobError(
            f"{spec.snapshot} has {len(rows)} training rows of {spec.dimension} with a text; at least {FEWEST_ROWS} with two different labels "
            "are needed.",
            zh=f"训练集 {spec.snapshot} 中维度 {spec.dimension} 的非空训练行有 {len(rows)} 条；至少需要 {FEWEST_ROWS} 条且含两种不同分值。",
        )
    dimension = dimension_of(rows, load_dimensions(*load_settings().dimension_folders()))[spec.dimension]
    if dimension.kind is not DimensionKind.ORDINAL:
        raise JobError(
            f"The labels of {dimension.name('en')} have no order; an ordinal head grades ordered labels only.",
            zh=f"「{dimension.name('zh')}」的标签没有顺序；评分头只评有序标签。",
        )
    return rows, dimension


def _figures(rows: list[GradedRow], trained: HeadTraining, dimension: Dimension) -> dict[str, float]:
    """Return what the validation rows show after calibration; nothing without validation rows."""
    if trained.validation is None:
        return {}
    labels = np.array(dimension.labels)
    true = [int(labels[row.place]) for row in rows]
    chosen = [int(label) for label in labels[votes(trained.validation)]]
    distributions = [dict(zip(dimension.labels, map(float, row), strict=True)) for row in trained.validation]
    return {
        "mae": metrics.mean_absolute_error(true, chosen),
        "kappa": metrics.quadratic_weighted_kappa(true, chosen, dimension.labels),
        "calibration_error": metrics.calibration_error(true, distributions),
        "loss": metrics.log_loss(true, distributions),
    }
