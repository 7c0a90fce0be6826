import logging
import sys
from typing import Any

import pytest
import redis
from celery.worker.consumer import consumer
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import ContentDisallowed, OperationalError

from shared.processes.outage import Outage
from workers.tasks import logs
from workers.tasks.logs import OneLine, bounded, one_line, secrets_of

URL = "redis://watcher:s3cr3t%2Fpw@host:6379/0"


@pytest.fixture(autouse=True)
def outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "broker_outage", Outage(logging.getLogger("lookalike.worker"), "The broker is away"))


def logged(name: str, message: str, *arguments: Any, error: Exception | None = None, level: int = logging.ERROR) -> str:
    """What a handler with our filter writes for a record; empty for one that is dropped."""
    info = None
    if error is not None:
        try:
            raise error
        except Exception:
            info = sys.exc_info()
    record = logging.LogRecord(name, level, "file.py", 1, message, arguments, info)
    return logging.Formatter("%(message)s").format(record) if OneLine(URL).filter(record) else ""


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.ConnectionError("gone"),
        redis.exceptions.TimeoutError("slow"),
        redis.exceptions.OutOfMemoryError("OOM"),
        OperationalError("gone"),
        ConnectionResetError("gone"),
        BrokenPipeError("gone"),
        ContentDisallowed("pickle"),
    ],
)
def test_what_is_expected_to_fail_leaves_no_traceback(error: Exception) -> None:
    assert logged("kombu.message", "Couldn't ack %r, reason:%r", "tag", "x", error=error) == (
        "A message could not be acknowledged (x); it comes back, which does no harm."
    )
    assert logged("kombu.message", "Couldn't see %r", "tag", error=error) == "Couldn't see 'tag'"


def test_what_nobody_expected_keeps_its_traceback() -> None:
    for name in ("celery.app.trace", "lookalike.worker"):
        text = logged(name, "failed", error=ZeroDivisionError("odd"))
        assert "Traceback" in text
        assert "ZeroDivisionError: odd" in text
    assert "Traceback" in logged("lookalike.worker", "failed", error=redis.exceptions.ConnectionError("gone"))


def test_a_lost_broker_is_said_once_however_often_celery_says_it(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        assert logged("celery.worker.consumer.consumer", "%s (%r)", consumer.CONNECTION_RETRY, OSError("cut")) == ""
        assert logged("celery.worker.consumer.consumer", consumer.CONNECTION_ERROR, "redis://h", "refused", "") == ""
    assert len(caplog.messages) == 1
    assert "cut" in caplog.messages[0]
    logs.BrokerSeen(None).start(None)
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    "message", [consumer.UNKNOWN_TASK_ERROR, consumer.INVALID_TASK_ERROR, consumer.MESSAGE_DECODE_ERROR]
)
def test_a_hostile_body_is_not_repeated(message: str) -> None:
    arguments = ["rubbish\n\x1b[31m" * 1_000] * message.replace("%%", "").count("%")
    text = logged("celery.worker.consumer.consumer", message, *arguments, error=KeyError("x"))
    assert text.startswith("Refused a message")
    assert len(text) < 300
    assert text.isprintable()


def test_a_rejected_task_is_said_by_who_rejects_it_alone() -> None:
    for description, shown in (("rejected", False), ("raised unexpected", True)):
        arguments = ({"description": description, "name": "n", "id": "i", "exc": "e"},)
        assert bool(logged("celery.app.trace", "%(name)s %(description)s", *arguments)) is shown


def test_celerys_lines_about_a_task_name_job_and_partition() -> None:
    context = {"name": "lookalike.embed", "id": "1", "args": "clothes partition 4/9"}
    text = logged("celery.worker.strategy", "Task %(name)s[%(id)s] received", context)
    assert text == "clothes partition 4/9: Task lookalike.embed[1] received"


@pytest.mark.parametrize("secret", ["s3cr3t%2Fpw", "s3cr3t/pw", "watcher"])
def test_no_secret_of_the_broker_is_logged_wherever_it_stands(secret: str) -> None:
    text = logged("any.library", "url is %s", f"x{secret}y", error=ZeroDivisionError(secret))
    assert secret not in text
    assert "url is x**y" in text


def test_the_user_and_password_of_any_address_are_left_out() -> None:
    assert logged("kombu", "to redis://me:pw@other:1/0 now") == "to redis://**@other:1/0 now"


@pytest.mark.parametrize("url", [None, "", "redis://host", "redis://[::1", "redis://:pw@host"])
def test_what_has_no_secrets_hides_nothing(url: str | None) -> None:
    assert secrets_of(url) == []


@given(st.text())
def test_a_line_is_one_printable_line(text: str) -> None:
    assert "\n" not in one_line(text)
    assert all(sign.isprintable() or "\udc80" <= sign <= "\udcff" for sign in one_line(text))
    assert len(bounded(text * 100)) <= 202


def test_the_addresses_that_flower_shows_of_a_worker_have_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    from celery.worker.control import Panel

    monkeypatch.setitem(Panel.data, "conf", lambda state, **options: {"broker_url": URL, "max": 5})
    logs.install(URL)
    assert Panel.data["conf"](None) == {"broker_url": "redis://**@host:6379/0", "max": 5}


def test_a_reply_that_can_not_be_sent_is_one_line_and_another_failure_outside_a_task_is_told_whole() -> None:
    warned = "/celery/app/trace.py:809: RuntimeWarning: Exception raised outside body: {}:\nTraceback (m\n"
    for error in ("network:ConnectionError", "OperationalError('gone')", "TimeoutError('slow')"):
        text = logged("py.warnings", "%s", warned.format(error))
        assert "A reply could not be sent" in text
        assert error in text
        assert "Traceback" not in text
    assert "Traceback" in logged("py.warnings", "%s", warned.format("KeyError('odd')"))


def test_a_password_that_is_a_word_of_an_address_hides_no_scheme() -> None:
    record = logging.LogRecord("any.library", logging.INFO, __file__, 1, "redis+socket:///s and redis://h", (), None)
    assert logs.OneLine("redis://:redis@h").filter(record)
    assert record.getMessage() == "redis+socket:///s and redis://h"
