"""What stands between a judge and its first answer is told with what to do, and looking for it holds nobody up."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest

from core.panels import get_panel, load_panels
from core.settings import Settings
from core.types import JudgeSpec, PanelSpec
from tests.judging.server.engines import serving
from webapp.services.model_states import ModelStates, Readiness


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
