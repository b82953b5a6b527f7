"""A model server on loopback that answers as lmdeploy's two engines, vLLM or a plain OpenAI service do, faults included.

The wire behaviour is that of lmdeploy 0.18.0 and vLLM 0.32.0 as their sources say (docs/SERVERS.md). The model behind
it counts the character 错 in the last user turn: none is a 5, four or more a 1. Like a real server it renders the turns
into one string and splits that string at control tokens again, so a text can end its turn; and it does what the last
system turn says.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OTHERS = ["好", "的", "分", "答", "这", "Ġ", "。", "：", "A", "B", "评", "我", "是", "不", "在", "有", "一", "ĠI", "The", "二", "三", "四"]
Fault = Callable[["Handler"], bool]


@dataclass
class FakeServer:
    """What the server is, what it must do wrong next, and what it was asked."""

    engine: str
    model: str = "judge"
    adapters: tuple[str, ...] = ()
    logprobs_mode: str | None = "raw_logprobs"
    system_role: bool = True
    newline_first: bool = False
    stops_at_once: bool = False
    key: str = ""
    context: int = 100_000
    words: str = "评分：三"
    alphabet: str = ""
    weights: Callable[[str], dict[str, float]] | None = None
    faults: list[Fault] = field(default_factory=list)
    fault_when: Callable[[str], Fault | None] = lambda body: None
    delay: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    between: threading.Event | None = None
    left: threading.Event = field(default_factory=threading.Event)
    healthy: bool = True
    port: int = 0
    _http: ThreadingHTTPServer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        handler = type("Bound", (Handler,), {"fake": self})
        self._http = _Http(("127.0.0.1", self.port), handler)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Go away as a killed process does: nothing listens any more, and open connections are cut."""
        http, self._http = self._http, None
        if http is not None:
            http.shutdown()
            http.server_close()

    # the model

    def read(self, ids: list[int]) -> str:
        """Return token ids as text: places in the alphabet, one beyond it a control token."""
        return "".join(self.alphabet[number] if number < len(self.alphabet) else f"[{number}]" for number in ids)

    def distribution(self, prompt: str) -> dict[str, float]:
        """Return the probability of every token after a rendered prompt."""
        turns = re.findall(r"<\|im_start\|>(\w+)\n(.*?)(?=<\|im_end\|>|$)", prompt, re.DOTALL)
        system = [content for role, content in turns if role == "system"]
        user = [content for role, content in turns if role == "user"] or [prompt]
        wanted = 1 if system and "一律给1" in system[-1] else 5 - min(4, user[-1].count("错"))
        if self.weights is not None:
            weights = self.weights(user[-1])
        else:
            weights = {str(label): math.exp(-1.5 * abs(label - wanted)) for label in range(1, 6)}
            weights |= {f"Ġ{label}": 1e-4 * math.exp(-abs(label - wanted)) for label in range(1, 6)}
            weights |= {token: 1e-4 / (n + 2) for n, token in enumerate(OTHERS)}
        total = sum(weights.values())
        return {token: value / total for token, value in weights.items()}

    def positions(self, prompt: str, wanted: int) -> list[dict[str, float]]:
        if self.stops_at_once:
            return [{"<|im_end|>": 0.999, "5": 0.001}]
        first = {"Ċ": 0.98, "ĊĊ": 0.01, "5": 0.005, "的": 0.005}
        answer = self.distribution(prompt)
        return ([first, answer] if self.newline_first else [answer, {"<|im_end|>": 1.0}])[:wanted]


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self.open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        super().server_close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    fake: FakeServer
    protocol_version = "HTTP/1.1"
    timeout = 5  # uvicorn's keep-alive in lmdeploy
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        fake = self.fake
        if self.path == "/health" and fake.engine != "openai":
            self.reply(200 if fake.healthy else 503, {})
        elif not self.allowed():
            self.error(401, "Unauthorized.")
        elif self.path == "/v1/models":
            names = [fake.model, *fake.adapters]
            self.reply(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
        else:
            self.error(404, "Not Found")

    def do_POST(self) -> None:
        fake = self.fake
        raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
        body = json.loads(raw)
        with fake._lock:
            fake.at_once += 1
            fake.most_at_once = max(fake.most_at_once, fake.at_once)
            fault = fake.faults.pop(0) if fake.faults else fake.fault_when(raw)
            fake.asked.append(body)
        try:
            time.sleep(fake.delay)
            if fault is not None and fault(self):
                return
            if not self.allowed():
                self.error(401, "Unauthorized.")
            elif body["model"] not in (fake.model, *fake.adapters):
                self.error(404, f"The model {body['model']!r} does not exist.")
            elif self.path == "/v1/chat/completions":
                self.chat(body)
            elif self.path == "/v1/completions" and fake.engine == "vllm":
                self.complete(body)
            else:
                self.error(404, "Not Found")
        finally:
            with fake._lock:
                fake.at_once -= 1

    def allowed(self) -> bool:
        return not self.fake.key or self.headers.get("Authorization") == f"Bearer {self.fake.key}"

    # chat completions

    def chat(self, body: dict[str, Any]) -> None:
        fault = self.wrong_request(body)
        if fault:
            self.error(400, fault)
            return
        prompt = self.rendered(body)
        if len(prompt) > self.fake.context:
            self.error(400, f"Input length ({len(prompt)}) must be smaller than the model context length ({self.fake.context}).")
            return
        if body.get("stream"):
            self.stream(self.fake.words)
            return
        if not body.get("logprobs"):
            self.reply(200, self.choice({"content": self.fake.words}, None, prompt, "stop"))
            return
        positions = self.fake.positions(prompt, body["max_tokens"])
        ended = self.fake.stops_at_once and not body.get("ignore_eos")
        if ended and self.fake.engine.startswith("lmdeploy"):
            self.reply(200, self.choice({"content": ""}, None, prompt, "stop"))
            return
        content = [self.position(tokens, body, place) for place, tokens in enumerate(positions)]
        text = "".join(place["token"] for place in content)
        self.reply(200, self.choice({"content": text}, {"content": content}, prompt, "length"))

    def wrong_request(self, body: dict[str, Any]) -> str:
        engine, top = self.fake.engine, body.get("top_logprobs") or 0
        if engine == "lmdeploy-pytorch" and body.get("logprobs") and self.fake.logprobs_mode is None:
            return "Logprobs(True)/top_logprobs(20) requested but not enabled logprobs_mode in engine configuration"
        if engine == "lmdeploy-pytorch" and top and not body.get("logprobs"):
            return f"Invalid logprobs(False)/top_logprobs({top}) requested when logprobs_mode is enabled in engine configuration."
        if top > 20:
            return f"The top_logprobs {top!r} must be in [0, 20]."
        roles = [turn["role"] for turn in body.get("messages", [])]
        if "system" in roles and not self.fake.system_role:
            return "Request preprocessing failed." if engine.startswith("lmdeploy") else "System role not supported"
        if not roles and body.get("input_ids") is None:
            return "messages must not be empty unless input_ids is set."
        return ""

    def rendered(self, body: dict[str, Any]) -> str:
        if body.get("input_ids") is not None:
            return self.fake.read(body["input_ids"])
        turns = [f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in body["messages"]]
        return "".join(turns) + "<|im_start|>assistant\n"

    def position(self, tokens: dict[str, float], body: dict[str, Any], place: int) -> dict[str, Any]:
        wanted = body.get("top_logprobs") or 0
        ranked = sorted(tokens.items(), key=lambda pair: -pair[1])
        if self.fake.engine == "lmdeploy-turbomind":
            # Sampling keeps top_k tokens, normalized among themselves; only those have log-probabilities.
            ranked = ranked[: body.get("top_k") or 50]
            total = sum(value for _, value in ranked)
            ranked = [(token, value / total) for token, value in ranked]
            generator = random.Random(body.get("seed"))
            sampled = generator.choices([t for t, _ in ranked], [v for _, v in ranked])[0]
        else:
            sampled = ranked[0][0]
        top = ranked[:wanted]
        chances = dict(ranked)
        shown = {token: math.log(value) for token, value in top} | {sampled: math.log(chances[sampled])}
        if self.fake.engine.startswith("lmdeploy"):
            others = [self.token(token, value) for token, value in shown.items() if token != sampled]
        else:
            others = [self.token(token, value) for token, value in list(shown.items())[:wanted]]
        return {**self.token(sampled, shown[sampled]), "top_logprobs": others}

    def token(self, token: str, value: float) -> dict[str, Any]:
        written = token if self.fake.engine.startswith("lmdeploy") else token.replace("Ġ", " ").replace("Ċ", "\n")
        return {"token": written, "logprob": value, "bytes": list(written.encode())}

    def choice(self, message: dict[str, Any], logprobs: dict[str, Any] | None, prompt: str, reason: str) -> dict[str, Any]:
        choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": logprobs, "finish_reason": reason}
        return {"object": "chat.completion", "model": self.fake.model, "choices": [choice], "usage": {"prompt_tokens": len(prompt)}}

    # vLLM's completions, asked with token ids

    def complete(self, body: dict[str, Any]) -> None:
        prompt = self.fake.read(body["prompt"])
        tokens = self.fake.distribution(prompt)
        named = {number: math.log(tokens.get(self.fake.read([number]), 1e-9)) for number in body["logprob_token_ids"]}
        sampled = max(tokens, key=lambda token: tokens[token])
        named = {self.fake.alphabet.index(sampled): math.log(tokens[sampled])} | named
        top = {f"token_id:{number}": value for number, value in named.items()}
        first = next(iter(top))
        logprobs = {"tokens": [first], "token_logprobs": [top[first]], "top_logprobs": [top], "text_offset": [0]}
        choice = {"index": 0, "text": sampled, "logprobs": logprobs, "finish_reason": "length"}
        self.reply(200, {"object": "text_completion", "choices": [choice], "usage": {"prompt_tokens": len(prompt)}})

    # replies

    def stream(self, words: str) -> None:
        """Send words as server-sent events, a character each, until the reader goes."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        events: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}]
        events += [{"choices": [{"index": 0, "delta": {"content": sign}, "finish_reason": None}]} for sign in words]
        events += [{"choices": [], "usage": {"prompt_tokens": 3}}]
        try:
            for event in events:
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
                self.fake.sent.append(event)
                if self.fake.between is not None:
                    self.fake.between.wait(5)
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.fake.left.set()

    def error(self, status: int, message: str) -> None:
        if self.fake.engine.startswith("lmdeploy"):
            self.reply(status, {"message": message, "type": "invalid_request_error", "code": status, "param": None, "object": "error"})
        else:
            self.reply(status, {"error": {"message": message, "type": "BadRequestError", "code": status, "param": None}})

    def reply(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def status(code: int, message: str = "no", **headers: str) -> Fault:
    """Answer with an error."""

    def fault(handler: Handler) -> bool:
        handler.reply(code, {"error": {"message": message}}, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return fault


def drop(handler: Handler) -> bool:
    """Cut the connection without an answer."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def garbage(handler: Handler) -> bool:
    """Answer with a page instead of JSON."""
    content = b"<html>gateway</html>"
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
    return True


def slow(seconds: float) -> Fault:
    """Answer only after a while."""

    def fault(handler: Handler) -> bool:
        time.sleep(seconds)
        return False

    return fault


@contextmanager
def serving(engine: str = "lmdeploy-pytorch", **options: Any) -> Iterator[FakeServer]:
    """Serve while the context lasts."""
    server = FakeServer(engine, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
