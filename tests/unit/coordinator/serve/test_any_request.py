"""Requests that nobody meant: whatever is asked of any operation, the answer is one that openapi.json declares."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.serve.declared.fields import BOOLEAN, FILE, INTEGER, INTEGERS, NUMBER, NUMBERS, OBJECT, TEXT, Field
from coordinator.serve.declared.operation import JSON, Operation
from coordinator.serve.declared.operations import EVERYWHERE, OPERATIONS
from tests.support.http_api import Running, serving
from tests.support.make_job import make_job

_ASKED = [operation for operation in OPERATIONS if operation.name != "job_events"]  # A stream has no end to compare.
_ALSO = {206, 304}

_odd = st.text(max_size=8) | st.sampled_from(
    ["..", "../..", "%2e%2e", "\x00", "-1", "9" * 30, "null", "photos", "3", "é"]
)
_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _odd,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_odd, inside, max_size=2),
    max_leaves=4,
)
_GOOD: dict[str, Any] = {
    INTEGER: st.integers(0, 70), NUMBER: st.floats(-1, 1), BOOLEAN: st.booleans(), TEXT: _odd,
    INTEGERS: st.lists(st.integers(0, 70), max_size=3), NUMBERS: st.lists(st.floats(-1, 1), max_size=4),
    OBJECT: st.dictionaries(_odd, st.integers(), max_size=2), FILE: st.binary(max_size=30),
}  # fmt: skip


def _value(field: Field) -> Any:
    good = st.sampled_from(field.choices) if field.choices else _GOOD[field.kind]
    return good | _junk


@st.composite
def _request(draw: st.DrawFn) -> tuple[Operation, str, dict[str, Any]]:
    """An operation, the path of a request to it, and the rest of that."""
    operation = draw(st.sampled_from(_ASKED))
    path = operation.path
    for name in operation.path_fields:
        usual = "photos" if name == "job" else "3"
        path = path.replace(f"{{{name}}}", draw(st.just(usual) | st.just(usual) | _odd.map(_in_path)))
    query = {field.name: draw(_value(field)) for field in operation.query if draw(st.booleans())}
    sent: dict[str, Any] = {"params": {name: _text(value) for name, value in query.items()}}
    kind = draw(st.sampled_from(["json", "form", "raw", "none"]))
    if kind == "json":
        body = {field.name: draw(_value(field)) for field in operation.json if draw(st.booleans())}
        sent |= {"content": json.dumps(draw(st.just(body) | st.just(body) | _junk)), "headers": {"Content-Type": JSON}}
    elif kind == "form":
        sent["data"] = {
            field.name: _text(draw(_value(field)))
            for field in operation.parts
            if field.kind != FILE and draw(st.booleans())
        }
        sent["files"] = {draw(st.sampled_from(["image", "other"])): (draw(_odd), draw(_GOOD[FILE]))}
    elif kind == "raw":
        types = [JSON, "multipart/form-data; boundary=x", "multipart/form-data", "text/plain", ""]
        sent |= {"content": draw(st.binary(max_size=60)), "headers": {"Content-Type": draw(st.sampled_from(types))}}
    return operation, path, sent


def _in_path(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode()) or "x"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    job = make_job(tmp_path_factory.mktemp("any") / "photos", failed=[5]).job
    with serving(job.path, here=False) as running:
        yield running


@settings(max_examples=150, deadline=None)
@given(asked=_request())
def test_any_request_is_answered_as_declared(running: Running, asked: tuple[Operation, str, dict[str, Any]]) -> None:
    operation, path, sent = asked
    reply = running.http.request(operation.method, path, **sent)
    assert reply.status_code != 500, reply.text
    assert reply.status_code in {operation.reply.status, *operation.refuses, *EVERYWHERE, *_ALSO}
    if reply.status_code >= 400:
        told = reply.json()
        assert reply.headers["content-type"] == "application/problem+json"
        assert (told["status"], bool(told["detail"])) == (reply.status_code, True)
    elif operation.reply.media_type == JSON and operation.reply.properties:
        jsonschema.validate(reply.json(), operation.reply.schema())
