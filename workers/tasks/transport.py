"""Check each message as it comes out of Redis, before kombu and Celery read it, and drop invalid ones.

Both trust that everything in a queue comes from one of their producers. A list entry that is no JSON, or a header of
another type, raises in the middle of the consumer, and either ends the worker or comes back to end the next one.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from queue import Empty
from typing import Any

from kombu.exceptions import DecodeError
from kombu.transport import redis
from kombu.transport.virtual.base import Message

from shared.broker.connection import QuietConnection
from shared.messages.changes import MOST_TEXT
from shared.messages.tasks import CHANGE_TASK, TASK_QUEUES, is_of_queue, is_query_queue

log = logging.getLogger("lookalike.worker")

_SMALL_BODY = 16_384
_TEXT = 2_000
_CHANGE_BODY = MOST_TEXT // 3 * 4 + _SMALL_BODY
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_LONGEST_WAIT = timedelta(days=1)
# How many characters base64 of JSON of base64 makes of a byte; the bytes of a long vector; space for the rest of a
# message.
_PER_BYTE, _VECTOR, _ROOM = 16 / 9, 8_192, 1 << 20

# Every header that Celery 5 sends; a header that is not here is left out before Celery sees it.
_TEXTS = ("lang", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "group")
_TIMES = ("eta", "expires")
_COUNTS = ("retries", "group_index", "replaced_task_nesting")
_FLAGS = ("ignore_result", "redelivered")
_NOTHING = ("shadow", "compression", "stamped_headers", "stamps", "timelimit")
_HEADERS = {"task", "id", *_TEXTS, *_TIMES, *_COUNTS, *_FLAGS, *_NOTHING}


def longest_body(max_query_bytes: int, max_queries: int) -> int:
    """Characters of body that a search message may have, so that one image of the most bytes or all vectors fit."""
    return int((max_query_bytes + max_queries * _VECTOR) * _PER_BYTE) + _ROOM


def refusal(envelope: Any, queue: str, search_body: int) -> str | None:
    """Why `envelope`, out of `queue`, can't be a message for this worker; None when it may be one.

    `search_body` bounds the body of a search message, in characters; those of the other queues are short, but for those
    that change a job.
    """
    if not isinstance(envelope, Mapping):
        return f"it is {_bounded(envelope)}, no JSON object"
    headers, properties, body = envelope.get("headers"), envelope.get("properties"), envelope.get("body")
    if not isinstance(headers, Mapping) or not isinstance(properties, Mapping) or not isinstance(body, str):
        return "it has not the headers, properties and body that Celery sends"
    most = search_body if is_query_queue(queue) else _SMALL_BODY
    if headers.get("task") == CHANGE_TASK:
        most = _CHANGE_BODY
    if len(body) > most:
        return f"its body has {len(body):,} characters, and at most {most:,} are read"
    if envelope.get("content-type") != "application/json":
        return f"its content type is {_bounded(envelope.get('content-type'))}, and only application/json is read"
    if envelope.get("content-encoding") != "utf-8" or properties.get("body_encoding") != "base64":
        return "its body is not base64 of UTF-8"
    return _strange_property(properties, queue) or _strange_header(headers, queue)


def _strange_property(properties: Mapping[str, Any], queue: str) -> str | None:
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, Mapping) or delivery.get("exchange") != "" or delivery.get("routing_key") != queue:
        return f"its delivery_info is {_bounded(delivery)}"
    for name in ("delivery_tag", "correlation_id", "reply_to"):
        value = properties.get(name)
        if not (isinstance(value, str) and _ID.fullmatch(value)) and (name == "delivery_tag" or value is not None):
            return f"its {name} is {_bounded(value)}"
    if type(properties.get("priority", 0)) is not int:
        return f"its priority is {_bounded(properties['priority'])}"
    return None


def _strange_header(headers: Mapping[str, Any], queue: str) -> str | None:
    task = headers.get("task")
    if not isinstance(task, str) or not is_of_queue(task, queue):
        return f"it asks for the task {_bounded(task)}, which is none of this queue"
    if not isinstance(headers.get("id"), str) or not _ID.fullmatch(headers["id"]):
        return f"its id is {_bounded(headers.get('id'))}"
    for name in _HEADERS.intersection(headers):
        value = headers[name]
        if value is None:
            continue
        fits = True
        if name in _TEXTS:
            fits = isinstance(value, str) and len(value) <= _TEXT
        elif name in _TIMES:
            fits = _is_soon(value) if name == "eta" else _moment(value) is not None
        elif name in _COUNTS:
            fits = type(value) is int and 0 <= value < 1_000_000_000
        elif name in _FLAGS:
            fits = isinstance(value, bool)
        elif name in _NOTHING:
            fits = value in ([], {}, [None, None])
        if not fits:
            return f"its header {name} is {_bounded(value)}"
    return None


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_soon(value: Any) -> bool:
    moment = _moment(value)
    return moment is not None and 1 < moment.year < 9999 and moment - datetime.now(UTC) < _LONGEST_WAIT


def _bounded(value: Any) -> str:
    """A value for a log line: short, and without control characters, as `repr` escapes them."""
    text = repr(value[:200]) if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:80]} …"


class _Message(Message):
    """A message; one for a task holds only one argument: no task here has keywords, callbacks or a chain."""

    def _decode(self) -> Any:
        body = super()._decode()  # type: ignore[no-untyped-call]
        if "task" not in self.headers:  # This is an event, or a question of `celery inspect`.
            return body
        try:
            (argument,), keywords, embedded = body
            plain = keywords == {} and set(embedded.values()) <= {None} and argument is not None
        except (AttributeError, TypeError, ValueError) as error:
            raise DecodeError(f"it is not of the form that Celery sends: {_bounded(str(error))}") from None
        if not plain:
            raise DecodeError("it has keywords, callbacks or a chain, which no task here has")
        return body


class _QoS(redis.QoS):
    """The messages that a worker holds unacknowledged.

    kombu asks a closed connection for its address when one of them is acknowledged, rejected or given back after a
    loss, and no code expects the AttributeError: it would end the worker.
    """

    def ack(self, delivery_tag: str) -> None:
        with self._lost_as_lost():
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        with self._lost_as_lost():
            super().reject(delivery_tag, requeue=requeue)  # type: ignore[no-untyped-call]

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give back the held messages, as a channel does when it closes; over a lost connection that is impossible.

        What is not given back here comes back after its visibility timeout.
        """
        try:
            with self._lost_as_lost():
                super().restore_unacked_once(stderr=stderr)  # type: ignore[no-untyped-call]
        except (*redis.Transport.connection_errors, *redis.Transport.channel_errors) as error:
            log.info("Messages held here could not be given back (%s); they come back by themselves.", error)

    @contextmanager
    def _lost_as_lost(self) -> Iterator[None]:
        """ConnectionError, which Celery and kombu expect, for the AttributeError of a connection that is closed."""
        try:
            yield
        except AttributeError as error:
            connection = self.channel.connection
            if connection is not None and connection.client is not None:
                raise
            raise ConnectionError("the connection that they came over is closed") from error


class _Channel(redis.Channel):
    """A channel whose worker survives what it reads."""

    Message = _Message
    QoS = _QoS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
        self.handlers = {kind: self._surviving(read) for kind, read in self.handlers.items()}

    def _surviving(self, read: Any) -> Any:
        # kombu takes a KeyError for a lost connection and makes a new one; it stays so for the errors that kombu means.
        known = (Empty, *redis.Transport.connection_errors, *redis.Transport.channel_errors)

        def surviving(**options: Any) -> Any:
            try:
                return read(**options)
            except known:
                raise
            except Exception as error:
                log.error("Refused what came from the broker: it is no message (%s).", _bounded(str(error)))
                return None

        return surviving


class _Transport(redis.Transport):
    """kombu's own transport, with `refusal` before every delivery."""

    Channel = _Channel

    def _deliver(self, message: Any, queue: str) -> None:
        ours = queue in TASK_QUEUES.values() or is_query_queue(queue)
        options: dict[str, Any] = self.client.transport_options  # type: ignore[union-attr]
        if ours:
            why = refusal(message, queue, options.get("search_body", _ROOM))
            if why is not None:
                log.error("Refused a message in the queue %s: %s.", queue, why)
                return
            message["headers"] = {name: value for name, value in message["headers"].items() if name in _HEADERS}
        try:
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        except (*self.connection_errors, *self.channel_errors) as error:
            if not isinstance(error, KeyError) or ours:
                raise
            log.error("Refused a control message: it lacks %s.", _bounded(str(error)))
        except Exception as error:
            log.error("Refused a message in the queue %s: Celery can't read it (%s).", queue, _bounded(str(error)))
            if ours:
                self._drop(message["properties"]["delivery_tag"])

    def _drop(self, tag: str) -> None:
        """Remove a message that was already handed out from the unacknowledged ones, or it would come back."""
        for channel in self.channels:
            if tag in channel.qos._delivered:
                channel.basic_reject(tag, requeue=False)


class GuardedConnection(QuietConnection):
    """A worker's connection to the broker that uses the transport with the check."""

    def get_transport_cls(self) -> type[_Transport]:
        return _Transport
