"""Who computes on which card: jobs, judging runs and the model servers that Pingpan starts.

A lease belongs to a process by identity and ends with it. Jobs and runs lease a card alone. Servers are written down under
`cuda:0/PORT`: several may share a card that their memory shares were planned for, and jobs wait until it is free of them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from core.errors import CardTaken
from core.processes import current_process
from core.training import GpuLease
from core.types import LocalText, PanelSpec, Run
from webapp.services.training import cards
from webapp.services.training.views import Card

FRESH_SECONDS = 60.0


class LeaseStore(Protocol):
    """What is needed from the store."""

    def lease_gpu(self, device: str, holder: str, process: str) -> bool:
        """Lease a card, or renew the lease; False while another living process has it."""

    def release_gpu(self, device: str, process: str) -> None:
        """Give a card back."""

    def gpu_leases(self, host: str = "") -> list[GpuLease]:
        """Return the leases whose holders live."""


class CardLeases:
    """The leases of this host's cards; `there` tells which cards there are."""

    def __init__(self, store: LeaseStore, there: Callable[[], Sequence[Card]] = cards.cards) -> None:
        self._store = store
        self._there = there
        self._seen: tuple[float, tuple[str, ...]] | None = None

    def devices(self) -> tuple[str, ...]:
        """Return the names of the cards, as they were seen within the last minute: asking takes long."""
        if self._seen is None or time.monotonic() - self._seen[0] > FRESH_SECONDS:
            self._seen = (time.monotonic(), tuple(card.device for card in self._there()))
        return self._seen[1]

    def holders(self, *, besides: str = "") -> Mapping[str, str]:
        """Return who has which card ("job 3"), without what the process `besides` has itself."""
        found: dict[str, str] = {}
        for lease in self._store.gpu_leases(socket.gethostname()):
            if lease.process != besides:
                found.setdefault(lease.device.partition("/")[0], lease.holder)
        return found

    def hindrance(self) -> Callable[[Run], LocalText]:
        """Return a function that says why a run cannot have its cards now, {} when it can; it asks nothing more itself."""
        there = self.devices()
        if not there:
            return lambda _: {}
        taken = {device: holder for device, holder in self.holders(besides=current_process()).items() if not _is_server(holder)}

        def why(run: Run) -> LocalText:
            for device in cards.wanted_by_panel(run.panel, there):
                if device in taken:
                    return waits_for_card(device, taken[device])
            return {}

        return why

    @contextmanager
    def held(self, run: Run) -> Iterator[None]:
        """Hold the cards of a run's panel for the block. Raises CardTaken, and holds none then."""
        with self._all(cards.wanted_by_panel(run.panel, self.devices()), f"run {run.id}"):
            yield

    @contextmanager
    def _all(self, devices: Sequence[str], holder: str) -> Iterator[None]:
        process = current_process()
        leased: list[str] = []
        try:
            for device in devices:
                if not self._store.lease_gpu(device, holder, process):
                    raise _taken(device, self.holders().get(device, "?"))
                leased.append(device)
            yield
        finally:
            for device in leased:
                self._store.release_gpu(device, process)

    @contextmanager
    def served(self, panel: PanelSpec, judge_id: str, port: int) -> Iterator[Sequence[LocalText]]:
        """Write down for the block that a judge's server is on its cards; give what warns of jobs and runs that are there already."""
        process, there = current_process(), self.devices()
        judge = [spec for spec in panel.judges if spec.id == judge_id]
        wanted = [device for device in cards.served_devices(judge) if device in there]
        taken = self.holders()
        for device in wanted:
            self._store.lease_gpu(f"{device}/{port}", f"server {panel.id}/{judge_id}", process)
        try:
            yield [shares_card(device, taken[device]) for device in wanted if device in taken]
        finally:
            for device in wanted:
                self._store.release_gpu(f"{device}/{port}", process)


def said_holder(holder: str) -> LocalText:
    """Return a lease's holder in words: job 3, run 4, the server of a judge."""
    kind, _, name = holder.partition(" ")
    words = {"job": "任务", "run": "评判", "server": "模型服务"}
    return {"zh": f"{words[kind]} {name}", "en": holder} if kind in words else {"": holder}


def waits_for_card(device: str, holder: str) -> LocalText:
    """Return that something waits for a card, and for whom."""
    who = said_holder(holder)
    return {
        "zh": f"等待显卡 {device}：{who.get('zh', holder)} 正在使用，空出后自动开始。",
        "en": f"Waits for the card {device}, which {holder} uses; it begins by itself when the card is free.",
    }


def shares_card(device: str, holder: str) -> LocalText:
    """Return the warning that a server comes onto a card where somebody computes."""
    who = said_holder(holder)
    return {
        "zh": f"显卡 {device} 正被{who.get('zh', holder)}使用，显存可能不足，双方都会变慢。",
        "en": f"{holder} computes on {device} already: memory may run out, and both get slower.",
    }


def _is_server(holder: str) -> bool:
    return holder.startswith("server ")


def _taken(device: str, holder: str) -> CardTaken:
    who = said_holder(holder)
    return CardTaken(
        f"The card {device} is used by {holder}. Wait until it is over, or stop it first; this stays queued.",
        zh=f"显卡 {device} 正被{who.get('zh', holder)}使用。请等待其结束，或先停止它；当前任务保持排队。",
    )
