"""Create the Celery app with its transport options, and connect to Redis itself."""

import uuid
from collections.abc import Iterable
from typing import Any

import redis
from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from shared.broker.keepalive import KeepAlive
from shared.broker.refusals import permanent
from shared.broker.url import SOCKET_SCHEME, celery_url, redacted, redis_url, without_secrets
from shared.errors import BrokerRefuses, BrokerUnreachable
from shared.errors.remedy import Remedy
from shared.messages.tasks import QUEUES, TASK_QUEUES
from shared.settings import Settings

RESULT_EXPIRES_SECONDS = 3600

CONNECTION_ERRORS: tuple[type[Exception], ...] = (
    redis.exceptions.RedisError,
    OperationalError,
    ConnectionError,
)


def make_app(settings: Settings, include: Iterable[str] = ()) -> Celery:
    """The Celery app of every process of lookalike: coordinator, client and workers, all with the same options.

    The visibility timeout and its sweep live in shared Redis keys, so every process that consumes must use the same
    ones. Raises SettingsError when no broker is set or its URL can't be one.
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
        # A full server refuses commands on a good connection; without this a worker would end because of that.
        broker_channel_error_retry=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        result_expires=RESULT_EXPIRES_SECONDS,
        redis_socket_keepalive=not url.startswith(SOCKET_SCHEME),
        redis_backend_health_check_interval=10,
        redis_retry_on_timeout=True,
        broker_transport_options=transport_options(settings),
    )
    app.steps["consumer"].add(KeepAlive)
    app.amqp.Connection = QuietConnection
    # The worker's banner shows where results go, and with it the user's name.
    app.backend.as_uri = lambda include_password=False: url if include_password else redacted(url)
    return app


class QuietConnection(Connection):
    """A connection that prints without its secrets: kombu's own keeps the user, and Celery and Flower show it."""

    def as_uri(self, include_password: bool = False, *arguments: Any, **options: Any) -> str:
        uri = str(super().as_uri(include_password, *arguments, **options))
        return uri if include_password else redacted(uri)


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


def connect(settings: Settings, wait: float = 10) -> redis.Redis:
    """A connection of its own to the broker's Redis, for leases and for looking into queues; text in, text out.

    It waits `wait` seconds for each answer.
    """
    return redis.Redis.from_url(
        redis_url(settings.broker_url),
        decode_responses=True,
        socket_timeout=wait,
        socket_connect_timeout=min(5, wait),
        health_check_interval=10,
    )


def in_words(error: Exception) -> str:
    """What a broker's error says, for the middle of a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"it is full, raise its maxmemory: {text}" if "maxmemory" in text else text


def require_broker(settings: Settings) -> None:
    """Raise BrokerUnreachable when nothing answers at the broker's address, BrokerRefuses when it never will."""
    try:
        with connect(settings) as client:
            client.ping()
    except redis.exceptions.AuthenticationError as error:
        raise BrokerUnreachable(
            f"The broker {redacted(settings.broker_url or '')} refused the password ({error}): correct it in the URL."
        ) from None
    except (redis.exceptions.RedisError, OSError, TypeError, ValueError) as error:  # An option that redis-py refuses.
        if (reason := permanent(error)) is not None:
            raise refused(settings, reason) from None
        raise BrokerUnreachable(
            f"No broker answers at {redacted(settings.broker_url or '')} ({error})",
            remedy=Remedy(
                "option",
                does="start Redis there, correct the address, or leave {} and what names it in the environment out to "
                "use an embedded one",
                given={"broker": ""},
            ),
        ) from None


def refused(settings: Settings, reason: str) -> BrokerRefuses:
    """The error for a process that can't do without the broker of `settings`, without its secrets."""
    sentence = f"The broker {redacted(settings.broker_url or '')} can't be used: {reason}."
    return BrokerRefuses(without_secrets(sentence, settings.broker_url))


def require_working_broker(settings: Settings) -> None:
    """Raise BrokerRefuses when the broker does not do what queues and leases need, BrokerUnreachable when nothing
    answers. The commands that it tries change nothing there.
    """
    require_broker(settings)
    name = f"lookalike:probe:{uuid.uuid4().hex}"
    try:
        with connect(settings) as client:
            client.set(name, "1", nx=True, px=1_000)
            client.eval("return redis.call('del', KEYS[1])", 1, name)
            client.lpush(name, "1")
            client.brpop([name], timeout=1)
            # Try several keys at once, which a cluster may hold on several nodes, and the names that kombu uses.
            client.delete(name, *(f"{name}-{queue}" for queue in QUEUES.values()))
            for queue in QUEUES.values():
                client.lrem(queue, 0, name)
                client.smembers(f"_kombu.binding.{queue}")
            client.hdel("unacked", name)
            client.zrem("unacked_index", name)
            client.publish(name, "1")
    except redis.exceptions.RedisError as error:
        if (reason := permanent(error)) is not None:
            raise refused(settings, reason) from None
        raise BrokerUnreachable(
            without_secrets(
                f"The broker {redacted(settings.broker_url or '')} does not do what it is asked ({in_words(error)})",
                settings.broker_url,
            ),
            remedy=Remedy("option", does="mend it, or name another one with {}", given={"broker": ""}),
        ) from None
