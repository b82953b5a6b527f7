"""The embedder for sentence-transformers models, loaded when the first text is embedded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.errors import RetrievalError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
FOLDER_SIGNS = ("/", ".", "~")
PROBE = 1 << 20
SETUP_EN = "`./run.sh setup models` installs what it needs, or set PINGPAN_EMBEDDER=ngram to use the embedded one"
SETUP_ZH = "运行 ./run.sh setup models 安装所需组件，或设置 PINGPAN_EMBEDDER=ngram 使用内置的嵌入器"


class SentenceEmbedder:
    """Embeds with a sentence-transformers model given as a folder or a hub name; on the GPU where there is one.

    Raises RetrievalError when `name` is neither, and, on first use, when the package or the model is missing. A hub
    name is taken from the local cache, and fetched only when it is not there and HF_HUB_OFFLINE is not set.
    """

    def __init__(self, name: str, batch_size: int = 64) -> None:
        self._folder = _folder(name)
        self._name = name
        self._batch_size = batch_size
        self._loaded: SentenceTransformer | None = None
        self._version = ""

    @property
    def version(self) -> str:
        """Return the name with a hash of the model's files, or with the hub's commit."""
        if not self._version:
            mark = _folder_hash(self._folder) if self._folder else _commit(self._model())
            self._version = f"st-1-{self._folder.name if self._folder else self._name}-{mark}"
        return self._version

    def fit(self, texts: Sequence[str]) -> None:
        """Do nothing: the model is pretrained."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row per text, float32; an empty text gives a zero row, a long one is cut as the model does."""
        model = self._model()
        width = model.get_embedding_dimension()
        vectors = np.zeros((len(texts), int(width or 0)), dtype=np.float32)
        filled = [place for place, text in enumerate(texts) if text.strip()]
        if filled:
            found = model.encode(
                [texts[place] for place in filled],
                batch_size=self._batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            vectors[filled] = np.asarray(found, dtype=np.float32)
        return vectors

    def _model(self) -> SentenceTransformer:
        if self._loaded is None:
            self._loaded = _load(self._name, self._folder)
        return self._loaded


def _folder(name: str) -> Path | None:
    """Return the folder that `name` means, or None when it is a hub name."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if name.startswith(FOLDER_SIGNS) or "\\" in name or not HUB_NAME.fullmatch(name):
        raise RetrievalError(
            f"PINGPAN_EMBEDDER={name!r} is neither `ngram`, nor a folder that exists, nor a name like BAAI/bge-small-zh-v1.5; correct it.",
            zh=f"PINGPAN_EMBEDDER={name!r} 既不是 ngram，也不是已存在的目录，也不像 BAAI/bge-small-zh-v1.5 这样的模型名，请改正。",
        )
    return None


def _load(name: str, folder: Path | None) -> SentenceTransformer:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise RetrievalError(
            f"The embedder {name!r} needs the package sentence-transformers, which is not installed: {SETUP_EN}.",
            zh=f"嵌入器 {name!r} 需要 sentence-transformers，但尚未安装：{SETUP_ZH}。",
        ) from error
    try:
        return SentenceTransformer(str(folder or name), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        if folder is not None or _offline():
            raise _missing(name, error) from error
    try:
        return SentenceTransformer(name)
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # the hub's network errors are OSError or RuntimeError
        raise _missing(name, error) from error


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _missing(name: str, error: Exception) -> RetrievalError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return RetrievalError(
        f"The embedding model {name!r} cannot be loaded ({first}). Check the name or folder and the connection; {SETUP_EN}.",
        zh=f"无法加载嵌入模型 {name!r}（{first}）。请检查名称或目录以及网络；{SETUP_ZH}。",
    )


def _commit(model: SentenceTransformer) -> str:
    config = getattr(getattr(model[0], "auto_model", None), "config", None)
    return str(getattr(config, "_commit_hash", None) or "unversioned")[:16]


def _folder_hash(folder: Path) -> str:
    """Return a hash of every file's name, size, beginning and end: weights of gigabytes are not read whole."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}:{size}:".encode())
        with path.open("rb") as file:
            digest.update(file.read(PROBE))
            file.seek(max(0, size - PROBE))
            digest.update(file.read(PROBE))
    return digest.hexdigest()[:16]
