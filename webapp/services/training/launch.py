"""Starts a job's process: in a session of its own, so that it outlives the runner, the server and the browser."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from core.settings import PROJECT_ROOT, Settings
from core.training import Job
from training import jobdir
from training.specs import JobSpec
from webapp.services.training import cards

# Settings that the runner may have been given otherwise than by the environment.
_TOLD = ("home", "dimensions_dir", "panels_dir", "log_level", "hub", "lmdeploy_python", "vllm_python")


class Child:
    """A job's process as the one who started it sees it: it is reaped when it ends, and may outlive this object."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal's number, None while the process runs."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has reaped it
                self._status = 0
                return self._status
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status


def start(job: Job, spec: JobSpec, settings: Settings) -> Child:
    """Make the job's folder and start its process, its output going to the job's log. Raises JobError, OSError."""
    jobdir.create(job.folder, spec)
    jobdir.clear_stop(job.folder)
    told = {f"PINGPAN_{name.upper()}": str(getattr(settings, name)) for name in _TOLD}
    with (job.folder / jobdir.LOG).open("ab") as log:
        process = subprocess.Popen(
            jobdir.command(job.folder),
            cwd=PROJECT_ROOT,
            env={**os.environ, **told, **card_environment(job.device, cards.wanted_by_job(spec))},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    process.returncode = 0  # Popen would take a process that outlives it for a fault; Child looks after it
    return Child(process.pid)


def card_environment(device: str, wanted: str) -> Mapping[str, str]:
    """Return the variables that keep a job on the card it leased; a job that names its card itself needs none."""
    if wanted.startswith(f"{cards.CUDA}:"):
        return {}
    number = device.removeprefix(f"{cards.CUDA}:")
    if number.isdecimal():
        return {"CUDA_VISIBLE_DEVICES": number, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return {"CUDA_VISIBLE_DEVICES": ""}


def shell_command(job: Job, spec: JobSpec, settings: Settings) -> str:
    """Return the line that does the job by hand, on the card that it leased or would take."""
    line = jobdir.shell_command(job.folder, settings)
    if job.device in {"", cards.CPU}:
        return line
    said = " ".join(f"{name}={value}" for name, value in card_environment(job.device, cards.wanted_by_job(spec)).items())
    return line.replace(" && ", f" && {said} ", 1) if said else line
