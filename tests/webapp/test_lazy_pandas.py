"""Gradio comes up without pandas, and whoever asks for pandas later gets the real one."""

from __future__ import annotations

import subprocess
import sys

from core.settings import PROJECT_ROOT


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_pages_imports_gradio_but_not_pandas() -> None:
    code = "import sys, webapp.pages; print('gradio' in sys.modules, 'pandas' in sys.modules)"
    assert run(code) == "True False"


def test_gradio_finds_the_real_pandas_when_it_needs_it() -> None:
    code = (
        "import webapp.pages, gradio.caching as caching; before = caching.pd; "
        "import pandas; print(before.DataFrame is pandas.DataFrame, before is pandas, pandas.Series([1, 2]).sum())"
    )
    assert run(code) == "True False 3"


def test_a_pandas_that_is_there_already_is_kept() -> None:
    assert run("import pandas, webapp.pages, gradio.caching as caching; print(caching.pd is pandas)") == "True"


def test_probing_the_stand_in_imports_nothing() -> None:
    code = "import sys, webapp.pages, gradio.caching as caching; print(hasattr(caching.pd, '__wrapped__'), 'pandas' in sys.modules)"
    assert run(code) == "False False"
