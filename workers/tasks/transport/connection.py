"""Connect a worker to Redis as kombu does, but survive what is read, a lost connection and the worker's end."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty
from typing import Any

from celery.worker import state
from kombu.exceptions import DecodeError
from kombu.transport import redis
from kombu.transport.virtual.base import Message

from shared.broker.connection import QuietConnection
from shared.messages.tasks import TASK_QUEUES, is_query_queue
from workers.tasks.transport.refusal import HEADERS, ROOM, quoted, refusal

log = logging.getLogger("lookalike.worker")


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
            raise DecodeError(f"it is not of the form that Celery sends: {quoted(str(error))}") from None
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
                log.error("Refused what came from the broker: it is no message (%s).", quoted(str(error)))
                return None

        return surviving

    def close(self) -> None:
        if state.should_stop is not None or state.should_terminate is not None:
            self._answer_now()
        super().close()  # type: ignore[no-untyped-call]

    def _answer_now(self) -> None:
        """Let Redis answer the question for messages that it holds for up to a second until one comes.

        kombu waits for the answer when a channel closes, as it may be a message, and a worker that ends with it.
        """
        metadata = getattr(self._in_poll, "handshake_metadata", None) or {}
        number = metadata.get(b"id", metadata.get("id"))
        if number is None:  # No question is open, or an old server did not say which connection this is.
            return
        lost = (*redis.Transport.connection_errors, *redis.Transport.channel_errors)
        with suppress(*lost), self.conn_or_acquire() as client:
            client.client_unblock(number)


class _Transport(redis.Transport):
    """kombu's own transport, with `refusal` before every delivery."""

    Channel = _Channel

    def _deliver(self, message: Any, queue: str) -> None:
        ours = queue in TASK_QUEUES.values() or is_query_queue(queue)
        options: dict[str, Any] = self.client.transport_options  # type: ignore[union-attr]
        if ours:
            why = refusal(message, queue, options.get("search_body", ROOM))
            if why is not None:
                log.error("Refused a message in the queue %s: %s.", queue, why)
                return
            message["headers"] = {name: value for name, value in message["headers"].items() if name in HEADERS}
        try:
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        except (*self.connection_errors, *self.channel_errors) as error:
            if not isinstance(error, KeyError) or ours:
                raise
            log.error("Refused a control message: it lacks %s.", quoted(str(error)))
        except Exception as error:
            log.error("Refused a message in the queue %s: Celery can't read it (%s).", queue, quoted(str(error)))
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
