"""`serve-judge` starts the judge's server, waits until it is healthy, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import JudgeError
from core.judging.registry import make_judge
from core.panels import load_panel
from core.ports import JudgeContext
from core.settings import load_settings
from tests.conftest import ROOT
from tests.judging.server.conftest import FLUENCY, NoEmbedder, request
from tests.serving.test_commands import adapter
from webapp.services.serving import ModelServer, memory_warning, plan_server

PANEL = """
names: {{zh: 服务, en: Servers}}
lead: qwen
judges:
  - id: qwen
    name: Qwen2
    family: server
    options: {{engine: lmdeploy-pytorch, model: fluency, serve: {{model: "{model}", port: {port}, adapters: {{fluency: "{adapter}"}}, devices: "1"}}}}
  - id: glm
    name: GLM
    family: server
    options: {{engine: vllm, model: glm, serve: {{model: nobody/glm, port: {port}}}}}
  - {{id: rules, name: Rules, family: rules}}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def panel(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A panel with a model folder, an adapter and a stand-in for lmdeploy's interpreter."""
    model = tmp_path / "qwen"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"architectures": ["Qwen2ForCausalLM"]}))
    (model / "model.safetensors").write_bytes(b"0" * 64)
    interpreter = tmp_path / "python"
    interpreter.write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" FAKE_SAW="$PYTHONPATH" exec {sys.executable} -P -m tests.serving.interpreter "$@"\n'
    )
    interpreter.chmod(0o755)
    monkeypatch.setenv("PINGPAN_LMDEPLOY_PYTHON", str(interpreter))
    monkeypatch.setenv("PINGPAN_VLLM_PYTHON", str(tmp_path / "missing"))
    monkeypatch.setenv("FAKE_PIDS", str(tmp_path / "pids"))
    path = home / "panels" / "served.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(PANEL.format(model=model, port=free_port(), adapter=adapter(tmp_path / "adapter")), encoding="utf-8")
    return path


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] if Path(f"/proc/{pid}").exists() else False


def gone(pids: list[int]) -> bool:
    for _ in range(100):
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def pids_of(tmp_path: Path) -> list[int]:
    return [int(pid) for pid in (tmp_path / "pids").read_text().split()]


def test_the_server_comes_up_is_judged_with_and_goes_with_its_workers(panel: Path, tmp_path: Path) -> None:
    settings = load_settings()
    spec = load_panel(panel)
    plan = plan_server(settings, spec, "qwen")
    waits: list[float] = []
    with ModelServer(plan) as server:
        assert server.wait_ready(30, waits.append, poll=0.05) < 30
        context = JudgeContext((), "v", {"fluency": FLUENCY}, tmp_path / "cache", NoEmbedder())
        judge = make_judge(spec.judges[0], context)
        assert [answer.label for answer in judge.judge([request("错错", 1), request("好", 2)])] == [3, 5]
        judge.close()
        with pytest.raises(JudgeError, match=r"answers at .* already"):
            ModelServer(plan).start()
    assert waits
    assert gone(pids_of(tmp_path))
    assert not server.answers()
    log = plan.log.read_text()
    assert log.startswith("CUDA_VISIBLE_DEVICES=1 ")
    assert "--model-name qwen-base" in log
    assert "devices 1" in log
    cleaned = settings.judge_cache() / "adapters" / "qwen" / "fluency"
    assert f"--adapters fluency={cleaned}" in log
    assert "peft_version" not in (cleaned / "adapter_config.json").read_text()


def test_an_early_death_is_told_with_the_logs_end(panel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_BEHAVIOUR", "dies")
    with pytest.raises(JudgeError) as caught, ModelServer(plan_server(load_settings(), load_panel(panel), "qwen")) as server:
        server.wait_ready(30, poll=0.05)
    assert "ended before it was ready (status 3)" in str(caught.value)
    assert "CUDA out of memory" in str(caught.value)
    assert "server-served-qwen.log" in str(caught.value)


def test_a_server_that_never_gets_ready_is_ended(panel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_BEHAVIOUR", "hangs")
    with (
        pytest.raises(JudgeError, match=r"was not ready within 2 s \(--timeout\)"),
        ModelServer(plan_server(load_settings(), load_panel(panel), "qwen")) as s,
    ):
        s.wait_ready(2, poll=0.05)
    assert gone(pids_of(tmp_path))


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ("nobody", "choose one of: qwen, glm, rules"),
        ("rules", "needs `family: server` and the option `serve`"),
        ("glm", "./run.sh models fetch served"),
    ],
)
def test_what_cannot_be_served_is_told(judge: str, said: str, panel: Path) -> None:
    with pytest.raises(JudgeError) as caught:
        plan_server(load_settings(), load_panel(panel), judge)
    assert said in str(caught.value)


def test_a_missing_environment_is_told_with_the_command(panel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGPAN_LMDEPLOY_PYTHON", str(tmp_path / "nothing"))
    with pytest.raises(JudgeError, match=r"\./run\.sh setup lmdeploy"):
        plan_server(load_settings(), load_panel(panel), "qwen")


def test_a_card_with_too_little_memory_is_told(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho '0, 81000'\necho '1, 10240'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    panel = load_panel(ROOT / "assets/panels/servers.yaml")
    plans = {spec.id: plan_server(load_settings(), panel, spec.id, missing_ok=True) for spec in panel.judges}
    assert memory_warning(plans["glm"]) == ""  # 24 GiB on card 0
    assert "states 20 GiB for qwen, but its cards have 10.0 GiB free" in memory_warning(plans["qwen"])
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert memory_warning(plans["qwen"]) == ""


# The command


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "webapp", "serve-judge", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def test_print_shows_the_command_for_weights_that_are_not_here_yet(panel: Path) -> None:
    answer = subprocess.run(
        command("served", "glm", "--print", "--port", "9001"), capture_output=True, text=True, env=environment(), timeout=60, check=True
    )
    assert re.search(
        r"-m vllm\.entrypoints\.cli\.main serve nobody/glm --served-model-name glm --host 127\.0\.0\.1 --port 9001", answer.stdout
    )
    assert len(answer.stdout.splitlines()) == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_command_and_the_server(how: signal.Signals, panel: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(command("served", "qwen"), stderr=subprocess.PIPE, text=True, env=environment())
    said = ""
    assert process.stderr is not None
    while "Ready after" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(how)
    rest = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert "The server has ended." in rest
    assert gone(pids_of(tmp_path))


def test_a_server_that_dies_later_ends_the_command_with_the_reason(panel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_BEHAVIOUR", "dies later")
    answer = subprocess.run(command("served", "qwen"), capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert answer.returncode != 0
    assert "The server of qwen ended (status 9)" in answer.stderr
    assert "Traceback" not in answer.stderr
