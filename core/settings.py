"""Every setting of Pingpan, read from the environment (prefix PINGPAN_) or a .env file; docs/SETTINGS.md lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingsError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
ASSETS = PROJECT_ROOT / "assets"


class Settings(BaseSettings):
    """The settings; each field is the environment variable PINGPAN_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="PINGPAN_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(PROJECT_ROOT / "data", description="Folder for the database, index, caches, uploads and exports.")
    host: str = Field("127.0.0.1", description="Address the web server listens on; 0.0.0.0 opens it to the network.")
    port: int = Field(7860, ge=0, le=65535, description="Port of the web server; 0 takes a free one.")
    open_browser: bool = Field(True, description="Open the workbench in the browser when the server is up.")
    users_file: Path | None = Field(
        None, description="File of users who sign in (`./run.sh users add NAME`); empty: no login, a name is asked once."
    )
    auth_header: str = Field("", description="Header in which a reverse proxy hands over the user's name; only behind such a proxy.")
    database_url: str = Field("", description="SQLAlchemy URL; empty means SQLite in PINGPAN_HOME. postgresql+psycopg://… works too.")
    embedder: str = Field("ngram", description="`ngram` (embedded, no download) or a sentence-transformers name or path.")
    dimensions_dir: Path = Field(
        ASSETS / "dimensions", description="Folder of dimension files (*.yaml); `dimensions` in PINGPAN_HOME is read after it."
    )
    panels_dir: Path = Field(ASSETS / "panels", description="Folder of panel files (*.yaml); `panels` in PINGPAN_HOME is read after it.")
    panel: str = Field("cpu", description="Panel that is chosen where none is named.")
    aggregator: str = Field("pooled-median", description="Aggregator that is chosen where none is named.")
    examples: int = Field(5, ge=0, le=50, description="Labelled examples that are retrieved for a row.")
    batch_size: int = Field(128, ge=1, le=10_000, description="Rows that are judged and committed together.")
    max_upload_mb: int = Field(512, ge=1, description="Largest sheet that is accepted, in MiB.")
    max_rows: int = Field(200_000, ge=1, description="Most rows that a sheet may have.")
    hub: Literal["huggingface", "modelscope"] = Field(
        "huggingface", description="Where models are fetched from: huggingface or modelscope."
    )
    lmdeploy_python: Path = Field(
        PROJECT_ROOT / ".venv-lmdeploy/bin/python", description="Interpreter that has lmdeploy, for `serve-judge`."
    )
    vllm_python: Path = Field(PROJECT_ROOT / ".venv-vllm/bin/python", description="Interpreter that has vLLM, for `serve-judge`.")
    log_level: str = Field("INFO", description="Level of the log: DEBUG, INFO, WARNING or ERROR.")

    @field_validator("home", "dimensions_dir", "panels_dir", "lmdeploy_python", "vllm_python")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @field_validator("users_file", mode="before")
    @classmethod
    def _users_file(cls, path: object) -> Path | None:
        return Path(str(path)).expanduser().absolute() if path else None

    def dimension_folders(self) -> tuple[Path, ...]:
        """Return the folders that dimension files are read from: the shipped one, then the user's own if there is one."""
        own = self.home / "dimensions"
        return (self.dimensions_dir, own) if own.is_dir() else (self.dimensions_dir,)

    def panel_folders(self) -> tuple[Path, Path]:
        """Return the folders that panel files are read from: the shipped one, then the user's own."""
        return self.panels_dir, self.home / "panels"

    def judge_cache(self) -> Path:
        """Return the folder of what judges keep: learned states, converted and fetched models."""
        return self.home / "cache" / "judges"

    def resolved_database_url(self) -> str:
        """Return the database URL with the default filled in."""
        return self.database_url or f"sqlite:///{self.home / 'pingpan.db'}"


def load_settings(**overrides: object) -> Settings:
    """Return the settings of this process.

    Raises SettingsError with every wrong variable, what it holds and what it may hold.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [f"PINGPAN_{'_'.join(str(p) for p in e['loc']).upper()}={e['input']!r}: {e['msg']}" for e in error.errors()]
        told = "\n  ".join(lines)
        raise SettingsError(
            f"These settings cannot be used; correct or unset them:\n  {told}", zh=f"以下设置无法使用，请改正或取消：\n  {told}"
        ) from error
