"""LoRA adapters for lmdeploy, whose peft (0.14 at most) misreads what newer versions write.

peft 0.14 finds an unknown key in adapter_config.json, falls back to its base class and loses r, lora_alpha and
target_modules without an error. lmdeploy is therefore given a copy with the keys that peft 0.14.0 knows (read in its
`LoraConfig` and `PeftConfig`), and an adapter that its PyTorch engine would misapply is refused: it takes one rank and
one alpha for all layers, knows neither rsLoRA's scaling nor DoRA's, and looks names up in `target_modules` as in a list.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import JudgeError, clause
from core.types import LocalText, said

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


class _AdapterConfig(BaseModel):
    """The keys of peft 0.14.0's LoraConfig; everything else is left out."""

    model_config = ConfigDict(extra="ignore")

    peft_type: str
    auto_mapping: dict[str, object] | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    task_type: str | None = None
    inference_mode: bool = True
    r: int
    target_modules: list[str] | str
    exclude_modules: list[str] | str | None = None
    lora_alpha: float
    lora_dropout: float = 0.0
    fan_in_fan_out: bool = False
    bias: str = "none"
    use_rslora: bool = False
    modules_to_save: list[str] | None = None
    init_lora_weights: bool | str = True
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    megatron_config: dict[str, object] | None = None
    megatron_core: str | None = "megatron.core"
    loftq_config: dict[str, object] = Field(default_factory=dict)
    eva_config: dict[str, object] | None = None
    use_dora: bool = False
    layer_replication: list[list[int]] | None = None
    lora_bias: bool = False

    def faults(self) -> Iterator[LocalText]:
        """Yield what lmdeploy's PyTorch engine would apply wrongly."""
        if self.peft_type != "LORA":
            yield {"en": f"it is a {self.peft_type} adapter, not LORA", "zh": f"它是 {self.peft_type} 适配器，不是 LORA"}
        if self.use_rslora:
            yield {"en": "it uses rsLoRA", "zh": "使用了 rsLoRA"}
        if self.use_dora:
            yield {"en": "it uses DoRA", "zh": "使用了 DoRA"}
        if self.rank_pattern or self.alpha_pattern:
            yield {"en": "its layers have different ranks or alphas", "zh": "各层的秩或 alpha 不同"}
        if self.modules_to_save:
            names = ", ".join(self.modules_to_save)
            yield {"en": f"it replaces whole modules ({names})", "zh": f"替换了整个模块（{names}）"}
        if self.bias != "none" or self.lora_bias:
            yield {"en": "it trains biases", "zh": "训练了偏置"}
        if isinstance(self.target_modules, str):
            yield {
                "en": f"its target_modules are a pattern ({self.target_modules}), not a list",
                "zh": f"target_modules 是模式（{self.target_modules}）而不是列表",
            }


def read_rank(folder: Path) -> int:
    """Return the rank of the adapter in `folder`. Raises JudgeError for what is no LoRA adapter of peft."""
    return _read(folder).r


def check_adapter(folder: Path) -> None:
    """Raise JudgeError when lmdeploy's PyTorch engine would apply the adapter wrongly, with the reasons."""
    faults = list(_read(folder).faults())
    if faults:
        raise JudgeError(
            f"{folder}: lmdeploy cannot apply this adapter: {'; '.join(said(fault, 'en') for fault in faults)}. "
            "Merge it into the model and serve the merged folder.",
            zh=f"{folder}：lmdeploy 无法正确应用该适配器（{'；'.join(said(fault, 'zh') for fault in faults)}）。"
            "请先合并到模型，再提供合并后的文件夹。",
        )


def clean_adapter(folder: Path, target: Path) -> Path:
    """Write a copy of the adapter that peft 0.14 reads rightly to `target`, and return it; weights are linked where possible.

    Raises JudgeError for an adapter that lmdeploy would apply wrongly.
    """
    check_adapter(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / CONFIG).write_text(_read(folder).model_dump_json(indent=2) + "\n", encoding="utf-8")
    weights = target / WEIGHTS
    weights.unlink(missing_ok=True)
    try:
        weights.symlink_to((folder / WEIGHTS).resolve())
    except OSError:
        shutil.copyfile(folder / WEIGHTS, weights)
    return target


def _read(folder: Path) -> _AdapterConfig:
    path = folder / CONFIG
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise JudgeError(
            f"{folder} is no LoRA adapter: {CONFIG} or {WEIGHTS} is missing. Name the folder that peft's save_pretrained wrote.",
            zh=f"{folder} 不是 LoRA 适配器：缺少 {CONFIG} 或 {WEIGHTS}。请填写 peft 保存的文件夹。",
        )
    try:
        return _AdapterConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        wrong = clause("; ".join(": ".join([*map(str, fault["loc"][:1]), fault["msg"]]) for fault in error.errors()))
        raise JudgeError(
            f"{path} is no configuration of a LoRA adapter: {wrong}.", zh=f"{path} 不是 LoRA 适配器的配置：{wrong}。"
        ) from error
