"""What a panel file may say of a judge of the `ordinal_head` family."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import PanelError
from core.judging.transformers.options import Precision


class Engine(StrEnum):
    """What computes the base model: PyTorch as it is, or with 8-bit linear layers (CPUs alone; measure before use, docs/FAULTS.md)."""

    TORCH = "torch"
    TORCH_INT8 = "torch_int8"


class HeadOptions(BaseModel):
    """The options of one judge; a panel file writes them beside `family: ordinal_head`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: Path = Field(description="Folder that a head training job made, with head.json.")
    base: str | None = Field(None, description="Hub id or folder of the base model, where head.json's own is not on this machine.")
    engine: Engine = Field(Engine.TORCH, description="torch, or torch_int8: linear layers in 8 bits, on a CPU.")
    dtype: Precision = Field(Precision.AUTO, description="Number format: auto, bf16, fp16 or fp32.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    token_budget: int = Field(8192, ge=64, le=1_048_576, description="Tokens that go through the model together, padding included.")
    mark_from: float | None = Field(None, ge=0, le=1, description="Least probability of a suspected fault that is told.")


def read_options(judge_id: str, options: Mapping[str, object]) -> HeadOptions:
    """Return the checked options of the judge `judge_id`.

    Raises PanelError with every wrong option at once.
    """
    try:
        return HeadOptions.model_validate(dict(options))
    except ValidationError as error:
        faults = "\n  ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors())
        known = ", ".join(HeadOptions.model_fields)
        raise PanelError(
            f"Judge {judge_id!r}: these options cannot be used; correct them in the panel file (known: {known}):\n  {faults}",
            zh=f"评委 {judge_id!r} 的选项有误，请在评委组文件中改正（可用选项：{known}）：\n  {faults}",
        ) from error
