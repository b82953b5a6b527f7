"""Writing what was learned, and going on from it: pretrained readers and head judges share one layout of folders."""

from __future__ import annotations

import copy
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import JobError
from core.faultmarks import MarkKind
from core.judging.head.files import (
    ADAPTER_FOLDER,
    MODEL_FOLDER,
    WEIGHTS_FILE,
    Attention,
    BaseWeights,
    Calibration,
    HeadFile,
    read_head_weights,
    write_head_file,
)
from core.judging.head.model import load_backbone, with_adapter
from training.faults.learning import Learner, LearnerOptions, Method, add_adapter, make_learner, set_up, weights_format, without_casts

READER_FILE = "reader.json"


class ReaderFile(BaseModel):
    """reader.json: what a fault pretraining made, for head trainings to go on from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    base_revision: str | None = None
    weights: BaseWeights
    attention: Attention
    max_length: int
    hidden_size: int
    kinds: tuple[MarkKind, ...]
    rate_per: int = 100
    reads_prompt: bool = False
    figures: dict[str, float] = Field(default_factory=dict)


def save_reader(folder: Path, learner: Learner, base: str, base_revision: str | None, figures: dict[str, float]) -> ReaderFile:
    """Write a pretrained reader into an empty folder."""
    weights = _save_weights(folder, learner)
    hidden = learner.heads["rate"].in_features
    file = ReaderFile(
        base=base,
        base_revision=base_revision,
        weights=weights,
        attention=learner.attention,
        max_length=learner.max_length,
        hidden_size=hidden,
        kinds=learner.kinds,
        rate_per=learner.rate_per,
        reads_prompt=learner.reads_prompt,
        figures=figures,
    )
    (folder / READER_FILE).write_text(file.model_dump_json(indent=1), encoding="utf-8")
    return file


def read_reader(folder: Path) -> ReaderFile:
    """Return the reader.json of a folder. Raises JobError for a folder that no fault pretraining made."""
    try:
        return ReaderFile.model_validate_json((folder / READER_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise JobError(
            f"{folder} is not what a fault pretraining made ({READER_FILE}: {error}); name its output folder, or leave it out.",
            zh=f"{folder} 不是错误预训练的产出（{READER_FILE}：{error}）；请填写其输出文件夹，或留空。",
        ) from error


def save_head(
    folder: Path,
    learner: Learner,
    *,
    dimension: str,
    labels: tuple[int, ...],
    base: str,
    base_revision: str | None,
    calibration: Calibration,
    marks: bool,
    figures: dict[str, float],
) -> HeadFile:
    """Write a head judge into an empty folder. Without `marks` it tells no suspected faults: nothing taught it any."""
    weights = _save_weights(folder, learner)
    head = HeadFile(
        dimension=dimension,
        labels=labels,
        base=base,
        base_revision=base_revision,
        weights=weights,
        attention=learner.attention,
        max_length=learner.max_length,
        hidden_size=learner.heads["rate"].in_features,
        reads_prompt=learner.reads_prompt,
        kinds=learner.kinds,
        rate_per=learner.rate_per,
        marks=marks,
        calibration=calibration,
        figures=figures,
        made_with={name: version(name) for name in ("torch", "transformers", "peft")},
    )
    write_head_file(folder, head)
    return head


def open_reader(folder: Path, base_folder: Path, options: LearnerOptions, labels: int) -> Learner:
    """Return a learner that goes on from what a fault pretraining made; attention, length and kinds of faults are the reader's.

    A LoRA training goes on with the reader's adapter where it has one, whatever rank `options` say. Raises JobError for a reader
    that was taught with prompts where there are none.
    """
    reader = read_reader(folder)
    if reader.reads_prompt and not options.reads_prompt:
        raise JobError(
            f"{folder} was taught on pairs of prompt and text, and this dimension has no prompts; name a pretraining on texts.",
            zh=f"{folder} 是用创作要求与文本配对预训练的，而本维度没有创作要求；请选用只含文本的预训练。",
        )
    options = replace(options, attention=reader.attention, max_length=reader.max_length, kinds=reader.kinds, rate_per=reader.rate_per)
    own = folder / MODEL_FOLDER if reader.weights is BaseWeights.FULL else base_folder
    learner = make_learner(own, replace(options, method=Method.FROZEN), labels)
    learner.backbone = load_backbone(own, weights_format(options), options.device)
    if reader.weights is BaseWeights.ADAPTER:
        adapter = folder / ADAPTER_FOLDER
        if options.method is Method.FULL:
            learner.backbone = with_adapter(learner.backbone, adapter)
        else:
            from peft import PeftModel

            adapted = PeftModel.from_pretrained(learner.backbone, str(adapter), is_trainable=options.method is Method.LORA)
            learner.backbone = without_casts(adapted)
    elif options.method is Method.LORA:
        learner.backbone = add_adapter(learner.backbone, options.rank, options.alpha, options.dropout)
    set_up(learner, options.method)
    learner.over_base = reader.weights is not BaseWeights.FULL
    known = {name: weight for name, weight in read_head_weights(folder).items() if name.startswith(("tag.", "rate."))}
    learner.heads.load_state_dict(known, strict=False)
    return learner


def _save_weights(folder: Path, learner: Learner) -> BaseWeights:
    """Write heads.safetensors and what of the base model differs from the base; return its form."""
    from peft import PeftModel
    from safetensors.torch import save_file

    save_file({name: weight.detach().cpu().contiguous() for name, weight in learner.heads.state_dict().items()}, folder / WEIGHTS_FILE)
    backbone = learner.backbone
    if isinstance(backbone, PeftModel):
        if learner.over_base:
            backbone.save_pretrained(folder / ADAPTER_FOLDER)
            return BaseWeights.ADAPTER
        backbone = copy.deepcopy(backbone).merge_and_unload()
    elif learner.method is not Method.FULL and learner.over_base:
        return BaseWeights.BASE
    target = folder / MODEL_FOLDER
    _in_saved_format(backbone, learner.half).save_pretrained(target)
    learner.tokenizer.save_pretrained(target)
    return BaseWeights.FULL


def _in_saved_format(backbone: Any, half: bool) -> Any:
    """Return the model in bf16 where it was trained in bf16, else itself; the learner's own weights stay fp32."""
    import torch

    return copy.deepcopy(backbone).to(torch.bfloat16) if half else backbone
