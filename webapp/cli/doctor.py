"""`doctor`: what this machine has, what is set, and what to mend."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

from rich.table import Table

from core.errors import PingpanError
from core.settings import Settings, load_settings
from webapp.cli.console import plain_console

SMALLEST_FREE_GB = 2.0
PACKAGES = ("gradio", "sqlalchemy", "chromadb", "scikit-learn")
MODEL_PACKAGES = ("torch", "transformers", "peft", "sentence-transformers")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: `mend` is empty when all is well."""

    what: str
    found: str
    mend: str = ""


def run_doctor() -> int:
    """Print every finding; return 0 when nothing must be mended."""
    settings = load_settings()
    findings = list(_findings(settings))
    table = Table("", "what", "found", "what to do", box=None)
    for finding in findings:
        table.add_row("!" if finding.mend else "ok", finding.what, finding.found, finding.mend)
    plain_console().print(table)
    return 1 if any(finding.mend for finding in findings) else 0


def _findings(settings: Settings) -> Iterator[Finding]:
    yield Finding("Python", platform.python_version())
    for package in PACKAGES:
        yield _package(package, "./run.sh setup")
    for package in MODEL_PACKAGES:
        yield Finding(package, _version(package) or "not installed (only language-model judges need it: ./run.sh setup models)")
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free / 2**30
    yield Finding("PINGPAN_HOME", f"{settings.home}, {free:.1f} GiB free", "" if free > SMALLEST_FREE_GB else "Free some disk space.")
    yield _try("dimensions", lambda: _dimensions(settings))
    yield _try("panels", lambda: _panels(settings))
    yield _try("database", lambda: _database(settings))
    yield Finding("GPU", _gpus() or "none (the CPU panel needs none)")


def _package(package: str, command: str) -> Finding:
    version = _version(package)
    return Finding(package, version or "not installed", "" if version else f"Install it: {command}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _try(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, check())
    except PingpanError as error:
        return Finding(what, "cannot be used", str(error))


def _dimensions(settings: Settings) -> str:
    from core.dimensions import load_dimensions

    return ", ".join(load_dimensions(*settings.dimension_folders()))


def _panels(settings: Settings) -> str:
    from core.panels import get_panel, load_panels

    panels = load_panels(*settings.panel_folders())
    get_panel(panels, settings.panel)
    return ", ".join(panels)


def _database(settings: Settings) -> str:
    from webapp.workbench import Workbench

    workbench = Workbench.open(settings)
    return f"{settings.resolved_database_url().split('@')[-1]}: {len(workbench.runs())} runs, {len(workbench.libraries())} libraries"


def _gpus() -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    return "; ".join(line.strip() for line in answer.stdout.splitlines())
