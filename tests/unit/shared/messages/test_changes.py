"""Messages that change a job arrive as they were sent, and nothing else is taken for one."""

import json
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from shared.errors import JobError, MessageError, UsageError
from shared.messages import changes
from shared.messages.changed import Changed, changed_from_json, failed_to_json
from shared.messages.changes import ChangeJob, NewImage, require_name, to_wire

VECTORS = np.array([[1, 0, 0], [0, 0.6, 0.8]], np.float16)
MESSAGES = [
    ChangeJob("job", "add", "r.1:a-b", (NewImage("/a/é.png"), NewImage("", "b.png", b"\0\xff")), identity="0" * 16),
    ChangeJob("job", "add", "r", vectors=VECTORS, paths=("a", None), model="clip", metadata=({"year": 1}, {})),
    ChangeJob("job", "update", "r", (NewImage("/a.png"),), ids=(7,)),
    ChangeJob("job", "update", "r", metadata=({"text": None, "share": 0.5, "flag": True},), ids=(0,)),
    ChangeJob("job", "delete", "r", ids=(3, 1)),
]


def wire(message: ChangeJob, **other: Any) -> Any:
    return json.loads(json.dumps(message.to_json(), allow_nan=False)) | other


@pytest.mark.parametrize(
    "message", MESSAGES, ids=["add images", "add vectors", "update image", "update metadata", "delete"]
)
def test_a_change_arrives_as_it_was_sent(message: ChangeJob) -> None:
    found = ChangeJob.from_json(wire(message))
    assert found.to_json() == message.to_json()
    assert found.digest == message.digest


def test_requests_that_ask_for_other_things_have_other_digests() -> None:
    # The name, and which job of that name is meant, are compared apart.
    assert len({message.digest for message in MESSAGES}) == len(MESSAGES)
    assert replace(MESSAGES[0], identity=None).digest == MESSAGES[0].digest


@pytest.mark.parametrize(
    ("message", "other", "said"),
    [
        (MESSAGES[0], {"version": 2}, "version 2"),
        (MESSAGES[0], {"action": "grow"}, "must be one of"),
        (MESSAGES[0], {"request": "a/b"}, "can't name a request"),
        (MESSAGES[0], {"images": []}, "nothing to add"),
        (MESSAGES[0], {"images": [{"path": ""}]}, "must hold just"),
        (MESSAGES[0], {"images": [{"name": "../x", "data": ""}]}, "can't name an image"),
        (MESSAGES[0], {"images": [{"name": "x", "data": "?"}]}, "must be base64"),
        (MESSAGES[0], {"metadata": [{}]}, "2 images came with the metadata of 1"),
        (MESSAGES[0], {"surprise": 1}, "must hold"),
        (MESSAGES[1], {"dim": 7}, "rows of 7 float16"),
        (MESSAGES[1], {"paths": ["a"]}, "came with 1 paths"),
        (MESSAGES[1], {"metadata": [1, 2]}, "JSON objects"),
        (MESSAGES[2], {"ids": [1, 2]}, "nothing to update"),
        (MESSAGES[2], {"ids": [-1]}, "an id must be"),
        (MESSAGES[4], {"ids": []}, "nothing to delete"),
        (MESSAGES[4], {"ids": list(range(10_001))}, "at most 10,000"),
        (MESSAGES[4], {"identity": "x"}, "identity"),
    ],
)
def test_nothing_else_is_taken_for_a_change(message: ChangeJob, other: dict[str, Any], said: str) -> None:
    with pytest.raises(MessageError, match=said):
        ChangeJob.from_json(wire(message, **other))


def test_more_than_a_message_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST_BYTES", 10)
    with pytest.raises(UsageError, match="12 bytes, and at most 10"):
        MESSAGES[1].require()
    with pytest.raises(MessageError, match="at most 10"):
        ChangeJob.from_json(wire(ChangeJob("job", "add", "r", (NewImage("", "x", b"x" * 30),))))


@pytest.mark.parametrize("name", ["", ".x", "a/b", "a.tar::b", "a\nb", "x" * 201, "é" * 101, "..", None])
def test_a_name_that_could_lead_elsewhere_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="can't name an image"):
        require_name(name)
    assert require_name("Ein Bild (1).jpg") == "Ein Bild (1).jpg"


def test_metadata_travels_as_plain_values() -> None:
    assert to_wire({"a": date(2020, 1, 2), "b": None, "c": 1.5}) == {"a": "2020-01-02", "b": None, "c": 1.5}
    with pytest.raises(UsageError, match="The value of 'a' is a list"):
        to_wire({"a": [1]})


def test_a_reply_gives_the_ids_or_raises_what_went_wrong() -> None:
    done = Changed([4, 5], 3, (1_200, 7))
    assert changed_from_json(json.loads(json.dumps(done.to_json()))) == done
    with pytest.raises(JobError, match=r"^Nothing there\.$"):
        changed_from_json(failed_to_json(JobError("Nothing there.")))
    for table in (None, {"version": 1}, done.to_json() | {"ids": 5}, done.to_json() | {"change": 0}, {"error": 5}):
        with pytest.raises(MessageError):
            changed_from_json(table)
