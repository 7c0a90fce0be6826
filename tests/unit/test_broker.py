import base64
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery.worker import state
from hypothesis import given
from hypothesis import strategies as st

from shared import broker
from shared.broker import celery_url, make_app, queued_messages, queued_tasks, redacted, redis_url, transport_options
from shared.errors import BrokerUnreachable, SettingsError
from shared.messages import TASK_QUEUES
from shared.settings import Settings

TCP = Settings(broker_url="redis://host:6379/0")
SOCKET = Settings(broker_url="unix:///run/broker.sock")


@pytest.mark.parametrize(
    ("url", "celery", "plain"),
    [
        ("redis://host:6379/1", "redis://host:6379/1", "redis://host:6379/1"),
        ("REDIS://host", "redis://host", "redis://host"),
        ("redis://:p%40ss@[::1]:7000/0", "redis://:p%40ss@[::1]:7000/0", "redis://:p%40ss@[::1]:7000/0"),
        ("unix:///run/b.sock", "redis+socket:///run/b.sock", "unix:///run/b.sock"),
        ("redis+socket:///run/b.sock", "redis+socket:///run/b.sock", "unix:///run/b.sock"),
        ("rediss://h:1/0", "rediss://h:1/0?ssl_cert_reqs=required", "rediss://h:1/0?ssl_cert_reqs=required"),
        ("rediss://h?ssl_cert_reqs=CERT_NONE&a=b", "rediss://h?ssl_cert_reqs=none&a=b",
         "rediss://h?ssl_cert_reqs=none&a=b"),
    ],
)  # fmt: skip
def test_a_url_is_spelled_as_celery_and_as_redis_py_take_it(url: str, celery: str, plain: str) -> None:
    assert celery_url(url) == celery
    assert redis_url(url) == plain
    assert celery_url(plain) == celery
    assert redis_url(celery) == plain


@pytest.mark.parametrize("url", ["rediss://:pw@host:6380/2", "rediss://host?ssl_cert_reqs=CERT_REQUIRED"])
def test_a_secure_url_is_taken_by_celery_and_by_redis_py_and_checks_certificates(url: str) -> None:
    app = make_app(Settings(broker_url=url))
    assert app.backend.connparams["ssl_cert_reqs"].name == "CERT_REQUIRED"
    assert app.connection().ssl["ssl_cert_reqs"].name == "CERT_REQUIRED"
    with broker.connect(Settings(broker_url=url)) as client:
        assert client.connection_pool.connection_kwargs["ssl_cert_reqs"] == "required"


@pytest.mark.parametrize("url", [None, ""])
def test_no_broker_is_a_sentence(url: str | None) -> None:
    with pytest.raises(SettingsError, match="No broker is set: pass --broker"):
        celery_url(url)


@pytest.mark.parametrize(
    "url",
    ["amqp://guest:secret@host", "host:6379", "http://host", "redis:host", "redis://host:port", "redis://host:99999",
     "redis://host:0", "redis://[::1", "redis://:secret/x@host:1/0", "secret@host"],
)  # fmt: skip
def test_what_is_no_redis_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(SettingsError, match="is not one that lookalike speaks to") as refused:
        celery_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:pw@host:6379/0", "redis://**@host:6379/0"),
        ("rediss://user:pw@host/0?ssl_ca_certs=x&password=pw", "rediss://**@host/0"),
        ("unix:///run/b.sock?password=pw", "unix:///run/b.sock"),
        ("unix://:pw@/run/b.sock", "unix://**@/run/b.sock"),
        ("redis://:a#pw@host", "redis://**@host"),
        ("redis://:a/pw@host", "redis://**@host"),
        ("redis://:a?pw@host", "redis://**@host"),
        ("redis://:a@pw@host", "redis://**@host"),
        ("redis://:a://pw@host", "redis://**@host"),
        ("redis://host/0?password=a@pw", "redis://**@pw"),
        ("pw@host", "**@host"),
        ("", ""),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    if url != "redis://host/0?password=a@pw":
        assert "pw" not in redacted(url)
    assert redacted(url) == shown


@given(st.text(), st.text(min_size=1).map(lambda text: f"<{text}>"))
def test_no_password_of_any_characters_is_shown(user: str, password: str) -> None:
    assert redacted(f"redis://{user}:{password}@host:1/0") == "redis://**@host:1/0"


def test_tcp_connections_are_kept_alive_and_unix_sockets_have_no_such_option() -> None:
    assert transport_options(TCP)["socket_keepalive"] is True
    assert "socket_keepalive" not in transport_options(SOCKET)
    for settings, keepalive in ((TCP, True), (SOCKET, False)):
        app = make_app(settings)
        assert bool(app.conf.redis_socket_keepalive) is keepalive
        assert ("socket_keepalive" in app.backend.connparams) is keepalive


@pytest.mark.parametrize("timeout", [21, 45, 3_600])
def test_a_dead_workers_message_comes_back_soon_after_the_visibility_timeout(timeout: int) -> None:
    options = transport_options(Settings(broker_url="redis://h", visibility_timeout=timeout))
    assert options["visibility_timeout"] == timeout
    assert 1 <= options["unacked_restore_interval"] <= timeout / 5


def test_every_process_has_the_same_app() -> None:
    app = make_app(TCP)
    assert app.conf.accept_content == app.conf.result_accept_content == ["json"]
    assert (app.conf.task_serializer, app.conf.result_serializer) == ("json", "json")
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.broker_url == app.conf.result_backend == "redis://host:6379/0"
    assert {task: route["queue"] for task, route in app.conf.task_routes.items()} == TASK_QUEUES
    assert broker.KeepAlive in app.steps["consumer"]


class Redis:
    """A Redis with one queue, or one that is away."""

    def __init__(self, entries: list[str] | None = None, error: Exception | None = None) -> None:
        self.entries, self.error, self.stamped = entries or [], error, []
        self.held: list[str] = []

    def __enter__(self) -> "Redis":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ping(self) -> None:
        if self.error is not None:
            raise self.error

    def lrange(self, queue: str, first: int, last: int) -> list[str]:
        assert (queue, first, last) == ("embed", 0, -1)
        return self.entries

    def hvals(self, key: str) -> list[str]:
        assert key == "unacked"
        return self.held

    def zadd(self, key: str, members: dict[str, float], xx: bool) -> None:
        self.stamped.append((key, members, xx))


def entry(body: Any, headers: Any = None) -> str:
    text = base64.b64encode(json.dumps(body).encode()).decode()
    return json.dumps({"body": text, "headers": headers})


def test_what_waits_in_a_queue_is_read_and_what_is_strange_left_out() -> None:
    good = [entry([[{"n": number}], {}, {}], {"id": f"task-{number}"}) for number in range(3)]
    strange = ["", "no json", "[]", "{}", "5", '{"body": 5}', '{"body": "%"}', entry([]), entry([[], {}]), entry(5)]
    client: Any = Redis([strange[0], good[0], *strange, *good[1:]])
    assert queued_messages(client, "embed") == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert queued_tasks(client, "embed") == ["task-0", "task-1", "task-2"]


def test_what_a_worker_holds_for_later_waits_too_and_what_it_works_on_does_not() -> None:
    client: Any = Redis([entry([[{"n": 0}], {}, {}])])
    for number, (eta, queue) in enumerate([("2026-01-01", "embed"), (None, "embed"), ("2026-01-01", "merge")], 1):
        envelope = json.loads(entry([[{"n": number}], {}, {}], {"id": str(number), "eta": eta}))
        client.held.append(json.dumps([envelope, "", queue]))
    client.held += ["no json", "[]", "[1, 2, 3]"]
    assert queued_messages(client, "embed") == [{"n": 0}, {"n": 1}]


@pytest.mark.parametrize("path", ["/abc", "/0/x", "/-1"])
def test_a_database_that_is_no_number_is_refused_in_a_sentence(path: str) -> None:
    with pytest.raises(SettingsError, match="not one that lookalike speaks to"):
        celery_url(f"redis://host:6379{path}")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (redis.exceptions.ConnectionError("refused"), r"No broker answers at redis://\*\*@host:1 \(refused\): start"),
        (redis.exceptions.TimeoutError("slow"), r"No broker answers at redis://\*\*@host:1 \(slow\)"),
        (OSError("no route"), r"No broker answers at redis://\*\*@host:1 \(no route\)"),
        (redis.exceptions.AuthenticationError("wrong"), r"redis://\*\*@host:1 refused the password \(wrong\): correct"),
    ],
    ids=["refused", "slow", "route", "password"],
)
def test_a_broker_that_does_not_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    monkeypatch.setattr(broker, "connect", lambda settings: Redis(error=error))
    with pytest.raises(BrokerUnreachable, match=sentence):
        broker.require_broker(Settings(broker_url="redis://:pw@host:1"))
    monkeypatch.setattr(broker, "connect", lambda settings: Redis())
    broker.require_broker(TCP)


def test_held_messages_are_stamped_with_the_time_of_now_if_they_are_still_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests = {tag: SimpleNamespace(message=SimpleNamespace(delivery_tag=tag)) for tag in ("a", "b")}
    monkeypatch.setattr(state, "requests", requests)
    monkeypatch.setattr(time, "time", lambda: 1_000.5)
    client: Any = Redis()
    broker.stamp(client, "unacked_index", broker.held_tags())
    broker.stamp(client, "unacked_index", [])
    assert client.stamped == [("unacked_index", {"a": 1_000.5, "b": 1_000.5}, True)]
