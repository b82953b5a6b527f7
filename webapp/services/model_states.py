"""Whether each judge of a panel could start now, what is missing if not, and what memory it wants and finds.

Looking may take seconds (a server that does not answer, a card that is asked), so it is done beside the page: `states`
answers at once with what was seen last, or says that it is being looked at.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from shutil import which

from core.errors import JudgeError, PingpanError
from core.judging.weights import find_model, models_folder, resolve_model, weight_bytes
from core.settings import Settings
from core.types import JudgeSpec, LocalText, PanelSpec
from webapp.services.panel_desk import judge_faults

FRESH_SECONDS = 20.0
ASK_SECONDS = 10.0
MODEL_PACKAGES = ("torch", "transformers")
HEAD = "ordinal_head"
HEAD_PACKAGES = ("peft", "safetensors")


class Readiness(StrEnum):
    """What stands between a judge and its first answer."""

    READY = "ready"
    CHECKING = "checking"
    PACKAGES = "packages"
    WEIGHTS = "weights"
    MEMORY = "memory"
    SERVER = "server"
    KEY = "key"
    WRONG = "wrong"


class Place(StrEnum):
    """Where a judge runs."""

    PROCESS = "process"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class JudgeState:
    """One judge: its readiness with what to do, where it runs, the model it wants, and memory in GiB (None: not known)."""

    spec: JudgeSpec
    readiness: Readiness
    place: Place
    where: str = ""
    model: str = ""
    remedy: LocalText | None = None
    memory_needed: float | None = None
    memory_there: float | None = None
    weights_gib: float | None = None


class ModelStates:
    """Looks at judges in threads of its own and remembers for a while what it saw."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._seen: dict[tuple[str, str], tuple[float, JudgeState]] = {}
        self._looking: set[tuple[str, str]] = set()

    def states(self, panel: PanelSpec) -> Sequence[JudgeState]:
        """Return the judges of a panel as they were seen last; what was not looked at lately is, beside this call."""
        return [self._state(panel, spec) for spec in panel.judges]

    def look(self, panel: PanelSpec) -> Sequence[JudgeState]:
        """Look at every judge of a panel now, whatever time that takes."""
        return [self._look(panel, spec) for spec in panel.judges]

    def _state(self, panel: PanelSpec, spec: JudgeSpec) -> JudgeState:
        quick = _quick(spec)
        if quick is not None:
            return quick
        key = (panel.sha256, spec.id)
        with self._lock:
            at, seen = self._seen.get(key, (float("-inf"), None))
            if self._clock() - at > FRESH_SECONDS and key not in self._looking:
                self._looking.add(key)
                self._pool = self._pool or ThreadPoolExecutor(4, thread_name_prefix="model-states")
                self._pool.submit(self._remember, key, panel, spec)
        return seen or replace(_described(spec), readiness=Readiness.CHECKING)

    def _remember(self, key: tuple[str, str], panel: PanelSpec, spec: JudgeSpec) -> None:
        try:
            state = self._look(panel, spec)
            with self._lock:
                self._seen[key] = (self._clock(), state)
        finally:
            with self._lock:
                self._looking.discard(key)

    def _look(self, panel: PanelSpec, spec: JudgeSpec) -> JudgeState:
        quick = _quick(spec)
        if quick is not None:
            return quick
        state = _described(spec)
        if spec.family == "server":
            return _look_at_server(panel, spec, state)
        wanted = (*MODEL_PACKAGES, *HEAD_PACKAGES) if spec.family == HEAD else MODEL_PACKAGES
        missing = [name for name in wanted if importlib.util.find_spec(name) is None]
        if missing:
            names = ", ".join(missing)
            return replace(
                state,
                readiness=Readiness.PACKAGES,
                remedy={
                    "en": f"Not installed: {names}. Type: ./run.sh setup models",
                    "zh": f"尚未安装：{names}。请运行：./run.sh setup models",
                },
            )
        return self._look_at_head(panel, spec, state) if spec.family == HEAD else self._look_at_model(panel, spec, state)

    def _look_at_head(self, panel: PanelSpec, spec: JudgeSpec, state: JudgeState) -> JudgeState:
        from core.judging.head.inspect import find_parts
        from core.judging.head.options import Engine, read_options

        options = read_options(spec.id, spec.options)
        try:
            parts = find_parts(spec.id, options, self._settings.judge_cache(), panel.id)
        except JudgeError as error:
            return replace(state, readiness=Readiness.WEIGHTS, remedy=error.messages)
        device = "cpu" if options.engine is Engine.TORCH_INT8 else options.device
        on_card = device.startswith("cuda") or (device == "auto" and _card_memory(0) is not None)
        return _against_memory(
            replace(
                state,
                model=options.base or parts.head.base,
                weights_gib=parts.bytes / 2**30,
                memory_needed=parts.loaded_bytes(options, on_card=on_card) / 2**30,
                memory_there=_memory(device),
            )
        )

    def _look_at_model(self, panel: PanelSpec, spec: JudgeSpec, state: JudgeState) -> JudgeState:
        folder = models_folder(self._settings.judge_cache())
        revision = _text(spec, "revision") or None
        try:
            found = resolve_model(spec.id, state.model, folder, revision=revision, allow_pickle=bool(spec.options.get("allow_pickle")))
        except JudgeError as error:
            there = find_model(state.model, folder, revision) is not None
            fetch = f"./run.sh models fetch {panel.id}"
            words = (
                error.messages
                if there
                else {"en": f"The weights are not on this machine. Type: {fetch}", "zh": f"本机没有模型权重。请运行：{fetch}"}
            )
            return replace(state, readiness=Readiness.WEIGHTS, remedy=words)
        return _against_memory(
            replace(state, weights_gib=weight_bytes(found) / 2**30, memory_there=_memory(_text(spec, "device") or "auto"))
        )


def _against_memory(state: JudgeState) -> JudgeState:
    need, there_is = state.memory_needed, state.memory_there
    if need is None or there_is is None or need <= there_is:
        return state
    return replace(
        state,
        readiness=Readiness.MEMORY,
        remedy={
            "en": f"It wants about {need:.0f} GiB, and {there_is:.1f} GiB are free. Free memory, or take a quantized panel or a smaller model.",
            "zh": f"约需 {need:.0f} GiB，现有 {there_is:.1f} GiB 空闲。请腾出内存，或换用量化评委组、较小的模型。",
        },
    )


def _quick(spec: JudgeSpec) -> JudgeState | None:
    """Return the state of a judge that need not be looked for: one that is wrong, and one that is always ready."""
    faults = judge_faults(spec)
    if faults:
        words = {language: "\n".join(fault[language] for fault in faults) for language in ("en", "zh")}
        memory = spec.options.get("memory_gib")
        needed = float(memory) if isinstance(memory, int | float) else None
        return JudgeState(spec, Readiness.WRONG, Place.PROCESS, "", _text(spec, "model"), words, needed)
    return None if spec.family in {"server", "transformers", HEAD} else JudgeState(spec, Readiness.READY, Place.PROCESS)


def _described(spec: JudgeSpec) -> JudgeState:
    """Return what the panel's line alone says."""
    memory = spec.options.get("memory_gib")
    needed = float(memory) if isinstance(memory, int | float) else None
    if spec.family != "server":
        model = _text(spec, "model") or _text(spec, "head")
        return JudgeState(spec, Readiness.READY, Place.PROCESS, _text(spec, "device") or "auto", model, memory_needed=needed)
    from core.judging.server.options import read_options

    options = read_options(spec.id, spec.options)
    return JudgeState(spec, Readiness.READY, Place.SERVER, ", ".join(options.addresses()), options.model, memory_needed=needed)


def _look_at_server(panel: PanelSpec, spec: JudgeSpec, state: JudgeState) -> JudgeState:
    from core.judging.server import server_is_up
    from core.judging.server.options import read_options

    options = read_options(spec.id, spec.options)
    try:
        options.api_key(spec.id)
    except PingpanError as error:
        return replace(state, readiness=Readiness.KEY, remedy=error.messages)
    if server_is_up(spec, 2.0):
        return state
    if options.serve is None:
        words = {
            "en": f"No server that serves {options.model} answers at {state.where}. Start it, or correct base_url and model in the panel.",
            "zh": f"{state.where} 没有提供 {options.model} 的服务。请启动服务，或改正评委组中的 base_url 与 model。",
        }
    else:
        command = f"./run.sh serve-judge {panel.id} {spec.id}"
        words = {
            "en": f"The server does not answer. Start it in another terminal: {command}",
            "zh": f"服务没有响应。请在另一个终端启动：{command}",
        }
    return replace(state, readiness=Readiness.SERVER, remedy=words)


def _text(spec: JudgeSpec, name: str) -> str:
    value = spec.options.get(name)
    return str(value) if value is not None else ""


def _memory(device: str) -> float | None:
    """Return the free memory of a device in GiB: of the card where there is one and it is meant, else of the machine."""
    if device != "cpu":
        number = device.partition(":")[2]
        free = _card_memory(int(number) if number.isdecimal() else 0)
        if free is not None:
            return free
        if device != "auto":
            return None
    import psutil

    return float(psutil.virtual_memory().available) / 2**30


def _card_memory(index: int) -> float | None:
    tool = which("nvidia-smi")
    if tool is None:
        return None
    asked = [tool, "--query-gpu=memory.free", "--format=csv,noheader,nounits", "-i", str(index)]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=ASK_SECONDS, check=True, env=os.environ)
        return float(answer.stdout.splitlines()[0]) / 1024
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
