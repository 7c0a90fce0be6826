import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state
from kombu.exceptions import DecodeError
from kombu.transport.virtual.base import Message

from shared.broker.connection import CONNECTION_ERRORS
from shared.messages.tasks import TASK_QUEUES
from tests.support.envelopes import envelope
from workers.tasks.transport.connection import GuardedConnection, _Channel, _Message, _QoS


class Channel:
    no_ack_consumers = None

    def decode_body(self, body: str, encoding: str | None) -> str:
        return body


def message(body: Any, **headers: Any) -> Any:
    payload = envelope(**headers) | {"body": json.dumps(body)}
    return _Message(  # type: ignore[no-untyped-call]
        payload, channel=Channel(), accept={"application/json"}
    )


def test_a_body_of_one_argument_is_read() -> None:
    body = [[{"job": "clothes"}], {}, {"callbacks": None, "chain": None}]
    assert message(body).decode() == body


@pytest.mark.parametrize(
    "body",
    [
        5, "text", [], {}, [[], {}, {}], [[{}, {}], {}, {}], [[{}], {"a": 1}, {}], [[{}], [], {}], [[{}], {}, []],
        [[{}], {}, {"callbacks": [{"task": "lookalike.search"}]}], [[{}], {}, {"chain": []}], [[None], {}, {}],
        [5, {}, {}], [[{}], {}, 5],
    ],
)  # fmt: skip
def test_a_body_of_another_form_is_refused(body: Any) -> None:
    with pytest.raises(DecodeError):
        message(body).decode()


def test_an_event_is_no_task_and_read_as_it_is() -> None:
    event = message({"type": "worker-heartbeat"})
    del event.headers["task"]
    assert event.decode() == {"type": "worker-heartbeat"}


def test_a_workers_connection_has_the_door_and_shows_no_secret() -> None:
    for url in ("redis://user:secret@host:1/0", "redis+socket:///run/b.sock"):
        connection = GuardedConnection(url)  # type: ignore[no-untyped-call]
        assert connection.get_transport_cls().Channel.Message is _Message
        assert "secret" not in connection.as_uri()
        assert "user" not in connection.as_uri()
    assert set(TASK_QUEUES.values()) == {"embed", "merge", "query"}


@pytest.mark.parametrize("error", [AttributeError("'NoneType' object has no attribute 'hostname'"), ConnectionError()])
def test_a_channel_whose_connection_is_lost_closes_without_ending_its_worker(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """kombu asks the closed connection for its address in order to give messages back."""

    def restore(qos: Any) -> None:
        raise error

    monkeypatch.setattr(_QoS, "restore_unacked", restore)
    channel = SimpleNamespace(do_restore=True, connection=None)
    qos = _QoS(channel)  # type: ignore[no-untyped-call]
    qos._delivered["tag"] = "a message"
    qos.restore_unacked_once()
    assert getattr(qos._delivered, "restored", False)
    assert _Channel.QoS is _QoS


@pytest.mark.parametrize("lost", [None, SimpleNamespace(client=None)])
@pytest.mark.parametrize("reply", ["ack", "reject", "requeue"])
def test_a_task_that_ends_after_its_connection_was_lost_does_not_end_its_worker(lost: Any, reply: str) -> None:
    """Celery answers a message when its task ends, in the worker's loop, and survives connection errors alone."""
    channel = _Channel.__new__(_Channel)
    channel.__dict__.update(connection=lost, _pool=None, _qos=None, _tag=iter("t"), keyprefix_fanout="")
    payload = {"headers": {}, "properties": {"delivery_tag": "tag", "delivery_info": {}}}
    message = Message(payload, channel=channel)  # type: ignore[no-untyped-call]
    said: list[str] = []
    logger = SimpleNamespace(critical=lambda text, *about, **_: said.append(text % about))
    if reply == "ack":
        message.ack_log_error(logger, CONNECTION_ERRORS)  # type: ignore[no-untyped-call]
    else:
        message.reject_log_error(logger, CONNECTION_ERRORS, requeue=reply == "requeue")  # type: ignore[no-untyped-call]
    assert ["the connection that they came over is closed" in line for line in said] == [True]


def test_an_attribute_error_over_an_open_connection_stays_one() -> None:
    channel = SimpleNamespace(connection=SimpleNamespace(client="redis://"), do_restore=False)
    with pytest.raises(AttributeError):
        _QoS(channel).ack("tag")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("ending", "poll", "unblocked"),
    [
        (True, SimpleNamespace(handshake_metadata={b"id": 7}), [7]),
        (True, SimpleNamespace(handshake_metadata={"id": 7}), [7]),
        (True, SimpleNamespace(handshake_metadata=None), []),
        (True, None, []),
        (False, SimpleNamespace(handshake_metadata={b"id": 7}), []),
    ],
)
@pytest.mark.parametrize("error", [None, ConnectionError("gone")])
def test_a_worker_that_ends_has_its_open_question_for_messages_answered(
    monkeypatch: pytest.MonkeyPatch, ending: bool, poll: Any, unblocked: list[int], error: Exception | None
) -> None:
    """It would wait for a second; one that lost its connection asks for nothing more."""
    asked: list[int] = []

    def unblock(number: int) -> None:
        asked.append(number)
        if error:
            raise error

    @contextmanager
    def conn_or_acquire(channel: Any) -> Iterator[Any]:
        yield SimpleNamespace(client_unblock=unblock)

    monkeypatch.setattr(_Channel, "conn_or_acquire", conn_or_acquire)
    monkeypatch.setattr(_Channel.__mro__[1], "close", lambda channel: asked.append(-1))
    monkeypatch.setattr(state, "should_stop", 0 if ending else None)
    channel = _Channel.__new__(_Channel)
    channel._in_poll = poll
    channel.close()
    assert asked == [*unblocked, -1]
