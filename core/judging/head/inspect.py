"""What of a head judge lies on this machine, found without loading any of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.errors import JudgeError
from core.judging.head.files import ADAPTER_FOLDER, MODEL_FOLDER, WEIGHTS_FILE, BaseWeights, HeadFile, read_head_file
from core.judging.head.options import Engine, HeadOptions
from core.judging.transformers.options import Precision
from core.judging.transformers.weights import count_parameters
from core.judging.weights import models_folder, resolve_model, weight_bytes

_LIST_HEADS = "./run.sh jobs candidates"
_WIDE, _NARROW = 4, 2
# The 8-bit layers are made beside the whole model (core/judging/head/int8.py).
_COPIES = {Engine.TORCH: 1, Engine.TORCH_INT8: 2}


@dataclass(frozen=True, slots=True)
class HeadParts:
    """A head judge's files, all of them there: `bytes` on disk, and the numbers of its base model that are loaded."""

    head: HeadFile
    base: Path
    bytes: int
    parameters: int

    def loaded_bytes(self, options: HeadOptions, *, on_card: bool) -> int:
        """Return the bytes of the weights once they are loaded on a card or a CPU (core.judging.transformers.load.choose_dtype)."""
        narrow = options.dtype in {Precision.BF16, Precision.FP16} or (options.dtype is Precision.AUTO and on_card)
        return self.parameters * (_NARROW if narrow else _WIDE) * _COPIES[options.engine]


def find_parts(judge_id: str, options: HeadOptions, cache_dir: Path, panel_id: str = "") -> HeadParts:
    """Return the files of a head judge. Raises JudgeError with what is missing and the command to type, for `panel_id`."""
    folder = options.head
    try:
        head = read_head_file(folder)
    except JudgeError as error:
        zh, en = error.messages["zh"], error.messages["en"]
        raise JudgeError(f"{en} To see those that there are, type: {_LIST_HEADS}", zh=f"{zh}查看现有的评分头：{_LIST_HEADS}") from error
    own = [folder / WEIGHTS_FILE]
    if head.weights is BaseWeights.ADAPTER:
        own += [folder / ADAPTER_FOLDER / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    for path in own:
        if not path.is_file():
            raise JudgeError(
                f"{path} is missing, a part of the head judge. Copy the whole folder again, or name another head; to see those that there "
                f"are, type: {_LIST_HEADS}",
                zh=f"缺少评分头评委的文件 {path}。请重新复制整个文件夹，或换用其他评分头；查看现有的评分头：{_LIST_HEADS}",
            )
    if head.weights is BaseWeights.FULL:
        base = resolve_model(judge_id, str((folder / MODEL_FOLDER).absolute()), models_folder(cache_dir), panel_id=panel_id)
    else:
        base = resolve_model(judge_id, options.base or head.base, models_folder(cache_dir), revision=head.base_revision, panel_id=panel_id)
    size = weight_bytes(base) + sum(path.stat().st_size for path in own)
    return HeadParts(head, base, size, _parameters(judge_id, base))


def _parameters(judge_id: str, base: Path) -> int:
    from safetensors import SafetensorError

    try:
        return count_parameters(base)
    except (OSError, SafetensorError) as error:
        raise JudgeError(
            f"Judge {judge_id!r}: the weights in {base} are damaged ({error}); copy or fetch them again.",
            zh=f"评委 {judge_id!r}：{base} 中的权重已损坏（{error}），请重新复制或下载。",
        ) from error
