"""A few real prompts to compare two forms of one model on, and how far apart their next-token distributions are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.dimensions.loader import load_dimensions
from core.dimensions.prompts import PromptBuilder
from core.judging.transformers.chat import PromptEncoder
from core.settings import load_settings
from core.types import Item, RenderedPrompt, SourceRef
from training.finetune.adapter import last_logits

if TYPE_CHECKING:
    from torch import Tensor

TEXTS = (
    "春天来了，公园里的花都开了。孩子们在草地上奔跑，老人们坐在长椅上聊天，大家脸上都带着笑容。",
    "这本书讲述了的一个关于成长故事，主人公他经历了很多困难困难，最后终于实现了自己梦想。",
)


def probe_prompts() -> list[RenderedPrompt]:
    """Return the prompts of every dimension for two short texts."""
    folders = load_settings().dimension_folders()
    dimensions = load_dimensions(*folders)
    builder = PromptBuilder(dimensions, *folders)
    source = SourceRef("probe", "", 2)
    return [builder.render(Item(1, 1, 0, "probe", name, "写一篇短文", text, None, "", source), ()) for name in dimensions for text in TEXTS]


def next_tokens(model: Any, tokenizer: Any, prompts: Sequence[RenderedPrompt]) -> Tensor:
    """Return the distribution over the vocabulary after each prompt, (prompts, vocabulary) in float32 on the CPU."""
    import torch

    encoder = PromptEncoder(tokenizer, model.config.model_type)
    device = next(model.parameters()).device
    limit = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 32_768)
    rows = []
    model.eval()
    with torch.inference_mode():
        for ids in encoder.encode(list(prompts)):
            kept = torch.tensor([ids[-limit:]], device=device)
            rows.append(last_logits(model, kept, torch.tensor([kept.shape[1]], device=device)).float().softmax(-1).cpu())
    return torch.cat(rows)


def distance(one: Tensor, other: Tensor) -> float:
    """Return the largest total variation distance of two sets of distributions, in [0, 1]; 1 where either is no number."""
    apart = (one - other).abs().sum(-1).max() / 2
    value = float(apart)
    return value if value == value else 1.0
