"""Decide whether an entry of a queue in Redis may be a message for this worker, before kombu and Celery read it.

Both trust that everything in a queue comes from one of their producers. A list entry that is no JSON, or a header of
another type, raises in the middle of the consumer, and either ends the worker or comes back to end the next one.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.messages.changes import MOST_TEXT
from shared.messages.tasks import CHANGE_TASK, is_of_queue, is_query_queue

_SMALL_BODY = 16_384
_TEXT = 2_000
_CHANGE_BODY = MOST_TEXT // 3 * 4 + _SMALL_BODY
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_LONGEST_WAIT = timedelta(days=1)
# How many characters base64 of JSON of base64 makes of a byte; the bytes of a long vector; space for the rest of a
# message.
_PER_BYTE, _VECTOR, ROOM = 16 / 9, 8_192, 1 << 20

# Every header that Celery 5 sends; a header that is not here is left out before Celery sees it.
_TEXTS = ("lang", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "group")
_TIMES = ("eta", "expires")
_COUNTS = ("retries", "group_index", "replaced_task_nesting")
_FLAGS = ("ignore_result", "redelivered")
_NOTHING = ("shadow", "compression", "stamped_headers", "stamps", "timelimit")
HEADERS = {"task", "id", *_TEXTS, *_TIMES, *_COUNTS, *_FLAGS, *_NOTHING}


def longest_body(max_query_bytes: int, max_queries: int) -> int:
    """Characters of body that a search message may have, so that one image of the most bytes or all vectors fit."""
    return int((max_query_bytes + max_queries * _VECTOR) * _PER_BYTE) + ROOM


def refusal(envelope: Any, queue: str, search_body: int) -> str | None:
    """Why `envelope`, out of `queue`, can't be a message for this worker; None when it may be one.

    `search_body` bounds the body of a search message, in characters; those of the other queues are short, but for those
    that change a job.
    """
    if not isinstance(envelope, Mapping):
        return f"it is {quoted(envelope)}, no JSON object"
    headers, properties, body = envelope.get("headers"), envelope.get("properties"), envelope.get("body")
    if not isinstance(headers, Mapping) or not isinstance(properties, Mapping) or not isinstance(body, str):
        return "it has not the headers, properties and body that Celery sends"
    most = search_body if is_query_queue(queue) else _SMALL_BODY
    if headers.get("task") == CHANGE_TASK:
        most = _CHANGE_BODY
    if len(body) > most:
        return f"its body has {len(body):,} characters, and at most {most:,} are read"
    if envelope.get("content-type") != "application/json":
        return f"its content type is {quoted(envelope.get('content-type'))}, and only application/json is read"
    if envelope.get("content-encoding") != "utf-8" or properties.get("body_encoding") != "base64":
        return "its body is not base64 of UTF-8"
    return _strange_property(properties, queue) or _strange_header(headers, queue)


def _strange_property(properties: Mapping[str, Any], queue: str) -> str | None:
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, Mapping) or delivery.get("exchange") != "" or delivery.get("routing_key") != queue:
        return f"its delivery_info is {quoted(delivery)}"
    for name in ("delivery_tag", "correlation_id", "reply_to"):
        value = properties.get(name)
        if not (isinstance(value, str) and _ID.fullmatch(value)) and (name == "delivery_tag" or value is not None):
            return f"its {name} is {quoted(value)}"
    if type(properties.get("priority", 0)) is not int:
        return f"its priority is {quoted(properties['priority'])}"
    return None


def _strange_header(headers: Mapping[str, Any], queue: str) -> str | None:
    task = headers.get("task")
    if not isinstance(task, str) or not is_of_queue(task, queue):
        return f"it asks for the task {quoted(task)}, which is none of this queue"
    if not isinstance(headers.get("id"), str) or not _ID.fullmatch(headers["id"]):
        return f"its id is {quoted(headers.get('id'))}"
    for name in HEADERS.intersection(headers):
        value = headers[name]
        if value is None:
            continue
        fits = True
        if name in _TEXTS:
            fits = isinstance(value, str) and len(value) <= _TEXT
        elif name in _TIMES:
            fits = _is_soon(value) if name == "eta" else _moment(value) is not None
        elif name in _COUNTS:
            fits = type(value) is int and 0 <= value < 1_000_000_000
        elif name in _FLAGS:
            fits = isinstance(value, bool)
        elif name in _NOTHING:
            fits = value in ([], {}, [None, None])
        if not fits:
            return f"its header {name} is {quoted(value)}"
    return None


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_soon(value: Any) -> bool:
    moment = _moment(value)
    return moment is not None and 1 < moment.year < 9999 and moment - datetime.now(UTC) < _LONGEST_WAIT


def quoted(value: Any) -> str:
    """A value for a log line: short, and without control characters, as `repr` escapes them."""
    text = repr(value[:200]) if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:80]} …"
