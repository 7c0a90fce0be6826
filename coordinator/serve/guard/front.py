"""What every request passes first and every answer last: its id, its host, its origin, safe headers, and the log."""

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordinator.serve.guard.hosts import require_host, require_same_site
from coordinator.serve.problems import Refused, refusal

log = logging.getLogger("lookalike.http")

_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_GONE: Final = 499
"""What the log says of a client that went away before its answer."""
SAFE: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Headers of every answer."""


class Front:
    """The ASGI application around another one."""

    def __init__(
        self, app: ASGIApp, hosts: frozenset[str], seen: Callable[[str, int, float], None] = lambda *_: None
    ) -> None:
        """`hosts` are the names that it answers for; `seen` is told of each answer its operation, status, seconds."""
        self._app, self._hosts, self._seen = app, hosts, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # The start and the end of the server; there are no WebSockets here.
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        began, status = time.perf_counter(), _GONE

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    answer.setdefault(name, value)
                answer.setdefault("Cache-Control", "no-store")
                answer["X-Request-Id"] = request_id
                if has_body and status >= 400:
                    # What is left of the body is not read, so nothing can follow on this connection.
                    answer["Connection"] = "close"
            await send(message)

        try:
            _require_one_length(scope, headers)
            require_host(headers.getlist("host"), self._hosts)
            require_same_site(scope["method"], headers)
        except Refused as error:
            await refusal(error, request_id)(scope, receive, told)
        else:
            await self._app(scope, receive, told)
        finally:
            seconds = time.perf_counter() - began
            operation = scope["state"].get("operation", "none")
            self._seen(operation, status, seconds)
            raw = scope.get("raw_path") or b""  # As it came: percent-encoded, so it is one line.
            path = raw.decode("ascii", "backslashreplace")[:300]
            key = scope["state"].get("key") or "-"
            log.info("%s %s %s %d %.1f ms %s", request_id, scope["method"][:20], path, status, seconds * 1000, key)


def _require_one_length(scope: Scope, headers: Headers) -> None:
    """Raise Refused where a proxy before this server may have seen another end of the body than it does."""
    if scope["http_version"] not in ("1.0", "1.1"):
        raise Refused(400, "The request is of another version of HTTP than 1.1 and 1.0.")
    if "transfer-encoding" not in headers:
        return
    if "content-length" in headers:
        raise Refused(400, "The request says the length of its body twice, by Content-Length and Transfer-Encoding.")
    if scope["http_version"] != "1.1":
        raise Refused(400, "The request has a Transfer-Encoding, which is of HTTP/1.1, and says that it is older.")
