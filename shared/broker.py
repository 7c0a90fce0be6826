"""The broker: one way to make the Celery app, its transport options, the keep-alive of held messages, Redis itself."""

import json
import logging
import re
import threading
import time
from base64 import b64decode
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from celery import Celery, bootsteps
from celery.worker import state
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel

from shared.errors import BrokerUnreachable, SettingsError
from shared.messages import (
    EMBED_TASK,
    MERGE_TASK,
    TASK_QUEUES,
    EmbedPartition,
    MergeJob,
)
from shared.settings import Settings

log = logging.getLogger("lookalike.broker")

SOCKET_SCHEME = "redis+socket"
_SCHEMES = {"redis", "rediss", SOCKET_SCHEME, "unix"}
# A held message is stamped this many times within its visibility timeout: a missed beat or two loses nothing.
_BEATS_PER_TIMEOUT = 5
RESULT_EXPIRES_SECONDS = 3600

CONNECTION_ERRORS: tuple[type[Exception], ...] = (
    redis.exceptions.RedisError,
    OperationalError,
    ConnectionError,
)


def make_app(settings: Settings, include: Iterable[str] = ()) -> Celery:
    """The Celery app of every process of lookalike: coordinator, client and workers, all with the same options.

    The visibility timeout and its sweep live in shared Redis keys, so whoever consumes must use the same ones. Raises
    SettingsError when no broker is set or its URL can't be one.
    """
    url = celery_url(settings.broker_url)
    app = Celery(
        "lookalike",
        broker=url,
        backend=url,
        include=list(include),
        set_as_current=False,
    )
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_routes={task: {"queue": queue} for task, queue in TASK_QUEUES.items()},
        task_create_missing_queues=True,
        # A task is acknowledged when it has ended, and given back when its process dies.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_track_started=True,
        worker_send_task_events=False,
        task_send_sent_event=True,
        worker_hijack_root_logger=True,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        result_expires=RESULT_EXPIRES_SECONDS,
        redis_socket_keepalive=not url.startswith(SOCKET_SCHEME),
        redis_backend_health_check_interval=10,
        redis_retry_on_timeout=True,
        broker_transport_options=transport_options(settings),
    )
    app.steps["consumer"].add(KeepAlive)
    return app


def transport_options(settings: Settings) -> dict[str, Any]:
    """How kombu keeps messages in Redis. A dead worker's message is back after `visibility_timeout` and one sweep."""
    options: dict[str, Any] = {
        "visibility_timeout": settings.visibility_timeout,
        "unacked_restore_interval": max(1, settings.visibility_timeout // 9),
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 30,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "health_check_interval": 10,
    }
    if not celery_url(settings.broker_url).startswith(SOCKET_SCHEME):
        options["socket_keepalive"] = True  # TCP only; redis-py refuses it for a unix socket.
    return options


def celery_url(url: str | None) -> str:
    """`url` as Celery spells it; raises SettingsError for none or for one that is not Redis.

    A `rediss://` URL that does not say how certificates are checked has them checked.
    """
    if not url:
        raise SettingsError(
            "No broker is set: pass --broker redis://HOST:6379/0, or set CELERY_BROKER_URL or REDIS_URL."
        )
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _SCHEMES and "://" in url and parts.port != 0
        if parts.scheme in ("redis", "rediss"):
            usable = usable and re.fullmatch(r"(/\d*)?", parts.path) is not None  # The number of a database.
    except ValueError:  # A port that is no number, or half an IPv6 address.
        usable = False
    if not usable:
        raise SettingsError(
            f"The broker {redacted(url)} is not one that lookalike speaks to: use redis://HOST:PORT/0, rediss:// or "
            f"{SOCKET_SCHEME}:///PATH; a '/', '?', '#' or '@' in a password is written %2F, %3F, %23 or %40."
        )
    if parts.scheme == "rediss":
        return _with_certificates_checked(parts)
    return (SOCKET_SCHEME if parts.scheme == "unix" else parts.scheme) + url[len(parts.scheme) :]


def _with_certificates_checked(parts: SplitResult) -> str:
    query = dict(parse_qsl(parts.query))
    # Celery knows "CERT_REQUIRED" and "required", redis-py the latter only, and Celery takes no URL that says neither.
    query["ssl_cert_reqs"] = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    return urlunsplit(parts._replace(query=urlencode(query)))


def redis_url(url: str | None) -> str:
    """`url` as redis-py spells it."""
    found = celery_url(url)
    return "unix" + found.removeprefix(SOCKET_SCHEME) if found.startswith(SOCKET_SCHEME) else found


def redacted(url: str) -> str:
    """`url` without user, password and options, for logs and messages; a malformed one keeps its secrets too."""
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    # A password that was not escaped may hold any character, so only the last @ is sure to end it.
    _, at, place = rest.rpartition("@")
    return f"{scheme}{mark}{'**@' if at else ''}{re.split('[?#]', place)[0]}"


def connect(settings: Settings) -> redis.Redis:
    """A connection of its own to the broker's Redis, for leases and for looking into queues; text in, text out."""
    return redis.Redis.from_url(
        redis_url(settings.broker_url),
        decode_responses=True,
        socket_timeout=10,
        socket_connect_timeout=5,
        health_check_interval=10,
    )


def require_broker(settings: Settings) -> None:
    """Raise BrokerUnreachable when nothing answers at the broker's address."""
    try:
        with connect(settings) as client:
            client.ping()
    except redis.exceptions.AuthenticationError as error:
        raise BrokerUnreachable(
            f"The broker {redacted(settings.broker_url or '')} refused the password ({error}): correct it in the URL."
        ) from None
    except (redis.exceptions.RedisError, OSError, TypeError, ValueError) as error:  # An option that redis-py refuses.
        raise BrokerUnreachable(
            f"No broker answers at {redacted(settings.broker_url or '')} ({error}): start Redis there, correct the "
            "address, or leave --broker and CELERY_BROKER_URL out to use an embedded one."
        ) from None


def queued_messages(client: redis.Redis, queue: str) -> list[dict[str, Any]]:
    """The first argument of each message that waits for `queue`; those of another form are left out.

    A queue is a Redis list under its own name, each message a JSON envelope with a base64 body, as Celery documents it.
    A message that is to be done later waits in the hands of a worker, and so in kombu's hash of unacknowledged ones.
    """
    found = []
    for envelope in [*_waiting(client, queue), *_delayed(client, queue)]:
        try:
            arguments, *_ = json.loads(b64decode(envelope["body"]))
            found.append(arguments[0])
        except (ValueError, KeyError, TypeError, IndexError):
            continue
    return found


def _waiting(client: redis.Redis, queue: str) -> list[Any]:
    found = []
    for raw in client.lrange(queue, 0, -1):
        with suppress(ValueError):
            found.append(json.loads(raw))
    return found


def _delayed(client: redis.Redis, queue: str) -> list[Any]:
    found = []
    for raw in client.hvals(Channel.unacked_key):
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            envelope, _, routing_key = json.loads(raw)
            if routing_key == queue and envelope["headers"].get("eta"):
                found.append(envelope)
    return found


def queued_tasks(client: redis.Redis, queue: str) -> list[str]:
    """The ids of the tasks whose messages wait in `queue`; those of another form are left out."""
    found = []
    for envelope in _waiting(client, queue):
        with suppress(KeyError, TypeError):
            found.append(str(envelope["headers"]["id"]))
    return found


def send_embed(app: Celery, job_id: str, partition: int, count: int) -> None:
    """Ask for one partition. Raises one of CONNECTION_ERRORS when the broker is away."""
    app.send_task(
        EMBED_TASK,
        args=[EmbedPartition(job_id, partition).to_json()],
        argsrepr=f"{job_id} partition {partition + 1}/{count}",
        ignore_result=True,
        retry=False,
    )


def send_merge(app: Celery, job_id: str) -> None:
    """Ask for the index of a job. Raises one of CONNECTION_ERRORS when the broker is away."""
    app.send_task(
        MERGE_TASK,
        args=[MergeJob(job_id).to_json()],
        argsrepr=f"{job_id} merge",
        ignore_result=True,
        retry=False,
    )


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
                channel.visibility_timeout / _BEATS_PER_TIMEOUT,
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
        # The consumer starts this step anew at each reconnection, so the connection must go with the thread.
        with redis.Redis.from_url(redis_url(app.conf.broker_read_url or app.conf.broker_url), **options) as client:
            while not stop.wait(interval):
                try:
                    stamp(client, index_key, held_tags())
                except Exception as error:
                    # The broker is away: the worker reconnects by itself, and the next beat stamps again.
                    log.warning(
                        "Could not renew the messages held here (%s); trying again in %.0f s.",
                        error,
                        interval,
                    )


def held_tags() -> list[str]:
    """Delivery tags of the messages that this worker has received and not yet acknowledged."""
    return [str(request.message.delivery_tag) for request in list(state.requests.values())]


def stamp(client: redis.Redis, index_key: str, tags: list[str]) -> None:
    """Give the held messages `tags` the time of now as their time of delivery, if they are still unacknowledged."""
    if tags:
        # kombu compares with the local clock of whoever sweeps, so the stamp is a local time too.
        client.zadd(index_key, dict.fromkeys(tags, time.time()), xx=True)
