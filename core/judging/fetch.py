"""Fetches models from Hugging Face or ModelScope: safetensors only, resumed where it broke off, every file's hash checked.

A model is fetched into `<owner>/<name>.partial` and gets its name when all is there and right, so that no judge finds
half a model. Both hubs are reached through their own libraries, which honour HF_ENDPOINT, HF_TOKEN, proxies, and
MODELSCOPE_ENDPOINT. An InternLM2 checkpoint is converted on the way (see core/judging/transformers/convert.py).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Protocol

from pydantic import BaseModel, ValidationError

from core.errors import JudgeError
from core.judging.weights import PICKLED, find_model, is_hub_id

MANIFEST = "pingpan-model.json"
WORKERS = 4
SPARE_BYTES = 2 << 30
CHUNK = 8 << 20
WANTED = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.md", "LICENSE*", "NOTICE*")
# Copies of the weights in other formats, which some owners keep below their models.
UNWANTED = ("*/*.safetensors", "consolidated*.safetensors", "onnx/*", "openvino/*", "original/*")
# One model, two names: owners that are called otherwise on ModelScope.
MODELSCOPE_OWNERS = {
    "THUDM": "ZhipuAI",
    "zai-org": "ZhipuAI",
    "internlm": "Shanghai_AI_Laboratory",
    "google": "LLM-Research",
    "meta-llama": "LLM-Research",
}


class Hub(StrEnum):
    """Where models are fetched from."""

    HUGGINGFACE = "huggingface"
    MODELSCOPE = "modelscope"


class RemoteFile(BaseModel):
    """A file of a model as its hub lists it: bytes, and sha256 or git's blob hash, where the hub tells one."""

    name: str
    size: int = 0
    sha256: str = ""
    blob: str = ""


class Manifest(BaseModel):
    """What was fetched, kept beside the files: `wanted` is the revision that the panel named, `revision` what that meant."""

    hub: Hub
    model: str
    revision: str
    wanted: str = ""
    files: list[RemoteFile]


@dataclass(frozen=True, slots=True)
class Wish:
    """A model to fetch, as a panel names it."""

    model: str
    revision: str | None = None
    allow_pickle: bool = False


class HubClient(Protocol):
    """A hub's own library."""

    hub: Hub

    def listing(self, model: str, revision: str | None) -> tuple[str, list[RemoteFile]]:
        """Return the commit that a revision means, and its files. Raises JudgeError."""

    def download(self, model: str, revision: str, files: Sequence[str], target: Path) -> None:
        """Download files into `target`, going on where an earlier call broke off. Raises JudgeError."""


def fetch_model(wish: Wish, folder: Path, client: HubClient, say: Callable[[str], None], *, verify: bool = False) -> Path:
    """Return the folder of a model below `folder`, fetched where it is not there yet.

    What is there already is checked by size, and with `verify` by hash; `say` is told what is being done. Raises
    JudgeError for a model that is not on the hub, has no safetensors, does not fit the disk, or arrived damaged.
    """
    if not is_hub_id(wish.model):
        found = find_model(wish.model, folder)
        if found is None:
            raise JudgeError(
                f"{wish.model} is neither a folder nor a hub id such as Qwen/Qwen2-7B-Instruct; correct it in the panel file.",
                zh=f"{wish.model} 既不是文件夹也不是模型编号（如 Qwen/Qwen2-7B-Instruct），请修改评委组文件。",
            )
        return found
    target = folder / wish.model
    original = target.with_name(f"{target.name}.original")
    present = original if original.is_dir() else target
    if present.is_dir():
        say(f"{wish.model}: here already, checking {'hashes' if verify else 'sizes'}")
        manifest = _manifest(present)
        damaged = list(_damaged(present, manifest, verify=verify)) if manifest else []
        if manifest is None or (not damaged and manifest.wanted == (wish.revision or "")):
            return _ready(target, present, say)
        say(f"{wish.model}: {', '.join(damaged) or 'another revision'} must be fetched")
        for name in damaged:
            (present / name).unlink(missing_ok=True)
        if present != target:
            shutil.rmtree(target, ignore_errors=True)
        present.rename(_partial(target))
    _download(wish, _partial(target), client, say)
    _partial(target).rename(target)
    return _ready(target, target, say)


def has_right_hash(path: Path, file: RemoteFile) -> bool:
    """Return whether a file's bytes are those that the hub lists; True where it lists no hash."""
    if file.sha256:
        return _digest(path, hashlib.sha256()) == file.sha256
    if file.blob:
        header = f"blob {path.stat().st_size}\0".encode()
        return _digest(path, hashlib.sha1(header, usedforsecurity=False)) == file.blob
    return True


def wanted_files(files: Sequence[RemoteFile], *, allow_pickle: bool) -> list[RemoteFile]:
    """Return the files of a listing to fetch; weights that can run code only where allowed and no safetensors are there.

    A name that leads out of the model's folder is never taken: files are written, and damaged ones deleted, under their names.
    """
    files = [file for file in files if ".." not in PurePosixPath(file.name).parts and not PurePosixPath(file.name).is_absolute()]
    kept = [file for file in files if _matches(file.name, WANTED) and not _matches(file.name, UNWANTED)]
    if not any(file.name.endswith(".safetensors") for file in kept) and allow_pickle:
        kept += [file for file in files if _matches(file.name, PICKLED) and "/" not in file.name]
    return kept


def modelscope_id(model: str) -> str:
    """Return a model's id on ModelScope."""
    owner, _, name = model.partition("/")
    return f"{MODELSCOPE_OWNERS.get(owner, owner)}/{name}"


def _download(wish: Wish, partial: Path, client: HubClient, say: Callable[[str], None]) -> None:
    revision, listed = client.listing(wish.model, wish.revision)
    files = wanted_files(listed, allow_pickle=wish.allow_pickle)
    if not any(_matches(file.name, ("*.safetensors", *PICKLED)) for file in files):
        raise JudgeError(
            f"{wish.model} has no safetensors weights on {client.hub}. Other formats can run code when they are opened; if you trust "
            "its owner, set "
            "`allow_pickle: true` in the panel file.",
            zh=f"{client.hub} 上的 {wish.model} 没有 safetensors 权重。其他格式可能执行代码；若信任其作者，请在评委组文件中设置 "
            "allow_pickle: true。",
        )
    partial.mkdir(parents=True, exist_ok=True)
    total = sum(file.size for file in files)
    here = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    free = shutil.disk_usage(partial).free
    if total - here + SPARE_BYTES > free:
        raise JudgeError(
            f"{wish.model} needs {total / 2**30:.1f} GiB below {partial.parent}, but {free / 2**30:.1f} GiB are free. Free some space, "
            "or set "
            "PINGPAN_HOME to a larger disk.",
            zh=f"{wish.model} 需要 {total / 2**30:.1f} GiB（{partial.parent}），磁盘仅剩 {free / 2**30:.1f} GiB。请清理磁盘，或把 "
            "PINGPAN_HOME 设到更大的磁盘。",
        )
    say(f"{wish.model}: {len(files)} files, {total / 2**30:.2f} GiB, revision {revision[:12]}, from {client.hub}")
    client.download(wish.model, revision, [file.name for file in files], partial)
    say(f"{wish.model}: checking hashes")
    wrong = [file.name for file in files if not (partial / file.name).is_file() or not has_right_hash(partial / file.name, file)]
    if wrong:
        for name in wrong:
            (partial / name).unlink(missing_ok=True)
        raise JudgeError(
            f"{wish.model}: {', '.join(wrong)} arrived damaged and were deleted; run the same command again to fetch them anew.",
            zh=f"{wish.model}：{'、'.join(wrong)} 校验不符，已删除；请再运行一次同样的命令。",
        )
    manifest = Manifest(hub=client.hub, model=wish.model, revision=revision, wanted=wish.revision or "", files=files)
    (partial / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _ready(target: Path, present: Path, say: Callable[[str], None]) -> Path:
    """Return the folder to load: `present`, or what an InternLM2 checkpoint is converted into."""
    from core.judging.serving.commands import INTERNLM2, read_served_model

    if read_served_model(present).architecture != INTERNLM2:
        return present
    original = target.with_name(f"{target.name}.original")
    if present != original:
        present.rename(original)
    if target.is_dir():
        return target
    say(f"{target.name}: converting InternLM2 into Llama's layout (once)")
    try:
        from core.judging.transformers.convert import convert_internlm2

        convert_internlm2(original, target)
    except ImportError as error:
        raise JudgeError(
            f"{target.name} must be converted, which needs PyTorch and transformers. Install them: ./run.sh setup models; then run this "
            "again.",
            zh=f"{target.name} 需要转换，须先安装 PyTorch 与 transformers：./run.sh setup models，然后重新运行。",
        ) from error
    return target


def _manifest(folder: Path) -> Manifest | None:
    """Return what was fetched into a folder; None for the user's own, with which there is nothing to compare."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def _damaged(folder: Path, manifest: Manifest, *, verify: bool) -> Iterator[str]:
    """Yield the files that are missing, have another size, or (with `verify`) another hash."""
    for file in manifest.files:
        path = folder / file.name
        if not path.is_file() or (file.size and path.stat().st_size != file.size) or (verify and not has_right_hash(path, file)):
            yield file.name


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.partial")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def _digest(path: Path, state: _Hash) -> str:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()
