"""What a broker says that no waiting will change, told from what passes."""

import pytest
import redis
from kombu.exceptions import OperationalError

from shared.broker.refusals import permanent

ERRORS = redis.exceptions


def wrapped(text: str) -> Exception:
    """As kombu hands on what redis-py raised: with its words alone, or as its cause."""
    error = OperationalError("it failed")
    error.__cause__ = ERRORS.ResponseError(text)
    return error


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (ERRORS.NoPermissionError("this user has no permissions to run the 'set' command"), "ACL SETUSER"),
        (ERRORS.ResponseError("NOPERM No permissions to access a key script: 1"), "ACL SETUSER"),
        (OperationalError("User me has no permissions to run the 'brpop' command"), "ACL SETUSER"),
        (ERRORS.ReadOnlyError("You can't write against a read only replica."), "address of its primary"),
        (wrapped("-READONLY You can't write against a read only replica."), "address of its primary"),
        (ERRORS.MovedError("3999 127.0.0.1:6381"), "cluster-enabled no"),
        (ERRORS.ClusterCrossSlotError("Keys in request don't hash to the same slot"), "cluster-enabled no"),
        (wrapped("CROSSSLOT Keys in request don't hash to the same slot"), "cluster-enabled no"),
        (ERRORS.ClusterDownError("Hash slot not served"), "cluster-enabled no"),
        (ERRORS.AuthenticationError("Authentication required."), "correct them in the URL"),
        (ERRORS.ResponseError("WRONGPASS invalid username-password pair"), "correct them in the URL"),
        (OperationalError("NOAUTH Authentication required."), "correct them in the URL"),
    ],
)
def test_what_no_waiting_changes_says_what_would(error: Exception, what: str) -> None:
    reason = permanent(error)
    assert reason is not None
    assert what in reason


@pytest.mark.parametrize(
    "error",
    [
        ERRORS.ConnectionError("Connection refused"),
        ERRORS.TimeoutError("Timeout reading from socket"),
        ERRORS.BusyLoadingError("Redis is loading the dataset in memory"),
        ERRORS.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ERRORS.ResponseError("MASTERDOWN Link with MASTER is down"),
        OperationalError("Connection closed by server."),
        OSError("No route to host"),
        None,
    ],
)
def test_what_may_pass_is_waited_for(error: Exception | None) -> None:
    assert permanent(error) is None
