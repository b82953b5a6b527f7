"""The folder of a head judge: head.json, heads.safetensors, and adapter/ or model/."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import JudgeError
from core.faultmarks import MarkKind

if TYPE_CHECKING:
    from torch import Tensor

HEAD_FILE = "head.json"
WEIGHTS_FILE = "heads.safetensors"
ADAPTER_FOLDER = "adapter"
MODEL_FOLDER = "model"


class Attention(StrEnum):
    """What a token may look at: what stands before it, or the whole text."""

    CAUSAL = "causal"
    BIDIRECTIONAL = "bidirectional"


class BaseWeights(StrEnum):
    """Where the weights below the heads are: the base's own, the base's with adapter/, or in model/."""

    BASE = "base"
    ADAPTER = "adapter"
    FULL = "full"


class Calibration(BaseModel):
    """How label probabilities are corrected: p' is proportional to p ** (1 / temperature) * exp(shift of the label).

    Guo et al., "On calibration of modern neural networks", ICML 2017 (temperature and vector scaling).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(default=1.0, gt=0)
    shifts: tuple[float, ...] = ()


class HeadFile(BaseModel):
    """head.json: what a head judge is made of and what it may judge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    dimension: str = Field(min_length=1)
    labels: tuple[int, ...] = Field(min_length=2)
    base: str = Field(min_length=1, description="Hub id or folder of the base model.")
    base_revision: str | None = None
    weights: BaseWeights
    attention: Attention
    max_length: int = Field(ge=8, description="Tokens that are read at once; longer texts are read in windows.")
    hidden_size: int = Field(ge=1)
    reads_prompt: bool = False
    kinds: tuple[MarkKind, ...]
    rate_per: int = Field(default=100, ge=1, description="Characters that the told rate of faults is for.")
    marks: bool = Field(default=True, description="Whether the tagger was taught; if not, no suspected faults are told.")
    mark_from: float = Field(default=0.3, ge=0, le=1, description="Least probability of a suspected fault that is told.")
    calibration: Calibration = Calibration()
    figures: dict[str, float] = Field(default_factory=dict, description="What the inner validation rows showed.")
    made_with: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> HeadFile:
        if list(self.labels) != sorted(set(self.labels)):
            raise ValueError("labels must rise, each named once")
        if self.calibration.shifts and len(self.calibration.shifts) != len(self.labels):
            raise ValueError("calibration must have as many shifts as labels, or none")
        return self


def read_head_file(folder: Path) -> HeadFile:
    """Return the head.json of a folder. Raises JudgeError with every fault of the file."""
    path = folder / HEAD_FILE
    try:
        return HeadFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise JudgeError(
            f"{folder} holds no {HEAD_FILE}, so it is no head judge. Name the folder that the training job made.",
            zh=f"{folder} 中没有 {HEAD_FILE}，不是评分头评委；请填写训练任务产出的文件夹。",
        ) from error
    except ValidationError as error:
        faults = "\n  ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors())
        raise JudgeError(
            f"{path} cannot be used; train the head again, or correct:\n  {faults}",
            zh=f"{path} 无法使用，请重新训练，或改正：\n  {faults}",
        ) from error


def write_head_file(folder: Path, head: HeadFile) -> None:
    """Write head.json."""
    data = head.model_dump(mode="json")
    (folder / HEAD_FILE).write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")


def read_head_weights(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of the heads. Raises JudgeError where the file is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS_FILE
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise JudgeError(
            f"{path} is missing or damaged ({error}); copy the folder again, or train the head again.",
            zh=f"{path} 缺失或损坏（{error}）；请重新复制该文件夹，或重新训练。",
        ) from error
