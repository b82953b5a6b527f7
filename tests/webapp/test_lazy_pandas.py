"""Gradio comes up without pandas, and whoever asks for pandas later gets the real one."""

from __future__ import annotations

import subprocess
import sys

from core.settings import PROJECT_ROOT


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_pages_come_up_without_pandas_and_whoever_asks_later_gets_the_real_one() -> None:
    code = (
        "import sys, webapp.pages, gradio.caching as caching; before = caching.pd; "
        "print('gradio' in sys.modules, hasattr(before, '__wrapped__'), 'pandas' in sys.modules); "
        "import pandas; print(before.DataFrame is pandas.DataFrame, before is pandas, pandas.Series([1, 2]).sum())"
    )
    assert run(code).splitlines() == ["True False False", "True False 3"]


def test_a_pandas_that_is_there_already_is_kept() -> None:
    assert run("import pandas, webapp.pages, gradio.caching as caching; print(caching.pd is pandas)") == "True"
