"""Import Gradio without pandas.

Gradio names pandas at the head of one module and uses it only to hash cached frames. Pingpan's pages show no frames,
so a first page would pay some 60 MB and half a second for nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


class _PandasOnDemand(ModuleType):
    """Stands where `import pandas` bound a name; the first attribute that is asked for imports the real module."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # the import system probes these; none of them is worth an import
            raise AttributeError(name)
        return getattr(importlib.import_module("pandas"), name)


def import_gradio() -> ModuleType:
    """Return gradio, imported so that pandas is loaded only when somebody uses it.

    Call it before anything else imports gradio. While gradio is being imported `sys.modules["pandas"]` is a stand-in;
    afterwards the entry is gone again, so that `import pandas` elsewhere gets the real module. Where pandas is loaded
    already, nothing is replaced.
    """
    if "pandas" in sys.modules or "gradio" in sys.modules:
        return importlib.import_module("gradio")
    sys.modules["pandas"] = _PandasOnDemand("pandas")
    try:
        return importlib.import_module("gradio")
    finally:
        del sys.modules["pandas"]
