"""The house rules that a tool can check: imports go one way, heavy libraries stay out of the way, docs are complete."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import Settings
from tests.conftest import ROOT

PACKAGES = ("core", "db", "training", "webapp")
ALLOWED = {"core": set(), "db": {"core"}, "training": {"core"}, "webapp": {"core", "db", "training"}}
HEAVY = ("torch", "transformers", "peft", "chromadb", "sentence_transformers", "pandas", "sklearn", "scipy")


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported_modules(tree: ast.AST) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.lineno, node.module))
    return found


def test_imports_go_one_way() -> None:
    wrong = []
    for path in sources():
        package = path.relative_to(ROOT).parts[0]
        for line, module in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            top = module.split(".")[0]
            if top in PACKAGES and top != package and top not in ALLOWED[package]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert wrong == []


def test_no_relative_imports_hide_an_arrow() -> None:
    hidden = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert hidden == []


def test_help_comes_up_without_heavy_libraries(home: Path) -> None:
    code = (
        "import sys\nfrom webapp.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('LOADED', [m for m in {(*HEAVY, 'gradio')!r} if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, env=_env(), check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "judge" in answer.stdout
    assert "LOADED []" in answer.stdout


def test_importing_any_core_module_makes_no_folder_and_loads_no_model_library(tmp_path: Path) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources() if path.parts[len(ROOT.parts)] in {"core", "db"}
    ]
    modules = [name.removesuffix(".__init__") for name in modules if "migrations" not in name]
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\nprint([m for m in {HEAVY[:6]!r} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, env=_env(), check=False
    )
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr
    assert list(tmp_path.iterdir()) == []


def _env() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


@pytest.mark.parametrize("document", ["docs/SETTINGS.md"])
def test_every_setting_stands_in_the_docs_with_its_default(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    rows = {match.group(1): match.group(2) for match in re.finditer(r"^\| `PINGPAN_([A-Z_]+)` \| `([^`]*)` \|", text, re.MULTILINE)}
    assert set(rows) == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = (
            default.relative_to(ROOT).as_posix()
            if isinstance(default, Path)
            else str(default).lower()
            if isinstance(default, bool)
            else str(default)
        )
        assert rows[name.upper()] == ("" if default is None else shown), name


def test_every_command_stands_in_the_readme() -> None:
    from webapp.cli.app import app

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [(c.name or (c.callback.__name__ if c.callback else "")).replace("_", "-") for c in app.registered_commands]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        names += [f"{group.name} {command.name}" for command in group.typer_instance.registered_commands]
    assert [name for name in names if f"./run.sh {name}" not in readme] == []


def test_top_level_holds_what_the_design_names() -> None:
    wanted = "webapp core training db assets Dockerfile requirements.txt README.md README.zh-CN.md CHANGELOG.md tests benchmarks docs pyproject.toml run.sh test.sh"
    assert [name for name in wanted.split() if not (ROOT / name).exists()] == []
