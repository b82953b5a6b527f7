"""Rows on their way into a model: what is kept for validation, in which batches they come, and what calibrates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dimensions.loader import load_dimensions
from core.judging.transformers.chat import PromptEncoder
from core.settings import ASSETS
from core.training import Split
from core.types import Dimension, RenderedPrompt
from tests.training.build import rows
from training.finetune.data import EncodedRow, LabelTokens, encode_rows, plan_batches, split_validation
from training.quantize.job import calibration_windows, progress

torch = pytest.importorskip("torch")

DIMENSIONS = load_dimensions(ASSETS / "dimensions")
ROW = rows(1, Split.TRAIN)[0]
IDS = {"fluency": [11, 12, 13, 14, 15], "choice": [21, 22]}


def encoder() -> PromptEncoder:
    """A prompt's characters as its ids, and fixed label tokens: rows are arranged alike whatever the tokenizer."""

    def encode(prompts: Sequence[RenderedPrompt]) -> list[list[int]]:
        return [[ord(character) for character in prompt.user] for prompt in prompts]

    def label_ids(dimension: Dimension) -> list[int]:
        return IDS[dimension.id]

    return cast("PromptEncoder", SimpleNamespace(encode=encode, label_ids=label_ids))


def encoded(families: Sequence[str]) -> list[EncodedRow]:
    return [EncodedRow(replace(ROW, family=family, hash=str(n)), (1, 2), 0) for n, family in enumerate(families)]


@given(families=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40), share=st.floats(0, 0.49), seed=st.integers(0, 9))
def test_validation_rows_are_whole_families_of_at_most_their_share(families: list[str], share: float, seed: int) -> None:
    made = encoded(families)
    train, kept = split_validation(made, share, seed)
    assert sorted((row.row.hash for row in (*train, *kept)), key=int) == [row.row.hash for row in made]
    assert {row.row.family for row in train}.isdisjoint(row.row.family for row in kept)
    assert train
    assert len(kept) <= share * len(made)
    turned = split_validation(made[::-1], share, seed)
    assert {row.row.hash for row in turned[1]} == {row.row.hash for row in kept}
    # Whatever trains beside one family had no room left.
    assert len({row.row.family for row in train}) == 1 or len(kept) + max(Counter(families).values()) > share * len(made)


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=90), epochs=st.sampled_from((0.2, 1.0, 1.5, 3.0)),
    size=st.integers(1, 9), group=st.booleans(), seed=st.integers(0, 9),
)  # fmt: skip
def test_each_epoch_takes_every_row_once_in_full_batches_that_a_resumed_job_has_again(
    lengths: list[int], epochs: float, size: int, group: bool, seed: int
) -> None:
    batches = plan_batches(lengths, epochs, size, group, seed)
    assert plan_batches(lengths, epochs, size, group, seed) == batches
    longer = plan_batches(lengths, epochs + 1, size, group, seed)
    each = math.ceil(len(lengths) / size)
    whole = int(epochs)
    assert longer[: whole * each] == batches[: whole * each]  # more epochs come behind, they change none
    for epoch in range(whole):
        part = batches[epoch * each : (epoch + 1) * each]
        assert sorted(place for batch in part for place in batch) == list(range(len(lengths)))
        assert sum(len(batch) < size for batch in part) <= 1
    rest = [place for batch in batches[whole * each :] for place in batch]
    assert len(set(rest)) == len(rest) == (max(1, round((epochs - whole) * len(lengths))) if epochs > whole else 0)


def test_grouping_saves_padding_and_epochs_come_in_another_order() -> None:
    lengths = [17 + (n * 7919) % 480 for n in range(200)]

    def padding(group: bool) -> int:
        return sum(len(batch) * max(lengths[n] for n in batch) for batch in plan_batches(lengths, 1, 4, group, 3)) - sum(lengths)

    assert padding(group=True) < padding(group=False) / 8
    two = plan_batches(lengths, 2, 4, True, 3)
    assert two[:50] != two[50:]
    assert [lengths[batch[0]] for batch in two[:50]] != sorted(lengths[batch[0]] for batch in two[:50])  # not from short to long


def test_a_prompt_as_long_as_allowed_is_taken_and_one_token_more_is_left_out() -> None:
    made = [replace(row, user=row.user[: 20 + n], label=1 + n) for n, row in enumerate(rows(4, Split.TRAIN))]
    fitting, too_long = encode_rows(made, encoder(), DIMENSIONS, 22)
    assert [len(row.ids) for row in fitting] == [20, 21, 22]
    assert [row.gold for row in fitting] == [0, 1, 2]
    assert too_long == made[3:]
    assert encode_rows([], encoder(), DIMENSIONS, 22) == ([], [])


def test_rows_of_dimensions_with_fewer_labels_share_a_batch_and_padding_is_told_apart() -> None:
    wide = EncodedRow(ROW, (5, 6, 7), 4)
    narrow = EncodedRow(replace(ROW, dimension_id="choice"), (8,), 1)
    batch = LabelTokens(encoder(), {name: DIMENSIONS[name] for name in IDS}).batch([wide, narrow], pad_id=99)
    assert batch.ids.tolist() == [[5, 6, 7], [8, 99, 99]]
    assert batch.lengths.tolist() == [3, 1]
    targets = batch.targets
    assert targets.known.tolist() == [[True] * 5, [True, True, False, False, False]]
    assert targets.tokens.tolist() == [IDS["fluency"], [21, 22, 21, 21, 21]]
    assert targets.values[1, :2].tolist() == [float(label) for label in DIMENSIONS["choice"].labels]
    assert (targets.gold.tolist(), targets.ordinal.tolist()) == ([4, 1], [True, False])


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12), samples=st.integers(1, 9), length=st.integers(1, 64))
def test_calibration_windows_are_equally_long_use_no_token_twice_and_are_as_many_as_there_is_text_for(
    sizes: list[int], samples: int, length: int
) -> None:
    numbers = iter(range(10**6))
    prompts = [[next(numbers) for _ in range(size)] for size in sizes]
    windows = calibration_windows(prompts, samples, length, seed=4)
    tokens = [token for window in windows for token in window]
    assert len(set(tokens)) == len(tokens)
    assert set(tokens) <= set(range(sum(sizes)))
    assert {len(window) for window in windows} == {min(length, sum(sizes))}
    assert len(windows) == min(samples, max(1, sum(sizes) // length))
    for prompt in prompts:  # a prompt's own tokens follow each other
        places = [tokens.index(token) for token in prompt if token in tokens]
        assert places == list(range(places[0], places[0] + len(places))) if places else True


@pytest.mark.parametrize(
    ("said", "layers", "done"),
    [
        ("", 4, 0), ("Loading model.layers.3", 4, 0), ("model.layers.3, samples: 128, max gpu memory: 5.9 GB", 4, 4),
        ("model.layers.0 smooth weight done.", 4, 5), ("model.layers.3.mlp.down_proj weight packed.", 4, 12),
        ("model.layers.2.self_attn weight skipped.\nmodel.layers.1.mlp weight packed.", 4, 11),
    ],
)  # fmt: skip
def test_progress_of_lite_only_grows(said: str, layers: int, done: int) -> None:
    assert progress(said, layers) == done
    assert progress(said + "\nmodel.layers.0, samples: 1, max", layers) == max(done, 1)
