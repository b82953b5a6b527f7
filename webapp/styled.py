"""The pages' style from the first paint on.

Gradio's script adds a site's own `head` when it has started: until then a reader saw Gradio's navigation, unstyled. The links stand
in that `head` all the same, for there they come after Gradio's style and win over it.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_END, _MARK = b"</head>", b"<gradio-app"


class StyledPages:
    """Puts `markup` at the end of the `<head>` of the pages that Gradio serves."""

    def __init__(self, app: ASGIApp, markup: str) -> None:
        self.app = app
        self._markup = markup.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; a page is kept back until it is whole."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        page = bytearray()

        async def watch(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and is_page(message):
                start = message
            elif start is None:
                await send(message)
            else:
                page.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    body = page.replace(_END, self._markup + _END, 1) if _MARK in page else page
                    MutableHeaders(scope=start)["content-length"] = str(len(body))
                    await send(start)
                    await send({"type": "http.response.body", "body": bytes(body)})

        await self.app(scope, receive, watch)


def is_page(start: Message) -> bool:
    """Return whether an answer that starts with this message is a page (HTML)."""
    return Headers(raw=list(start.get("headers", ()))).get("content-type", "").startswith("text/html")
