"""The fault-pretraining job: clean texts in, a model that sees faults out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from core.dimensions.loader import load_dimensions
from core.errors import JobError
from core.settings import load_settings
from core.training import EventKind, Split
from training.base import find_base, pin_device
from training.context import JobContext
from training.faults.injector import FaultyText
from training.faults.learning import make_learner
from training.faults.material import read_texts, without_relatives
from training.faults.pretrain import pretrain, tag_rows
from training.faults.rows import Recipe, make_rows
from training.faults.spec import FaultPretrainSpec
from training.files import whole_folder
from training.heads.store import save_reader
from training.rows import read_rows

READER = "reader"
_ANY_SCALE = 2
_FEWEST_TEXTS = 4
_FEWEST_ROWS = 10


class JobWatcher:
    """Tells a job's context what happens in a training."""

    def __init__(self, context: JobContext) -> None:
        self._context = context

    def train(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Report the figures of training steps."""
        self._context.report(EventKind.TRAIN, step, steps, figures)

    def validation(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Report the figures of the validation rows."""
        self._context.report(EventKind.HELD_OUT, step, steps, figures)

    def stop_requested(self) -> bool:
        """Return whether somebody asked the job to save and stop."""
        return self._context.stop_requested()


def fault_pretrain(spec: FaultPretrainSpec, context: JobContext) -> None:
    """Do a fault-pretraining job, or go on from its last checkpoint; it makes no judge, but what head jobs go on from.

    Raises JobError for texts that cannot be learned from, JudgeError when the model cannot be loaded, and Stopped after saving.
    """
    learned, looked_at = _material(spec, context)
    device = pin_device(spec.device)
    learner = make_learner(find_base(spec.model, spec.revision, context), spec.learner(device), _ANY_SCALE)
    rows, validation = tag_rows(learner, learned), tag_rows(learner, looked_at)
    told = pretrain(learner, rows, validation, spec.schedule(), JobWatcher(context), context.checkpoints, spec.rate_weight)
    figures = asdict(told) if told else {}
    context.output.mkdir(parents=True, exist_ok=True)
    with whole_folder(context.output / READER) as folder:
        save_reader(folder, learner, spec.model, spec.revision, figures)
    words = {"en": "The weights that see faults best are the output.", "zh": "输出为识别错误最好的权重。"}
    context.report(EventKind.NOTE, figures=figures, message=words)


def _material(spec: FaultPretrainSpec, context: JobContext) -> tuple[list[FaultyText], list[FaultyText]]:
    """Return the rows to learn from and those to look at, which are made of other texts."""
    texts = read_texts(spec.texts, load_dimensions(*load_settings().dimension_folders()), spec.dimension)
    held_out = [row.text for row in read_rows(spec.snapshot, Split.HELD_OUT)] if spec.snapshot else []
    clean = without_relatives(texts, held_out)
    if len(clean) < _FEWEST_TEXTS:
        raise JobError(
            f"Only {len(clean)} of {len(texts)} texts are no near-duplicates of held-out rows; at least {_FEWEST_TEXTS} are needed.",
            zh=f"{len(texts)} 篇文本中只有 {len(clean)} 篇不与留出行近似，至少需要 {_FEWEST_TEXTS} 篇。",
        )
    every = max(2, round(1 / spec.validation))
    learned = [text for place, text in enumerate(clean) if place % every]
    recipe = Recipe(spec.rows, spec.seed, spec.longest, spec.highest, spec.sound)
    fewer = Recipe(max(_FEWEST_ROWS, round(spec.rows * spec.validation)), spec.seed + 1, spec.longest, spec.highest, spec.sound)
    rows, looked_at = make_rows(learned, recipe), make_rows(clean[::every], fewer)
    if not rows or not looked_at:
        raise JobError(
            "The texts have no sentences to put faults into; name other texts.", zh="这些文本中没有可注入错误的句子；请换用其他文本。"
        )
    words = {
        "en": f"{len(clean)} clean texts ({len(texts) - len(clean)} left out as near-duplicates of held-out rows) make {len(rows)} rows.",
        "zh": f"{len(clean)} 篇干净文本（另有 {len(texts) - len(clean)} 篇与留出行近似，已略过）生成 {len(rows)} 行。",
    }
    context.report(EventKind.NOTE, message=words)
    return rows, looked_at
