"""What a panel file may say of the server that Pingpan starts for a judge (the block `serve`)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Engine(StrEnum):
    """What answers behind the address."""

    LMDEPLOY_PYTORCH = "lmdeploy-pytorch"
    LMDEPLOY_TURBOMIND = "lmdeploy-turbomind"
    VLLM = "vllm"
    OPENAI = "openai"

    @property
    def is_lmdeploy(self) -> bool:
        """Return whether the engine is one of lmdeploy's two."""
        return self in (Engine.LMDEPLOY_PYTORCH, Engine.LMDEPLOY_TURBOMIND)


class WeightFormat(StrEnum):
    """How the checkpoint keeps its weights; AUTO reads it from the checkpoint's config.json."""

    AUTO = "auto"
    NONE = "none"
    AWQ = "awq"
    GPTQ = "gptq"
    W8A8 = "w8a8"
    FP8 = "fp8"
    COMPRESSED = "compressed-tensors"


class KvCache(StrEnum):
    """The number format of the server's cache of keys and values."""

    NONE = "none"
    INT8 = "int8"
    INT4 = "int4"
    FP8 = "fp8"


class ServeOptions(BaseModel):
    """How `./run.sh serve-judge` starts the judge's server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, description="Hub id, or the path of a folder with config.json, tokenizer and weights.")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub id.")
    weights: WeightFormat = Field(WeightFormat.AUTO, description="auto, none, awq, gptq, w8a8, fp8 or compressed-tensors.")
    adapters: dict[str, Path] = Field(default_factory=dict, description="LoRA adapters: name under which they are asked for, and folder.")
    kv_cache: KvCache = Field(KvCache.NONE, description="Cache of keys and values: none, int8, int4 or fp8.")
    host: str = Field("127.0.0.1", min_length=1, description="Address that the server listens on; 0.0.0.0 opens it to the network.")
    port: int = Field(23333, ge=1, le=65535, description="Port that the server listens on.")
    devices: str = Field("", pattern=r"^(\d+(,\d+)*)?$", description="CUDA devices, such as 0 or 0,1; empty means those that are visible.")
    tensor_parallel: int = Field(1, ge=1, le=8, description="Cards that share one copy of the model (a power of two).")
    session_length: int = Field(8192, ge=256, description="Longest prompt with its answer, in tokens.")
    max_batch_size: int = Field(128, ge=1, description="Rows that the server works on together.")
    memory_share: float = Field(
        0.8,
        gt=0,
        lt=1,
        description="lmdeploy: share of the memory left by the weights that the cache takes; vLLM: share of the whole card.",
    )
    prefix_caching: bool = Field(
        True, description="Keep the part that prompts share; switched off where the model cannot (Gemma on lmdeploy)."
    )
    trust_remote_code: bool = Field(False, description="Run the code that comes with a checkpoint.")
    allow_pickle: bool = Field(False, description="Also serve weights that are not safetensors; such files can run code.")
    extra_arguments: tuple[str, ...] = Field((), description="More arguments for the server, as they are.")

    @field_validator("tensor_parallel")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("write 1, 2, 4 or 8")
        return value

    @field_validator("adapters")
    @classmethod
    def _plain_names(cls, adapters: dict[str, Path]) -> dict[str, Path]:
        wrong = [name for name in adapters if not name or any(mark in name for mark in "= \t/")]
        if wrong:
            raise ValueError(f"the adapter names {wrong} must have no blanks, slashes or equals signs")
        return adapters
