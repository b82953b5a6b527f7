"""Model servers as processes: what starts a judge's server, where its log goes, when it is ready, how it ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from core.errors import JudgeError
from core.judging.server.options import ServerOptions, read_options
from core.judging.serving import Engine, Launch, ServedModel, ServeOptions, build_launch, read_served_model
from core.judging.serving.adapters import clean_adapter
from core.judging.weights import find_model, is_hub_id, models_folder, resolve_model
from core.settings import Settings
from core.types import JudgeSpec, PanelSpec

TAIL_LINES = 25
POLL_S = 0.5
STOP_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """How a judge's server is started: its launch, its log file, and the judge's own name for it."""

    judge_id: str
    launch: Launch
    log: Path
    model: ServedModel
    served_name: str
    memory_gib: float | None = None
    devices: str = ""


def judge_of(panel: PanelSpec, judge_id: str) -> JudgeSpec:
    """Return a panel's judge. Raises JudgeError naming the ones there are."""
    for spec in panel.judges:
        if spec.id == judge_id:
            return spec
    known = ", ".join(spec.id for spec in panel.judges)
    raise JudgeError(
        f"The panel {panel.id} has no judge «{judge_id}»; choose one of: {known}.",
        zh=f"评委组 {panel.id} 中没有评委「{judge_id}」；可选：{known}。",
    )


def plan_server(settings: Settings, panel: PanelSpec, judge_id: str, port: int | None = None, *, missing_ok: bool = False) -> ServerPlan:
    """Return how the server of a panel's judge is started.

    `missing_ok` plans with the hub's id for weights that are not on this machine yet, to show the command. Raises
    JudgeError when the judge is not served by Pingpan, or its engine cannot serve the model so.
    """
    spec = judge_of(panel, judge_id)
    options, serve = _serve_options(panel, spec)
    if port is not None:
        serve = serve.model_copy(update={"port": port})
    model = _model(settings, panel.id, spec, serve, missing_ok=missing_ok)
    adapters = {} if missing_ok else _adapters(settings, spec, options.engine, serve)
    python = settings.vllm_python if options.engine is Engine.VLLM else settings.lmdeploy_python
    launch = build_launch(spec.id, options.engine, options.model, serve, model, python, api_key_env=options.api_key_env, adapters=adapters)
    if not missing_ok:
        options.api_key(spec.id)
        _check_python(options.engine, python)
    log = settings.home / "logs" / f"server-{panel.id}-{spec.id}.log"
    return ServerPlan(spec.id, launch, log, model, options.model, options.memory_gib, serve.devices)


def memory_warning(plan: ServerPlan) -> str:
    """Return what to know when the plan's cards have less free memory than its panel states; "" otherwise or without a card."""
    free = free_gib(plan.devices)
    if plan.memory_gib is None or free is None or free >= plan.memory_gib:
        return ""
    return (
        f"The panel states {plan.memory_gib:g} GiB for {plan.judge_id}, but its cards have {free:.1f} GiB free. If the server ends while it "
        "loads, close what else uses the card, choose another with `devices`, or a quantized model."
    )


def free_gib(devices: str) -> float | None:
    """Return the free memory of the named CUDA devices together (of all, without names), None where nvidia-smi knows none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=index,memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        free = {index.strip(): float(mib) / 1024 for index, mib in (line.split(",") for line in answer.splitlines() if line.strip())}
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    wanted = devices.split(",") if devices else list(free)
    return sum(free.get(index, 0.0) for index in wanted) if free else None


class ModelServer:
    """A model server as a process of its own group; leaving the context ends it."""

    def __init__(self, plan: ServerPlan) -> None:
        self.plan = plan
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ModelServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Return whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; its output goes to the log file, which begins with the command. Raises JudgeError."""
        if self.answers():
            raise JudgeError(
                f"Something answers at {self.plan.launch.url} already; stop it, or choose another port with --port.",
                zh=f"{self.plan.launch.url} 已有服务在运行；请先停止，或用 --port 换一个端口。",
            )
        self.plan.log.parent.mkdir(parents=True, exist_ok=True)
        with self.plan.log.open("wb") as log:
            log.write(f"{self.plan.launch.shell()}\n".encode())
            log.flush()
            try:
                # A group of its own: Ctrl-C in the terminal ends the server once, by `stop`, with all its workers.
                self._process = subprocess.Popen(
                    self.plan.launch.arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**_clean_environment(), **self.plan.launch.environment},
                    start_new_session=True,
                )
            except OSError as error:
                raise JudgeError(f"The server cannot be started: {error}", zh=f"服务无法启动：{error}") from error

    def wait_ready(self, seconds: float, on_wait: Callable[[float], None] = lambda _: None, poll: float = POLL_S) -> float:
        """Wait until the server is healthy; return the seconds it took. `on_wait` is told them meanwhile.

        Raises JudgeError, with the log's last lines, when the process ends or `seconds` pass.
        """
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < seconds:
            if not self.running:
                raise self._died("ended before it was ready", "启动过程中退出")
            if self.answers():
                return waited
            on_wait(waited)
            time.sleep(poll)
        raise self._died(f"was not ready within {seconds:.0f} s (--timeout)", f"在 {seconds:.0f} 秒内没有就绪（--timeout）")

    def wait(self) -> None:
        """Wait until the process ends. Raises JudgeError, with the log's last lines, when it ends by itself."""
        if self._process is not None:
            self._process.wait()
            raise self._died("ended", "已退出")

    def answers(self) -> bool:
        """Return whether the server says that it is healthy."""
        try:
            with build_opener(ProxyHandler({})).open(f"{self.plan.launch.url}/health", timeout=5) as answer:
                return 200 <= int(answer.status) < 400
        except (URLError, OSError, ValueError):
            return False

    def stop(self, grace: float = STOP_GRACE_S) -> None:
        """End the process and all its workers: asked first, killed after `grace` seconds."""
        process = self._process
        if process is None:
            return
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
        _signal_group(process, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        process.wait()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """Return the log's last lines."""
        try:
            with self.plan.log.open(encoding="utf-8", errors="replace") as log:
                return "".join(deque(log, lines)).rstrip()
        except OSError:
            return ""

    def _died(self, how: str, how_zh: str) -> JudgeError:
        code = self._process.poll() if self._process else None
        status = "" if code is None else f" (status {code})"
        return JudgeError(
            f"The server of {self.plan.judge_id} {how}{status}. The end of {self.plan.log}:\n{self.tail()}",
            zh=f"评委 {self.plan.judge_id} 的服务{how_zh}{status}。日志 {self.plan.log} 的结尾：\n{self.tail()}",
        )


def _serve_options(panel: PanelSpec, spec: JudgeSpec) -> tuple[ServerOptions, ServeOptions]:
    if spec.family == "server":
        options = read_options(spec.id, spec.options)
        if options.serve is not None:
            return options, options.serve
    served = ", ".join(judge.id for judge in panel.judges if judge.family == "server" and "serve" in judge.options) or "none"
    raise JudgeError(
        f"Pingpan starts no server for the judge {spec.id} of {panel.id}: its line in the panel file needs `family: server` and the "
        "option `serve` "
        f"(docs/PANELS.md; an example: assets/panels/servers.yaml). Judges of this panel that have it: {served}.",
        zh=f"评委组 {panel.id} 的评委 {spec.id} 没有由评判台启动的服务：评委组文件中需要 family: server 与选项 serve"
        f"（见 docs/PANELS.md，示例：assets/panels/servers.yaml）。本组中已写的：{served}。",
    )


def _model(settings: Settings, panel_id: str, spec: JudgeSpec, serve: ServeOptions, *, missing_ok: bool) -> ServedModel:
    folder = models_folder(settings.judge_cache())
    if missing_ok and is_hub_id(serve.model) and find_model(serve.model, folder, serve.revision) is None:
        return ServedModel(serve.model)
    found = resolve_model(spec.id, serve.model, folder, revision=serve.revision, allow_pickle=serve.allow_pickle, panel_id=panel_id)
    return read_served_model(found, serve.weights)


def _adapters(settings: Settings, spec: JudgeSpec, engine: Engine, serve: ServeOptions) -> dict[str, Path]:
    folders = {name: path.expanduser().absolute() for name, path in serve.adapters.items()}
    if not engine.is_lmdeploy:
        return folders
    target = settings.judge_cache() / "adapters" / spec.id
    return {name: clean_adapter(path, target / name) for name, path in folders.items()}


def _check_python(engine: Engine, python: Path) -> None:
    if python.is_file() and os.access(python, os.X_OK):
        return
    name, setting = ("vllm", "PINGPAN_VLLM_PYTHON") if engine is Engine.VLLM else ("lmdeploy", "PINGPAN_LMDEPLOY_PYTHON")
    raise JudgeError(
        f"{python} is not there, so {name} is not installed. Install it: ./run.sh setup {name}; or name the interpreter that has it: "
        f"{setting}=/path/to/python",
        zh=f"{python} 不存在，{name} 尚未安装。请运行 ./run.sh setup {name}，或用 {setting} 指定装有它的解释器。",
    )


def _clean_environment() -> dict[str, str]:
    """Return this process's environment without what ties Python to Pingpan's own packages."""
    dropped = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSAFEPATH"}
    return {name: value for name, value in os.environ.items() if name not in dropped}


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
