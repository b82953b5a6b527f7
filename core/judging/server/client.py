"""The HTTP client of a judge: several addresses in turn, retries with back-off and jitter, a deadline for every row."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_before_delay,
    stop_when_event_set,
    wait_random_exponential,
)

from core.judging.server.options import ServerOptions
from core.judging.server.wire import MODELS, Ask, ModelList

log = logging.getLogger(__name__)

# An address that could not be reached is left alone for this long while others answer.
COOL_DOWN_S = 5.0
LONGEST_WAIT_S = 20.0
LONGEST_RETRY_AFTER_S = 120.0
# lmdeploy's server closes a connection that was idle for 5 s; one that is kept longer here would break at its next use.
KEEP_ALIVE_S = 4.0
SAID = 400


class Failure(StrEnum):
    """Why a request got no answer."""

    UNREACHABLE = "unreachable"
    BROKEN = "broken"
    TIMEOUT = "timeout"
    BUSY = "busy"
    SERVER = "server"
    REFUSED = "refused"
    KEY = "key"
    MISSING = "missing"


class RequestFailed(Exception):
    """A request got no answer after all attempts; `said` is the server's own message."""

    def __init__(self, failure: Failure, url: str, said: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(f"{url}: {said}" if not status else f"{url}: HTTP {status}: {said}")
        self.failure, self.url, self.said, self.status, self.retry_after = failure, url, said, status, retry_after


class _Passing(RequestFailed):
    """A failure that may pass: it is tried again."""


@dataclass(slots=True)
class _Address:
    url: str
    down_until: float = 0.0


class ServerClient:
    """Sends requests to the addresses of one judge; may be used by several threads."""

    def __init__(self, options: ServerOptions, api_key: str) -> None:
        self._options = options
        self._addresses = [_Address(url) for url in options.addresses()]
        self._turn = itertools.count()
        self._closing = threading.Event()
        self._client = make_client(options, api_key)

    @property
    def urls(self) -> tuple[str, ...]:
        """Return the addresses."""
        return tuple(address.url for address in self._addresses)

    def close(self) -> None:
        """End waits and close the connections."""
        self._closing.set()
        self._client.close()

    def ask(self, ask: Ask, *, deadline: float | None = None, retries: int | None = None) -> bytes:
        """Return the body of the answer.

        Raises RequestFailed after `retries` more attempts or `deadline` seconds (the options' where not given), and at
        once for what another attempt cannot mend.
        """
        seconds = deadline or self._options.deadline
        end = time.monotonic() + seconds
        attempts = 1 + (self._options.retries if retries is None else retries)
        retrying = Retrying(
            stop=stop_after_attempt(attempts) | stop_before_delay(seconds) | stop_when_event_set(self._closing),
            wait=self._wait,
            retry=retry_if_exception_type(_Passing),
            sleep=sleep_using_event(self._closing),
            reraise=True,
        )
        content: bytes = retrying(self._attempt, ask, end)
        return content

    def models(self, url: str) -> list[str]:
        """Return the names that an address serves. Raises RequestFailed."""
        return [card.id for card in ModelList.model_validate_json(self._send("GET", f"{url}/{MODELS}", self._options.timeout)).data]

    def _attempt(self, ask: Ask, end: float) -> bytes:
        address = self._choose()
        seconds = min(self._options.timeout, max(end - time.monotonic(), 0.05))
        try:
            return self._send("POST", f"{address.url}/{ask.path}", seconds, ask.body)
        except RequestFailed as failed:
            if failed.failure is Failure.UNREACHABLE:
                address.down_until = time.monotonic() + COOL_DOWN_S
            raise

    def _choose(self) -> _Address:
        """Return the next address in turn that is not known to be down, or the next one when all are."""
        start = next(self._turn) % len(self._addresses)
        order = self._addresses[start:] + self._addresses[:start]
        now = time.monotonic()
        return next((address for address in order if address.down_until <= now), order[0])

    def _wait(self, state: RetryCallState) -> float:
        failed = state.outcome.exception() if state.outcome else None
        if isinstance(failed, RequestFailed):
            if failed.retry_after is not None:
                # A little more than was asked for, so that not all rows come back at the same moment.
                return min(failed.retry_after, LONGEST_RETRY_AFTER_S) + _JITTER(state)
            if failed.failure is Failure.UNREACHABLE and any(address.down_until <= time.monotonic() for address in self._addresses):
                return 0.0
        return _BACK_OFF(state)

    def _send(self, method: str, url: str, seconds: float, body: str | None = None) -> bytes:
        if self._closing.is_set():
            raise RequestFailed(Failure.BROKEN, url, "the judge is closed")
        try:
            response = self._client.request(method, url, content=None if body is None else body.encode("utf-8", "replace"), timeout=seconds)
        except httpx.ConnectError as error:
            raise _Passing(Failure.UNREACHABLE, url, str(error) or "no connection") from error
        except httpx.TimeoutException as error:
            unreachable = isinstance(error, httpx.ConnectTimeout)
            said = f"no {'connection' if unreachable else 'answer'} within {seconds:.3g} s"
            raise _Passing(Failure.UNREACHABLE if unreachable else Failure.TIMEOUT, url, said) from error
        except httpx.TransportError as error:
            raise _Passing(Failure.BROKEN, url, f"the connection broke: {error or type(error).__name__}") from error
        except RuntimeError as error:  # httpx's word for a client that another thread has closed
            raise RequestFailed(Failure.BROKEN, url, str(error)) from error
        if response.status_code >= 400:
            raise _failed(response)
        return response.content


_BACK_OFF = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT_S)
_JITTER = wait_random_exponential(multiplier=0.1, max=1.0)


def make_client(options: ServerOptions, api_key: str) -> httpx.Client:
    """Return the client for the options' addresses; a proxy from the environment is used only for addresses elsewhere."""
    # One line a request would bury a run's log.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    limits = httpx.Limits(
        max_connections=options.concurrency + 4, max_keepalive_connections=options.concurrency + 4, keepalive_expiry=KEEP_ALIVE_S
    )
    return httpx.Client(headers=headers, limits=limits, trust_env=not all(_is_here(url) for url in options.addresses()))


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_private
    except ValueError:
        return False


def _failed(response: httpx.Response) -> RequestFailed:
    status, url, said = response.status_code, str(response.request.url), server_message(response)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return _Passing(Failure.BUSY, url, said, status, retry_after(response))
    if status >= 500 or status in {httpx.codes.REQUEST_TIMEOUT, httpx.codes.CONFLICT, httpx.codes.TOO_EARLY, 499}:
        return _Passing(Failure.SERVER, url, said, status, retry_after(response))
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return RequestFailed(Failure.KEY, url, said, status)
    if status in {httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED}:
        return RequestFailed(Failure.MISSING, url, said, status)
    return RequestFailed(Failure.REFUSED, url, said, status)


class _ErrorBody(BaseModel):
    message: str = ""


class _ErrorReply(BaseModel):
    error: _ErrorBody | str | None = None
    message: str = ""
    detail: str | list[object] | None = None


def server_message(response: httpx.Response) -> str:
    """Return what the server says is wrong: OpenAI's `error.message`, lmdeploy's `message`, or the body's beginning."""
    try:
        body = _ErrorReply.model_validate_json(response.content)
    except ValidationError:
        return " ".join(response.text.split())[:SAID] or response.reason_phrase
    inner = body.error.message if isinstance(body.error, _ErrorBody) else body.error or ""
    return (inner or body.message or str(body.detail or "") or response.reason_phrase)[:SAID]


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that the header Retry-After asks for (a number or a date), None without one."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
