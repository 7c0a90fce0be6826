"""Ask an HTTP server as many clients at once, each over a connection that it keeps; as little of a client as can be."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

_WAIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it goes over the wire."""

    head: bytes
    body: bytes = b""

    @classmethod
    def get(cls, path: str) -> "Request":
        return cls(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    @classmethod
    def post(cls, path: str, kind: str, body: bytes) -> "Request":
        length = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        return cls(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n".encode(), body)


@dataclass(slots=True)
class Asked:
    """What came of some requests: the milliseconds of each that was answered with 200, the statuses of all, 0 for a
    connection that broke, and the seconds that all took together."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


def ask(address: tuple[str, int], requests: Sequence[Request], clients: int) -> Asked:
    """Send the requests, by so many clients that each wait for an answer before they ask again."""
    return asyncio.run(_ask(address, requests, clients))


async def _ask(address: tuple[str, int], requests: Sequence[Request], clients: int) -> Asked:
    found, waiting = Asked(), iter(requests)

    async def client() -> None:
        reader, writer = await asyncio.open_connection(*address)
        try:
            for request in waiting:  # One iterator for all: who is free takes the next.
                started = time.perf_counter()
                writer.write(request.head + request.body)
                try:
                    status = await asyncio.wait_for(_status(reader), _WAIT_SECONDS)
                except (OSError, EOFError, TimeoutError, ValueError):
                    found.statuses[0] += 1
                    return
                if status == 200:
                    found.milliseconds.append((time.perf_counter() - started) * 1_000)
                found.statuses[status] += 1
        finally:
            writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    found.seconds = time.perf_counter() - started
    return found


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of an answer that is read to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
    await reader.readexactly(int(lines["content-length"]))
    return int(head.split(" ", 2)[1])
