"""A model hub on loopback: Hugging Face's API as huggingface_hub asks it, and ModelScope's as modelscope-hub does."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def commit(files: dict[str, bytes]) -> str:
    """Return the commit of a repository with these files."""
    return hashlib.sha1(b"".join(name.encode() + content for name, content in sorted(files.items()))).hexdigest()


@dataclass
class FakeHub:
    """The repositories (files by name), and what goes wrong: files cut off once, damaged ones, gated repositories."""

    repositories: dict[str, dict[str, bytes]]
    cut_once: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    sent: list[tuple[str, int, int]] = field(default_factory=list)
    url: str = ""

    def served(self, name: str, content: bytes) -> bytes:
        return bytes(len(content)) if name in self.damaged else content


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        if path.startswith("/api/v1/models/"):
            self.modelscope(path.removeprefix("/api/v1/models/"), query, body=body)
        elif path.startswith("/api/models/"):
            self.huggingface_info(path.removeprefix("/api/models/"))
        elif "/resolve/" in path:
            name, _, rest = path.strip("/").partition("/resolve/")
            self.file(name, rest.split("/", 1)[1], body=body)
        else:
            self.json(404, {"error": "Not found"})

    def huggingface_info(self, path: str) -> None:
        name = "/".join(path.split("/")[:2])
        if name in self.hub.gated:
            self.json(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
            return
        files = self.hub.repositories.get(name)
        if files is None:
            self.json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return
        siblings = [self.sibling(file, content) for file, content in files.items()]
        if "/tree/" in path:
            tree = [
                {
                    "type": "file",
                    "path": s["rfilename"],
                    "size": s["size"],
                    "oid": s["blobId"],
                    **({"lfs": {**s["lfs"], "oid": s["lfs"]["sha256"]}} if "lfs" in s else {}),
                }
                for s in siblings
            ]
            self.json(200, tree)
            return
        self.json(
            200,
            {
                "id": name,
                "modelId": name,
                "sha": commit(files),
                "siblings": siblings,
                "private": False,
                "tags": [],
                "downloads": 1,
                "likes": 1,
            },
        )

    def sibling(self, name: str, content: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        told: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
        if name.endswith((".safetensors", ".bin")):
            told["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return told

    def file(self, repository: str, name: str, *, body: bool) -> None:
        content = self.hub.repositories.get(repository, {}).get(name)
        if content is None:
            self.json(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        etag = self.sibling(name, content).get("lfs", {}).get("sha256") or self.sibling(name, content)["blobId"]
        content = self.hub.served(name, content)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        part = content[start:]
        self.send_response(206 if "Range" in self.headers else 200)
        for key, value in (
            ("ETag", f'"{etag}"'),
            ("X-Repo-Commit", commit(self.hub.repositories[repository])),
            ("Accept-Ranges", "bytes"),
            ("Content-Length", str(len(part))),
        ):
            self.send_header(key, value)
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return
        cut = name in self.hub.cut_once
        self.hub.cut_once.discard(name)
        if cut:
            part = part[: len(part) // 2]
            self.close_connection = True
        self.hub.sent.append((name, start, len(part)))
        self.wfile.write(part)

    def modelscope(self, path: str, query: dict[str, list[str]], *, body: bool) -> None:
        name = "/".join(path.split("/")[:2])
        files = self.hub.repositories.get(name)
        if files is None:
            self.json(404, {"Code": 10010205001, "Message": "not found", "Success": False})
        elif path.endswith("/repo/files"):
            listed = [
                {
                    "Path": file,
                    "Name": file,
                    "Size": len(content),
                    "Sha256": hashlib.sha256(content).hexdigest(),
                    "Type": "blob",
                    "Revision": commit(files),
                }
                for file, content in files.items()
            ]
            self.json(200, {"Code": 200, "Success": True, "Data": {"Files": listed}})
        elif path.endswith("/repo"):
            self.file(name, query["FilePath"][0], body=body)
        else:
            self.json(200, {"Code": 200, "Success": True, "Data": {"RevisionMap": {"Branches": [{"Revision": "master"}], "Tags": []}}})

    def json(self, status: int, told: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def serving_hub(repositories: dict[str, dict[str, bytes]]) -> Iterator[FakeHub]:
    """Serve the repositories while the context lasts."""
    hub = FakeHub(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
