"""Loads a head judge from its folder: base model, adapter or full weights, heads, on an engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import JudgeError
from core.judging.head.files import ADAPTER_FOLDER, MODEL_FOLDER, BaseWeights, HeadFile, read_head_file, read_head_weights
from core.judging.head.model import Batch, build_heads, last_states, load_backbone, with_adapter
from core.judging.head.options import Engine, HeadOptions
from core.judging.head.reader import RowReader, StateSource
from core.judging.transformers.load import choose_device, choose_dtype
from core.judging.weights import loading, models_folder, resolve_model

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class LoadedHead:
    """A head judge's parts, ready to read."""

    head: HeadFile
    tokenizer: Any
    reader: RowReader


def load_head(judge_id: str, options: HeadOptions, cache_dir: Path, panel_id: str = "") -> LoadedHead:
    """Return the parts of a head judge. Raises JudgeError, with how to mend it, where something is missing."""
    from transformers import AutoConfig, AutoTokenizer

    head = read_head_file(options.head)
    folder = base_folder(judge_id, options, head, cache_dir, panel_id)
    device = choose_device(judge_id, options.device) if options.engine is Engine.TORCH else "cpu"
    with loading(judge_id, folder, panel_id):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        dtype = choose_dtype(options.dtype, device, AutoConfig.from_pretrained(folder))
    if not tokenizer.is_fast:
        raise JudgeError(
            f"Judge {judge_id!r}: the tokenizer in {folder} does not tell where its tokens stand; a fast tokenizer (tokenizer.json) is needed.",
            zh=f"评委 {judge_id!r}：{folder} 中的分词器无法给出词元位置；需要快速分词器（tokenizer.json）。",
        )
    heads = load_heads(options.head, head).to(device)
    with loading(judge_id, folder, panel_id):
        states = _state_source(judge_id, options, head, folder, device, dtype)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return LoadedHead(head, tokenizer, RowReader(states, heads, head, pad_id, device, options.token_budget))


def base_folder(judge_id: str, options: HeadOptions, head: HeadFile, cache_dir: Path, panel_id: str = "") -> Path:
    """Return the folder with configuration, tokenizer and base weights."""
    if head.weights is BaseWeights.FULL:
        return options.head / MODEL_FOLDER
    return resolve_model(judge_id, options.base or head.base, models_folder(cache_dir), revision=head.base_revision, panel_id=panel_id)


def load_heads(folder: Path, head: HeadFile) -> Any:
    """Return the heads of a folder in evaluation mode. Raises JudgeError where they do not fit head.json."""
    heads = build_heads(head.hidden_size, len(head.kinds), len(head.labels))
    try:
        heads.load_state_dict(read_head_weights(folder))
    except RuntimeError as error:
        raise JudgeError(
            f"The weights in {folder} do not fit its head.json; copy the folder again, or train the head again: {error}",
            zh=f"{folder} 中的权重与 head.json 不符；请重新复制该文件夹，或重新训练：{error}",
        ) from error
    return heads.eval().requires_grad_(False)


def load_base(folder: Path, head_folder: Path, head: HeadFile, dtype: Any, device: str) -> Any:
    """Return the base model with the head's adapter, where it has one, added to its weights."""
    backbone = load_backbone(folder, dtype, device)
    if head.weights is BaseWeights.ADAPTER:
        backbone = with_adapter(backbone, head_folder / ADAPTER_FOLDER)
    return backbone.eval().requires_grad_(False)


def _state_source(judge_id: str, options: HeadOptions, head: HeadFile, folder: Path, device: str, dtype: Any) -> StateSource:
    model = load_base(folder, options.head, head, dtype, device)
    hidden = model.config.get_text_config().hidden_size
    if hidden != head.hidden_size:
        raise JudgeError(
            f"Judge {judge_id!r}: the model in {folder} has states of {hidden} numbers, its head was trained on {head.hidden_size}. "
            f"Name the base model that head.json names ({head.base}).",
            zh=f"评委 {judge_id!r}：{folder} 的隐藏维度为 {hidden}，而评分头训练时为 {head.hidden_size}。请使用 head.json 中的基座模型（{head.base}）。",
        )
    if options.engine is Engine.TORCH_INT8:
        from core.judging.head.int8 import quantize_linears

        model = quantize_linears(model)

    def states(batch: Batch) -> Tensor:
        return last_states(model, batch, head.attention)

    return states
