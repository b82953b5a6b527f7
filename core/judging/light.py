"""Import scikit-learn without what the embedded judges never use."""

from __future__ import annotations

import sys


def import_sklearn() -> None:
    """Import scikit-learn without pandas: it looks for frames, which no judge gives it, at a third of a second and 60 MB.

    Whoever imports pandas afterwards gets it; where it is loaded already, nothing changes.
    """
    if "pandas" in sys.modules or "sklearn" in sys.modules:
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        import sklearn.ensemble
        import sklearn.linear_model  # noqa: F401
    finally:
        del sys.modules["pandas"]
