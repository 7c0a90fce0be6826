import pytest
import redis

from shared.broker import connection
from shared.broker.connection import make_app, transport_options
from shared.broker.keepalive import KeepAlive
from shared.errors import BrokerUnreachable
from shared.messages.tasks import TASK_QUEUES
from shared.settings import Settings

TCP = Settings(broker_url="redis://host:6379/0")
SOCKET = Settings(broker_url="unix:///run/broker.sock")


@pytest.mark.parametrize("url", ["rediss://:pw@host:6380/2", "rediss://host?ssl_cert_reqs=CERT_REQUIRED"])
def test_a_secure_url_is_taken_by_celery_and_by_redis_py_and_checks_certificates(url: str) -> None:
    app = make_app(Settings(broker_url=url))
    assert app.backend.connparams["ssl_cert_reqs"].name == "CERT_REQUIRED"
    assert app.connection().ssl["ssl_cert_reqs"].name == "CERT_REQUIRED"
    with connection.connect(Settings(broker_url=url)) as client:
        assert client.connection_pool.connection_kwargs["ssl_cert_reqs"] == "required"


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
    assert KeepAlive in app.steps["consumer"]


class Redis:
    """A Redis that answers, or one that is away."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __enter__(self) -> "Redis":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ping(self) -> None:
        if self.error is not None:
            raise self.error


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
    monkeypatch.setattr(connection, "connect", lambda settings: Redis(error=error))
    with pytest.raises(BrokerUnreachable, match=sentence):
        connection.require_broker(Settings(broker_url="redis://:pw@host:1"))
    monkeypatch.setattr(connection, "connect", lambda settings: Redis())
    connection.require_broker(TCP)
