"""A row's probabilities do not depend on the rows beside it, on packing, on the shared prefix or on memory running out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.judging.transformers.attention import Pack, build_pack, choose_kernel, loop_kernel
from core.judging.transformers.scoring import PackedScorer, PaddedScorer, RowScore, make_scorer
from core.types import said
from tests.judging.transformers.build import FAMILIES, rows_with_prefix, tiny_model

torch = pytest.importorskip("torch")

LABELS = (10, 20, 30, 40, 50)
LENGTHS = (7, 30, 1, 55, 12, 3, 80)  # beyond Gemma's window of 24, and a row that is its prefix and one token


def probabilities(scores: Sequence[RowScore]) -> Any:
    assert not any(score.error for score in scores)
    return torch.tensor([score.log_probabilities for score in scores]).softmax(-1)


def alone(model: Any, rows: Sequence[tuple[int, ...]]) -> Any:
    """Each row by itself through the library's plain code."""
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1] for row in rows]
    return torch.stack(logits).float()[:, list(LABELS)].softmax(-1)


@contextmanager
def memory_for(model: Any, tokens: int) -> Iterator[list[int]]:
    """Let every forward pass over more than `tokens` fail as a full card does; yields the sizes that were tried."""
    tried: list[int] = []

    def check(_module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        tried.append(inputs["input_ids"].numel())
        if tried[-1] > tokens:
            raise torch.OutOfMemoryError(f"{tried[-1]} tokens")

    handle = model.register_forward_pre_hook(check, with_kwargs=True)
    yield tried
    handle.remove()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-3)])
def test_every_way_of_batching_gives_the_same_probabilities(family: str, dtype: str, tolerance: float) -> None:
    # Small weights for bf16: what is compared is the batching, not how rounding grows through a steep random model.
    model = tiny_model(family)
    if dtype == "bfloat16":
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.2 if parameter.ndim > 1 else 1.0)
        model.to(torch.bfloat16)
    rows = rows_with_prefix(LENGTHS)
    expected = alone(model, rows)
    ways = {"padded": probabilities(PaddedScorer(model, 400, 0).score(rows, LABELS))}
    ways["packed, prefix shared"] = probabilities(PackedScorer(model, 10_000).score(rows, LABELS))
    ways["packed, prefix recomputed"] = probabilities(PackedScorer(model, 10_000, share_prefix=False).score(rows, LABELS))
    ways["small packs"] = probabilities(PackedScorer(model, 90).score(rows, LABELS))
    with memory_for(model, 100):
        ways["after running out of memory"] = probabilities(PackedScorer(model, 10_000).score(rows, LABELS))
    scorer = PackedScorer(model, 10_000)
    scorer.score(rows[:3], LABELS)
    ways["prefix from an earlier call, other order"] = probabilities(scorer.score(rows[::-1], LABELS)).flip(0)
    for name, found in ways.items():
        assert (found - expected).abs().max() <= tolerance, name


def test_labels_of_the_test_models_differ_enough_to_notice_a_wrong_row() -> None:
    found = alone(tiny_model("qwen2"), rows_with_prefix(LENGTHS))
    assert (found[0] - found[1]).abs().max() > 0.01


def test_the_shared_prefix_is_computed_once() -> None:
    model = tiny_model("llama")
    rows = rows_with_prefix([10] * 8, prefix=50)
    scorer = PackedScorer(model, 10_000)
    with memory_for(model, 10_000) as tried:
        scorer.score(rows, LABELS)
        scorer.score(rows[:5], LABELS)
        scorer.score(rows[:1], LABELS)
    assert tried == [50, 80, 50, 10]


def test_packs_shrink_when_memory_runs_out_and_stay_small() -> None:
    model = tiny_model("glm")
    rows = rows_with_prefix([100] * 8, prefix=0)
    scorer = PackedScorer(model, 10_000)
    with memory_for(model, 250) as tried:
        first = scorer.score(rows, LABELS)
        before = len(tried)
        second = scorer.score(rows, LABELS)
    assert max(tried[before:]) <= 250
    assert (probabilities(first) - alone(model_with_eager(model), rows)).abs().max() < 1e-5
    assert (probabilities(first) - probabilities(second)).abs().max() < 1e-5


def model_with_eager(model: Any) -> Any:
    model.set_attn_implementation("eager")
    return model


@pytest.mark.parametrize("padded", [False, True])
def test_a_row_that_fits_nowhere_is_reported_and_the_others_are_scored(padded: bool) -> None:
    model = tiny_model("qwen2")
    rows = rows_with_prefix([20, 300, 30], prefix=0)
    scorer = PaddedScorer(model, 10_000, 0) if padded else PackedScorer(model, 10_000)
    with memory_for(model, 100):
        scores = scorer.score(rows, LABELS)
    assert "300 tokens" in said(scores[1].error, "en")
    assert scores[1].log_probabilities == ()
    expected = alone(model_with_eager(model), [rows[0], rows[2]])
    assert (probabilities([scores[0], scores[2]]) - expected).abs().max() < 1e-5


def test_other_errors_of_the_model_are_not_taken_for_a_lack_of_memory() -> None:
    model = tiny_model("qwen2")
    with pytest.raises(IndexError):
        PackedScorer(model, 1000).score([(1, 2, 100_000)], LABELS)


def test_an_architecture_that_was_not_proven_in_packs_is_padded() -> None:
    model = tiny_model("phi3", head_dim=None)
    rows = rows_with_prefix(LENGTHS)
    expected = alone(model, rows)
    scorer = make_scorer(model, 500, share_prefix=True, pad_id=0)
    assert isinstance(scorer, PaddedScorer)
    assert (probabilities(scorer.score(rows, LABELS)) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("family", ["mistral", "qwen3", "glm4"])
def test_further_architectures_that_are_packed(family: str) -> None:
    model = tiny_model(family)
    rows = rows_with_prefix(LENGTHS)
    expected = alone(model, rows)
    scorer = make_scorer(model, 500, share_prefix=True, pad_id=0)
    assert isinstance(scorer, PackedScorer)
    assert (probabilities(scorer.score(rows, LABELS)) - expected).abs().max() < 1e-5


def test_old_cards_and_cpus_take_the_loop_over_rows() -> None:
    assert choose_kernel("cpu", None) is loop_kernel
    assert choose_kernel("cuda", (7, 5)) is loop_kernel


def test_blocks_cover_every_query_once_and_never_cross_a_row() -> None:
    inputs = build_pack([(1,) * 300, (2,) * 5, (3,) * 128], None, loop_kernel, "cpu")
    pack: Pack = inputs.pack
    assert inputs.positions.tolist() == [[*range(300), *range(5), *range(128)]]
    assert sorted(map(tuple, pack.blocks.tolist())) == [(0, 0), (0, 128), (0, 256), (1, 300), (2, 305)]


@pytest.mark.parametrize("family", FAMILIES)
def test_generation_goes_on_working_on_a_model_that_scores_packs(family: str) -> None:
    model = tiny_model(family)
    ids = torch.tensor(rows_with_prefix([60]))
    settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 40, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(ids, **settings)
    PackedScorer(model, 1000).score(rows_with_prefix(LENGTHS), LABELS)
    assert model.generate(ids, **settings).tolist() == expected.tolist()


@pytest.fixture(scope="module")
def small() -> Any:
    return tiny_model("qwen2", num_hidden_layers=1)


BLOCKS = [tuple(5 + (7 * number + 31 * step) % 690 for step in range(length)) for number, length in enumerate((40, 35, 33, 3, 1))]
ROWS = st.lists(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4).map(lambda blocks: sum(blocks, ())), min_size=1, max_size=7)


@example(calls=[[BLOCKS[0], BLOCKS[0], BLOCKS[0] + BLOCKS[3]]], budget=2_000, memory=10_000, padded=False)
@settings(max_examples=10)
@given(
    calls=st.lists(ROWS, min_size=1, max_size=3),
    budget=st.sampled_from((64, 120, 2_000)),
    memory=st.sampled_from((200, 10_000)),
    padded=st.booleans(),
)
def test_any_rows_in_any_calls_get_what_each_gets_alone(
    small: Any, calls: list[list[tuple[int, ...]]], budget: int, memory: int, padded: bool
) -> None:
    """Beginnings of beginnings, equal rows, rows of one token; memory that runs out; prefixes of earlier calls."""
    small.set_attn_implementation("eager")
    expected = [alone(small, rows) for rows in calls]
    scorer = PaddedScorer(small, budget, 0) if padded else PackedScorer(small, budget)
    with memory_for(small, memory):
        found = [probabilities(scorer.score(rows, LABELS)) for rows in calls]
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() < 1e-5


def test_many_beginnings_come_and_go_and_none_is_mixed_up(small: Any) -> None:
    small.set_attn_implementation("eager")
    batches = [rows_with_prefix([3, 9], prefix=40, seed=seed) for seed in range(12)] * 2  # more than are kept
    expected = [alone(small, rows) for rows in batches]
    scorer = PackedScorer(small, 1_000)
    for rows, wanted in zip(batches, expected, strict=True):
        assert (probabilities(scorer.score(rows, LABELS)) - wanted).abs().max() < 1e-5


def test_no_rows_are_no_scores(small: Any) -> None:
    assert PackedScorer(small, 100).score([], LABELS) == []
    assert PaddedScorer(small, 100, 0).score([], LABELS) == []
