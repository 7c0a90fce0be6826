import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages.tasks import CHANGE_TASK
from tests.support.envelopes import envelope
from workers.tasks.transport.refusal import longest_body, refusal

MOST = 1_000


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"eta": in_hours(0.1), "expires": in_hours(1), "redelivered": True, "retries": 7, "parent_id": "x"},
        {"argsrepr": "clothes partition 1/9", "stamps": {}, "stamped_headers": [], "group": None},
        {"traceparent": "00-of-a-tracer"},
    ],
)
def test_what_celery_sends_is_let_in(headers: dict[str, Any]) -> None:
    assert refusal(envelope(**headers), "embed", MOST) is None


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"task": "os.system"}, "it asks for the task 'os.system', which is none of this queue"),
        ({"task": "lookalike.search"}, "which is none of this queue"),
        ({"task": ["a"]}, "which is none of this queue"),
        ({"id": "x" * 200}, "its id is"),
        ({"id": 5}, "its id is 5"),
        ({"eta": "tomorrow"}, "its header eta is 'tomorrow'"),
        ({"eta": in_hours(48)}, "its header eta is"),
        ({"eta": "9999-12-31T23:59:59+00:00"}, "its header eta is"),
        ({"eta": 5}, "its header eta is 5"),
        ({"expires": {}}, "its header expires is {}"),
        ({"retries": "1"}, "its header retries is '1'"),
        ({"retries": -1}, "its header retries is -1"),
        ({"retries": True}, "its header retries is True"),
        ({"timelimit": [1, 2]}, "its header timelimit is [1, 2]"),
        ({"compression": "gzip"}, "its header compression is 'gzip'"),
        ({"argsrepr": "x" * 5_000}, "its header argsrepr is"),
        ({"ignore_result": 1}, "its header ignore_result is 1"),
    ],
)
def test_a_header_of_another_kind_is_refused_and_named(headers: dict[str, Any], why: str) -> None:
    found = refusal(envelope(**headers), "embed", MOST)
    assert found is not None
    assert why in found
    assert len(found) < 200


def test_only_a_search_may_be_long() -> None:
    long = envelope() | {"body": "A" * 20_000}
    assert refusal(long, "embed", 10**6) == "its body has 20,000 characters, and at most 16,384 are read"
    search = long | {"headers": {"task": "lookalike.search", "id": "x"}}
    search["properties"] = long["properties"] | {"delivery_info": {"exchange": "", "routing_key": "query"}}
    assert refusal(search, "query", 20_000) is None
    assert refusal(search, "query", 19_999) == "its body has 20,000 characters, and at most 19,999 are read"


def test_a_change_may_bring_images_where_other_messages_of_its_queue_are_short() -> None:
    body = {"body": "A" * 100_000_000}
    assert "its body has 100,000,000 characters" in str(refusal(envelope() | body, "embed", MOST))
    assert refusal(envelope(task=CHANGE_TASK) | body, "embed", MOST) is None
    assert "at most" in str(refusal(envelope(task=CHANGE_TASK) | {"body": "A" * 200_000_000}, "embed", MOST))


def test_an_image_of_the_longest_size_fits_into_a_body() -> None:
    size = 3_000_000
    once = len(json.dumps({"image": "A" * (size * 4 // 3)}))
    assert once * 4 / 3 < longest_body(size, 1) < once * 4 / 3 + 2**21
    vectors = len(json.dumps([{"vector": "A" * (2_048 * 4 * 4 // 3)}] * 1_000))
    assert longest_body(1, 1_000) > vectors * 4 / 3


@pytest.mark.parametrize(
    "change",
    [
        {"content-type": "application/x-python-serialize"},
        {"content-type": None},
        {"content-encoding": "latin-1"},
        {"body": None},
        {"body": b"x"},
        {"headers": None},
        {"properties": []},
        {"properties": {"delivery_tag": "x"}},
    ],
)
def test_an_envelope_of_another_form_is_refused(change: dict[str, Any]) -> None:
    assert refusal(envelope(), "embed", MOST) is None
    assert refusal(envelope() | change, "embed", MOST) is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(st.sampled_from(sorted({"body", "headers", "properties", "content-type"})), json_values)
def test_anything_in_any_place_is_let_in_or_refused_in_a_short_printable_line(place: str, value: Any) -> None:
    for found in (
        refusal(value, "embed", MOST),
        refusal(envelope() | {place: value}, "embed", MOST),
        *(refusal(envelope(**{name: value}), "embed", MOST) for name in ("task", "id", "eta", "retries", "argsrepr")),
    ):
        assert found is None or (len(found) < 200 and found.isprintable())
