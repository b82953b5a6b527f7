"""Where the models' files lie on this machine. Nothing is downloaded here (see core/judging/fetch.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import JudgeError, clause

PICKLED = ("*.bin", "*.pt", "*.pth")


def models_folder(cache_dir: Path) -> Path:
    """Return the folder that fetched and converted models are kept in, as <owner>/<name> below it."""
    return cache_dir / "models"


def is_hub_id(model: str) -> bool:
    """Return whether `model` is written like a hub's id, <owner>/<name>, and not like a path."""
    return model.count("/") == 1 and not model.startswith((".", "~", "/")) and all(model.split("/"))


def find_model(model: str, folder: Path, revision: str | None = None) -> Path | None:
    """Return the folder of a model: one fetched or converted into `folder`, a path, or one in the hub's own cache; or None.

    A revision that is named is looked for in the hub's cache only when the model was not fetched here.
    """
    kept, direct = folder / model.strip("/"), Path(model).expanduser()
    for candidate in (kept, direct):
        if candidate.is_dir():
            return candidate
    return _in_hub_cache(model, revision) if is_hub_id(model) else None


def resolve_model(
    judge_id: str,
    model: str,
    folder: Path,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
    tokenizer_only: bool = False,
    panel_id: str = "",
) -> Path:
    """Return the folder of the model that a panel names, checked to hold a configuration and weights that may be opened.

    Raises JudgeError with the one command to type (for `panel_id`) when the files are not on this machine, and with the
    option to set when they are in a format that can run code.
    """
    found = find_model(model, folder, revision)
    if found is None:
        raise _missing(judge_id, model, panel_id)
    if not (found / "config.json").is_file():
        raise JudgeError(
            f"Judge {judge_id!r}: {found} holds no config.json, so it is no model folder. Correct the model in the panel file.",
            zh=f"评委 {judge_id!r}：{found} 中没有 config.json，不是模型文件夹，请修改评委组文件。",
        )
    if not tokenizer_only and not allow_pickle and not any(found.glob("*.safetensors")):
        raise JudgeError(
            f"Judge {judge_id!r}: {found} has no *.safetensors weights. Other formats can run code when they are opened; if you trust the "
            "file, set `allow_pickle: true` in the panel file.",
            zh=f"评委 {judge_id!r}：{found} 中没有 safetensors 权重。其他格式可能执行代码；若信任该文件，请在评委组文件中设置 "
            "allow_pickle: true。",
        )
    return found


@contextmanager
def loading(judge_id: str, folder: Path, panel_id: str = "") -> Iterator[None]:
    """Raise JudgeError, with what to do, where the libraries cannot load the files of `folder` meanwhile: cut off, damaged, of another kind."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        said = clause(" ".join(str(error).split()))
        again = f"{fetch_command(panel_id)} --verify"
        raise JudgeError(
            f"Judge {judge_id!r}: the files in {folder} cannot be loaded: {said}. Copy the folder again; a model that was fetched: {again}",
            zh=f"评委 {judge_id!r}：无法加载 {folder} 中的文件：{said}。请重新复制该文件夹；下载的模型请运行 {again}",
        ) from error


def weight_bytes(folder: Path) -> int:
    """Return the size of a model folder's weight files."""
    return sum(path.stat().st_size for pattern in ("*.safetensors", *PICKLED) for path in folder.glob(pattern))


def _in_hub_cache(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def fetch_command(panel_id: str) -> str:
    """Return the command that fetches a panel's models."""
    return f"./run.sh models fetch {panel_id}".rstrip()


def _missing(judge_id: str, model: str, panel_id: str) -> JudgeError:
    if not is_hub_id(model):
        return JudgeError(
            f"Judge {judge_id!r}: there is no folder {Path(model).expanduser()}. Correct the model in the panel file: a folder, or a "
            "hub id such "
            "as Qwen/Qwen2-7B-Instruct.",
            zh=f"评委 {judge_id!r}：找不到文件夹 {Path(model).expanduser()}，请修改评委组文件中的模型（文件夹或模型库编号）。",
        )
    return JudgeError(
        f"Judge {judge_id!r}: the files of {model} are not on this machine. Fetch those of the whole panel:\n"
        f"  {fetch_command(panel_id)}\nor name a folder in the panel file.",
        zh=f"评委 {judge_id!r}：本机没有 {model} 的文件。请运行：\n  {fetch_command(panel_id)}\n或在评委组文件中写本地文件夹。",
    )
