"""What a job is told: one pydantic model a kind, written to spec.json in the job's folder. Paths are absolute."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.errors import JobError
from core.judging.transformers.options import Precision
from core.training import JobKind, Split
from training.faults.spec import FaultPretrainSpec
from training.heads.spec import HeadSpec


class Method(StrEnum):
    """Which weights a fine-tune trains: an adapter, an adapter over a 4-bit base, or all of them."""

    LORA = "lora"
    QLORA = "qlora"
    FULL = "full"


class LabelLoss(StrEnum):
    """The loss on the label token.

    CROSS_ENTROPY over the whole vocabulary; LABELS over the labels alone; ORDINAL_LOG is the ordinal log loss of
    Castagnos et al., "A simple log-based loss function for ordinal text classification", COLING 2022; EXPECTED_SQUARED adds the
    squared error of the expected score to LABELS.
    """

    CROSS_ENTROPY = "cross_entropy"
    LABELS = "labels"
    ORDINAL_LOG = "ordinal_log"
    EXPECTED_SQUARED = "expected_squared"


class QuantizeMethod(StrEnum):
    """lmdeploy lite's methods: 4-bit weights (AWQ), or 8-bit weights and activations (SmoothQuant, W8A8)."""

    AWQ = "auto_awq"
    W8A8 = "smooth_quant"


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=120, description="What people call the job.")
    seed: int = Field(0, ge=0, description="Seed of everything random.")


class FineTuneSpec(_Spec):
    """Train on a snapshot's training rows; keep what is best on its inner validation rows. Output: adapter/ (or model/ for FULL)."""

    kind: Literal[JobKind.FINE_TUNE] = JobKind.FINE_TUNE
    model: str = Field(min_length=1, description="Base model: hub id or folder.")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub id.")
    snapshot: Path = Field(description="Folder of the snapshot.")
    dimensions: tuple[str, ...] = Field((), description="Dimensions to train on; empty: all of the snapshot.")
    method: Method = Field(Method.LORA, description="lora, qlora (4-bit base, needs bitsandbytes and a GPU) or full.")
    loss: LabelLoss = Field(LabelLoss.EXPECTED_SQUARED, description="Loss on the label token.")
    rank: int = Field(16, ge=1, le=512, description="LoRA rank.")
    alpha: int = Field(32, ge=1, le=2048, description="LoRA alpha: the update is scaled by alpha / rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="LoRA dropout.")
    target_modules: str = Field("all-linear", description="Which layers get an adapter: all-linear, or names with commas.")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="Highest learning rate.")
    epochs: float = Field(4, gt=0, le=100, description="Times that every row is seen.")
    max_steps: int | None = Field(None, ge=1, description="Stop after so many optimizer steps, whatever the epochs.")
    batch_size: int = Field(4, ge=1, le=1024, description="Rows a step on the device.")
    accumulation: int = Field(
        4, ge=1, le=1024, description="Steps that one update gathers; batch size x accumulation is the effective batch."
    )
    max_length: int = Field(2048, ge=16, le=131_072, description="Longest prompt in tokens; longer rows are left out and told.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="Weight decay of AdamW.")
    validation: float = Field(
        0.1, ge=0, lt=0.5, description="Share of the training families kept for early stopping; 0: none, the last step is kept."
    )
    evaluate_every: int = Field(50, ge=1, description="Updates between two looks at the validation rows.")
    patience: int = Field(4, ge=1, description="Looks without a better figure before training stops early.")
    checkpoint_every: int = Field(50, ge=1, description="Updates between two checkpoints.")
    gradient_checkpointing: bool = Field(False, description="Compute activations twice to save memory.")
    group_by_length: bool = Field(True, description="Put rows of like length into one batch.")
    dtype: Precision = Field(Precision.AUTO, description="Number format: auto, bf16, fp16 or fp32.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")


class JudgeLine(BaseModel):
    """A judge as a panel's line says it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1, description="The judge's id.")
    family: str = Field(min_length=1, description="The judge's family.")
    options: dict[str, object] = Field(default_factory=dict, description="The family's own options.")


class EvaluateSpec(_Spec):
    """Ask a judge for rows of a snapshot. Output: predictions.jsonl and figures.json."""

    kind: Literal[JobKind.EVALUATE] = JobKind.EVALUATE
    judge: JudgeLine = Field(description="The judge to measure.")
    snapshot: Path = Field(description="Folder of the snapshot; judges that learn learn from its training rows.")
    split: Split = Field(Split.HELD_OUT, description="Which rows are judged.")
    batch_size: int = Field(256, ge=1, description="Rows that are asked together.")


class MergeSpec(_Spec):
    """Add an adapter to a reloaded base and save the sum. Output: model/."""

    kind: Literal[JobKind.MERGE] = JobKind.MERGE
    model: str = Field(min_length=1, description="Base model: hub id or folder.")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub id.")
    adapter: Path = Field(description="Folder of the adapter.")
    dtype: Precision = Field(Precision.BF16, description="Number format of the saved weights.")
    shard_gb: float = Field(2.0, gt=0, le=100, description="Largest weight file in GB.")
    device: str = Field("cpu", description="Where the sum is made: cpu, cuda or cuda:N.")


class QuantizeSpec(_Spec):
    """Quantize a merged model by lmdeploy lite, in lmdeploy's own environment. Output: model/."""

    kind: Literal[JobKind.QUANTIZE] = JobKind.QUANTIZE
    model: Path = Field(description="Folder of the merged model.")
    method: QuantizeMethod = Field(QuantizeMethod.AWQ, description="auto_awq (4 bits) or smooth_quant (8 bits).")
    snapshot: Path = Field(description="Folder of the snapshot whose training prompts calibrate.")
    calib_samples: int = Field(128, ge=0, le=4096, description="Prompts to calibrate on; 0: without data.")
    calib_seqlen: int = Field(2048, ge=32, le=32_768, description="Tokens of each calibration sample.")
    batch_size: int | None = Field(
        None, ge=1, description="Samples at once; the reference pipeline's own when not given (8 for AWQ, 10 for W8A8)."
    )
    w_bits: int = Field(4, ge=4, le=8, description="Bits of a weight (AWQ).")
    w_group_size: int = Field(128, ge=32, description="Weights that share a scale (AWQ).")
    search_scale: bool = Field(False, description="Search the best scales: slower (AWQ).")
    dtype: Precision = Field(Precision.AUTO, description="Number format while quantizing; fp16 on a CPU.")
    device: str = Field("auto", description="auto, cpu or cuda.")
    lmdeploy_python: Path = Field(description="Interpreter that has lmdeploy.")


JobSpec = Annotated[FineTuneSpec | EvaluateSpec | MergeSpec | QuantizeSpec | FaultPretrainSpec | HeadSpec, Field(discriminator="kind")]
"""Any job's spec; `kind` tells which. Kinds with a package of their own are added here."""

_ANY: TypeAdapter[FineTuneSpec | EvaluateSpec | MergeSpec | QuantizeSpec | FaultPretrainSpec | HeadSpec] = TypeAdapter(JobSpec)


def read_spec(text: str, where: str) -> JobSpec:
    """Return the spec in a JSON text; `where` names its file.

    Raises JobError with every fault, its field and what it may hold.
    """
    try:
        return _ANY.validate_json(text)
    except ValidationError as error:
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        listed = "\n  ".join(faults)
        raise JobError(
            f"{where}: this job cannot be run; correct these fields:\n  {listed}",
            zh=f"{where}：任务无法运行，请改正以下字段：\n  {listed}",
        ) from error
