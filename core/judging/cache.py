"""What a judge has learned, kept on disk by library version, code version and library versions of its tools."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import tempfile
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar, cast

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_DIGEST = 64
SOURCES = (
    "cache",
    "crossed",
    "detector",
    "fault_injection",
    "faults",
    "honest",
    "injury_sample",
    "kinship",
    "language_model",
    "learned_judge",
    "light",
    "neighbours",
    "ngrams",
    "ordinal",
    "panel_judge",
    "places",
    "priors",
    "profile",
    "rules",
    "surprise",
    "text_arrays",
    "vote",
)
"""The modules beside this one that what a judge learns depends on."""
_TOOLS = ("scikit-learn", "numpy", "scipy")


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return a hash of the judges' sources, so that a changed judge never answers with an old model."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(name.encode())
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


class LearnedCache:
    """A folder of learned models; a file that cannot be read, or was cut off, is learned again."""

    def __init__(self, folder: Path, library_version: str) -> None:
        tools = ",".join(f"{tool}={version(tool)}" for tool in _TOOLS)
        self._folder = folder
        self._stamp = f"library={library_version};code={code_version()};{tools}"

    def path(self, name: str, options: str = "") -> Path:
        """Return the file of the model `name` with `options`."""
        key = hashlib.sha256(f"{self._stamp};{name};{options}".encode()).hexdigest()
        return self._folder / f"{name}-{key[:24]}.pickle"

    def get(self, name: str, learn: Callable[[], T], options: str = "") -> T:
        """Return the model `name`, from its file or else learned now and written atomically.

        A folder that cannot be written costs the time to learn again, and a line in the log, never an error.
        """
        path = self.path(name, options)
        stored = _read(path)
        if stored is not None:
            return cast("T", stored)
        learned = learn()
        try:
            _write(path, learned)
        except OSError as error:
            _LOG.warning("What the judge learned could not be kept in %s (%s); it will be learned again.", path, error)
        return learned


def _read(path: Path) -> object | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    # The digest is checked first, so that a damaged file never reaches the unpickler.
    body = content[_DIGEST:]
    if hashlib.sha256(body).hexdigest().encode() != content[:_DIGEST]:
        _LOG.warning("The learned model %s is damaged; learning it again.", path)
        return None
    return cast("object", pickle.loads(body))


def _write(path: Path, learned: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = pickle.dumps(learned, protocol=5)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(hashlib.sha256(body).hexdigest().encode())
            stream.write(body)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
