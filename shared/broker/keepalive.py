"""Keep the messages that a live worker holds from going to another worker, however long a task takes."""

import logging
import threading
import time
from typing import Any

import redis
from celery import Celery, bootsteps
from celery.worker import state

from shared.broker.url import redis_url
from shared.processes.outage import Outage

log = logging.getLogger("lookalike.broker")

# A held message is stamped this many times within its visibility timeout: a missed beat or two loses nothing.
BEATS_PER_TIMEOUT = 5


class KeepAlive(bootsteps.StartStopStep):
    """Re-stamp the messages this worker holds, so that a task longer than the visibility timeout is not redelivered.

    kombu hands a message out again once `visibility_timeout` has passed since it was delivered, whether its worker is
    alive or not. The stamp is its score in a sorted set; only messages still in the set are stamped (XX), so that an
    acknowledged one does not come back. A thread of its own does it: no long call in the consumer may delay it.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, parent: Any) -> None:
        channel = parent.task_consumer.channel
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run,
            args=(
                parent.app,
                channel.unacked_index_key,
                channel.visibility_timeout / BEATS_PER_TIMEOUT,
                self._stop,
            ),
            name="keep-alive",
            daemon=True,
        )
        self._thread.start()

    def stop(self, parent: Any) -> None:
        self._stop.set()

    def _run(self, app: Celery, index_key: str, interval: float, stop: threading.Event) -> None:
        options = {
            "decode_responses": True,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
        }
        # The consumer starts this step again at each reconnection, so the connection must go with the thread.
        with redis.Redis.from_url(redis_url(app.conf.broker_read_url or app.conf.broker_url), **options) as client:
            # The broker may be away: the worker reconnects by itself, and the next beat stamps again.
            outage = Outage(log, "The messages held here could not be renewed")
            while not stop.wait(interval):
                try:
                    stamp(client, index_key, held_tags())
                    outage.over()
                except Exception as error:
                    outage.began(error)


def held_tags() -> list[str]:
    """Delivery tags of the messages that this worker has received and not yet acknowledged."""
    return [str(request.message.delivery_tag) for request in list(state.requests.values())]


def stamp(client: redis.Redis, index_key: str, tags: list[str]) -> None:
    """Give the held messages `tags` the time of now as their time of delivery, if they are still unacknowledged."""
    if tags:
        # kombu compares with the local clock of the process that sweeps, so the stamp is a local time too.
        client.zadd(index_key, dict.fromkeys(tags, time.time()), xx=True)
