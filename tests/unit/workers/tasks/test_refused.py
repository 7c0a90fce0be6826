import logging
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery.worker import state

from shared.settings import Settings
from workers.tasks import refused
from workers.tasks.runtime import Runtime

URL = "redis://narrow-7:s3cr3t-pw@host:1/0"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An app whose worker is asked to end by nothing yet, and which no timer ends."""
    monkeypatch.setattr(state, "should_stop", None)
    monkeypatch.setattr("workers.tasks.refused.threading.Timer", lambda *arguments: SimpleNamespace(start=lambda: None))
    return SimpleNamespace(lookalike=Runtime(Settings(broker_url=URL)))


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (redis.exceptions.NoPermissionError("User narrow-7 has no permissions to run the 'brpop' command"), "'brpop'"),
        (redis.exceptions.ReadOnlyError("You can't write against a read only replica."), "its primary"),
        (redis.exceptions.AuthenticationError("WRONGPASS invalid username-password pair"), "correct them in the URL"),
        (redis.exceptions.ResponseError("NOAUTH Authentication required."), "correct them in the URL"),
    ],
)
def test_an_error_that_will_come_again_ends_the_worker_with_a_sentence(
    app: Any, error: Exception, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    refused.end_if_refused(app, error)
    refused.end_if_refused(app, error)
    assert state.should_stop == 1
    assert app.lookalike.stopping.is_set()
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    assert "The broker redis://**@host:1/0 can't be used: " in record.getMessage()
    assert what in record.getMessage()
    assert "narrow-7" not in record.getMessage()


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.ConnectionError("Connection refused"),
        redis.exceptions.TimeoutError("Timeout reading from socket"),
        redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'"),
        None,
    ],
)
def test_an_error_that_may_pass_ends_nothing(app: Any, error: Exception | None) -> None:
    refused.end_if_refused(app, error)
    assert state.should_stop is None
    assert not app.lookalike.stopping.is_set()
