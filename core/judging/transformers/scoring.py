"""Log-probabilities of the labels after each prompt: one forward pass a row, several rows a pass."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from core.judging.transformers.attention import PACKED_ATTENTION, AttentionKernel, Prefix, build_pack, choose_kernel, register
from core.judging.transformers.packing import Ids, PrefixGroup, group_by_prefix, plan_packs, split_pack
from core.types import LocalText

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

SHORTEST_PREFIX = 32
PREFIXES_KEPT = 8
PACKED_MODELS = frozenset({"qwen2", "qwen3", "llama", "mistral", "gemma2", "glm", "glm4"})


@dataclass(frozen=True, slots=True)
class RowScore:
    """The model's log-probability of each label among its whole vocabulary; empty, with the reason, where there was no memory."""

    log_probabilities: tuple[float, ...]
    error: LocalText = field(default_factory=dict)


class Scorer(Protocol):
    """Scores rows of token ids against one set of label ids."""

    def score(self, rows: Sequence[Ids], label_ids: Sequence[int]) -> list[RowScore]:
        """Return one score per row, in order; a row's score does not depend on the rows beside it."""

    def close(self) -> None:
        """Forget everything that was kept on the device."""


class _Halving:
    """Runs packs and, when memory runs out, halves them and the budget of later ones."""

    def __init__(self, budget: int) -> None:
        self.budget = budget

    def run(self, lengths: Sequence[int], forward: Callable[[list[int]], Tensor]) -> tuple[list[tuple[list[int], Tensor]], list[int]]:
        """Return each pack with its result, and the indices of rows that do not fit even alone.

        Results stay on the device, so that the next pack is queued before the last one is done.
        """
        import torch

        waiting = deque(plan_packs(lengths, self.budget))
        done: list[tuple[list[int], Tensor]] = []
        lost: list[int] = []
        while waiting:
            pack = waiting.popleft()
            result: Tensor | None = None
            try:
                result = forward(pack)
            except torch.OutOfMemoryError:
                log.warning("Out of memory at %d tokens in %d rows; going on with half as many.", sum(lengths[i] for i in pack), len(pack))
            if result is not None:
                done.append((pack, result))
                continue
            # Outside the except block: the traceback held the tensors of the failed pass.
            free_cached_memory()
            self.budget = max(64, min(self.budget, sum(lengths[index] for index in pack)) // 2)
            if len(pack) == 1:
                lost.extend(pack)
            else:
                waiting.extendleft(half for half in split_pack(pack))
        return done, lost


def _collect(count: int, done: Sequence[tuple[Sequence[int], Tensor]], lost: Sequence[int], lengths: Sequence[int]) -> list[RowScore]:
    scores: list[RowScore | None] = [None] * count
    for pack, result in done:
        for index, values in zip(pack, result.tolist(), strict=True):
            scores[index] = RowScore(tuple(values))
    for index in lost:
        reason = {
            "zh": f"这一行有 {lengths[index]} 个词元，即使单独计算，设备内存也不够。",
            "en": f"The device has no memory for this row of {lengths[index]} tokens, even alone.",
        }
        scores[index] = RowScore((), reason)
    return [score for score in scores if score is not None]


class PackedScorer:
    """Lays rows end to end, without padding, behind a shared prefix that is computed once."""

    def __init__(self, model: Any, token_budget: int, share_prefix: bool = True, kernel: AttentionKernel | None = None) -> None:
        import torch

        register()
        self._model = model
        self._device = next(model.parameters()).device
        capability = torch.cuda.get_device_capability(self._device) if self._device.type == "cuda" else None
        self.kernel = kernel or choose_kernel(self._device.type, capability)
        self._halving = _Halving(token_budget)
        self._share_prefix = share_prefix
        self._prefixes: OrderedDict[Ids, Prefix] = OrderedDict()
        model.set_attn_implementation(PACKED_ATTENTION)

    def score(self, rows: Sequence[Ids], label_ids: Sequence[int]) -> list[RowScore]:
        """Return one score per row, in order."""
        import torch

        labels = torch.tensor(list(label_ids), device=self._device)
        done: list[tuple[list[int], Tensor]] = []
        lost: list[int] = []
        with current_device(self._device), torch.inference_mode():
            for group in self._groups(rows):
                prefix = self._prefix(group.prefix)
                members = group.rows
                own = [len(rows[index]) - (len(prefix.ids) if prefix else 0) for index in members]

                def forward(pack: list[int], prefix: Prefix | None = prefix, members: tuple[int, ...] = members) -> Tensor:
                    return self._forward([rows[members[place]] for place in pack], prefix, labels)

                group_done, group_lost = self._halving.run(own, forward)
                done.extend(([members[place] for place in pack], result) for pack, result in group_done)
                lost.extend(members[place] for place in group_lost)
        return _collect(len(rows), done, lost, [len(row) for row in rows])

    def close(self) -> None:
        """Forget the model and the prefixes."""
        self._prefixes.clear()
        self._model = None

    def _groups(self, rows: Sequence[Ids]) -> list[PrefixGroup]:
        if not self._share_prefix:
            return [PrefixGroup((), tuple(range(len(rows))))]
        return group_by_prefix(rows, list(self._prefixes), SHORTEST_PREFIX)

    def _prefix(self, ids: Ids) -> Prefix | None:
        """Return the computed prefix; the one that was longest unused goes when too many are kept."""
        if not ids:
            return None
        if ids not in self._prefixes:
            prefix = Prefix(ids)
            inputs = build_pack([ids], None, self.kernel, self._device)
            inputs.pack.record = prefix
            self._run(inputs)
            self._prefixes[ids] = prefix
        self._prefixes.move_to_end(ids)
        while len(self._prefixes) > PREFIXES_KEPT:
            self._prefixes.popitem(last=False)
        return self._prefixes[ids]

    def _forward(self, rows: Sequence[Ids], prefix: Prefix | None, labels: Tensor) -> Tensor:
        return _label_log_probabilities(self._run(build_pack(rows, prefix, self.kernel, self._device)), labels)

    def _run(self, inputs: Any) -> Tensor:
        """Return the logits of every row's last token, (rows, vocabulary)."""
        out = self._model(
            input_ids=inputs.ids, position_ids=inputs.positions, use_cache=False, logits_to_keep=inputs.last, pack=inputs.pack
        )
        logits: Tensor = out.logits[0]
        return logits


class PaddedScorer:
    """Batches rows of about equal length with padding, through the model's own attention: for classes that cannot be packed."""

    def __init__(self, model: Any, token_budget: int, pad_id: int) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._halving = _Halving(token_budget)
        self._pad_id = pad_id

    def score(self, rows: Sequence[Ids], label_ids: Sequence[int]) -> list[RowScore]:
        """Return one score per row, in order."""
        import torch

        labels = torch.tensor(list(label_ids), device=self._device)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        done: list[tuple[list[int], Tensor]] = []
        lost: list[int] = []
        with torch.inference_mode():
            for batch in _padded_batches([len(rows[index]) for index in order], self._halving.budget):
                members = [order[place] for place in batch]
                longest = len(rows[members[-1]])

                def forward(pack: list[int], members: list[int] = members) -> Tensor:
                    return self._forward([rows[members[place]] for place in pack], labels)

                # Every row of a batch costs as much as its longest.
                batch_done, batch_lost = self._halving.run([longest] * len(members), forward)
                done.extend(([members[place] for place in pack], result) for pack, result in batch_done)
                lost.extend(members[place] for place in batch_lost)
        return _collect(len(rows), done, lost, [len(row) for row in rows])

    def close(self) -> None:
        """Forget the model."""
        self._model = None

    def _forward(self, rows: Sequence[Ids], labels: Tensor) -> Tensor:
        import torch

        longest = max(len(row) for row in rows)
        ids = torch.full((len(rows), longest), self._pad_id)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, longest - len(row) :] = torch.tensor(row)
            mask[place, longest - len(row) :] = 1
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        out = self._model(**{name: tensor.to(self._device) for name, tensor in inputs.items()}, use_cache=False, logits_to_keep=1)
        return _label_log_probabilities(out.logits[:, -1], labels)


def _padded_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut ascending lengths into runs whose padded size stays within the budget."""
    batches: list[list[int]] = [[]]
    for place, length in enumerate(lengths):
        if batches[-1] and length * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(place)
    return [batch for batch in batches if batch]


def _label_log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.float().log_softmax(-1).index_select(-1, labels)


def make_scorer(model: Any, token_budget: int, share_prefix: bool, pad_id: int) -> Scorer:
    """Return the packed scorer for model classes that it was proven on, with fused operations on CUDA; else the padded one."""
    if model.config.model_type not in PACKED_MODELS:
        log.info("Models of type %s are scored in padded batches.", model.config.model_type)
        return PaddedScorer(model, token_budget, pad_id)
    scorer = PackedScorer(model, token_budget, share_prefix)
    from core.judging.transformers.attention import loop_kernel
    from core.judging.transformers.fused import fuse

    if scorer.kernel is not loop_kernel:
        fuse(model)
    return scorer


def current_device(device: Any) -> AbstractContextManager[object]:
    """Make a card the thread's current one: Triton launches kernels there, wherever their tensors lie."""
    import torch

    chosen = torch.device(device)
    return torch.cuda.device(chosen) if chosen.type == "cuda" else nullcontext()


def free_cached_memory() -> None:
    """Give memory that nothing refers to back to the device."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
