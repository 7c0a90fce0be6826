"""Check the workers behind a broker: the queues they take, their versions and their clocks."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.doctor.check_broker import Broker
from coordinator.doctor.checks import Check, ok, problem, warning, within
from shared.broker.connection import CONNECTION_ERRORS, make_app
from shared.broker.keepalive import BEATS_PER_TIMEOUT
from shared.broker.url import without_secrets
from shared.messages.tasks import QUERY_QUEUE, QUEUES, SELF_REPORT, is_query_queue
from shared.settings import Settings

_FAILURES: tuple[type[Exception], ...] = (*CONNECTION_ERRORS, OSError)
# Workers answer in a hundredth of a second; one that loads a model keeps Python's lock for seconds.
ANSWER_SECONDS = 2.0
_ASK_SECONDS = ANSWER_SECONDS + 10.0
# The warning comes well before it matters: clocks that differ drift further apart.
_EARLY = 4


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker reports about itself; its clock is `ahead` of ours by so many seconds, give or take `clock_error`.

    A worker of another version may say nothing but its name; then the others are None or empty.
    """

    name: str
    ahead: float | None
    clock_error: float
    version: str | None = None
    queues: tuple[str, ...] = ()
    lease_seconds: float | None = None
    visibility_timeout: int | None = None


def ask(settings: Settings, clock: Callable[[], float] = time.time) -> list[Worker]:
    """Ask all workers behind the broker of `settings`, by name; raises one of CONNECTION_ERRORS, or TimeoutError."""
    app = make_app(settings)
    try:
        answers: list[tuple[dict[str, Any], float]] = []
        sent = clock()
        app.control.broadcast(
            SELF_REPORT, reply=True, timeout=ANSWER_SECONDS, callback=lambda answer: answers.append((answer, clock()))
        )
    finally:
        app.close()
    found = [_worker(str(name), said, sent, received) for answer, received in answers for name, said in answer.items()]
    return sorted(found, key=lambda worker: worker.name)


def _worker(name: str, said: Any, sent: float, received: float) -> Worker:
    try:
        # The worker read its clock at some time between our question and its answer.
        return Worker(
            name,
            float(said["time"]) - (sent + received) / 2,
            (received - sent) / 2,
            str(said["version"]),
            tuple(map(str, said["queues"])),
            float(said["lease_seconds"]),
            int(said["visibility_timeout"]),
        )
    except (LookupError, TypeError, ValueError):
        return Worker(name, None, (received - sent) / 2)


def look(settings: Settings, broker: Broker, ours: str, *, embedded: bool = False) -> list[Check]:
    """Ask the workers and say what was found; `ours` is the version of lookalike here.

    Behind an `embedded` broker there are only the workers that commands have started for themselves, if any.
    """
    try:
        found = within(_ASK_SECONDS, lambda: ask(settings))
    except _FAILURES as error:
        sentence = without_secrets(f"They could not be asked ({error}): run doctor again.", settings.broker_url)
        return [warning("workers", sentence)]
    there = present(found, embedded)
    return [there, alike(found, settings, ours), clocks(found, broker, settings)] if found else [there]


def present(found: Sequence[Worker], embedded: bool = False) -> Check:
    """Whether a worker takes each queue that a job needs, unless a command that needs it starts its own."""
    facts = {"workers": {worker.name: list(worker.queues) for worker in found}}
    roles = {role: sum(_takes(worker, queue) for worker in found) for role, queue in QUEUES.items()}
    missing = [role for role, count in roles.items() if not count and any(worker.queues for worker in found)]
    if embedded and not found:
        return ok("workers", "None runs behind the embedded broker: a command starts those that it needs.", **facts)
    if not found:
        sentence = (
            f"None answers within {ANSWER_SECONDS:g} s (one that loads its model may be late). With a broker of your "
            "own, start them: `lookalike worker embed --jobs-root DIR` on each machine that embeds, `lookalike worker "
            "merge query --jobs-root DIR` on one."
        )
        return warning("workers", sentence, **facts)
    named = ", ".join(f"{count} {role}" for role, count in roles.items() if count)
    said = f"{len(found)} answer{'s' if len(found) == 1 else ''}" + (f": {named}" if named else "")
    if missing and not embedded:
        sentence = (
            f"{said}; nobody takes {' or '.join(missing)}: `lookalike worker {' '.join(missing)} --jobs-root DIR`."
        )
        return warning("workers", sentence, **facts)
    return ok("workers", f"{said}.", **facts)


def _takes(worker: Worker, queue: str) -> bool:
    """Whether a worker takes a queue; one that holds some shards takes queries from a queue of its own."""
    own = (QUERY_QUEUE if is_query_queue(taken) else taken for taken in worker.queues)
    return queue in own


def alike(found: Sequence[Worker], settings: Settings, ours: str) -> Check:
    """Whether all workers have our version and our timeouts."""
    facts = {"versions": {worker.name: worker.version for worker in found}}
    other = [worker for worker in found if worker.version != ours]
    if other:
        named = ", ".join(f"{worker.name} {worker.version or '(it does not say which)'}" for worker in other)
        sentence = f"Not of this version, {ours}: {named}. Install the same version of lookalike everywhere."
        return problem("versions", sentence, **facts)
    mine = (settings.lease_seconds, settings.visibility_timeout)
    apart = [worker for worker in found if (worker.lease_seconds, worker.visibility_timeout) != mine]
    if apart:
        named = ", ".join(f"{one.name} {one.lease_seconds:g} and {one.visibility_timeout} s" for one in apart)
        sentence = (
            f"lease_seconds and visibility_timeout are {mine[0]:g} and {mine[1]} s here, and otherwise at {named}: "
            "give all the same, as each compares by its own what the others wrote."
        )
        return warning("versions", sentence, **facts)
    return ok("versions", f"All are lookalike {ours}, with the same timeouts.", **facts)


def clocks(found: Sequence[Worker], broker: Broker, settings: Settings) -> Check:
    """How far the clocks of the workers, of this machine and of the broker are apart, and whether that matters.

    Leases do not depend on them: they are times to live, which only the broker counts. But a worker stamps with its own
    clock when it last held a message, and the worker that sweeps compares that with its own clock. From a difference of
    `visibility_timeout` less a beat on, a message of a living worker is handed out a second time.
    """
    known = [(worker.ahead, worker.clock_error, worker.name) for worker in found if worker.ahead is not None]
    facts = {
        "broker": round(broker.ahead, 3),
        "workers": {name: round(ahead, 3) for ahead, _, name in known},
        "known_to": round(max([broker.clock_error, *(error for _, error, _ in known)]), 3),
    }
    matters = settings.visibility_timeout * (1 - 1 / BEATS_PER_TIMEOUT)
    brokers = _apart(broker.ahead, broker.clock_error)
    if not known:
        return ok("clocks", f"The broker's is {brokers} from this machine's; no worker tells its own.", **facts)
    low, high = min(known), max(known)
    apart = high[0] - low[0] - high[1] - low[1]  # The part of the difference that is certain.
    if apart > matters / _EARLY:
        sentence = (
            f"{high[2]} is {apart:,.0f} s or more ahead of {low[2]}: from {matters:g} s on, the message of a "
            "living worker is handed out a second time. The lease keeps the second worker off, and nothing is lost but "
            "time. Set their clocks by NTP (`timedatectl set-ntp true`)."
        )
        return warning("clocks", sentence, **facts)
    ahead, error, _ = max(known, key=lambda one: abs(one[0]) - one[1])
    if abs(ahead) - error > matters / _EARLY:
        sentence = (
            f"The workers' agree, and are {abs(ahead) - error:,.0f} s or more from this machine's, which matters only "
            "to `lookalike search`: a query is good for an hour. Set this machine's clock by NTP (`timedatectl set-ntp "
            "true`)."
        )
        return warning("clocks", sentence, **facts)
    sentence = (
        f"The workers' are {_apart(ahead, error)}, the broker's {brokers} from this machine's. The broker alone "
        f"counts leases, so they don't depend on clocks; workers have to be less than {matters:g} s apart."
    )
    return ok("clocks", sentence, **facts)


def _apart(ahead: float, error: float) -> str:
    """By how much a clock differs, with its uncertainty."""
    return f"{abs(ahead):.2f} s (± {error:.2f})"
