"""Import Gradio without pandas, and without what it writes for editors: type stubs in its own folder, and every event's help.

Gradio names pandas at the head of one module and uses it only to hash cached frames. Pingpan's pages show no frames,
so a first page would pay some 60 MB and half a second for nothing. And as every component's class is made, Gradio parses
the file it stands in to write a .pyi beside it, for editors, and compiles a template for the help of each of its events:
two thirds of the import.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import jinja2


class _PandasOnDemand(ModuleType):
    """Stands where `import pandas` bound a name; the first attribute that is asked for imports the real module."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # the import system probes these; none of them is worth an import
            raise AttributeError(name)
        return getattr(importlib.import_module("pandas"), name)


def import_gradio() -> ModuleType:
    """Return gradio, imported so that pandas is loaded only when somebody uses it and no stubs are written.

    Call it before anything else imports gradio. While gradio is being imported `sys.modules["pandas"]` is a stand-in;
    afterwards the entry is gone again, so that `import pandas` elsewhere gets the real module. Where pandas is loaded
    already, it is not replaced. The help of Gradio's events is left as the template that it is made of.
    """
    if "gradio" in sys.modules:
        return importlib.import_module("gradio")
    with _no_pandas(), _no_sources(), _no_templates():
        return importlib.import_module("gradio")


@contextmanager
def _no_pandas() -> Iterator[None]:
    if "pandas" in sys.modules:
        yield
        return
    sys.modules["pandas"] = _PandasOnDemand("pandas")
    try:
        yield
    finally:
        del sys.modules["pandas"]


@contextmanager
def _no_sources() -> Iterator[None]:
    """Tell Gradio that its components' classes stand in no file: it writes no stub for those."""
    real = inspect.getfile

    def getfile(object: Any) -> str:
        if isinstance(object, type) and object.__module__.startswith("gradio."):
            raise OSError(f"{object.__module__} needs no stub")
        return real(object)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = real


class _Unfilled:
    """A template that is never compiled: rendered, it is its own source."""

    def __init__(self, source: str) -> None:
        self._source = source

    def render(self, **_values: object) -> str:
        return self._source


@contextmanager
def _no_templates() -> Iterator[None]:
    real, importing = jinja2.Template, True

    def template(*arguments: Any, **options: Any) -> object:
        return _Unfilled(arguments[0]) if importing else real(*arguments, **options)

    jinja2.Template = template  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        jinja2.Template, importing = real, False  # type: ignore[misc]
