"""Named sets of settings of a fine-tune: `values` over the defaults of FineTuneSpec. docs/TRAINING.md says what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from core.types import LocalText
from training.specs import FineTuneSpec, LabelLoss, Method


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings under a name; `words` say in one line what they are, `values` leave all other fields at their defaults."""

    id: str
    names: LocalText
    words: LocalText
    values: Mapping[str, object]

    def apply(self, settings: Mapping[str, object]) -> FineTuneSpec:
        """Return the spec of these settings, with the preset's values where they say nothing. Raises pydantic.ValidationError."""
        return FineTuneSpec.model_validate({**self.values, **settings})


MODERN = Preset(
    "modern",
    {"zh": "推荐", "en": "Recommended"},
    {
        "zh": "全部线性层 LoRA（秩 16），损失为期望分平方误差，验证结果不再变好即停止。",
        "en": "LoRA of rank 16 on all linear layers, squared error of the expected score, stops when validation gets no better.",
    },
    MappingProxyType({}),
)
PUBLISHED = Preset(
    "published",
    {"zh": "已发表的设置", "en": "As published"},
    {
        "zh": "秩 8、alpha 32、dropout 0.1、学习率 1e-4、有效批 16、约 5 轮（1,000 步），交叉熵；取第 1,000 步左右最好的一步。",
        "en": "Rank 8, alpha 32, dropout 0.1, learning rate 1e-4, effective batch 16, about 5 epochs (1,000 steps), cross-entropy.",
    },
    MappingProxyType(
        {
            "rank": 8,
            "alpha": 32,
            "dropout": 0.1,
            "learning_rate": 1e-4,
            "batch_size": 4,
            "accumulation": 4,
            "epochs": 5.0,
            "loss": LabelLoss.CROSS_ENTROPY,
            "evaluate_every": 100,
            "checkpoint_every": 100,
            "patience": 10,
        }
    ),
)
SMALL_CARD = Preset(
    "small-card",
    {"zh": "小显存", "en": "Small card"},
    {
        "zh": "QLoRA：基座以 4 位装入，逐层重算激活值。仅限 NVIDIA 显卡，需 bitsandbytes。",
        "en": "QLoRA: the base in 4 bits, activations computed twice. NVIDIA cards only, with bitsandbytes.",
    },
    MappingProxyType({"method": Method.QLORA, "batch_size": 1, "accumulation": 16, "gradient_checkpointing": True}),
)
PRESETS = (MODERN, PUBLISHED, SMALL_CARD)
"""The presets, the one that is chosen by default first."""
