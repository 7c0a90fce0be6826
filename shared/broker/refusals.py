"""Recognise the errors of a broker that waiting will not change, and say what would."""

import re
from collections.abc import Iterator

import redis

_ERRORS = redis.exceptions
# What to do, by the class of redis-py or by the words of the server: a script, and kombu, pass on only the words.
_REASONS: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    (
        (_ERRORS.NoPermissionError,),
        r"\bNOPERM\b|has no permissions|no permissions to (run|access)|can't access at least one of the keys",
        "its user lacks a permission: allow it with ACL SETUSER, as in `+@all ~* &*`",
    ),
    (
        (_ERRORS.ReadOnlyError,),
        r"\bREADONLY\b|read only replica",
        "it is a replica, which takes no writes: give the address of its primary",
    ),
    (
        (_ERRORS.MovedError, _ERRORS.AskError, _ERRORS.ClusterCrossSlotError, _ERRORS.ClusterDownError),
        r"\b(CROSSSLOT|MOVED|CLUSTERDOWN)\b|don't hash to the same slot|Hash slot not served",
        "it is one node of a cluster, over which queues can't be spread: give a server with cluster-enabled no",
    ),
    (
        (_ERRORS.AuthenticationError, _ERRORS.AuthorizationError),
        r"\b(NOAUTH|WRONGPASS)\b|Authentication required|invalid username-password|invalid password",
        "it does not take this user and password, or asks for one: correct them in the URL",
    ),
)


def permanent(error: BaseException | None) -> str | None:
    """Why a broker that gave this error will give it again, and what to do, for the middle of a sentence; None for an
    error that may pass, as that of a server which is away, full or loading."""
    for link in _chain(error):
        for classes, words, reason in _REASONS:
            if isinstance(link, classes) or re.search(words, str(link)):
                return f"{reason} ({' '.join(str(link).split()) or type(link).__name__})"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
