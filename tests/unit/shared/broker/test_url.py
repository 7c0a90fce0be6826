from typing import Any

import pytest
import redis
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from shared.broker.connection import make_app
from shared.broker.url import celery_url, redacted, redis_url, without_secrets
from shared.errors import SettingsError
from shared.settings import Settings


@pytest.mark.parametrize(
    ("url", "celery", "plain"),
    [
        ("redis://host:6379/1", "redis://host:6379/1", "redis://host:6379/1"),
        ("REDIS://host", "redis://host", "redis://host"),
        ("redis://:p%40ss@[::1]:7000/0", "redis://:p%40ss@[::1]:7000/0", "redis://:p%40ss@[::1]:7000/0"),
        ("unix:///run/b.sock", "redis+socket:///run/b.sock", "unix:///run/b.sock"),
        ("redis+socket:///run/b.sock", "redis+socket:///run/b.sock", "unix:///run/b.sock"),
        ("rediss://h:1/0", "rediss://h:1/0?ssl_cert_reqs=required", "rediss://h:1/0?ssl_cert_reqs=required"),
        ("rediss://h?ssl_cert_reqs=CERT_NONE&ssl_ca_certs=b", "rediss://h?ssl_cert_reqs=none&ssl_ca_certs=b",
         "rediss://h?ssl_cert_reqs=none&ssl_ca_certs=b"),
    ],
)  # fmt: skip
def test_a_url_is_spelled_as_celery_and_as_redis_py_take_it(url: str, celery: str, plain: str) -> None:
    assert celery_url(url) == celery
    assert redis_url(url) == plain
    assert celery_url(plain) == celery
    assert redis_url(celery) == plain


@pytest.mark.parametrize("url", [None, ""])
def test_no_broker_is_a_sentence(url: str | None) -> None:
    with pytest.raises(SettingsError, match="No broker is set: pass the option broker=redis://HOST:6379/0, or set"):
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


@pytest.mark.parametrize("path", ["/abc", "/0/x", "/-1"])
def test_a_database_that_is_no_number_is_refused_in_a_sentence(path: str) -> None:
    with pytest.raises(SettingsError, match="not one that lookalike speaks to"):
        celery_url(f"redis://host:6379{path}")


class _UnspokenTo:
    """Stands where kombu has its connection to the server while it makes out what to connect to."""

    def __init__(self, app: Celery) -> None:
        self.client = app.connection_for_write()
        self.default_port = 6379


def _parameters(url: str) -> dict[str, dict[str, Any]]:
    """What queues (kombu), results (Celery) and leases (redis-py) would give to a connection of redis-py."""
    app = make_app(Settings(broker_url=url))
    channel: Any = object.__new__(app.connection_for_write().transport.Channel)
    channel.connection = _UnspokenTo(app)
    return {
        "queues": channel._connparams(),
        "results": app.backend.connparams,
        "leases": redis.ConnectionPool.from_url(redis_url(url)).connection_kwargs,
    }


def _as_read(url: str) -> dict[str, dict[str, Any]]:
    """Where queues, results and leases would connect to, and as whom."""
    return {
        who: {
            "db": int(found.get("db") or 0),
            "at": found.get("path") or found.get("host"),
            "username": found.get("username"),
            "password": found.get("password"),
        }
        for who, found in _parameters(url).items()
    }


@pytest.mark.parametrize(
    ("url", "at", "db"),
    [
        (f"{scheme}:///run/b%20x.sock{query}", "/run/b x.sock", db)
        for scheme in ("unix", "redis+socket")
        for query, db in [("", 0), ("?db=3", 3), ("?virtual_host=3", 3), ("?db=03&virtual_host=3", 3), ("?db=0", 0)]
    ]
    + [
        (f"{scheme}://host{rest}", "host", db)
        for scheme in ("redis", "rediss")
        for rest, db in [("", 0), ("/", 0), ("/3", 3), ("?db=3", 3), ("/?db=3", 3), ("/3?db=3", 3),
                         ("?virtual_host=3", 3), ("/03", 3), ("/3?virtual_host=3&db=3", 3)]
    ],
)  # fmt: skip
def test_queues_results_and_leases_lie_in_one_database_however_it_is_spelled(url: str, at: str, db: int) -> None:
    expected = {"db": db, "at": at, "username": None, "password": None}
    assert _as_read(url) == {"queues": expected, "results": expected, "leases": expected}


@pytest.mark.parametrize(
    "url",
    ["unix://me:p%40ss@/run/b.sock?db=2", "unix:///run/b.sock?username=me&password=p%40ss&virtual_host=2",
     "redis+socket://me@/run/b.sock?password=p%40ss&db=2", "redis://me:p%40ss@host/2",
     "redis://host/2?username=me&password=p%40ss", "rediss://me:p%40ss@host?db=2&password=p%40ss"],
)  # fmt: skip
def test_queues_results_and_leases_use_one_user_and_password_wherever_they_stand(url: str) -> None:
    for read in _as_read(url).values():
        assert (read["db"], read["username"], read["password"]) == (2, "me", "p@ss")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://host/1?db=2", "databases 1 and 2"),
        ("redis://host?db=2&virtual_host=0", "databases 0 and 2"),
        ("redis://host?db=2&db=3", "databases 2 and 3"),
        ("unix:///run/b.sock?db=2&virtual_host=3", "databases 2 and 3"),
        ("redis+socket:///run/b.sock?db=two", "no number"),
        ("unix:///run/b.sock?db=", "no number"),
        ("redis://host?db=-1", "no number"),
        ("redis://:pw1@host?password=pw2", "two things for its password"),
        ("unix://host/run/b.sock", "not one that lookalike speaks to"),
        ("unix://", "not one that lookalike speaks to"),
    ],
)
def test_a_url_that_libraries_read_differently_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as refused:
        celery_url(url)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    ("password", "text", "shown"),
    [
        ("redis", "None at redis://host:1/0: start redis there", "None at redis://host:1/0: start redis there"),
        ("redis", "redis://:redis@host:1/0 is away", "redis://**@host:1/0 is away"),
        ("a", "a worker said that a lease was lost", "a worker said that a lease was lost"),
        ("a", "redis://me:a@host/0: invalid password 'a'", "redis://**@host/0: invalid password '**'"),
        ("broker", "The broker redis://me:broker@h of me:broker@h", "The broker redis://**@h of me:**@h"),
        ("s3cr3t-pw", "it got s3cr3t-pw, and s3cr3t-pwd from another", "it got **, and s3cr3t-pwd from another"),
        ("p%40ss1", "p@ss1 and p%40ss1", "** and **"),
        ("host1", "redis://:host1@host1234:1", "redis://**@host1234:1"),
    ],
)  # fmt: skip
def test_a_secret_is_replaced_where_it_stands_and_no_other_word_is_touched(
    password: str, text: str, shown: str
) -> None:
    assert without_secrets(text, f"redis://:{password}@elsewhere:1/0") == shown


def test_a_user_that_the_server_names_is_not_shown() -> None:
    text = "User watcher has no permissions to run the 'set' command; ask the watcher of redis://watcher:x@h"
    shown = without_secrets(text, "redis://watcher:x@h")
    assert shown == text.replace("User watcher", "User **").replace("watcher:x@", "**@")


@pytest.mark.parametrize(
    "option",
    ["socket_timeout=5", "socket_connect_timeout=5", "health_check_interval=3", "max_connections=4", "protocol=3",
     "retry_on_timeout=true", "decode_responses=true", "client_name=x", "visibility_timeout=9", "socket_keepalive=1",
     "timeout=5", "host=elsewhere", "port=1", "transport=memory", "heartbeat=3", "nonsense=1", "ssl=true"],
)  # fmt: skip
@pytest.mark.parametrize("address", ["redis://h/0?", "rediss://h/0?ssl_cert_reqs=none&", "unix:///run/b.sock?db=1&"])
def test_an_option_that_lookalike_sets_or_does_not_know_is_refused_by_its_name(address: str, option: str) -> None:
    for make in (celery_url, redis_url):
        with pytest.raises(SettingsError) as refused:
            make(address + option)
        assert f"has the option {option.partition('=')[0]}, which it can't have here" in str(refused.value)
        assert "db, virtual_host, username, password" in str(refused.value)


def test_an_option_of_tls_goes_with_tls_alone() -> None:
    for address in ("redis://h/0", "unix:///run/b.sock"):
        with pytest.raises(SettingsError, match=r"the option ssl_ca_certs.* ssl_\.\.\., go with rediss://"):
            celery_url(f"{address}?ssl_ca_certs=/ca.pem")


def test_an_option_that_may_be_the_end_of_a_password_is_not_shown() -> None:
    with pytest.raises(SettingsError, match=r"redis://\*\*@host:1/0 has an option, which") as refused:
        celery_url("redis://h:1?secret=x@host:1/0")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("ssl_cert_reqs=maybe", "a value of ssl_cert_reqs that is none: give required or optional or none"),
        ("ssl_cert_reqs=", "a value of ssl_cert_reqs"),
        ("ssl_check_hostname=0", "a value of ssl_check_hostname that is none: give true or false"),
        ("ssl_ca_certs=", "a value of ssl_ca_certs that is none: give the path of a file"),
        ("ssl_ca_certs=a&ssl_ca_certs=b", "the option ssl_ca_certs twice"),
    ],
)
def test_a_value_that_libraries_would_read_differently_is_refused(options: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        celery_url(f"rediss://h/0?{options}")


@pytest.mark.parametrize(
    ("check", "reqs", "expected"),
    [("True", "required", True), ("false", "CERT_NONE", False), ("FALSE", "optional", False)],
)
def test_options_of_tls_are_read_alike_by_queues_results_and_leases(check: str, reqs: str, expected: bool) -> None:
    url = f"rediss://h/0?ssl_ca_certs=/a/ca.pem&ssl_certfile=/c&ssl_keyfile=/k&ssl_check_hostname={check}"
    for found in _parameters(f"{url}&ssl_cert_reqs={reqs}").values():
        files = [found[name] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")]
        assert files == ["/a/ca.pem", "/c", "/k"]
        assert found["ssl_check_hostname"] is expected
        given = found["ssl_cert_reqs"]
        assert getattr(given, "name", str(given)).lower().removeprefix("cert_") == reqs.lower().removeprefix("cert_")
