"""The fine-tune job: rows of a snapshot in, the best adapter (or model) by the validation rows out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.dimensions.loader import load_dimensions
from core.errors import JobError
from core.judging.transformers.chat import PromptEncoder
from core.judging.transformers.light import import_transformers
from core.judging.transformers.load import free_memory
from core.settings import load_settings
from core.training import EventKind, Split, Stage, TrainingRow
from core.types import Dimension
from training.base import Base, load_base, pin_device
from training.context import JobContext, Product, Stopped
from training.estimate import GIB, estimate_shape, read_shape
from training.files import whole_folder
from training.finetune.adapter import check_method, trainable
from training.finetune.data import LabelTokens, encode_rows, split_validation
from training.rows import dimension_of, read_rows
from training.specs import FineTuneSpec, Method

log = logging.getLogger(__name__)

FEWEST_ROWS = 2


def fine_tune(spec: FineTuneSpec, context: JobContext) -> Product:
    """Do a fine-tuning job, or go on from its last whole checkpoint.

    Raises JobError for what cannot be trained on and when the loss is no number, JudgeError when the model cannot be
    loaded, and Stopped after saving.
    """
    rows, dimensions = _rows(spec)
    device = pin_device(spec.device)
    check_method(spec, device)
    import_transformers()
    from transformers import set_seed

    from training.finetune.trainer import WHOLE, LabelTrainer, Reporter, report_look, save_best

    set_seed(spec.seed)
    full = spec.method is Method.FULL
    base = load_base(spec.model, spec.revision, device, spec.dtype, context, quantized=spec.method is Method.QLORA, widest=full)
    material = _material(spec, rows, dimensions, base, context)
    _tell_memory(spec, material, base, context)
    model = trainable(base.model, spec)
    trainer = LabelTrainer(spec, context, material, model, _autocast(base))
    reporter = next(callback for callback in trainer.callback_handler.callbacks if isinstance(callback, Reporter))
    checkpoint = last_checkpoint(context.checkpoints, WHOLE)
    steps = trainer.args.max_steps
    if checkpoint is None and material.validation:
        report_look(context, trainer.look(), 0, steps)
    elif checkpoint is not None:
        words = {"en": f"Going on from {checkpoint.name}.", "zh": f"从 {checkpoint.name} 继续。"}
        context.report(EventKind.NOTE, message=words)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if reporter.stopped:
        raise Stopped
    if not (context.checkpoints / "best").is_dir():
        save_best(context, trainer.model, trainer.state.global_step, None)
    product = _publish(spec, context, base)
    _tell_best(context, trainer.state.log_history, trainer.state.global_step, steps)
    return product


def last_checkpoint(folder: Path, mark: str) -> Path | None:
    """Return the newest checkpoint that was written to its end; others are removed, since a kill left them half done."""
    found: dict[int, Path] = {}
    for path in folder.glob("checkpoint-*"):
        number = path.name.removeprefix("checkpoint-")
        if number.isdecimal() and (path / mark).exists():
            found[int(number)] = path
        else:
            shutil.rmtree(path, ignore_errors=True)
    return found[max(found)] if found else None


def _rows(spec: FineTuneSpec) -> tuple[list[TrainingRow], dict[str, Dimension]]:
    rows = read_rows(spec.snapshot, Split.TRAIN)
    if spec.dimensions:
        rows = [row for row in rows if row.dimension_id in spec.dimensions]
    if len(rows) < FEWEST_ROWS:
        raise JobError(
            f"{spec.snapshot} has {len(rows)} training rows for this job; freeze a snapshot with more.",
            zh=f"训练集 {spec.snapshot} 中可用于本任务的训练行只有 {len(rows)} 条，请生成更大的训练集。",
        )
    return rows, dimension_of(rows, load_dimensions(*load_settings().dimension_folders()))


def _material(spec: FineTuneSpec, rows: Sequence[TrainingRow], dimensions: dict[str, Dimension], base: Base, context: JobContext) -> Any:
    from training.finetune.trainer import Material, plan

    encoder = PromptEncoder(base.tokenizer, base.model.config.model_type)
    tokens = LabelTokens(encoder, dimensions)
    longest = getattr(base.model.config.get_text_config(), "max_position_embeddings", None) or spec.max_length
    limit = min(spec.max_length, int(longest))
    fitting, too_long = encode_rows(rows, encoder, dimensions, limit)
    if too_long:
        words = {
            "en": f"{len(too_long)} of {len(rows)} rows are longer than {limit} tokens and left out (the first: {too_long[0].external_id}).",
            "zh": f"{len(rows)} 行中有 {len(too_long)} 行超过 {limit} 个词元，已略过（第一行：{too_long[0].external_id}）。",
        }
        context.report(EventKind.NOTE, message=words)
    if len(fitting) < FEWEST_ROWS:
        raise JobError(
            f"Only {len(fitting)} rows fit into {limit} tokens; raise max_length, or freeze a snapshot with fewer examples.",
            zh=f"只有 {len(fitting)} 行不超过 {limit} 个词元；请增大 max_length，或生成例文更少的训练集。",
        )
    train, validation = split_validation(fitting, spec.validation, spec.seed)
    pad_id = base.tokenizer.pad_token_id if base.tokenizer.pad_token_id is not None else 0
    return Material(train, validation, dimensions, tokens, plan(spec, train), pad_id)


def _tell_memory(spec: FineTuneSpec, material: Any, base: Base, context: JobContext) -> None:
    """Say how much memory the longest rows will need, and what to change where that is more than there is; the job tries all the same."""
    longest = max(len(row.ids) for row in (*material.train, *material.validation))
    need = estimate_shape(read_shape(base.folder), spec, base.device, longest)
    # The weights are there already.
    have = free_memory(base.device) + need.weights
    words = need.advice(have) or {
        "en": f"About {need.total / GIB:.1f} GiB are needed for rows of up to {longest} tokens; {have / GIB:.1f} GiB are there.",
        "zh": f"最长 {longest} 个词元的行约需 {need.total / GIB:.1f} GiB，可用 {have / GIB:.1f} GiB。",
    }
    context.report(EventKind.NOTE, message=words)


def _autocast(base: Base) -> Any:
    """Return the 16-bit format that products are computed in, None for 32 bits."""
    import torch

    return None if base.dtype is torch.float32 else base.dtype


def _publish(spec: FineTuneSpec, context: JobContext, base: Base) -> Product:
    best = context.checkpoints / "best"
    full = spec.method is Method.FULL
    target = context.output / ("model" if full else "adapter")
    with whole_folder(target) as folder:
        for path in best.iterdir():
            shutil.copy(path, folder)
        base.tokenizer.save_pretrained(folder)
    if full:
        return Product(Stage.MERGED, "transformers", {"model": str(target)}, target)
    options: dict[str, object] = {"model": spec.model, "adapter": str(target)}
    if spec.revision:
        options["revision"] = spec.revision
    return Product(Stage.ADAPTER, "transformers", options, target)


def _tell_best(context: JobContext, history: Sequence[dict[str, Any]], step: int, steps: int) -> None:
    from training.finetune.trainer import looks

    found = looks(history)
    if not found:
        return
    best = min(found, key=lambda look: look.order)
    words = {"en": "The best step by the validation rows is the output.", "zh": "输出为验证结果最好的一步。"}
    context.report(EventKind.NOTE, step, steps, {"mae": best.mae, "kappa": best.kappa, "loss": best.loss}, words)
