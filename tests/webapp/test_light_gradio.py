"""Gradio comes up without pandas and without parsing itself, and whoever asks for pandas later gets the real one."""

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


def test_no_help_of_an_event_is_compiled_on_import_and_templates_are_whole_afterwards() -> None:
    code = (
        "import jinja2.environment as e; compiled = []; compile = e.Environment.compile; "
        "e.Environment.compile = lambda *a, **k: (compiled.append(1), compile(*a, **k))[1]; "
        "import jinja2, webapp.pages, gradio.component_meta as meta; before = len(compiled); "
        "print(before < 20, jinja2.Template('{{ a }}').render(a=1), meta.Template('{{ a }}').render(a=2))"
    )
    assert run(code) == "True 1 2"


def test_no_component_is_parsed_on_import_and_sources_are_found_afterwards() -> None:
    code = (
        "import ast; parsed = []; parse = ast.parse; ast.parse = lambda *a, **k: (parsed.append(1), parse(*a, **k))[1]; "
        "import inspect, webapp.pages, gradio; print(len(parsed) < 20, inspect.getfile(gradio.HTML).endswith('html.py'))"
    )
    assert run(code) == "True True"
