"""The fault-pretraining job: clean texts in, a model that sees faults out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from core.dimensions.loader import load_dimensions
from core.errors import JobError
from core.faultmarks import DEFECT_KINDS
from core.settings import load_settings
from core.training import EventKind, Split
from training.base import find_base, pin_device
from training.context import JobContext
from training.defects.material import Pair, parted, read_pairs, without_kin
from training.defects.rows import RATE_PER, DefectiveText, DefectRecipe, make_defect_rows
from training.faults.answers import AnsweredRow, answered_rows, read_answers, seen_as_often
from training.faults.injector import FaultyText
from training.faults.learning import Learner, LearnerOptions, make_learner
from training.faults.material import read_texts, without_relatives
from training.faults.pretrain import pretrain, tag_rows
from training.faults.rows import Recipe, make_rows
from training.faults.spec import FaultPretrainSpec, Made
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
    learned, looked_at = _material(spec, context) if spec.makes is Made.FAULTS else _pairs(spec, context)
    device = pin_device(spec.device)
    learner = make_learner(find_base(spec.model, spec.revision, context), _options(spec, device), _ANY_SCALE)
    answered = seen_as_often(tag_rows(learner, _answers(spec, context, learner)), spec.answer_weight, spec.seed)
    rows, validation = tag_rows(learner, learned) + answered, tag_rows(learner, looked_at)
    told = pretrain(learner, rows, validation, spec.schedule(), JobWatcher(context), context.checkpoints, spec.rate_weight)
    figures = asdict(told) if told else {}
    context.output.mkdir(parents=True, exist_ok=True)
    with whole_folder(context.output / READER) as folder:
        save_reader(folder, learner, spec.model, spec.revision, figures)
    words = {"en": "The weights that see faults best are the output.", "zh": "输出为识别错误最好的权重。"}
    context.report(EventKind.NOTE, figures=figures, message=words)


def _options(spec: FaultPretrainSpec, device: str) -> LearnerOptions:
    if spec.makes is Made.FAULTS:
        return spec.learner(device)
    return replace(spec.learner(device, reads_prompt=True), kinds=DEFECT_KINDS, rate_per=RATE_PER)


def _answers(spec: FaultPretrainSpec, context: JobContext, learner: Learner) -> list[AnsweredRow]:
    """Return what people answered as rows, without texts whose family is held out, and tell what was left out."""
    if spec.answers is None or not spec.answer_weight:
        return []
    held_out = read_rows(spec.snapshot, Split.HELD_OUT) if spec.snapshot else []
    known = load_dimensions(*load_settings().dimension_folders())
    texts = read_answers(spec.answers, spec.answers_sha256)
    rows, counts = answered_rows(texts, learner.kinds, known, held_out, with_prompts=learner.reads_prompt)
    context.report(EventKind.NOTE, figures=counts.figures(), message=counts.words())
    if spec.snapshot is None:
        words = {
            "en": "No snapshot is named: answers on rows that a later measurement holds out are learned from, too.",
            "zh": "未指定训练集：若某些行日后被留出测量，其上的回答也已用于学习。",
        }
        context.report(EventKind.NOTE, message=words)
    return rows


def _pairs(spec: FaultPretrainSpec, context: JobContext) -> tuple[list[DefectiveText], list[DefectiveText]]:
    """Return the rows to learn from and those to look at, which are made of pairs of other families."""
    pairs = read_pairs(spec.texts, load_dimensions(*load_settings().dimension_folders()), spec.dimension)
    held_out = [Pair(row.item_prompt, row.text) for row in read_rows(spec.snapshot, Split.HELD_OUT)] if spec.snapshot else []
    good = without_kin(pairs, held_out)
    to_learn, to_look_at = parted(good, spec.validation) if len(good) >= _FEWEST_TEXTS else ([], [])
    if not to_learn or not to_look_at:
        raise JobError(
            f"{len(good)} of {len(pairs)} pairs are no near-duplicates of held-out rows; at least {_FEWEST_TEXTS}, not all near-duplicates "
            "of each other, are needed.",
            zh=f"{len(pairs)} 对「要求—文本」中有 {len(good)} 对不与留出行近似；至少需要 {_FEWEST_TEXTS} 对，且不能全部彼此近似。",
        )
    recipe = DefectRecipe(spec.rows, spec.seed, spec.most_defects, spec.sound, spec.swapped)
    fewer = replace(recipe, count=max(_FEWEST_ROWS, round(spec.rows * spec.validation)), seed=spec.seed + 1)
    rows, looked_at = make_defect_rows(to_learn, recipe), make_defect_rows(to_look_at, fewer)
    left_out = len(pairs) - len(good)
    words = {
        "en": f"{len(good)} good pairs ({left_out} left out as near-duplicates of held-out rows) make {len(rows)} rows.",
        "zh": f"{len(good)} 对好文本（另有 {left_out} 对与留出行近似，已略过）生成 {len(rows)} 行。",
    }
    context.report(EventKind.NOTE, message=words)
    return rows, looked_at


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
