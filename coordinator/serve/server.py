"""Run the server: listen, answer, and end in order."""

import ctypes
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import pyarrow as pa
import uvicorn
from starlette.types import ASGIApp

from coordinator.client.client import Client
from coordinator.serve.api import Api
from coordinator.serve.app import application
from coordinator.serve.endpoints.duplicates import Kept
from coordinator.serve.endpoints.events import Streams
from coordinator.serve.guard.bodies import Bodies
from coordinator.serve.guard.ending import END_SECONDS, Ending, EndingServer, Signals
from coordinator.serve.guard.hosts import answered_for, is_loopback
from coordinator.serve.guard.keys import Keys, read_keys
from coordinator.serve.guard.outgoing import Outgoing
from coordinator.serve.guard.slow_clients import Impatient
from coordinator.serve.images.cache import ThumbnailCache
from coordinator.serve.images.stored import StoredImages
from coordinator.serve.images.thumbnails import Thumbnails
from coordinator.serve.metrics import Metrics
from coordinator.serve.served import Served
from coordinator.serve.work.changes import Changes
from coordinator.serve.work.fetches import Fetches
from coordinator.serve.work.searches import Searches
from coordinator.serve.work.service import Service
from shared.errors import LookalikeError, UsageError
from shared.job.directory import JobDir
from shared.settings import Settings
from shared.storage import scratch

_BODY_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 120.0
_KEEP_ALIVE_SECONDS: Final = 15
_MOST_CONNECTIONS: Final = 2_048
_HEAD_BYTES: Final = 32_768
# Each that has read Parquet keeps more than half a megabyte.
_THREADS: Final = 16
_ARENA_MAX, _ARENAS = -8, 2  # The first is GNU's number.


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be served, and to whom: one `job` or all below `jobs_root`, at an address, for those with keys.

    `hosts` are other names that the server answers for; `fetches_urls` allows queries that are URLs.
    """

    settings: Settings
    jobs_root: Path
    job: JobDir | None = None
    address: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    hosts: Sequence[str] = ()
    fetches_urls: bool = False


def serve(asked: Asked, tell: Callable[[str], None]) -> None:
    """Answer until a signal tells the process to end, and then raise KeyboardInterrupt, once all is closed but threads
    that wait for a worker. `tell` gets the address as soon as it is listened at.

    Raises UsageError for an address beyond this machine without keys, SettingsError for a file of keys that is none,
    LookalikeError for an address that is taken, and as `Service` does.
    """
    if asked.keys is None and not is_loopback(asked.address):
        raise UsageError(
            f"{asked.address} can be reached from other machines, and without keys everyone there could search, see "
            "and change the images: name a file of keys, or listen at 127.0.0.1."
        )
    keys = Keys(None) if asked.keys is None else read_keys(asked.keys)
    signals = Signals()
    with signals.taken(), ExitStack() as stack:
        listener = stack.enter_context(_listener(asked.address, asked.port))
        _save_memory()
        service = stack.enter_context(Service(asked.settings, asked.jobs_root))
        api = made(asked, service, keys)
        stack.callback(api.searches.close)
        stack.callback(api.thumbnails.close)
        stack.callback(api.fetches.close)
        config = configured(application(api, answered_for(asked.address, asked.hosts)))
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        place = f"[{asked.address}]" if ":" in asked.address else asked.address
        tell(f"http://{place}:{listener.getsockname()[1]}")
        signals.server = server = EndingServer(config, api.ending, _THREADS)
        api.streams.are_ending = lambda: server.should_exit
        server.run([listener])
        # Threads that still wait for a worker see the broker end, and would say so behind the last word.
        logging.getLogger("celery").setLevel(logging.CRITICAL)


def configured(app: ASGIApp, protocol: type[Impatient] = Impatient) -> uvicorn.Config:
    """How uvicorn is to run an application."""
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        # Behind the times of `Ending`: what none of them ends.
        timeout_graceful_shutdown=int(END_SECONDS) + 3,
        limit_concurrency=_MOST_CONNECTIONS,
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )


def made(asked: Asked, service: Service, keys: Keys) -> Api:
    """What the endpoints need, around a service that runs."""
    settings = service.settings

    def client_of(job: JobDir) -> Client:
        return Client(job.path, settings.broker_url)

    searches = Searches(client_of, settings.http_searches, settings.http_waiting, _ANSWER_SECONDS, service.comes_back)
    streams = Streams()
    cache = ThumbnailCache(scratch.private_directory() / "thumbnails", settings.thumbnail_cache_bytes)
    return Api(
        served=Served(settings, asked.job),
        searches=searches,
        service=service,
        bodies=Bodies(_BODY_SECONDS),
        keys=keys,
        settings=settings,
        version=metadata.version("lookalike"),
        changes=Changes(client_of, here=service.is_own),
        images=StoredImages(),
        thumbnails=Thumbnails(settings, cache),
        fetches=Fetches(Outgoing(), allowed=asked.fetches_urls),
        streams=streams,
        kept=Kept(),
        metrics=Metrics(lambda: searches.under_way, lambda: streams.open),
        ending=Ending(),
    )


def _save_memory() -> None:
    """Let the threads of this process share what memory they free: GNU's allocator, and Arrow's, keep some for each."""
    pa.set_memory_pool(pa.system_memory_pool())
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # This is another C library than GNU's.
            ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)


def _listener(address: str, port: int) -> socket.socket:
    """A socket that listens; raises LookalikeError where the address is taken or none of this machine."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(_MOST_CONNECTIONS)
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LookalikeError(
            f"The server can't listen at {address}:{port} ({reason}): choose another port or address."
        ) from None
    return listener
