"""What a panel file may say of a judge of the `server` family."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.errors import JudgeError, PanelError
from core.judging.serving.options import Engine, ServeOptions


class SystemRole(StrEnum):
    """Where the rubric goes: AUTO asks the server once, USER puts it in front of the user's turn (Gemma)."""

    AUTO = "auto"
    SYSTEM = "system"
    USER = "user"


class ServerOptions(BaseModel):
    """The options of one judge; a panel file writes them beside `family: server`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: tuple[str, ...] = Field(
        (), description="Address, or several that serve the same model and take turns; default: that of `serve`."
    )
    model: str = Field(min_length=1, description="Name of the model, or of an adapter, as the server's /v1/models lists it.")
    engine: Engine = Field(Engine.OPENAI, description="lmdeploy-pytorch, lmdeploy-turbomind, vllm or openai.")
    api_key_env: str = Field("", description="Name of the environment variable that holds the key; empty means that no key is sent.")
    tokenizer: str = Field(
        "", description="Folder or hub id of the model's tokenizer: prompts are then tokenized here (lmdeploy and vLLM)."
    )
    system_role: SystemRole = Field(SystemRole.AUTO, description="auto, system or user (for models without a system role).")
    concurrency: int = Field(32, ge=1, le=512, description="Rows that are asked at the same time.")
    timeout: float = Field(60.0, gt=0, description="Seconds that one attempt may take.")
    deadline: float = Field(300.0, gt=0, description="Seconds that a row may take with all its attempts and waits.")
    retries: int = Field(5, ge=0, le=50, description="Attempts after the first, for 429, 5xx and lost connections.")
    memory_gib: float | None = Field(None, gt=0, description="Memory of the card that the judge's server needs, in GiB; for people.")
    serve: ServeOptions | None = Field(None, description="How `./run.sh serve-judge` starts the server; none means that others run it.")

    @field_validator("base_url", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("base_url")
    @classmethod
    def _addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(api_address(url) for url in urls)

    @model_validator(mode="after")
    def _whole(self) -> ServerOptions:
        if not self.base_url and self.serve is None:
            raise ValueError("base_url is missing; write the server's address, such as http://127.0.0.1:23333")
        if self.tokenizer and self.engine is Engine.OPENAI:
            raise ValueError("tokenizer needs the engine lmdeploy-pytorch, lmdeploy-turbomind or vllm")
        if self.serve is not None and self.engine is Engine.OPENAI:
            raise ValueError("serve needs the engine lmdeploy-pytorch, lmdeploy-turbomind or vllm")
        return self

    @property
    def serves_health(self) -> bool:
        """Return whether the engine answers GET /health."""
        return self.engine is not Engine.OPENAI

    def addresses(self) -> tuple[str, ...]:
        """Return the API addresses, such as http://127.0.0.1:23333/v1."""
        if self.base_url or self.serve is None:
            return self.base_url
        host = "127.0.0.1" if self.serve.host in {"0.0.0.0", "::"} else self.serve.host
        return (api_address(f"http://{host}:{self.serve.port}"),)

    def api_key(self, judge_id: str) -> str:
        """Return the key, "" where none is sent. Raises JudgeError when the variable is not set."""
        if not self.api_key_env:
            return ""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise JudgeError(
                f"Judge {judge_id!r}: the environment variable {self.api_key_env} is not set; put the server's key there "
                "(export it in the shell that starts Pingpan), or drop api_key_env from the panel file.",
                zh=f"评委 {judge_id!r}：环境变量 {self.api_key_env} 没有设置；请写入服务的密钥，或从评委组文件中删去 api_key_env。",
            )
        return key


def api_address(url: str) -> str:
    """Return `url` as the API's root: without a trailing slash, with /v1 where it names no path.

    Raises ValueError for what is no http address.
    """
    parts = urlsplit(url.strip())
    address = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or "/v1", "", ""))
    if parts.scheme not in {"http", "https"} or not parts.hostname or not _can_be_asked(address):
        raise ValueError(f"{url!r} is no address; write http://host:port")
    if parts.port == 0:  # reading it raises ValueError for what is none
        raise ValueError(f"{url!r} has the port 0; write that of the server")
    return address


def _can_be_asked(url: str) -> bool:
    """Return whether the HTTP client takes a URL, and the resolver its host."""
    import httpx

    try:
        return bool(httpx.URL(url).host.encode("idna"))
    except (httpx.InvalidURL, UnicodeError):
        return False


def read_options(judge_id: str, options: Mapping[str, object]) -> ServerOptions:
    """Return the checked options of the judge `judge_id`. Raises PanelError with every wrong option at once."""
    try:
        return ServerOptions.model_validate(dict(options))
    except ValidationError as error:
        faults = [f"{'.'.join(str(part) for part in fault['loc']) or 'options'}: {fault['msg']}" for fault in error.errors()]
        known = ", ".join(ServerOptions.model_fields)
        raise PanelError(
            f"Judge {judge_id!r}: these options cannot be used; correct them in the panel file (known: {known}):\n  " + "\n  ".join(faults),
            zh=f"评委 {judge_id!r} 的选项有误，请在评委组文件中改正（可用选项：{known}）：\n  " + "\n  ".join(faults),
        ) from error
