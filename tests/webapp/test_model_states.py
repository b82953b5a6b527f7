"""What stands between a judge and its first answer is told with what to do, and looking for it holds nobody up."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.judging.head.files import ADAPTER_FOLDER, WEIGHTS_FILE, Attention, BaseWeights, HeadFile, write_head_file
from core.panels import get_panel, load_panels
from core.settings import Settings
from core.types import JudgeSpec, PanelSpec
from tests.judging.server.engines import serving
from webapp.cli.models import models_of
from webapp.services import model_states
from webapp.services.model_states import JudgeState, ModelStates, Readiness


def panel(*judges: JudgeSpec) -> PanelSpec:
    return PanelSpec("mine", {"zh": "我的"}, judges, judges[0].id, sha256="0" * 64)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, _env_file=None)  # type: ignore[call-arg]


def test_the_cpu_panel_is_ready_at_once(settings: Settings) -> None:
    states = ModelStates(settings).states(get_panel(load_panels(settings.panels_dir), "cpu"))
    assert {state.readiness for state in states} == {Readiness.READY}


def test_a_server_that_is_away_is_looked_for_beside_the_page_and_named_with_its_command(settings: Settings) -> None:
    serve = {"model": "/nowhere", "port": 9}
    judge = JudgeSpec("glm", "GLM", "server", {"engine": "vllm", "model": "glm", "serve": serve, "memory_gib": 24})
    states = ModelStates(settings)
    begun = time.monotonic()
    (first,) = states.states(panel(judge))
    assert time.monotonic() - begun < 0.5
    assert first.readiness is Readiness.CHECKING
    while (seen := states.states(panel(judge))[0]).readiness is Readiness.CHECKING:
        assert time.monotonic() - begun < 30
        time.sleep(0.05)
    assert (seen.readiness, seen.memory_needed) == (Readiness.SERVER, 24)
    assert seen.remedy is not None
    assert "./run.sh serve-judge mine glm" in seen.remedy["en"]
    assert "./run.sh serve-judge mine glm" in seen.remedy["zh"]


def test_a_server_that_answers_is_ready_and_a_missing_key_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLM_KEY", raising=False)
    with serving("vllm", model="glm") as server:
        options = {"engine": "vllm", "model": "glm", "base_url": server.url}
        there = JudgeSpec("glm", "GLM", "server", options)
        locked = JudgeSpec("key", "Key", "server", {**options, "api_key_env": "GLM_KEY"})
        up, key = ModelStates(settings).look(panel(there, locked))
    assert up.readiness is Readiness.READY
    assert key.readiness is Readiness.KEY
    assert "GLM_KEY" in (key.remedy or {})["en"]


def test_wrong_options_are_told_without_looking(settings: Settings) -> None:
    states = ModelStates(settings).states(panel(JudgeSpec("x", "X", "server", {"mode": 1}), JudgeSpec("y", "Y", "oracle")))
    assert {state.readiness for state in states} == {Readiness.WRONG}
    assert "base_url" in (states[0].remedy or {})["en"]


def test_a_language_model_says_what_is_missing(settings: Settings) -> None:
    pytest.importorskip("core.judging.transformers.options")
    from core.judging.registry import families

    if "transformers" not in families():
        pytest.skip("the family is not registered")
    judge = JudgeSpec("glm", "GLM", "transformers", {"model": "owner/none", "memory_gib": 20})
    (state,) = ModelStates(settings).look(panel(judge))
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        assert (state.readiness, "./run.sh setup models" in (state.remedy or {})["en"]) == (Readiness.PACKAGES, True)
    else:
        assert (state.readiness, "./run.sh models fetch mine" in (state.remedy or {})["en"]) == (Readiness.WEIGHTS, True)


def test_a_head_judge_is_ready_only_with_its_head_adapter_and_base(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    monkeypatch.setattr(model_states, "_card_memory", lambda _: None)
    folder, base = tmp_path / "head", settings.judge_cache() / "models" / "owner" / "base"
    judge = JudgeSpec("head", "头", "ordinal_head", {"head": str(folder), "device": "cpu"})

    def look(spec: JudgeSpec = judge) -> JudgeState:
        return ModelStates(settings).look(panel(spec))[0]

    def missing(*words: str) -> bool:
        state = look()
        told = [(state.remedy or {})[language] for language in ("en", "zh")]
        return state.readiness is Readiness.WEIGHTS and all(word in text for word in words for text in told)

    assert missing(str(folder), "./run.sh jobs candidates")
    assert list(models_of(panel(judge))) == []
    (folder / ADAPTER_FOLDER).mkdir(parents=True)
    head = HeadFile(
        dimension="fluency", labels=(1, 2), base="owner/base", weights=BaseWeights.ADAPTER, attention=Attention.CAUSAL, max_length=9,
        hidden_size=4, kinds=(),
    )  # fmt: skip
    write_head_file(folder, head)
    assert missing(str(folder / WEIGHTS_FILE))
    save_file({"x": np.zeros(4, np.float32)}, folder / WEIGHTS_FILE)
    assert missing(str(folder / ADAPTER_FOLDER))
    save_file({"x": np.zeros(4, np.float32)}, folder / ADAPTER_FOLDER / "adapter_model.safetensors")
    (folder / ADAPTER_FOLDER / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert missing("owner/base", "./run.sh models fetch mine")
    assert [model.wish.model for model in models_of(panel(judge))] == ["owner/base"]  # what that command fetches
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}", encoding="utf-8")
    (base / "model.safetensors").write_bytes(b"cut off")
    assert missing(str(base))
    save_file({"x": np.zeros((1024, 1024), np.float16)}, base / "model.safetensors")
    ready = look()
    assert (ready.readiness, ready.model) == (Readiness.READY, "owner/base")
    assert ready.memory_needed == 4 / 1024  # a million numbers of 16 bits on disk are 32 bits wide on a CPU
    assert ready.memory_there is not None
    assert 2 / 1024 < (ready.weights_gib or 0) < 2.1 / 1024
    eight_bits = replace(judge, options={**judge.options, "engine": "torch_int8"})
    assert look(eight_bits).memory_needed == 8 / 1024  # made beside the whole model
    monkeypatch.setattr(model_states, "_memory", lambda _: 0.001)
    assert look().readiness is Readiness.MEMORY


def test_a_judge_that_wants_more_memory_than_there_is_says_so_and_a_smaller_one_is_ready(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    monkeypatch.setattr(model_states, "_card_memory", lambda _: None)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.json").write_text("{}", encoding="utf-8")
    save_file({"x": np.zeros(4, np.float32)}, tmp_path / "own" / "model.safetensors")

    def look(memory: float, device: str = "cpu") -> JudgeState:
        options = {"model": str(tmp_path / "own"), "memory_gib": memory, "device": device}
        return ModelStates(settings).look(panel(JudgeSpec("own", "Own", "transformers", options)))[0]

    large = look(100_000)
    assert (large.readiness, large.memory_needed) == (Readiness.MEMORY, 100_000)
    assert "100000 GiB" in (large.remedy or {})["en"]
    assert "100000 GiB" in (large.remedy or {})["zh"]
    assert look(0.001).readiness is Readiness.READY
    card = look(100_000, "cuda:0")  # nobody can say what a card has that cannot be asked
    assert (card.readiness, card.memory_there) == (Readiness.READY, None)
    assert look(1, "cuda:first").memory_there is None  # the judge itself tells a device that is none


def test_what_was_seen_is_believed_for_a_while_and_then_looked_at_anew(settings: Settings) -> None:
    clock = [0.0]
    states = ModelStates(settings, clock=lambda: clock[0])
    with serving("vllm", model="glm") as server:
        judges = panel(JudgeSpec("glm", "GLM", "server", {"engine": "vllm", "model": "glm", "base_url": server.url}))
        assert settled(states, judges) is Readiness.READY
    clock[0] = model_states.FRESH_SECONDS - 1
    assert states.states(judges)[0].readiness is Readiness.READY  # it is away, and nobody has looked
    clock[0] = model_states.FRESH_SECONDS + 1
    assert states.states(judges)[0].readiness is Readiness.READY  # looked for beside the page
    deadline = time.monotonic() + 30
    while states.states(judges)[0].readiness is Readiness.READY and time.monotonic() < deadline:
        time.sleep(0.02)
    assert states.states(judges)[0].readiness is Readiness.SERVER


def settled(states: ModelStates, judges: PanelSpec) -> Readiness:
    deadline = time.monotonic() + 30
    while (seen := states.states(judges)[0].readiness) is Readiness.CHECKING and time.monotonic() < deadline:
        time.sleep(0.02)
    return seen
