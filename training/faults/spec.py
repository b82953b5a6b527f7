"""What a fault-pretraining job is told."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.judging.head.files import Attention
from core.judging.transformers.options import Precision
from core.training import JobKind
from training.faults.learning import LearnerOptions, Method, Schedule


class LearningSpec(BaseModel):
    """What fault pretraining and head training are both told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=120, description="What people call the job.")
    seed: int = Field(default=0, ge=0, description="Seed of everything random.")
    model: str = Field(min_length=1, description="Base model: hub id or folder.")
    revision: str | None = Field(default=None, description="Commit, tag or branch of a hub id.")
    attention: Attention = Field(
        default=Attention.BIDIRECTIONAL, description="What a token sees: bidirectional (all of the text) or causal."
    )
    method: Method = Field(default=Method.LORA, description="lora, full, or frozen (the base model stays as it is).")
    rank: int = Field(default=64, ge=1, le=512, description="LoRA rank.")
    alpha: int = Field(default=128, ge=1, le=2048, description="LoRA alpha: the update is scaled by alpha / rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="LoRA dropout.")
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="Highest learning rate of the base model or adapter.")
    head_rate: float = Field(default=1e-3, gt=0, le=1, description="Highest learning rate of the heads.")
    epochs: float = Field(default=1, gt=0, le=100, description="Times that every row is seen.")
    tokens_per_step: int = Field(default=16_384, ge=64, le=1_048_576, description="Tokens of an update, padding included.")
    max_length: int = Field(default=1024, ge=16, le=131_072, description="Tokens read at once; longer texts are read in windows.")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="Weight decay of AdamW.")
    evaluate_every: int = Field(default=50, ge=1, description="Updates between two looks at the validation rows; each saves a checkpoint.")
    patience: int = Field(default=6, ge=1, description="Looks without a better figure before training stops early.")
    dtype: Precision = Field(
        default=Precision.AUTO, description="auto, bf16 or fp32: what products are computed in; weights learn in fp32."
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N.")

    def schedule(self) -> Schedule:
        """Return how the training goes."""
        return Schedule(
            self.learning_rate,
            self.head_rate,
            self.epochs,
            self.tokens_per_step,
            self.warmup,
            self.weight_decay,
            self.evaluate_every,
            self.patience,
            self.seed,
        )

    def learner(self, device: str, *, reads_prompt: bool = False) -> LearnerOptions:
        """Return how the model learns on a device; AUTO computes in bf16 on a card and in fp32 on a CPU."""
        half = self.dtype is Precision.BF16 or (self.dtype is Precision.AUTO and device.startswith("cuda"))
        return LearnerOptions(
            self.attention,
            self.method,
            device,
            self.max_length,
            self.rank,
            self.alpha,
            self.dropout,
            half,
            reads_prompt,
            seed=self.seed,
        )


class Made(StrEnum):
    """What is put into good texts: faults of language, or defects against the prompt, into pairs of prompt and text."""

    FAULTS = "faults"
    DEFECTS = "defects"


class FaultPretrainSpec(LearningSpec):
    """Learn to see faults that are put into clean texts; no labels are needed. Output: reader/."""

    kind: Literal[JobKind.FAULT_PRETRAIN] = JobKind.FAULT_PRETRAIN
    makes: Made = Field(
        default=Made.FAULTS, description="faults (of language, in texts), or defects (against the prompt, in pairs of prompt and text)."
    )
    texts: tuple[Path, ...] = Field(min_length=1, description="Files of fault-free texts: sheets (xlsx, csv, jsonl) or UTF-8 .txt.")
    dimension: str = Field(default="", description="Take only a sheet's rows of this dimension; empty: all rows.")
    snapshot: Path | None = Field(
        default=None, description="Snapshot whose held-out rows stay unseen: texts that are near-duplicates of them are left out."
    )
    rows: int = Field(default=25_800, ge=20, le=10_000_000, description="Rows with faults that are made.")
    longest: int = Field(default=600, ge=60, le=10_000, description="Characters of a row, at most about; defects stand in whole texts.")
    highest: float = Field(default=4.6, gt=0, le=10, description="Most faults per 100 characters.")
    most_defects: float = Field(default=8.0, gt=0, le=50, description="Most defects per 1,000 characters.")
    swapped: float = Field(default=0.05, ge=0, lt=1, description="Share of rows whose text answers another prompt, among defects.")
    sound: float = Field(default=0.1, ge=0, lt=1, description="Share of rows without a fault.")
    rate_weight: float = Field(default=0.1, ge=0, le=10, description="Weight of the rate's loss beside the tags'.")
    validation: float = Field(default=0.04, gt=0, lt=0.5, description="Share of the texts whose rows are only looked at.")
    answers: Path | None = Field(
        default=None, description="File of people's answers, as ./run.sh faults export writes it; the workbench freezes the current ones."
    )
    answers_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$", description="That file's sha256; empty: it is not checked.")
    answers_count: int = Field(default=0, ge=0, description="Answers in that file, when it was frozen.")
    answer_weight: float = Field(
        default=8, ge=0, le=100, description="Times that a text with answers is seen while a synthetic row is seen once; 0: not at all."
    )
