import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import DecodeError
from kombu.transport.virtual.base import Message

from shared.broker.connection import CONNECTION_ERRORS
from shared.messages.tasks import CHANGE_TASK, EMBED_TASK, TASK_QUEUES
from workers.tasks.transport import GuardedConnection, _Channel, _Message, _QoS, longest_body, refusal

MOST = 1_000


def envelope(**headers: Any) -> dict[str, Any]:
    return {
        "body": "W10=",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": EMBED_TASK, "id": "task-1", "eta": None, "timelimit": [None, None], "retries": 0} | headers,
        "properties": {
            "delivery_tag": "tag-1",
            "delivery_info": {"exchange": "", "routing_key": "embed"},
            "body_encoding": "base64",
            "priority": 0,
        },
    }


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"eta": in_hours(0.1), "expires": in_hours(1), "redelivered": True, "retries": 7, "parent_id": "x"},
        {"argsrepr": "clothes partition 1/9", "stamps": {}, "stamped_headers": [], "group": None},
        {"traceparent": "00-of-a-tracer"},
    ],
)
def test_what_celery_sends_is_let_in(headers: dict[str, Any]) -> None:
    assert refusal(envelope(**headers), "embed", MOST) is None


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"task": "os.system"}, "it asks for the task 'os.system', which is none of this queue"),
        ({"task": "lookalike.search"}, "which is none of this queue"),
        ({"task": ["a"]}, "which is none of this queue"),
        ({"id": "x" * 200}, "its id is"),
        ({"id": 5}, "its id is 5"),
        ({"eta": "tomorrow"}, "its header eta is 'tomorrow'"),
        ({"eta": in_hours(48)}, "its header eta is"),
        ({"eta": "9999-12-31T23:59:59+00:00"}, "its header eta is"),
        ({"eta": 5}, "its header eta is 5"),
        ({"expires": {}}, "its header expires is {}"),
        ({"retries": "1"}, "its header retries is '1'"),
        ({"retries": -1}, "its header retries is -1"),
        ({"retries": True}, "its header retries is True"),
        ({"timelimit": [1, 2]}, "its header timelimit is [1, 2]"),
        ({"compression": "gzip"}, "its header compression is 'gzip'"),
        ({"argsrepr": "x" * 5_000}, "its header argsrepr is"),
        ({"ignore_result": 1}, "its header ignore_result is 1"),
    ],
)
def test_a_header_of_another_kind_is_refused_and_named(headers: dict[str, Any], why: str) -> None:
    found = refusal(envelope(**headers), "embed", MOST)
    assert found is not None
    assert why in found
    assert len(found) < 200


def test_only_a_search_may_be_long() -> None:
    long = envelope() | {"body": "A" * 20_000}
    assert refusal(long, "embed", 10**6) == "its body has 20,000 characters, and at most 16,384 are read"
    search = long | {"headers": {"task": "lookalike.search", "id": "x"}}
    search["properties"] = long["properties"] | {"delivery_info": {"exchange": "", "routing_key": "query"}}
    assert refusal(search, "query", 20_000) is None
    assert refusal(search, "query", 19_999) == "its body has 20,000 characters, and at most 19,999 are read"


def test_a_change_may_bring_images_where_other_messages_of_its_queue_are_short() -> None:
    body = {"body": "A" * 100_000_000}
    assert "its body has 100,000,000 characters" in str(refusal(envelope() | body, "embed", MOST))
    assert refusal(envelope(task=CHANGE_TASK) | body, "embed", MOST) is None
    assert "at most" in str(refusal(envelope(task=CHANGE_TASK) | {"body": "A" * 200_000_000}, "embed", MOST))


def test_an_image_of_the_longest_size_fits_into_a_body() -> None:
    size = 3_000_000
    once = len(json.dumps({"image": "A" * (size * 4 // 3)}))
    assert once * 4 / 3 < longest_body(size, 1) < once * 4 / 3 + 2**21
    vectors = len(json.dumps([{"vector": "A" * (2_048 * 4 * 4 // 3)}] * 1_000))
    assert longest_body(1, 1_000) > vectors * 4 / 3


@pytest.mark.parametrize(
    "change",
    [
        {"content-type": "application/x-python-serialize"},
        {"content-type": None},
        {"content-encoding": "latin-1"},
        {"body": None},
        {"body": b"x"},
        {"headers": None},
        {"properties": []},
        {"properties": {"delivery_tag": "x"}},
    ],
)
def test_an_envelope_of_another_form_is_refused(change: dict[str, Any]) -> None:
    assert refusal(envelope(), "embed", MOST) is None
    assert refusal(envelope() | change, "embed", MOST) is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(st.sampled_from(sorted({"body", "headers", "properties", "content-type"})), json_values)
def test_anything_in_any_place_is_let_in_or_refused_in_a_short_printable_line(place: str, value: Any) -> None:
    for found in (
        refusal(value, "embed", MOST),
        refusal(envelope() | {place: value}, "embed", MOST),
        *(refusal(envelope(**{name: value}), "embed", MOST) for name in ("task", "id", "eta", "retries", "argsrepr")),
    ):
        assert found is None or (len(found) < 200 and found.isprintable())


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
