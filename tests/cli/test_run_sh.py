"""run.sh installs what is wanted, in one go, and only once; a stand-in for Python notes what it is asked for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A virtual environment whose Python only writes its arguments down."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/asked"\n', encoding="utf-8")
    python.chmod(0o755)
    (folder / "pyvenv.cfg").write_text("version = 3.11.7\n", encoding="utf-8")
    return folder


def run_sh(venv: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PINGPAN_VENV": str(venv)}
    return subprocess.run(
        [ROOT / "run.sh", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=venv.parent
    )


def pips(venv: Path) -> list[str]:
    """Return what pip was asked for since the last time."""
    log = venv.parent / "asked"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [line for line in lines if line.startswith("-m pip install")]


def test_sets_are_installed_together_once_and_again_when_the_python_changes(venv: Path) -> None:
    assert run_sh(venv, "setup", "dev").returncode == 0
    first, bare = pips(venv)
    assert first.endswith(f"-r {ROOT}/requirements.txt -r {ROOT}/requirements-dev.txt")
    assert bare.endswith(f"--no-deps -r {ROOT}/requirements-nodeps.txt")
    assert run_sh(venv, "setup", "dev").returncode == 0
    assert pips(venv) == []
    assert run_sh(venv, "setup", "models", "dev").returncode == 0
    (second,) = pips(venv)
    assert second.endswith(f"--no-compile -r {ROOT}/requirements-models.txt")
    (venv / "pyvenv.cfg").write_text("version = 3.13.1\n", encoding="utf-8")
    assert run_sh(venv, "doctor").returncode == 0
    assert len(pips(venv)) == 2


def test_what_could_not_be_installed_is_told_and_tried_again(venv: Path) -> None:
    python = venv / "bin" / "python"
    works = python.read_text(encoding="utf-8")
    python.write_text(works + "exit 1\n", encoding="utf-8")
    failed = run_sh(venv, "setup")
    assert failed.returncode == 1
    assert "Installing base failed" in failed.stderr
    python.write_text(works, encoding="utf-8")
    pips(venv)
    assert run_sh(venv, "setup").returncode == 0
    assert len(pips(venv)) == 2


def test_an_unknown_set_is_told_before_anything_is_installed(venv: Path) -> None:
    answer = run_sh(venv, "setup", "dev", "everything")
    assert answer.returncode == 2
    assert "models dev lmdeploy vllm" in answer.stderr
    assert pips(venv) == []
