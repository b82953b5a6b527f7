"""Where judges work: models over the cards, lanes, and weights that are read ahead."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import JudgeError, PanelError
from core.judging.placement import lanes, spread
from core.judging.prefetch import read_ahead
from core.judging.registry import can_explain, families, make_explainer, make_judge
from core.panels import load_panel
from core.ports import JudgeContext
from core.retrieval.ngram import NgramEmbedder
from core.settings import ASSETS
from core.types import JudgeSpec, PanelSpec


def panel(schedule: str, *options: dict[str, object]) -> PanelSpec:
    judges = tuple(JudgeSpec(f"j{number}", "j", "transformers", given) for number, given in enumerate(options))
    return PanelSpec("p", {"zh": "p"}, judges, "j0", schedule)


def devices(spread_panel: PanelSpec) -> list[object]:
    return [spec.options.get("device", "auto") for spec in spread_panel.judges]


def test_four_models_stand_on_four_cards_and_share_fewer_evenly() -> None:
    shipped = load_panel(ASSETS / "panels" / "gpu-4x.yaml")
    assert sorted(map(str, devices(spread(shipped, 4)))) == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert len(set(lanes(spread(shipped, 4), 4).values())) == 4
    two = {"cuda:0": 0.0, "cuda:1": 0.0}
    for spec in spread(shipped, 2).judges:
        two[str(spec.options["device"])] += float(str(spec.options["memory_gib"]))
    assert sorted(two.values()) == [40, 57]
    assert devices(spread(shipped, 1)) == ["cuda:0"] * 4
    assert spread(shipped, 0) == shipped


def test_what_names_its_device_keeps_it_and_counts() -> None:
    mixed = panel("together", {"device": "cuda", "memory_gib": 20}, {"memory_gib": 5}, {"device": "cpu"})
    assert devices(spread(mixed, 2)) == ["cuda", "cuda:1", "cpu"]
    assert lanes(spread(mixed, 2), 2) == {"j0": "cuda:0", "j1": "cuda:1", "j2": "cpu"}
    in_turn = panel("in_turn", {}, {})
    assert spread(in_turn, 4) == in_turn
    assert set(lanes(in_turn, 4).values()) == {"cuda:0"}
    assert set(lanes(in_turn, 0).values()) == {"cpu"}


def test_servers_have_a_lane_each_and_embedded_judges_none() -> None:
    shipped = load_panel(ASSETS / "panels" / "servers.yaml")
    assert len(set(lanes(shipped, 0).values())) == 4
    assert not lanes(load_panel(ASSETS / "panels" / "cpu.yaml"), 4)


@pytest.mark.parametrize(("free", "expected"), [(10_000, 3_000), (3_500, 0)])
def test_weights_are_read_ahead_only_into_memory_that_is_free(free: int, expected: int, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x" * 1_000)
    (tmp_path / "b.safetensors").write_bytes(b"x" * 2_000)
    (tmp_path / "other.bin").write_bytes(b"x" * 50_000)
    assert read_ahead(tmp_path, threading.Event(), lambda: free, spare=1_000) == expected
    ended = threading.Event()
    ended.set()
    assert read_ahead(tmp_path, ended, lambda: free, spare=1_000) == 0


PLACES = st.fixed_dictionaries(
    {}, optional={"device": st.sampled_from(["auto", "cpu", "cuda", "cuda:1", "cuda:9", ""]), "memory_gib": st.integers(1, 60)}
)


@given(st.lists(PLACES, min_size=1, max_size=7), st.integers(0, 4), st.randoms())
def test_every_model_that_may_be_moved_gets_a_card_there_is_and_the_others_stay(
    given_: list[dict[str, object]], cards: int, draw: Any
) -> None:
    before = panel("together", *given_)
    after = spread(before, cards)
    for old, new in zip(before.judges, after.judges, strict=True):
        if cards and (old.options.get("device") or "auto") == "auto":
            assert new.options["device"] in {f"cuda:{number}" for number in range(cards)}
        else:
            assert new == old
        assert {**new.options, "device": 0} == {**old.options, "device": 0}
    assert spread(after, cards) == after
    mixed = list(before.judges)
    draw.shuffle(mixed)
    turned = {spec.id: spec for spec in spread(replace(before, judges=tuple(mixed)), cards).judges}
    assert [turned[spec.id] for spec in after.judges] == list(after.judges)  # the order in the file changes nothing
    assert set(lanes(after, cards)) == {spec.id for spec in after.judges}


def test_an_unknown_family_is_answered_with_the_known_ones_and_some_cannot_be_asked_why(tmp_path: Path) -> None:
    context = JudgeContext((), "", {}, tmp_path, NgramEmbedder())
    with pytest.raises(PanelError, match=r"names the unknown family 'oracle'; write one of: rules, .*server") as caught:
        make_judge(JudgeSpec("a", "A", "oracle"), context)
    assert "类别 'oracle' 不存在；可用的有：rules" in caught.value.messages["zh"]
    assert [name for name in families() if can_explain(JudgeSpec("a", "A", name))] == ["transformers", "server"]
    with pytest.raises(JudgeError, match="whose reasons stand beside each answer") as told:
        make_explainer(JudgeSpec("a", "A", "rules"), context)
    assert "理由已随每个评分给出" in told.value.messages["zh"]
