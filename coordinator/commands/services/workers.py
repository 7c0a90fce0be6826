"""The commands `lookalike worker` and `lookalike flower`, which turn into a process of Celery or Flower."""

import errno
import os
import socket
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.options import Broker, Engine
from coordinator.display.terminal import err
from coordinator.local.broker import broker_for_exec
from coordinator.local.workers import flower_command, worker_command
from shared.errors import LookalikeError, UsageError
from shared.messages.shards import Held
from shared.messages.tasks import QUERY_QUEUE, QUEUES
from shared.settings import Settings, load_settings, without_settings
from shared.storage.stores import StorePath, any_path

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def worker(
    roles: Annotated[
        list[str],
        typer.Argument(metavar="embed|merge|query", help="What this worker takes on."),
    ],
    broker: Broker = None,
    jobs_root: Annotated[
        Path | None,
        typer.Option(help="Directory or URL that holds the jobs; every job in it is served."),
    ] = None,
    engine: Engine = None,
    shards: Annotated[
        str | None,
        typer.Option(
            metavar="FIRST-LAST",
            help="Shards of each index that a query worker holds, counted from 0; 4- for all from 4 on; left out: all.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name in Flower and in leases; the host is added."),
    ] = None,
    loglevel: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(_LEVELS)}; left out: as the role needs it."),
    ] = None,
) -> None:
    """Run a worker until it is stopped: it takes tasks of its roles for every job under the jobs root."""
    unknown = [role for role in roles if role not in QUEUES]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no role of a worker: name one or several of {', '.join(QUEUES)}.")
    if loglevel is not None and loglevel.upper() not in _LEVELS:
        raise UsageError(f"{loglevel!r} is no log level: name one of {', '.join(_LEVELS)}.")
    settings = load_settings().changed(broker_url=broker, jobs_root=jobs_root, engine=engine, shards=shards)
    held = None if settings.shards is None else Held.parsed(settings.shards)
    if shards is not None and "query" not in roles:
        raise UsageError("--shards is for the role query: the others hold no index.")
    if settings.jobs_root is None:
        raise UsageError("A worker must know where the jobs lie: pass --jobs-root DIR, or set LOOKALIKE_JOBS_ROOT.")
    settings = settings.changed(jobs_root=_reached(any_path(settings.jobs_root)))
    settings = broker_for_exec(settings)
    chosen = list(dict.fromkeys(roles))
    _exec(
        worker_command(
            chosen,
            name or f"{'-'.join(chosen)}-{os.getpid()}",
            loglevel and loglevel.upper(),
            settings.query_threads,
            QUERY_QUEUE if held is None else held.queue,
        ),
        settings,
    )


def flower(
    broker: Broker = None,
    jobs_root: Annotated[
        Path | None,
        typer.Option(help="Watch the embedded broker of this jobs root, when no broker is given."),
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 5555 if left out.")] = None,
    address: Annotated[str, typer.Option(help="Address; only this machine reaches the default.")] = "127.0.0.1",
) -> None:
    """Watch workers and tasks in Flower, a web page."""
    settings = load_settings().changed(broker_url=broker, jobs_root=jobs_root, flower_port=port)
    if find_spec("flower") is None:
        raise UsageError("Flower is not installed: install lookalike[monitor].")
    if not settings.broker_url and settings.jobs_root is None:
        raise UsageError(
            "Flower must know whom to watch: pass --broker URL, or --jobs-root DIR (the folder that JOB lies in) "
            "for runs without a broker of their own."
        )
    _require_free(address, settings.flower_port)
    err.print(f"Flower opens at http://{address}:{settings.flower_port} (Ctrl-C ends it)")
    _exec(flower_command(address, settings.flower_port), broker_for_exec(settings))


def _reached(jobs_root: Path) -> Path:
    """The jobs root as every process names it; UsageError when it does not exist, StoreError when its store does not
    answer.
    """
    if isinstance(jobs_root, StorePath):
        with suppress(FileNotFoundError):  # A store has no empty directories: the first job makes its root.
            jobs_root.names()
        return jobs_root
    if not jobs_root.is_dir():
        raise UsageError(f"The jobs root {jobs_root} is no directory on this machine: mount or make it first.")
    return jobs_root.resolve()


def _require_free(address: str, port: int) -> None:
    """Raise LookalikeError when the address is not free: Flower itself would end with a traceback."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Flower's server does the same.
            listener.bind(place)
            listener.listen()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise LookalikeError(
            f"Flower can't listen at {address}:{port} ({reason}): "
            + ("another program does; pass another --port." if taken else "pass another --port or --address.")
        ) from None


def _exec(command: list[str], settings: Settings) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, without_settings(os.environ) | settings.to_environment())
