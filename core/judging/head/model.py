"""The model of a head judge: a base model's last states, a tag for each token, and a grade of their mean.

The tagger gives each token a class: 0 sound, n + 1 the n-th kind of fault. The grade is a cumulative-logit model
(McCullagh, "Regression models for ordinal data", JRSS B 42(2), 1980) of the mean state and of how many faults the tagger
sees; its logit is P(label > k) = sigmoid(score - threshold k).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.judging.head.files import Attention
from core.judging.head.layout import Window
from core.judging.transformers.light import import_transformers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

RATE_SCALE = 50.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows padded to one width: `ids`, and `text`, 1.0 where a token of the text stands; `lengths` counts all real tokens."""

    ids: Tensor
    text: Tensor
    lengths: Tensor


@dataclass(frozen=True, slots=True)
class Glance:
    """What the tagger sees in each window: tag logits (windows, width, classes), and sums over the text's tokens.

    `totals` is (windows, hidden + kinds + 1): of the states, of the chances of each kind of fault, and of ones.
    """

    tags: Tensor
    totals: Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen of each row: `features` for the grade (rows, width), and the rate of faults that the rate head tells (rows)."""

    features: Tensor
    rate: Tensor


def load_backbone(folder: Path, dtype: torch.dtype, device: str) -> Any:
    """Return the base model without its language head, in evaluation mode."""
    import_transformers()
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    # transformers would take SDPA for Gemma 2, which leaves its soft-capping out.
    attention = "eager" if getattr(config, "attn_logit_softcapping", None) is not None else "sdpa"
    arguments: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "attn_implementation": attention}
    whole = any(name.endswith("ForCausalLM") for name in config.architectures or ())
    model = (
        AutoModelForCausalLM.from_pretrained(folder, **arguments).base_model if whole else AutoModel.from_pretrained(folder, **arguments)
    )
    return model.to(device).eval()


def with_adapter(backbone: Any, adapter: Path) -> Any:
    """Return the base model with a LoRA adapter added to its weights."""
    from peft import PeftModel

    return PeftModel.from_pretrained(backbone, str(adapter)).merge_and_unload().eval()


def build_heads(hidden_size: int, kinds: int, labels: int) -> Any:
    """Return the heads with their first weights: `tag`, `rate`, and `grade` over `centre` and `scale`d features with `thresholds`."""
    import torch
    from torch import nn

    features = feature_width(hidden_size, kinds)
    layers = {"tag": nn.Linear(hidden_size, kinds + 1), "rate": nn.Linear(hidden_size, 1), "grade": nn.Linear(features, 1)}
    for name in ("rate", "grade"):
        nn.init.zeros_(layers[name].weight)
        nn.init.zeros_(layers[name].bias)
    heads = nn.ModuleDict(layers)
    heads.register_buffer("centre", torch.zeros(features))
    heads.register_buffer("scale", torch.ones(features))
    # The first threshold, then the steps to the next ones through softplus, so that they always ascend.
    heads.register_parameter("thresholds", nn.Parameter(torch.linspace(-2.0, 2.0, labels - 1)))
    set_thresholds(heads, torch.linspace(-2.0, 2.0, labels - 1))
    return heads


def feature_width(hidden_size: int, kinds: int) -> int:
    """Return how many features the grade looks at: the mean state, a rate for each kind, and two for all."""
    return hidden_size + kinds + 2


def set_thresholds(heads: Any, values: Tensor) -> None:
    """Set the ascending thresholds."""
    import torch

    steps = (values[1:] - values[:-1]).clamp_min(1e-3)
    with torch.no_grad():
        heads.thresholds.copy_(torch.cat([values[:1], torch.log(torch.expm1(steps))]))


def thresholds(heads: Any) -> Tensor:
    """Return the ascending thresholds, one fewer than labels."""
    import torch
    from torch.nn.functional import softplus

    result: Tensor = torch.cat([heads.thresholds[:1], heads.thresholds[:1] + softplus(heads.thresholds[1:]).cumsum(0)])
    return result


def build_batch(windows: Sequence[Window], pad_id: int, device: str) -> Batch:
    """Return the windows as one batch, padded on the right."""
    import torch

    width = max(len(window.ids) for window in windows)
    ids = torch.full((len(windows), width), pad_id)
    text = torch.zeros((len(windows), width))
    for place, window in enumerate(windows):
        ids[place, : len(window.ids)] = torch.tensor(window.ids)
        text[place, window.lead : len(window.ids)] = 1.0
    lengths = torch.tensor([len(window.ids) for window in windows])
    return Batch(ids.to(device), text.to(device), lengths.to(device))


def attention_mask(lengths: Tensor, width: int, attention: Attention, dtype: torch.dtype, window: int | None = None) -> Tensor:
    """Return what is added to attention scores, (rows, 1, width, width): 0 where a token may look, else a very low number.

    `window` is how far a token of a sliding layer may look, in tokens.
    """
    import torch

    places = torch.arange(width, device=lengths.device)
    seen = (places[None, :] < lengths[:, None])[:, None, None, :]
    distance = places[:, None] - places[None, :]
    if attention is Attention.CAUSAL:
        seen = seen & (distance >= 0)
    if window is not None:
        # A padded token must look somewhere, or its scores are no numbers.
        seen = (seen & (distance.abs() < window)) | (distance == 0)
    # Half of the lowest number: cast to bf16, the lowest fp32 one would become minus infinity.
    mask = torch.zeros(seen.shape, dtype=dtype, device=lengths.device).masked_fill(~seen, torch.finfo(dtype).min / 2)
    return mask.expand(len(lengths), 1, width, width)


def last_states(backbone: Any, batch: Batch, attention: Attention) -> Tensor:
    """Return the last hidden states, (windows, width, hidden)."""
    config = backbone.config.get_text_config()
    width = batch.ids.shape[1]
    dtype = next(backbone.parameters()).dtype
    mask: Any = attention_mask(batch.lengths, width, attention, dtype)
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        mask = {"full_attention": mask, "sliding_attention": attention_mask(batch.lengths, width, attention, dtype, config.sliding_window)}
    out = backbone(input_ids=batch.ids, attention_mask=mask, use_cache=False)
    states: Tensor = out.last_hidden_state
    return states


def look(heads: Any, states: Tensor, text: Tensor) -> Glance:
    """Return what the tagger sees in last states, (windows, width, hidden) in fp32, where `text` is 1."""
    import torch

    tags = heads["tag"](states)
    weight = text.unsqueeze(-1)
    chances = tags.softmax(-1)[..., 1:]
    # A product, not a masked copy: the states of a long batch are large.
    totals = torch.cat([(text.unsqueeze(1) @ part).squeeze(1) for part in (states, chances, torch.ones_like(weight))], dim=-1)
    return Glance(tags, totals)


def pool(heads: Any, totals: Tensor, rows: Tensor, count: int) -> Seen:
    """Return what is seen of `count` rows, whose windows' totals are given; `rows` names the row of each window."""
    import torch

    summed = torch.zeros((count, totals.shape[1]), device=totals.device, dtype=totals.dtype).index_add(0, rows, totals)
    mean = summed[:, :-1] / summed[:, -1:].clamp_min(1.0)
    hidden = heads["rate"].in_features
    pooled, kinds = mean[:, :hidden], mean[:, hidden:]
    rate = heads["rate"](pooled)
    faulty = torch.cat([kinds, kinds.sum(-1, keepdim=True)], dim=-1)
    return Seen(torch.cat([pooled, torch.log1p(RATE_SCALE * faulty), rate], dim=-1), rate.squeeze(-1))


def label_log_probabilities(heads: Any, seen: Seen) -> Tensor:
    """Return the logarithm of each label's probability by row, ascending labels, before calibration."""
    score: Tensor = heads["grade"]((seen.features - heads.centre) / heads.scale)
    return cumulative_log_probabilities(score, thresholds(heads))


def cumulative_log_probabilities(score: Tensor, cuts: Tensor) -> Tensor:
    """Return log P(label) by row, (rows, labels), of scores (rows, 1) and ascending thresholds (labels - 1).

    With u and l the logits of the edges above and below, sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)): never
    zero, and with a gradient however far a score is off.
    """
    import torch
    from torch.nn.functional import logsigmoid

    logits = score - cuts
    inner = torch.log(-torch.expm1(cuts[:-1] - cuts[1:]))
    between = logsigmoid(logits[:, :-1]) + logsigmoid(-logits[:, 1:]) + inner
    return torch.cat([logsigmoid(-logits[:, :1]), between, logsigmoid(logits[:, -1:])], dim=1)


def label_probabilities(heads: Any, seen: Seen) -> Tensor:
    """Return the probability of each label by row, ascending labels, before calibration."""
    return label_log_probabilities(heads, seen).exp()


def padded_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return batches of indices, of about equal lengths, whose padded size stays within `budget` tokens; a longer one stands alone."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda place: (lengths[place], place)):
        if not batches or lengths[index] * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(index)
    return batches
