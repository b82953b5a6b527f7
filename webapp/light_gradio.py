"""Import Gradio without pandas, and without its writing type stubs into its own folder.

Gradio names pandas at the head of one module and uses it only to hash cached frames. Pingpan's pages show no frames,
so a first page would pay some 60 MB and half a second for nothing. And as every component's class is made, Gradio parses
the file it stands in to write a .pyi beside it, for editors: more than half of the import.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


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
    already, it is not replaced.
    """
    if "gradio" in sys.modules:
        return importlib.import_module("gradio")
    with _no_pandas(), _no_sources():
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
