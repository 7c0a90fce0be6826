"""Tell clients through Redis which queue of queries this worker takes, as long as it runs."""

import logging
import threading

import redis

from shared.broker.holders import announce
from shared.messages.tasks import is_query_queue
from shared.processes.outage import Outage
from workers.tasks.runtime import Runtime

log = logging.getLogger("lookalike.worker")

_BEATS = 4


def announce_while_running(runtime: Runtime, queues: list[str]) -> None:
    """Begin to announce those of the `queues` of a worker that carry queries; it ends when the worker stops."""
    ours = [queue for queue in queues if is_query_queue(queue)]
    if ours:
        threading.Thread(target=_announcing, args=(runtime, ours), name="announce", daemon=True).start()


def _announcing(runtime: Runtime, queues: list[str]) -> None:
    outage = Outage(log, "That this worker answers queries could not be announced", "it answers those that come")
    seconds = runtime.settings.lease_seconds
    while True:
        try:
            for queue in queues:
                announce(runtime.client, queue, seconds)
            outage.over()
        except redis.exceptions.RedisError as error:
            outage.began(error)
        if runtime.stopping.wait(seconds / _BEATS):
            return
