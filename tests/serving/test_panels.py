"""The shipped panels fit their families, say what they need, and the documents are complete."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from core.judging.head.options import HeadOptions
from core.judging.registry import families
from core.judging.server.options import ServerOptions
from core.judging.server.options import read_options as read_server
from core.judging.serving import Engine, ServeOptions
from core.judging.transformers.options import Quantization, TransformersOptions
from core.judging.transformers.options import read_options as read_transformers
from core.panels import _JudgeFile, _PanelFile, load_panels
from core.settings import ASSETS, load_settings
from core.types import PanelSpec
from tests.conftest import ROOT
from webapp.cli.models import models_of
from webapp.services.serving import plan_server

PANELS = load_panels(ASSETS / "panels")
MODELS = ("gpu-80gb", "gpu-24gb", "small", "servers")
CARD_GIB = {"gpu-80gb": 78, "gpu-24gb": 22.5}


def memory(panel: PanelSpec) -> list[float]:
    read = {"transformers": read_transformers, "server": read_server}
    stated = [read[spec.family](spec.id, spec.options).memory_gib for spec in panel.judges]  # type: ignore[operator]
    assert None not in stated
    return stated


@pytest.mark.parametrize("name", MODELS)
def test_a_panel_names_four_judges_led_by_glm_and_states_the_memory_of_each(name: str) -> None:
    panel = PANELS[name]
    assert [spec.id for spec in panel.judges] == ["glm", "qwen", "internlm", "gemma"]
    assert panel.lead == "glm"
    assert set(panel.names) == set(panel.description) == {"zh", "en"}
    assert len(memory(panel)) == 4


def test_panels_for_one_card_take_turns_and_each_judge_fits_it() -> None:
    for name, card in CARD_GIB.items():
        assert PANELS[name].schedule == "in_turn"
        assert max(memory(PANELS[name])) < card
    assert sum(memory(PANELS["gpu-24gb"])) > CARD_GIB["gpu-24gb"]
    assert PANELS["small"].schedule == "in_turn"


def test_the_small_cards_panel_is_quantized_and_does_not_merge_into_quantized_weights() -> None:
    for spec in PANELS["gpu-24gb"].judges:
        options = read_transformers(spec.id, spec.options)
        assert options.quantization in (Quantization.INT8, Quantization.INT4)
        assert not options.merge_adapter


def test_servers_have_addresses_of_their_own_and_a_command_each(home: Path) -> None:
    panel = PANELS["servers"]
    addresses = [read_server(spec.id, spec.options).addresses()[0] for spec in panel.judges]
    assert len(set(addresses)) == 4
    for spec in panel.judges:
        assert plan_server(load_settings(), panel, spec.id, missing_ok=True).launch.arguments


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_a_panel_can_be_fetched_from_a_hub(name: str) -> None:
    assert len({named.wish.model for named in models_of(PANELS[name])}) == 4


# Documents


def default_of(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if field.is_required():
        return "required"
    value = field.default if field.default is not PydanticUndefined else field.default_factory()  # type: ignore[call-arg, misc]
    if value is None or value in ("", (), {}):
        return ""
    shown = value.value if isinstance(value, Enum) else value
    return f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"


@pytest.mark.parametrize(
    "model", [_PanelFile, _JudgeFile, TransformersOptions, HeadOptions, ServerOptions, ServeOptions], ids=lambda model: model.__name__
)
def test_every_field_of_a_panel_file_stands_in_the_docs_with_its_default(model: type[BaseModel]) -> None:
    text = (ROOT / "docs/PANELS.md").read_text(encoding="utf-8")
    tables = [dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .+ \|$", table, re.MULTILINE)) for table in re.split(r"\n\n", text)]
    wanted = {name: default_of(model, name) for name in model.model_fields}
    assert wanted in [{name: default.strip() for name, default in table.items()} for table in tables]


def test_every_panel_family_and_engine_stands_in_the_docs() -> None:
    panels = (ROOT / "docs/PANELS.md").read_text(encoding="utf-8")
    servers = (ROOT / "docs/SERVERS.md").read_text(encoding="utf-8")
    for name in (*PANELS, *families()):
        assert f"`{name}`" in panels, name
    for engine in Engine:
        assert f"`{engine}`" in servers, engine


def test_the_commands_in_the_docs_are_those_that_are_printed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGPAN_LMDEPLOY_PYTHON", "/x/.venv-lmdeploy/bin/python")
    monkeypatch.setenv("PINGPAN_VLLM_PYTHON", "/x/.venv-vllm/bin/python")
    text = (ROOT / "docs/SERVERS.md").read_text(encoding="utf-8")
    for spec in PANELS["servers"].judges:
        command = plan_server(load_settings(), PANELS["servers"], spec.id, missing_ok=True).launch.shell()
        assert command.replace("/x/", "") in text


def test_the_panel_that_the_docs_show_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/PANELS.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(names:.*?)```", text, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(shown, encoding="utf-8")
    panel = load_panels(tmp_path)["mine"]
    monkeypatch.setenv("REMOTE_KEY", "k")
    for spec in panel.judges:
        options = read_server(spec.id, spec.options)
        assert options.addresses()
        assert options.serve is None or options.model in options.serve.adapters
