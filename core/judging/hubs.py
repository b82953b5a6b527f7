"""The two hubs behind their own libraries (huggingface_hub, modelscope-hub), errors turned into what a user can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.errors import JudgeError, clause
from core.judging.fetch import WORKERS, Hub, HubClient, RemoteFile, modelscope_id


class HuggingFace:
    """Hugging Face, or the mirror that HF_ENDPOINT (or `endpoint`) names."""

    hub = Hub.HUGGINGFACE

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint

    def listing(self, model: str, revision: str | None) -> tuple[str, list[RemoteFile]]:
        """Return the commit and its files. Raises JudgeError."""
        import httpx
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            info = HfApi(endpoint=self._endpoint).model_info(model, revision=revision, files_metadata=True)
        except GatedRepoError as error:
            raise _gated(model) from error
        except RepositoryNotFoundError as error:
            raise _unknown(model, self.hub) from error
        except RevisionNotFoundError as error:
            raise JudgeError(
                f"{model} has no revision {revision!r}; correct it in the panel file.", zh=f"{model} 没有版本 {revision!r}。"
            ) from error
        except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
            raise _unreachable(self.hub, model, str(error) or type(error).__name__) from error
        files = [
            RemoteFile(
                name=file.rfilename,
                size=file.size or 0,
                sha256=file.lfs.sha256 if file.lfs else "",
                blob="" if file.lfs else file.blob_id or "",
            )
            for file in info.siblings or []
        ]
        return info.sha or revision or "main", files

    def download(self, model: str, revision: str, files: Sequence[str], target: Path) -> None:
        """Download files, with a progress bar on standard error. Raises JudgeError."""
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

        try:
            snapshot_download(
                model, revision=revision, local_dir=target, allow_patterns=list(files), max_workers=WORKERS, endpoint=self._endpoint
            )
        except GatedRepoError as error:
            raise _gated(model) from error
        except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
            raise _broken(model, str(error) or type(error).__name__) from error


class ModelScope:
    """ModelScope, or what MODELSCOPE_ENDPOINT (or `endpoint`) names."""

    hub = Hub.MODELSCOPE

    def __init__(self, endpoint: str | None = None) -> None:
        try:
            from modelscope_hub import HubApi
        except ImportError as error:
            raise JudgeError(
                "PINGPAN_HUB=modelscope needs the package modelscope-hub; install it: ./run.sh setup models",
                zh="PINGPAN_HUB=modelscope 需要 modelscope-hub，请运行 ./run.sh setup models。",
            ) from error
        self._api = HubApi(endpoint=endpoint)

    def listing(self, model: str, revision: str | None) -> tuple[str, list[RemoteFile]]:
        """Return the branch or commit and its files. Raises JudgeError."""
        from modelscope_hub.errors import HubError, NotExistError

        name = modelscope_id(model)
        try:
            listed = self._api.list_repo_files(name, "model", revision=revision)
        except NotExistError as error:
            raise _unknown(name, self.hub) from error
        except (HubError, OSError) as error:
            raise _unreachable(self.hub, name, str(error)) from error
        files = [RemoteFile(name=file.path, size=file.size or 0, sha256=file.sha256 or "") for file in listed if not file.is_dir]
        return revision or "master", files

    def download(self, model: str, revision: str, files: Sequence[str], target: Path) -> None:
        """Download files, with a progress bar on standard error. Raises JudgeError."""
        from modelscope_hub.errors import HubError

        name = modelscope_id(model)
        try:
            self._api.download_repo(name, "model", revision=revision, local_dir=target, allow_patterns=list(files), max_workers=WORKERS)
        except (HubError, OSError) as error:
            raise _broken(name, str(error)) from error


def make_hub(hub: Hub) -> HubClient:
    """Return the hub's client. Raises JudgeError when its library is missing."""
    return ModelScope() if hub is Hub.MODELSCOPE else HuggingFace()


def _unknown(model: str, hub: Hub) -> JudgeError:
    return JudgeError(
        f"{model} is not on {hub}, or is not public. Correct it in the panel file, or name the other hub: PINGPAN_HUB=modelscope or "
        "huggingface.",
        zh=f"{hub} 上没有 {model}，或未公开。请修改评委组文件，或换一个模型库：PINGPAN_HUB=modelscope 或 huggingface。",
    )


def _gated(model: str) -> JudgeError:
    return JudgeError(
        f"{model} is given out by its owner only after you accept its licence: open https://huggingface.co/{model}, accept, then log in "
        "with "
        "`hf auth login` or set HF_TOKEN. PINGPAN_HUB=modelscope fetches it without.",
        zh=f"{model} 需先同意许可：打开 https://huggingface.co/{model} 同意后，用 hf auth login 登录或设置 HF_TOKEN；也可设 "
        "PINGPAN_HUB=modelscope。",
    )


def _unreachable(hub: Hub, model: str, said: str) -> JudgeError:
    said = clause(said)
    return JudgeError(
        f"{hub} cannot be asked for {model}: {said}. Check the network; HF_ENDPOINT names a mirror of Hugging Face, "
        "PINGPAN_HUB=modelscope the other hub.",
        zh=f"无法从 {hub} 查询 {model}：{said}。请检查网络；HF_ENDPOINT 可指定镜像，PINGPAN_HUB=modelscope 可换用魔搭。",
    )


def _broken(model: str, said: str) -> JudgeError:
    said = clause(said)
    return JudgeError(
        f"Fetching {model} broke off: {said}. Run the same command again; what is here already is not fetched twice.",
        zh=f"下载 {model} 中断：{said}。请再运行一次同样的命令，已下载的部分不会重来。",
    )
