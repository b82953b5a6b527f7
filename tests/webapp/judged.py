"""A workbench in which the shipped sample sheet is judged by the CPU panel: what the desk pages show in tests."""

from __future__ import annotations

from pathlib import Path

from core.settings import Settings
from core.types import Library, Run
from webapp.workbench import Workbench


def judged_workbench(home: Path, runs: int = 1) -> tuple[Workbench, Settings, Library, list[Run]]:
    """Return a workbench on `home` with `runs` finished runs of the sample sheet; the second votes by the reference rule."""
    settings = Settings(home=home, port=0, open_browser=False, _env_file=None)  # type: ignore[call-arg]
    workbench = Workbench.open(settings)
    library = workbench.libraries()[0]
    preview = workbench.preview(workbench.sample_sheet())
    sheet = workbench.store_sheet(preview.token, skip_bad_rows=True)
    votes = ("pooled-median", "reference-vote")
    started = [workbench.start_run(sheet.id, library.id, "cpu", votes[place % 2]) for place in range(runs)]
    return workbench, settings, library, [workbench.execute(run.id) for run in started]
