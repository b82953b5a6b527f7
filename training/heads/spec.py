"""What a head-training job is told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from core.training import JobKind
from training.faults.spec import LearningSpec
from training.heads.calibrate import CalibrationMethod
from training.heads.losses import OrdinalLoss


class HeadSpec(LearningSpec):
    """Learn to grade one dimension on a snapshot's training rows. Output: head/, a judge of the family ordinal_head."""

    kind: Literal[JobKind.HEAD] = JobKind.HEAD
    snapshot: Path = Field(description="Folder of the snapshot.")
    dimension: str = Field(min_length=1, description="Dimension to grade; its labels are ordered.")
    reader: Path | None = Field(
        default=None, description="Output folder of a fault pretraining to go on from; empty: the base model as it is."
    )
    learning_rate: float = Field(default=3e-5, gt=0, le=1, description="Highest learning rate of the base model or adapter.")
    head_rate: float = Field(default=1e-4, gt=0, le=1, description="Highest learning rate of the heads.")
    epochs: float = Field(default=4, gt=0, le=100, description="Times that every row is seen.")
    tokens_per_step: int = Field(default=8192, ge=64, le=1_048_576, description="Tokens of an update, padding included.")
    loss: OrdinalLoss = Field(default=OrdinalLoss.LIKELIHOOD, description="likelihood, ranked or expected.")
    calibration: CalibrationMethod = Field(default=CalibrationMethod.TEMPERATURE, description="none, temperature or vector.")
    validation: float = Field(default=0.15, ge=0, lt=0.5, description="Share of the rows kept for early stop and calibration.")
