import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.broker_url import celery_url, redacted, redis_url
from shared.errors import SettingsError


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


@pytest.mark.parametrize("path", ["/abc", "/0/x", "/-1"])
def test_a_database_that_is_no_number_is_refused_in_a_sentence(path: str) -> None:
    with pytest.raises(SettingsError, match="not one that lookalike speaks to"):
        celery_url(f"redis://host:6379{path}")
