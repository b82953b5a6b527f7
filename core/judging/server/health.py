"""Whether a judge's servers answer, asked without making the judge."""

from __future__ import annotations

import httpx
from pydantic import ValidationError

from core.errors import PingpanError
from core.judging.server.client import make_client
from core.judging.server.options import ServerOptions, read_options
from core.judging.server.wire import MODELS, ModelList
from core.types import JudgeSpec

PATIENCE_S = 5.0


def health_address(url: str) -> str:
    """Return where a server's health stands: beside the API's root, not below it."""
    return f"{url.rsplit('/', 1)[0]}/health"


def is_healthy(client: httpx.Client, url: str, options: ServerOptions, patience: float = PATIENCE_S) -> bool:
    """Return whether the server at an API address is up: its /health, or for services that have none, any answer of /v1/models."""
    target, wrong = (health_address(url), 400) if options.serves_health else (f"{url}/{MODELS}", 500)
    try:
        return client.get(target, timeout=patience).status_code < wrong
    except httpx.HTTPError:
        return False


def server_is_up(spec: JudgeSpec, patience: float = PATIENCE_S) -> bool:
    """Return whether one of the judge's servers is up and serves its model; False too where the panel's line is wrong."""
    try:
        options = read_options(spec.id, spec.options)
        key = options.api_key(spec.id)
    except PingpanError:
        return False
    with make_client(options, key) as client:
        return any(is_healthy(client, url, options, patience) and _serves(client, url, options, patience) for url in options.addresses())


def _serves(client: httpx.Client, url: str, options: ServerOptions, patience: float) -> bool:
    if not options.serves_health:
        return True
    try:
        answer = client.get(f"{url}/{MODELS}", timeout=patience)
        return answer.status_code < 400 and options.model in {card.id for card in ModelList.model_validate_json(answer.content).data}
    except (httpx.HTTPError, ValidationError):
        return False
