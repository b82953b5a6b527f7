"""The Dockerfile's steps, as far as they can be checked without an engine: what it copies is there, and is enough to start."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from core.settings import Settings
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_what_is_copied_is_enough_for_the_command_line(tmp_path: Path) -> None:
    copied = re.findall(r"^COPY (\S+) (\S+)$", DOCKERFILE, re.MULTILINE)
    assert copied
    for source, target in copied:
        path = ROOT / source
        if path.is_dir():
            shutil.copytree(path, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, tmp_path / target)
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "webapp", "doctor"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PINGPAN_HOME": str(tmp_path / "data"), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_its_settings_are_settings() -> None:
    names = set(re.findall(r"PINGPAN_([A-Z_]+)=", DOCKERFILE))
    assert names
    assert names <= {name.upper() for name in Settings.model_fields}


def test_it_runs_without_root_on_a_supported_python_and_is_probed() -> None:
    version = re.search(r"^FROM python:3\.(\d+)-slim$", DOCKERFILE, re.MULTILINE)
    assert version is not None
    assert 11 <= int(version.group(1)) <= 13
    assert re.search(r"^USER pingpan$", DOCKERFILE, re.MULTILINE)
    assert "/health" in DOCKERFILE
