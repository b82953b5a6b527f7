"""What a panel file may say of a judge of the `transformers` family."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import PanelError


class Precision(StrEnum):
    """The number format of weights and activations; AUTO takes the checkpoint's own on a GPU and fp32 on a CPU."""

    AUTO = "auto"
    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "fp32"


class Quantization(StrEnum):
    """How the weights of the linear layers are kept: as they are, by bitsandbytes, or as fp8 (Hopper, Ada)."""

    NONE = "none"
    INT8 = "8bit"
    INT4 = "4bit"
    FP8 = "fp8"


class TransformersOptions(BaseModel):
    """The options of one judge; a panel file writes them beside `family: transformers`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, description="Hub id, or the path of a folder with config.json, tokenizer and weights.")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub id.")
    adapter: Path | None = Field(None, description="Folder of a LoRA adapter saved by peft.")
    merge_adapter: bool = Field(True, description="Add the adapter to the weights at start-up: faster, and the same answer.")
    dtype: Precision = Field(Precision.AUTO, description="Number format: auto, bf16, fp16 or fp32.")
    quantization: Quantization = Field(Quantization.NONE, description="none, 8bit, 4bit (bitsandbytes) or fp8 (Hopper and Ada cards).")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    token_budget: int = Field(16_384, ge=64, le=1_048_576, description="Tokens that go through the model together; more saves little.")
    max_length: int | None = Field(None, ge=16, description="Longest prompt in tokens; the model's own limit when not given.")
    share_prefix: bool = Field(True, description="Compute the part that all prompts of a dimension begin with only once.")
    allow_pickle: bool = Field(False, description="Also load weights that are not safetensors; such files can run code.")
    memory_gib: float | None = Field(
        None, gt=0, description="Memory that the judge needs on its device, in GiB, as its panel states it; for people."
    )
    check_memory: bool = Field(True, description="Refuse to start when the weights cannot fit into free memory.")


def read_options(judge_id: str, options: Mapping[str, object]) -> TransformersOptions:
    """Return the checked options of the judge `judge_id`.

    Raises PanelError with every wrong option at once.
    """
    try:
        return TransformersOptions.model_validate(dict(options))
    except ValidationError as error:
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        known = ", ".join(TransformersOptions.model_fields)
        raise PanelError(
            f"Judge {judge_id!r}: these options cannot be used; correct them in the panel file (known: {known}):\n  " + "\n  ".join(faults),
            zh=f"评委 {judge_id!r} 的选项有误，请在评委组文件中改正（可用选项：{known}）：\n  " + "\n  ".join(faults),
        ) from error
